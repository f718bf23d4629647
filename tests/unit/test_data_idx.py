"""IDX files: read exactly, and refused with a reason when they are not what they claim."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgepress.runtime import InputSpec
from edgepress.toolkit.data import how_all_test, open_data
from edgepress.toolkit.data.readers.idx import read_idx
from edgepress.toolkit.errors import DataError

X = np.random.default_rng(0).integers(0, 256, (80, 28, 28), np.uint8)
Y = (np.arange(80) % 4).astype(np.uint8)
MNIST = Path(__file__).parents[2] / "../shared/real/data/mnist"


PIXELS = X[:40, :6, :7]
CLASSES = np.arange(40) % 4


def idx(array: Any) -> bytes:
    """An IDX file of bytes."""
    array = np.asarray(array, np.uint8)
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def folder(path: Path, *, test: bool = True) -> Path:
    path.mkdir(exist_ok=True)
    (path / "train-images-idx3-ubyte").write_bytes(idx(X[:60]))
    (path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(Y[:60])))
    if test:
        (path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(X[60:])))
        (path / "t10k-labels.idx1-ubyte").write_bytes(idx(Y[60:]))
    return path


def test_folder_with_a_test_part(tmp_path: Path) -> None:
    data = open_data(folder(tmp_path))
    assert data.record.counts == {"train": 54, "val": 6, "test": 20}
    assert data.labels == ("0", "1", "2", "3")
    assert {x.tobytes() for x in data.test.read(slice(None))} == {x.tobytes() for x in X[60:]}
    assert np.array_equal(data.test.y, Y[data.test.indices])
    assert data.test.name(0).startswith("test ")


def test_folder_without_a_test_part(tmp_path: Path) -> None:
    assert open_data(folder(tmp_path, test=False)).record.counts == {"train": 42, "val": 6, "test": 12}


@given(arrays(np.uint8, st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple)))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray) -> None:
    plain = tmp_path_factory.getbasetemp() / "a-idx-ubyte"
    plain.write_bytes(idx(array))
    packed = plain.with_name(f"{plain.name}.gz")
    packed.write_bytes(gzip.compress(idx(array), 1))
    assert np.array_equal(read_idx(plain), array)
    assert np.array_equal(read_idx(packed), array)


@given(st.binary(max_size=40))
def test_any_bytes_are_an_array_or_one_error(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-idx"
    path.write_bytes(content)
    try:
        found = read_idx(path)
    except DataError:
        return
    assert idx(found) == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ends within its header"),
        (b"\0\0\x08", "ends within its header"),
        (idx(X)[:10], "ends within its header"),
        (idx(X)[:-1], "ends after 62719 bytes"),
        (idx(X) + b"!", "62720 bytes"),
        (b"\x89PNG" + bytes(20), "magic number"),
        (b"\0\1" + idx(Y)[2:], "magic number"),
        (struct.pack(">HBB", 0, 8, 0) + b"1", "magic number"),
        (struct.pack(">HBB5I", 0, 8, 5, 1, 1, 1, 1, 1) + b"1", "magic number"),
        (b"\0\0\x0d\x01" + bytes(8), "type 0x0d"),
        (struct.pack(">HBB4I", 0, 8, 4, *[2**32 - 1] * 4), "is a decompression bomb, or damaged: the shape"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_damaged_file(tmp_path: Path, content: bytes, message: str, packed: bool) -> None:
    path = tmp_path / ("train-images-idx3-ubyte" + ".gz" * packed)
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in caught.value.message


def test_truncated_and_fake_gzip(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    for content in (gzip.compress(idx(X))[:1000], idx(X), b"\x1f\x8b\x08\0" + b"\xff" * 50):
        path.write_bytes(content)
        with pytest.raises(DataError, match="can't be read"):
            read_idx(path)


def test_a_header_that_claims_much_more_than_is_stored_is_refused_before_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = struct.pack(">HBB2I", 0, 8, 2, 1 << 15, 1 << 15)
    (tmp_path / "a").write_bytes(claim)
    with pytest.raises(DataError, match="ends after 0 bytes"):  # a gibibyte is tried
        read_idx(tmp_path / "a")
    (tmp_path / "a").write_bytes(claim[:-1] + b"\1")
    with pytest.raises(DataError, match=r"\(32768, 32769\) claims 1073774592 bytes, of which 12 are stored"):
        read_idx(tmp_path / "a")
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1 << 30))
    (tmp_path / "a").write_bytes(claim)
    with pytest.raises(DataError, match=r"takes 2\.1 GB of memory when it is read, and 1\.1 GB are free"):
        read_idx(tmp_path / "a")
    with pytest.raises(DataError, match="none"):
        read_idx(tmp_path / "none")


def test_parts_that_do_not_fit_together(tmp_path: Path) -> None:
    (folder(tmp_path) / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(Y)))
    with pytest.raises(DataError, match=r"60 images and .* 80 labels"):
        open_data(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="no file of train labels"):
        open_data(tmp_path)
    folder(tmp_path)
    (tmp_path / "letters-train-images-idx3-ubyte").write_bytes(idx(X))
    with pytest.raises(DataError, match=r"two files .*train images"):
        open_data(tmp_path)


def idx_folder(folder: Path, **files: bytes) -> Path:
    plain = {
        "train_images": idx(PIXELS[:30]),
        "train_labels": idx(CLASSES[:30]),
        "t10k_images": idx(PIXELS[30:]),
        "t10k_labels": idx(CLASSES[30:]),
    }
    folder.mkdir(exist_ok=True)
    for name, content in (plain | files).items():
        if content:
            part, _, what = name.partition("_")
            (folder / f"{part}-{what}-idx{3 if what == 'images' else 1}-ubyte").write_bytes(content)
    return folder


def test_a_folder_of_idx_files_is_a_data_set(tmp_path: Path) -> None:
    data = open_data(idx_folder(tmp_path / "a"))
    assert len(data.test) == 10
    assert data.labels == ("0", "1", "2", "3")
    assert data.input == InputSpec.image(6, 7, "grey")
    found = {x.tobytes(): int(y) for x, y in zip(data.test.read(slice(None)), data.test.y, strict=True)}
    assert found == {x.tobytes(): int(y) for x, y in zip(PIXELS[30:], CLASSES[30:], strict=True)}
    values = np.array([2, 10, 30, 200])
    far = open_data(
        idx_folder(tmp_path / "b", train_labels=idx(values[CLASSES[:30]]), t10k_labels=idx(values[CLASSES[30:]]))
    )
    assert far.labels == ("2", "10", "30", "200")
    assert far.test.y.tolist() == data.test.y.tolist()
    (tmp_path / "a" / "train-images-idx3-ubyte.gz").write_bytes(b"not read beside the unpacked file")
    (tmp_path / "a" / "notes.txt").write_text("not read either")
    assert open_data(tmp_path / "a").sha256 == data.sha256
    alone = open_data(idx_folder(tmp_path / "c", t10k_images=b"", t10k_labels=b""))
    assert sum(alone.record.counts.values()) == 30


@pytest.mark.parametrize(
    "files",
    [
        {"train_images": b""},
        {"train_labels": b""},
        {"t10k_images": b""},
        {"t10k_labels": b""},
        {"train_images": idx(PIXELS[:29])},
        {"train_images": idx(PIXELS[:30, :, :6])},
        {"train_images": idx(np.zeros((30, 6)))},
        {"train_images": idx(np.zeros((30, 6, 7, 2)))},
        {"train_labels": idx(np.zeros((30, 1)))},
        {"t10k_images": idx(np.zeros((0, 6, 7))), "t10k_labels": idx(np.zeros(0))},
        {"test_images": idx(PIXELS[:5])},
    ],
)
def test_idx_files_that_do_not_fit_together_are_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(DataError):
        open_data(idx_folder(tmp_path / "a", **files))


def test_the_first_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train images"):
        open_data(idx_folder(tmp_path / "a", train_images=b"", train_labels=b""))
    with pytest.raises(DataError, match="test labels"):
        open_data(idx_folder(tmp_path / "b", t10k_labels=b""))


def test_colour_images_in_idx_files(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (40, 6, 7, 3), np.uint8)
    data = open_data(idx_folder(tmp_path / "a", train_images=idx(colours[:30]), t10k_images=idx(colours[30:])))
    assert data.input == InputSpec.image(6, 7, "rgb")
    grey = open_data(
        idx_folder(tmp_path / "b", train_images=idx(PIXELS[:30, ..., None]), t10k_images=idx(PIXELS[30:, ..., None]))
    )
    assert grey.input.shape == (6, 7, 1)


@pytest.mark.skipif(not MNIST.exists(), reason="MNIST is not here")
def test_real_mnist() -> None:
    data = open_data(MNIST)
    assert data.record.counts == {"train": 54000, "val": 6000, "test": 10000}
    assert np.bincount(data.test.y)[:2].tolist() == [980, 1135]  # as published


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ("t-images-idx3-ubyte", "t-labels-idx1-ubyte"),
            "IDX files: train-images-idx3-ubyte and train-labels",
        ),
        (("images.idx3-ubyte",), "IDX files: train-images-idx3-ubyte and train-labels"),
        (("parts.mp3", "more.mp3"), "Sounds become WAV or FLAC files"),
        (("parts.wav", "more.wav"), "with its recordings inside"),
    ],
)
def test_a_folder_of_other_files_is_told_what_they_should_be(
    names: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    """Before, files in IDX format under other names were "neither class folders nor images", without a way on."""
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(DataError) as caught:
        open_data(tmp_path)
    assert words in caught.value.hint


def test_it_is_said_how_all_items_of_each_kind_of_data_become_test_items(tmp_path: Path) -> None:
    """Before, owners of IDX files, shards and built-in data were told to put them below test/."""
    assert how_all_test("digits") == ""
    assert how_all_test(str(tmp_path)) == "put them below test/"
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 2)))
    assert "x_test" in how_all_test(str(tmp_path / "a.npz"))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "0.tar").touch()
    assert "test-000.tar" in how_all_test(str(tmp_path / "b"))
    (tmp_path / "train-images-idx3-ubyte").touch()
    assert "t10k-images" in how_all_test(str(tmp_path))
