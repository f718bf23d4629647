"""Distillation: train the constants and ranges of a simulated quantized graph to answer as a float graph does.

This is quantization-aware training for a model of any format. The student is the program whose tensors are rounded as
in the quantized file (`graph.simulate`); the teacher is the float program. Trained are

* weights, as multiples of the largest of their channel, on the grid that a quantizer takes from the largest weight;
* biases, as multiples of the range of their output;
* the ranges of activations, by the logarithms of their scales ("Learned Step Size Quantization", Esser et al. 2020,
  arXiv:1902.08153). The factor by which that paper scales their gradients is not needed: Adam normalizes gradients.

Tensors that the file ties to one scale stay tied, and scales that kernels fix are not trained. The loss for class
scores is a sum: the Kullback-Leibler divergence of probabilities (Hinton et al. 2015, arXiv:1503.02531), a part of
which may be the cross-entropy of labels, and the squared error before softmax, which does not vanish where answers are
certain. For answers that are not class scores, the loss is the squared error alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.simulate import Scales, Simulation
from edgepress.converters.graph.step import WEIGHTED, Step
from edgepress.converters.numeric.statistics import Ranges

Kind = Literal["softmax", "sigmoid", "numbers"]
"""What answers are: scores of labels that exclude each other, scores of labels that do not, or other numbers."""
FIXED = {"SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION"}
"""Kinds of operations whose output has a scale that kernels fix."""
ACTIVATION_COPIES = 6
"""Copies of the activations of an item that a training step may hold."""


@dataclass(frozen=True)
class Teaching:
    """What the loss is made of.

    Attributes:
        kind: What the answers are.
        labels: Share of the loss that is the cross-entropy of labels, 0-1; not for "numbers".
    """

    kind: Kind
    labels: float = 0.0


class Learner(Protocol):
    """What a `Distillation` trains: a graph with variables."""

    program: Program

    @property
    def variables(self) -> list[Any]:
        """All that is trained."""

    def run(self, items: Any) -> Mapping[str, Any]:
        """Every tensor by name, with gradients of the variables."""


class Student:
    """The simulated quantized graph, whose constants and ranges are TensorFlow variables.

    Args:
        program: The graph that the training begins with.
        scales: How the file that was quantized from it stores its tensors.
    """

    def __init__(self, program: Program, scales: Scales) -> None:
        import tensorflow as tf

        self.program = program
        self.simulation = Simulation(program, scales)
        self.weights: dict[str, Any] = {}
        self.biases: dict[str, Any] = {}
        self.sizes: dict[str, Any] = {}
        self._groups: dict[str, Any] = {}
        self._units: dict[str, Array] = {}
        self._axes: dict[str, tuple[int, ...]] = {}
        groups: dict[tuple[Any, ...], Any] = {}
        requantized = {rounding.key for roundings in scales.reads.values() for rounding in roundings}
        for name, rounding in scales.tensors.items():
            step = program.makers.get(name)
            if step is None or step.kind in FIXED or rounding.scale.ndim or rounding.key in requantized:
                continue
            if rounding.key not in groups:
                groups[rounding.key] = self.sizes[name] = tf.Variable(0.0)
            self._groups[name] = groups[rounding.key]
        for step in program.weighted():
            if step.weights in scales.constants and step.weights not in program.shared:
                self._add_weights(step, scales.constants[step.weights].scale.size)
            if step.bias and step.bias not in program.shared:
                self._units[step.bias] = np.array(self._output_width(step), np.float32)
                self.biases[step.bias] = tf.Variable(np.zeros_like(program.constants[step.bias]))

    def _add_weights(self, step: Step, scales: int) -> None:
        """Train the weights of a layer, which have so many scales: one, or one a channel."""
        import tensorflow as tf

        values = self.program.constants[step.weights]
        channels = WEIGHTED[step.kind]
        axes = tuple(i for i in range(values.ndim) if i != channels or scales == 1)
        unit = np.abs(values).max(axis=axes, keepdims=True)
        self._units[step.weights] = np.where(unit > 0, unit, 1).astype(np.float32)
        self._axes[step.weights] = axes
        self.weights[step.weights] = tf.Variable(values / self._units[step.weights])

    def _output_width(self, step: Step) -> float:
        """Width of the range of a layer's output; if it is not quantized, the largest bias stands for it."""
        rounding = self.simulation.scales.tensors.get(step.output)
        if rounding is None:
            return float(np.abs(self.program.constants[step.bias]).max() or 1.0)
        low, high = rounding.range
        return high - low

    @property
    def variables(self) -> list[Any]:
        """All that is trained."""
        return [*self.weights.values(), *self.biases.values(), *self.sizes.values()]

    def run(self, items: Any) -> dict[str, Any]:
        """Every tensor, rounded, by name, with gradients of the variables."""
        import tensorflow as tf

        scales = self.simulation.scales
        constants = {}
        sizes = {name: scales.tensors[name].scale * tf.exp(size) for name, size in self._groups.items()}
        for name, value in self.weights.items():
            constants[name] = value * self._units[name]
            largest = tf.reduce_max(tf.abs(constants[name]), axis=self._axes[name], keepdims=True)
            sizes[name] = tf.maximum(largest, 1e-12) / float(scales.constants[name].high)
        for name, value in self.biases.items():
            constants[name] = self.program.constants[name] + value * self._units[name]
        return self.simulation.run(items, constants=constants, sizes=sizes)

    def model(self) -> bytes:
        """The float file with the trained constants; weights lie on the grid that a quantizer finds for them."""
        changed = {name: self._on_grid(name) for name in self.weights}
        for name, value in self.biases.items():
            changed[name] = (self.program.constants[name] + value.numpy() * self._units[name]).astype(np.float32)
        return self.program.with_constants(changed)

    def _on_grid(self, name: str) -> Array:
        """Trained weights, rounded to the grid that a quantizer takes from the largest of a channel."""
        values = self.weights[name].numpy() * self._units[name]
        steps = self.simulation.scales.constants[name].high
        size = np.maximum(np.abs(values).max(axis=self._axes[name], keepdims=True), 1e-12) / steps
        return np.asarray(np.rint(values / size) * size, np.float32)

    def ranges(self) -> Ranges:
        """The ranges of the tensors whose scales were trained, by name."""
        ranges: Ranges = {}
        for name, size in self._groups.items():
            low, high = self.simulation.scales.tensors[name].range
            factor = float(np.exp(size.numpy()))
            ranges[name] = (low * factor, high * factor)
        return ranges


