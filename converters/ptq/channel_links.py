"""Which channels of a graph's tensors can only be scaled together, operation by operation.

An operation is known here if a positive factor for each channel of its inputs gives some factor for each channel of its
output, for all values. Channels are the last axis. Convolutions and dense layers need no link: their weights take any
factors of their inputs and outputs. Operations that are not in `RULES` pin their tensors, which is always right.

What channels can only be removed together (`pruning.units`) follows from the same rules and a few others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from edgepress.converters.arrays import Array
from edgepress.converters.graph.layers import ACTIVATIONS
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import WEIGHTED, Step

PINNED = 0
"""Number of the channel that stands for all that can't be scaled."""
Ids = npt.NDArray[np.intp]


def input_channels(step: Step, channels: int) -> Ids | None:
    """The input channel of every weight, in a shape that broadcasts to that of the weights; None if there is none.

    Args:
        step: A step with constant weights.
        channels: Size of the last axis of its input.
    """
    shape: tuple[int, ...] = step.constants[1].shape
    match step.kind:
        case "CONV_2D" if channels % shape[-1] == 0 and shape[0] % (channels // shape[-1]) == 0:
            groups = channels // shape[-1]
            group = np.arange(shape[0]) // (shape[0] // groups)
            return (group[:, np.newaxis] * shape[-1] + np.arange(shape[-1])).reshape(shape[0], 1, 1, shape[-1])
        case "DEPTHWISE_CONV_2D" if shape[-1] % channels == 0:
            return (np.arange(shape[-1]) // (shape[-1] // channels)).reshape(1, 1, 1, -1)
        case "FULLY_CONNECTED" if shape[-1] % channels == 0:  # an image is read as one row, pixel by pixel
            return np.arange(shape[-1])[np.newaxis] % channels
    return None


def output_channels(step: Step) -> Ids:
    """The output channel of every weight, in a shape that broadcasts to that of the weights."""
    shape = step.constants[1].shape
    axis = WEIGHTED[step.kind]
    return np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])


def largest_by_input(values: Array, step: Step, channels: int) -> Array:
    """The largest of numbers, one for each weight, of every input channel, shape (channels,)."""
    largest = np.zeros(channels, values.dtype)
    index = input_channels(step, channels)
    assert index is not None
    spatial = tuple(axis for axis in range(1, values.ndim - 1))  # those that no channel depends on
    np.maximum.at(largest, np.broadcast_to(index, values.shape).max(axis=spatial), values.max(axis=spatial))
    return largest


