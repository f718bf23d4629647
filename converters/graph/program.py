"""A float TFLite graph as a function of TensorFlow, whose constants may be replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.graph.operations import OPERATIONS
from edgepress.converters.graph.step import Step
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.graph import TYPES, Graph

Array = npt.NDArray[Any]
BATCH_BYTES = 64 << 20
"""Size of the activations of the items that are run at once, unless the caller says how many."""
TRIED, TOLERANCE = 3, 1e-4
"""Number of items on which `Program.batched` is tried, and the error allowed, as a share of the largest answer."""


class UnknownOperationError(Exception):
    """The graph has an operation that programs can't compute; the message names it and its tensor."""


class Program:
    """A float TFLite graph that TensorFlow runs.

    Args:
        model: A `.tflite` of one float graph with batch 1.

    Attributes:
        steps: The operations in the order in which they run.
        source: Name of the input tensor.
        sink: Name of the output tensor.
        constants: Values of all constants, by tensor name.
        shapes: Shape of every tensor for one item, by name.

    Raises:
        UnknownOperationError: An operation or the form of one is unknown.
    """

    def __init__(self, model: bytes) -> None:
        self._model = model
        graph = Graph(model)
        self.constants: dict[str, Array] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for index in range(len(graph.table.tensors)):
            self.shapes[graph.name(index)] = graph.shape(index)
            if (values := graph.constant(index)) is not None:
                self.constants[graph.name(index)] = values
        if len(self.shapes) != len(graph.table.tensors):
            raise UnknownOperationError("Several tensors have the same name.")
        self.steps = tuple(self._step(graph, op) for op in graph.operators)
        self.source, self.sink = graph.name(int(graph.table.inputs[0])), graph.name(int(graph.table.outputs[0]))
        self.dtype = graph.dtype(int(graph.table.inputs[0]))

    def _step(self, graph: Graph, op: Any) -> Step:
        inputs = [int(i) for i in op.inputs]
        kind, output = graph.kind(op), int(op.outputs[0])
        names = tuple(graph.name(i) if i >= 0 else "" for i in inputs)
        if kind not in OPERATIONS:
            raise UnknownOperationError(f"{kind}, which makes {graph.name(output)}")
        return Step(
            kind,
            names,
            tuple(graph.name(int(i)) for i in op.outputs),
            op.builtinOptions,
            graph.shape(output),
            graph.dtype(output),
            graph.shape(inputs[0]) if inputs and inputs[0] >= 0 else (),
            {place: self.constants[name] for place, name in enumerate(names) if name in self.constants},
        )

    def run(
        self,
        items: Any,
        *,
        constants: Mapping[str, Any] | None = None,
        after: Callable[[str, Any], Any] | None = None,
    ) -> dict[str, Any]:
        """Every tensor that the graph computes, and its input, by name; usable in a `tf.function`.

        Args:
            items: Input of shape (n, *item shape), of the graph's type.
            constants: Tensors that replace constants, by name.
            after: Called with the name and the value of the input and of each computed tensor; what it returns takes
                its place.
        """
        import tensorflow as tf

        changed, hook = constants or {}, after or (lambda name, value: value)
        values: dict[str, Any] = {self.source: hook(self.source, tf.convert_to_tensor(items))}

        def read(step: Step, place: int, name: str) -> Any:
            if not name:
                return None
            if name in values:
                return values[name]
            return changed[name] if name in changed else tf.constant(step.constants[place])

        for step in self.steps:
            inputs = [read(step, place, name) for place, name in enumerate(step.inputs)]
            found = OPERATIONS[step.kind](step, inputs)
            for name, value in zip(step.outputs, found if isinstance(found, tuple) else (found,), strict=True):
                values[name] = hook(name, value)
        return values

    def answers(self, items: Array, *, constants: Mapping[str, Any] | None = None) -> npt.NDArray[np.float32]:
        """Outputs of shape (n, outputs) for items of shape (n, *item shape), computed in batches."""
        found = [np.asarray(self.run(part, constants=constants)[self.sink]) for part in self.batches(items)]
        return np.concatenate(found).reshape(len(items), -1).astype(np.float32)

    def batches(self, items: Array) -> Iterator[Array]:
        """Items of shape (n, *item shape) in batches, whose activations together take `BATCH_BYTES`, or one by one."""
        size = max(1, BATCH_BYTES // self.item_bytes) if self.batched else 1
        for start in range(0, len(items), size):
            yield items[start : start + size].astype(self.dtype)

    @property
    def item_bytes(self) -> int:
        """Bytes of all tensors that are computed for one item."""
        return 4 * sum(int(np.prod(self.shapes[name])) for step in self.steps for name in step.outputs)

    @property
    def batched(self) -> bool:
        """Whether several items may be run at once: not if the graph moves values between the first axis and others."""
        if not hasattr(self, "_batched"):
            self._batched = self._try_batch()
        return self._batched

    def _try_batch(self) -> bool:
        import tensorflow as tf

        shape = (TRIED, *self.shapes[self.source][1:])
        items = np.abs(np.random.default_rng(0).normal(size=shape)).astype(self.dtype)
        single = np.concatenate([np.ravel(self.run(item[np.newaxis])[self.sink]) for item in items])
        try:
            together = np.ravel(self.run(items)[self.sink])
        except (tf.errors.OpError, ValueError):
            return False
        if together.shape != single.shape:
            return False
        return bool(np.max(np.abs(together - single)) <= TOLERANCE * np.max(np.abs(single)))

    def weighted(self) -> Iterator[Step]:
        """The steps that have constant weights."""
        return (step for step in self.steps if step.weights)

    def with_constants(self, changed: Mapping[str, Array]) -> bytes:
        """The file with other values of some constants, by name, of the same shapes and types."""
        graph = Graph(self._model)
        index = {graph.name(i): i for i in range(len(graph.table.tensors))}
        for name, values in changed.items():
            tensor = graph.table.tensors[index[name]]
            if tuple(values.shape) != graph.shape(index[name]) or TYPES[values.dtype] != tensor.type:
                raise ValueError(f"{name} is {graph.shape(index[name])} of {graph.dtype(index[name])}")
            tensor.buffer = flat.add_buffer(graph.root, values)  # its own: others may share the old one
        return graph.to_bytes()
