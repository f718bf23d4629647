"""The arguments of a training, with what is left to edgepress filled in."""

from __future__ import annotations

import math
from typing import Any

from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.training import architectures, augment, transfer
from edgepress.toolkit.training.choosing import Choice
from edgepress.toolkit.training.packaged import PACKAGES

LEAST = {"epochs": 1, "batch_size": 1, "patience": 1, "seed": 0}
"""The least value of some arguments."""


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
        source = {
            "epochs": transfer.EPOCHS,
            "batch_size": transfer.BATCH_SIZE,
            "learning_rate": transfer.LEARNING_RATE,
        }
    return source | {"width": row.width, "dropout": row.dropout, "depth": next(iter(row.depths), None)}


def resolve_arguments(given: dict[str, Any], choice: Choice, data: DataSet) -> dict[str, Any]:
    """The arguments of a run: checked, ready for JSON, and with defaults instead of None.

    Raises:
        InputError: An argument can't be used.
    """
    arguments = {"arch": choice.arch, **given, "weights": choice.weights}
    usual = defaults(choice.arch, choice.weights, data.input)
    arguments |= {name: value for name, value in usual.items() if given[name] is None}
    two_steps = in_two_steps(choice.arch, choice.weights, data.input, continued=bool(given.get("continued")))
    arguments["augmentation"] = augment.resolve(given["augmentation"], data.input, pretrained=two_steps)
    arguments["teacher"] = None if given["teacher"] is None else str(given["teacher"])
    for name, least in LEAST.items():
        if arguments[name] is not None and arguments[name] < least:
            raise InputError(f"{name} is {arguments[name]}; accepted: {least} or more.")
    if not 0 < arguments["learning_rate"] < math.inf:
        raise InputError(f"learning_rate is {arguments['learning_rate']}; accepted: above 0.")
    if not 0 < arguments.get("minutes", 1) < 1e5:
        raise InputError(f"minutes is {arguments['minutes']}; accepted: above 0, below 100000.")
    if two_steps:
        arguments |= _of_two_steps(given, arguments, data)
    return arguments


def _of_two_steps(given: dict[str, Any], arguments: dict[str, Any], data: DataSet) -> dict[str, Any]:
    """The arguments that say how far a training in two steps goes."""
    if arguments["freeze"] and arguments["teacher"]:
        raise InputError(
            "freeze trains the classifier on labels alone, without a teacher.", "Omit --freeze or --teacher."
        )
    few = given["epochs"] is None and arguments["teacher"] is None and transfer.is_few(data)
    epochs = 0 if arguments["freeze"] or few else arguments["epochs"]
    return {"two_steps": True, "epochs": epochs, "patience": None}
