"""The strategies: ways to a smaller, faster or more exact file, the cheapest first.

A strategy says why it can't help, from what is known of the files before it, or tries files until one keeps all
limits. To add one, write its two functions and a row in `STRATEGIES`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from edgepress.converters.numeric.statistics import METHODS
from edgepress.toolkit.search.compression import smaller
from edgepress.toolkit.search.compression.search import TIME_IS_UP, StrategySearch
from edgepress.toolkit.search.compression.trial import KINDS

MORE_SAMPLES = 1000
"""Items of the strategy "calibration"; plain files are calibrated on fewer."""
LEAST_INT4 = 0.5
"""Size of a file with 4-bit weights at least, as a share of that with 8 bits."""
NOT_EXACT = "no earlier file fails only on accuracy"
NOT_EXPORTED = "--max-ram and --max-flash accept integer-only int8 files alone"


class Strategy(NamedTuple):
    """One strategy.

    Attributes:
        name: Its name.
        title: What it does, in words.
        why_not: Why it can't help, in words; "" if it may.
        apply: Tries files.
        trains: Whether it trains, which a time limit may prevent.
    """

    name: str
    title: str
    why_not: Callable[[StrategySearch], str]
    apply: Callable[[StrategySearch], None]
    trains: bool = False


def search(state: StrategySearch, strategies: tuple[Strategy, ...] | None = None) -> None:
    """Try strategies in their order until a file surely keeps all limits; outcome and trials are in `state`.

    Nothing is trained only because a file that keeps the limits is not sure enough to.
    """
    strategies = STRATEGIES if strategies is None else strategies
    files = state.builder.convert(state.subject.model, _first_schemes(state))
    state.begin(files[0])
    for state.cost, strategy in enumerate(strategies, 1):
        state.strategy = strategy.name
        if state.settled or (strategy.trains and state.best() is not None):
            return
        why = strategy.why_not(state)
        if not why and strategy.trains and state.time_is_up:
            why = TIME_IS_UP
        if why:
            state.skip(why)
        else:
            strategy.apply(state)


def _first_schemes(state: StrategySearch) -> list[str]:
    return [state.scheme("float32"), state.scheme("int8")]


def _int8(state: StrategySearch) -> None:
    files = state.builder.convert(state.subject.model, _first_schemes(state))
    state.take("int8", files[1:])


def _exact(state: StrategySearch) -> str:
    """Why more exact files can't help."""
    return "" if state.only_drop_missed() or state.best() is not None else NOT_EXACT


def _exact_otherwise(state: StrategySearch) -> str:
    """Why more exact files of other schemes than int8 can't help."""
    return NOT_EXPORTED if state.limits.exported else _exact(state)


def _calibration(state: StrategySearch) -> None:
    for method in METHODS:
        how = f"int8, ranges by {method} of {MORE_SAMPLES} items"
        options: dict[str, Any] = {"calibration": method, "samples": MORE_SAMPLES}
        state.try_schemes(how, [state.scheme("int8")], **options)
        if state.settled:
            return


def _try_mixed(state: StrategySearch) -> None:
    limit = state.limits.values["drop"]
    how = "int8 with the layers in float that lose most"
    state.try_schemes(how, [state.scheme("mixed")], max_drop=limit)


def _weights(state: StrategySearch) -> None:
    """Files whose weights alone are quantized lose least, but compute in float or quantize while running."""
    precisions = ("weights8", "dynamic", "float16") if state.subject.format == "tflite" else ("dynamic", "float16")
    schemes = [state.scheme(precision) for precision in precisions]
    state.try_schemes("quantized weights alone", schemes)


def _no_int4(state: StrategySearch) -> str:
    missed = {name for trial in state.of("int8") for name in trial.missed(state.limits)}
    if state.limits.exported:
        return NOT_EXPORTED
    if "size" not in missed:
        return "the size is not what is missed"
    if "latency" in missed:
        return "4-bit weights are no faster"
    least = min(trial.size_bytes or 0 for trial in state.of("int8")) * LEAST_INT4
    if least > state.limits.values["size"]:
        return f"4-bit weights save half of {KINDS['size'].show(2 * least)} at most"
    return ""


def _int4(state: StrategySearch) -> None:
    state.try_schemes("4-bit weights", [state.scheme("int4")])


def _tune(state: StrategySearch) -> None:
    """Train the file that misses only the drop: the one of 8 bits, else the one of 4."""
    for strategy, bits in (("int8", 8), ("int4", 4)):
        if not state.only_drop_missed(strategy):
            continue
        tuned = partial(state.builder.tune, bits)
        state.try_schemes(f"{bits}-bit weights, trained", [state.scheme(strategy)], tuned)
        if state.best() is not None:
            return


STRATEGIES: tuple[Strategy, ...] = (
    Strategy("int8", "plain int8, repaired and rewritten", lambda state: "", _int8),
    Strategy("calibration", "ranges by each method, of more items", _exact, _calibration),
    Strategy("mixed", "the layers in float that lose most", _exact_otherwise, _try_mixed),
    Strategy("weights", "weights alone quantized", _exact_otherwise, _weights),
    Strategy("int4", "4-bit weights", _no_int4, _int4),
    Strategy("tune", "quantization-aware training", _exact, _tune, trains=True),
    Strategy("prune", "channels pruned, the rest distilled", smaller.no_smaller, smaller.prune, trains=True),
    Strategy("width", "a narrower net, distilled", smaller.no_width, smaller.width, trains=True),
)
"""The strategies, the cheapest strategy first."""
