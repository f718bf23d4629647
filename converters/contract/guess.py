"""Guess the contract of a model that edgepress did not train, from hints, its metadata, its shape and its outputs.

    >>> facts = Facts((224, 224, 3), 5, metadata=Metadata(mean=(127.5,), std=(127.5,)))
    >>> guess_contract(facts).notes[1]
    "pixels: -1 to 1, from the file's mean 127.5, std 127.5"

A hint takes precedence over metadata, and metadata over a guess; `Guess.notes` lists every guess. The contract is that
of the converted files, which take raw uint8 pixels, height x width x channels; `Guess.adapter` converts these to what
the model takes and becomes part of the graph. No model is opened or run here.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from edgepress.converters.adapter import End, InputAdapter, end_for
from edgepress.converters.contract.hints import OF_IMAGES, Hints, ModelFacts
from edgepress.converters.contract.kinds import not_classes, pixel_scaling, takes_integers
from edgepress.converters.contract.metadata import ChannelOrder, Metadata
from edgepress.converters.contract.outputs import SIGMOIDS
from edgepress.runtime.contract import Contract, Task
from edgepress.runtime.errors import InputError
from edgepress.runtime.input_record import InputRecord, NamedInput
from edgepress.runtime.input_spec import InputSpec, InputType

SMALLEST_SIDE = 8
"""Side from which a flat input is suggested to be a square image."""


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A foreign model's contract.

    Attributes:
        contract: The contract of the converted files; its `scheme` is "foreign".
        adapter: The operations needed before and after the model for the contract to hold.
        notes: One line for the user on each value that was found or guessed.
    """

    contract: Contract
    adapter: InputAdapter
    notes: tuple[str, ...] = ()


def guess_contract(facts: ModelFacts, hints: Hints | None = None, tensors: Collection[str] = ()) -> Guess:
    """The contract of a foreign model, and the adapter that its files need.

    Args:
        facts: What can be seen of the model.
        hints: What the user knows of it; of several inputs, options of images are about each that holds images.
        tensors: Names of inputs, of several, that are known to hold no images.

    Raises:
        InputError: The shape is not fixed, or a hint contradicts it or another hint.
    """
    hints = hints or Hints()
    metadata = facts.metadata
    if not facts.shape or any(n < 1 for n in facts.shape) or facts.outputs < 1:
        raise InputError(
            f"The model takes items of shape {list(facts.shape)} and has {facts.outputs} outputs; all sizes must be "
            "fixed.",
            "Export the model with an input of fixed size.",
        )
    task, task_note = _task(facts, hints)
    labels, label_note = _labels(facts.outputs, task, hints.label_names(), metadata)
    adapter, notes = _of_several(facts, hints, tensors) if facts.inputs else _of_one(facts, hints)
    shape = (facts.output_shape or (facts.outputs,)) if task == "none" else ()
    contract = Contract(
        task=task, labels=labels, input=adapter.item, scheme="foreign", threshold=hints.threshold, output_shape=shape
    )
    return Guess(contract=contract, adapter=adapter, notes=(*notes, task_note, *label_note, *metadata.notes))


def _of_one(facts: ModelFacts, hints: Hints) -> tuple[InputAdapter, list[str]]:
    """The adapter for the one input, and notes on it."""
    image = _image(facts, hints)
    return _of_images(facts, hints, image) if image else _of_tensors(facts, hints)


