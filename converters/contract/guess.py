"""The contract of a model that others made: from flags, from what its file says, and from guesses that are told.

    >>> guess = guess_contract((224, 224, 3), 5, metadata=Metadata(mean=(127.5,), std=(127.5,)))
    >>> guess.notes[1]
    "pixels: -1 to 1, from the file's mean 127.5, std 127.5"

A flag wins over the file, the file over a guess; every guess is a line in `Guess.notes`. The contract is that of the
files to be made: they take raw uint8 pixels, height x width x channels. How these become what the model takes is in the
other fields of `Guess`, and goes into the graph. Nothing is opened or run here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from edgepress.converters.contract.metadata import ChannelOrder, Metadata
from edgepress.converters.contract.outputs import SIGMOIDS, Looks
from edgepress.converters.contract.pixels import Numbers, pixel_scaling
from edgepress.runtime.contract import Contract, InputSpec, Resize, Task
from edgepress.runtime.errors import InputError, unknown


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
    def scales(self) -> bool:
        """Whether pixels have to be scaled at all."""
        return any(self.mean) or set(self.std) != {1.0}

    @property
    def factor(self) -> tuple[float, ...]:
        """What to multiply pixels by, float32-wise; `offset` is added then."""
        return tuple(1 / s for s in self.std)

    @property
    def offset(self) -> tuple[float, ...]:
        """See `factor`."""
        return tuple(-m / s for m, s in zip(self.mean, self.std, strict=True))

    @property
    def is_identity(self) -> bool:
        """Whether the model takes the contract's items as they are, but for their type."""
        return not (self.bgr or self.channels_first or self.scales) and self.model_shape == self.contract.input.shape


def guess_contract(
    shape: Sequence[int],
    outputs: int,
    *,
    dtype: str = "float32",
    ends_in: str | None = None,
    looks: Looks = "",
    metadata: Metadata | None = None,
    labels: Sequence[str] | None = None,
    task: str | None = None,
    threshold: float | None = None,
    input_range: Numbers | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    color: str | None = None,
    resize: str | None = None,
    channels_first: bool | None = None,
) -> Guess:
    """The contract of a foreign model.

    Args:
        shape: Shape of one item as the model takes it, without the batch.
        outputs: Number of outputs.
        dtype: Type of the model's input; one that is not float takes pixels as they are, and nothing is put in
            front of it.
        ends_in: Name of the last operation that computes ("SOFTMAX", "Sigmoid", "Add"), if it can be seen.
        looks: What its answers look like, if it was asked.
        metadata: What the file says of itself.
        labels: Class names, in the order of the outputs; of a single sigmoid both, or the positive one alone.
        task: What the outputs mean.
        threshold: Probability from which on a label counts as present, 0-1.
        input_range: Smallest and largest value that the model takes for pixels 0 and 255: "0,1", "-1,1".
        mean: One number or one a channel, subtracted from pixels that were brought to `input_range`, 0-255 if it is not
            given; but 0-1 if every `std` is below 1.
        std: What is divided by then.
        color: "grey", "rgb" or "bgr", which says that items are images; "none" says that they are tensors.
        resize: How images are brought to size; "stretch" if not given.
        channels_first: Whether the model takes channels x height x width.

    Raises:
        InputError: The shape is not fixed, or an option contradicts it or another one.
    """
    metadata = metadata or Metadata()
    shape = tuple(shape)
    if not shape or any(n < 1 for n in shape) or outputs < 1:
        raise InputError(
            f"The model takes items of shape {list(shape)} and gives {outputs} outputs; all sizes must be fixed.",
            "Export the model with an input of fixed size.",
        )
    said: Task | None = _choice("task", task, Task)
    order_said = _choice("color", color, Literal[ChannelOrder, "none"])
    fit: Resize = _choice("resize", resize, Resize) or "stretch"
    kind, task_note = (said, f"outputs: {said}, as said") if said else _guess_task(outputs, ends_in or "", looks)
    _check_task(kind, outputs, threshold)
    names, label_note = _labels(outputs, kind, labels, metadata.labels)
    flags = {
        "--color": color,
        "--resize": resize,
        "--channels-first": channels_first,
        "--input-range": input_range,
        "--mean": mean,
        "--std": std,
    }
    given = [flag for flag, value in flags.items() if value is not None]
    image = _image(shape, order_said, metadata.color, channels_first, sure=bool(given or metadata.color))
    if color == "none" and len(given) > 1:
        raise InputError(
            f"{', '.join(given)} can't be used together: --color none says that items are no images.",
            "Leave it out, or the others.",
        )
    if image is None and given and color != "none":
        raise InputError(
            f"{', '.join(given)} can't be used: items of shape {list(shape)} are not images.",
            "Images have 3 channels, or 1 with --color grey; --channels-first says that these come first.",
        )
    if image is None:
        spec = InputSpec(shape=shape, dtype="float32")
        kind_of = {1: "grey", 3: "rgb"}.get(shape[2] if len(shape) == 3 else 1 if len(shape) == 2 else 0)
        hint = f"; --color {kind_of} says that they are images" if kind_of and color is None else ""
        notes = [f"input: tensors of shape {_by(shape)}, as they are{hint}"]
        found = Guess(contract=_contract(kind, names, spec, threshold), model_shape=shape)
    else:
        order, height, width, first = image
        channels = 1 if order == "grey" else 3
        scale, scale_note = pixel_scaling(dtype, channels, metadata, input_range, mean, std)
        spec = InputSpec.image(height, width, "grey" if order == "grey" else "rgb", fit)
        layout = "first" if first else "last"
        doubt = "" if given or metadata.color else "; --color none says that they are tensors"
        notes = [f"input: {order} images, {height} x {width}, channels {layout}{doubt}", f"pixels: {scale_note}"]
        found = Guess(
            contract=_contract(kind, names, spec, threshold),
            model_shape=shape,
            bgr=order == "bgr",
            mean=scale[0],
            std=scale[1],
            channels_first=first,
        )
    return replace(found, notes=(*notes, task_note, label_note, *metadata.notes))


