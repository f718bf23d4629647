"""Nets with one layer damaged on purpose: what `edgepress diagnose` must name, and what repairs must fix.

There are two kinds of damage. A **channel scaled** by a factor leaves the float graph's answers as they are, because
what reads it is divided by the factor: but a layer has one scale for all its channels, and the others keep a few codes.
A **range widened** by a factor leaves the graph alone and spoils its calibration: the layer's values keep a share of
the codes.

    >>> model, damage = channel_scaled(float_tflite, items, seed=0)       # doctest: +SKIP
    >>> file = tflite_widened(int8_tflite, layer)                            # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import WEIGHTED, Step
from edgepress.converters.to_tflite import flatbuffer
from edgepress.converters.to_tflite.graph import Graph

if TYPE_CHECKING:
    import onnx

Array = npt.NDArray[Any]
FACTOR, WIDER = 64.0, 10.0
"""Factor of a channel, and of a range."""
PASSING = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "RESHAPE", "SQUEEZE", "PAD")
"""Kinds of operations through which a factor of a channel goes; a pool of the mean is linear, and so is one of the
largest value with a positive factor."""
LINEAR = (0, 1)
"""Numbers of the activations that keep factors: none and ReLU."""
RANGED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL", "MEAN", "HARD_SWISH")
"""Kinds of operations whose range is widened: those that have one of their own."""
TIED = ("MAX_POOL_2D", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "PAD", "AVERAGE_POOL_2D", "TRANSPOSE")
"""Kinds of operations whose output has the scale of its input."""


@dataclass(frozen=True)
class Damage:
    """What was damaged.

    Attributes:
        layer: Name of the tensor that the damaged layer makes.
        kind: "channel" or "range".
        channel: The scaled channel; -1 for a range.
    """

    layer: str
    kind: str
    channel: int = -1


def scalable(program: Program) -> dict[str, list[tuple[Step, int]]]:
    """The layers whose channels may be scaled, by what they make, with the weighted steps that read each.

    With a step stands the number of its inputs that a channel has: 1, or the pixels of a flattened image.
    """
    found = {}
    for step in program.weighted():
        if getattr(step.options, "fusedActivationFunction", 1) in LINEAR:
            readers = _readers(program, step.output, 1)
            if readers:
                found[step.output] = readers
    return found


def _readers(program: Program, name: str, pixels: int) -> list[tuple[Step, int]] | None:
    """The weighted steps behind a tensor, if nothing but they and what passes a factor on reads it."""
    if name == program.sink:
        return None
    found: list[tuple[Step, int]] = []
    for step in program.steps:
        if name not in step.inputs:
            continue
        if step.weights and step.inputs[0] == name and name not in step.inputs[1:]:
            found.append((step, pixels))
        elif step.kind in PASSING and step.inputs[0] == name and _keeps_channels(step):
            more = int(np.prod(step.input_shape[:-1])) if step.shape[-1] != step.input_shape[-1] else 1
            behind = _readers(program, step.output, pixels * more)
            if behind is None:
                return None
            found += behind
        else:
            return None
    return found


def _keeps_channels(step: Step) -> bool:
    """Whether the channels stay the last axis, or are flattened with the pixels in front of them."""
    if getattr(step.options, "fusedActivationFunction", 0) not in LINEAR:
        return False
    if step.kind == "MEAN":
        return len(step.input_shape) - 1 not in [i % len(step.input_shape) for i in step.constant_integers(1)]
    if step.kind == "PAD":
        return not step.constants[1][-1].any()
    flat = len(step.shape) == 2 and step.shape[-1] == int(np.prod(step.input_shape))
    return flat or step.shape[-1:] == step.input_shape[-1:]


def channel_scaled(
    model: bytes, items: Array, *, seed: int = 0, layer: str | None = None, factor: float = FACTOR
) -> tuple[bytes, Damage] | None:
    """A float `.tflite` with one channel of one layer scaled, and what reads it divided: the same function.

    Args:
        model: The `.tflite`.
        items: Items of shape (n, *item shape), to choose a channel that is used: one of the upper half by its range.
        seed: Chooses the layer and the channel.
        layer: Name of what the layer makes; None lets the seed choose.
        factor: Factor of the channel.

    Returns:
        The model and its damage; None if no layer can be scaled.
    """
    program = Program(model)
    free = scalable(program)
    if not free or (layer is not None and layer not in free):
        return None
    rng = np.random.default_rng(seed)
    name = layer or sorted(free)[rng.integers(len(free))]
    values = np.concatenate(
        [np.asarray(program.run(b)[name]).reshape(-1, program.shapes[name][-1]) for b in program.batches(items)]
    )
    ranges = np.ptp(values, axis=0)
    channel = int(rng.choice(np.flatnonzero(ranges >= max(np.median(ranges), ranges.max() / 4))))
    step = next(s for s in program.steps if s.output == name)
    changed = {step.weights: _times(step.constants[1], WEIGHTED[step.kind], [channel], factor)}
    if step.bias:
        changed[step.bias] = _times(step.constants[2], 0, [channel], factor)
    for reader, pixels in free[name]:
        weights = changed.get(reader.weights, reader.constants[1])
        axis = WEIGHTED[reader.kind] if reader.kind == "DEPTHWISE_CONV_2D" else weights.ndim - 1
        many = weights.shape[axis] // len(ranges)
        if reader.kind == "DEPTHWISE_CONV_2D":  # several outputs a channel lie side by side
            places = [channel * many + i for i in range(many)]
        else:
            places = [channel + len(ranges) * i for i in range(many)]
        assert reader.kind == "DEPTHWISE_CONV_2D" or many == pixels
        changed[reader.weights] = _times(weights, axis, places, 1 / factor)
    return program.with_constants(changed), Damage(name, "channel", channel)


def _times(values: Array, axis: int, places: list[int], factor: float) -> Array:
    scaled = np.array(values, np.float32)
    np.moveaxis(scaled, axis, 0)[places] *= np.float32(factor)
    return scaled


def ranged(program: Program, held: Collection[str]) -> list[str]:
    """What the layers make whose range may be widened.

    Args:
        program: The float graph.
        held: Names of the tensors that a file stores as integers.
    """
    return sorted(s.output for s in program.steps if s.kind in RANGED and s.output in held and s.output != program.sink)


def tflite_widened(model: bytes, layer: str, factor: float = WIDER) -> bytes:
    """An integer `.tflite` with the range of one layer widened, as if it had been calibrated so.

    Tensors that must have the same scale follow, and biases, whose scale is that of the input times that of weights.
    """
    graph = Graph(model)
    index = next(i for i in range(len(graph.table.tensors)) if graph.name(i) == layer and graph.scales(i)[0])
    widened = [index]
    for op in graph.operators:
        if not len(op.inputs) or int(op.inputs[0]) not in widened:
            continue
        output = int(op.outputs[0])
        if graph.kind(op) in TIED and graph.scales(output)[0]:
            widened.append(output)
        if graph.kind(op) in WEIGHTED and len(op.inputs) > 2 and int(op.inputs[2]) >= 0:
            _rescale_bias(graph, op, factor)
    for i in widened:
        found = graph.table.tensors[i].quantization
        found.scale = [float(s) * factor for s in found.scale]
    return graph.to_bytes()


def _rescale_bias(graph: Graph, op: Any, factor: float) -> None:
    bias = int(op.inputs[2])
    codes = graph.constant(bias)
    assert codes is not None
    tensor = graph.table.tensors[bias]
    tensor.buffer = flatbuffer.add_buffer(graph.root, np.rint(codes / factor).astype(codes.dtype))
    tensor.quantization.scale = [float(s) * factor for s in tensor.quantization.scale]


def onnx_widened(model: onnx.ModelProto, tensor: str, factor: float = WIDER) -> onnx.ModelProto:
    """A QDQ model with the range of one tensor widened; its biases follow."""
    import onnx
    from onnx import numpy_helper

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    stored = {t.name: t for t in changed.graph.initializer}
    scale = next(n.input[1] for n in changed.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == tensor)

    def times(name: str, by: float) -> None:
        values = numpy_helper.to_array(stored[name])
        new = np.rint(values * by) if values.dtype.kind == "i" else values * by
        stored[name].CopyFrom(numpy_helper.from_array(new.astype(values.dtype), name))

    times(scale, factor)
    made = {name: node for node in changed.graph.node for name in node.output}
    for node in changed.graph.node:
        source = made.get(node.input[0]) if node.input else None
        if node.op_type not in ("Conv", "Gemm") or source is None or scale not in source.input:
            continue
        bias = made.get(node.input[2]) if len(node.input) > 2 else None
        if bias is not None and bias.op_type == "DequantizeLinear":
            times(bias.input[0], 1 / factor)
            times(bias.input[1], factor)
    return changed
