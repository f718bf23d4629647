"""The adapter around a source model: it prepares the items that a converted file takes, and finishes the outputs.

A converted image model takes raw uint8 pixels, height x width x channels. The source model may expect blue first,
scaled values or channels first, and may end in logits. `InputAdapter` records these differences, and
`InputAdapter.steps` lists them as graph operations with their constants, in the order in which they run. TensorFlow
(`sources.tensorflow`), TFLite (`to_tflite.passes`) and ONNX (`to_onnx.interface`) each render that list in their own
operations.

    >>> adapter = InputAdapter(InputSpec.image(8, 6, "rgb"), (3, 8, 6), std=(255.0,), channels_first=True)
    >>> [step.kind for step in adapter.steps]
    ['mul', 'add', 'transpose']

`apply` and `finish` compute the same in NumPy, from the mean and the standard deviation instead of the constants of the
steps, so that comparing a file's answers with theirs verifies the constants, too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgepress.runtime.contract import InputSpec
from edgepress.runtime.decisions import softmax

End = Literal["softmax", "sigmoid"]
PerImage = Literal["standardize", "minmax"]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Step:
    """One operation in front of the model.

    Attributes:
        kind: "gather" picks channels from the last axis; the others are what NumPy calls so, over the whole batch.
        values: Its constant: int32 for "gather", "transpose" (the order of the axes, the batch included), "reshape"
            (the shape of an item) and "mean", "min" and "max" (the axes, which are kept with size 1), float32 for
            "mul", "add" and "maximum"; None if it has none.
        shape: Shape of an item after it.
        of: The results that it takes, as their places counted back from it: 1 for that of the step before it.
        exact: Whether it stays float in every file, because eight bits lose squares and small differences of pixels.
    """

    kind: Literal["gather", "mul", "add", "transpose", "reshape", "mean", "min", "max", "sub", "sqrt", "maximum", "div"]
    values: npt.NDArray[Any] | None
    shape: tuple[int, ...]
    of: tuple[int, ...] = (1,)
    exact: bool = False


@dataclass(frozen=True)
class InputAdapter:
    """How the items that a file takes become what the model takes, and what follows the model.

    Items are cast to float32; each image is scaled by its own values if `per_image`; channels are reversed if `bgr`;
    then (x - mean) / std; then the channels come first if `channels_first`; then items are brought to `model_shape`.

    Attributes:
        item: What the file takes.
        model_shape: Shape of one item as the model takes it.
        bgr: Whether the model takes blue first.
        mean: One number or one per channel, in the order that the model takes.
        std: See `mean`.
        channels_first: Whether the model takes channels x height x width.
        per_image: "standardize": (x - mean) / max(standard deviation, 1 / sqrt(N)) over all N numbers of an image, as
            `tf.image.per_image_standardization`; "minmax": (x - min) / max(max - min, 1), which is 0 to 1 for pixels.
        end: What is put behind a model whose outputs are logits; None for nothing.
    """

    item: InputSpec
    model_shape: tuple[int, ...]
    bgr: bool = False
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels_first: bool = False
    per_image: PerImage | None = None
    end: End | None = None

    def split(self) -> tuple[InputAdapter, InputAdapter]:
        """An adapter that only scales each image, and one that does the rest, after it."""
        return InputAdapter(self.item, self.item.shape, per_image=self.per_image), replace(self, per_image=None)

    def _statistics(self) -> list[Step]:
        """The steps of `per_image`."""
        step = partial(Step, exact=True)
        shape, one, axes = self.item.shape, (1,) * len(self.item.shape), np.arange(len(self.item.shape), dtype=np.int32)
        axes += 1  # of an item in a batch
        if self.per_image == "standardize":
            least = np.array([1 / math.sqrt(math.prod(shape))], np.float32)
            return [
                step("mean", axes, one),
                step("sub", None, shape, of=(2, 1)),
                step("mul", None, shape, of=(1, 1)),
                step("mean", axes, one),
                step("sqrt", None, one),
                step("maximum", least, one),
                step("div", None, shape, of=(5, 1)),
            ]
        if self.per_image == "minmax":
            return [
                step("min", axes, one),
                step("sub", None, shape, of=(2, 1)),
                step("max", axes, one),
                step("maximum", np.array([1], np.float32), one),
                step("div", None, shape, of=(3, 1)),
            ]
        return []

    @property
    def steps(self) -> tuple[Step, ...]:
        """What has to be done after the cast to float32; empty if the model takes the items as they are."""
        shape, steps = self.item.shape, self._statistics()
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

    def apply(self, items: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Items (N, *item.shape) as the model takes them: float32, (N, *model_shape)."""
        x: npt.NDArray[Any] = _scaled(items.astype(np.float32), self.per_image)[..., :: -1 if self.bgr else 1]
        x = (x - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        x = x.transpose(0, 3, 1, 2) if self.channels_first else x
        return np.ascontiguousarray(x.reshape(len(x), *self.model_shape), np.float32)

    def finish(self, outputs: Scores) -> Scores:
        """The model's outputs, float32, shape (N, C), after `end`."""
        if self.end == "sigmoid":
            return np.asarray(np.exp(-np.logaddexp(0, -outputs)), np.float32)
        return softmax(outputs) if self.end else outputs


def _scaled(items: npt.NDArray[np.float32], rule: PerImage | None) -> npt.NDArray[np.float32]:
    """Items, shape (N, ...), each scaled by its own values."""
    axes = tuple(range(1, items.ndim))
    if rule == "standardize":
        deviation = items.std(axis=axes, keepdims=True, dtype=np.float64)
        mean = items.mean(axis=axes, keepdims=True, dtype=np.float64)
        scaled = (items - mean) / np.maximum(deviation, 1 / math.sqrt(items[0].size))
    elif rule == "minmax":
        least = items.min(axis=axes, keepdims=True)
        scaled = (items - least) / np.maximum(items.max(axis=axes, keepdims=True) - least, 1)
    else:
        return items
    return np.asarray(scaled, np.float32)


def end_for(outputs: int) -> End:
    """What makes probabilities of a model's logits: a sigmoid of a single one."""
    return "sigmoid" if outputs == 1 else "softmax"


EXACT = re.compile(r"^edgepress(_again)*_exact_")
"""Matches the names of what exact steps compute, which quantizers leave in float."""


def step_name(prefix: str, step: Step, number: int) -> str:
    """A name for what a step computes, the `number`-th of its adapter; `prefix` is a `free_prefix`."""
    return f"{prefix}_exact_{number}_{step.kind}" if step.exact else f"{prefix}_{step.kind}"


def free_prefix(taken: Collection[str]) -> str:
    """A beginning for the names of added tensors that no name in the graph has; edgepress may have made it before."""
    prefix = "edgepress"
    while any(name.startswith(f"{prefix}_") for name in taken):
        prefix += "_again"
    return prefix
