"""What a child process imports by name: a custom layer, a subclassed model, and a calibration that crashes."""

from __future__ import annotations

import os
from typing import Any

import keras


class Doubling(keras.layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return x * 2.0


@keras.saving.register_keras_serializable()  # type: ignore[untyped-decorator]
class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = keras.layers.Dense(3, activation="softmax")

    def call(self, x: Any) -> Any:
        return self.dense(x)


def abort() -> Any:
    """Die as a native converter does."""
    os.abort()
