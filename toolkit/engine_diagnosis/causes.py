"""Why two engines differ by a step in an operation, where it is known; design and figures: docs/microcontrollers.md."""

from __future__ import annotations

from typing import NamedTuple

ENGINES = ("litert", "litert-built-in", "tflite-micro", "c99")
"""What `--engines` accepts: LiteRT as every command runs it, LiteRT without XNNPACK, TFLM, and the exact model of the
exported C in NumPy."""
UNKNOWN = "not known"
_TFLM = frozenset({"tflite-micro", "c99"})
_PRODUCTS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})


class DifferenceCause(NamedTuple):
    """A known cause of differences of one step.

    Attributes:
        one: Engines on one side.
        other: Engines on the other side.
        operations: Operations in which it shows.
        text: The cause, a clause.
    """

    one: frozenset[str]
    other: frozenset[str]
    operations: frozenset[str]
    text: str


CAUSES = (
    DifferenceCause(
        frozenset({"litert"}),
        _TFLM | {"litert-built-in"},
        _PRODUCTS | {"ADD", "SUB", "MUL", "MEAN", "AVERAGE_POOL_2D", "QUANTIZE", "LOGISTIC", "SOFTMAX"},
        "XNNPACK rounds a result once, the others round it twice",
    ),
    DifferenceCause(
        frozenset({"litert-built-in"}),
        _TFLM,
        frozenset({"CONV_2D", "FULLY_CONNECTED"}),
        "the second rounding breaks ties of negative values upwards in LiteRT, away from zero in TFLM",
    ),
)


def cause_of(kind: str, engines: tuple[str, str], steps: int) -> str:
    """Why two engines differ in an operation by a number of steps; `UNKNOWN` if nobody has found out."""
    if {*engines} == {*_TFLM}:
        return "none may exist: the C answers what this version of TFLM answers; report it, with the file"
    for cause in CAUSES:
        sides = (engines[0] in cause.one and engines[1] in cause.other) or (
            engines[1] in cause.one and engines[0] in cause.other
        )
        if steps == 1 and sides and kind in cause.operations:
            return cause.text
    return UNKNOWN
