"""The measured figures of a model and its data, for `remarks`, and the command that repeats its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data.builtin import color_of
from edgepress.toolkit.data.groups import is_seen
from edgepress.toolkit.data.types import ALWAYS_LEFT_OUT, DataSet
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.remarks.facts import Facts, FloatPair, ImageSizes
from edgepress.toolkit.stats.clusters import group_figures
from edgepress.toolkit.training import augment
from edgepress.toolkit.training.architectures import ARCHITECTURES

SAMPLED_IMAGES = 64
"""Number of images whose stored size is read."""
MORE = "MORE_ITEMS"
"""What stands in a command for data that the user must add."""
PATIENCE = 15
"""Epochs without improvement after which a training of the search stops."""


def facts_of(
    data: DataSet,
    confusion: npt.ArrayLike,
    *,
    arguments: Mapping[str, Any],
    val_confusion: npt.ArrayLike | None = None,
    history: Sequence[Mapping[str, float]] = (),
    look: str = "",
    more: str = "",
    pair: FloatPair | None = None,
    max_drop_pp: float = 1.0,
    foreign: bool = False,
) -> Facts:
    """The figures of a model and its data.

    Args:
        data: The data, as the model takes them.
        confusion: Of the test items, true class down, predicted class across.
        arguments: The arguments of its training; without "arch" the training is not known.
        val_confusion: The same of the validation items.
        history: One row per epoch.
        look: The command that shows the confusion of classes.
        more: The command that measures again on more items.
        pair: The quantized file that too few items leave unproven.
        max_drop_pp: Largest drop that counts as usable, percentage points.
        foreign: Whether edgepress did not train the model.
    """
    skip = any(reason not in ALWAYS_LEFT_OUT for _, reason in data.skipped)
    return Facts(
        labels=data.labels,
        confusion=np.asarray(confusion, np.int64),
        again=partial(
            train_command, arguments, source=data.source, input=data.input, skip_unreadable=skip, group=data.group
        ),
        look=f"{look} --skip-unreadable" if look and skip else look,
        more=more,
        val_confusion=None if val_confusion is None else np.asarray(val_confusion, np.int64),
        train_counts=np.bincount(data.train.y, minlength=len(data.labels)),
        history=history,
        arguments=arguments if "epochs" in arguments else {},
        is_image=data.input.is_image,
        images=_image_sizes(data),
        conflicts=data.conflicts,
        pair=pair,
        max_drop_pp=max_drop_pp,
        foreign=foreign,
    )


def accuracy_of_groups(data: DataSet, predicted: npt.ArrayLike) -> dict[str, Any] | None:
    """The accuracy by item and by group on the test split (`group_figures`); None if no groups were kept together.

    Args:
        data: The data, as the model takes them.
        predicted: Predicted class of each test item, shape (N,).
    """
    groups = data.test.groups
    return None if groups is None else group_figures(np.asarray(predicted) == data.test.y, groups, data.group)


def _image_sizes(data: DataSet) -> ImageSizes | None:
    """The median size of some images as they are stored, evenly spread over the test split."""
    stored_size = getattr(data.test.source, "stored_size", None)  # a source of a user's own may be without it
    if not data.input.is_image or stored_size is None:
        return None
    rows = np.unique(np.linspace(0, len(data.test) - 1, SAMPLED_IMAGES).astype(np.int64))
    stored_sizes = [stored_size(int(i)) for i in data.test.indices[rows]]
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


def train_command(
    arguments: Mapping[str, Any],
    changes: Mapping[str, Any],
    *,
    source: str,
    input: InputSpec,
    skip_unreadable: bool = False,
    group: str = "",
) -> str:
    """The command line of a training like another one, into a new folder below `runs/`.

    Args:
        arguments: The arguments of the training, "arch" among them; what is missing has its default.
        changes: Arguments that differ, and "size" or "resize" of images.
        source: The data.
        input: Its input.
        skip_unreadable: Whether files of it were left out because they can't be read.
        group: The rule of its groups; "" for none.

    Returns:
        The command; "" for an architecture that `train` does not have.
    """
    arch = arguments.get("arch", "")
    if arch not in ARCHITECTURES:
        return ""
    words = ["edgepress", "train", "--data", source, "--arch", arch]
    if input.is_image:
        height, width = input.shape[:2]
        side = f"{height}" if height == width else f"{height}x{width}"
        images = {"size": str(changes.get("size", side)), "resize": changes.get("resize", input.resize)}
        words += ["--size", images["size"]]
        words += [] if color_of(source) == input.color else ["--color", str(input.color)]
        words += [] if images["resize"] == "stretch" else ["--resize", images["resize"]]
    words += ["--skip-unreadable"] if skip_unreadable else []
    words += ["--group", group] if group and not is_seen(group) else []
    options = {**arguments, **{name: value for name, value in changes.items() if name not in ("size", "resize")}}
    for name, default in _defaults(arch, input).items():
        value = options.get(name, default)
        if value != default:
            option = f"--{name.replace('_', '-')}"
            words += [option] if value is True else [option, "0" if value is None else str(value)]
    change = "-".join(f"{name}-{value}".replace("_", "-").replace(":", "-") for name, value in changes.items())
    name = "-".join([Path(source).stem or "data", arch, change.replace("-True", "") or "again"])
    return shell_line(*words, "--out", f"runs/{name}")


def _defaults(arch: str, input: InputSpec) -> dict[str, Any]:
    """The defaults of the options of `train` that are arguments of a training, in the order of its help."""
    row = ARCHITECTURES[arch]
    return {
        "augmentation": augment.resolve("auto", input),
        "width": row.width,
        "depth": next(iter(row.depths), None),
        "dropout": row.dropout,
        "weights": None,
        "freeze": False,
        "teacher": None,
        "epochs": row.epochs,
        "batch_size": row.batch_size,
        "learning_rate": row.learning_rate,
        "patience": PATIENCE,
        "class_weights": False,
        "seed": 0,
    }
