"""The tables of what is made: every kind of file with all that depends on it, and what files are made for.

A scheme is a format and a precision. What goes into a file and comes out of it is the same for all of them, so that a
runtime, a test and a user can rely on it:

* an image model takes raw uint8 pixels 0-255, NHWC; a tensor model takes float32, or the integers of its source;
* a scheme whose `output_dtype` is "uint8" takes uint8 (scale 1 for pixels) unless the source takes integers, and
  answers uint8 (scale 1/256 for probabilities); of mixed files of tensors whose first layer is in float, the input
  stays float32; operations in between that the quantizer does not support stay float,
  and a note says so;
* every other scheme answers float32. The conversion of uint8 to float is a CAST (TFLite) or Cast (ONNX) in the file.

To add a scheme, add a row here and a recipe of its precision to `RECIPES` in `to_tflite/convert.py` or
`to_onnx/quantize.py`, unless that precision has one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal, get_args

from edgepress.runtime.errors import InputError, unknown

RepairKind = Literal["", "exact", "dynamic", "weights", "int8", "int4"]
"""Repairs of the float graph that a file is made from: none; those that change no float answer; also those that make up
for the errors of 8-bit weights, or of 8 bits altogether; or the rounding of weights to 4 bits."""


@dataclass(frozen=True)
class Scheme:
    """One row of the table.

    Attributes:
        format: File format and suffix, "tflite" or "onnx".
        precision: What weights and activations are stored as; the key of the recipe that makes it.
        summary: One line for a user.
        colors: Its colours in reports, on a light and on a dark ground; tests/unit/test_report.py computes their
            contrast.
        calibrated: Whether it needs calibration data. Such a file computes in integers, and an operation that still
            computes in float is noted.
        output_dtype: Type of the file's output; "uint8" is quantized.
        arithmetic: What it multiplies in, which tells the ceiling of its speed; None for 16-bit activations.
        min_spread_db: Spread of the source model's answers between items to the noise, dB, that its files usually
            reach.
        min_sqnr_db: The answers themselves to the noise, dB, where they do not differ between items.
        max_relative_error: Largest error allowed, as a share of the largest answer; None for no such bound.
        float_share: Share of the weights' bytes that may still be float32 without a note, 0-1.
        selftest_steps: Steps by which an answer may differ on another machine (`edgepress.runtime.selftest`).
        repairs: The repairs of the float graph that it is made from.
        item_by_item: Whether items are answered one at a time, because the others of a batch would change the answer.
        weight_bits: Bits of a weight that is rounded; of 4, the first and the last layer and depthwise ones keep 8.
        by_name: Whether it is excluded from "all" and from its format's name.
        lacking: Engines of its format that do not open it.
    """

    format: Literal["tflite", "onnx"]
    precision: str
    summary: str
    _: KW_ONLY
    colors: tuple[str, str]
    calibrated: bool = False
    output_dtype: Literal["float32", "uint8"] = "float32"
    arithmetic: Literal["float32", "int8"] | None = "int8"
    min_spread_db: float = 7
    min_sqnr_db: float = 8
    max_relative_error: float | None = None
    float_share: float = 0.25
    selftest_steps: float = 2.0
    repairs: RepairKind = ""
    item_by_item: bool = False
    weight_bits: Literal[4, 8] = 8
    by_name: bool = False
    lacking: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name on the command line, format and precision."""
        return f"{self.format}-{self.precision}"

    @property
    def bits(self) -> int:
        """Bits of the activations of a calibrated scheme."""
        return 8 if self.arithmetic == "int8" else 16

    @property
    def is_mixed(self) -> bool:
        """Whether some layers, chosen or named, stay float in it."""
        return self.precision == "mixed"

    @property
    def is_float32(self) -> bool:
        """Whether nothing in it is quantized."""
        return self.float_share == 1


