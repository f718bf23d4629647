"""The interface of a source model, which every kind of model file implements (`sources.open` lists them)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.arrays import Array, Floats
from edgepress.converters.contract.hints import ModelFacts
from edgepress.converters.errors import ConversionError
from edgepress.runtime.errors import ModelFileError, first_line

if TYPE_CHECKING:
    import onnx


class SourceModel(Protocol):
    """An open model."""

    facts: ModelFacts
    loops: bool
    """Whether it has loops over time steps, which ONNX can hold and TFLite can't."""

    def answer(self, items: Array) -> Floats:
        """The model's outputs, float32, (N, outputs), for items that it takes, float32, (N, *shape)."""
        ...

    def tflite(self, adapter: InputAdapter) -> bytes:
        """A float TFLite file of batch 1.

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


def refuse_broken_weights(where: Path, broken: Sequence[str], answer_ones: Callable[[], Any]) -> None:
    """Refuse weights that are NaN or infinite if the answer to ones is not finite, either: masks may be infinite.

    Args:
        where: The file.
        broken: Names of such weights.
        answer_ones: Answers an item of ones.

    Raises:
        ModelFileError: It has such weights.
    """
    if broken and not np.isfinite(answer_ones()).all():
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        raise ModelFileError(
            f"{where} has weights that are NaN or infinite: {', '.join(broken[:3])}{more}.",
            "Its training diverged: take an earlier checkpoint, or train again at a lower learning rate.",
        )