class Distillation:
    """Trains a student to answer as a teacher does.

    Args:
        teacher: The float program.
        student: What is trained: a `Student` or a `Trainee`.
        teaching: What the loss is made of.
        spread: Standard deviation of the teacher's answers before softmax or sigmoid.
    """

    def __init__(self, teacher: Program, student: Learner, teaching: Teaching, spread: float = 1.0) -> None:
        import keras

        self.teacher = teacher
        self.student = student
        self.teaching = teaching
        self.spread = spread
        self.optimizer = keras.optimizers.Adam()
        self.optimizer.build(student.variables)
        self._step = self._compile()

    def step(self, items: Array, labels: Array, rate: float) -> float:
        """One step on a batch of items (n, *item shape) and their labels; returns the loss.

        Labels are (n,), or for "sigmoid" rows of 0 and 1, (n, outputs); where they are no part of the loss, any.
        The learning rate is in the units of the variables (`Student`, `Trainee`).
        """
        self.optimizer.learning_rate = rate
        return float(self._step(items.astype(self.teacher.dtype), labels.astype(np.int64)))

    def _compile(self) -> Callable[[Array, Array], Any]:
        import tensorflow as tf

        teacher = self.teacher
        student = self.student
        variables = self.student.variables
        shape = tf.TensorSpec([None, *teacher.shapes[teacher.source][1:]], tf.as_dtype(teacher.dtype))

        of_labels = tf.TensorSpec([None] if self.teaching.kind == "softmax" else None, tf.int64)

        @tf.function(input_signature=[shape, of_labels], autograph=False)  # type: ignore[untyped-decorator]
        def step(items: Any, labels: Any) -> Any:
            true = tf.stop_gradient(logits_of(teacher, teacher.run(items)))
            with tf.GradientTape() as tape:
                loss = self._loss(logits_of(student.program, student.run(items)), true, labels)
            gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return loss

        return step  # type: ignore[no-any-return]

    def _loss(self, answers: Any, true: Any, labels: Any) -> Any:
        import tensorflow as tf

        match self.teaching.kind:
            case "softmax":
                target = tf.nn.softmax(true)
                if self.teaching.labels:
                    exact = tf.one_hot(labels, true.shape[-1])
                    target = (1 - self.teaching.labels) * target + self.teaching.labels * exact
                likely = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, answers))
                error = answers - true
                return likely + self._square(error - tf.reduce_mean(error, axis=1, keepdims=True))
            case "sigmoid":
                target = tf.sigmoid(true)
                if self.teaching.labels:
                    exact = tf.cast(tf.reshape(labels, tf.shape(true)), target.dtype)
                    target = (1 - self.teaching.labels) * target + self.teaching.labels * exact
                likely = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(target, answers))
                return likely + self._square(answers - true)
            case "numbers":
                return self._square(answers - true)

    def _square(self, error: Any) -> Any:
        import tensorflow as tf

        return tf.reduce_mean(tf.square(error / self.spread))


