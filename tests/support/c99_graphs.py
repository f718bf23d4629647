"""Small integer graphs for tests of the export to C, each by name: every operation, at random geometries and scales."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from int8_graphs import Net

ITEMS = 24
"""Items that a graph is tested on."""


class Maker:
    """Appends operations with random numbers to a net; `at` is the tensor that the last one made."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: Any = np.int8) -> None:
        self.chance = np.random.default_rng([ord(letter) for letter in name])
        zero = int(self.chance.integers(-128, 128)) + 128 * (dtype == np.uint8)
        self.net = Net((1, *shape), 0.05, zero, dtype)
        self.at, self.shape, self.scale = self.net.input, shape, 0.05

    def one(self, *choices: Any) -> Any:
        """One of several values."""
        return choices[self.chance.integers(len(choices))]

    def zero(self) -> int:
        """A zero point."""
        return int(self.chance.choice([-128, 0, int(self.chance.integers(-128, 128))]))

    def _weights(
        self, shape: tuple[int, ...], products: int, channels: int, axis: int, factor: float
    ) -> tuple[int, int, float]:
        """Weights, biases and an output scale at which outputs spread over some `factor` of the range."""
        values = self.chance.integers(-127, 128, shape).astype(np.int8)
        scales = (0.002 * self.chance.uniform(0.3, 3, channels)).tolist()
        spread = 73 * 74 * products**0.5
        bias = (self.chance.normal(size=channels) * spread).round().astype(np.int32)
        weights = self.net.constant(values, scales, 0, axis)
        products_of = [self.scale * each for each in scales]
        return weights, self.net.constant(bias, products_of), self.scale * 0.002 * spread / 50 / factor

    def _add(
        self, kind: str, inputs: list[int], shape: tuple[int, ...], scale: float, zero: int, **options: Any
    ) -> None:
        self.at = self.net.op(kind, inputs, (1, *shape), scale, zero, **options)
        self.shape, self.scale = shape, scale

    def _window(
        self, kernel: tuple[int, int], stride: tuple[int, int], same: bool, dilation: int = 1
    ) -> tuple[int, int]:
        sizes = []
        for size, width, step in zip(self.shape[:2], kernel, stride, strict=True):
            reach = (width - 1) * dilation + 1
            sizes.append(-(-(size if same else size - reach + 1) // step))
        return sizes[0], sizes[1]

    def conv(self, channels: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1), **more: Any) -> Maker:
        """CONV_2D."""
        same, dilation, activation = more.get("same", True), more.get("dilation", 1), more.get("activation", 0)
        shape = (channels, *kernel, self.shape[2])
        weights, bias, scale = self._weights(shape, int(np.prod(shape[1:])), channels, 0, more.get("factor", 1.0))
        size = self._window(kernel, stride, same, dilation)
        self._add(
            "CONV_2D", [self.at, weights, bias], (*size, channels), scale, self.zero(), table="Conv2D",
            padding=0 if same else 1, strideH=stride[0], strideW=stride[1], dilationHFactor=dilation,
            dilationWFactor=dilation, fusedActivationFunction=activation,
        )  # fmt: skip
        return self

    def depthwise(
        self, multiplier: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1), **more: Any
    ) -> Maker:
        """DEPTHWISE_CONV_2D."""
        same, dilation, activation = more.get("same", True), more.get("dilation", 1), more.get("activation", 0)
        channels = self.shape[2] * multiplier
        shape = (1, *kernel, channels)
        weights, bias, scale = self._weights(shape, kernel[0] * kernel[1], channels, 3, more.get("factor", 1.0))
        size = self._window(kernel, stride, same, dilation)
        self._add(
            "DEPTHWISE_CONV_2D", [self.at, weights, bias], (*size, channels), scale, self.zero(),
            table="DepthwiseConv2D", padding=0 if same else 1, strideH=stride[0], strideW=stride[1],
            depthMultiplier=multiplier, dilationHFactor=dilation, dilationWFactor=dilation,
            fusedActivationFunction=activation,
        )  # fmt: skip
        return self

    def constant_biases(self, count: int) -> None:
        """Give the last convolution biases so large or small that the first `count` channels never change."""
        buffer = self.net.root.buffers[self.net.graph.tensors[self.net.graph.operators[-1].inputs[2]].buffer]
        biases = np.frombuffer(bytes(buffer.data), np.int32).copy()
        biases[:count] = self.chance.choice([-(1 << 28), 1 << 28], count)
        buffer.data = np.frombuffer(biases.tobytes(), np.uint8)

    def extreme_weights(self, *, pairs: bool = False) -> Maker:
        """Make every fifth weight of the last operation -128; `pairs`: even channels' 127, odd ones' -128.

        `kernels/dot.c` holds -128 in an odd channel, but not beside a negative weight.
        """
        tensor = self.net.graph.tensors[self.net.graph.operators[-1].inputs[1]]
        buffer = self.net.root.buffers[tensor.buffer]
        weights = np.frombuffer(bytes(buffer.data), np.int8).reshape(tensor.shape).copy()
        if pairs:
            weights[0::2], weights[1::2] = 127, -128
        else:
            weights.ravel()[::5] = -128
        buffer.data = weights.ravel().view(np.uint8)
        return self

    def dense(self, outputs: int, **more: Any) -> Maker:
        """FULLY_CONNECTED of all values, or with `rows` of each row; `single`: one scale for all outputs."""
        rows = self.shape[:-1] if more.get("rows", False) else ()
        inputs = self.shape[-1] if rows else int(np.prod(self.shape))
        single = more.get("single", False)
        weights, bias, scale = self._weights((outputs, inputs), inputs, 1 if single else outputs, 0, 1.0)
        if single:
            spread = self.chance.normal(size=outputs) * 73 * 74 * inputs**0.5
            given = self.net.graph.tensors[weights].quantization.scale[0]
            bias = self.net.constant(spread.round().astype(np.int32), [self.scale * float(given)])
        self._add(
            "FULLY_CONNECTED", [self.at, weights, bias], (*rows, outputs), scale, self.zero(), table="FullyConnected",
            fusedActivationFunction=more.get("activation", 0), keepNumDims=bool(rows),
        )  # fmt: skip
        return self

    def pool(self, kind: str, kernel: tuple[int, int], stride: tuple[int, int], **more: Any) -> Maker:
        """MAX_POOL_2D or AVERAGE_POOL_2D."""
        same = more.get("same", True)
        size = self._window(kernel, stride, same)
        zero = int(self.net.graph.tensors[self.at].quantization.zeroPoint[0])
        self._add(
            kind, [self.at], (*size, self.shape[2]), self.scale, zero, table="Pool2D", padding=0 if same else 1,
            strideH=stride[0], strideW=stride[1], filterHeight=kernel[0], filterWidth=kernel[1],
            fusedActivationFunction=more.get("activation", 0),
        )  # fmt: skip
        return self

    def join(self, kind: str, other: int, factor: float = 1.0, activation: int = 0) -> Maker:
        """ADD, SUB or MUL with another tensor."""
        given = self.net.graph.tensors[other].quantization.scale[0]
        scale = self.scale * given * 60 if kind == "MUL" else 1.5 * max(self.scale, given)
        self._add(kind, [self.at, other], self.shape, scale / factor, self.zero(), fusedActivationFunction=activation)
        return self

    def values(self, shape: tuple[int, ...], scale: float = 0.03) -> int:
        """A constant operand."""
        return self.net.constant(self.chance.integers(-128, 128, shape).astype(np.int8), [scale], self.zero())

    def hard_swish(self) -> Maker:
        """x * relu6(x + c) * d, as converters write hard-swish."""
        source = self.at
        self.join("ADD", self.values((1,), 0.4), activation=3)
        return self.join("MUL", source).join("MUL", self.values((1, 1)))

    def mean(self, axes: list[int]) -> Maker:
        """MEAN over axes of (batch, height, width, channels)."""
        at = self.net.constant(np.array(axes, np.int32))
        shape = tuple(size for axis, size in enumerate(self.shape, 1) if axis not in axes)
        self._add("MEAN", [self.at, at], shape, self.scale / 3, self.zero(), table="Reducer", keepDims=False)
        return self

    def pad(self, *widths: int) -> Maker:
        """PAD of height and width, or of a series: how many before and behind, for each axis."""
        pairs = np.array([0, 0, *widths, 0, 0], np.int32).reshape(-1, 2)
        zero = int(self.net.graph.tensors[self.at].quantization.zeroPoint[0])
        shape = tuple(int(n) for n in np.array(self.shape) + pairs[1:].sum(axis=1))
        self._add("PAD", [self.at, self.net.constant(pairs)], shape, self.scale, zero)
        return self

    def flat(self) -> Maker:
        """RESHAPE to one axis."""
        size = int(np.prod(self.shape))
        zero = int(self.net.graph.tensors[self.at].quantization.zeroPoint[0])
        at = self.net.constant(np.array([1, size], np.int32))
        self._add("RESHAPE", [self.at, at], (size,), self.scale, zero, newShape=[1, size])
        return self

    def end(self, kind: str, **options: Any) -> Maker:
        """SOFTMAX, LOGISTIC or TANH, whose output has a scale of its own."""
        scale, zero = (1 / 128, 0) if kind == "TANH" else (1 / 256, -128)
        self._add(kind, [self.at], self.shape, scale, zero, **options)
        return self

    def activate(self, kind: str, factor: float = 1.0, **options: Any) -> Maker:
        """RELU, ELU or HARD_SWISH, to another scale and zero point; RELU6 keeps them."""
        zero = int(self.net.graph.tensors[self.at].quantization.zeroPoint[0]) if kind == "RELU6" else self.zero()
        self._add(kind, [self.at], self.shape, self.scale * factor, zero, **options)
        return self

    def activate_by(self, slopes: int, factor: float) -> Maker:
        """PRELU."""
        self._add("PRELU", [self.at, slopes], self.shape, self.scale * factor, self.zero())
        return self

    def grouped(self, channels: int, kernel: tuple[int, int], groups: int, **more: Any) -> Maker:
        """CONV_2D of groups."""
        depth = self.shape[2] // groups
        self.shape = (*self.shape[:2], depth)
        return self.conv(channels, kernel, **more)

    def leaky(self, alpha: float, factor: float = 1.0) -> Maker:
        """LEAKY_RELU of a slope."""
        return self.activate("LEAKY_RELU", factor, table="LeakyRelu", alpha=alpha)

    def concatenate(self, others: list[int], axis: int) -> Maker:
        """CONCATENATION with other tensors of the same scale, along an axis of (batch, height, width, channels)."""
        tensors = [self.net.graph.tensors[index] for index in (self.at, *others)]
        zero = int(tensors[0].quantization.zeroPoint[0])
        shape = [int(n) for n in tensors[0].shape]
        shape[axis] = sum(int(tensor.shape[axis]) for tensor in tensors)
        inputs = [self.at, *others]
        self._add("CONCATENATION", inputs, tuple(shape[1:]), self.scale, zero, axis=axis, fusedActivationFunction=0)
        return self

    def quantize(self, scale: float, dtype: Any = np.int8) -> Maker:
        """QUANTIZE to another scale or type."""
        zero = int(self.chance.integers(-128, 128)) + 128 * (dtype == np.uint8)
        self._add("QUANTIZE", [self.at], self.shape, scale, zero, dtype=dtype)
        return self

    def model(self) -> bytes:
        """The file."""
        return self.net.model()


