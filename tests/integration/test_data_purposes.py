"""What data need for what they are opened for: evaluation needs test items, calibration needs no labels."""

from __future__ import annotations

import gzip
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_data_folder import classes, files, image

from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.runtime.contract import Contract
from edgepress.runtime.data_record import DataRecord
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.conversion.convert import items_for
from edgepress.toolkit.conversion.plan import plan_for
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.for_model import data_for, resize_note
from edgepress.toolkit.data.readers import folder as folder_module
from edgepress.toolkit.data.reading import STRICT
from edgepress.toolkit.errors import DataError

RGB = InputSpec.image(30, 30, "rgb")
X = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
Y = np.arange(60) % 3


def contract(*labels: str, input: InputSpec = RGB, **fields: Any) -> Contract:
    return Contract(task="softmax", labels=labels, input=input, scheme="foreign", **fields)


def idx(values: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes())


def test_a_test_folder_alone_is_evaluated_whole_and_not_trained_or_calibrated_on(tmp_path: Path) -> None:
    classes(tmp_path / "test")
    data, notes = data_for(contract("bird", "dog", "cat"), str(tmp_path), where=Path("m.tflite"))
    assert (len(data.train), len(data.val), len(data.test)) == (0, 0, 20)
    assert data.labels == ("bird", "dog", "cat")
    assert [data.test.name(row).split("/")[1] for row in range(20)] == [data.labels[y] for y in data.test.y]
    assert any("bird" in note for note in notes), "a class without items is named"
    with pytest.raises(DataError, match="no train/"):
        open_data(tmp_path)
    with pytest.raises(DataError, match=r"no train/.*without labels"):
        open_data(tmp_path, input=RGB, purpose="calibration")
    with pytest.raises(DataError, match="annotate --labels"):  # a file that was converted without labels
        open_data(tmp_path, labels=("0", "1"), purpose="evaluation")


def test_idx_files_of_a_test_set_alone(tmp_path: Path) -> None:
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(idx(X))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(Y.astype(np.uint8)))
    assert open_data(tmp_path, purpose="evaluation").record.counts == {"train": 0, "val": 0, "test": 60}
    with pytest.raises(DataError, match="no file of train images"):
        open_data(tmp_path)


def test_arrays_of_a_test_set_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x_test=X, y_test=Y)
    assert len(open_data(tmp_path / "data.npz", purpose="evaluation").test) == 60
    for purpose in ("training", "calibration"):
        with pytest.raises(DataError, match="x_train"):
            open_data(tmp_path / "data.npz", purpose=purpose)


def test_one_image_a_class_is_evaluated_and_not_calibrated_on(tmp_path: Path) -> None:
    classes(tmp_path, count=1, names=tuple("abcde"))
    data = open_data(tmp_path, labels=tuple("edcba"), purpose="evaluation")
    assert sorted(data.test.y) == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match="'a' has too few"):
        open_data(tmp_path)
    with pytest.raises(DataError, match="test items only"):
        open_data(tmp_path, input=RGB, purpose="calibration")


def test_items_without_splits_are_split_as_for_training_and_a_note_says_how_to_test_on_all(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    model = contract("0", "1", "2", input=InputSpec.image(8, 8, "grey"))
    data, notes = data_for(model, str(tmp_path / "data.npz"), where=Path("m.tflite"))
    assert np.array_equal(data.test.indices, open_data(tmp_path / "data.npz").test.indices)
    assert any("12 of its 60 items" in note and "x_test" in note for note in notes)
    ours = model.replace(data=DataRecord(source="data.npz", sha256=data.sha256, counts={}))
    assert data_for(ours, str(tmp_path / "data.npz"), where=Path("m.tflite"))[1] == []


def test_numbers_of_classes_are_those_of_a_model_whose_labels_are_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x_test=X, y_test=np.array([3, 7, 9])[Y])
    model = contract(*map(str, range(10)), input=InputSpec.image(8, 8, "grey"))
    data, notes = data_for(model, str(tmp_path / "data.npz"), where=Path("m.tflite"), numbered=True)
    assert data.labels == model.labels
    assert set(data.test.y) == {3, 7, 9}
    assert any("7 of 10 classes" in note for note in notes)


def test_calibration_takes_images_and_arrays_without_labels(tmp_path: Path) -> None:
    for i in range(30):
        image(tmp_path / "flat" / f"{i}.png", i)
    np.savez(tmp_path / "x.npz", x=X)
    for source, count in ((tmp_path / "flat", 30), (tmp_path / "x.npz", 60)):
        data = open_data(source, purpose="calibration", input=None)
        assert data.labels == ()
        assert (len(data.train) + len(data.val), len(data.test)) == (count, 0)
        assert len(data.val) == count // 10
        for purpose in ("training", "evaluation"):
            with pytest.raises(DataError, match=r"no class folders|no array 'y'") as caught:
                open_data(source, purpose=purpose)
            assert "without labels" in caught.value.hint


