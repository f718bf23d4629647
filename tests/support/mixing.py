"""A net for tests of mixed precision: eight bits can hold all of its tensors but one."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from rewriting import Net

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.float_layers import FloatLayers
from edgepress.converters.graph.program import Program
from edgepress.converters.mixed_precision.choose import choose
from edgepress.converters.options.conversion import ConversionOptions
from edgepress.converters.ptq.score import Scorer
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.graph import Graph

Array = Any
MIXED = SCHEMES["tflite-mixed"]
WIDE = "layer3"
READER = "layer5"
"""The depthwise convolution of `net` whose channels may differ in scale, and what reads them behind a pool."""


def items(seed: int, count: int = 150) -> Array:
    return np.random.default_rng(seed).normal(size=(count, 8, 8, 3)).astype(np.float32)


def net(*, wide: bool) -> bytes:
    """Five layers with weights; with `wide`, the same function with an inner tensor that eight bits can't hold."""
    made = Net((8, 8), 3, seed=4)
    made.conv(8, (3, 3), act=1)
    made.conv(16, act=1)
    made.depthwise((3, 3))
    made.add("MAX_POOL_2D", [made.now], (1, 4, 4, 16), strideH=2, strideW=2, filterHeight=2, filterWidth=2)
    made.conv(16, act=1)
    made.conv(12, (3, 3), act=1)
    made.add("MEAN", [made.now, np.array([1, 2], np.int32)], (1, 12))
    weights, bias = (made.random.normal(size=shape).astype(np.float32) for shape in ((10, 12), (10,)))
    made.add("FULLY_CONNECTED", [made.now, weights, bias], (1, 10))
    model = made.model()
    if not wide:
        return model
    program = Program(model)
    writer, reader = (next(s for s in program.steps if s.output == name) for name in (WIDE, READER))
    factors = np.float32(2.0) ** np.linspace(-7, 7, 16).round().astype(np.float32)
    held = program.constants
    return program.with_constants(
        {
            writer.weights: held[writer.weights] * factors,
            writer.bias: held[writer.bias] * factors,
            reader.weights: held[reader.weights] / factors,
        }
    )


class Case:
    """A net, what makes its files, and its judge."""

    def __init__(self, *, wide: bool) -> None:
        self.model = net(wide=wide)
        self.ranges = tflite_statistics(self.model, lambda: [items(0)], None).ranges()
        self.judge = Scorer(self.model, items(1))

    def make(self, kept: FloatLayers) -> bytes:
        return with_scheme(self.model, MIXED, self.ranges, uint8=False, float_layers=kept)

    def choose(self, pattern: str = "", drop: float | None = None) -> FloatLayers:
        return choose(
            self.model, self.make, self.judge, items(0), how=ConversionOptions(keep_float=pattern, max_drop=drop)
        )


@functools.cache
def wide_case() -> Case:
    """The net with a wide tensor."""
    return Case(wide=True)


@functools.cache
def kept_in_wide() -> FloatLayers:
    """What is chosen for the net with a wide tensor, with a limit of 6 pp."""
    return wide_case().choose(drop=6.0)


def types(file: bytes) -> dict[str, Any]:
    """Type of each tensor that is computed, by name."""
    graph = Graph(file)
    return {graph.name(int(op.outputs[0])): graph.dtype(int(op.outputs[0])) for op in graph.operators}


def input_type(file: bytes) -> int:
    _, graph = flat.read(file)
    return int(graph.tensors[int(graph.inputs[0])].type)