# fmt: off
_ROWS = (
    Scheme("tflite", "float32", "the reference: nothing is quantized", arithmetic="float32", float_share=1,
           colors=("#542a66", "#0078fc"), min_spread_db=60, min_sqnr_db=80, max_relative_error=1e-4,
           selftest_steps=0.03),
    Scheme("tflite", "float16", "weights float16, computed in float32: half the size",
           colors=("#1e12de", "#c6b4fc"), arithmetic="float32", min_spread_db=24, min_sqnr_db=30, selftest_steps=0.03),
    Scheme("tflite", "dynamic", "weights int8, activations quantized while running", colors=("#6c4890", "#a890e4"),
           selftest_steps=16, repairs="dynamic"),
    Scheme("tflite", "int8", "integers, all that the quantizer supports: smallest and usually fastest",
           colors=("#1ea2b4", "#bafcfc"), calibrated=True, output_dtype="uint8", repairs="int8"),
    Scheme("tflite", "int16x8", "weights int8, activations int16: accurate, slow on most CPUs",
           colors=("#a27ef6", "#6cbaae"), calibrated=True, arithmetic=None, min_spread_db=20, min_sqnr_db=20,
           repairs="weights"),
    Scheme("onnx", "float32", "the reference for ONNX Runtime", arithmetic="float32", float_share=1,
           colors=("#721224", "#f0007e"), min_spread_db=60, min_sqnr_db=80, max_relative_error=1e-4,
           selftest_steps=0.03),
    Scheme("onnx", "float16", "weights and computation float16: half the size",
           colors=("#c0420c", "#c07e12"), arithmetic="float32", min_spread_db=24, min_sqnr_db=30, selftest_steps=3),
    Scheme("onnx", "dynamic", "weights of 8 bits, activations quantized while running", selftest_steps=16,
           # The scale of activations comes from all items of a call.
           colors=("#fc600c", "#fcc600"), item_by_item=True, repairs="exact"),
    Scheme("onnx", "int8", "QDQ: weights int8, activations uint8, static", calibrated=True,
           colors=("#a25a78", "#f69660"), repairs="int8"),
    Scheme("tflite", "int4", "as int8, but weights of 4 bits between the first and the last layer", by_name=True,
           colors=("#9048fc", "#007e60"), calibrated=True, output_dtype="uint8", weight_bits=4,
           repairs="int4", lacking=("openvino", "tflite-runtime")),
    Scheme("tflite", "weights8", "weights int8, computed in float32: a quarter of the size", by_name=True,
           colors=("#5478ba", "#9666ba"), arithmetic="float32", min_spread_db=24, min_sqnr_db=30, selftest_steps=0.03,
           repairs="weights"),
    Scheme("onnx", "int4", "as int8, but weights of 4 bits between the first and the last layer", by_name=True,
           colors=("#c67878", "#b44806"), calibrated=True, weight_bits=4,
           repairs="int4"),
    Scheme("tflite", "mixed", "as int8, with the layers in float that lose most accuracy", by_name=True,
           colors=("#4200a2", "#8adec0"), calibrated=True, output_dtype="uint8", repairs="int8", float_share=0.99),
    Scheme("onnx", "mixed", "as int8, with the layers in float that lose most accuracy", by_name=True,
           colors=("#963042", "#fcf6a2"), calibrated=True, repairs="int8", float_share=0.99),
)
# fmt: on
SCHEMES: dict[str, Scheme] = {scheme.name: scheme for scheme in _ROWS}
ALL = tuple(scheme.name for scheme in _ROWS if not scheme.by_name)
"""What "all" means: nine schemes, each made in seconds."""
BASELINES = tuple(scheme.name for scheme in _ROWS if scheme.is_float32)
"""What others are compared with unless the user names another: the first of these that there is."""


def scheme_words(schemes: str | Scheme | Iterable[str | Scheme]) -> list[str]:
    """The words that name schemes: of a text, separated by commas, or of several texts and rows of the table.

    Raises:
        TypeError: Something else was given.
    """
    if isinstance(schemes, Scheme):
        return [schemes.name]
    if isinstance(schemes, str):
        return [word.strip().lower() for word in schemes.split(",")]
    if not isinstance(schemes, Iterable):
        raise TypeError(f"Schemes are {schemes!r}; accepted: a text, or a list of texts and Schemes.")
    return [word for one in schemes for word in scheme_words(one)]