class Links:
    """Channels of all computed tensors, each with a number, and those that can only be changed together.

    The input's and the output's are pinned from the start; the rules of the operations tie others.

    Attributes:
        ids: Numbers of the channels by tensor.
        bounded: Numbers of channels that a ReLU6 makes: a factor moves its bound.
        products: Products of two computed tensors, whose factors multiply; `channel_scales` decides which is scaled.
    """

    def __init__(self, program: Program) -> None:
        self.ids: dict[str, Ids] = {}
        self.count = PINNED + 1
        self.bounded: list[Ids] = []
        self.products: list[Step] = []
        self._pairs: list[tuple[Ids, Ids]] = []
        for name in (program.source, *(name for step in program.steps for name in step.outputs)):
            size = (program.shapes[name] or (1,))[-1]
            self.ids[name] = np.arange(self.count, self.count + size)
            self.count += size
        self.pin(program.source, program.sink)

    def apply(self, rules: Mapping[str, Rule], step: Step) -> None:
        """Tie channels by the rule of a step's kind; of one without a rule, or of integers, all are pinned."""
        if step.kind in rules and step.dtype == np.float32:
            rules[step.kind](step, self)
        else:
            self.pin(*step.inputs, *step.outputs)

    def pin(self, *names: str) -> None:
        """Let no channel of some tensors be changed; constants are ignored."""
        for name in names:
            if name in self.ids:
                self.tie(self.ids[name], np.full(1, PINNED))

    def tie(self, first: Ids, second: Ids) -> None:
        """Let channels be changed like others, in pairs, or all like a single one."""
        self._pairs.append((first, np.broadcast_to(second, first.shape)))

    def components(self) -> Ids:
        """The number of its group for every channel; 0 is the pinned one."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        first, second = (np.concatenate(side) for side in zip(*self._pairs, strict=True))
        graph = coo_array((np.ones(len(first), bool), (first, second)), (self.count, self.count))
        _, numbers = connected_components(graph, directed=False)
        lowest = numbers[PINNED]  # scipy numbers them from the first node on; do not depend on it
        return np.where(numbers == lowest, 0, np.where(numbers < lowest, numbers + 1, numbers)).astype(np.intp)

    def computed(self, step: Step) -> list[str]:
        """The inputs of a step that are not constants."""
        return [name for name in step.inputs if name in self.ids]


Rule = Callable[[Step, Links], None]
"""Ties the channels of one operation."""


def scaling_links(program: Program) -> Links:
    """The channels of a program that have one factor; products of two tensors are left to the caller."""
    links = Links(program)
    shared = _read_twice(program)
    for step in program.steps:
        links.apply({} if shared & set(_scalable_constants(step)) else RULES, step)
        name = ACTIVATIONS[getattr(step.options, "fusedActivationFunction", 0) or 0]
        if step.kind == "RELU6" or name == "relu6":
            links.bounded.append(links.ids[step.output])
        elif name in ("relu_n1_to_1", "tanh"):
            links.pin(step.output)
    return links


def _read_twice(program: Program) -> set[str]:
    """Constants that are read at several places, which may ask for different values; zeros are the same in all."""
    seen: set[str] = set()
    twice: set[str] = set()
    for step in program.steps:
        for name in step.inputs:
            (twice if name in seen else seen).add(name)
    return {name for name in twice if name in program.constants and program.constants[name].any()}


def _scalable_constants(step: Step) -> list[str]:
    """Constants of a step that take up factors."""
    if step.weights:
        return [name for name in step.inputs[1:] if name]
    channels = (step.shape or (1,))[-1]
    taking = {place: c for place, c in step.constants.items() if has_channels(c, channels)}
    return [step.inputs[place] for place in taking] if step.kind in ("ADD", "SUB", "MUL") else []


def link_weighted(step: Step, links: Links) -> None:
    """Channels are free if constant weights and biases can take up what is done to them."""
    computed = len(step.inputs) > 2 and bool(step.inputs[2]) and not step.bias
    if not step.weights or step.constants[1].dtype != np.float32 or computed or step.inputs[0] not in links.ids:
        links.pin(*step.inputs, step.output)
    elif input_channels(step, len(links.ids[step.inputs[0]])) is None:
        links.pin(step.inputs[0])


def alike(step: Step, links: Links) -> None:
    """The output's channels are those of its inputs."""
    out = links.ids[step.output]
    for name in links.computed(step):
        if len(links.ids[name]) == len(out):
            links.tie(out, links.ids[name])
        else:
            links.pin(name, step.output)


def by_first(step: Step, links: Links) -> None:
    """The output's channels are those of the first input; others are constants that factors do not change."""
    source = links.ids.get(step.inputs[0])
    out = links.ids[step.output]
    if source is None or len(source) != len(out) or len(links.computed(step)) > 1:
        links.pin(*step.inputs, step.output)
    else:
        links.tie(out, source)


def _link_sum(step: Step, links: Links) -> None:
    """Constants are divided like the sum, for which they need a value for each channel."""
    alike(step, links)
    for constant in step.constants.values():
        if not has_channels(constant, len(links.ids[step.output])) and constant.any():
            links.pin(step.output)


def has_channels(constant: Array, channels: int) -> bool:
    """Whether a constant has a value for each channel."""
    return bool(constant.ndim) and constant.shape[-1] == channels


def _link_product(step: Step, links: Links) -> None:
    if not step.constants:
        links.products.append(step)
    elif not has_channels(next(iter(step.constants.values())), len(links.ids[step.output])):
        alike(step, links)
    elif len(links.ids[links.computed(step)[0]]) != len(links.ids[step.output]):
        links.pin(*step.inputs, step.output)


