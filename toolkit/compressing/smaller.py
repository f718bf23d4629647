"""The rungs that make a smaller net: channels pruned from MODEL, or a narrower net distilled from it.

Both need a training for every net that is tried, so the size that keeps the limits is looked for before: by files of
nets that were hardly trained, or, where size alone is limited, by the ratio of the sizes of the files before.
"""

from __future__ import annotations

import math
from functools import partial

from edgepress.toolkit import text
from edgepress.toolkit.compressing.climbing import OTHERS, Climb
from edgepress.toolkit.compressing.trial import Trial
from edgepress.toolkit.training.architectures import ARCHITECTURES

TRAININGS, SKETCHES = 4, 5
"""Nets that one rung trains at most, and that it trains hardly at all, to know their latency."""
PER_OCTAVE = 8
"""Shares that are tried lie on a grid of so many steps an octave, so that small differences of a latency between two
runs do not lead to different nets."""
LEAST_SHARE, LEAST_WIDTH = 1 / 64, 0.05
"""The smallest share of a net, and the smallest width, that are tried."""
SELF_TEST, INT4, MARGIN = 1500, 0.6, 0.04
"""Bytes by which a finished file is larger than the pruned net's as `prune` knows it; size of a file with 4-bit weights
as a share of int8's, before one is known; how far below a limit a prediction aims, because a miss costs a training."""
FURTHER = 2 ** (-6 / PER_OCTAVE)
"""How much smaller a second net is than the first that keeps all limits: if it is not worse, it is the better file."""
CLOSE = 1.1
"""How far a file may be below a limit before a larger net is tried."""
WIDTHS = 8
"""Widths that are tried, each 0.71 of the one before."""
FALLBACK = "mobilenet-v1"
"""The architecture of the rung "width" for models whose own is not known, or has no width."""


def no_smaller(state: Climb) -> str:
    """Why a smaller net can't help."""
    known = state.of("int8")
    if not known:
        return "there is no int8 file to begin with"
    if all(state.excess(trial) <= 1 for trial in known):
        return "int8 keeps all limits but the accuracy drop, which a smaller net does not mend"
    return ""


def prune(state: Climb, cost: int) -> None:
    """Prune to the largest net that is predicted to keep the limits, and correct the prediction by what came out.

    When one keeps them, the accuracy of a smaller one decides which of both is the better file.
    """
    plain, scheme, ratio = _plain(state)
    by_size = _missed_most(plain, state) == "size"
    tried: dict[float, float] = {}
    share = 1 / state.excess(plain)
    if by_size:
        share = max(0.0, state.limits.values["size"] - SELF_TEST) / ratio / (plain.size_bytes or 1)
    share *= 1 - MARGIN
    if not by_size:
        share = _sketched(state, share, scheme)
    for _ in range(TRAININGS):
        share = round(share, 4) if by_size else on_grid(share)
        if share in tried or not LEAST_SHARE <= share < 1:
            break
        trials = _pruned(state, cost, share, scheme, by_size=by_size)
        if state.best() is not None and not state.time_is_up:
            _pruned(state, cost, round(share * FURTHER, 6), scheme, by_size=by_size)
        if state.best() is not None or trials[0].error:
            return
        tried[share] = state.excess(trials[0])
        share = _next(tried)
    if not tried:
        state.skip("prune", f"{text.percent(share, '.1f')} of the net would be left, which is too little")


def _sketched(state: Climb, share: float, scheme: str) -> float:
    """The largest share of the MACs whose net, hardly trained, keeps the limits other than the drop; else a guess."""
    tried: dict[float, float] = {}
    for _ in range(SKETCHES):
        share = on_grid(share)
        if share in tried or not LEAST_SHARE <= share < 1:
            break
        sketch = state.workshop.sketch_pruned(share, scheme, state.reference)
        if sketch is None or sketch.error:
            break
        tried[share] = state.excess(sketch)
        share = _next(tried)
    return max((each for each, excess in tried.items() if excess <= 1), default=share)