def _of_several(facts: ModelFacts, hints: Hints, tensors: Collection[str]) -> tuple[InputAdapter, list[str]]:
    """The adapter for several inputs, and notes on each."""
    if hints.input is not None or hints.size is not None:
        options = [f"--{name}" for name in ("input", "size") if getattr(hints, name) is not None]
        raise InputError(f"{', '.join(options)} can't be used for a model of several inputs.", "Leave them out.")
    no_images: dict[str, Any] = dict.fromkeys(OF_IMAGES)
    of_tensors = replace(hints, **no_images | {"color": "none"})
    parts: list[InputAdapter] = []
    notes: list[str] = []
    for name, shape in facts.inputs:
        own = replace(facts, shape=shape, inputs=())
        is_image = name not in tensors and len(shape) == 3 and _image(own, hints) is not None
        part, texts = _of_one(own, hints if is_image else of_tensors)
        parts.append(part)
        notes += [f"input {name}: {text.removeprefix('input: ')}" for text in texts]
    if hints.color != "none" and hints.image_options and not any(part.item.is_image for part in parts):
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in facts.inputs)
        raise InputError(f"{', '.join(hints.image_options)} can't be used: no input is an image ({listed}).")
    names = [each.name for each in facts.inputs]
    specs = [NamedInput(**vars(part.item), name=name) for part, name in zip(parts, names, strict=True)]
    return InputAdapter(InputRecord.of(specs), facts.shape, parts=tuple(parts), end=_end(facts, hints)), notes


def _of_images(
    facts: ModelFacts, hints: Hints, image: tuple[ChannelOrder, int, int, bool]
) -> tuple[InputAdapter, list[str]]:
    """The adapter for images, and notes on it; `image` is what `_image` returns."""
    order, height, width, first = image
    (mean, std), scale_note = pixel_scaling(facts, hints, 1 if order == "grey" else 3)
    doubt = "" if hints.image_options or facts.metadata.color else "; if they are tensors, give --color none"
    layout = "first" if first else "last"
    adapter = InputAdapter(
        InputSpec.image(height, width, "grey" if order == "grey" else "rgb", hints.resize or "stretch"),
        facts.shape,
        bgr=order == "bgr",
        mean=mean,
        std=std,
        channels_first=first,
        per_image=hints.input,
        end=_end(facts, hints),
    )
    note = f"input: {order} images, {height} x {width}, channels {layout}{doubt}"
    return adapter, [note, f"pixels: {scale_note}"]


def _of_tensors(facts: ModelFacts, hints: Hints) -> tuple[InputAdapter, list[str]]:
    """The adapter for tensors, which are taken as they are, and a note on it."""
    image_options = hints.image_options
    shape = facts.shape
    if hints.color == "none" and len(image_options) > 1:
        raise InputError(
            f"{', '.join(image_options)} can't be used together: with --color none, items are not images.",
            "Leave out --color none, or the others.",
        )
    if hints.color != "none" and image_options:
        raise InputError(
            f"{', '.join(image_options)} can't be used: items of shape {list(shape)} are not images.",
            _as_images(facts, hints),
        )
    kind, what = _color(shape)
    hint = f"; if they are {what}, give --color {kind}" if kind and hints.color is None else ""
    whole = takes_integers(facts)
    item = InputSpec(
        shape=shape, dtype=cast(InputType, facts.dtype) if whole else "float32", value_range=facts.value_range
    )
    of = f" and {facts.dtype}" if whole else ""
    if whole and facts.value_range:
        of += " from {:.0f} to {:.0f} (found by trying)".format(*facts.value_range)
    note = f"input: tensors of shape {' x '.join(map(str, shape))}{of}, as they are{hint}"
    return InputAdapter(item, shape, end=_end(facts, hints)), [note]


def _color(shape: tuple[int, ...]) -> tuple[str | None, str]:
    """The color that images of a shape would have, None if it is not that of images, and what they would be."""
    if len(shape) != 1:
        return {1: "grey", 3: "rgb"}.get(shape[2] if len(shape) == 3 else 1 if len(shape) == 2 else 0), "images"
    sides = {color: _side(shape[0], channels) for color, channels in (("grey", 1), ("rgb", 3))}
    kind = next((color for color, side in sides.items() if side is not None and side >= SMALLEST_SIDE), None)
    return kind, f"flat images of {sides[kind]} x {sides[kind]}" if kind else ""


