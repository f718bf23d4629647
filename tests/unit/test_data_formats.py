"""Files of data sets and figures in words: what is read exactly and what is refused."""

from __future__ import annotations

import gzip
import math
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

from edgepress.converters.schemes import SCHEMES, parse_schemes
from edgepress.runtime import InputError, InputSpec
from edgepress.toolkit import text as figures
from edgepress.toolkit.data import MOST_NAMES, open_data
from edgepress.toolkit.data.idx import read_idx
from edgepress.toolkit.data.npz import stored_item
from edgepress.toolkit.errors import DataError

# IDX.


def idx(array: Any, kind: int = 8) -> bytes:
    array = np.asarray(array, np.uint8)
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("shape", [(3,), (0,), (2, 3), (2, 3, 4), (2, 3, 4, 1)])
def test_an_array_is_read_plain_and_packed(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.arange(math.prod(shape), dtype=np.uint8).reshape(shape)
    (tmp_path / "a").write_bytes(idx(array))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(array)))
    for name in ("a", "a.gz"):
        found = read_idx(tmp_path / name)
        assert found.shape == shape
        assert found.tolist() == array.tolist()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        idx([1, 2, 3])[:-1],
        idx([1, 2, 3])[:6],
        idx([1, 2, 3]) + b"\0",
        idx([1, 2, 3], 0x09),
        b"\0\1" + idx([1, 2, 3])[2:],
        b"\1\0" + idx([1, 2, 3])[2:],
        struct.pack(">HBB", 0, 8, 0) + b"1",
        struct.pack(">HBB5I", 0, 8, 5, 1, 1, 1, 1, 1) + b"1",
        struct.pack(">HBB4I", 0, 8, 4, *[0xFFFFFFFF] * 4),
    ],
)
def test_what_is_no_idx_file_of_bytes_is_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError):
        read_idx(tmp_path / "a")
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))
    with pytest.raises(DataError):
        read_idx(tmp_path / "a.gz")
    (tmp_path / "b.gz").write_bytes(gzip.compress(content)[:-3])
    with pytest.raises(DataError):
        read_idx(tmp_path / "b.gz")


@given(st.binary(max_size=40))
def test_any_bytes_are_an_array_or_one_error(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-idx"
    path.write_bytes(content)
    try:
        found = read_idx(path)
    except DataError:
        return
    assert idx(found) == content


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


X = np.random.default_rng(0).integers(0, 256, (40, 6, 7), np.uint8)
Y = np.arange(40) % 4


def idx_folder(folder: Path, **files: bytes) -> Path:
    plain = {
        "train_images": idx(X[:30]),
        "train_labels": idx(Y[:30]),
        "t10k_images": idx(X[30:]),
        "t10k_labels": idx(Y[30:]),
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
    assert found == {x.tobytes(): int(y) for x, y in zip(X[30:], Y[30:], strict=True)}
    values = np.array([2, 10, 30, 200])
    far = open_data(idx_folder(tmp_path / "b", train_labels=idx(values[Y[:30]]), t10k_labels=idx(values[Y[30:]])))
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
        {"train_images": idx(X[:29])},
        {"train_images": idx(X[:30, :, :6])},
        {"train_images": idx(np.zeros((30, 6)))},
        {"train_images": idx(np.zeros((30, 6, 7, 2)))},
        {"train_labels": idx(np.zeros((30, 1)))},
        {"t10k_images": idx(np.zeros((0, 6, 7))), "t10k_labels": idx(np.zeros(0))},
        {"test_images": idx(X[:5])},
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
        idx_folder(tmp_path / "b", train_images=idx(X[:30, ..., None]), t10k_images=idx(X[30:, ..., None]))
    )
    assert grey.input.shape == (6, 7, 1)


# NumPy archives.


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
        with pytest.raises(DataError, match=r"no text in UTF-8: 'caf.*write the label in UTF-8"):
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
    monkeypatch.setattr("edgepress.toolkit.data.npz.FREE_BYTES", 1 << 19)
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
    monkeypatch.setattr("edgepress.toolkit.data.npz.require_memory", lambda _, needed, *a, **k: claims.append(needed))
    tracemalloc.start()
    open_data(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert claims == [pytest.approx(peak, abs=1.5e6)]


# Lists of schemes.


@given(st.lists(st.sampled_from(sorted(SCHEMES)), min_size=1, max_size=4), st.sampled_from([",", " , ", ", "]))
def test_a_list_of_schemes_is_read_in_any_spacing(names: list[str], comma: str) -> None:
    found = parse_schemes(comma.join(names))
    assert set(found) == set(names)


@given(st.text(max_size=20))
def test_any_text_is_a_list_of_schemes_or_one_error(text: str) -> None:
    try:
        found = parse_schemes(text)
    except InputError:
        return
    assert found
    assert set(found) <= set(SCHEMES)


# Figures in words.


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1234, "1.23 kB"),
        (18_345, "18.3 kB"),
        (999_400, "999 kB"),
        (1_000_000, "1 MB"),
        (2_500_000, "2.5 MB"),
        (123_456_789, "123 MB"),
    ],
)
def test_sizes_have_three_digits_and_decimal_units(n: int | None, text: str) -> None:
    assert figures.size(n) == text


def test_a_figure_that_was_not_measured_is_empty() -> None:
    number = figures.number
    assert number(None) == number(None, ".3f") == ""
    assert number(1.25) == "1.2"
    assert number(1.0, ".3f") == "1.000"
