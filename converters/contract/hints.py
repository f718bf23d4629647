"""The inputs of a guessed contract: facts of the opened model, hints of the user, and sizes that `--size` fixes.

The option `--size`: numbers for the sizes that a model's input leaves free.

>>> fixed_shape((None, None, 3), "48x192", "model.onnx")
(48, 192, 3)
>>> fixed_shape((None, 16), "128", "model.onnx")
(128, 16)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.contract.metadata import ChannelOrder, Metadata, are_text, read_labels
from edgepress.converters.contract.outputs import Looks
from edgepress.runtime.adapter import PerImage
from edgepress.runtime.contract import Contract, Task
from edgepress.runtime.errors import InputError, ModelFileError, unknown
from edgepress.runtime.resize import Resize, resize_rule

Size = str | Sequence[int]
"""Numbers, or text in which "x" separates them: "64", "48x192"."""


def parse_size(size: Size) -> tuple[int, ...]:
    """The numbers of a size, each at least 1.

    Raises:
        InputError: It is something else.
    """
    parts = size.lower().split("x") if isinstance(size, str) else [str(n) for n in size]
    if not parts or not all(part.isdecimal() and len(part) < 10 and int(part) for part in parts):
        raise InputError(f"The size is {size!r}; accepted: SIDE or HEIGHTxWIDTH, such as 64 or 48x64.")
    return tuple(map(int, parts))


def fixed_shape(shape: Sequence[int | None], size: Size | None, where: str) -> tuple[int, ...]:
    """The shape of an item with all of its sizes fixed.

    One number fixes every free size; several are the sizes of neighbouring axes, such as height and width wherever the
    channels are, and have to agree with those that the file fixes.

    Args:
        shape: Shape of an item, without the batch; None for a size that the file leaves free.
        size: What they are fixed to.
        where: Name of the file, for messages.

    Raises:
        ModelFileError: A size is free and `size` is None.
        InputError: `size` does not fit the shape.
    """
    free = shape.count(None)
    text = ", ".join("?" if n is None else str(n) for n in shape)
    if size is None and free:
        raise ModelFileError(
            f"{where} takes items of shape [{text}], of which the sizes marked ? are free.",
            "Fix them with --size LENGTH." if free == 1 else "Fix them with --size HEIGHTxWIDTH, such as 48x192.",
        )
    numbers = () if size is None else parse_size(size)
    if len(numbers) == 1 and free:
        return tuple(numbers[0] if n is None else n for n in shape)
    for start in range(len(shape) - len(numbers) + 1):
        fixed = [*shape[:start], *numbers, *shape[start + len(numbers) :]]
        if all(old in (None, new) for old, new in zip(shape, fixed, strict=True)) and None not in fixed:
            return tuple(n for n in fixed if n is not None)
    raise InputError(
        f"The size {'x'.join(map(str, numbers))} does not fit {where}, which takes items of shape [{text}].",
        "Sizes marked ? are free; the others can't be changed.",
    )


def fixed_shapes(shapes: Sequence[Sequence[int | None]], size: Size, where: str) -> list[tuple[int, ...]]:
    """`fixed_shape` of each input that has free sizes, or of all inputs if none has; the others stay.

    Raises:
        InputError: `size` does not fit one of them.
    """
    free = [shape for shape in shapes if None in shape] or shapes
    return [fixed_shape(shape, size if shape in free else None, where) for shape in shapes]


Color = Literal[ChannelOrder, "none"]
Numbers = str | Sequence[float]
"""Numbers, or text in which commas separate them."""
OF_IMAGES = ("color", "resize", "channels_first", "input_range", "mean", "std", "input")
"""Hints that only images have."""


class SourceInput(NamedTuple):
    """One of several inputs: its name, and the shape of an item, without the batch."""

    name: str
    shape: tuple[int, ...]


def row_shape(inputs: Sequence[SourceInput]) -> tuple[int]:
    """Shape of a row: the numbers of all inputs."""
    return (sum(math.prod(each.shape) for each in inputs),)


def split_rows(rows: Array, inputs: Sequence[SourceInput]) -> list[Array]:
    """The arrays (N, *shape) of the inputs that rows (N, numbers) hold; of a model of one input, the items alone."""
    if not inputs:
        return [rows]
    ends = np.cumsum([math.prod(each.shape) for each in inputs])
    parts = np.split(rows, ends[:-1], axis=1)
    return [part.reshape(len(rows), *each.shape) for part, each in zip(parts, inputs, strict=True)]


@dataclass(frozen=True)
class ModelFacts:
    """What can be seen of a model once it is open.

    Attributes:
        shape: Shape of one item as the model takes it, without the batch.
        outputs: Number of outputs for one item.
        inputs: The inputs of a model of several. It is then a function of rows: the numbers of all inputs, in their
            order, which `shape` counts. Empty for a model of one input.
        output_shape: Shape of the output for one item where more than one of its axes counts; else empty.
        format: "keras", "savedmodel", "tflite" or "onnx".
        dtype: Type of the input. A model whose input is not float scales it itself.
        quantization: Scale and zero point of the input: real value = scale * (stored value - zero point).
        ends_in: Name of the last operation that computes ("SOFTMAX", "Sigmoid", "Add"); "" if unknown.
        chosen_from: Name of the scores, if the model returns the number of the largest (ArgMax) and the name is known.
        metadata: What other tools wrote into the file.
        contract: What edgepress wrote into the file; None if it did not.
        value_range: Smallest and largest whole number that it accepts, if it takes integers and has a limit.
        looks: What the outputs for random items look like; "" if unknown.
        notes: Remarks for the user on how it was opened.
    """

    shape: tuple[int, ...]
    outputs: int
    _: KW_ONLY
    inputs: tuple[SourceInput, ...] = ()
    output_shape: tuple[int, ...] = ()
    format: str = ""
    dtype: str = "float32"
    quantization: tuple[float, int] = (1.0, 0)
    ends_in: str = ""
    chosen_from: str = ""
    metadata: Metadata = field(default_factory=Metadata)
    contract: Contract | None = None
    value_range: tuple[float, float] | None = None
    looks: Looks = ""
    notes: tuple[str, ...] = ()

    @property
    def takes_scaling(self) -> bool:
        """Whether options can say how pixels are scaled: a model of integers that are pixels does it itself."""
        return self.dtype.startswith("float") or self.quantization != (1.0, 0)


@dataclass(frozen=True, kw_only=True)
class Hints:
    """What a user knows of a model that edgepress did not train: the options of `edgepress convert` of these names.

    Each takes precedence over metadata in the file; what is None is read from there or guessed.

    Attributes:
        labels: Class names in the order of the outputs, or the path of a file with one on each line; of a single
            sigmoid both, or only the positive one.
        task: What the outputs mean: "softmax", "logits", "sigmoid" or "multilabel"; "none" of a model that is no
            classifier.
        threshold: Decision threshold: probability from which a label counts as present, 0-1.
        input_range: Values that the model takes for pixels 0 and 255: "0,1", "-1,1".
        mean: Per-channel mean, or one number for all, subtracted from pixels in `input_range` (0-255 if that is None,
            0-1 if every `std` is below 1).
        std: Per-channel standard deviation, applied after `mean`.
        color: "grey", "rgb" or "bgr" if items are images; "none" if they are tensors.
        input: How the model takes each image if not by fixed numbers: "standardize" (its mean becomes 0 and its
            standard deviation 1) or "minmax" (its smallest value becomes 0 and its largest 1).
        resize: How images of another size are fitted: "stretch" (the default), "crop", "crop:F" or "pad".
        channels_first: Whether the model takes channels x height x width.
        output: Name of the output to keep of a model with several.
        size: What free sizes of the input are fixed to: "48x192" or (48, 192), or one number for all of them.
        softmax: Put softmax behind a model that ends in logits, or sigmoids if it has one output or is "multilabel".
        custom: "module:Class" of custom Keras layers; the modules are imported.
        trust: Run code inside the file: Lambda layers of Keras, and operations of a SavedModel that do more than
            compute.
        dequantize: Take a quantized `.tflite` as the float model that its integers stand for; no option of commands,
            since `train --from` alone does so.

    Raises:
        InputError: `task`, `color`, `input` or `resize` is none of these.
    """

    labels: str | Path | Sequence[str] | None = None
    task: Task | None = None
    threshold: float | None = None
    input_range: Numbers | None = None
    mean: Numbers | None = None
    std: Numbers | None = None
    input: PerImage | None = None
    color: Color | None = None
    resize: Resize | None = None
    channels_first: bool | None = None
    output: str = ""
    size: Size | None = None
    softmax: bool = False
    custom: tuple[str, ...] = ()
    trust: bool = False
    dequantize: bool = False

    def __post_init__(self) -> None:
        for name, accepted in (("task", Task), ("color", Color), ("input", PerImage)):
            value = getattr(self, name)
            if value is not None and value not in get_args(accepted):
                raise unknown(name, value, get_args(accepted))
        try:
            resize_rule(self.resize or "stretch")
        except ValueError as e:
            raise InputError(f"The resize rule {e}.") from e

    @property
    def image_options(self) -> tuple[str, ...]:
        """Options given that only images have, by their names on the command line."""
        options = [name for name in OF_IMAGES if getattr(self, name) is not None]
        names = ["channels-last" if name == "channels_first" and not self.channels_first else name for name in options]
        return tuple(f"--{name.replace('_', '-')}" for name in names)

    @property
    def about_contract(self) -> bool:
        """Whether anything was given that changes the contract."""
        return bool(self.image_options) or (self.labels, self.task, self.threshold) != (None, None, None)

    @property
    def describes(self) -> bool:
        """Whether anything was given that says what a model is, not only how to open it."""
        return self.about_contract or self.softmax or self.size is not None

    @property
    def words(self) -> tuple[str, ...]:
        """The options of commands that say the same, to be repeated in the next command.

        Labels that are not a file, from Python, are named LABELS: the user writes them to one.
        """
        words: list[str] = []
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            option = f"--{each.name.replace('_', '-')}"
            if value is None or value == each.default or each.name == "dequantize":
                continue
            if each.name == "labels":
                words += [option, str(value) if isinstance(value, (str, Path)) else "LABELS"]
            elif each.name == "custom":
                words += [word for one in value for word in (option, one)]
            elif isinstance(value, bool):
                words.append(option if value else "--channels-last")
            elif isinstance(value, (str, int, float)):
                words += [option, str(value)]
            else:
                words += [option, ("x" if each.name == "size" else ",").join(str(number) for number in value)]
        return tuple(words)

    def label_names(self) -> Sequence[str] | None:
        """The labels given, read from their file if `labels` is a path."""
        if isinstance(self.labels, (str, Path)):
            return read_labels(self.labels)
        if self.labels is not None and not are_text(self.labels):
            raise InputError("A label holds half of a surrogate pair; accepted: text.", "Write it in UTF-8.")
        return self.labels
