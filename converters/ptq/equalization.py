"""Cross-layer equalization: scale channels so that they use the same part of their tensors' ranges.

An int8 tensor has one scale for all its channels, so a channel whose values are small beside those of others keeps few
of its levels. A factor for each scale group evens that out, without a change of the float graph's answers (Nagel et al.
2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721, section 4.1). There
both sides are weights of one scale a tensor. Here activations have one and weights have one for each output channel,
so a factor balances the range of a channel in its tensors with the range of the weights that read it, relative to the
other weights of the same output; depthwise weights have a scale for each channel, and need no balance. Where dense
weights have one scale a tensor, as in dynamic files, both sides are weights, too: the row that makes a channel and the
columns that read it share the levels of their tensors. `limit_factors` keeps all within what integer kernels can
compute (`to_tflite.grids`).
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from edgepress.converters.arrays import Array
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import Step
from edgepress.converters.numeric.statistics import Ranges
from edgepress.converters.ptq.channel_links import PINNED, input_channels, largest_by_input, output_channels
from edgepress.converters.ptq.channel_scales import ChannelRanges, Factors, ScaleGroups
from edgepress.converters.to_tflite.grids import LARGEST, requantization

SWEEPS = 5
"""Rounds of balancing."""
BOUND = 6.0
"""Where ReLU6 saturates."""
DEAD = 1e-6
"""Range times weights below which a channel contributes nothing on calibration data, as a share of the tensor's and the
weights' largest."""
DEAD_UNREAD = 1e-9
"""The same of the range alone, where no weights count."""
QUIET = 0.1
"""Share of the weights that is left to a channel that contributes nothing: its values say nothing about other items."""
WIDEST = 2.0**20
"""Largest factor, and the inverse of the smallest."""
SCALE_OF_OUTPUT = ("CONCATENATION",)
"""Operations whose inputs have the scale of the output in integer files, so that their own ranges do not count."""
SCALE_OF_INPUT = ("SPLIT", "SPLIT_V", "SLICE", "STRIDED_SLICE")
"""Operations whose outputs have the scale of the input in integer files."""
TINY = 1e-30
"""Smallest width that others are divided by."""
ROOM = 4.0
"""Ratio of the largest factor to what is left to it: ranges that clip make scales of outputs smaller."""
LIMIT_ROUNDS = 20
"""Rounds in which factors are limited."""


def equalizing_factors(groups: ScaleGroups, ranges: ChannelRanges, tensorwise: Collection[str] = ()) -> Factors:
    """Factors for `ScaleGroups.scaled`, shape (count,).

    A group that a ReLU6 bounds keeps its factor if one of its channels reaches 6 on calibration data. Otherwise it may
    grow until that: the answers are the same for calibration data, and for others as long as the channel stays below
    what it reached there.

    Args:
        groups: The scale groups.
        ranges: Ranges of the channels on calibration data.
        tensorwise: Kinds of operations whose weights have one scale a tensor, not one for each output.
    """
    count = groups.count
    widths = {name: _width(*pair) for name, pair in ranges.items() if name in groups.of}
    widths = {name: width for name, width in widths.items() if groups.of[name].any()}
    readers = [s for s in groups.program.steps if s.weights and s.inputs[0] in widths and s.kind != "DEPTHWISE_CONV_2D"]
    makers = [s for s in groups.program.steps if s.weights and s.kind in tensorwise and s.inputs[0] in groups.of]
    sizes = {step.output: _spatial_largest(np.abs(step.constants[1])) for step in (*readers, *makers)}
    steps = {step.output: step for step in (*readers, *makers)}
    own = {name: width for name, width in widths.items() if name not in _with_scales_of_others(groups.program)}
    widest = _widest(groups, ranges)
    fixed = find_fixed(groups, ranges)
    least = np.where(groups.bounded & ~fixed, widest / BOUND, 0.0)
    clusters = _clusters(groups, list(widths))
    factors = np.ones(count)
    for _ in range(SWEEPS):
        used = _largest(count, [(groups.of[n], _share(width / factors[groups.of[n]])) for n, width in own.items()])
        scaled = {name: _scale_sizes(step, sizes[name], groups, factors) for name, step in steps.items()}
        read = _largest(count, [(groups.of[s.inputs[0]], _reading(s, scaled[s.output], tensorwise)) for s in readers])
        making = _largest(count, [(groups.of[s.output], _share(_by_output(s, scaled[s.output]))) for s in makers])
        factors = np.where(fixed, factors, factors * _change(used, read, making))
        factors = _level(groups, factors, widths=widths, clusters=clusters, fixed=fixed)
        factors = np.maximum(np.clip(factors, 1 / WIDEST, WIDEST), least)
    return factors


def find_fixed(groups: ScaleGroups, ranges: ChannelRanges) -> npt.NDArray[np.bool_]:
    """Whether a group keeps its factor, shape (count,): the pinned ones, and those that reach the bound of a ReLU6.

    Args:
        groups: The scale groups.
        ranges: Ranges of the channels on calibration data.
    """
    fixed = groups.bounded & (_widest(groups, ranges) >= BOUND * (1 - 1e-6))
    fixed[PINNED] = True
    return fixed


def _widest(groups: ScaleGroups, ranges: ChannelRanges) -> Array:
    """The widest range of each group over the channels of all tensors, shape (count,)."""
    widths = [(groups.of[name], _width(*pair)) for name, pair in ranges.items() if name in groups.of]
    return _largest(groups.count, widths)


def _width(low: Array, high: Array) -> Array:
    """Widths of ranges that hold 0."""
    return np.asarray(np.maximum(high, 0) - np.minimum(low, 0))