def parse_schemes(given: str | Scheme | Iterable[str | Scheme]) -> tuple[str, ...]:
    """Scheme names from "all", a comma-separated list, or several of them or rows of the table; without repeats.

    "all" and a bare format ("tflite", "onnx") leave out the schemes that are asked for by name.

    Raises:
        InputError: A name is unknown, or none is given.
    """
    names: dict[str, None] = {}
    for word in filter(None, scheme_words(given)):
        matching = [s.name for s in SCHEMES.values() if word == s.name or (word in ("all", s.format) and not s.by_name)]
        if not matching:
            raise unknown("scheme", word, ("all", *SCHEMES))
        names.update(dict.fromkeys(matching))
    if not names:
        raise InputError("No scheme was given.", f"Accepted: all, or a list of {', '.join(SCHEMES)}.")
    return tuple(names)


Target = Literal["cpu", "integer-only"]
"""`cpu`: any board with an operating system; a file may hold float operations where they are faster. `integer-only`:
microcontrollers, Edge TPU and NPUs; it holds none."""
TARGETS: tuple[Target, ...] = get_args(Target)


def checked_target(text: str) -> Target:
    """A target by its name.

    Raises:
        InputError: There is none of this name.
    """
    if text not in TARGETS:
        raise unknown("target", text, TARGETS)
    return text


def schemes_for(target: Target) -> tuple[str, ...]:
    """Names of the schemes whose files a target can run."""
    integers = (s.name for s in SCHEMES.values() if s.output_dtype == "uint8" and not s.is_mixed)
    return tuple(integers) if target == "integer-only" else tuple(SCHEMES)


_FINER = {
    "int4": ("int8",),
    "int8": ("int16x8", "float16"),
    "mixed": ("int16x8", "float16"),
    "int16x8": ("float16",),
    "dynamic": ("float16",),
    "weights8": ("float16",),
    "float16": ("float32",),
}
"""By precision, those that round less, the smallest files first."""


def finer(scheme: Scheme, target: Target, *, rejected: Collection[str] = ()) -> str:
    """Name of the scheme that rounds less, to be tried next; "" if the target runs none.

    Args:
        scheme: The scheme whose file is not good enough.
        target: What the file is for.
        rejected: Schemes that were tried and are not good enough either.
    """
    for precision in _FINER.get(scheme.precision, ()):
        name = f"{scheme.format}-{precision}"
        if name in rejected:
            name = finer(SCHEMES[name], target, rejected=rejected)
        if name in schemes_for(target):
            return name
    return ""


def schemes_from(schemes: str | Scheme | Iterable[str | Scheme], target: Target) -> tuple[str, ...]:
    """Scheme names, as `parse_schemes` reads it; "all" and formats mean those that the target can run.

    Raises:
        InputError: A name is unknown, none is given, or none of those given is for the target.
    """
    named = parse_schemes(schemes)
    fitting = tuple(name for name in named if name in schemes_for(target))
    words = {*scheme_words(schemes)}
    refuse_other_schemes([name for name in named if name in words] if fitting else named, target)
    return fitting


def refuse_other_schemes(schemes: Sequence[str], target: Target) -> None:
    """Refuse schemes whose files a target can't run.

    Raises:
        InputError: There are such schemes; the message names them.
    """
    if others := [name for name in schemes if name not in schemes_for(target)]:
        raise InputError(
            f"The target {target} does not support float files: {', '.join(others)}.",
            f"Accepted with --target {target}: {', '.join(schemes_for(target))}.",
        )


def file_paths(schemes: Sequence[str], out: Path, stem: str, target: Target) -> dict[str, Path]:
    """Path of each scheme's file: `{stem}-{precision}.{format}`, with the target in front of the dot unless "cpu"."""
    end = "" if target == "cpu" else f"-{target}"
    return {name: out / f"{stem}-{SCHEMES[name].precision}{end}.{SCHEMES[name].format}" for name in schemes}