def _plain(state: Climb) -> tuple[Trial, str, float]:
    """The int8 file, the scheme of pruned files, and the size of these as a share of int8's.

    That is 4 bits if their size is missed that much that 4 bits alone can't reach it, and no speed is asked for.
    """
    plain = state.of("int8")[0]
    missed = plain.missed(state.limits)
    if "size" in missed and "latency" not in state.limits.values and not state.of("int4"):
        return plain, state.scheme("int4"), INT4
    return plain, state.scheme("int8"), 1.0


def _next(tried: dict[float, float]) -> float:
    """The share to try next: where the excess is predicted to be 1, between those known to be too large and to fit."""
    fit, large = ({s: e for s, e in tried.items() if (e <= 1) == fits} for fits in (True, False))
    if not fit:
        share, excess = min(large.items())
        return share / excess * (1 - MARGIN)
    low, excess = max(fit.items())
    if excess * CLOSE > 1:
        return low  # was tried: accuracy is missed, and nothing larger fits
    return min(low / excess * (1 - MARGIN), math.sqrt(low * min(large, default=1.0)))


def on_grid(share: float) -> float:
    """The next share at or below on the grid."""
    return round(2 ** (math.floor(PER_OCTAVE * math.log2(share) + 1e-4) / PER_OCTAVE), 6) if share > 0 else 0.0


def _pruned(state: Climb, cost: int, share: float, scheme: str, *, by_size: bool) -> list[Trial]:
    """A file of a net pruned to a share of the int8 file's bytes, or of the MACs."""
    how = f"pruned to {text.percent(share, '.0f')} of the {'bytes' if by_size else 'MACs'}"
    target = {"size_bytes": round(share * (state.of("int8")[0].size_bytes or 0))} if by_size else {"macs": share}
    return state.try_schemes("prune", cost, how, [scheme], partial(state.workshop.prune, **target))


def _missed_most(plain: Trial, state: Climb) -> str:
    """The limit, other than the drop, that a file misses by most."""
    names = [name for name in OTHERS if name in state.limits.values]
    return max(names, key=lambda name: (plain.figures[name] or math.inf) / state.limits.values[name])


def width(state: Climb, cost: int) -> None:
    """Distil the widest net that keeps the limits, as the file of an untrained one of its width tells."""
    scheme, workshop = state.scheme("int8"), state.workshop
    arch, widths = family(workshop.order.arch)
    low, high, failed = 0, len(widths), False  # the first that fits is in widths[low:high + 1]
    while low < high:
        middle = (low + high) // 2
        sketch = workshop.sketch_width(arch, widths[middle], scheme, state.reference)
        failed = sketch is None or bool(sketch.error)
        if sketch is None or failed or state.excess(sketch) > 1:
            low = middle + 1
        else:
            high = middle
    if low == len(widths):
        why = "can't be made or measured" if failed else "does not keep the limits other than the drop"
        state.skip("width", f"even {arch} of width {widths[-1]:g} {why}")
        return
    how = f"{arch} of width {widths[low]:g}, distilled"
    state.try_schemes("width", cost, how, [scheme], partial(workshop.distil, arch, widths[low]))


def no_width(state: Climb) -> str:
    """Why a distilled net of less width can't help."""
    if why := no_smaller(state):
        return why
    shape, sides = state.workshop.order.opened.input.shape, ARCHITECTURES[FALLBACK].sides or (0, 0)
    if len(shape) != 3 or not all(sides[0] <= side <= sides[1] for side in shape[:2]):
        return "no architecture of edgepress train with a width takes such items"
    return ""


def family(own: str) -> tuple[str, list[float]]:
    """The architecture to distil into, and its widths, the largest first: MODEL's own if it has widths."""
    row = ARCHITECTURES.get(own)
    if row is None or row.width is None:
        row = ARCHITECTURES[FALLBACK]
    widths = [round((row.width or 1.0) * 0.5 ** (n / 2), 3) for n in range(1, WIDTHS + 1)]
    return row.name, [each for each in widths if each >= LEAST_WIDTH]
