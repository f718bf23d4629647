"""The adapter around a source model: it prepares items, finishes outputs, and says which of several outputs is kept.

A converted image model takes raw uint8 pixels, height x width x channels. The source model may expect blue first,
scaled values or channels first, and may end in logits. `InputAdapter` records these differences, and
`InputAdapter.steps` lists them as graph operations with their constants, in the order in which they run. TensorFlow
(`sources.tensorflow`), TFLite (`to_tflite.passes`) and ONNX (`to_onnx.interface`) each render that list in their own
operations.

    >>> adapter = InputAdapter(InputSpec.image(8, 6, "rgb"), (3, 8, 6), std=(255.0,), channels_first=True)
    >>> [step.kind for step in adapter.steps]
    ['mul', 'add', 'transpose']

`apply` and `finish` compute the same in NumPy, as the runtime does for files that keep their graph (`runtime.adapted`):
from the mean and the standard deviation instead of the constants of the steps, so that comparing a file's answers with
theirs verifies the constants, too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from edgepress.converters.arrays import Array, Floats, each_input
from edgepress.runtime.adapted import adapted
from edgepress.runtime.adapter import Adapter, PerImage
from edgepress.runtime.contract import Contract, Task
from edgepress.runtime.decisions import sigmoid, softmax
from edgepress.runtime.errors import InputError
from edgepress.runtime.input_record import inputs_of
from edgepress.runtime.input_spec import InputSpec

End = Literal["softmax", "sigmoid"]
Scores = Floats


@dataclass(frozen=True)
class AdapterStep:
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
    values: Array | None
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
        per_image: How each image is scaled by its own values; see `edgepress.runtime.adapter.Adapter`.
        end: What is put behind a model whose outputs are logits; None for nothing.
        parts: Those of the inputs of a model of several, in their order; the model takes rows (`ModelFacts.inputs`).
    """

    item: InputSpec
    model_shape: tuple[int, ...]
    bgr: bool = False
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels_first: bool = False
    per_image: PerImage | None = None
    end: End | None = None
    parts: tuple[InputAdapter, ...] = ()

    def split(self) -> tuple[InputAdapter, InputAdapter]:
        """An adapter that only scales each image, and one that does the rest, after it."""
        return InputAdapter(self.item, self.item.shape, per_image=self.per_image), replace(self, per_image=None)

    @property
    def inputs(self) -> tuple[InputAdapter, ...]:
        """The adapter of each input: the parts, or itself."""
        return self.parts or (self,)

    def _statistics(self) -> list[AdapterStep]:
        """The steps of `per_image`."""
        step = partial(AdapterStep, exact=True)
        shape = self.item.shape
        one = (1,) * len(self.item.shape)
        axes = np.arange(len(self.item.shape), dtype=np.int32)
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
    def steps(self) -> tuple[AdapterStep, ...]:
        """What has to be done after the cast to float32; empty if the model takes the items as they are."""
        shape = self.item.shape
        steps = self._statistics()
        if self.bgr:
            steps.append(AdapterStep("gather", np.array([2, 1, 0], np.int32), shape))
        if any(self.mean) or set(self.std) != {1.0}:
            std = np.array(self.std)
            steps.append(AdapterStep("mul", (1 / std).astype(np.float32), shape))
            steps.append(AdapterStep("add", (-np.array(self.mean) / std).astype(np.float32), shape))
        if self.channels_first:
            shape = (shape[2], *shape[:2])
            steps.append(AdapterStep("transpose", np.array([0, 3, 1, 2], np.int32), shape))
        if shape != self.model_shape:
            steps.append(AdapterStep("reshape", np.array(self.model_shape, np.int32), self.model_shape))
        return tuple(steps)

    @property
    def in_runtime(self) -> Adapter:
        """The same as the runtime does it, for files that keep their graph; softmax is left to the contract's task."""
        layout = {"bgr": self.bgr, "channels_first": self.channels_first, "sigmoid": self.end == "sigmoid"}
        return Adapter(shape=self.model_shape, mean=self.mean, std=self.std, per_image=self.per_image, **layout)

    @classmethod
    def of(cls, contract: Contract) -> InputAdapter:
        """What a model needs whose contract is known, the inverse of `in_runtime`."""
        if (adapter := contract.adapter) is None:
            parts = tuple(cls(each, each.shape) for each in inputs_of(contract.input))
            return cls(contract.input, contract.input.shape, parts=parts)
        layout: dict[str, Any] = {name: getattr(adapter, name) for name in ("bgr", "channels_first", "per_image")}
        end: End | None = "sigmoid" if adapter.sigmoid else None
        return cls(contract.input, adapter.shape, mean=adapter.mean, std=adapter.std, end=end, **layout)

    def apply(self, items: Array) -> Floats:
        """Items (N, *item.shape) as the model takes them: float32, (N, *model_shape)."""
        if self.parts:
            inputs = zip(self.parts, each_input(items), strict=True)
            return np.concatenate([part.apply(values).reshape(len(items), -1) for part, values in inputs], axis=1)
        return adapted(items, self.in_runtime)

    def finish(self, outputs: Scores) -> Scores:
        """The model's outputs, float32, shape (N, C), after `end`."""
        return sigmoid(outputs) if self.end == "sigmoid" else softmax(outputs) if self.end else outputs


