"""A sweep.json of others: what it holds has the types that reports need, or it is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgepress.toolkit.errors import InputError
from edgepress.toolkit.search.sweeping.result import Configuration, Row, Sweep, load_sweep

ROW = Row(
    point={"arch": "lenet", "to": "tflite-int8"},
    status="ok",
    val_accuracy=0.9,
    accuracy=0.9,
    size_bytes=5,
    file="a.tflite",
)
CONFIGURATION = Configuration(
    point={"arch": "lenet", "to": "tflite-int8"},
    rows=(0,),
    best=0,
    val_accuracy=0.9,
    val_accuracy_std=None,
    accuracy=0.9,
    size_bytes=5,
    latency_us=None,
)
SWEEP = Sweep(
    edgepress="0.1.0",
    command="",
    data={"source": "digits", "sha256": "", "counts": {"train": 5}},
    plan={"data": {}, "dimensions": {"arch": ["lenet"]}, "training": {}, "timing": {}},
    machine="a machine",
    jobs={"ok": 2, "failed": 0},
    rows=(ROW,),
    configurations=(CONFIGURATION,),
    winners={"accurate": 0},
)


def saved(folder: Path, *place: Any, value: Any) -> Path:
    """The file with another value at a place."""
    document = SWEEP.to_dict()
    part: Any = document
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    path = folder / "sweep.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("rows", 0, "accuracy"), "x"),
        (("rows", 0, "point"), [1]),
        (("rows", 0, "size_bytes"), {}),
        (("configurations", 0, "val_accuracy"), float("nan")),
        (("configurations", 0, "rows"), 5),
        (("configurations", 0, "on_front"), "perhaps"),
        (("data", "source"), 5),
        (("data",), "digits"),
        (("plan", "dimensions"), 5),
        (("winners",), [0]),
        (("winners", "fast"), "first"),
        (("jobs",), {"ok": "many"}),
        (("notes",), [5]),
        (("machine",), None),
    ],
)
def test_values_of_other_types_are_one_error(tmp_path: Path, place: tuple[Any, ...], value: Any) -> None:
    with pytest.raises(InputError):
        load_sweep(saved(tmp_path, *place, value=value))


def test_a_sound_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert load_sweep(saved(tmp_path, "command", value="")) == SWEEP


def test_winners_that_this_version_does_not_know_are_left_out(tmp_path: Path) -> None:
    assert load_sweep(saved(tmp_path, "winners", "<b>::error::", value=0)).winners == {"accurate": 0}
