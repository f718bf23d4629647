"""Data sets by name and from arrays: what `open_data` makes of them, and what it refuses."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data import KINDS, DataSet, open_data
from edgepress.toolkit.data.readers.idx import KERAS_LABELS
from edgepress.toolkit.data.types import pixel_notes
from edgepress.toolkit.errors import DataError, InputError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 10, 12), np.uint8)
Y = np.arange(60) % 3


def saved(path: Path, **arrays: Any) -> str:
    np.savez(path / "data.npz", **arrays)
    return str(path / "data.npz")


def contents(data: DataSet, name: str) -> set[bytes]:
    split = getattr(data, name)
    return {x.tobytes() for batch, _ in split.batches(16) for x in batch}


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return open_data("digits")


def test_digits(digits: DataSet) -> None:
    assert digits.record.counts == {"train": 1257, "val": 180, "test": 360}
    assert digits.input == InputSpec.image(28, 28, "grey")
    assert digits.labels == tuple("0123456789")
    x, y = next(digits.test.batches(100))
    assert (x.dtype, x.shape, y.shape) == (np.uint8, (100, 28, 28, 1), (100,))
    assert x.max() == 255


def test_digits_look_like_digits(digits: DataSet) -> None:
    """The nearest training item has the same label nearly always: images and labels go together."""
    train = digits.train.read(slice(None)).reshape(len(digits.train), -1).astype(np.float32)
    test = digits.test.read(slice(0, 100)).reshape(100, -1).astype(np.float32)
    nearest = ((test**2).sum(1)[:, None] - 2 * test @ train.T + (train**2).sum(1)).argmin(axis=1)
    assert np.mean(digits.train.y[nearest] == digits.test.y[:100]) > 0.95


def test_size_and_colour_change_pixels_but_not_the_split(digits: DataSet) -> None:
    other = open_data("digits", size=(32, 40), color="rgb")
    assert other.input.shape == (32, 40, 3)
    assert other.test.read([0]).shape == (1, 32, 40, 3)
    assert other.sha256 == digits.sha256
    assert np.array_equal(other.test.indices, digits.test.indices)


def test_models_input_and_label_order(digits: DataSet) -> None:
    spec = InputSpec.image(32, 32, "rgb", "pad")
    data = open_data("digits", input=spec, labels=tuple("9876543210"))
    assert data.input == spec
    assert data.labels == tuple("9876543210")
    assert np.array_equal(data.test.y, 9 - digits.test.y)
    assert data.sha256 == digits.sha256


def test_labels_that_do_not_match_are_both_shown() -> None:
    with pytest.raises(DataError, match=r"cat, dog; digits .*0, 1, 2"):
        open_data("digits", labels=("cat", "dog"))


def test_pickled_split_is_small_and_the_same(digits: DataSet) -> None:
    data = pickle.dumps(digits.test)
    assert len(data) < 360 * 64 + 360 * 40
    again = pickle.loads(data)
    assert np.array_equal(again.read(slice(None)), digits.test.read(slice(None)))
    assert again.name(5) == digits.test.name(5)
    whole = pickle.loads(pickle.dumps(digits))
    assert contents(whole, "val") == contents(digits, "val")


def test_class_names_of_the_keras_sets() -> None:
    assert {name: len(set(labels)) for name, labels in KERAS_LABELS.items()} == {
        "mnist": 10,
        "fashion_mnist": 10,
        "cifar10": 10,
        "cifar100": 100,
    }
    assert list(KERAS_LABELS["cifar100"]) == sorted(KERAS_LABELS["cifar100"])


class FakeKeras:
    """Stands in for keras.datasets, which needs a network."""

    def __init__(self, answer: Any) -> None:
        self.datasets = self.cifar10 = self.mnist = self
        self.answer = answer

    def load_data(self) -> Any:
        print("Downloading")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_keras_set(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    x = RNG.integers(0, 256, (80, 32, 32, 3), np.uint8)
    y = (np.arange(80) % 10).astype(np.uint8)[:, None]
    monkeypatch.setitem(sys.modules, "keras", FakeKeras(((x[:60], y[:60]), (x[60:], y[60:]))))
    data = open_data("cifar10")
    assert data.input == InputSpec.image(32, 32, "rgb")
    assert data.labels[3] == "cat"
    assert data.record.counts == {"train": 54, "val": 6, "test": 20}
    assert contents(data, "test") == {item.tobytes() for item in x[60:]}
    assert capsys.readouterr().out == ""


def test_keras_set_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", FakeKeras(Exception("URL fetch failure")))
    with pytest.raises(DataError, match=r"'mnist'.*URL fetch failure.*IDX"):
        open_data("mnist")


def test_names_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"'digts'.*Did you mean 'digits'"):
        open_data("digts")
    with pytest.raises(DataError, match=r"flowers.*Accepted: digits"):
        open_data(tmp_path / "flowers")
    (tmp_path / "data.wav").write_text("1,2")
    with pytest.raises(DataError, match=r"data\.wav.*Accepted: digits"):
        open_data(tmp_path / "data.wav")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert len(open_data("digits").test) == 360  # the name wins
    with pytest.raises(DataError, match=r"digits.*class folders"):
        open_data(Path("digits"))


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": (28, 9999)}, {"color": "blue"}, {"resize": "squeeze"}])
def test_options_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        open_data("digits", **wrong)


def test_npz_of_images(tmp_path: Path) -> None:
    data = open_data(saved(tmp_path, x=IMAGES, y=Y))
    assert data.input == InputSpec.image(10, 12, "grey")
    assert data.labels == ("0", "1", "2")
    assert data.record.counts == {"train": 42, "val": 6, "test": 12}
    row = int(data.test.indices[0])
    assert np.array_equal(data.test.read([0])[0, :, :, 0], IMAGES[row])
    assert data.test.y[0] == Y[row]
    assert data.test.name(0) == f"item {row}"


def test_npz_with_its_own_splits(tmp_path: Path) -> None:
    x = IMAGES[..., None]
    parts = {"train": slice(0, 30), "val": slice(30, 45), "test": slice(45, 60)}
    arrays = {f"x_{name}": x[rows] for name, rows in parts.items()} | {f"y_{n}": Y[rows] for n, rows in parts.items()}
    data = open_data(saved(tmp_path, **arrays))
    for name, rows in parts.items():
        assert contents(data, name) == {item.tobytes() for item in x[rows]}


def test_copies_of_test_items_are_left_out_of_training_and_listed(tmp_path: Path) -> None:
    x_train, y_train = IMAGES[:45].copy(), Y[:45]
    x_train[7] = IMAGES[50]
    data = open_data(saved(tmp_path, x_train=x_train, y_train=y_train, x_test=IMAGES[45:], y_test=Y[45:]))
    assert len(data.test) == 15
    assert len(data.train) + len(data.val) == 44
    assert [name for name, _ in data.skipped] == ["train 7"]


def test_npz_of_tensors(tmp_path: Path) -> None:
    x = RNG.normal(size=(60, 49, 10))
    data = open_data(saved(tmp_path, x=x, y=Y))
    assert data.input == InputSpec(shape=(49, 10), dtype="float32")
    batch = data.train.read([0])
    assert batch.dtype == np.float32
    assert np.array_equal(batch[0], x[data.train.indices[0]].astype(np.float32))
    assert open_data(saved(tmp_path, x=x.astype(np.float32), y=Y)).sha256 == data.sha256
    model = InputSpec(shape=(49, 10, 1), dtype="float32")
    assert open_data(saved(tmp_path, x=x, y=Y), input=model).test.read([0, 1]).shape == (2, 49, 10, 1)


@pytest.mark.parametrize(
    ("y", "labels"),
    [
        (np.array(["cat", "dog", "owl"])[Y], None),
        (np.array([b"cat", b"dog", b"owl"])[Y], None),
        (Y, ["cat", "dog", "owl"]),
        (np.array(["cat", "dog", "owl"])[Y], ["cat", "dog", "owl"]),
        (np.eye(3)[Y], ["cat", "dog", "owl"]),
        (Y.astype(float)[:, None], ["cat", "dog", "owl"]),
    ],
    ids=["strings", "bytes", "numbers", "strings-with-labels", "one-hot", "float-column"],
)
def test_kinds_of_y(tmp_path: Path, y: np.ndarray, labels: list[str] | None) -> None:
    data = open_data(saved(tmp_path, x=IMAGES, y=y, **({} if labels is None else {"labels": labels})))
    assert data.labels == ("cat", "dog", "owl")
    assert np.array_equal(data.test.y, Y[data.test.indices])


def test_numbers_as_labels_are_in_numeric_order(tmp_path: Path) -> None:
    assert open_data(saved(tmp_path, x=IMAGES, y=np.array([10, 9, 200])[Y])).labels == ("9", "10", "200")


TENSORS = np.ones((60, 4), np.float32) * np.arange(60)[:, None]


def broken(value: float) -> np.ndarray:
    x = TENSORS.copy()
    x[17, 2] = value
    return x


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": TENSORS}, "array 'y'.*: x"),
        ({"a": TENSORS}, "array 'x_train'"),
        ({"x": TENSORS, "y": Y[:50]}, "60 items .* 50 labels"),
        ({"x": broken(np.nan), "y": Y}, "NaN.* 1 of 60 items.* item 17"),
        ({"x": broken(np.inf), "y": Y}, "infinity.* item 17"),
        ({"x": np.full((60, 4), "a"), "y": Y}, "x has the type <U1"),
        ({"x": TENSORS.astype(complex), "y": Y}, "x has the type complex128"),
        ({"x": TENSORS[:, 0], "y": Y}, r"x has the shape \(60,\)"),
        ({"x": TENSORS.astype(object), "y": Y}, r"x has Python objects.*x\.astype\(np\.float32\)"),
        (
            {"x": TENSORS, "y": np.array(["a", "b", "c"])[Y].astype(object)},
            r"y has Python objects.*y\.astype\(str\)",
        ),
        ({"x": TENSORS, "y": Y + 0.5}, "not whole"),
        ({"x": TENSORS, "y": np.full(60, np.nan)}, "not whole"),
        ({"x": TENSORS, "y": 2 * np.ones((60, 3))}, "the value 2; .*rows of 0 and 1"),
        ({"x": TENSORS, "y": Y, "labels": ["a", "b"]}, "y has 2, .*2 labels"),
        ({"x": TENSORS, "y": Y, "labels": ["a", "b", "a"]}, "twice"),
        ({"x": TENSORS, "y": Y, "labels": ["a", "b", "c", "d"]}, "class 'd'"),
        ({"x": TENSORS, "y": Y * 0}, "one class: 0"),
        ({"x": TENSORS[:4], "y": np.array([0, 0, 1, 1])}, "4 items in 2 classes are too few"),
        ({"x_train": TENSORS, "y_train": Y, "x_test": TENSORS[:, :3], "y_test": Y}, "different shapes"),
    ],
)
def test_npz_that_can_not_be_used(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(saved(tmp_path, **arrays))


def test_objects_in_other_arrays_are_ignored(tmp_path: Path) -> None:
    assert open_data(saved(tmp_path, x=TENSORS, y=Y, info=np.array([{}] * 60))).labels == ("0", "1", "2")


def test_damaged_npz(tmp_path: Path) -> None:
    path = Path(saved(tmp_path, x=TENSORS, y=Y))
    whole = path.read_bytes()
    for damaged in (b"", whole[:300], b"\0" * 100, whole[:200] + b"\xff" * 400 + whole[600:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"data\.npz"):
            open_data(path)


COLORS = RNG.integers(0, 256, (60, 10, 12, 3))


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (IMAGES.astype(np.int64), r"np\.rint\(x\)\.astype\(np\.uint8\)"),
        (COLORS.astype(np.uint16), r"10x12x3.*np\.rint\(x\)\.astype"),
        ((COLORS / 255).astype(np.float16), r"np\.rint\(255 \* x\)\.astype"),
        (COLORS.transpose(0, 3, 1, 2).astype(np.uint8), r"3x10x12.*np\.rint\(x\.transpose\(0, 2, 3, 1\)\)"),
        (IMAGES, None),
        (COLORS / 255 - 0.5, None),
        (COLORS * 257, None),
        (IMAGES > 127, None),
        (RNG.random((60, 10, 12)), None),
        (COLORS[..., :2], None),
        (IMAGES[:, 0].astype(np.int64), None),
    ],
)
def test_tensors_that_hold_pixels_are_said_to_be_no_images(tmp_path: Path, x: np.ndarray, says: str | None) -> None:
    notes = pixel_notes(open_data(saved(tmp_path, x=x, y=Y)))
    assert [bool(re.search(says, note)) for note in notes] == [True] if says else not notes


def test_data_and_model_must_be_of_one_kind(tmp_path: Path) -> None:
    tensors = saved(tmp_path, x=TENSORS, y=Y)
    with pytest.raises(DataError, match="takes images"):
        open_data(tensors, input=InputSpec.image(28, 28, "grey"))
    with pytest.raises(DataError, match=r"\(4,\).*float32.*\(5,\)"):
        open_data(tensors, input=InputSpec(shape=(5,), dtype="float32"))
    with pytest.raises(DataError, match="--size"):
        open_data(tensors, size=28)
    with pytest.raises(DataError, match=r"images.*float32"):
        open_data("digits", input=InputSpec(shape=(28, 28, 1), dtype="float32"))


def test_every_kind_is_described_in_the_docs() -> None:
    docs = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text().replace("`", "")
    words = [word.strip() for kind in KINDS for word in kind.split(",")]
    assert [word for word in words if word not in docs] == []