def test_flat_parts_are_not_taken_for_classes(tmp_path: Path) -> None:
    for i in range(20):
        image(tmp_path / ("train" if i < 15 else "test") / f"{i}.png", i)
    data = open_data(tmp_path, purpose="calibration", input=RGB)
    assert {name.split("/")[0] for name in files(data.train) | files(data.val)} == {"train"}


def test_only_the_images_that_are_read_are_decoded(tmp_path: Path) -> None:
    data = open_data(classes(tmp_path), purpose="evaluation", input=RGB)
    name = data.train.name(0)
    (tmp_path / name).write_bytes(b"damaged")
    again = open_data(tmp_path, purpose="evaluation", input=RGB)
    assert len(again.test.read(slice(None))) == len(again.test)
    (holder,) = (split for split in (again.train, again.val) if name in files(split))
    with pytest.raises(DataError, match=name) as caught:
        holder.read(slice(None))
    assert "--skip-unreadable" in caught.value.hint
    assert [file for file, _ in open_data(tmp_path, purpose="evaluation", input=RGB, skip_unreadable=True).skipped] == [
        name
    ]


def test_of_a_large_folder_only_a_sample_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "LARGE", 300)
    for i in range(400):
        path = tmp_path / "ab"[i % 2] / f"{i}.bmp"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8), np.uint8)).save(path)
    spec = InputSpec.image(8, 8, "grey")
    whole = open_data(tmp_path, input=spec, purpose="evaluation")
    data = open_data(tmp_path, input=spec, purpose="calibration", sample=(40, 10))
    assert (len(data.train), len(data.val), len(data.test)) == (40, 10, 0)
    assert len(data.train.source) == 50
    assert files(data.train).isdisjoint(files(data.val))
    assert (files(data.train) | files(data.val)).isdisjoint(files(whole.test))
    shutil.rmtree(tmp_path / "b")
    few = open_data(tmp_path, input=spec, purpose="calibration", sample=(40, 10))
    assert len(few.train) + len(few.val) + len(few.test) == 200, "few files are all read"


def test_a_model_of_imagenet_on_larger_images_is_told_of_the_crop(tmp_path: Path) -> None:
    classes(tmp_path, count=3)
    labels = tuple(map(str, range(1000)))
    for input, expected in ((InputSpec.image(24, 24, "rgb"), 1), (RGB, 0), (InputSpec.image(24, 24, "rgb", "pad"), 0)):
        data = open_data(tmp_path, input=input, purpose="calibration")
        notes = resize_note(contract(*labels, input=input), data)
        assert len(notes) == expected
        assert all("crop:0.875" in note for note in notes)
        assert resize_note(contract("cat", "dog", input=input), data) == []


@pytest.mark.parametrize(("labels", "known"), [(("a", "b"), True), (("b", "a"), True), (("a", "c"), False)])
@pytest.mark.parametrize("count", [20, 400])
def test_labels_of_the_items_to_verify_on_are_known_if_they_are_the_models(
    labels: tuple[str, ...], known: bool, count: int, tmp_path: Path
) -> None:
    x = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    np.savez(tmp_path / "some.npz", x=x, y=y, labels=np.array(["a", "b"]))
    data = open_data(tmp_path / "some.npz", purpose="calibration")
    items = items_for(data, count, contract(*labels))
    given = items["proof_labels"]
    assert (given is not None) == known
    if known:
        numbers = np.array([labels.index("a"), labels.index("b")])
        np.testing.assert_array_equal(given, numbers[(np.asarray(items["proof"])[:, 0] > 0).astype(int)])


@pytest.mark.parametrize("count", [5, 200])
def test_few_items_are_all_verified_on(count: int, tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", x=np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32))
    data = open_data(tmp_path / "few.npz", purpose="calibration")
    proof = items_for(data, count, contract())["proof"]
    seen = {row.tobytes() for row in np.asarray(proof)}
    assert (
        seen == {row.tobytes() for row in data.val.read(np.arange(len(data.val)))} if count == 200 else len(seen) == 5
    )


@pytest.mark.parametrize(("chosen", "count", "noted"), [((0, 1, 2), 90, False), ((2,), 90, True), ((2,), 20, False)])
def test_calibration_items_of_a_part_of_the_classes_are_noted(
    chosen: tuple[int, ...], count: int, noted: bool, tmp_path: Path
) -> None:
    """Equalization for one class let a net lose 3.9 pp on the others, which no validation item showed."""
    x = np.random.default_rng(0).integers(0, 256, (count, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x=x, y=np.resize(chosen, count), labels=["a", "b", "c"])
    facts = ModelFacts((8, 8, 1), 3, format="tflite", ends_in="SOFTMAX")
    data = str(tmp_path / "data.npz")
    plan = plan_for(Path("net.tflite"), facts, Hints(), data=data, count=20, reading=STRICT)
    assert any("are of 1 of its 3 classes" in note for note in plan.notes) == noted
