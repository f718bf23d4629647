"""The contract of a model that others made: from flags, from what its file says, and from guesses that are told.

    >>> guess = guess_contract((224, 224, 3), 5, metadata=Metadata(mean=(127.5,), std=(127.5,)))
    >>> guess.notes[1]
    "pixels: -1 to 1, from the file's mean 127.5, std 127.5"

A flag wins over the file, the file over a guess; every guess is a line in `Guess.notes`. The contract is that of the files
to be made: they take raw uint8 pixels, height x width x channels. How these become what the model takes is in the other
fields of `Guess`, and goes into the graph. Nothing is opened or run here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from edgepress.converters.foreign_metadata import ChannelOrder, Metadata, scaling_of, usable_scaling
from edgepress.runtime.contract import Contract, InputSpec, Resize, Task
from edgepress.runtime.errors import InputError

Numbers = str | Sequence[float]
"""Numbers, or text with commas between them."""


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A foreign model's contract, and what must stand in front of the model so that it holds.

    Pixels (uint8, height x width x channels) become float; the channels are turned around if `bgr`; then
    (pixel - mean) / std; then they are brought to channels first if `channels_first`, and to `model_shape`.

    Attributes:
        contract: What the converted files shall say of themselves; `scheme` is "foreign".
        model_shape: Shape of one item as the model takes it.
        bgr: Whether the model takes blue first.
        mean: One number or one a channel, in the order that the model takes; (0,) for tensors.
        std: See `mean`; (1,) for tensors.
        channels_first: Whether the model takes channels x height x width.
        notes: One line on each thing that was found or guessed, for the user.
    """

    contract: Contract
    model_shape: tuple[int, ...]
    bgr: bool = False
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels_first: bool = False
    notes: tuple[str, ...] = ()

    @property
    def is_identity(self) -> bool:
        """Whether the model takes the contract's items as they are, but for their type."""
        return (
            not (self.bgr or self.channels_first or any(self.mean))
            and set(self.std) == {1.0}
            and self.model_shape == self.contract.input.shape
        )


def guess_contract(
    shape: Sequence[int],
    outputs: int,
    *,
    dtype: str = "float32",
    ends_in: str | None = None,
    metadata: Metadata | None = None,
    labels: Sequence[str] | None = None,
    task: Task | None = None,
    threshold: float | None = None,
    input_range: Numbers | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    color: ChannelOrder | None = None,
    resize: Resize | None = None,
    channels_first: bool | None = None,
) -> Guess:
    """The contract of a foreign model.

    Args:
        shape: Shape of one item as the model takes it, without the batch.
        outputs: Number of outputs.
        dtype: Type of the model's input; one that is quantized takes pixels as they are.
        ends_in: Name of the last operation that computes ("SOFTMAX", "Sigmoid", "Add"), if it can be seen.
        metadata: What the file says of itself.
        labels: Class names, in the order of the outputs; of a single sigmoid both, or the positive one alone.
        task: What the outputs mean.
        threshold: Probability from which on a label counts as present, 0-1.
        input_range: Smallest and largest value that the model takes for pixels 0 and 255: "0,1", "-1,1".
        mean: One number or one a channel, subtracted from pixels that were brought to `input_range`, 0-255 if it is not
            given; but 0-1 if every `std` is below 1.
        std: What is divided by then.
        color: "grey", "rgb" or "bgr"; says that items are images.
        resize: How images are brought to size; "stretch" if not given.
        channels_first: Whether the model takes channels x height x width.

    Raises:
        InputError: The shape is not fixed, or an option contradicts it or another one.
    """
    metadata = metadata or Metadata()
    shape = tuple(shape)
    notes = list(metadata.notes)
    if not shape or any(not isinstance(n, int) or n < 1 for n in shape) or outputs < 1:
        raise InputError(
            f"The model takes items of shape {list(shape)} and gives {outputs} outputs; sizes must be fixed.",
            "Export the model with a fixed input size.",
        )
    task = task or _guess_task(outputs, ends_in, notes)
    names = _labels(outputs, task, labels, metadata, notes)
    given = {
        "--color": color, "--resize": resize, "--channels-first": channels_first,
        "--input-range": input_range, "--mean": mean, "--std": std,
    }  # fmt: skip
    given = {flag: value for flag, value in given.items() if value is not None}
    layout = _image_layout(shape, color or metadata.color, channels_first, sure=bool(given or metadata.color))
    if layout is None:
        if given:
            raise InputError(
                f"{', '.join(given)} are for images; the model takes items of shape {list(shape)}.",
                "Leave them out, or say what the shape is with --color and --channels-first.",
            )
        notes.insert(0, f"input: tensors of shape {_shape(shape)}, float32, as they are")
        contract = _contract(task, names, InputSpec(shape=shape, dtype="float32"), threshold)
        return Guess(contract=contract, model_shape=shape, notes=tuple(notes))
    order, height, width, first = layout
    channels = 1 if order == "grey" else 3
    scaling = _scaling(dtype, channels, metadata, input_range, mean, std, notes)
    spec = InputSpec.image(height, width, "grey" if order == "grey" else "rgb", resize or "stretch")
    notes.insert(0, f"input: {order} images, {height} x {width}, channels {'first' if first else 'last'}")
    return Guess(
        contract=_contract(task, names, spec, threshold),
        model_shape=shape,
        bgr=order == "bgr",
        mean=scaling[0],
        std=scaling[1],
        channels_first=first,
        notes=tuple(notes),
    )
