"""The command that repeats a training with some changes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data.builtin import color_of
from edgepress.toolkit.training import augment
from edgepress.toolkit.training.architectures import ARCHITECTURES

PATIENCE = 15


def train_command(
    arguments: Mapping[str, Any],
    changes: Mapping[str, Any],
    *,
    source: str,
    input: InputSpec,
    skip_unreadable: bool = False,
) -> str:
    """The command line of a training like another one, into a new folder below `runs/`.

    Args:
        arguments: The arguments of the training, "arch" among them; what is missing has its default.
        changes: Arguments that differ, and "size" or "resize" of images.
        source: The data.
        input: Its input.
        skip_unreadable: Whether files of it were left out because they can't be read.

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
    given = {**arguments, **{name: value for name, value in changes.items() if name not in ("size", "resize")}}
    for name, default in _defaults(arch, input).items():
        value = given.get(name, default)
        if value != default:
            option = f"--{name.replace('_', '-')}"
            words += [option] if value is True else [option, "0" if value is None else str(value)]
    change = "-".join(f"{name}-{value}".replace("_", "-").replace(":", "-") for name, value in changes.items())
    name = "-".join([Path(source).stem or "data", arch, change.replace("-True", "") or "again"])
    return shlex.join([*words, "--out", f"runs/{name}"])


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