def _as_images(facts: ModelFacts, hints: Hints) -> str:
    """What makes items images if their shape can be that of images; else to leave out what only images have."""
    shape = facts.shape
    leave = f"eave {', '.join(hints.image_options)} out: only images have them."
    if len(shape) == 3 and shape[0 if not hints.channels_first else 2] in (1, 3):
        order = "last" if hints.channels_first else "first"
        return f"If the channels come {order}, give --channels-{order}; else l{leave}"
    kind, what = _color(shape) if len(shape) == 1 and not takes_integers(facts) else (None, "")
    return f"If they are {what}, give --color {kind}; else l{leave}" if kind else f"L{leave}"


def _task(facts: ModelFacts, hints: Hints) -> tuple[Task, str]:
    """The task, and a note on where it comes from."""
    outputs = facts.outputs
    threshold = hints.threshold
    known_task = hints.task or ("sigmoid" if _end(facts, hints) == "sigmoid" else None)
    _refuse_other_models(facts, hints, known_task)
    task, note = (
        (known_task, f"outputs: {'no classes' if known_task == 'none' else known_task}, as given")
        if known_task
        else _guess_task(facts)
    )
    if (task == "sigmoid") != (outputs == 1) and task not in ("multilabel", "none"):
        raise InputError(
            f"The task is {task}, but the model has {outputs} output{'s' if outputs > 1 else ''}.",
            f"Give --task {'softmax, logits' if outputs > 1 else 'sigmoid'} or multilabel.",
        )
    if threshold is not None and task not in ("sigmoid", "multilabel"):
        raise InputError(f"A threshold of {threshold} has no meaning for {task}.", "Leave --threshold out.")
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"The threshold is {threshold}; accepted: 0 to 1.")
    return task, note


def _refuse_other_models(facts: ModelFacts, hints: Hints, task: Task | None) -> None:
    """Refuse outputs that are not classes unless the task is "none", and labels for a model of that task."""
    if task == "none":
        for option in [flag for flag, value in (("--labels", hints.labels), ("--softmax", hints.softmax)) if value]:
            raise InputError(
                f"{option} has no meaning for --task none, which is for models without labels.", f"Leave {option} out."
            )
        return
    if facts.outputs == 1 and facts.ends_in.lower() == "softmax":
        raise InputError(
            "The model has one output and ends in a softmax, which is 1 whatever the item is.",
            "Train it with a sigmoid instead, or with an output for each class; --task none takes it as it is.",
        )
    if facts.ends_in.lower().replace("_", "") == "argmax":
        name = facts.chosen_from
        raise InputError(
            f"The model returns the number of a class, not the scores of all: it ends in {facts.ends_in}.",
            f"edgepress convert makes files that return the scores with --output {shlex.quote(name)}."
            if name
            else "Save it without that operation.",
        )
    kind = not_classes(facts)
    named = task or hints.softmax or hints.labels or facts.metadata.labels
    if not kind or (named and not facts.output_shape):
        return
    hint = (
        "Give --task none to take it without labels; converted files are verified by the error of their outputs alone"
    )
    if not facts.output_shape:
        hint += "; if it is a classifier, name its --labels or its --task"
    raise InputError(f"The model is not a classifier but looks like {kind}.", f"{hint}.")


def _end(facts: ModelFacts, hints: Hints) -> End | None:
    return end_for(facts.outputs, hints.task) if hints.softmax else None


def _guess_task(facts: ModelFacts) -> tuple[Task, str]:
    """From the last operation and, where that leaves it open, from the model's outputs for random items."""
    outputs = facts.outputs
    ends_in = facts.ends_in
    looks = facts.looks
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
            "If the output is a logit, --softmax adds a sigmoid; if it is a probability, give --task sigmoid; if it is "
            "another number, --task none.",
        )
    if outputs == 1:
        return _sigmoid(end)
    if last == "softmax" or not (last or looks):
        return "softmax", f"outputs: softmax ({end})"
    if looks == "softmax":
        return "softmax", f"outputs: softmax ({end}, and its answers sum to 1)"
    if looks == "unit":
        return "multilabel", f"outputs: multilabel ({end}, and its answers lie between 0 and 1 without summing to 1)"
    return "logits", f"outputs: logits ({end}); the runtime makes them probabilities by softmax"


