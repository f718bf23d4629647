"""The adapter around a source model: it prepares the items that a converted file takes, and finishes the outputs.

A converted image model takes raw uint8 pixels, height x width x channels. The source model may expect blue first,
scaled values or channels first, and may end in logits. `InputAdapter` records these differences, and
`InputAdapter.steps` lists them as graph operations with their constants, in the order in which they run. TensorFlow
(`sources.tensorflow`), TFLite (`to_tflite.passes`) and ONNX (`to_onnx.interface`) each render that list in their own
operations.

    >>> adapter = InputAdapter(InputSpec.image(8, 6, "rgb"), (3, 8, 6), std=(255.0,), channels_first=True)
    >>> [step.kind for step in adapter.steps]
    ['mul', 'add', 'transpose']

`apply` and `finish` compute the same in NumPy, as the runtime does for files that keep their graph (`runtime.adapter`):
from the mean and the standard deviation instead of the constants of the steps, so that comparing a file's answers with
theirs verifies the constants, too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgepress.runtime.adapter import adapted
from edgepress.runtime.contract import Adapter, Contract, InputSpec
from edgepress.runtime.decisions import sigmoid, softmax

End = Literal["softmax", "sigmoid"]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Step:
    """One operation in front of the model.

    Attributes:
        kind: "gather" picks channels from the last axis; the others are what NumPy calls so, over the whole batch.
        values: Its constant: int32 for "gather", "transpose" (the order of the axes, the batch included) and "reshape"
            (the shape of an item), float32 for "mul" and "add".
        shape: Shape of an item after it.
    """

    kind: Literal["gather", "mul", "add", "transpose", "reshape"]
    values: npt.NDArray[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class InputAdapter:
    """How the items that a file takes become what the model takes, and what follows the model.

    Items are cast to float32; channels are reversed if `bgr`; then (x - mean) / std; then the channels come first if
    `channels_first`; then items are brought to `model_shape`.

    Attributes:
        item: What the file takes.
        model_shape: Shape of one item as the model takes it.
        bgr: Whether the model takes blue first.
        mean: One number or one per channel, in the order that the model takes.
        std: See `mean`.
        channels_first: Whether the model takes channels x height x width.
        end: What is put behind a model whose outputs are logits; None for nothing.
    """

    item: InputSpec
    model_shape: tuple[int, ...]
    bgr: bool = False
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels_first: bool = False
    end: End | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """What has to be done after the cast to float32; empty if the model takes the items as they are."""
        shape, steps = self.item.shape, []
        if self.bgr:
            steps.append(Step("gather", np.array([2, 1, 0], np.int32), shape))
        if any(self.mean) or set(self.std) != {1.0}:
            std = np.array(self.std)
            steps.append(Step("mul", (1 / std).astype(np.float32), shape))
            steps.append(Step("add", (-np.array(self.mean) / std).astype(np.float32), shape))
        if self.channels_first:
            shape = (shape[2], *shape[:2])
            steps.append(Step("transpose", np.array([0, 3, 1, 2], np.int32), shape))
        if shape != self.model_shape:
            steps.append(Step("reshape", np.array(self.model_shape, np.int32), self.model_shape))
        return tuple(steps)

    @property
    def in_runtime(self) -> Adapter:
        """The same as the runtime does it, for files that keep their graph; softmax is left to the contract's task."""
        layout = {"bgr": self.bgr, "channels_first": self.channels_first, "sigmoid": self.end == "sigmoid"}
        return Adapter(shape=self.model_shape, mean=self.mean, std=self.std, **layout)

    @classmethod
    def of(cls, contract: Contract) -> InputAdapter:
        """What a model needs whose contract is known, the inverse of `in_runtime`."""
        if (found := contract.adapter) is None:
            return cls(contract.input, contract.input.shape)
        layout = {"bgr": found.bgr, "channels_first": found.channels_first}
        end: End | None = "sigmoid" if found.sigmoid else None
        return cls(contract.input, found.shape, mean=found.mean, std=found.std, end=end, **layout)

    def apply(self, items: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Items (N, *item.shape) as the model takes them: float32, (N, *model_shape)."""
        return adapted(items, self.in_runtime)

    def finish(self, outputs: Scores) -> Scores:
        """The model's outputs, float32, shape (N, C), after `end`."""
        return sigmoid(outputs) if self.end == "sigmoid" else softmax(outputs) if self.end else outputs


def end_for(outputs: int) -> End:
    """What makes probabilities of a model's logits: a sigmoid of a single one."""
    return "sigmoid" if outputs == 1 else "softmax"


def free_prefix(taken: Collection[str]) -> str:
    """A beginning for the names of added tensors that no name in the graph has; edgepress may have made it before."""
    prefix = "edgepress"
    while any(name.startswith(f"{prefix}_") for name in taken):
        prefix += "_again"
    return prefix
