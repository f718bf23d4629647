"""A float TFLite graph as a function of TensorFlow, whose constants may be replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array, Floats
from edgepress.converters.graph.operations import OPERATIONS
from edgepress.converters.graph.step import OperationFunction, Step
from edgepress.converters.graph.step import UnknownOperationError as UnknownOperationError
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.flatbuffer import TYPES
from edgepress.converters.to_tflite.graph import Graph
from edgepress.runtime.errors import first_line

BATCH_BYTES = 64 << 20
"""Size of the activations of the items that are run at once, unless the caller says how many."""
TRIALS = 3
"""Number of items on which a program is tried."""
TOLERANCE = 1e-3
"""Error allowed there, as a share of the largest answer: nets that amplify differences have one of 1e-4 from the order
of sums, and an error of an operation is much larger."""
ENDS = ("SOFTMAX", "LOGISTIC", "LOG_SOFTMAX")
"""Last operations in front of which answers are compared: they hide differences where they saturate."""
RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")


class Program:
    """A float TFLite graph that TensorFlow runs.

    Args:
        model: A `.tflite` of one float graph with batch 1.
        checked: Whether another process compared it with LiteRT, which then does not run it here.

    Attributes:
        steps: The operations in the order in which they run.
        source: Name of the input tensor.
        sink: Name of the output tensor.
        constants: Values of all constants, by tensor name.
        shapes: Shape of every tensor for one item, by name.

    Raises:
        UnknownOperationError: An operation or the form of one is unknown.
    """

    def __init__(self, model: bytes, *, checked: bool = False) -> None:
        self._model = model
        graph = Graph(model)
        self.constants: dict[str, Array] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for index in range(len(graph.table.tensors)):
            self.shapes[graph.name(index)] = graph.shape(index)
            if (values := graph.constant(index)) is not None:
                self.constants[graph.name(index)] = values
        if len(self.shapes) != len(graph.table.tensors) or "" in self.shapes:
            raise UnknownOperationError("Several tensors have the same name, or one has none.")
        if len(graph.table.inputs) > 1:
            raise UnknownOperationError(f"it has {len(graph.table.inputs)} inputs, and one is needed")
        self.source = graph.name(int(graph.table.inputs[0]))
        self.sink = graph.name(int(graph.table.outputs[0]))
        self.dtype = graph.dtype(int(graph.table.inputs[0]))
        self.steps = tuple(self._step(graph, op) for op in graph.operators)
        self._tensors: dict[str, Any] = {}
        if not checked:
            self._check()

    def _step(self, graph: Graph, op: Any) -> Step:
        inputs = [int(i) for i in op.inputs]
        kind = graph.kind(op)
        output = int(op.outputs[0])
        names = tuple(graph.name(i) if i >= 0 else "" for i in inputs)
        if kind not in OPERATIONS:
            raise UnknownOperationError(f"{kind}, which makes {graph.name(output)}")
        for i in (*inputs, *(int(i) for i in op.outputs)):
            if i >= 0 and graph.scales(i)[0] and graph.dtype(i) != np.float32:
                raise UnknownOperationError(f"The graph is not float: {graph.name(i)} is quantized.")
        return Step(
            kind,
            names,
            tuple(graph.name(int(i)) for i in op.outputs),
            op.builtinOptions,
            graph.shape(output),
            graph.dtype(output),
            tuple(graph.shape(i) if i >= 0 else () for i in inputs),
            {place: self.constants[name] for place, name in enumerate(names) if name in self.constants},
        )

    def _check(self) -> None:
        """Refuse a graph that does not run, or answers otherwise than LiteRT."""
        item = trial_items(self.shapes[self.source], self.dtype)[:1]
        values = self.run(item)
        for step in self.steps:
            for name in step.outputs:
                if tuple(values[name].shape) != (self.shapes[name] or values[name].shape[:1]):  # a number an item
                    shapes = f"{list(values[name].shape)}, not {list(self.shapes[name])}"
                    raise UnknownOperationError(f"{step.kind}, which makes {name}: its shape is {shapes}")
        expected = litert_answers(self._model, item)
        answer = np.asarray(values[self.sink])
        if not _near(np.ravel(answer), np.ravel(expected)):
            raise UnknownOperationError("The graph computes something else in LiteRT.")

    def run(
        self,
        items: Any,
        *,
        constants: Mapping[str, Any] | None = None,
        after: Callable[[str, Any], Any] | None = None,
        before: Callable[[Step, int, Any], Any] | None = None,
        operations: Mapping[str, OperationFunction] | None = None,
    ) -> dict[str, Any]:
        """Every tensor that the graph computes, and its input, by name; usable in a `tf.function`.

        Args:
            items: Input of shape (n, *item shape), of the graph's type.
            constants: Tensors that replace constants, by name.
            after: Called with the name and the value of the input and of each computed tensor; what it returns takes
                its place.
            before: Called with a step, the position of an input, and its value, constants too; the step reads what it
                returns.
            operations: What replaces `OPERATIONS`, by the name of the kind.

        Raises:
            UnknownOperationError: An operation has a form that can't be computed, or not for so many items.
        """
        import tensorflow as tf

        kinds: Mapping[str, OperationFunction] = OPERATIONS | dict(operations or {})
        changed = constants or {}
        hook = after or (lambda name, value: value)
        values: dict[str, Any] = {self.source: hook(self.source, tf.convert_to_tensor(items))}

        def read(step: Step, place: int) -> Any:
            name = step.inputs[place]
            if not name:
                return None
            value = values[name] if name in values else changed[name] if name in changed else self._constant(name)
            return before(step, place, value) if before else value

        for step in self.steps:
            try:
                outputs = kinds[step.kind](step, [read(step, i) for i in range(len(step.inputs))])
            except (tf.errors.OpError, ValueError, TypeError, KeyError, IndexError, AttributeError) as e:
                raise UnknownOperationError(f"{step.kind}, which makes {step.output}: {first_line(e)}") from e
            for name, value in zip(step.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True):
                values[name] = hook(name, value)
        return values

    def _constant(self, name: str) -> Any:
        """A constant as a tensor, which is made once: in the graph of a `tf.function`, a copy would be stored."""
        import tensorflow as tf

        if name not in self._tensors:
            with tf.init_scope():
                self._tensors[name] = tf.constant(self.constants[name])
        return self._tensors[name]

    def answers(self, items: Array, *, constants: Mapping[str, Any] | None = None) -> Floats:
        """Outputs of shape (n, outputs) for items of shape (n, *item shape), computed in batches."""
        parts = [np.asarray(self.run(part, constants=constants)[self.sink]) for part in self.batches(items)]
        return np.concatenate(parts).reshape(len(items), -1).astype(np.float32)

    def batches(self, items: Array) -> Iterator[Array]:
        """Items of shape (n, *item shape) in batches, whose activations together take `BATCH_BYTES`, or one by one."""
        size = max(1, BATCH_BYTES // self.item_bytes) if self.batched else 1
        for start in range(0, len(items), size):
            yield items[start : start + size].astype(self.dtype)

    @property
    def item_bytes(self) -> int:
        """Bytes of all tensors that are computed for one item."""
        return 4 * sum(int(np.prod(self.shapes[name])) for step in self.steps for name in step.outputs)

    @cached_property
    def batched(self) -> bool:
        """Whether several items may be run at once: not if the graph moves values between the first axis and others."""
        items = trial_items(self.shapes[self.source], self.dtype)
        single = np.concatenate([np.ravel(self.run(item[np.newaxis])[self.sink]) for item in items])
        try:
            together = np.ravel(self.run(items)[self.sink])
        except UnknownOperationError:
            return False
        return together.shape == single.shape and _near(together, single)

    @cached_property
    def makers(self) -> dict[str, Step]:
        """The step that makes each computed tensor, by name."""
        return {name: step for step in self.steps for name in step.outputs}

    @cached_property
    def readers(self) -> dict[str, list[Step]]:
        """The steps that read each tensor, by name, in their order."""
        readers: dict[str, list[Step]] = {}
        for step in self.steps:
            for name in dict.fromkeys(step.inputs):
                readers.setdefault(name, []).append(step)
        return readers

    @cached_property
    def shared(self) -> set[str]:
        """Constants that several steps read."""
        return {name for name in self.constants if len(self.readers.get(name, ())) > 1}

    @cached_property
    def end(self) -> Step | None:
        """The softmax or sigmoid that makes the answers, perhaps with a reshape behind it; None if there is none."""
        step = self.makers.get(self.sink)
        while step is not None and step.kind in RESHAPES:
            step = self.makers.get(step.inputs[0])
        return step if step is not None and step.kind in ENDS else None

    @property
    def logits(self) -> str:
        """The tensor that is compared: what goes into the softmax or sigmoid at the end, which hides errors, if any."""
        return self.end.inputs[0] if self.end else self.sink

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


def run_step(step: Step, *sources: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of one step by name, each input from the first source that has it, or a constant of the step."""
    import tensorflow as tf

    def read(place: int, name: str) -> Any:
        if not name:
            return None
        values = next((values for values in sources if name in values), None)
        return tf.constant(step.constants[place]) if values is None else values[name]

    outputs = OPERATIONS[step.kind](step, [read(place, name) for place, name in enumerate(step.inputs)])
    return dict(zip(step.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True))


