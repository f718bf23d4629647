"""The error of a conversion, and the line of a library's error that is shown to users."""

from __future__ import annotations

from edgepress.runtime.errors import EdgepressError


class ConversionError(EdgepressError):
    """A scheme that could not be made."""

    kind = "conversion"


def first_line(error: Exception) -> str:
    """The first line of an error's message; TensorFlow, Keras, ONNX and LiteRT write several, with their tracebacks."""
    return str(error).strip().partition("\n")[0]
