"""A float program whose weights and biases are TensorFlow variables, for `tuning.distill.Distillation`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import WEIGHTED
from edgepress.converters.pruning.moments import Moments

Array = npt.NDArray[Any]


class Trainee:
    """Weights are multiples of the largest of their output channel, and biases of the spread of their outputs.

    Normalization is folded into the weights of such a graph, so that layers differ in size by orders; this makes one
    learning rate fit all of them.

    Args:
        program: The graph that the training begins with.
        moments: Its `channel_moments`.
    """

    def __init__(self, program: Program, moments: Moments) -> None:
        import tensorflow as tf

        self.program = program
        self._units: dict[str, Array] = {}
        for step in program.weighted():
            values, axis = step.constants[1], WEIGHTED[step.kind]
            unit = np.abs(values).max(axis=tuple(i for i in range(values.ndim) if i != axis), keepdims=True)
            self._units[step.weights] = np.where(unit > 0, unit, max(float(unit.mean()), 1e-6)).astype(np.float32)
            if step.bias:
                spread = float(np.sqrt(moments[step.output][1].mean()))
                self._units[step.bias] = np.array(max(spread, 1e-6), np.float32)
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
