"""The scheme table: every kind of file that can be made, and the interface that each one has.

A scheme is a format and a precision. The table fixes what goes in and comes out, so that a runtime, a test and a user
can rely on it:

* every image model takes raw uint8 pixels 0-255, NHWC; a tensor model takes float32;
* `tflite-int8` takes uint8 (scale 1 for pixels) and answers uint8 (scale 1/256 for probabilities); what the quantizer
  does not take in between stays float (`remainder`);
* every other scheme answers float32. The conversion of uint8 to float is a CAST (TFLite) or Cast (ONNX) in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgepress.runtime.errors import InputError, unknown

Precision = Literal["float32", "float16", "dynamic", "int8", "int16x8"]


@dataclass(frozen=True)
class Scheme:
    """One row of the table.

    Attributes:
        format: File format and suffix, "tflite" or "onnx".
        precision: What weights and activations are stored as.
        calibrated: Whether calibration data are needed to make it.
        output_dtype: Type of the file's output; "uint8" is quantized.
        min_sqnr_db: Signal-to-quantization-noise ratio against its parent, dB, below which a file is broken.
        max_relative_error: Largest error allowed, as a share of the parent's largest answer; None for no such bound.
        summary: One line for a user.
    """

    format: Literal["tflite", "onnx"]
    precision: Precision
    calibrated: bool
    output_dtype: Literal["float32", "uint8"]
    min_sqnr_db: float
    max_relative_error: float | None
    summary: str

    @property
    def name(self) -> str:
        """Name on the command line, format and precision."""
        return f"{self.format}-{self.precision}"


SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("tflite", "float32", False, "float32", 80, 1e-4, "the reference: nothing is quantized"),
        Scheme("tflite", "float16", False, "float32", 30, None, "weights float16, computed in float32: half the size"),
        Scheme("tflite", "dynamic", False, "float32", 8, None, "weights int8, activations quantized while running"),
        Scheme(
            "tflite",
            "int8",
            True,
            "uint8",
            8,
            None,
            "integers, all that the quantizer takes: smallest and usually fastest",
        ),
        Scheme(
            "tflite",
            "int16x8",
            True,
            "float32",
            20,
            None,
            "weights int8, activations int16: accurate, slow on most CPUs",
        ),
        Scheme("onnx", "float32", False, "float32", 80, 1e-4, "the reference for ONNX Runtime"),
        Scheme("onnx", "float16", False, "float32", 30, None, "weights and computation float16: half the size"),
        Scheme("onnx", "dynamic", False, "float32", 8, None, "weights uint8, activations quantized while running"),
        Scheme("onnx", "int8", True, "float32", 8, None, "QDQ: weights and activations int8, static"),
    )
}


def parse_schemes(text: str) -> tuple[str, ...]:
    """Scheme names from "all" or a comma-separated list, in the order given, without repeats.

    A bare format ("tflite", "onnx") stands for all its schemes.

    Raises:
        InputError: A name is unknown, or none is given.
    """
    names: dict[str, None] = {}
    for word in filter(None, (w.strip().lower() for w in text.split(","))):
        matching = [s.name for s in SCHEMES.values() if word in ("all", s.format, s.name)]
        if not matching:
            raise unknown("scheme", word, ("all", *SCHEMES))
        names.update(dict.fromkeys(matching))
    if not names:
        raise InputError("No scheme was given.", f"Accepted: all, or a list of {', '.join(SCHEMES)}.")
    return tuple(names)
