"""The strategies that make a smaller net: channels pruned from MODEL, or a narrower net distilled from it.

Both need a training for every net that is tried, so the size that keeps the limits is looked for before: by files of
nets that were trained briefly, or, if size alone is limited, by the ratio of the sizes of the files before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from edgepress.toolkit import text
from edgepress.toolkit.search.compression.builder import describe_target
from edgepress.toolkit.search.compression.search import OTHERS, TIME_IS_UP, StrategySearch
from edgepress.toolkit.search.compression.trial import Trial
from edgepress.toolkit.training.nets.architectures import ARCHITECTURES

TRAININGS = 4
"""Most nets that one strategy trains."""
PROBES = 6
"""Nets that pruning trains for a few steps at most, to know their latency."""
PER_OCTAVE = 8
"""Shares that are tried lie on a grid of so many steps an octave, so that small differences of a latency between two
runs do not lead to different nets."""
LEAST_SHARE = 1 / 64
"""The smallest share of a net that is tried."""
LEAST_WIDTH = 0.05
"""The smallest width that is tried."""
SELF_TEST = 1500
"""Bytes by which a finished file is larger than the pruned net's as `prune` knows it."""
INT4 = 0.6
"""Size of a file with 4-bit weights as a share of int8's, before one is known."""
MARGIN = 0.04
"""How far below a limit a prediction aims, because a miss costs a training."""
FURTHER = 2 ** (-6 / PER_OCTAVE)
"""How much smaller a second net is than the first that keeps all limits: if it is not worse, it is the better file."""
CLOSE = 1.1
"""How far a file may be below a limit before a larger net is tried."""
WIDTHS = 8
"""Widths that are tried, each 0.71 of the one before."""
FALLBACK = "mobilenet-v1"
"""The architecture of the strategy "width" for models whose own is not known, or has no width."""


def no_smaller(state: StrategySearch) -> str:
    """Why a smaller net can't help."""
    known = state.of("int8")
    if not known:
        return "there is no int8 file to begin with"
    if all(state.excess(trial) <= 1 for trial in known):
        return "int8 keeps all limits but the accuracy drop, where a smaller net would not help"
    return ""


def prune(state: StrategySearch) -> None:
    """Prune to the largest net that is predicted to keep the limits, and correct the prediction by what came out.

    When one keeps them, the accuracy of a smaller one decides which of both is the better file.
    """
    plain, scheme, ratio = _plain(state)
    most = _worst_limit(plain, state)
    by_size = most in ("size", "flash")
    share = 1 / state.excess(plain)
    if most == "size":
        share = max(0.0, state.limits.values["size"] - SELF_TEST) / ratio / (plain.size_bytes or 1)
    share *= 1 - MARGIN
    probed = any(name != "size" for name in OTHERS if name in state.limits.values)
    known: dict[float, float] = {}
    if probed:
        share, known = _probe_shares(state, share, scheme, by_size=by_size)
    trained = False
    for _ in range(TRAININGS):
        share = on_grid(share) if probed else round(share, 4)
        if share in known or not LEAST_SHARE <= share < 1:
            break
        if state.time_is_up:
            state.skip(TIME_IS_UP)
            return
        trials = _prune_to(state, share, scheme, by_size=by_size)
        trained = True
        if state.best() is not None and not state.time_is_up:
            _prune_to(state, round(share * FURTHER, 6), scheme, by_size=by_size)
        if state.best() is not None or trials[0].error:
            return
        known[share] = state.excess(trials[0])
        share = _next_share(known)
    if not trained and known:
        left = f"{text.percent(min(known), '.1f')} of the {'bytes' if by_size else 'MACs'}"
        state.skip(f"even a net pruned to {left} does not keep the limits other than the drop{_nearest(state)}")
    elif not trained:
        state.skip(f"{text.percent(share, '.1f')} of the net would be left, which is too little")


def _probe_shares(
    state: StrategySearch, share: float, scheme: str, *, by_size: bool
) -> tuple[float, dict[float, float]]:
    """The largest share whose net, trained briefly, keeps the limits other than the drop, and the excess of all others.

    The share is the given one if no net can be made, and 0 if none keeps the limits and a smaller one can't be made.
    An excess is a little larger than measured, because a trained net may be slower, and costs much more than a probe.
    """
    known: dict[float, float] = {}
    failed = 0.0
    for _ in range(PROBES):
        share = on_grid(share)
        if share in known or not max(LEAST_SHARE, failed) <= share < 1 or share == failed or state.time_is_up:
            break
        target = _target(state, share, by_size=by_size)
        how = f"pruned to {describe_target(target)}, trained briefly"
        probe = state.probe(how, scheme, partial(state.builder.prune, briefly=True, **target))
        if probe is not None and not probe.error:
            known[share] = state.excess(probe) / (1 - MARGIN / 2)
            share = _next_share(known)
        elif known:
            failed = share
        else:
            return share, {}
        if share <= failed:  # what can't be made is below what can
            share = math.sqrt(failed * min(known))
    if fit := [each for each, excess in known.items() if excess <= 1]:
        share = max(fit)
        del known[share]
        return share, known
    return 0.0 if failed else share, known