def _link_reduction(step: Step, links: Links) -> None:
    """Reductions of other axes than that of the channels."""
    last = len(step.input_shape) - 1
    if 1 not in step.constants or last in [axis % (last + 1) for axis in step.constant_integers(1)]:
        links.pin(*step.inputs, step.output)
    else:
        by_first(step, links)


def _link_reshape(step: Step, links: Links) -> None:
    """If one size of the last axis divides the other, channels repeat in the larger one."""
    source = links.ids.get(step.inputs[0])
    out = links.ids[step.output]
    if source is None or max(len(source), len(out)) % min(len(source), len(out)):
        links.pin(step.inputs[0], step.output)
    else:
        small, large = sorted((source, out), key=len)
        links.tie(large, np.resize(small, len(large)))


def _link_pad(step: Step, links: Links) -> None:
    """Zeros around; channels of zeros are free."""
    source = links.ids.get(step.inputs[0])
    out = links.ids[step.output]
    if source is None or 1 not in step.constants or (len(step.inputs) > 2 and step.constants.get(2, np.ones(1)).any()):
        links.pin(step.inputs[0], step.output)
    else:
        before = step.constants[1].reshape(-1, 2)[-1][0]
        links.tie(out[before : before + len(source)], source)


def _link_concatenation(step: Step, links: Links) -> None:
    axis = step.options.axis % len(step.shape)
    out = links.ids[step.output]
    parts = [links.ids.get(name) for name in step.inputs]
    if axis != len(step.shape) - 1 or any(part is None for part in parts):
        constant = any(part is None for part in parts)
        links.pin(*step.inputs, step.output) if constant else alike(step, links)
    else:
        links.tie(out, np.concatenate([part for part in parts if part is not None]))


def _link_split(step: Step, links: Links) -> None:
    """SPLIT reads the axis first, SPLIT_V last."""
    place, source = (0, step.inputs[1]) if step.kind == "SPLIT" else (2, step.inputs[0])
    rank = len(step.shape)
    outs = [links.ids[name] for name in step.outputs]
    if source not in links.ids or place not in step.constants:
        links.pin(*step.inputs, *step.outputs)
    elif step.constant_integers(place)[0] % rank == rank - 1:
        links.tie(np.concatenate(outs), links.ids[source])
    else:
        for out in outs:
            links.tie(out, links.ids[source])


def _link_slice(step: Step, links: Links) -> None:
    """A part of the channels if the operation says where it begins, all of them otherwise."""
    source = links.ids.get(step.inputs[0])
    out = links.ids[step.output]
    if source is not None and step.kind == "SLICE" and 1 in step.constants:
        begin = step.constant_integers(1)[-1]
        links.tie(out, source[begin : begin + len(out)])
    elif source is not None and step.kind == "STRIDED_SLICE" and _keeps_channels(step) and len(source) == len(out):
        links.tie(out, source)
    else:
        links.pin(step.inputs[0], step.output)


def _keeps_channels(step: Step) -> bool:
    """Whether the last axis of a STRIDED_SLICE stays the last, in its order."""
    moved = step.options.newAxisMask or step.options.ellipsisMask or len(step.input_shape) != len(step.shape)
    return not moved and 3 in step.constants and step.constant_integers(3)[-1] == 1


def _link_transpose(step: Step, links: Links) -> None:
    last = len(step.shape) - 1
    if 1 in step.constants and step.constant_integers(1)[-1] == last:
        by_first(step, links)
    else:
        links.pin(step.inputs[0], step.output)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), link_weighted),
    **dict.fromkeys(("ADD", "SUB"), _link_sum),
    "MUL": _link_product,
    **dict.fromkeys(("RELU", "RELU6", "LEAKY_RELU", "ABS", "NEG", "PRELU"), by_first),
    **dict.fromkeys(("MAX_POOL_2D", "AVERAGE_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), by_first),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), _link_reduction),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), _link_reshape),
    **dict.fromkeys(("PAD", "PADV2"), _link_pad),
    "CONCATENATION": _link_concatenation,
    **dict.fromkeys(("SPLIT", "SPLIT_V"), _link_split),
    **dict.fromkeys(("SLICE", "STRIDED_SLICE"), _link_slice),
    "TRANSPOSE": _link_transpose,
}
"""By the name of the kind in the schema."""
