"""Write the float file without some channels, physically removed from all its tensors and constants.

A channel that leaves is taken for a constant, its mean on calibration items, by the convolutions and dense layers that
read it: what it adds to their outputs goes into their biases. This is exact where the layer reads no padding. Where it
does, outputs at the border would need other biases than those inside; they all get the mean of what they need.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping

import numpy as np

from edgepress.converters.arrays import Array, Doubles, Floats
from edgepress.converters.graph.operations import OPERATIONS
from edgepress.converters.graph.step import WEIGHTED, Step
from edgepress.converters.pruning.units import BINARY, Keep, Units, by_channel, groups_of
from edgepress.converters.ptq.channel_links import has_channels, input_channels
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.graph import Graph

Means = Mapping[str, Doubles]
"""Mean of each channel by tensor."""


def without_channels(model: bytes, units: Units, keep: Keep, means: Means | None = None) -> bytes:
    """The file without the units that are not kept.

    Args:
        model: The file of `units.program`.
        units: What can leave.
        keep: Which units stay, shape (count,), the first of them always.
        means: The constants that channels are taken for, by tensor; None stands for zeros.
    """
    graph = Graph(model)
    program = units.program
    index = {graph.name(i): i for i in range(len(graph.table.tensors))}
    reads = [name for step in program.steps for name in step.inputs]
    for op, step in zip(graph.operators, program.steps, strict=True):
        for place, values in _adapt(step, units, keep, means or {}).items():
            name = step.inputs[place] if place < len(step.inputs) else ""
            if name and reads.count(name) == 1:
                tensor = graph.table.tensors[index[name]]
                tensor.buffer = flat.add_buffer(graph.root, values)
                tensor.shape = list(values.shape)
                continue
            new = graph.add_constant(values)
            if name:  # others read the old one
                graph.rename(new, name)
            op.inputs = [*(int(i) for i in op.inputs), *[-1] * (place + 1 - len(op.inputs))]
            op.inputs[place] = new
        if step.kind == "RESHAPE" and getattr(op.builtinOptions, "newShape", None) is not None:
            op.builtinOptions.newShape = _new_shape(np.array(op.builtinOptions.newShape), step, units, keep).tolist()
    for name in units.of:
        tensor = graph.table.tensors[index[name]]
        left = int(units.kept(name, keep).sum())
        for field in ("shape", "shapeSignature"):
            if getattr(tensor, field) is not None and len(getattr(tensor, field)):
                setattr(tensor, field, [*(int(n) for n in getattr(tensor, field)[:-1]), left])
    return graph.to_bytes()


def _adapt(step: Step, units: Units, keep: Keep, means: Means) -> dict[int, Array]:
    """New values of a step's constants by place, if anything of it leaves."""
    out = units.kept(step.output, keep)
    name = step.inputs[0]
    source = units.kept(name, keep) if name in units.of else None
    if all(units.kept(name, keep).all() for name in (*step.inputs, *step.outputs) if name in units.of):
        return {}
    match step.kind:
        case kind if kind in WEIGHTED and step.weights and source is not None:
            return _adapt_layer(step, source, out, means)
        case kind if kind in BINARY or kind == "PRELU":
            return {place: c[..., out] for place, c in step.constants.items() if has_channels(c, len(out))}
        case "RESHAPE" if 1 in step.constants:
            return {1: _new_shape(step.constants[1], step, units, keep)}
        case "PAD" | "PADV2" if 1 in step.constants:
            assert source is not None
            before = int(step.constants[1][-1][0])
            amounts = step.constants[1].copy()
            amounts[-1] = out[:before].sum(), out[before + len(source) :].sum()
            return {1: amounts}
        case "SPLIT_V" if step.constant_integers(2)[0] % len(step.shape) == len(step.shape) - 1:
            sizes = [units.kept(name, keep).sum() for name in step.outputs]
            return {1: np.array(sizes, step.constants[1].dtype)}
        case "SLICE":
            assert source is not None
            begin = step.constants[1].copy()
            size = step.constants[2].copy()
            begin[-1], size[-1] = source[: begin[-1]].sum(), out.sum()
            return {1: begin, 2: size}
    return {}


def _adapt_layer(step: Step, source: Keep, out: Keep, means: Means) -> dict[int, Array]:
    """New weights and bias of a convolution or dense layer."""
    weights = step.constants[1]
    if not by_channel(step):
        index = input_channels(step, len(source))
        assert index is not None
        weights = weights[..., source[index[:1].ravel()]]  # the same channels of each group
    weights = np.compress(out, weights, axis=WEIGHTED[step.kind])
    bias = step.constants[2] if step.bias else np.zeros(len(out), np.float32)
    gone = means.get(step.inputs[0])
    if gone is not None and not by_channel(step) and not source.all():
        bias = bias + _of_constants(step, np.where(source, 0, gone))
    if not step.bias and not bias.any():
        return {1: weights}
    return {1: weights, 2: np.ascontiguousarray(bias[out], np.float32)}


def _of_constants(step: Step, values: Array) -> Floats:
    """What input channels that are constant add to each output channel, on an average of its places."""
    options = copy.copy(step.options)
    options.fusedActivationFunction = 0
    shape = (*step.input_shape[:-1], len(values))
    image = np.broadcast_to(values.astype(np.float32), shape)
    outputs = OPERATIONS[step.kind](dataclasses.replace(step, options=options), [image, step.constants[1], None])
    rows = np.asarray(outputs, np.float32)
    return np.asarray(rows.reshape(-1, rows.shape[-1]).mean(axis=0), np.float32)


def _new_shape(written: Array, step: Step, units: Units, keep: Keep) -> Array:
    """The shape that a RESHAPE asks for; -1 stays where it stands."""
    shape = [*step.shape[:-1], int(units.kept(step.output, keep).sum())]
    return np.where(written == -1, -1, shape).astype(written.dtype)


__all__ = ["Means", "groups_of", "without_channels"]
