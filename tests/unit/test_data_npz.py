"""NumPy archives as data sets: what is read exactly and what is refused with a reason."""

from __future__ import annotations

import struct
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.runtime import InputSpec
from edgepress.toolkit.data import MOST_NAMES, open_data
from edgepress.toolkit.data.readers.npz import stored_item
from edgepress.toolkit.errors import DataError

X = np.random.default_rng(0).integers(0, 256, (40, 6, 7), np.uint8)
Y = np.arange(40) % 4


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path / "a.npz", **arrays)
    return path / "a.npz"


def test_an_archive_with_and_without_parts(tmp_path: Path) -> None:
    whole = open_data(npz(tmp_path, x=X, y=Y))
    assert whole.input == InputSpec.image(6, 7, "grey")
    assert sum(whole.record.counts.values()) == 40
    parts = {"x_train": X[:20], "y_train": Y[:20], "x_test": X[20:30], "y_test": Y[20:30]}
    given = open_data(npz(tmp_path, **parts, x_val=X[30:], y_val=Y[30:]))
    assert given.record.counts == {"train": 20, "val": 10, "test": 10}
    assert {x.tobytes() for x in given.val.read(slice(None))} == {x.tobytes() for x in X[30:]}
    assert open_data(npz(tmp_path, **parts)).record.counts["test"] == 10
    assert open_data(npz(tmp_path, x_train=X, y_train=Y)).record.counts == whole.record.counts
    assert open_data(npz(tmp_path, x=X, y=Y, year=np.array(2026))).sha256 == whole.sha256, "others are not read"


@pytest.mark.parametrize(
    ("x", "shape", "dtype"),
    [
        (X, (6, 7, 1), "uint8"),
        (X[..., None], (6, 7, 1), "uint8"),
        (np.repeat(X[..., None], 3, axis=3), (6, 7, 3), "uint8"),
        (np.repeat(X[..., None], 2, axis=3), (6, 7, 2), "float32"),
        (X[:, 0], (7,), "float32"),
        (X.astype(np.float64), (6, 7), "float32"),
        (X.astype(np.int64), (6, 7), "float32"),
        (X > 9, (6, 7), "float32"),
    ],
)
def test_bytes_in_the_shape_of_images_are_images_and_all_else_tensors(
    tmp_path: Path, x: Any, shape: tuple[int, ...], dtype: str
) -> None:
    data = open_data(npz(tmp_path, x=x, y=Y))
    assert data.input.dtype == dtype
    assert data.input.is_image == (dtype == "uint8")
    assert data.input.shape == shape
    assert data.test.read(slice(0, 1)).dtype == dtype


@pytest.mark.parametrize(
    ("y", "labels"),
    [
        (Y, ("0", "1", "2", "3")),
        (Y * 10 - 10, ("-10", "0", "10", "20")),
        (Y.astype(np.float64), ("0", "1", "2", "3")),
        (Y[:, None], ("0", "1", "2", "3")),
        (np.eye(4)[Y], ("0", "1", "2", "3")),
        (np.eye(4, dtype=np.uint8)[Y], ("0", "1", "2", "3")),
        (np.array(["d", "c", "b", "a"])[Y], ("a", "b", "c", "d")),
        (np.array([b"d", b"c", b"b", b"a"])[Y], ("a", "b", "c", "d")),
        (np.array(["10", "9", "8", "7"])[Y], ("7", "8", "9", "10")),
        (Y > 1, ("0", "1")),
    ],
)
def test_classes_are_whole_numbers_texts_or_one_hot_rows(tmp_path: Path, y: Any, labels: tuple[str, ...]) -> None:
    assert open_data(npz(tmp_path, x=X, y=y)).labels == labels


@pytest.mark.parametrize("far", [np.array([2**63, 2**63 + 1], np.uint64), np.array([1e30, 2e30]), np.array([-1e17, 5])])
def test_classes_beyond_exact_numbers_do_not_become_others(tmp_path: Path, far: Any) -> None:
    with pytest.raises(DataError, match=r"y has the class -?(9|1e).* exact.*Number the classes from 0"):
        open_data(npz(tmp_path, x=X, y=far[Y % 2]))
    near = far.astype(np.float64).clip(-(2**53), 2**53)
    assert len(open_data(npz(tmp_path, x=X, y=np.where(Y % 2, near[0], 0))).labels) == 2