def _sigmoid(end: str) -> tuple[Task, str]:
    return "sigmoid", f"outputs: one sigmoid ({end})"


def _labels(
    outputs: int, task: Task, named: Sequence[str] | None, metadata: Metadata
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The labels, and a note on where they come from; a single sigmoid has two, and the negative one may be made up."""
    if task == "none":
        return (), ()
    count = 2 if task == "sigmoid" else outputs

    def fitting(labels: Sequence[str]) -> tuple[str, ...] | None:
        both = (f"not {labels[0]}", labels[0]) if task == "sigmoid" and len(labels) == 1 else tuple(labels)
        return both if len(both) == count else None

    if named is not None:
        labels = fitting(named)
        if labels is None:
            background = " Models of 1001 classes have 'background' first." if len(named) == 1000 else ""
            raise InputError(
                f"{len(named)} labels were given; the model needs {count}.",
                f"Give one label for each output, in the order of the outputs.{background}",
            )
        return labels, (f"labels: {len(named)}, as given",)
    own_labels = metadata.labels
    labels = fitting(own_labels)
    if labels is None and metadata.characters:
        labels = fitting(("blank", *own_labels)) or fitting(("blank", *own_labels, " "))
    if labels is not None:
        return labels, (f"labels: {len(labels)} from the file's metadata",)
    why = f"the file's metadata has {len(own_labels)}, not {count}" if own_labels else "none found"
    return tuple(map(str, range(count))), (f"labels: {why}: numbered 0 to {count - 1}; name them with --labels",)


def _side(count: int, channels: int) -> int | None:
    """Side of a square image of so many numbers; None if there is none."""
    side = math.isqrt(count // channels)
    return side if side * side * channels == count else None


def _image(facts: ModelFacts, hints: Hints) -> tuple[ChannelOrder, int, int, bool] | None:
    """Order of the channels, height, width, and whether channels are first; None if items are not images.

    Without hints or metadata, three channels are an image unless its shape is a strip, as an accelerometer's is; one
    channel may be anything, such as a spectrogram, and is an image if it is about square. A flat input is a square
    image if a color is given.
    """
    shape = facts.shape
    color = hints.color
    first = hints.channels_first
    if len(shape) == 2 and (color == "grey" or (color is None and hints.image_options)):
        return "grey", shape[0], shape[1], False
    if len(shape) == 1 and color is not None and color != "none":
        if (side := _side(shape[0], 1 if color == "grey" else 3)) is None:
            raise InputError(
                f"The color is {color}, but the model's {shape[0]} numbers are not a square {color} image.",
                "Export the model with an input of height x width x channels.",
            )
        return color, side, side, bool(first)
    if len(shape) != 3 or color == "none":
        return None
    if first is None:
        first = shape[2] not in (1, 3) and shape[0] in (1, 3)
    channels = shape[0] if first else shape[2]
    height, width = shape[1:] if first else shape[:2]
    narrow, wide = sorted((height, width))
    looks_like_one = wide <= 2 * narrow if channels == 1 else narrow > 2
    if channels not in (1, 3) or not (hints.image_options or facts.metadata.color or looks_like_one):
        return None
    own: ChannelOrder = "grey" if channels == 1 else "rgb"
    if color is not None and (color == "grey") != (own == "grey"):
        raise InputError(f"The color is {color}, but the model takes {channels} channel{'s' if channels > 1 else ''}.")
    own_color = facts.metadata.color
    if color is None and own_color is not None and (own_color == "grey") == (own == "grey"):
        color = own_color
    return color or own, height, width, first
