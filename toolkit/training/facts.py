"""The measured figures of a model and its data, for `remarks`, and the command that repeats its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.options.records import settings_of
from edgepress.runtime.data_record import TableRecord
from edgepress.runtime.decisions import same_answers
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.sound.features import FrameFeatures
from edgepress.toolkit.data.groups import is_seen
from edgepress.toolkit.data.options import LABELS
from edgepress.toolkit.data.readers.idx import color_of
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.data.types import ALWAYS_LEFT_OUT, DataSet
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.results.remarks.facts import Facts, FloatPair
from edgepress.toolkit.stats.samples import group_figures
from edgepress.toolkit.training import batches
from edgepress.toolkit.training.choosing import AUTO, NONE, PHOTO_NET, defaults, image_sizes, is_photo, weights_of
from edgepress.toolkit.training.nets.architectures import ARCHITECTURES
from edgepress.toolkit.training.options import TrainingOptions
from edgepress.toolkit.training.transfer import is_few

MORE = "MORE_ITEMS"
"""What stands in a command for data that the user must add."""


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
        confusion: Of the test items, true class down, predicted class across; of multi-label data as `confusion_of`.
        arguments: The arguments of its training; without "arch" the training is not known.
        val_confusion: The same of the validation items.
        history: One row per epoch.
        look: The command that shows the confusion of classes.
        more: The command that measures again on more items.
        pair: The quantized file that too few items leave unproven.
        max_drop_pp: Largest drop that counts as usable, percentage points.
        foreign: Whether edgepress did not train the model.
    """
    reading = Reading(skip_unreadable=any(reason not in ALWAYS_LEFT_OUT for _, reason in data.skipped))
    is_from_nothing = arguments.get("weights", "?") is None and not arguments.get("base")
    again = partial(
        train_command,
        arguments,
        source=data.source,
        input=data.input,
        reading=reading,
        group=data.group,
        table=data.table,
        sound=data.sound,
    )
    return Facts(
        labels=data.labels,
        confusion=np.asarray(confusion, np.int64),
        again=again,
        look=" ".join([look, *reading.words]) if look else look,
        more=" ".join([more, *reading.words]) if more else more,
        val_confusion=None if val_confusion is None else np.asarray(val_confusion, np.int64),
        train_counts=np.bincount(
            np.zeros(len(data.train), np.int64) if data.multilabel else data.train.y, minlength=len(data.labels)
        ),
        multilabel=data.multilabel,
        history=history,
        arguments=arguments if "epochs" in arguments else {},
        is_image=data.input.is_image,
        images=image_sizes(data),
        transfer=_transfer_command(data, reading) if is_from_nothing and is_photo(data) else "",
        all_layers=again({"freeze": False}) if arguments.get("freeze") and not is_few(data) else "",
        conflicts=data.conflicts,
        pair=pair,
        max_drop_pp=max_drop_pp,
        foreign=foreign,
        groups=None if data.test.groups is None else len(np.unique(data.test.groups)),
    )


