"""The ladder: ways to a smaller, faster or more exact file, the cheapest first.

A rung says why it can't help, from what is known of the files before it, or tries files until one keeps all limits. To
add one, write its two functions and a row in `RUNGS`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from edgepress.converters.statistics import METHODS
from edgepress.toolkit.compressing import smaller
from edgepress.toolkit.compressing.climbing import TIME_IS_UP, Climb
from edgepress.toolkit.compressing.limits import KINDS

MORE_SAMPLES = 1000
"""Items of the rung "calibration"; plain files are calibrated on fewer."""
LEAST_INT4 = 0.5
"""Size of a file with 4-bit weights at least, as a share of that with 8 bits."""
NOT_EXACT = "no file before it misses the accuracy drop alone"


class Rung(NamedTuple):
    """One rung.

    Attributes:
        name: Its name.
        title: What it does, in words.
        why_not: Why it can't help, in words; "" if it may.
        climb: Tries files; `cost` is its place in the ladder.
        trains: Whether it trains, which a time limit may prevent.
    """

    name: str
    title: str
    why_not: Callable[[Climb], str]
    climb: Callable[[Climb, int], None]
    trains: bool = False


def climb(state: Climb, rungs: tuple[Rung, ...] | None = None) -> None:
    """Go up the ladder until a file keeps all limits, or to its end; outcome and trials are in `state`."""
    rungs = RUNGS if rungs is None else rungs
    made = state.workshop.convert(state.workshop.order.model, _first_schemes(state))
    state.begin(made[0])
    for cost, rung in enumerate(rungs, 1):
        why = rung.why_not(state)
        if not why and rung.trains and state.time_is_up:
            why = TIME_IS_UP
        if why:
            state.skip(rung.name, why)
            continue
        rung.climb(state, cost)
        if state.best() is not None:
            return


def _first_schemes(state: Climb) -> list[str]:
    return [state.scheme("float32"), state.scheme("int8")]


def _int8(state: Climb, cost: int) -> None:
    made = state.workshop.convert(state.workshop.order.model, _first_schemes(state))
    state.take("int8", cost, "int8", made[1:])


def _exact(state: Climb) -> str:
    """Why more exact files can't help."""
    return "" if state.only_drop_missed() else NOT_EXACT


def _calibration(state: Climb, cost: int) -> None:
    for method in METHODS:
        how = f"int8, ranges by {method} of {MORE_SAMPLES} items"
        options: dict[str, Any] = {"calibration": method, "samples": MORE_SAMPLES}
        state.try_schemes("calibration", cost, how, [state.scheme("int8")], **options)
        if state.best() is not None:
            return


def _mixed(state: Climb, cost: int) -> None:
    limit = state.limits.values["drop"]
    how = "int8 with the layers in float that lose most"
    state.try_schemes("mixed", cost, how, [state.scheme("mixed")], max_drop=limit)


def _weights(state: Climb, cost: int) -> None:
    """Files whose weights alone are quantized lose least, but compute in float or quantize while running."""
    precisions = (
        ("weights8", "dynamic", "float16") if state.workshop.order.format == "tflite" else ("dynamic", "float16")
    )
    schemes = [state.scheme(precision) for precision in precisions]
    state.try_schemes("weights", cost, "quantized weights alone", schemes)


def _no_int4(state: Climb) -> str:
    missed = {name for trial in state.of("int8") for name in trial.missed(state.limits)}
    if "size" not in missed:
        return "the size is not what is missed"
    if "latency" in missed:
        return "4-bit weights are no faster"
    least = min(trial.size_bytes or 0 for trial in state.of("int8")) * LEAST_INT4
    if least > state.limits.values["size"]:
        return f"4-bit weights save half of {KINDS['size'].show(2 * least)} at most"
    return ""


def _int4(state: Climb, cost: int) -> None:
    state.try_schemes("int4", cost, "4-bit weights", [state.scheme("int4")])


def _tune(state: Climb, cost: int) -> None:
    """Train what misses the drop alone: with 8 bits if that is such a file, else with 4."""
    for rung, bits in (("int8", 8), ("int4", 4)):
        if not state.only_drop_missed(rung):
            continue
        tuned = partial(state.workshop.tune, bits)
        state.try_schemes("tune", cost, f"{bits}-bit weights, trained", [state.scheme(rung)], tuned)
        if state.best() is not None:
            return


RUNGS: tuple[Rung, ...] = (
    Rung("int8", "plain int8, repaired and rewritten", lambda state: "", _int8),
    Rung("calibration", "ranges by each method, of more items", _exact, _calibration),
    Rung("mixed", "the layers in float that lose most", _exact, _mixed),
    Rung("weights", "weights alone quantized", _exact, _weights),
    Rung("int4", "4-bit weights", _no_int4, _int4),
    Rung("tune", "quantization-aware training", _exact, _tune, trains=True),
    Rung("prune", "channels pruned, the rest distilled", smaller.no_smaller, smaller.prune, trains=True),
    Rung("width", "a narrower net, distilled", smaller.no_width, smaller.width, trains=True),
)
"""The ladder, the cheapest rung first."""
