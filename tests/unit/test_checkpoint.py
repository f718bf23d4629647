"""Checkpoints: what does not fit the model is refused before a training goes on, not when it has ended."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgepress.toolkit.errors import TrainingError
from edgepress.toolkit.training.checkpoint import NAME, Arrays, TrainingState, load, restore
from edgepress.toolkit.training.options import RunOptions
from edgepress.toolkit.training.run_folder import begin


class Variable:
    """A variable of Keras, as far as checkpoints know it."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape
        self.value = np.zeros(shape)

    def assign(self, value: np.ndarray) -> None:
        self.value = value


def state_of(**changes: Arrays) -> TrainingState:
    arrays: dict[str, Arrays] = {
        "variables": [np.ones((2, 3)), np.ones(3)],
        "optimizer": [np.array(7), np.ones(3)],
        "best": [np.ones((2, 3)), np.ones(3)],
    }
    return TrainingState({}, [{"loss": 1.0}], 1, **arrays | changes)


def test_a_state_that_fits_is_restored() -> None:
    variables = [Variable(2, 3), Variable(3)]
    optimizer = [Variable(), Variable(3)]
    restore(variables, optimizer, state_of())
    assert all((variable.value == 1).all() for variable in variables)
    assert optimizer[0].value == 7


@pytest.mark.parametrize("group", ["variables", "optimizer", "best"])
@pytest.mark.parametrize(
    "arrays",
    [
        [],
        [np.ones((2, 3))],
        [np.ones((2, 3)), np.ones(4)],
        [np.ones((2, 3)), np.ones(3), np.ones(3)],
        [np.full((2, 3), "x"), np.ones(3)],
        [np.ones((2, 3), complex), np.ones(3)],
    ],
)
def test_a_state_that_does_not_fit_is_one_error_and_changes_nothing(group: str, arrays: Arrays) -> None:
    variables = [Variable(2, 3), Variable(3)]
    optimizer = [Variable(), Variable(3)]
    with pytest.raises(TrainingError, match=r"checkpoint\.npz\) is damaged.* Start again with --overwrite"):
        restore(variables, optimizer, state_of(**{group: arrays}))
    assert not any(variable.value.any() for variable in (*variables, *optimizer))


def test_a_pipe_in_place_of_a_checkpoint_is_one_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(TrainingError, match=r"checkpoint\.npz can't be read"):
        load(tmp_path)


@pytest.mark.parametrize("linked", ["variants", "variants/calibrated"])
def test_a_run_that_is_replaced_removes_no_files_of_other_folders(tmp_path: Path, linked: str) -> None:
    others = tmp_path / "others" / "mine.tflite"
    others.parent.mkdir()
    others.touch()
    link = tmp_path / "run" / linked
    link.parent.mkdir(parents=True)
    link.symlink_to(others.parent)
    begin(tmp_path / "run", {}, RunOptions(overwrite=True))
    assert others.exists()
    assert not link.exists()
