"""How a file rounds values: those of one tensor, and the tensors and constants of a float graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import Step


@dataclass(frozen=True)
class Rounding:
    """How a file rounds the values of a tensor.

    Attributes:
        kind: "static": to whole multiples of a scale that the file holds; "dynamic": to one of 256 values between the
            smallest and the largest of an item, by the operations that read it; "float16": to a half.
        scale: Of static rounding: the step between two codes, in the units of the values.
        zero: The code of 0.
        low: The smallest code.
        high: The largest code.
    """

    kind: Literal["static", "dynamic", "float16"]
    scale: float = 1.0
    zero: int = 0
    low: int = -128
    high: int = 127

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest value that static rounding can represent."""
        return (self.low - self.zero) * self.scale, (self.high - self.zero) * self.scale

    def apply(self, values: Any) -> Any:
        """Tensors of shape (n, ...) rounded; each of the n items by its own values if it is dynamic."""
        import tensorflow as tf

        if self.kind == "float16":
            return tf.cast(tf.cast(values, tf.float16), tf.float32)
        if self.kind == "static":
            codes = tf.round(values / self.scale) + self.zero
            return (tf.clip_by_value(codes, self.low, self.high) - self.zero) * self.scale
        axes = list(range(1, len(values.shape)))
        low = tf.minimum(tf.reduce_min(values, axes, keepdims=True), 0.0)
        high = tf.maximum(tf.reduce_max(values, axes, keepdims=True), 0.0)
        scale = tf.maximum((high - low) / 255, np.finfo(np.float32).tiny)
        zero = tf.round(-low / scale)
        return (tf.clip_by_value(tf.round(values / scale) + zero, 0.0, 255.0) - zero) * scale


def of_codes(dtype: np.dtype[Any], scale: float, zero: int) -> Rounding:
    """Static rounding to codes of an integer type."""
    limits = np.iinfo(dtype)
    return Rounding("static", scale, zero, int(limits.min), int(limits.max))


CHANNEL_MULTIPLE = 16
"""Rewrites pad channels to a multiple of at most this number."""


class QuantizedFile(Protocol):
    """A quantized file: `TFLiteFile` or `OnnxFile`.

    Attributes:
        roundings: How it rounds its tensors, by name; tensors that it computes in float are missing.
        constants: Its constants of numbers, dequantized, float32, by name.
        scales: Scales of the constants that it stores as integers, by name.
        hybrid: Names of the outputs of operations that quantize their float input while they run.
        unactivated: Names of tensors that it rounds without the activation of the float graph.
    """

    roundings: dict[str, Rounding]
    constants: dict[str, Array]
    scales: dict[str, Array]
    hybrid: set[str]
    unactivated: set[str]

    @property
    def names(self) -> Collection[str]:
        """Names of the tensors that it computes."""
        ...

    def values(self, items: Array, names: Collection[str]) -> dict[str, Array]:
        """What it computes for items (n, *item shape), dequantized, by name of tensor."""
        ...


@dataclass(frozen=True)
class Matched:
    """How a file rounds the tensors and the constants of a float graph, by the names of the graph.

    Attributes:
        file: The file.
        tensors: Names in the file of the graph's tensors.
        roundings: How the file rounds the graph's tensors.
        constants: The file's values of the graph's constants where they differ, dequantized.
        scales: Scales of the weights that the file stores as integers, one or one for each output channel, by the names
            of the weights.
        unknown: Names of the outputs of the steps whose weights were not found in the file.
        fillers: Largest distance from 0 of the weights that only fill a layout, in steps between two codes, by the
            names of the weights: rewrites put zeros there, and the graph has no place for them.
    """

    file: QuantizedFile
    tensors: Mapping[str, str]
    roundings: Mapping[str, Rounding] = field(default_factory=dict)
    constants: Mapping[str, Array] = field(default_factory=dict)
    scales: Mapping[str, Array] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    fillers: Mapping[str, float] = field(default_factory=dict)

    def values(self, program: Program, items: Array) -> dict[str, Array]:
        """What the file computes for items (n, *item shape), in the layout of the graph, by its names."""
        computed = self.file.values(items, sorted(set(self.tensors.values())))
        in_layout = {}
        for name, other in self.tensors.items():
            shape = (len(items) * max(program.shapes[name][:1] or (1,)), *program.shapes[name][1:])
            if (value := _in_layout(computed[other], shape)) is not None:
                in_layout[name] = value
        return in_layout

    def step_in_file(self, step: Step) -> Step:
        """The step as the file computes it, without its activation if the file leaves that to the range of rounding."""
        if step.output not in self.roundings or self.tensors.get(step.output) not in self.file.unactivated:
            return step
        return step.without_activation

    def quantizes_dynamically(self, step: Step) -> bool:
        """Whether the file quantizes the float input of a step while it runs, by the range of each item."""
        return bool(step.weights) and (not self.file.hybrid or step.output in self.file.hybrid)


def _in_layout(values: Array, shape: tuple[int, ...]) -> Array | None:
    """Values in the layout of a shape, channels last, without channels that are padding; None if they don't fit it."""
    if values.shape == shape:
        return values
    last = values.transpose(0, 2, 3, 1) if values.ndim == 4 else values
    if last.ndim == 4 and last.shape[:3] == shape[:3] and shape[3] < last.shape[3] < shape[3] + CHANNEL_MULTIPLE:
        return last[..., : shape[3]]
    if values.size != int(np.prod(shape)) or (values.ndim == 4 and len(shape) == 4 and last.shape != shape):
        return None
    return last.reshape(shape)
