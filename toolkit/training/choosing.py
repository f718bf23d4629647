"""The arguments of a training where users leave them to edgepress: net, weights, size of images, and others.

The table of docs/training.md has the rules.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data.items import SMALL
from edgepress.toolkit.data.types import SPLITS, DataSet
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.results.remarks.facts import ImageSizes
from edgepress.toolkit.training import batches, transfer
from edgepress.toolkit.training.nets import architectures
from edgepress.toolkit.training.nets.options import BaseNet
from edgepress.toolkit.training.nets.packaged import PACKAGES
from edgepress.toolkit.training.options import TrainingOptions

AUTO = "auto"
"""What leaves a choice to edgepress."""
NONE = "none"
"""Weights of a net that is trained from nothing."""
IMAGENET = "imagenet"
PHOTO_NET = "efficientnet-lite0"
"""The net for photos."""
PHOTO_SIDE = 160
"""Height and width to which photos are resized for it."""
UNTAUGHT_NET = "mobilenet-v2"
"""The net for photos that is trained from nothing."""
SAMPLED_IMAGES = 64
"""Number of images whose stored size is read."""
OTHER_NET = "lenet"
"""The net for other items of 28 x 28 to 224 x 224."""
WINDOW_NET = "conv1d"
"""The net for windows (steps, channels)."""
ANY_SHAPE_NET = "dense"
"""The net for items of any other shape."""
CHOSEN = (PHOTO_NET, UNTAUGHT_NET, OTHER_NET, WINDOW_NET, ANY_SHAPE_NET)
"""The nets that may be chosen."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """What a net begins with.

    Attributes:
        arch: A name in `architectures.ARCHITECTURES`.
        weights: "imagenet", a file, or None.
        why: The reason in words; "" if the user chose both.
        base: The body of another tool's model, in the place of both.
    """

    arch: str
    weights: str | None
    why: str
    base: BaseNet | None = None


def foresee(source: str) -> dict[str, str]:
    """The options of `train` that data lead to, by name, from some of their items; none if they can't be opened."""
    from edgepress.toolkit.data import open_data
    from edgepress.toolkit.errors import EdgepressError

    try:
        data = open_data(source, photo_size=PHOTO_SIDE, purpose="calibration", sample=(SAMPLED_IMAGES, 0))
    except EdgepressError:
        return {}
    choice = choose(data, AUTO, AUTO)
    size = {"size": str(PHOTO_SIDE)} if choice.arch == PHOTO_NET else {}
    return {"arch": choice.arch} | size


def photo_size(arch: str, weights: str | Path | None) -> int | None:
    """The side to which photos are resized if no size is given; None for the rule of the data."""
    begins = weights_of(arch if arch != AUTO else PHOTO_NET, weights)
    return PHOTO_SIDE if begins and (arch == AUTO or arch in PACKAGES) else None


def choose(data: DataSet, arch: str, weights: str | Path | None, base: BaseNet | None = None) -> Choice:
    """The net for data, and its weights."""
    if base is not None:
        return Choice(base.name, None, "", base)
    if arch != AUTO:
        begins = weights_of(arch, weights) if data.input.is_image or weights != AUTO else None
        return Choice(arch, begins, "its weights come with edgepress" if weights == AUTO and begins else "")
    if not is_photo(data):
        reason = "the images are small or grey" if data.input.is_image else "the items are tensors"
        nets = (OTHER_NET, WINDOW_NET, ANY_SHAPE_NET)
        net = next(name for name in nets if architectures.ARCHITECTURES[name].takes(data.input.shape))
        reason = "the items are windows" if net == WINDOW_NET else reason
        return Choice(net, weights_of(net, weights), reason)
    if weights in (NONE, None):
        return Choice(UNTAUGHT_NET, None, "these are photos, and the net learns from nothing")
    return Choice(PHOTO_NET, weights_of(PHOTO_NET, weights), "these are photos")


def weights_of(arch: str, weights: str | Path | None) -> str | None:
    """The weights that an architecture begins with: "auto" are those that come with edgepress."""
    if weights == AUTO:
        return IMAGENET if arch in PACKAGES else None
    return None if weights in (NONE, None) else str(weights)


def is_photo(data: DataSet) -> bool:
    """Whether the items are colour images that are not small, as they are stored and as they are resized."""
    sizes = image_sizes(data)
    if data.input.color != "rgb" or sizes is None:
        return False
    return min(*sizes.stored, *sizes.seen) >= SMALL


def image_sizes(data: DataSet) -> ImageSizes | None:
    """The median size of some images as they are stored, evenly spread over the test or else the training split."""
    split = data.test if len(data.test) else data.train
    stored_size = getattr(split.source, "stored_size", None)  # a source of a user's own may be without it
    if not data.input.is_image or stored_size is None:
        return None
    rows = np.unique(np.linspace(0, len(split) - 1, SAMPLED_IMAGES).astype(np.int64))
    stored_sizes = [stored_size(int(i)) for i in split.indices[rows]]
    sizes = np.array([size for size in stored_sizes if size is not None])
    if not len(sizes):
        return None
    height, width = (int(side) for side in np.median(sizes, axis=0))
    return ImageSizes(
        stored=(max(height, 1), max(width, 1)),
        seen=(data.input.shape[0], data.input.shape[1]),
        count=len(sizes),
        resize=data.input.resize,
    )


