"""Commands that advice names have the options that the user gave and without which they fail."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from records import result, row

from edgepress.converters.contract.hints import Hints
from edgepress.runtime.contract import Contract
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.cli.benchmark import next_line
from edgepress.toolkit.conversion.convert import _words_to_open
from edgepress.toolkit.data.for_model import describe
from edgepress.toolkit.data.items import ArraySource
from edgepress.toolkit.data.reading import Reading
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.diagnosis.accuracy.diagnose import _training
from edgepress.toolkit.diagnosis.accuracy.fixes import ProposedConversion
from edgepress.toolkit.diagnosis.accuracy.job import Subject
from edgepress.toolkit.errors import ModelFileError
from edgepress.toolkit.measurement.benchmarking.remarks import facts_of_file

ITEM = InputSpec.image(8, 8, "grey")
CONTRACT = Contract(task="softmax", labels=("a", "b"), input=ITEM, scheme="tflite-int8")
HINTS = Hints(size=(96, 80), mean=(1.0, 2.0, 3.0), channels_first=True, labels="my labels.txt", custom=("m:Layer",))
GIVEN = ["--labels", "my labels.txt", "--mean", "1.0,2.0,3.0", "--channels-first", "--size", "96x80"]
GIVEN += ["--custom", "m:Layer"]
SKIP = "--skip-unreadable"


def data(*skipped: tuple[str, str]) -> DataSet:
    source = ArraySource(np.zeros((6, 8, 8, 1), np.uint8), [f"{n}.png" for n in range(6)], ITEM)
    split = Split(source, np.arange(6), np.array([0, 1, 0, 1, 0, 1]))
    return DataSet("my photos", ("a", "b"), ITEM, split, split, split, "0" * 64, skipped=skipped)


def subject(*, skip: bool) -> Subject:
    opened = data()
    model, file = Path("m.onnx"), Path("m-int8.tflite")
    return Subject(model, HINTS, file, CONTRACT, "my photos", opened, opened.test, Reading(skip_unreadable=skip))


@pytest.mark.parametrize("skip", [False, True])
def test_fixes_of_a_file_open_its_model_and_data(skip: bool) -> None:
    one = subject(skip=skip)
    proposed = ProposedConversion("calibrate otherwise", "tflite-int8", {"data": "my photos", "samples": 9})
    (tuned,) = _training(one)
    for command in (proposed.command(str(one.model), one.words), tuned.command):
        words = shlex.split(command)
        assert {*GIVEN, "--data", "my photos"} <= {*words}
        assert words[words.index("--size") + 1] == "96x80"
        assert (SKIP in words) == skip


@pytest.mark.parametrize(
    ("named", "skip", "expected"),
    [
        ("my photos", True, ["--data", "my photos", *GIVEN, SKIP]),
        ("my photos", False, ["--data", "my photos", *GIVEN]),
        (None, True, [*GIVEN, SKIP]),
    ],
)
def test_advice_on_a_conversion_opens_the_model_and_its_items(named: Any, skip: bool, expected: list[str]) -> None:
    plan: Any = SimpleNamespace(data=data())
    found = [*_words_to_open(plan, named, HINTS, Reading(skip_unreadable=skip))]
    assert sorted(found) == sorted(expected)
    assert found[: found.index("--labels")] == (["--data", named] if named else [])


@pytest.mark.parametrize("skip", [False, True])
def test_remarks_on_a_file_open_its_data(skip: bool, tmp_path: Path) -> None:
    opened = data(("x.png", "it is cut off")) if skip else data()
    command = ["edgepress", "evaluate", "m.onnx", "--engine", "openvino"]
    contract = replace(CONTRACT, scheme="onnx-float32")
    facts = facts_of_file(tmp_path / "m.onnx", contract, opened, opened.test.y, command=command, hints=HINTS)
    for line in (facts.look, facts.more):
        words = shlex.split(line)
        assert {*GIVEN} <= {*words}
        assert (SKIP in words) == skip
    assert facts.more.startswith("edgepress evaluate m.onnx --engine openvino --data MORE")


def test_a_model_that_is_to_be_converted_first_keeps_what_is_known_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "saved model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"\x08\x01\x12\x00")
    with pytest.raises(ModelFileError) as caught:
        describe(folder, HINTS)
    words = shlex.split(caught.value.hint.partition(": ")[2])
    assert words[:3] == ["edgepress", "convert", str(folder)]
    assert sorted(words[3:]) == sorted(GIVEN)


@pytest.mark.parametrize("reading", [(), (SKIP,)])
def test_the_file_to_compare_with_is_made_of_data_with_damaged_files(reading: tuple[str, ...]) -> None:
    alone = replace(result(row()), baseline=None)
    words = shlex.split(next_line(alone, Path("x"), reading))
    assert words[:2] == ["edgepress", "convert"]
    assert tuple(words[-len(reading) :] if reading else ()) == reading
    assert "tflite-float32" in words
