"""Keras models and SavedModels as a source: a function of TensorFlow, frozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.hints import Facts
from edgepress.converters.contract.kinds import counted
from edgepress.converters.frozen import freeze, last_operation, trace
from edgepress.converters.sources.base import Array, does_not_run
from edgepress.runtime.contract import Contract
from edgepress.runtime.errors import ModelFileError

if TYPE_CHECKING:
    import onnx


class TensorFlowSource:
    """A function of TensorFlow: a Keras model or a SavedModel's signature.

    Args:
        format: "keras" or "savedmodel".
        infer: Maps a tensor of `dtype`, (N, *shape), to one of (N, *output_shape).
        shape: Shape of one item.
        output_shape: Shape of its output. If only one axis counts, files return (batch, outputs).
        dtype: Type of the input of `infer`.
        batch: Number of items that it takes at once; None for any number.
        contract: The contract in the file; None if it has none.
        infer_unrolled: `infer` without loops, for TFLite; None if it has none.
    """

    def __init__(
        self,
        format: str,
        infer: Callable[[Any], Any],
        shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        dtype: str,
        *,
        batch: int | None = None,
        contract: Contract | None = None,
        infer_unrolled: Callable[[Any], Any] | None = None,
    ) -> None:
        import tensorflow as tf

        if any(n is None for n in shape):
            raise ModelFileError(
                f"The model's input has the shape {list(shape)}, which is not fixed.",
                "Save it with an input of fixed size.",
            )
        self._tf = tf
        outputs, spread = counted(output_shape)

        def flat(y: Any) -> Any:
            return y if spread or len(output_shape) == 1 else tf.reshape(y, [-1, outputs])

        self._infer: Callable[[Any], Any] = lambda x: flat(infer(tf.cast(x, dtype)))
        self._unrolled = infer_unrolled and (lambda x: flat(infer_unrolled(tf.cast(x, dtype))))
        self._batch = batch
        # Frozen only when a file is made: until then, one copy of the variables is enough.
        self._bare = trace(self._infer, (1, *shape), "float32")
        self.facts = Facts(
            shape,
            outputs,
            output_shape=spread,
            format=format,
            dtype=dtype,
            ends_in=last_operation(self._bare),
            contract=contract,
        )

    def answer(self, items: Array) -> npt.NDArray[np.float32]:
        """See `Source`."""
        try:
            return np.array([np.ravel(self._bare(self._tf.constant(x[np.newaxis]))) for x in items], np.float32)
        except self._tf.errors.OpError as e:
            raise does_not_run(_reason(e.message)) from e

    def tflite(self, adapter: InputAdapter) -> bytes:
        """See `Source`."""
        from edgepress.converters.to_tflite.convert import float_tflite

        bare = not (adapter.steps or adapter.end or self._unrolled)
        infer = self._unrolled or self._infer
        return float_tflite(freeze(self._bare if bare else self._traced(infer, adapter, batch=1, dtype="float32")))

    def onnx(self, adapter: InputAdapter) -> onnx.ModelProto:
        """See `Source`."""
        from edgepress.converters.to_onnx.convert import float_onnx

        return float_onnx(freeze(self._traced(self._infer, adapter, batch=self._batch, dtype=adapter.item.dtype)))

    def _traced(self, infer: Callable[[Any], Any], adapter: InputAdapter, *, batch: int | None, dtype: str) -> Any:
        tf = self._tf
        render = {
            "gather": lambda x, channels: tf.gather(x, channels, axis=-1),
            "mul": tf.multiply,
            "add": tf.add,
            "transpose": tf.transpose,
            "reshape": lambda x, shape: tf.reshape(x, [-1, *shape]),
        }
        ends = {None: lambda x: x, "softmax": tf.nn.softmax, "sigmoid": tf.sigmoid}

        def whole(x: Any) -> Any:
            x = tf.cast(x, tf.float32)
            for step in adapter.steps:
                x = render[step.kind](x, step.values)
            return ends[adapter.end](infer(x))

        return trace(whole, (batch, *adapter.item.shape), dtype)


def _reason(message: str) -> str:
    """The line with the reason: TensorFlow surrounds it with the traceback of the operation's definition."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    marked = next((i for i, line in enumerate(lines) if line.startswith("[[")), 1)
    return lines[max(0, marked - 1)] if lines else "no reason was given"