def describe(data: DataSet, choice: Choice, arguments: dict[str, Any]) -> str:
    """What was found and chosen, in one line."""
    counts = ", ".join(f"{len(getattr(data, name)):,} {word}" for name, word in zip(SPLITS, WORDS, strict=True))
    sizes = image_sizes(data)
    stored = f" of {sizes.stored[1]} x {sizes.stored[0]} pixels (median)" if sizes else ""
    tensors = "tensors" if data.sound is None else "sounds"
    kind = {"rgb": "color images", "grey": "grey images", None: tensors}[data.input.color]
    shape = " x ".join(map(str, data.input.shape[:2] if data.input.is_image else data.input.shape))
    weights = {None: "from nothing", IMAGENET: "with ImageNet weights"}
    begins = weights.get(choice.weights, f"with the weights of {choice.weights}")
    if choice.base is not None:
        begins = f"from its features {choice.base.features.partition(';')[0]}"
    place = f"at {shape}" if data.input.is_image else f"on items of shape {shape}"
    reason = f", because {choice.why}" if choice.why else ""
    return (
        f"{len(data.labels)} classes, {counts} items: {kind}{stored}. "
        f"Training {arguments['arch']} {begins} {place}{reason}."
    )


WORDS = ("training", "validation", "test")
"""What sentences call the splits."""


TWO_STEPS = {
    "epochs": transfer.EPOCHS,
    "batch_size": transfer.BATCH_SIZE,
    "learning_rate": transfer.LEARNING_RATE,
}
"""Defaults of a training in two steps."""
SMALL_WIDTH = 0.5
"""Width of MobileNets up to which they are small."""
DROPOUT = 0.2
"""Default rate of dropout of the features of another tool's model."""


def in_two_steps(arch: str, weights: str | None, input: InputSpec, *, continued: bool = False) -> bool:
    """Whether a net is trained in two steps: images, and weights of all layers up to the classifier.

    A model that is trained on has done the first step. Only nets that are seldom trained from nothing take the second.
    """
    usual = arch in PACKAGES if continued else architectures.architecture(arch).transfers
    return bool(weights) and input.is_image and usual


def defaults(arch: str, weights: str | None, input: InputSpec) -> dict[str, Any]:
    """What an architecture with these initial weights is trained with, unless the user says otherwise."""
    row = architectures.architecture(arch)
    two_steps = in_two_steps(arch, weights, input)
    source = {"epochs": row.epochs, "batch_size": row.batch_size, "learning_rate": row.learning_rate}
    if two_steps:
        source = TWO_STEPS
    return source | {"width": row.width, "dropout": row.dropout, "depth": next(iter(row.depths), None)}


def of_base(base: BaseNet) -> dict[str, Any]:
    """What another tool's model is trained with, unless the user says otherwise."""
    return {**TWO_STEPS, "batch_size": base.batch, "width": None, "depth": None, "dropout": DROPOUT}


def resolve_arguments(options: TrainingOptions, choice: Choice, data: DataSet) -> dict[str, Any]:
    """The arguments of a run: ready for JSON, and with defaults instead of None.

    Raises:
        InputError: An argument can't be used.
    """
    given = options.recorded
    arguments = {"arch": choice.arch, **given, "weights": choice.weights}
    arguments |= {"base": choice.base.facts} if choice.base else {}
    usual = defaults(choice.arch, choice.weights, data.input) if choice.base is None else of_base(choice.base)
    arguments |= {name: value for name, value in usual.items() if given[name] is None}
    continued = options.continued
    two_steps = bool(choice.base) or in_two_steps(choice.arch, choice.weights, data.input, continued=continued)
    arguments["augmentation"] = batches.resolve(
        given["augmentation"],
        data.input,
        pretrained=two_steps,
        sound=data.sound is not None,
        mixes=batches.can_mix(data.train),
    )
    if arguments["augmentation"] == batches.MIX:  # some dozen validation items can't tell epochs apart
        arguments["patience"] = None
    arguments["teacher"] = None if given["teacher"] is None else str(given["teacher"])
    if two_steps:
        small = is_small(choice.arch, arguments["width"], choice.base)
        arguments |= _of_two_steps(given, arguments, data, small=small)
    return arguments


def is_small(arch: str, width: float | None, base: BaseNet | None) -> bool:
    """Whether the body that is trained in two steps has fewer than `transfer.SMALL` parameters, of 4 bytes in a file.

    Of the architectures, these are the MobileNets of half the width or less.
    """
    if base is not None:
        return len(base.graph) < 4 * transfer.SMALL
    return arch not in PACKAGES and width is not None and width <= SMALL_WIDTH


def _of_two_steps(given: dict[str, Any], arguments: dict[str, Any], data: DataSet, *, small: bool) -> dict[str, Any]:
    """The arguments that say how far a training in two steps goes."""
    if arguments["freeze"] and arguments["teacher"]:
        raise InputError(
            "freeze trains the classifier on labels alone, without a teacher.", "Omit --freeze or --teacher."
        )
    few = given["epochs"] is None and arguments["teacher"] is None and transfer.is_few(data)
    chosen: dict[str, Any] = {"two_steps": True, "patience": None}
    if small:
        usual = transfer.small_defaults(len(data.train))
        chosen |= {"small": True, **{name: value for name, value in usual.items() if given[name] is None}}
    epochs = 0 if arguments["freeze"] or few else chosen.get("epochs", arguments["epochs"])
    return chosen | {"epochs": epochs}