def _largest(count: int, parts: list[tuple[Array, Array]]) -> Array:
    """The largest value of each group over the channels of several tensors."""
    largest = np.zeros(count)
    for ids, values in parts:
        np.maximum.at(largest, ids, values)
    return largest


def _spatial_largest(weights: Array) -> Array:
    """The largest weight of each pair of channels."""
    return np.asarray(weights.max(axis=tuple(range(1, weights.ndim - 1)), keepdims=True))


def _share(width: Array) -> Array:
    """Widths of a tensor's channels as shares of the widest."""
    return np.asarray(width / max(width.max(), TINY))


def _with_scales_of_others(program: Program) -> set[str]:
    """Tensors that have the scale of a larger tensor in integer files."""
    joined = {name for step in program.steps if step.kind in SCALE_OF_OUTPUT for name in step.inputs}
    parts = {name for step in program.steps if step.kind in SCALE_OF_INPUT for name in step.outputs}
    return joined | parts


def _scale_sizes(step: Step, sizes: Array, groups: ScaleGroups, factors: Factors) -> Array:
    """The largest weight of each pair of channels with the factors of both; zeros if they are not paired."""
    ids = groups.of[step.inputs[0]]
    index = input_channels(step, len(ids))
    if index is None:
        return np.zeros_like(sizes)
    return np.asarray(sizes * factors[ids][index] / factors[groups.of[step.output]][output_channels(step)])


def _reading(step: Step, scaled: Array, tensorwise: Collection[str]) -> Array:
    """The largest weight that reads each input channel, as a share of the largest with the same scale."""
    channels = step.input_shape[-1]
    if input_channels(step, channels) is None:
        return np.zeros(channels)
    axes = tuple(range(scaled.ndim)) if step.kind in tensorwise else _input_axes(step)
    return largest_by_input(scaled / np.maximum(scaled.max(axis=axes, keepdims=True), TINY), step, channels)


def _by_output(step: Step, scaled: Array) -> Array:
    """The largest weight that makes each output channel."""
    return np.asarray(scaled.max(axis=_input_axes(step)).ravel())


def _input_axes(step: Step) -> tuple[int, ...]:
    """The axes of weights other than that of the output's channels."""
    places = output_channels(step)
    return tuple(axis for axis in range(places.ndim) if places.shape[axis] == 1)


def _change(used: Array, read: Array, making: Array) -> Array:
    """The factor that balances the levels that a channel uses with those of the weights that read it.

    Args:
        used: Share of its tensors' ranges.
        read: Share of the levels that the largest weight that reads it has; 0 if none does.
        making: The same of the weights that make it, where they have one scale a tensor; 0 elsewhere.
    """
    known = np.maximum(read, TINY)
    side = np.where(making > 0, np.minimum(used, making), used)  # the fewer levels limit what the channel tells
    balanced = np.where(read > 0, np.sqrt(side / known), side)
    dead = np.where(read > 0, used * read < DEAD, used < DEAD_UNREAD)
    quiet = np.where(making > 0, np.sqrt(making / known), np.minimum(1, QUIET / known))
    return np.where(dead, quiet, balanced)


def _clusters(groups: ScaleGroups, names: list[str]) -> Array:
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


def _level(
    groups: ScaleGroups, factors: Factors, *, widths: dict[str, Array], clusters: Array, fixed: npt.NDArray[np.bool_]
) -> Factors:
    """Multiply the free factors of each set of tied tensors so that their widest channel stays as wide as it was.

    If some channels are fixed, the free ones become as wide as these.
    """
    number = int(clusters.max()) + 1
    before = np.zeros(number)
    after = np.zeros(number)
    of_fixed = np.zeros(number)
    for name, width in widths.items():
        ids = groups.of[name]
        cluster = clusters[ids[ids > PINNED][0]]
        free = ~fixed[ids]
        scaled = width / factors[ids]
        before[cluster] = max(before[cluster], width[free].max(initial=0))
        after[cluster] = max(after[cluster], np.max(scaled[free], initial=0))
        of_fixed[cluster] = max(of_fixed[cluster], width[~free].max(initial=0))
    goal = np.where(of_fixed > 0, of_fixed, before)
    change = np.divide(after, goal, out=np.ones(number), where=after > 0)
    return np.where(fixed, factors, factors * change[clusters[: groups.count]])


def limit_factors(
    groups: ScaleGroups, factors: Factors, ranges: Ranges, fixed: npt.NDArray[np.bool_] | None = None
) -> Factors:
    """Factors that let no sum of products be multiplied by too much, shape (count,).

    A channel that is nearly always 0 would be scaled up beside its neighbours, and with it the weights that make it.

    Args:
        groups: The scale groups.
        factors: Factors for `ScaleGroups.scaled`.
        ranges: Ranges of the tensors with these factors.
        fixed: Which groups keep their factor (`find_fixed`); None: the pinned ones.
    """
    limited = factors.copy()
    for _ in range(LIMIT_ROUNDS):
        constants = groups.scale_constants(limited)
        excess = np.ones(groups.count)
        for step in groups.program.weighted():
            if step.inputs[0] not in ranges or step.output not in ranges:
                continue
            weights = np.abs(constants.get(step.weights, step.constants[1]))
            places = output_channels(step)
            axes = tuple(axis for axis in range(weights.ndim) if places.shape[axis] == 1)
            largest = weights.max(axis=axes).ravel()
            source, output = (np.ptp((0.0, *ranges[name])) for name in (step.inputs[0], step.output))
            ids = groups.of[step.output]
            if not output or len(largest) != len(ids):
                continue
            np.maximum.at(excess, ids, requantization(float(source), largest / 127, float(output)) * ROOM / LARGEST)
        excess[PINNED if fixed is None else fixed] = 1
        if not (excess > 1).any():
            break
        limited = limited * excess
    return limited
