"""How a file rounds the values of a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np


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
