"""What commands say at their end about several items, and their exit codes."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from configuring import apart, edgepress
from PIL import Image

from edgepress.converters.variant import Variant
from edgepress.runtime.contract import Contract, Verification
from edgepress.runtime.data_record import DataRecord
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.cli.convert import data_words, outcome
from edgepress.toolkit.cli.frame import code_of
from edgepress.toolkit.conversion.convert import _note_if_weak, convert
from edgepress.toolkit.errors import InputError

__all__ = ["apart"]
DONE = Variant("tflite-float32", Path("a dir/x.tflite"), 1, 1.0)
LOUD = Variant("tflite-int16x8", None, None, 1.0, error="It is too far: 3.5 dB. More words.", hint="Give --data.")
SILENT = Variant("onnx-int8", None, None, 1.0, error="It does not run.", hint="Give --data.")


def test_the_exit_code_tells_some_from_all() -> None:
    assert [code_of(done) for done in ([], [True, True], [True, False], [False, True], [False])] == [0, 0, 4, 4, 1]


def test_convert_ends_with_one_sentence_for_each_rejected_file() -> None:
    assert outcome([DONE]) == ["1 of 1 files written to a dir."]
    assert outcome([DONE, LOUD]) == [
        "1 of 2 files written to a dir; tflite-int16x8 was rejected: It is too far: 3.5 dB.",
        "Give --data.",
    ]
    assert outcome([DONE, LOUD], verbose=True)[0].endswith("It is too far: 3.5 dB. More words.")
    assert outcome([LOUD, SILENT]) == [
        "0 of 2 files written; 2 were rejected:",
        "  tflite-int16x8: It is too far: 3.5 dB.",
        "  onnx-int8: It does not run.",
        "Give --data.",
    ]


def test_hints_that_differ_name_their_files() -> None:
    other = Variant("onnx-int4", None, None, 1.0, error="It is too far.", hint="Convert it to onnx-int8.")
    assert outcome([LOUD, other, SILENT])[-2:] == [
        "tflite-int16x8, onnx-int8: Give --data.",
        "onnx-int4: Convert it to onnx-int8.",
    ]


@pytest.mark.parametrize(
    ("known", "data", "more"),
    [
        ("data", None, []),
        ("data", "other", []),
        ("made_with", None, []),
        ("made_with", "photos", []),
        (None, "my photos", ["--data", "my photos"]),
        (None, None, ["--data", "DATA"]),
    ],
)
def test_the_next_command_names_data_that_the_files_do_not(
    monkeypatch: pytest.MonkeyPatch, known: str | None, data: str | None, more: list[str]
) -> None:
    contract = Contract(task="softmax", labels=("a", "b"), input=InputSpec.image(8, 8, "grey"), scheme="onnx-int8")
    if known:
        contract = contract.replace(**{known: DataRecord(source="photos", sha256="0", counts={})})
    monkeypatch.setattr("edgepress.toolkit.data.for_model.contract_of", lambda path: contract)
    assert data_words(Path("a dir/x.tflite"), data) == more


@pytest.mark.parametrize(
    ("own", "images", "saturated", "said"),
    [
        (False, True, False, "proves little: check --input-range, or give its own data with --data"),
        (False, False, True, "proves little: give its own data with --data"),
        (True, True, False, "proves little: these are of its own data, of which it has learned little"),
        (True, True, True, "proves little"),
    ],
)
def test_a_model_that_answers_all_of_its_own_data_alike_is_not_told_to_take_its_own_data(
    own: bool, images: bool, saturated: bool, said: str
) -> None:
    proof = Verification(
        items=9, on="photos", agreement=1, max_error=0, mean_error=0, largest=1, sqnr_db=None, varies=saturated,
        saturated=saturated,
    )  # fmt: skip
    notes: list[str] = []
    _note_if_weak([dataclasses.replace(DONE, verification=proof)], notes.append, images=images, own=own)
    assert [note.endswith(said) for note in notes] == [True]


def test_a_model_that_ends_in_hardmax_is_told_to_keep_its_scores() -> None:
    """Its own data would not change that its answers are 0 and 1."""
    proof = Verification(
        items=9, on="photos", agreement=1, max_error=0, mean_error=0, largest=1, sqnr_db=None, varies=True,
        saturated=True,
    )  # fmt: skip
    notes: list[str] = []
    done = [dataclasses.replace(DONE, verification=proof)]
    _note_if_weak(done, notes.append, images=False, own=False, one_hot=True)
    assert [note.endswith("keep these with --output NAME") for note in notes] == [True]


@pytest.mark.slow
def test_each_next_command_reads_the_same_files(apart: None, capfd: pytest.CaptureFixture[str]) -> None:
    """With a picture that can't be decoded, each command fails that does not leave it out."""
    random = np.random.default_rng(0)
    for number in range(60):
        picture = Path("photos", "ab"[number % 2], f"{number}.png")
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (28, 28), np.uint8)).save(picture)
    for folder in ("a", "b"):
        Path("photos", folder, "broken.png").write_bytes(b"no picture")
    command = "edgepress train --data photos --arch dense --epochs 1 --skip-unreadable"
    for name in ("train", "convert", "benchmark", "report"):
        assert command.split()[:2] == ["edgepress", name]
        assert edgepress(*command.split()[1:]) == 0
        printed = capfd.readouterr()
        assert "trained on another version" not in printed.err
        command = printed.out.rpartition("Next: ")[2].strip()
    assert edgepress("evaluate", "runs/photos-dense/model.keras") == 0
    assert "If it was trained with --skip-unreadable, give that here, too." in " ".join(capfd.readouterr().err.split())


