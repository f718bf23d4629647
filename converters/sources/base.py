"""The interface of a source model, which every kind of model file implements (`sources.open` lists them)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.arrays import Array, Floats
from edgepress.converters.contract.hints import ModelFacts
from edgepress.converters.errors import ConversionError
from edgepress.runtime.errors import first_line

if TYPE_CHECKING:
    import onnx

Onnx2tf = Path | ConversionError | None
"""The interpreter of the environment with onnx2tf, or the error with which what needs it ends; None: not installed."""


class SourceModel(Protocol):
    """An open model."""

    facts: ModelFacts
    loops: bool
    """Whether it has loops over time steps, which ONNX can hold and TFLite can't."""

    def answer(self, items: Array) -> Floats:
        """The model's outputs, float32, (N, outputs), for items that it takes, float32, (N, *shape)."""
        ...

    def tflite(self, adapter: InputAdapter, onnx2tf: Onnx2tf = None) -> bytes:
        """A float TFLite file of batch 1; ONNX models need onnx2tf for it.

        It takes the adapter's items: integers as they are, others as float32.
        """
        ...

    def onnx(self, adapter: InputAdapter) -> onnx.ModelProto:
        """A float ONNX model that takes the adapter's items: uint8 for images, their own type for tensors."""
        ...


def does_not_run(why: object) -> ConversionError:
    """The error of a model that can't be run as it is."""
    reason = first_line(why) if isinstance(why, Exception) else str(why).strip()
    return ConversionError(f"The model itself does not run: {reason}.", "Check how it was exported.")
