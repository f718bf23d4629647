"""What a child process imports by name: a custom layer, and a calibration that crashes."""

from __future__ import annotations

import os
from typing import Any

import keras


class Doubling(keras.layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return x * 2.0


def abort() -> Any:
    """Die as a native converter does."""
    os.abort()
