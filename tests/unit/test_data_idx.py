"""IDX files: read exactly, and refused with a reason when they are not what they claim."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.idx import read_idx
from edgepress.toolkit.errors import DataError

X = np.random.default_rng(0).integers(0, 256, (80, 28, 28), np.uint8)
Y = (np.arange(80) % 4).astype(np.uint8)
MNIST = Path(__file__).parents[2] / "../shared/real/data/mnist"


def idx(array: np.ndarray) -> bytes:
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
    path = tmp_path_factory.getbasetemp() / "a-idx-ubyte.gz"
    path.write_bytes(gzip.compress(idx(array), 1))
    assert np.array_equal(read_idx(path), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ends within its header"),
        (idx(X)[:10], "ends within its header"),
        (idx(X)[:-1], "ends after 62719 bytes"),
        (idx(X) + b"!", "62720 bytes"),
        (b"\x89PNG" + bytes(20), "magic number"),
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


@pytest.mark.skipif(not MNIST.exists(), reason="MNIST is not here")
def test_real_mnist() -> None:
    data = open_data(MNIST)
    assert data.record.counts == {"train": 54000, "val": 6000, "test": 10000}
    assert np.bincount(data.test.y)[:2].tolist() == [980, 1135]  # as published