def _conv(name: str) -> bytes:
    m = Maker(name, (0, 0, 0))
    m = Maker(name, (m.one(5, 8, 9), m.one(4, 7, 10), m.one(1, 2, 3, 4, 8, 13)))
    kernel = m.one((1, 1), (3, 3), (2, 3), (5, 1), (4, 4))
    dilation = m.one(1, 1, 2) if kernel in ((3, 3), (2, 3)) else 1
    stride = m.one((1, 1), (2, 2), (1, 2)) if dilation == 1 else (1, 1)
    same = m.one(True, False) if max(kernel) < 4 else True
    m.conv(m.one(1, 2, 5, 8), kernel, stride, same=same, dilation=dilation, activation=m.one(0, 1, 3))
    return m.model()


def _depthwise(name: str) -> bytes:
    m = Maker(name, (0, 0, 0))
    m = Maker(name, (m.one(5, 8, 9), m.one(4, 7, 10), m.one(1, 3, 4, 8, 12)))
    kernel = m.one((3, 3), (2, 3), (5, 5), (1, 4))
    stride = m.one((1, 1), (2, 2))
    m.depthwise(m.one(1, 1, 2), kernel, stride, same=m.one(True, False), activation=m.one(0, 1, 2, 3))
    return m.model()


def _chain(name: str) -> bytes:
    """A residual block between a convolution and a classifier."""
    m = Maker(name, (12, 10, 3), np.uint8).quantize(0.05).conv(8, (3, 3), (2, 2), activation=1)
    kept, shape = m.at, m.shape
    m.depthwise(1, (3, 3), activation=3).conv(8, (1, 1))
    assert m.shape == shape
    m.join("ADD", kept, activation=1).pool("MAX_POOL_2D", (2, 2), (2, 2), same=False).flat().dense(6)
    return m.end("SOFTMAX", beta=1.0).quantize(1 / 256, np.uint8).model()


