"""Files that `edgepress export` has to end with: small graphs with changed bytes or fields, and extreme ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from c99_graphs import Maker, graph

from edgepress.converters.to_tflite import flatbuffer as flat

SOURCES = (
    "chain-0",
    "conv-1",
    "mean",
    "add-channels",
    "softmax",
    "pad",
    "depthwise-0",
    "max-pool",
    "dense",
    "tanh",
    "resized-0",
    "maximum-4",
    "transposed-0",
)
NUMBERS = (-(2**31), -1, 0, 1, 2, 3, 7, 255, 4000, 32767, 65536, 2**24, 2**31 - 1)
"""For sizes, strides, axes and numbers of tensors."""
SCALES = (0.0, -1.0, 1e-45, 1e-38, 1e-12, 1.0, 1e12, 3e38, float("inf"), float("nan"))


def mutated(seed: int) -> tuple[str, bytes]:
    """A damaged file and how it was damaged, drawn by a seed."""
    draw = random.Random(seed)
    name = draw.choice(SOURCES)
    data = graph(name)
    if draw.random() < 0.3:
        changed = bytearray(data)
        for _ in range(draw.choice((1, 1, 2, 8))):
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        return f"{name}, bits", bytes(changed)
    root, subgraph = flat.read(data)
    fields = sorted((draw.choice(MUTATIONS) for _ in range(draw.choice((1, 1, 2, 3)))), key=MUTATIONS.index)
    for change in fields:
        change(root, subgraph, draw)
    return f"{name}, {', '.join(change.__name__ for change in fields)}", flat.write(root)


def _shape(root: Any, subgraph: Any, draw: random.Random) -> None:
    shape = [int(size) for size in draw.choice(subgraph.tensors).shape]
    tensor = draw.choice(subgraph.tensors)
    if shape:
        shape[draw.randrange(len(shape))] = draw.choice(NUMBERS)
    tensor.shape = shape


def _size(root: Any, subgraph: Any, draw: random.Random) -> None:
    """Of an activation and of what is made of it, as if the graph were meant so."""
    size = draw.choice(NUMBERS[4:])
    for tensor in subgraph.tensors:
        if len(tensor.shape) == 4 and not _holds(root.buffers[tensor.buffer]):
            tensor.shape = [1, size, *[int(n) for n in tensor.shape[2:]]]


def _holds(buffer: Any) -> bool:
    return buffer.data is not None and len(buffer.data) > 0


def _option(root: Any, subgraph: Any, draw: random.Random) -> None:
    options = draw.choice(subgraph.operators).builtinOptions
    names = [name for name, value in vars(options).items() if type(value) is int] if options else []
    if names:
        name = draw.choice(names)
        small = name in ("fusedActivationFunction", "padding", "weightsFormat", "quantizedBiasType")
        setattr(options, name, draw.choice((-1, 1, 4, 127)) if small else draw.choice(NUMBERS))


def _scale(root: Any, subgraph: Any, draw: random.Random) -> None:
    quantization = draw.choice(subgraph.tensors).quantization
    if quantization is not None and quantization.scale is not None and len(quantization.scale):
        quantization.scale = [draw.choice(SCALES) for _ in quantization.scale]


def _zero_point(root: Any, subgraph: Any, draw: random.Random) -> None:
    quantization = draw.choice(subgraph.tensors).quantization
    if quantization is not None and quantization.zeroPoint is not None:
        quantization.zeroPoint = [draw.choice((-129, -128, 0, 127, 2**31, -(2**63))) for _ in quantization.zeroPoint]


def _constant(root: Any, subgraph: Any, draw: random.Random) -> None:
    """Axes, paddings, biases: numbers of 32 bits."""
    buffers = [each for each in root.buffers if _holds(each) and len(each.data) % 4 == 0]
    if buffers:
        buffer = draw.choice(buffers)
        values = np.frombuffer(bytes(bytearray(buffer.data)), np.int32).copy()
        values[draw.randrange(len(values))] = draw.choice(NUMBERS)
        buffer.data = values.view(np.uint8)


def _edge(root: Any, subgraph: Any, draw: random.Random) -> None:
    operator = draw.choice(subgraph.operators)
    ends = [int(n) for n in draw.choice((operator.inputs, operator.outputs))]
    if ends:
        ends[draw.randrange(len(ends))] = draw.choice((-2, -1, *range(len(subgraph.tensors) + 1)))
    operator.inputs = ends


def _operators(root: Any, subgraph: Any, draw: random.Random) -> None:
    count = draw.choice((0, 1, 5, 3000)) if subgraph.operators else 0
    subgraph.operators = [draw.choice(subgraph.operators) for _ in range(count)]


MUTATIONS: tuple[Callable[[Any, Any, random.Random], None], ...] = (
    _shape, _size, _option, _scale, _zero_point, _constant, _edge, _operators,
)  # fmt: skip


def _pool(shape: tuple[int, ...], window: int, stride: int, kind: str = "MAX_POOL_2D") -> bytes:
    return Maker("pool", shape).pool(kind, (window, window), (stride, stride)).model()


def _changed(m: Maker, **options: Any) -> bytes:
    for name, value in options.items():
        setattr(m.net.graph.operators[-1].builtinOptions, name, value)
    return m.model()


def _scaled(scale: float) -> bytes:
    m = Maker("scaled", (6, 6, 4)).conv(8, (3, 3))
    m.net.graph.tensors[m.at].quantization.scale = [scale]
    return m.model()


def _doubled(count: int) -> bytes:
    """Each operation reads the output of the one before twice."""
    m = Maker("doubled", (3,))
    for _ in range(count):
        m.join("MUL", m.at)
        m.scale = 0.05
        m.net.graph.tensors[m.at].quantization.scale = [0.05]
    return m.model()


def _fan(count: int) -> bytes:
    """Many tensors that are needed at the same time."""
    m = Maker("fan", (50,))
    outputs = []
    for _ in range(count):
        m.at, m.scale = m.net.input, 0.05
        outputs.append(m.end("LOGISTIC").at)
    for other in outputs[:-1]:
        m.join("ADD", other)
        m.net.graph.tensors[m.at].quantization.scale = [m.net.graph.tensors[outputs[0]].quantization.scale[0]]
    return m.model()


def _cycle() -> bytes:
    m = Maker("cycle", (6, 6, 4)).conv(4, (1, 1)).conv(4, (1, 1))
    m.net.graph.operators[0].inputs[0] = m.at
    return m.model()


def _large(shape: tuple[int, ...], count: int) -> bytes:
    m = Maker("large", shape)
    for _ in range(count):
        m.quantize(0.05)
    return m.model()


EXTREMES: dict[str, Callable[[], bytes]] = {
    "max pool of 4000 x 4000": lambda: _pool((24, 24, 1), 4000, 1),
    "average pool of 32768 x 32768": lambda: _pool((24, 24, 3), 32768, 1, "AVERAGE_POOL_2D"),
    "pool of a large image": lambda: _pool((4000, 4000, 1), 4000, 1),
    "average pool of a large image": lambda: _pool((4000, 4000, 1), 4000, 4000, "AVERAGE_POOL_2D"),
    "stride of 32768": lambda: _pool((24, 24, 1), 3, 32768),
    "stride of 2^31 - 1": lambda: _changed(Maker("s", (6, 6, 4)).conv(8, (3, 3)), strideH=2**31 - 1, strideW=2**31 - 1),
    "dilation of 2^31 - 1": lambda: _changed(Maker("d", (6, 6, 4)).conv(8, (3, 3)), dilationHFactor=2**31 - 1),
    "dilation of 32768": lambda: Maker("d", (6, 6, 4)).conv(8, (3, 3), dilation=32768).model(),
    "depth multiplier of 4096": lambda: Maker("m", (6, 6, 4)).depthwise(1024, (3, 3)).model(),
    "negative window": lambda: _changed(Maker("n", (6, 6, 4)).pool("MAX_POOL_2D", (2, 2), (1, 1)), filterHeight=-2),
    "scale 0": lambda: _scaled(0.0),
    "scale NaN": lambda: _scaled(float("nan")),
    "scale infinity": lambda: _scaled(float("inf")),
    "scale 1e-38": lambda: _scaled(1e-38),
    "10,000 operations": lambda: _doubled(10_000),
    "1,500 operations that read twice": lambda: _doubled(1500),
    "900 tensors at once": lambda: _fan(900),
    "a cycle": _cycle,
    "16 MiB of channels": lambda: _large((1, 1, 1 << 24), 12),
    "16 MiB of pixels": lambda: Maker("p", (4096, 4096, 1)).conv(1, (1, 1)).depthwise(1, (1, 1)).model(),
    "60,000 classes": lambda: Maker("c", (60_000,)).end("SOFTMAX", beta=1.0).model(),
    "empty tensor": lambda: Maker("e", (0, 6, 4)).conv(8, (1, 1)).model(),
    "65,536 axes": lambda: _axes(65_536),
}  # fmt: skip
"""By what is extreme."""


def _axes(count: int) -> bytes:
    m = Maker("axes", (4,)).quantize(0.05)
    m.net.graph.tensors[m.at].shape = [1] * count + [4]
    return m.model()