def end_for(outputs: int, task: Task | None) -> End:
    """What makes probabilities of a model's logits: a sigmoid of a single one, and of labels that are independent."""
    return "sigmoid" if outputs == 1 or task == "multilabel" else "softmax"


EXACT = re.compile(r"^edgepress(_again)*_exact_")
"""Matches the names of what exact steps compute, which quantizers leave in float."""


def step_name(prefix: str, step: AdapterStep, number: int) -> str:
    """A name for what a step computes, the `number`-th of its adapter; `prefix` is a `free_prefix`."""
    return f"{prefix}_exact_{number}_{step.kind}" if step.exact else f"{prefix}_{step.kind}"


def free_prefix(names: Collection[str]) -> str:
    """A beginning for the names of added tensors that no name in the graph has; edgepress may have made it before."""
    prefix = "edgepress"
    while any(name.startswith(f"{prefix}_") for name in names):
        prefix += "_again"
    return prefix


LOGITS = "logits"
"""The value of `--output` that leaves the last softmax or sigmoid off."""
IF_ANY = "?"
"""Ends the name of an output that is wanted only if the model has it."""


def chosen_output(where: str, outputs: Mapping[str, bool], wanted: str, inner: Collection[str] = ()) -> str | None:
    """The name of the output to keep of several; None if there is one, or if it is not known which is meant.

    Args:
        where: The file, for messages.
        outputs: By name, whether it is of real numbers; labels, which some classifiers return as well, are not.
        wanted: The name that the user gave; "" for the only output of real numbers. With `IF_ANY` behind it, the only
            one of real numbers is meant if there is none of this name; a value inside the model is never taken for it.
        inner: Names of values inside the model, which can be given, too.

    Raises:
        InputError: There is no output of the name given.
    """
    if wanted.endswith(IF_ANY) and wanted not in {*outputs, *inner}:
        name = wanted.removesuffix(IF_ANY)
        wanted = name if name in outputs else ""
    if wanted in inner:
        return wanted
    if wanted and wanted not in outputs:
        hint = f"Accepted for --output: {', '.join(outputs)}."
        if wanted == LOGITS:
            hint += " Only edgepress convert takes logits to leave the last softmax or sigmoid to the runtime."
        raise InputError(f"{where} has no output {wanted!r}.", hint)
    floats = [name for name, real in outputs.items() if real]
    if len(outputs) < 2 or not (wanted or len(floats) == 1):
        return None
    return wanted or floats[0]


def chosen_note(chosen: str, names: Iterable[str], wanted: str) -> str:
    """A remark on which output was kept."""
    others = ", ".join(name for name in names if name != chosen)
    why = "as given" if chosen in (wanted, wanted.removesuffix(IF_ANY)) else "the only one of real numbers"
    return f"output: {chosen}, {why}; {others} left out"