@pytest.mark.slow
def test_convert_without_calibration_data_writes_what_needs_none(
    net: Any, apart: None, capfd: pytest.CaptureFixture[str]
) -> None:
    model, schemes = str(net[0] / "net.h5"), "tflite-float32,tflite-int8"
    more = ("--input-range", "0,1", "--out", "out of here")
    assert edgepress("convert", model, "--to", schemes, *more) == 4
    printed = capfd.readouterr().out
    assert "1 of 2 files written to out of here; tflite-int8 was rejected: It must be calibrated" in printed
    assert "Next: edgepress benchmark 'out of here' --data DATA" in printed
    assert edgepress("convert", model, "--to", "tflite-int8", *more) == 1
    assert "0 of 1 files written; tflite-int8 was rejected" in capfd.readouterr().out


@pytest.mark.slow
def test_convert_prints_rewrites_and_repairs_if_asked(run: Any, apart: None, capfd: pytest.CaptureFixture[str]) -> None:
    for words, shown in (((), False), (("--verbose",), True)):
        assert edgepress("convert", str(run.model), "--to", "tflite-int8", "--out", "out", *words) == 0
        printed = capfd.readouterr().out
        assert "1 of 1 files written to out." in printed
        assert ("Rewrite " in printed) == ("lookup-islands" in printed) == shown


def test_a_folder_that_can_not_be_written_is_refused_before_anything_is_measured(
    apart: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It was said after the measurement, which was lost."""
    Path("net.tflite").touch()
    assert edgepress("benchmark", "net.tflite", "--out", "net.tflite/results") == 1
    assert "net.tflite is not a folder" in capfd.readouterr().err
    monkeypatch.setattr(os, "access", lambda path, mode, **how: not mode & os.W_OK)
    assert edgepress("benchmark", "net.tflite") == 1
    assert "Name another folder with --out." in capfd.readouterr().err


def test_a_file_in_place_of_the_folder_is_refused_before_anything_is_converted(tmp_path: Path) -> None:
    """It was said of the first file, after minutes, with advice on disk space."""
    model, place = tmp_path / "model.keras", tmp_path / "place"
    for path in (model, place):
        path.touch()
    for inner in (place, tmp_path / "model.keras"):
        with pytest.raises(InputError, match=rf"{inner.name} is not a folder"):
            convert(model, out=inner)
