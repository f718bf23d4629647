"""What every kind of source model has in common: how it is opened, what is seen of it, what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.guess import Guess
from edgepress.converters.contract.metadata import Metadata
from edgepress.converters.contract.outputs import Looks
from edgepress.converters.errors import ConversionError
from edgepress.runtime.contract import Contract

if TYPE_CHECKING:
    import onnx

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Options:
    """How to open a model.

    Attributes:
        custom: "module:Class" of custom Keras layers; the modules are imported.
        trust: Whether Lambda layers, which are code, may be run.
    """

    custom: tuple[str, ...] = ()
    trust: bool = False


@dataclass(frozen=True)
class Facts:
    """What can be seen of a model once it is open.

    Attributes:
        format: "keras", "savedmodel", "tflite" or "onnx".
        shape: Shape of one item as the model takes it, without the batch.
        outputs: Number of outputs.
        dtype: Type of its input.
        ends_in: Name of the last operation that computes, "" if unknown.
        metadata: What the file says of itself in others' words.
        contract: What it says of itself if edgepress made it.
        looks: What its answers look like.
    """

    format: str
    shape: tuple[int, ...]
    outputs: int
    dtype: str
    ends_in: str
    metadata: Metadata
    contract: Contract | None = None
    looks: Looks = ""


class Source(Protocol):
    """An open model."""

    facts: Facts

    def answer(self, items: Array) -> npt.NDArray[np.float32]:
        """The model's own answers: items as it takes them, float32, (N, *shape) -> float32, (N, outputs)."""
        ...

    def tflite(self, guess: Guess, *, softmax: bool) -> bytes:
        """A float TFLite file of batch 1 that takes the contract's items as float32."""
        ...

    def onnx(self, guess: Guess, *, softmax: bool) -> onnx.ModelProto:
        """A float ONNX model that takes the contract's items: uint8 for images, float32 for tensors."""
        ...


def does_not_run(why: object) -> ConversionError:
    """The error of a model that can't be run as it is."""
    return ConversionError(f"The model itself does not run: {str(why).strip()}.", "Check how it was exported.")
