"""Cross-layer equalization: scale channels so that they use the same part of their tensors' ranges.

An int8 tensor has one scale for all its channels, so a channel whose values are small beside those of others keeps few
of its levels. A factor for each scale group evens that out, without a change of the float graph's answers (Nagel et al.
2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721, section 4.1). There
both sides are weights of one scale a tensor. Here activations have one and weights have one for each output channel,
so a factor balances the range of a channel in its tensors with the range of the weights that read it, relative to the
other weights of the same output; depthwise weights have a scale for each channel, and need no balance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.graph.step import Step
from edgepress.converters.tuning.channel_ranges import ChannelRanges
from edgepress.converters.tuning.channels import largest_by_input, output_channels
from edgepress.converters.tuning.groups import Factors, Groups
from edgepress.converters.tuning.links import PINNED

Array = npt.NDArray[Any]
SWEEPS = 8
BOUND = 6.0
"""Where ReLU6 saturates."""
DEAD = 1e-3
"""What a channel that is 0 for all calibration items is taken to contribute, as a share of the median channel: other
items may use it."""
TINY = 1e-30


def equalizing_factors(groups: Groups, ranges: ChannelRanges) -> Factors:
    """Factors for `Groups.scaled`, shape (count,).

    A group that a ReLU6 bounds keeps its factor if one of its channels reaches 6 on calibration data. Otherwise it may
    grow until that: the answers are the same for calibration data, and for others as long as the channel stays below
    what it reached there.

    Args:
        groups: The scale groups.
        ranges: Ranges of the channels on calibration data.
    """
    count = groups.count
    widths = {
        name: np.maximum(high, 0) - np.minimum(low, 0) for name, (low, high) in ranges.items() if name in groups.of
    }
    widths = {name: width for name, width in widths.items() if groups.of[name].any()}
    readers = [s for s in groups.program.steps if s.weights and s.inputs[0] in widths and s.kind != "DEPTHWISE_CONV_2D"]
    sizes = {step.output: np.abs(step.constants[1]) for step in readers}
    widest = _most(count, [(groups.of[name], width) for name, width in widths.items()])
    fixed = np.zeros(count, bool)
    fixed[PINNED] = True
    fixed |= groups.bounded & (widest >= BOUND * (1 - 1e-6))
    least = np.where(groups.bounded & ~fixed, widest / BOUND, 0.0)
    widths = _with_dead_channels(groups, widths, readers, sizes)
    clusters = _clusters(groups, list(widths))
    factors = np.ones(count)
    for _ in range(SWEEPS):
        used = _most(count, [(groups.of[n], _share(width / factors[groups.of[n]])) for n, width in widths.items()])
        read = _most(count, [(groups.of[s.inputs[0]], _reading(s, sizes[s.output], groups, factors)) for s in readers])
        change = np.where(read > 0, np.sqrt(used / np.where(read > 0, read, 1)), used)
        factors = np.where(fixed | (used <= 0), factors, factors * change)
        factors = _levelled(groups, factors, widths, clusters, fixed)
        factors = np.maximum(factors, least)
    return factors


def _most(count: int, parts: list[tuple[Array, Array]]) -> Array:
    """The largest value of each group over the channels of several tensors."""
    found = np.zeros(count)
    for ids, values in parts:
        np.maximum.at(found, ids, values)
    return found


def _share(width: Array) -> Array:
    """Widths of a tensor's channels as shares of the widest."""
    return np.asarray(width / max(width.max(), TINY))


def _reading(step: Step, sizes: Array, groups: Groups, factors: Factors) -> Array:
    """The largest weight that reads each input channel, as a share of the largest of the same output."""
    from edgepress.converters.tuning.channels import input_channels

    ids = groups.of[step.inputs[0]]
    index = input_channels(step, len(ids))
    if index is None:
        return np.zeros(len(ids))
    scaled = sizes * factors[ids][index]
    others = tuple(axis for axis in range(scaled.ndim) if output_channels(step).shape[axis] == 1)
    return largest_by_input(scaled / np.maximum(scaled.max(axis=others, keepdims=True), TINY), step, len(ids))


def _with_dead_channels(
    groups: Groups, widths: dict[str, Array], readers: list[Step], sizes: dict[str, Array]
) -> dict[str, Array]:
    """Give channels that are always 0 a small width, by the weights that read them."""
    ones = np.ones(groups.count)
    found = dict(widths)
    for step in readers:
        name = step.inputs[0]
        read, width = _reading(step, sizes[step.output], groups, ones), found[name]
        live = (width > 0) & (read > 0)
        if live.any():
            least = DEAD * float(np.median((width * read)[live]))
            found[name] = np.where((width <= 0) & (read > 0), least / np.maximum(read, TINY), width)
    return found


def _clusters(groups: Groups, names: list[str]) -> Array:
    """For each group, the number of the set of tensors that are tied to each other by groups."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = groups.count
    pairs = [(ids[ids > PINNED], count + i) for i, ids in enumerate(groups.of[name] for name in names)]
    first = np.concatenate([ids for ids, _ in pairs] or [np.zeros(0, int)])
    second = np.concatenate([np.full(len(ids), node) for ids, node in pairs] or [np.zeros(0, int)])
    size = count + len(names)
    graph = coo_array((np.ones(len(first), bool), (first, second)), (size, size))
    return np.asarray(connected_components(graph, directed=False)[1])


def _levelled(
    groups: Groups, factors: Factors, widths: dict[str, Array], clusters: Array, fixed: npt.NDArray[np.bool_]
) -> Factors:
    """Multiply the free factors of each set of tied tensors so that their widest channel stays as wide as it was.

    If some channels are fixed, the free ones become as wide as these.
    """
    number = int(clusters.max()) + 1
    before, after, kept = np.zeros(number), np.zeros(number), np.zeros(number)
    for name, width in widths.items():
        ids = groups.of[name]
        cluster = clusters[ids[ids > PINNED][0]]
        free = ~fixed[ids]
        scaled = width / factors[ids]
        before[cluster] = max(before[cluster], width[free].max(initial=0))
        after[cluster] = max(after[cluster], scaled[free].max(initial=0))
        kept[cluster] = max(kept[cluster], width[~free].max(initial=0))
    goal = np.where(kept > 0, kept, before)
    change = np.where((after > 0) & (goal > 0), after / np.where(goal > 0, goal, 1), 1.0)[clusters[: groups.count]]
    return np.where(fixed, factors, factors * change)