def trial_items(shape: tuple[int, ...], dtype: np.dtype[Any] | None) -> Array:
    """Seeded items of the shape and type of an input: `TRIALS` different ones in 0-255, or of whole numbers 0 and 1."""
    random = np.random.default_rng(0)
    size = (TRIALS, *shape[1:])
    if dtype == np.uint8:
        return random.integers(0, 256, size, np.uint8)
    if dtype is None or dtype.kind != "f":
        return random.integers(0, 2, size).astype(dtype)
    # Of these ranges, a model that takes others saturates at most on some.
    scales = np.array([1.0, 16.0, 255.0]).reshape(TRIALS, *[1] * (len(size) - 1))
    return np.asarray(random.uniform(size=size) * scales, dtype)


def litert_answers(model: bytes, items: Array) -> Array:
    """What LiteRT answers to items of shape (n, *item shape), one after the other."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    sink = interpreter.get_output_details()[0]["index"]
    answers = []
    for item in items:
        interpreter.set_tensor(source, item[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(sink))
    return np.stack(answers)


def _near(answers: Array, expected: Array) -> bool:
    scale = np.max(np.abs(expected), initial=0, where=np.isfinite(expected))
    return np.allclose(answers, expected, rtol=0, atol=TOLERANCE * float(scale), equal_nan=True)