def _plain(state: StrategySearch) -> tuple[Trial, str, float]:
    """The int8 file, the scheme of pruned files, and the size of these as a share of int8's.

    That is 4 bits if their size is missed that much that 4 bits alone can't reach it, and neither speed nor exported C
    is asked for.
    """
    plain = state.of("int8")[0]
    missed = plain.missed(state.limits)
    fixed = "latency" in state.limits.values or state.limits.exported
    if "size" in missed and not fixed and not state.of("int4"):
        return plain, state.scheme("int4"), INT4
    return plain, state.scheme("int8"), 1.0


def _next_share(known: Mapping[float, float]) -> float:
    """The share to try next: where the excess is predicted to be just below 1.

    The prediction is the line through the nearest shares that are too large and that fit, or the two nearest that are
    too large; a share of 0 has an excess of 0. If the largest that fits is close to the limits, it is the answer again.
    """
    points = sorted({0.0: 0.0, **known}.items())
    fit = [p for p in points if p[1] <= 1]
    large = [p for p in points if p[1] > 1]
    if fit[-1][1] * CLOSE > 1:
        return fit[-1][0]
    (low, least), (high, most) = [*fit, *large[:1]][-2:]
    if len(fit) == 1 and len(large) > 1 and large[0][1] < large[1][1]:
        (low, least), (high, most) = large[:2]
    slope = (most - least) / (high - low)
    return max(LEAST_SHARE, low + (1 - MARGIN - least) / slope) if slope > 0 else low


def on_grid(share: float) -> float:
    """The next share at or below on the grid."""
    return round(2 ** (math.floor(PER_OCTAVE * math.log2(share) + 1e-3) / PER_OCTAVE), 6) if share > 0 else 0.0


def _prune_to(state: StrategySearch, share: float, scheme: str, *, by_size: bool) -> list[Trial]:
    """A file of a net pruned to a share of the int8 file's bytes, or of the MACs."""
    how = f"pruned to {text.percent(share, '.0f')} of the {'bytes' if by_size else 'MACs'}"
    target = _target(state, share, by_size=by_size)
    return state.try_schemes(how, [scheme], partial(state.builder.prune, **target))


def _target(state: StrategySearch, share: float, *, by_size: bool) -> dict[str, Any]:
    """The target of a pruning to a share of the int8 file's bytes, or of the MACs."""
    return {"max_size": round(share * (state.of("int8")[0].size_bytes or 0))} if by_size else {"macs": share}


def _worst_limit(plain: Trial, state: StrategySearch) -> str:
    """The limit, other than the drop, that a file misses by most."""
    names = [name for name in OTHERS if name in state.limits.values]
    return max(names, key=lambda name: (plain.figures[name] or math.inf) / state.limits.values[name])


def width(state: StrategySearch) -> None:
    """Distil the widest net that keeps the limits, as the file of an untrained one of its width tells."""
    scheme = state.scheme("int8")
    builder = state.builder
    arch, widths = family(state.subject.arch)
    low = 0
    high = len(widths)
    failed = False  # the first that fits is in widths[low:high + 1]
    while low < high:
        middle = (low + high) // 2
        how = f"{arch} of width {widths[middle]:g}, untrained"
        probe = state.probe(how, scheme, partial(builder.untrained, arch, widths[middle]))
        failed = probe is None or bool(probe.error)
        if probe is None or failed or state.excess(probe) > 1:
            low = middle + 1
        else:
            high = middle
    if low == len(widths):
        why = "can't be made or measured"
        why = why if failed else f"does not keep the limits other than the drop{_nearest(state)}"
        state.skip(f"even {arch} of width {widths[-1]:g} {why}")
        return
    how = f"{arch} of width {widths[low]:g}, distilled"
    state.try_schemes(how, [scheme], partial(builder.distil, arch, widths[low]))


def _nearest(state: StrategySearch) -> str:
    """The figures of the nearest probe, to follow a statement that none keeps the limits."""
    words = state.nearest_probe()
    return f" (the nearest one: {words})" if words else ""


def no_width(state: StrategySearch) -> str:
    """Why a distilled net of less width can't help."""
    if why := no_smaller(state):
        return why
    shape = state.subject.opened.input.shape
    if not ARCHITECTURES[family(state.subject.arch)[0]].takes(shape):
        return "no architecture of edgepress train with a width takes such items"
    return ""


def family(own: str) -> tuple[str, list[float]]:
    """The architecture to distil into, and its widths, the largest first: MODEL's own if it has widths."""
    row = ARCHITECTURES.get(own)
    if row is None or row.width is None:
        row = ARCHITECTURES[FALLBACK]
    widths = [round((row.width or 1.0) * 0.5 ** (n / 2), 3) for n in range(1, WIDTHS + 1)]
    return row.name, [each for each in widths if each >= LEAST_WIDTH]
