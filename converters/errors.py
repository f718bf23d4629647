"""The error of a conversion, and how errors of other libraries become errors about a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgepress.runtime.errors import EdgepressError, ModelFileError


class ConversionError(EdgepressError):
    """A scheme that could not be made."""

    kind = "conversion"


def first_line(error: Exception) -> str:
    """The first line of an error's message; TensorFlow, Keras, ONNX and LiteRT write several, with their tracebacks."""
    return str(error).strip().partition("\n")[0]


@contextmanager
def parsing(path: Path, hint: str = "Copy or convert it again.") -> Iterator[None]:
    """Turn any exception of a parser into an error about the file that it parses.

    zipfile, h5py, protobuf, flatbuffers and json raise many kinds of exceptions on damaged files, OverflowError and
    SystemError among them, so a list of kinds would not be complete. Only the reading of a foreign file belongs in the
    block: a bug elsewhere keeps its traceback.

    Raises:
        ModelFileError: Something else than an `EdgepressError` was raised in the block.
    """
    try:
        yield
    except EdgepressError:
        raise
    except Exception as e:
        reason = f"{type(e).__name__}: {first_line(e)}".removesuffix(": ")
        raise ModelFileError(f"{path} is damaged or of another kind ({reason}).", hint) from e