def _wide(name: str) -> bytes:
    """Factors that shift to the left, or so far to the right that most channels never change."""
    m = Maker(name, (6, 6, 4))
    return m.conv(8, (1, 1), factor=m.one(3e2, 1e4)).depthwise(1, (3, 3), factor=m.one(1e-3, 1e-5)).model()


def _removal(name: str) -> bytes:
    """Channels that never change, of different values, between convolutions with and without padding."""
    m = Maker(name, (8, 7, 3)).conv(12, (3, 3), activation=1)
    m.constant_biases(m.one(3, 7, 9))
    if m.one(True, False):
        m.depthwise(1, (3, 3), activation=m.one(0, 1))
        m.constant_biases(5)
    if m.one(True, False):
        m.pool(m.one("MAX_POOL_2D", "AVERAGE_POOL_2D"), (2, 2), (2, 2), same=False)
    m.conv(8, m.one((1, 1), (2, 2)), same=m.one(True, False, False)).conv(4, (3, 3))
    return m.model()


def _branches(name: str) -> bytes:
    """Tensors of the same scale that are joined: the input of two to four branches, some used again behind them."""
    drawn = Maker(name, (0, 0, 0))
    height = drawn.one(1, 4, 5)
    m = Maker(name, (height, 6, drawn.one(3, 4)))
    m.conv(int(m.chance.integers(2, 9)), (1, 1))
    kept = m.at
    others = []
    for _ in range(m.chance.integers(1, 4)):
        m.at = kept
        m.pool("MAX_POOL_2D", (1, int(m.chance.integers(1, 3))), (1, 1))
        others.append(m.at)
    m.at = kept
    m.concatenate(others, m.one(3, 3, 1 if height > 1 else 2, -1))
    if m.one(True, False):
        m.concatenate([m.at], 3)
    return m.conv(5, (1, 1)).model()


