"""Keras models and SavedModels as a source: a function of TensorFlow, frozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.guess import Guess
from edgepress.converters.contract.metadata import Metadata
from edgepress.converters.frozen import freeze, last_operation, trace
from edgepress.converters.sources.base import Array, Facts, does_not_run
from edgepress.runtime.contract import Contract
from edgepress.runtime.errors import ModelFileError

if TYPE_CHECKING:
    import onnx


class TensorFlowSource:
    """A function of TensorFlow: a Keras model or a SavedModel's signature.

    Args:
        format: "keras" or "savedmodel".
        infer: A tensor of `dtype`, (N, *shape), to one of (N, outputs).
        shape: Shape of one item.
        outputs: Number of outputs.
        dtype: What `infer` takes.
        batch: Items that it takes at once, None if any number.
        contract: What the file says of itself if edgepress made it.
        infer_unrolled: `infer` as TFLite wants it, without loops; None where it has none.
    """

    def __init__(
        self,
        format: str,
        infer: Callable[[Any], Any],
        shape: tuple[int, ...],
        outputs: int,
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
        self._infer: Callable[[Any], Any] = lambda x: infer(tf.cast(x, dtype))
        self._unrolled = infer_unrolled and (lambda x: infer_unrolled(tf.cast(x, dtype)))
        self._batch = batch
        # Not frozen before it must be: the answers need the variables alone, once.
        self._bare = trace(self._infer, (1, *shape), "float32")
        self.facts = Facts(format, shape, outputs, dtype, last_operation(self._bare), Metadata(), contract)

    def answer(self, items: Array) -> npt.NDArray[np.float32]:
        """See `Source`."""
        try:
            return np.concatenate([np.asarray(self._bare(self._tf.constant(x[np.newaxis]))) for x in items])
        except self._tf.errors.OpError as e:
            raise does_not_run(_reason(e.message)) from e

    def tflite(self, guess: Guess, *, softmax: bool) -> bytes:
        """See `Source`."""
        from edgepress.converters.to_tflite.convert import float_tflite

        bare = guess.is_identity and not softmax and self._unrolled is None
        infer = self._unrolled or self._infer
        return float_tflite(
            freeze(self._bare if bare else self._traced(infer, guess, softmax, batch=1, dtype="float32"))
        )

    def onnx(self, guess: Guess, *, softmax: bool) -> onnx.ModelProto:
        """See `Source`."""
        from edgepress.converters.to_onnx.convert import float_onnx

        dtype = guess.contract.input.dtype
        return float_onnx(freeze(self._traced(self._infer, guess, softmax, batch=self._batch, dtype=dtype)))

    def _traced(
        self, infer: Callable[[Any], Any], guess: Guess, softmax: bool, *, batch: int | None, dtype: str
    ) -> Any:
        return trace(self._whole(infer, guess, softmax), (batch, *guess.contract.input.shape), dtype)

    def _whole(self, infer: Callable[[Any], Any], guess: Guess, softmax: bool) -> Callable[[Any], Any]:
        tf = self._tf

        def whole(x: Any) -> Any:
            x = tf.cast(x, tf.float32)
            if guess.bgr:
                x = tf.gather(x, [2, 1, 0], axis=-1)
            if guess.scales:
                x = x * np.array(guess.factor, np.float32) + np.array(guess.offset, np.float32)
            if guess.channels_first:
                x = tf.transpose(x, [0, 3, 1, 2])
            if tuple(x.shape[1:]) != guess.model_shape:
                x = tf.reshape(x, [-1, *guess.model_shape])
            scores = infer(x)
            if not softmax:
                return scores
            return tf.sigmoid(scores) if guess.contract.outputs == 1 else tf.nn.softmax(scores)

        return whole


def _reason(message: str) -> str:
    """The line of an error that says what is wrong: TensorFlow puts the traceback of where it was defined around it."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    marked = next((i for i, line in enumerate(lines) if line.startswith("[[")), 1)
    return lines[max(0, marked - 1)] if lines else "no reason is given"
