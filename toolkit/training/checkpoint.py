"""Save and load the state of a training run after an epoch, in one file that is replaced atomically.

A resumed run ends with the same weights as an uninterrupted one: the file contains all variables of the model (also the
random state of dropout) and of the optimizer, the best weights so far, and the history. The order and augmentation of
the items need no state; see `batches.py`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.files import whole_file
from edgepress.toolkit.data.readers.npz import headers, read_arrays
from edgepress.toolkit.documents import parse_json
from edgepress.toolkit.errors import DataError, TrainingError

NAME = "checkpoint.npz"
Arrays = list[npt.NDArray[Any]]


@dataclasses.dataclass
class TrainingState:
    """The state of a run after an epoch.

    Attributes:
        began_with: Arguments and data of the run; resuming requires the same.
        history: One row per epoch: "epoch" (from 1), "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate",
            "seconds"; of a transfer, the first is that of the classifier on frozen features, epoch 0.
        best_epoch: Number of the row (from 1) that is kept: the one with the highest validation accuracy (ties: the
            lowest loss), or of a transfer the last one; 0 before the first.
        variables, optimizer, best: Variables of the model, of the optimizer, and of the model at `best_epoch`.
        planned: What the first step of a transfer said and the time of steps led to: "epochs", "layers" and
            "cross_validation" (`few_items.FewItems`); empty before.
    """

    began_with: dict[str, Any]
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    best_epoch: int = 0
    variables: Arrays = dataclasses.field(default_factory=list)
    optimizer: Arrays = dataclasses.field(default_factory=list)
    best: Arrays = dataclasses.field(default_factory=list)
    planned: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def epochs_done(self) -> int:
        """Number of epochs so far."""
        return len(self.history) - (self.history[:1] != [] and self.history[0].get("epoch") == 0)

    def improves(self, row: dict[str, float]) -> bool:
        """Whether an epoch is better than the best one so far."""
        if not self.best_epoch:
            return True
        best = self.history[self.best_epoch - 1]
        return (row["val_accuracy"], -row["val_loss"]) > (best["val_accuracy"], -best["val_loss"])

    def add(self, row: dict[str, float], variables: Arrays, optimizer: Arrays, *, keep: bool = False) -> None:
        """Add an epoch: its row of the history, and the variables of the model and of the optimizer after it.

        It is kept if it is the best, or in any case.
        """
        self.variables = variables
        self.optimizer = optimizer
        if keep or self.improves(row):
            self.best_epoch = len(self.history) + 1
            self.best = variables
        self.history.append(row)

    def is_over(self, epochs: int) -> bool:
        """Whether so many epochs are done, or patience has run out."""
        patience = self.began_with["patience"]
        waited = len(self.history) - self.best_epoch
        return self.epochs_done >= epochs or (patience is not None and waited >= patience)


def save(state: TrainingState, folder: Path) -> None:
    """Write the checkpoint of a folder, atomically."""
    arrays = {
        f"{group}_{i:04}": value
        for group in ("variables", "optimizer", "best")
        for i, value in enumerate(getattr(state, group))
    }
    names = ("began_with", "history", "best_epoch", "planned")
    facts = {name: getattr(state, name) for name in names}
    with whole_file(folder / NAME) as temporary:
        np.savez(temporary, facts=np.array(json.dumps(facts)), **arrays)


def load(folder: Path) -> TrainingState | None:
    """Load the checkpoint of a folder; None if there is none.

    Raises:
        TrainingError: It can't be read.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        arrays = read_arrays(path, headers(path))
        groups: dict[str, Any] = {
            group: [arrays[key] for key in sorted(arrays) if key.startswith(f"{group}_")]
            for group in ("variables", "optimizer", "best")
        }
        state = TrainingState(**parse_json(str(arrays["facts"]).encode(), finite=False), **groups)
        rows = state.history
        if (
            not isinstance(state.began_with, dict)
            or not isinstance(rows, list)
            or not all(type(r) is dict for r in rows)
            or not isinstance(state.planned, dict)
        ):
            raise ValueError("it does not hold a table of epochs and what the run began with")
        if type(state.best_epoch) is not int or not 0 <= state.best_epoch <= len(rows):
            raise ValueError(f"it has {len(rows)} epochs; the best one is not among them")
    except (DataError, ValueError, KeyError, TypeError) as e:
        raise TrainingError(f"The checkpoint {path} can't be read: {e}.", "Start again with --overwrite.") from e
    return state


def values(variables: list[Any]) -> Arrays:
    """Copies of Keras variables as arrays."""
    return [np.array(variable.numpy()) for variable in variables]


def assign(variables: list[Any], arrays: Arrays) -> None:
    """Set Keras variables to arrays from `values`.

    Raises:
        TrainingError: They do not fit, because they are from a damaged checkpoint.
    """
    _require_fit(variables, arrays)
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def restore(variables: list[Any], optimizer: list[Any], state: TrainingState) -> None:
    """Set the variables of a model and of its optimizer to those of a loaded state.

    Raises:
        TrainingError: The state does not fit, or its best weights do not, which are needed when the training ends.
    """
    if state.best_epoch:
        _require_fit(variables, state.best)
    _require_fit(optimizer, state.optimizer)
    assign(variables, state.variables)
    assign(optimizer, state.optimizer)


def _require_fit(variables: list[Any], arrays: Arrays) -> None:
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [array.shape for array in arrays] or any(array.dtype.kind not in "biuf" for array in arrays):
        problem = f"The checkpoint ({NAME}) is damaged: its arrays are not those of this model."
        raise TrainingError(problem, "Start again with --overwrite.")