GRAPHS: dict[str, Callable[[str], bytes]] = {
    **{f"conv-{n}": _conv for n in range(20)},
    **{f"depthwise-{n}": _depthwise for n in range(14)},
    **{f"chain-{n}": _chain for n in range(2)},
    **{f"wide-{n}": _wide for n in range(4)},
    **{f"removal-{n}": _removal for n in range(10)},
    "dense": lambda name: Maker(name, (35,)).dense(7).model(),
    "dense-one-output": lambda name: Maker(name, (16,)).dense(1, activation=1).model(),
    "dense-one-scale": lambda name: Maker(name, (30,)).dense(8, single=True, activation=3).model(),
    "dense-long": lambda name: Maker(name, (1100,)).dense(6).model(),
    "dense-least-weight": lambda name: Maker(name, (37,)).dense(9, single=True).extreme_weights().model(),
    "conv-least-weight": lambda name: Maker(name, (6, 5, 4)).conv(7, (3, 3), (2, 1)).extreme_weights().model(),
    "conv-long": lambda name: Maker(name, (4, 4, 60)).conv(3, (3, 3), (2, 1), same=False).model(),
    "conv-one-channel": lambda name: Maker(name, (7, 6, 29)).conv(1, (3, 3), (2, 1)).model(),
    "conv-one-pixel": lambda name: Maker(name, (3, 4, 302)).conv(1, (1, 1)).model(),
    "conv-large-window": lambda name: Maker(name, (9, 8, 16)).conv(6, (7, 8), same=False).model(),
    "conv-in-place": lambda name: Maker(name, (7, 5, 8)).conv(11, (1, 1), (2, 1)).model(),
    "dense-one-channel": lambda name: Maker(name, (331,)).dense(1).model(),
    "max-pool": lambda name: Maker(name, (7, 6, 5)).pool("MAX_POOL_2D", (3, 2), (2, 2)).model(),
    "max-pool-relu6": lambda name: Maker(name, (7, 6, 5)).pool("MAX_POOL_2D", (2, 2), (1, 1), activation=3).model(),
    "average-pool": lambda name: Maker(name, (7, 6, 5)).pool("AVERAGE_POOL_2D", (3, 3), (2, 2)).model(),
    "average-pool-whole": lambda name: Maker(name, (7, 6, 4)).pool("AVERAGE_POOL_2D", (7, 6), (7, 6)).model(),
    "max-pool-beyond": lambda name: Maker(name, (5, 4, 3)).pool("MAX_POOL_2D", (23, 40), (2, 1)).model(),
    "average-pool-beyond": lambda name: Maker(name, (5, 4, 3)).pool("AVERAGE_POOL_2D", (60, 9), (1, 3)).model(),
    "mean": lambda name: Maker(name, (7, 6, 5)).mean([1, 2]).model(),
    "mean-channels": lambda name: Maker(name, (7, 6, 5)).mean([3]).model(),
    "mean-rows": lambda name: Maker(name, (4, 9, 2)).mean([1]).model(),
    "pad": lambda name: Maker(name, (4, 5, 3)).pad(1, 2, 0, 3).conv(4, (3, 3), same=False).model(),
    "pad-series": lambda name: Maker(name, (9, 4)).pad(2, 1).model(),
    "softmax": lambda name: Maker(name, (11,)).end("SOFTMAX", beta=1.0).model(),
    "softmax-rows": lambda name: Maker(name, (5, 9)).quantize(0.2).end("SOFTMAX", beta=0.5).model(),
    "softmax-steep": lambda name: Maker(name, (10,)).quantize(1.7).end("SOFTMAX", beta=1.0).model(),
    "logistic": lambda name: Maker(name, (16, 16)).end("LOGISTIC").model(),
    "logistic-steep": lambda name: Maker(name, (16, 16)).quantize(0.4).end("LOGISTIC").model(),
    "tanh": lambda name: Maker(name, (16, 16)).end("TANH").model(),
    "tanh-steep": lambda name: Maker(name, (16, 16)).quantize(0.4).end("TANH").model(),
    "tanh-flat": lambda name: Maker(name, (16, 16)).quantize(0.002).end("TANH").model(),
    "quantize": lambda name: Maker(name, (16, 16), np.uint8).quantize(0.05).quantize(0.011, np.uint8).model(),
    "quantize-wider": lambda name: Maker(name, (16, 16)).quantize(0.2).model(),
    "add-channels": lambda name: (m := Maker(name, (4, 5, 3))).join("ADD", m.values((3,)), activation=3).model(),
    "add-one": lambda name: (m := Maker(name, (4, 5, 3))).join("ADD", m.values((1,), 0.4)).model(),
    "sub": lambda name: (m := Maker(name, (4, 5, 3))).join("SUB", m.values((1, 4, 5, 3))).model(),
    "mul": lambda name: (m := Maker(name, (4, 5, 3))).join("MUL", m.values((1, 1, 1, 3)), activation=1).model(),
    "mul-itself": lambda name: (m := Maker(name, (4, 5, 3))).join("MUL", m.at).model(),
    "hard-swish": lambda name: Maker(name, (6, 5, 4)).conv(8, (3, 3)).hard_swish().conv(4, (1, 1)).model(),
    **{f"branches-{n}": _branches for n in range(8)},
    "relu": lambda name: Maker(name, (16, 16)).activate("RELU", 0.7).model(),
    "relu-wider": lambda name: Maker(name, (16, 16)).activate("RELU", 3.1).model(),
    "relu6": lambda name: Maker(name, (16, 16)).activate("RELU6").model(),
    "leaky-relu": lambda name: Maker(name, (16, 16)).leaky(0.3, 0.6).model(),
    "leaky-relu-steep": lambda name: Maker(name, (16, 16)).leaky(1.7, 2.1).model(),
    "elu": lambda name: Maker(name, (16, 16)).activate("ELU", 0.8).model(),
    "elu-steep": lambda name: Maker(name, (16, 16)).quantize(0.3).activate("ELU", 0.5).model(),
    "hard-swish-alone": lambda name: Maker(name, (16, 16)).activate("HARD_SWISH", 0.9).model(),
    "hard-swish-steep": lambda name: Maker(name, (16, 16)).quantize(0.21).activate("HARD_SWISH", 1.3).model(),
    "hard-swish-flat": lambda name: Maker(name, (16, 16)).quantize(0.004).activate("HARD_SWISH", 0.8).model(),
    "activations": lambda name: Maker(name, (6, 5, 4)).conv(8, (3, 3)).leaky(0.1).conv(4, (1, 1))
    .activate("HARD_SWISH").conv(4, (1, 1)).activate("ELU").model(),
    "grouped": lambda name: Maker(name, (6, 5, 8)).grouped(12, (3, 3), 4).model(),
    "grouped-pairs": lambda name: Maker(name, (5, 4, 6)).grouped(6, (1, 1), 2, activation=1).conv(3, (2, 2)).model(),
    "prelu": lambda name: (m := Maker(name, (4, 5, 3))).activate_by(m.values((1, 1, 3)), 0.7).model(),
    "prelu-steep": lambda name: (m := Maker(name, (4, 5, 3))).activate_by(m.values((4, 5, 3), 0.2), 1.9).model(),
    "mul-larger": lambda name: (m := Maker(name, (4, 5, 3))).join("MUL", m.values((5, 3)), 200.0).model(),
}  # fmt: skip
"""What makes each graph, from its name."""


