"""Quantized files with one fault each, planted at a random layer: what `edgepress diagnose --data` must name first.

Five kinds of faults change what a finished int8 file says, not the model that it was made of:

* "zero point": of one tensor of values, moved by 32 to 128 codes;
* "range": the scale of one tensor of values, 4 to 16 times too large or too small;
* "bias": of one channel, moved by 32 to 128 steps of the layer's output;
* "channel scale": that of one channel's weights, 4 to 64 times too large or too small;
* "weight": one weight, set to the end of its codes that is farther away.

Tensors that the kernels tie to the changed one (what a pool or a reshape makes of it) follow it or not, as drawn. A
fault must matter: places are drawn until the file's scores are wrong by at least `MATTERS` times the sound file's error
(squared, against the float model). So a single weight is one of those, at a random layer, on which answers depend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgepress.converters.graph.step import WEIGHTED
from edgepress.converters.to_tflite import flatbuffer
from edgepress.converters.to_tflite.graph import Graph

Array = npt.NDArray[Any]
KINDS = ("zero point", "range", "bias", "channel scale", "weight")
MATTERS = 4.0
"""Squared error of the scores to that of the sound file from which on a fault matters."""
TRIES = 200
"""Places that are drawn until one matters."""
MADE = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL", "MEAN", "HARD_SWISH")
"""Kinds of operations whose output has a range of its own."""
TIED = ("MAX_POOL_2D", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "PAD", "AVERAGE_POOL_2D", "TRANSPOSE")
"""Kinds of operations whose output has the scale of its input."""
ENDS = ("Softmax", "Sigmoid")
"""Operations of ONNX whose range is fixed."""
PASSED = ("MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "AveragePool", "Pad")
"""Operations of ONNX whose output has the scale of its input."""


@dataclass(frozen=True)
class Fault:
    """One planted fault.

    Attributes:
        kind: One of `KINDS`.
        layer: Name of the tensor that the damaged layer makes.
        what: The change, in words.
    """

    kind: str
    layer: str
    what: str


class NoPlaceError(Exception):
    """No place of a file was drawn at which a fault matters."""


def planted(file: bytes, kind: str, seed: int, error: Callable[[bytes], float], *, tflite: bool) -> tuple[bytes, Fault]:
    """A file with one fault that matters.

    Args:
        file: The sound int8 file.
        kind: One of `KINDS`.
        seed: Chooses the layer, the place in it and the size of the change.
        error: Squared error of a file's scores; infinite if the engine refuses the file.
        tflite: Whether the file is TFLite, or ONNX.

    Raises:
        NoPlaceError: None was found.
    """
    rng = np.random.default_rng(seed)
    sound = error(file)
    for _ in range(TRIES):
        damaged, fault = (_tflite if tflite else _onnx)(file, kind, rng)
        if np.isfinite(now := error(damaged)) and now >= MATTERS * sound:
            return damaged, fault
    raise NoPlaceError(f"{kind}: none of {TRIES} places matters")


def _shift(rng: np.random.Generator, zero: int, low: int, high: int) -> int:
    """Another zero point, 32 to 128 codes from the old one and a code itself."""
    steps = int(rng.integers(32, 129))
    sides = [zero + way * steps for way in (-1, 1) if low <= zero + way * steps <= high]
    return int(rng.choice(sides)) if sides else (high if zero - low < high - zero else low)


def _factor(rng: np.random.Generator, most: float) -> float:
    return float(2 ** (rng.uniform(2, np.log2(most)) * rng.choice([-1, 1])))


def _code(rng: np.random.Generator, codes: Array) -> tuple[tuple[int, ...], int]:
    """A place in some weights, and the end of the codes that is farther from what is there."""
    place = tuple(int(rng.integers(n)) for n in codes.shape)
    return place, -127 if codes[place] > 0 else 127


def _tflite(file: bytes, kind: str, rng: np.random.Generator) -> tuple[bytes, Fault]:
    graph = Graph(file)
    ops = [op for op in graph.operators if graph.kind(op) in MADE and graph.dtype(int(op.outputs[0])) == np.int8]
    if kind in ("zero point", "range"):
        op = ops[rng.integers(len(ops))]
        index = int(op.outputs[0])
        followers = list(_followers(graph, index)) if rng.integers(2) else []
        quantization = graph.table.tensors[index].quantization
        if kind == "range":
            factor = _factor(rng, 16)
            for i in (index, *followers):
                own = graph.table.tensors[i].quantization
                own.scale = [float(s) * factor for s in own.scale]
            what = f"scale x {factor:.3g}"
        else:
            zero = _shift(rng, int(quantization.zeroPoint[0]), -128, 127)
            what = f"zero point {int(quantization.zeroPoint[0])} -> {zero}"
            for i in (index, *followers):
                graph.table.tensors[i].quantization.zeroPoint = [zero]
        return graph.to_bytes(), Fault(kind, graph.name(index), f"{what}, {len(followers)} tensors follow")
    op = (weighted := [op for op in ops if graph.kind(op) in WEIGHTED])[rng.integers(len(weighted))]
    name, tensor = graph.name(int(op.outputs[0])), graph.table.tensors[int(op.inputs[1])]
    if kind == "channel scale":
        scales = [float(s) for s in tensor.quantization.scale]
        channel, factor = int(rng.integers(len(scales))), _factor(rng, 64)
        scales[channel] *= factor
        tensor.quantization.scale = scales
        return graph.to_bytes(), Fault(kind, name, f"channel {channel}: scale x {factor:.3g}")
    place_in = 2 if kind == "bias" else 1
    tensor, old = graph.table.tensors[int(op.inputs[place_in])], graph.constant(int(op.inputs[place_in]))
    assert old is not None
    codes = old.copy()
    if kind == "bias":
        place = (int(rng.integers(len(codes))),)
        step = (
            graph.scales(int(op.outputs[0]))[0][0]
            / tensor.quantization.scale[place[0] % len(tensor.quantization.scale)]
        )
        codes[place] = _moved(rng, int(codes[place]), step)
    else:
        place, codes[place] = _code(rng, codes)
    tensor.buffer = flatbuffer.add_buffer(graph.root, codes)
    return graph.to_bytes(), Fault(kind, name, f"{place}: {old[place]} -> {codes[place]}")


def _moved(rng: np.random.Generator, code: int, step: float) -> int:
    by = int(rng.integers(32, 129)) * step * rng.choice([-1, 1])
    return int(np.clip(code + by, -(2**31), 2**31 - 1))


def _followers(graph: Graph, index: int) -> Iterator[int]:
    for op in graph.operators:
        if graph.kind(op) in TIED and int(op.inputs[0]) == index:
            output = int(op.outputs[0])
            if graph.scales(output)[0] == graph.scales(index)[0]:
                yield output
                yield from _followers(graph, output)


def _onnx(file: bytes, kind: str, rng: np.random.Generator) -> tuple[bytes, Fault]:
    model = onnx.load_model_from_string(file)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}

    def read(name: str) -> Array:
        return numpy_helper.to_array(stored[name])

    def put(name: str, values: Array) -> None:
        stored[name].CopyFrom(numpy_helper.from_array(values.astype(read(name).dtype), name))

    rounds = [n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] in made]
    rounds = [n for n in rounds if made[n.input[0]].op_type not in (*ENDS, *PASSED)]
    if kind in ("zero point", "range"):
        node = rounds[rng.integers(len(rounds))]
        if kind == "range":
            factor = _factor(rng, 16)
            put(node.input[1], read(node.input[1]) * factor)
            return model.SerializeToString(), Fault(kind, node.input[0], f"scale x {factor:.3g}")
        old = read(node.input[2])
        limits = np.iinfo(old.dtype)
        zero = _shift(rng, int(old), int(limits.min), int(limits.max))
        put(node.input[2], np.array(zero))
        return model.SerializeToString(), Fault(kind, node.input[0], f"zero point {int(old)} -> {zero}")
    products = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm") and n.input[1] in made]
    node = products[rng.integers(len(products))]
    weights, bias = made[node.input[1]], made[node.input[2]]
    if kind == "channel scale":
        scales = read(weights.input[1]).copy()
        channel, factor = int(rng.integers(scales.size)), _factor(rng, 64)
        scales.reshape(-1)[channel] *= factor
        put(weights.input[1], scales)
        return model.SerializeToString(), Fault(kind, node.output[0], f"channel {channel}: scale x {factor:.3g}")
    source = (bias if kind == "bias" else weights).input[0]
    codes = read(source).copy()
    if kind == "bias":
        place = (int(rng.integers(len(codes))),)
        output = next(n for n in rounds if n.input[0] == node.output[0])
        scales = read(bias.input[1]).reshape(-1)
        step = float(read(output.input[1])) / float(scales[place[0] % scales.size])
        codes[place] = _moved(rng, int(codes[place]), step)
    else:
        place, codes[place] = _code(rng, codes)
    before = read(source)[place]
    put(source, codes)
    return model.SerializeToString(), Fault(kind, node.output[0], f"{place}: {before} -> {codes[place]}")
