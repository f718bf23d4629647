"""A quantized file as a TensorFlow function with gradients: a program whose tensors are rounded as in the file.

litert-quantizer keeps the names of tensors, so that their scales are read by name, with whatever it ties together; what
it leaves float stays float. Gradients pass rounding unchanged, and are zero where values are clipped (the
straight-through estimator, Bengio et al. 2013, arXiv:1308.3432); those of scales are as in "Learned Step Size
Quantization" (Esser et al. 2020, arXiv:1902.08153).

    >>> program = Program(float_model)                                          # doctest: +SKIP
    >>> quantized = with_scheme(float_model, SCHEMES["tflite-int8"], ranges, uint8=True)
    >>> simulation = Simulation(program, scales_of_tflite(program, quantized))
    >>> simulation.answers(items)                 # float32 (n, outputs): the file's answers times their scale
    >>> simulation.answers(items, only={"conv/weights"})                        # only these tensors are rounded
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from edgepress.converters.arrays import Array, Floats
from edgepress.converters.graph.layers import activate
from edgepress.converters.graph.operations import OPERATIONS
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import WEIGHTED, OperationFunction, Step

REPEATS = ("QUANTIZE", "DEQUANTIZE")
"""Kinds of operations that only store what they read in another type."""

Halves = Literal["even", "up", "away"]
HALVES: Mapping[str, Halves] = {"ADD": "up", "SUB": "up", "AVERAGE_POOL_2D": "away"}
"""What the kernels of some operations do with halves, which are frequent there: XNNPACK's of sums add one half and cut
(src/qs8-vadd), LiteRT's of averages round the stored integers (reference/integer_ops/pooling.h). The others round
float32 to the nearest even integer."""

TINY = 1e-4
"""Added to these, in steps: as floats, halves may be a little less."""


@dataclass(frozen=True)
class TensorGrid:
    """How a tensor is stored: value = scale * (integer - zero).

    Attributes:
        scale: One, or one a channel, in a shape that fits the tensor's by broadcasting; float32.
        zero: The integer that stands for 0.
        low: Smallest integer.
        high: Largest integer.
        halves: Where values half-way between two integers go: to the "even" one, "up", or "away" from the integer 0.
        parts: If it is not 1: numbers of parts of an integer, one a channel, to which values are rounded before.
        gain: What values are multiplied by, which is about 1, where a kernel's factor is a coarse one.
    """

    scale: Array
    zero: int
    low: int
    high: int
    halves: Halves = "even"
    gain: float = 1.0
    parts: Array | float = 1.0

    def apply(self, value: Any, scale: Any = None) -> Any:
        """The value rounded and clipped, as a tensor with gradients; with another scale if one is given."""
        import tensorflow as tf

        size = self.scale if scale is None else scale
        clipped = tf.clip_by_value(value / size * self.gain, float(self.low - self.zero), float(self.high - self.zero))
        exact = clipped if np.ndim(self.parts) == 0 else tf.floor(clipped * self.parts + 0.5) / self.parts
        match self.halves:
            case "even":
                integers = tf.round(exact)
            case "up":
                integers = tf.floor(exact + 0.5 + TINY)
            case "away":
                stored = exact + float(self.zero)
                integers = tf.sign(stored) * tf.floor(tf.abs(stored) + 0.5 + TINY) - float(self.zero)
        return (clipped + tf.stop_gradient(integers - clipped)) * size

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value that can be stored, of a tensor with one scale."""
        return float(self.scale * (self.low - self.zero)), float(self.scale * (self.high - self.zero))

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for roundings to the same values."""
        return self.scale.tobytes(), self.low - self.zero, self.high - self.zero


@dataclass(frozen=True)
class Scales:
    """How the tensors of a program are stored in a quantized file.

    Attributes:
        tensors: Of computed tensors and the input, by name.
        constants: Of constants that all steps read alike, by name.
        reads: Further ones, one after the other, of what a step reads, by the step's first output and the input's
            position: where steps read a tensor or a constant with different scales.
    """

    tensors: Mapping[str, TensorGrid]
    constants: Mapping[str, TensorGrid]
    reads: Mapping[tuple[str, int], tuple[TensorGrid, ...]] = field(default_factory=dict)


class Simulation:
    """A program whose tensors are rounded.

    Args:
        program: The float graph that the file was made from.
        scales: How tensors are stored; see `tflite_scales`.
    """

    def __init__(self, program: Program, scales: Scales) -> None:
        self.program = program
        self.scales = scales
        self._compiled: dict[frozenset[str] | None, Any] = {}

    def run(
        self,
        items: Any,
        *,
        constants: Mapping[str, Any] | None = None,
        only: Collection[str] | None = None,
        sizes: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Every tensor, rounded, by name; usable in a `tf.function`, with gradients.

        Args:
            items: Input of shape (n, *item shape), of the program's type.
            constants: Tensors that replace constants, by name; they are rounded, too.
            only: Names of the tensors and constants that are rounded; None for all.
            sizes: Scales that replace those of tensors and constants, by name, in a shape that fits by broadcasting.
        """
        return self.program.run(
            items,
            constants=self.constants(constants, only=only, sizes=sizes),
            after=self.after(only=only, sizes=sizes),
            before=self.before(only=only),
        )

    def operations(self, *, only: Collection[str] | None = None) -> dict[str, OperationFunction]:
        """The weighted operations computed on integers, whose sums are exact in float32 up to 2**24; for inference."""
        import tensorflow as tf

        def sums(step: Step, x: Sequence[Any]) -> Any:
            """As XNNPACK's kernel, with factors of 21 binary places (src/microparams-init.c, `qs8_add_minmax`)."""
            output = self.scales.tensors.get(step.output)
            parts = [self._read_as(step, place, only) for place in (0, 1)]
            known = [rounding for rounding in (output, *parts) if rounding is not None and not rounding.scale.ndim]
            stays_float = only is not None and step.output not in only
            if len(known) < 3 or any(r.high - r.low != 255 for r in known) or stays_float:
                return OPERATIONS[step.kind](step, x)
            factors = np.array([part.scale / known[0].scale for part in known[1:]], np.float32)
            unit = 2.0 ** (20 - np.floor(np.log2(np.max(factors))))
            whole = [tf.cast(tf.round(v / part.scale), tf.float64) for v, part in zip(x, known[1:], strict=True)]
            first, second = (v * (np.rint(factor * unit) / unit) for v, factor in zip(whole, factors, strict=True))
            exact = tf.floor((first + second if step.kind == "ADD" else first - second) + 0.5)
            return activate(step, tf.cast(exact, tf.float32) * known[0].scale)

        def integers(step: Step, x: Sequence[Any]) -> Any:
            source, weights = (self._read_as(step, place, only) for place in (0, 1))
            if source is None or weights is None:
                return OPERATIONS[step.kind](step, x)
            size = np.ravel(source.scale * weights.scale)
            bare = replace(step, options=copy.copy(step.options))
            bare.options.fusedActivationFunction = 0
            parts = [tf.round(x[0] / source.scale), tf.round(x[1] / weights.scale)]
            if len(x) > 2 and x[2] is not None:
                parts.append(tf.round(x[2] / size))
            return activate(step, OPERATIONS[step.kind](bare, parts) * size)

        return dict.fromkeys(WEIGHTED, integers) | {"ADD": sums, "SUB": sums}

    def _read_as(self, step: Step, place: int, only: Collection[str] | None) -> TensorGrid | None:
        """How a step's input is rounded in the end."""
        name = step.inputs[place]
        if only is not None and name not in only:
            return None
        whole = self.scales.constants if place in step.constants else self.scales.tensors
        return (whole.get(name), *self.scales.reads.get((step.output, place), ()))[-1]

    def after(
        self, *, only: Collection[str] | None = None, sizes: Mapping[str, Any] | None = None
    ) -> Callable[[str, Any], Any]:
        """The function that `Program.run` takes as `after`: rounds computed tensors."""
        known_sizes = sizes or {}

        def rounded(name: str, value: Any) -> Any:
            scale = self.scales.tensors.get(name) if only is None or name in only else None
            return value if scale is None or not value.dtype.is_floating else scale.apply(value, known_sizes.get(name))

        return rounded

    def before(self, *, only: Collection[str] | None = None) -> Callable[[Step, int, Any], Any]:
        """The function that `Program.run` takes as `before`: rounds again what a step reads with another scale."""
        rounded_values: dict[tuple[Any, ...], Any] = {}

        def rounded(step: Step, place: int, value: Any) -> Any:
            name = step.inputs[place]
            for rounding in self.scales.reads.get((step.output, place), ()) if only is None or name in only else ():
                key = (name, id(value), rounding.key)
                if key not in rounded_values:
                    # The value is stored, too: while it lives, its id is its own.
                    rounded_values[key] = value, rounding.apply(value)
                value = rounded_values[key][1]
            return value

        return rounded

    def constants(
        self,
        values: Mapping[str, Any] | None = None,
        *,
        only: Collection[str] | None = None,
        sizes: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Rounded constants, for `Program.run`: the program's own, or others by name."""
        known_values = dict(values or {})
        changed = sizes or {}
        for name, grid in self.scales.constants.items():
            if only is None or name in only:
                known_values[name] = grid.apply(known_values.get(name, self.program.constants[name]), changed.get(name))
        return known_values

    def answers(self, items: Array, *, only: Collection[str] | None = None) -> Floats:
        """Answers of shape (n, outputs) to items of shape (n, *item shape), computed in batches; float32."""
        chosen = None if only is None else frozenset(only)
        if chosen not in self._compiled:
            self._compiled[chosen] = self._compile(chosen)
        parts = [np.asarray(self._compiled[chosen](part)) for part in self.program.batches(items)]
        return np.concatenate(parts).reshape(len(items), -1).astype(np.float32)

    def _compile(self, only: frozenset[str] | None) -> Callable[[Any], Any]:
        import tensorflow as tf

        program = self.program
        constants = {name: tf.constant(value) for name, value in self.constants(only=only).items()}
        hooks: dict[str, Any] = {"after": self.after(only=only), "before": self.before(only=only)}
        hooks["operations"] = self.operations(only=only)
        shape = [None if program.batched else 1, *program.shapes[program.source][1:]]

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.as_dtype(program.dtype))], autograph=False)  # type: ignore[untyped-decorator]
        def answer(part: Any) -> Any:
            return program.run(part, constants=constants, **hooks)[program.sink]

        return answer  # type: ignore[no-any-return]