def test_other_labels_than_a_models_get_a_hint_that_fits_an_archive(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"the model has a, b; .*a\.npz has 0, 1, 2, 3.*or rename the classes of the data"
    ):
        open_data(npz(tmp_path, x=X, y=Y), labels=("a", "b"))


def test_bytes_that_are_no_text_are_not_one_class(tmp_path: Path) -> None:
    names = np.array([b"caf\xe8", b"caf\xe9"])
    for arrays in ({"y": names[Y % 2]}, {"y": Y % 2, "labels": names}):
        with pytest.raises(DataError, match=r"not text in UTF-8: 'caf.*write the label in UTF-8"):
            open_data(npz(tmp_path, x=X, **arrays))


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a" * MOST_NAMES, "b"], r"names of the 2 classes of .* take 2097161 bytes.*shorter names"),
        (["a\1" * (MOST_NAMES // 7), "b"], "take 20971"),  # a control character takes six bytes in JSON
    ],
)
def test_names_that_no_contract_can_hold_are_refused_before_a_training(
    tmp_path: Path, names: list[str], reason: str
) -> None:
    for arrays in ({"y": np.array(names)[Y % 2]}, {"y": Y % 2, "labels": names}):
        with pytest.raises(DataError, match=reason):
            open_data(npz(tmp_path, x=X, **arrays))
    assert open_data(npz(tmp_path, x=X, y=Y % 2, labels=["a" * (MOST_NAMES - 100), "b"])).labels[1] == "b"
    assert open_data(npz(tmp_path, x=X, y=Y % 2, labels=[" ", "b"])).labels == (" ", "b"), "a class of characters"


@pytest.mark.parametrize("kind", ["S0", "<U0"])
@pytest.mark.parametrize("name", ["y", "labels"])
def test_texts_without_characters_take_memory_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({10**8},)}}".encode()
    with zipfile.ZipFile(npz(tmp_path, x=X, **({} if name == "y" else {"y": Y})), "a") as archive:
        archive.writestr(f"{name}.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1 << 30))
    with pytest.raises(DataError, match=r"takes 10\.0 GB of memory"):
        open_data(tmp_path / "a.npz")


def test_numbers_count_in_labels_and_texts_name_them(tmp_path: Path) -> None:
    names = ["d", "c", "b", "a"]
    data = open_data(npz(tmp_path, x=X, y=Y, labels=names))
    assert data.labels == ("d", "c", "b", "a")
    named = open_data(npz(tmp_path, x=X, y=np.array(names)[Y], labels=names))
    assert named.sha256 == data.sha256
    assert named.test.y.tolist() == data.test.y.tolist()


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": X},
        {"y": Y},
        {"x": X, "y": Y[:-1]},
        {"x_train": X, "y_train": Y, "x_test": X},
        {"x_train": X, "y_train": Y, "y_val": Y},
        {"x_train": X, "y_train": Y, "x_test": X[:, :5], "y_test": Y},
        {"x_train": X, "y_train": Y, "x_test": X.astype(float), "y_test": Y},
        {"x": np.zeros(40), "y": Y},
        {"x": X[:0], "y": Y[:0]},
        {"x": X.astype(complex), "y": Y},
        {"x": X.astype(str), "y": Y},
        {"x": np.where(X[0, 0, 0] == X, np.nan, 1.0), "y": Y},
        {"x": np.where(X[0, 0, 0] == X, np.inf, 1.0), "y": Y},
        {"x": X * 1e300, "y": Y},
        {"x": X, "y": Y + 0.5},
        {"x": X, "y": np.where(Y == 1, np.nan, Y)},
        {"x": X, "y": np.where(Y == 1, np.inf, Y)},
        {"x": X, "y": np.eye(4)[Y] * 2},
        {"x": X, "y": np.ones((40, 4))},
        {"x": X, "y": np.zeros((40, 4))},
        {"x": X, "y": np.array(["a", "b"])[Y % 2][:, None].repeat(2, axis=1)},
        {"x": X, "y": Y.astype(complex)},
        {"x": X, "y": np.zeros((40, 2, 2))},
        {"x": X, "y": Y, "labels": ["a", "b", "c"]},
        {"x": X, "y": Y - 1, "labels": ["a", "b", "c", "d"]},
        {"x": X, "y": Y, "labels": ["a", "b", "c", "a"]},
        {"x": X, "y": np.array(["a", "b", "c", "e"])[Y], "labels": ["a", "b", "c", "d"]},
        {"x": X, "y": np.array([object()] * 40)},
    ],
)
def test_arrays_that_do_not_fit_are_one_error(tmp_path: Path, arrays: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        open_data(npz(tmp_path, **arrays))


def test_the_first_item_that_is_not_finite_is_named(tmp_path: Path) -> None:
    x = np.zeros((40, 5))
    x[17, 3] = x[17, 4] = x[20, 0] = np.nan
    with pytest.raises(DataError, match=r"2 of 40.*17"):
        open_data(npz(tmp_path, x=x, y=Y))


def test_a_damaged_archive_is_one_error(tmp_path: Path) -> None:
    whole = npz(tmp_path, x=X, y=Y).read_bytes()
    path = tmp_path / "b.npz"
    for content in (b"", b"no zip", whole[: len(whole) // 2], whole[:60] + b"\xff" * 40 + whole[100:]):
        path.write_bytes(content)
        with pytest.raises(DataError):
            open_data(path)


def test_the_header_alone_tells_an_item_s_type_and_shape(tmp_path: Path) -> None:
    assert stored_item(npz(tmp_path, x=X, y=Y)) == (np.uint8, (6, 7))
    assert stored_item(npz(tmp_path, x_train=X.astype(np.float32), y_train=Y)) == (np.float32, (6, 7))
    assert stored_item(npz(tmp_path, y=Y)) is None
    assert stored_item(tmp_path / "none.npz") is None
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[:20])
    assert stored_item(tmp_path / "a.npz") is None


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_both_versions_of_a_header_are_read(tmp_path: Path, version: tuple[int, int]) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open("x.npy", "w") as file:
        np.lib.format.write_array(file, X, version)
    assert stored_item(tmp_path / "a.npz") == (np.uint8, (6, 7))


@given(st.binary(max_size=200))
def test_any_bytes_are_no_item(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.npz"
    path.write_bytes(content)
    assert stored_item(path) is None


def test_an_archive_that_claims_much_more_than_is_stored_is_refused_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((4000, 16, 16), np.uint8), y=np.zeros(4000))
    assert stored_item(tmp_path / "a.npz") == (np.uint8, (16, 16))
    monkeypatch.setattr("edgepress.toolkit.data.readers.npz.FREE_BYTES", 1 << 19)
    with pytest.raises(DataError, match="decompression bomb") as refused:
        open_data(tmp_path / "a.npz")
    assert refused.value.hint == "Save it with numpy.savez, which packs nothing."


RANDOM = np.random.default_rng(0).uniform(0, 255, (1000, 1600))
NAMES = np.array([letter * 2000 for letter in "abcd"])[np.arange(1000) % 4]


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (RANDOM.astype(np.uint8), None),
        (RANDOM.astype(np.uint8).reshape(-1, 40, 40), None),
        (RANDOM.astype(np.uint8)[:, :1200].reshape(-1, 20, 20, 3), None),
        (RANDOM.astype(np.float32), None),
        (RANDOM, None),
        (RANDOM > 99, None),
        (RANDOM[:, :2], NAMES),
        (RANDOM[:, :2], NAMES.astype(bytes)),
    ],
)
def test_the_memory_that_an_archive_takes_is_known_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, x: Any, y: Any
) -> None:
    """Within 1.5 MB, from the headers of its arrays."""
    path = npz(tmp_path, x=x, y=np.arange(1000) % 4 if y is None else y)
    claims: list[int] = []
    monkeypatch.setattr(
        "edgepress.toolkit.data.readers.npz.require_memory", lambda _, needed, *a, **k: claims.append(needed)
    )
    tracemalloc.start()
    open_data(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert claims == [pytest.approx(peak, abs=1.5e6)]