def logits_of(program: Program, values: Mapping[str, Any]) -> Any:
    """The answers before a final softmax or sigmoid, if there is one, shape (n, outputs)."""
    import tensorflow as tf

    logits = values[program.logits]
    return tf.reshape(logits, [tf.shape(logits)[0], int(np.prod(program.shapes[program.sink]))])


def kind_of_answers(program: Program, *, labelled: bool) -> Kind:
    """What a graph's answers are; `labelled` says whether they are scores of labels."""
    if not labelled:
        return "numbers"
    return "sigmoid" if program.end is not None and program.end.kind == "LOGISTIC" else "softmax"


def largest_batch(program: Program, memory: int) -> int:
    """Largest number of items whose training step fits into this much memory in bytes, at least 1."""
    return max(1, memory // (ACTIVATION_COPIES * max(program.item_bytes, 1)))


class Trainee:
    """A float graph whose weights and biases are TensorFlow variables.

    Weights are stored as multiples of the largest of their output channel, and biases as multiples of the standard
    deviation of their outputs. Because normalization is folded into the weights, layers differ in size by orders of
    magnitude; in these units, one learning rate fits all of them.

    Args:
        program: The graph that the training begins with.
        moments: Mean and variance of every channel, by tensor (`pruning.importance.channel_moments`).
        factor: What these units are multiplied by, and with them how far a step of training moves a constant.
    """

    def __init__(self, program: Program, moments: Mapping[str, tuple[Array, Array]], *, factor: float = 1.0) -> None:
        import tensorflow as tf

        self.program = program
        self._units: dict[str, Array] = {}
        for step in program.weighted():
            values = step.constants[1]
            axis = WEIGHTED[step.kind]
            unit = np.abs(values).max(axis=tuple(i for i in range(values.ndim) if i != axis), keepdims=True)
            self._units[step.weights] = np.where(unit > 0, unit, max(float(unit.mean()), 1e-6)).astype(np.float32)
            if step.bias:
                spread = float(np.sqrt(moments[step.output][1].mean()))
                self._units[step.bias] = np.array(max(spread, 1e-6), np.float32)
        self._units = {name: np.asarray(factor * unit, np.float32) for name, unit in self._units.items()}
        self._variables = {name: tf.Variable(program.constants[name] / unit) for name, unit in self._units.items()}

    @property
    def variables(self) -> list[Any]:
        """All that is trained."""
        return list(self._variables.values())

    def run(self, items: Any) -> Mapping[str, Any]:
        """Every tensor by name, with gradients of the variables."""
        constants = {name: value * self._units[name] for name, value in self._variables.items()}
        return self.program.run(items, constants=constants)

    def model(self) -> bytes:
        """The file with the trained constants."""
        return self.program.with_constants(
            {name: np.asarray(value.numpy() * self._units[name], np.float32) for name, value in self._variables.items()}
        )