def graph(name: str) -> bytes:
    """A graph by its name."""
    return GRAPHS[name](name)


def add_others() -> None:
    """Add the graphs of modules that need this one."""
    import c99_lookup
    import c99_matrices
    import c99_quotients
    import c99_recurrent
    import c99_spatial
    import c99_streams

    GRAPHS.update({f"sliced-{n}": c99_streams.sliced for n in range(8)})
    GRAPHS.update({f"split-{n}": c99_streams.split for n in range(8)})
    GRAPHS.update({f"stream-{n}": c99_streams.stream for n in range(12)})
    GRAPHS.update({f"stream-of-values-{n}": c99_streams.stream_of_values for n in range(4)})
    GRAPHS.update(c99_spatial.GRAPHS)
    GRAPHS.update(c99_matrices.GRAPHS)
    GRAPHS.update(c99_lookup.GRAPHS)
    GRAPHS.update(c99_quotients.GRAPHS)
    GRAPHS.update(c99_recurrent.GRAPHS)


add_others()


def items(name: str, size: int, dtype: str) -> npt.NDArray[Any]:
    """Items for a graph: random ones, equal numbers, and ramps."""
    chance = np.random.default_rng([1, *(ord(letter) for letter in name)])
    rows = chance.integers(0, 256, (ITEMS, size))
    rows[1::4] = chance.integers(0, 256, (len(rows[1::4]), 1))
    rows[2::4] = np.arange(size) * chance.integers(1, 9, (len(rows[2::4]), 1)) // 4
    rows[3] = np.arange(size)
    return rows.astype(np.uint8).view(dtype)