def confusion_of(metrics: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """The confusion matrix of a document of metrics; of multi-label data, the counts of right and wrong answers."""
    if metrics.get("exact_match") is None:
        return np.asarray(metrics["confusion_matrix"], np.int64)
    return right_and_wrong(round(metrics["exact_match"] * metrics["count"]), metrics["count"])


def right_and_wrong(right: int, count: int) -> npt.NDArray[np.int64]:
    """What takes the place of a confusion matrix where answers are sets of labels: its trace is the right answers."""
    return np.array([[right, count - right], [0, 0]], np.int64)


def accuracy_of_groups(data: DataSet, predicted: npt.ArrayLike) -> dict[str, Any] | None:
    """The accuracy by item and by group on the test split (`group_figures`); None if no groups were kept together.

    Args:
        data: The data, as the model takes them.
        predicted: The answer to each test item, of the shape of its labels.
    """
    groups = data.test.groups
    right = same_answers(np.asarray(predicted), data.test.y)
    return None if groups is None else group_figures(right, groups, data.group)


def _transfer_command(data: DataSet, reading: Reading) -> str:
    """The command of a training with what edgepress chooses for photos, into a new folder below `runs/`."""
    words = reading.words
    words += [] if data.input.resize == "stretch" else ["--resize", data.input.resize]
    words += ["--group", data.group] if data.group and not is_seen(data.group) else []
    folder = f"runs/{Path(data.source).stem or 'data'}-{PHOTO_NET}"
    return shell_line("edgepress", "train", "--data", data.source, *words, "--out", folder)


def train_command(
    arguments: Mapping[str, Any],
    changes: Mapping[str, Any],
    *,
    source: str,
    input: InputSpec,
    reading: Reading = STRICT,
    group: str = "",
    table: TableRecord | None = None,
    sound: FrameFeatures | None = None,
) -> str:
    """The command line of a training like another one, into a new folder below `runs/`.

    Args:
        arguments: The arguments of the training, "arch" among them; what is missing has its default.
        changes: Arguments that differ, and "size" or "resize" of images.
        source: The data.
        input: Its input.
        reading: How they were read.
        group: The rule of its groups; "" for none.
        table: How its items are made of rows of CSV files, or of frames of sound.
        sound: The front end that made them.

    Returns:
        The command; "" for an architecture that `train` does not have.
    """
    arch = arguments.get("arch", "")
    if arch not in ARCHITECTURES or arguments.get("base"):
        return ""
    words = ["edgepress", "train", "--data", source, "--arch", arch]
    if input.is_image:
        height, width = input.shape[:2]
        side = f"{height}" if height == width else f"{height}x{width}"
        images = {"size": str(changes.get("size", side)), "resize": changes.get("resize", input.resize)}
        words += ["--size", images["size"]]
        words += [] if color_of(source) == input.color else ["--color", str(input.color)]
        words += [] if images["resize"] == "stretch" else ["--resize", images["resize"]]
    words += reading.words
    words += ["--group", group] if group and not is_seen(group) else []
    if table is not None:
        words += ["--window", str(table.window), "--step", str(table.step)] if table.window else []
        words += ["--label-column", table.label] if sound is None and table.label not in LABELS else []
    if sound is not None and (changed := sound.changes):
        words += ["--sound", ",".join(f"{name}={value}" for name, value in changed.items())]
    options = {**arguments, **{name: value for name, value in changes.items() if name not in ("size", "resize")}}
    for name, default in _defaults(arch, options, input, sound=sound is not None).items():
        value = options.get(name, default)
        if value != default:
            option = f"--{name.replace('_', '-')}"
            nothing = NONE if name == "weights" else "0"
            words += [option] if value is True else [option, nothing if value is None else str(value)]
    change = "-".join(map(_in_name, changes, changes.values()))
    name = "-".join([Path(source).stem or "data", arch, change or "again"])
    return shell_line(*words, "--out", f"runs/{name}")


def _in_name(option: str, value: Any) -> str:
    """A changed option as a part of a folder's name."""
    words = {True: option, False: f"no-{option}"}[value] if isinstance(value, bool) else f"{option}-{value}"
    return words.replace("_", "-").replace(":", "-")


def _defaults(arch: str, options: Mapping[str, Any], input: InputSpec, *, sound: bool) -> dict[str, Any]:
    """The defaults of the options of `train` that are arguments of a training, in the order of its help."""
    weights = options.get("weights", weights_of(arch, AUTO))
    usual = TrainingOptions().recorded | defaults(arch, weights, input) | {"weights": weights_of(arch, AUTO)}
    two_steps = bool(options.get("two_steps"))
    if two_steps or options.get("augmentation") == batches.MIX:
        usual["patience"] = None
    if two_steps and not options.get("epochs"):  # the second step was left out
        usual["epochs"] = options["epochs"]
    usual["augmentation"] = batches.resolve("auto", input, pretrained=two_steps, sound=sound)
    return {name: usual[name] for name in settings_of(TrainingOptions) if name in usual}
