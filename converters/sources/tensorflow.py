"""Keras models and SavedModels as a source: a function of TensorFlow, frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.arrays import Array, Floats
from edgepress.converters.contract.hints import ModelFacts, SourceInput, split_rows
from edgepress.converters.contract.kinds import count_outputs, item_output
from edgepress.converters.frozen import freeze, last_operation, trace
from edgepress.converters.sources.base import does_not_run, refuse_broken_weights
from edgepress.converters.system import free_memory
from edgepress.runtime.contract import Contract

if TYPE_CHECKING:
    import onnx


class TensorFlowSource:
    """A function of TensorFlow: a Keras model or a SavedModel's signature.

    Args:
        format: "keras" or "savedmodel".
        infer: Maps a tensor of `dtype`, (N, *shape), to one of (N, ...); of several inputs, a tensor for each.
        shape: Shape of one item.
        declared: Shape of the output, with the batch, as the file says; None for sizes that tracing finds.
        inputs: The inputs, if they are several; `shape` is then that of a row.
        dtype: Type of the input of `infer`.
        where: The file, for messages.
        batch: Number of items that it takes at once; None for any number.
        contract: The contract in the file; None if it has none.
        infer_unrolled: `infer` without loops, for TFLite; None if it has none.
        notes: Remarks for the user on how it was opened.
    """

    def __init__(
        self,
        format: str,
        infer: Callable[..., Any],
        shape: tuple[int, ...],
        declared: Sequence[int | None],
        *,
        inputs: tuple[SourceInput, ...] = (),
        dtype: str,
        where: Path,
        batch: int | None = None,
        contract: Contract | None = None,
        infer_unrolled: Callable[[Any], Any] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        import tensorflow as tf

        # TensorFlow 2.21 computes some fused convolutions with the channels first wrongly on a CPU.
        tf.config.optimizer.set_experimental_options({"remapping": False})
        self._tf = tf
        self._inputs = inputs
        self._infer: Callable[..., Any] = lambda *x: infer(*(tf.cast(each, dtype) for each in x))
        self._unrolled = infer_unrolled and (lambda *x: infer_unrolled(*(tf.cast(each, dtype) for each in x)))
        self.loops = infer_unrolled is not None
        self._batch = batch
        # Frozen only when a file is made: until then, one copy of the variables is enough.
        shapes = [each.shape for each in inputs] or [shape]
        ends = [((1, *each), "float32") for each in shapes]
        self._bare = trace(self._infer, *ends[0], *ends[1:])
        weights = [each for each in self._bare.variables if each.dtype.is_floating]
        broken = [each.name.partition(":")[0] for each in weights if not bool(tf.reduce_all(tf.math.is_finite(each)))]
        refuse_broken_weights(where, broken, lambda: self._bare(*(tf.ones(end[0]) for end in ends)))
        item = item_output(where, [[1, *shape]], [_known_sizes(self._bare.outputs[0].shape, declared)])
        outputs, spread = count_outputs(item)
        ends_in = last_operation(self._bare)
        if not spread and len(item) != 1:  # one axis counts: files return (batch, outputs)
            inner = self._infer
            unrolled = self._unrolled
            self._infer = lambda *x: tf.reshape(inner(*x), [-1, outputs])
            self._unrolled = unrolled and (lambda *x: tf.reshape(unrolled(*x), [-1, outputs]))
            self._bare = trace(self._infer, *ends[0], *ends[1:])
        self.facts = ModelFacts(
            shape,
            outputs,
            inputs=inputs,
            output_shape=spread,
            format=format,
            dtype=dtype,
            ends_in=ends_in,
            contract=contract,
            notes=notes,
        )

    def answer(self, items: Array) -> Floats:
        """See `SourceModel`."""
        try:
            tensors = [[self._tf.constant(x[np.newaxis]) for x in part] for part in split_rows(items, self._inputs)]
            return np.array([np.ravel(self._bare(*each)) for each in zip(*tensors, strict=True)], np.float32)
        except self._tf.errors.OpError as e:
            raise does_not_run(_reason(e.message)) from e

    def tflite(self, adapter: InputAdapter) -> bytes:
        """See `SourceModel`."""
        from edgepress.converters.to_tflite import passes
        from edgepress.converters.to_tflite.convert import float_tflite
        from edgepress.converters.to_tflite.transposes import without_last_transposes

        scaling, adapter = adapter.split()
        whole = adapter.item.is_integer
        stepless = not any(part.steps for part in adapter.inputs)
        bare = stepless and not (adapter.end or self._unrolled or whole)
        infer = self._unrolled or self._infer
        dtype = adapter.item.dtype if whole else "float32"
        traced = self._bare if bare else self._trace(infer, adapter, batch=1, dtype=dtype)
        model = without_last_transposes(float_tflite(freeze(traced, self._names)))
        free_memory(len(model))  # of the frozen graph and of what the converter made of it
        return passes.prepend_adapter(model, scaling) if scaling.steps else model

    def onnx(self, adapter: InputAdapter) -> onnx.ModelProto:
        """See `SourceModel`."""
        from edgepress.converters.to_onnx import interface
        from edgepress.converters.to_onnx.convert import float_onnx

        scaling, adapter = adapter.split()
        dtype = "float32" if scaling.steps else ""
        traced = self._trace(self._infer, adapter, batch=self._batch, dtype=dtype)
        model = float_onnx(freeze(traced, self._names))
        return interface.prepend_adapter(model, scaling) if scaling.steps else model

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(each.name for each in self._inputs)

    def _trace(self, infer: Callable[..., Any], adapter: InputAdapter, *, batch: int | None, dtype: str) -> Any:
        """The model with the adapter's steps; its inputs are of `dtype`, "" for those of the items."""
        tf = self._tf
        render = {
            "gather": lambda x, channels: tf.gather(x, channels, axis=-1),
            "mul": tf.multiply,
            "add": tf.add,
            "transpose": tf.transpose,
            "reshape": lambda x, shape: tf.reshape(x, [-1, *shape]),
        }
        ends = {None: lambda x: x, "softmax": tf.nn.softmax, "sigmoid": tf.sigmoid}

        def prepared(x: Any, part: InputAdapter) -> Any:
            x = x if part.item.is_integer else tf.cast(x, tf.float32)
            for step in part.steps:
                x = render[step.kind](x, step.values)
            return x

        def whole(*x: Any) -> Any:
            return ends[adapter.end](infer(*map(prepared, x, adapter.inputs)))

        first, *more = [((batch, *part.item.shape), dtype or part.item.dtype) for part in adapter.inputs]
        return trace(whole, *first, *more)


def _known_sizes(traced: Any, declared: Sequence[int | None]) -> list[int | None]:
    """The sizes of an output: those that tracing found, and what the file declares of the others."""
    traced_sizes = traced.as_list() if traced.rank is not None else [None] * len(declared)
    same = declared if len(declared) == len(traced_sizes) else [None] * len(traced_sizes)
    return [size if size is not None else other for size, other in zip(traced_sizes, same, strict=True)]


def _reason(message: str) -> str:
    """The line with the reason: TensorFlow surrounds it with the traceback of the operation's definition."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    marked = next((i for i, line in enumerate(lines) if line.startswith("[[")), 1)
    return lines[max(0, marked - 1)] if lines else "no reason was given"
