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
from edgepress.converters.tuning.channels import input_channels, largest_by_input, output_channels
from edgepress.converters.tuning.groups import Factors, Groups
from edgepress.converters.tuning.links import PINNED

Array = npt.NDArray[Any]
SWEEPS = 5
BOUND = 6.0
"""Where ReLU6 saturates."""
DEAD, DEAD_UNREAD, QUIET = 1e-6, 1e-9, 0.1
"""Range times weights below which a channel contributes nothing on calibration data, as a share of the tensor's and the
weights' largest, the range alone where no weights count, and the share of the weights that is left to such a channel:
its values say nothing about other items."""
WIDEST = 2.0**20
"""Largest factor, and the inverse of the smallest."""
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
    sizes = {step.output: _spatial_largest(np.abs(step.constants[1])) for step in readers}
    widest = _most(count, [(groups.of[name], width) for name, width in widths.items()])
    fixed = np.zeros(count, bool)
    fixed[PINNED] = True
    fixed |= groups.bounded & (widest >= BOUND * (1 - 1e-6))
    least = np.where(groups.bounded & ~fixed, widest / BOUND, 0.0)
    clusters = _clusters(groups, list(widths))
    factors = np.ones(count)
    for _ in range(SWEEPS):
        used = _most(count, [(groups.of[n], _share(width / factors[groups.of[n]])) for n, width in widths.items()])
        read = _most(count, [(groups.of[s.inputs[0]], _reading(s, sizes[s.output], groups, factors)) for s in readers])
        factors = np.where(fixed, factors, factors * _change(used, read))
        factors = _levelled(groups, factors, widths, clusters, fixed)
        factors = np.maximum(np.clip(factors, 1 / WIDEST, WIDEST), least)
    return factors


def _most(count: int, parts: list[tuple[Array, Array]]) -> Array:
    """The largest value of each group over the channels of several tensors."""
    found = np.zeros(count)
    for ids, values in parts:
        np.maximum.at(found, ids, values)
    return found


def _spatial_largest(weights: Array) -> Array:
    """The largest weight of each pair of channels."""
    return np.asarray(weights.max(axis=tuple(range(1, weights.ndim - 1)), keepdims=True))


def _share(width: Array) -> Array:
    """Widths of a tensor's channels as shares of the widest."""
    return np.asarray(width / max(width.max(), TINY))


def _reading(step: Step, sizes: Array, groups: Groups, factors: Factors) -> Array:
    """The largest weight that reads each input channel, as a share of the largest of the same output."""
    ids = groups.of[step.inputs[0]]
    index = input_channels(step, len(ids))
    if index is None:
        return np.zeros(len(ids))
    scaled = sizes * factors[ids][index]
    others = tuple(axis for axis in range(scaled.ndim) if output_channels(step).shape[axis] == 1)
    return largest_by_input(scaled / np.maximum(scaled.max(axis=others, keepdims=True), TINY), step, len(ids))


def _change(used: Array, read: Array) -> Array:
    """The factor that balances the share of a range that a channel uses with that of the weights that read it."""
    known = np.maximum(read, TINY)
    balanced = np.where(read > 0, np.sqrt(used / known), used)
    dead = np.where(read > 0, used * read < DEAD, used < DEAD_UNREAD)
    return np.where(dead, np.minimum(1, QUIET / known), balanced)


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
        after[cluster] = max(after[cluster], np.max(scaled[free], initial=0))
        kept[cluster] = max(kept[cluster], width[~free].max(initial=0))
    goal = np.where(kept > 0, kept, before)
    change = np.where((after > 0) & (goal > 0), after / np.where(goal > 0, goal, 1), 1.0)[clusters[: groups.count]]
    return np.where(fixed, factors, factors * change)