def _choice(what: str, value: str | None, accepted: Any) -> Any:
    if value is not None and value not in get_args(accepted):
        raise unknown(what, value, get_args(accepted))
    return value


def _guess_task(outputs: int, ends_in: str, looks: Looks) -> tuple[Task, str]:
    """From the last operation, and where that leaves it open from the model's answers."""
    last = ends_in.lower()
    end = f"the graph ends in {ends_in}" if ends_in else "assumed"
    if last in SIGMOIDS:
        more = "; --task softmax if only one label can be true" if outputs > 1 else ""
        return ("multilabel", f"outputs: multilabel ({end}){more}") if outputs > 1 else _sigmoid(end)
    if outputs == 1 and looks == "unit":
        return _sigmoid(f"{end}, and its answers lie between 0 and 1")
    if outputs == 1 and (last or looks):
        between = " and its answers do not lie between 0 and 1" if looks else ""
        raise InputError(
            f"The model has one output, ends in {ends_in or 'an unknown operation'}{between}: it is not a classifier.",
            "If the output is a logit, --softmax puts a sigmoid behind it; if a probability, say --task sigmoid.",
        )
    if outputs == 1:
        return _sigmoid(end)
    if last == "softmax":
        return "softmax", f"outputs: softmax ({end})"
    if looks == "softmax":
        return "softmax", f"outputs: softmax ({end}, and its answers sum to 1)"
    if looks == "unit":
        return "multilabel", f"outputs: multilabel ({end}, and its answers lie between 0 and 1 without summing to 1)"
    if not (last or looks):
        return "softmax", f"outputs: softmax ({end})"
    return "logits", f"outputs: logits ({end}); the runtime makes them probabilities by softmax"


def _sigmoid(end: str) -> tuple[Task, str]:
    return "sigmoid", f"outputs: one sigmoid ({end})"


def _check_task(task: Task, outputs: int, threshold: float | None) -> None:
    if (task == "sigmoid") != (outputs == 1) and task != "multilabel":
        raise InputError(
            f"The task is {task}, but the model has {outputs} output{'s' if outputs > 1 else ''}.",
            "One output: sigmoid or multilabel; several: softmax, logits or multilabel.",
        )
    if threshold is not None and task not in ("sigmoid", "multilabel"):
        raise InputError(f"A threshold of {threshold} has no meaning for {task}.", "Leave it out.")
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"The threshold is {threshold}; accepted: 0 to 1.")


def _labels(outputs: int, task: Task, given: Sequence[str] | None, found: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The labels and where they are from; of a single sigmoid two, the negative one made up if need be."""
    count = 2 if task == "sigmoid" else outputs

    def fitting(labels: Sequence[str]) -> tuple[str, ...] | None:
        both = (f"not {labels[0]}", labels[0]) if task == "sigmoid" and len(labels) == 1 else tuple(labels)
        return both if len(both) == count else None

    if given is not None:
        labels = fitting(given)
        if labels is None:
            background = " Models of 1001 classes have 'background' first." if len(given) == 1000 else ""
            raise InputError(
                f"{len(given)} labels were given; the model needs {count}.",
                f"Give one label for each output, in the order of the outputs.{background}",
            )
        return labels, f"labels: {len(given)}, as given"
    labels = fitting(found)
    if labels is not None:
        return labels, f"labels: {len(found)} from the file's metadata"
    why = f"the file's metadata has {len(found)}, not {count}" if found else "none found"
    return tuple(map(str, range(count))), f"labels: {why}: numbered 0 to {count - 1}; --labels names them"


def _image(
    shape: tuple[int, ...],
    color: ChannelOrder | Literal["none"] | None,
    found: ChannelOrder | None,
    first: bool | None,
    *,
    sure: bool,
) -> tuple[ChannelOrder, int, int, bool] | None:
    """Order of the channels, height, width, and whether channels are first; None if items are no images.

    Without other signs three channels are an image, unless they are a strip (an accelerometer's); one channel may be
    anything (a spectrogram), and is an image if it is about square.
    """
    if len(shape) == 2 and color == "grey":
        return color, shape[0], shape[1], False
    if len(shape) != 3 or color == "none":
        return None
    if first is None:
        first = shape[2] not in (1, 3) and shape[0] in (1, 3)
    channels = shape[0] if first else shape[2]
    height, width = shape[1:] if first else shape[:2]
    narrow, wide = sorted((height, width))
    looks_like_one = wide <= 2 * narrow if channels == 1 else narrow > 2
    if channels not in (1, 3) or not (sure or looks_like_one):
        return None
    own: ChannelOrder = "grey" if channels == 1 else "rgb"
    if color is not None and (color == "grey") != (own == "grey"):
        raise InputError(f"The color is {color}, but the model takes {channels} channel{'s' if channels > 1 else ''}.")
    if color is None and found is not None and (found == "grey") == (own == "grey"):
        color = found
    return color or own, height, width, first


def _by(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def _contract(task: Task, labels: tuple[str, ...], spec: InputSpec, threshold: float | None) -> Contract:
    return Contract(task=task, labels=labels, input=spec, scheme="foreign", threshold=threshold)
