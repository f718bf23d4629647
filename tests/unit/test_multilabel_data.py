"""Rows of 0 and 1 as labels: which are read, how items are split, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multilabel import NAMES, pictures, saved

from edgepress.toolkit.data import calibration_rows, open_data
from edgepress.toolkit.data.collected import join
from edgepress.toolkit.data.groups import assign_groups, unite
from edgepress.toolkit.data.objects import source_of
from edgepress.toolkit.data.types import SPLITS, DataSet, Split
from edgepress.toolkit.errors import DataError


def npz(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "data.npz", **arrays)
    return str(folder / "data.npz")


def rows_by_content(data: DataSet) -> dict[str, tuple[str, list[int]]]:
    """The split and the labels of each item, by the hash of its content."""
    found = {}
    for name in SPLITS:
        split = getattr(data, name)
        for item, row in zip(split.read(slice(None)), split.y, strict=True):
            found[hashlib.sha256(item.tobytes()).hexdigest()] = (name, row.tolist())
    return found


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32, np.float64])
def test_rows_of_any_type_are_labels(tmp_path: Path, dtype: type) -> None:
    x, y = pictures(80, seed=1)
    data = open_data(npz(tmp_path, x=x, y=y.astype(dtype), labels=NAMES))
    assert data.multilabel
    assert data.labels == NAMES
    assert data.train.y.dtype == np.int64
    wanted = {
        hashlib.sha256(item[..., None].tobytes()).hexdigest(): row.tolist() for item, row in zip(x, y, strict=True)
    }
    assert {key: row for key, (_, row) in rows_by_content(data).items()} == wanted
    assert (~y.any(axis=1)).any(), "some items have no label"


@given(st.integers(0, 2**32 - 1))
def test_splits_depend_on_content_alone_and_have_every_label(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(60, 200))
    labels = int(rng.integers(2, 8))
    y = (rng.random((count, labels)) < rng.uniform(0.05, 0.9, labels)).astype(np.int64)
    for label in range(labels):  # a few items of each, in any company
        y[rng.choice(count, 3, replace=False), label] = 1
    hashes = np.array([hashlib.sha256(bytes([i % 256, i // 256])).hexdigest() for i in range(count)], np.bytes_)
    hashes[1] = hashes[0]  # a copy, of other labels perhaps
    numbers = unite(hashes, [""] * count)
    stored = np.full(count, "train")
    unnamed = np.zeros(count, np.bool_)
    split = assign_groups(numbers, y, unnamed, stored)
    order = rng.permutation(count)
    again = assign_groups(unite(hashes[order], [""] * count), y[order], unnamed, stored)
    assert (again == split[order]).all()
    assert split[0] == split[1]
    for name in ("train", "test"):
        assert y[split == name].any(axis=0).all(), "every label can be learned and tested"
    shares = y[split == "test"].sum(axis=0) / y.sum(axis=0)
    common = y.sum(axis=0) > 40
    assert (np.abs(shares[common] - 0.2) < 0.25).all(), "each label has about a fifth of its items in the test split"


def test_one_hot_rows_are_classes_unless_labels_do_not_exclude_each_other(tmp_path: Path) -> None:
    x, _ = pictures(60, seed=2)
    classes = np.arange(60) % 4
    path = npz(tmp_path, x=x, y=np.eye(4)[classes], labels=NAMES)
    assert not open_data(path).multilabel
    single = open_data(npz(tmp_path, x=x, y=classes, labels=NAMES))
    path = npz(tmp_path, x=x, y=np.eye(4)[classes], labels=NAMES)
    assert open_data(path).sha256 == single.sha256
    rows = open_data(path, multilabel=True)
    assert rows.multilabel
    assert rows.test.y.sum(axis=1).tolist() == [1] * len(rows.test)


def test_all_splits_are_rows_if_one_is(tmp_path: Path) -> None:
    x, y = pictures(90, seed=3)
    one_hot = np.eye(4, dtype=np.int64)[np.arange(30) % 4]
    data = open_data(npz(tmp_path, x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=one_hot))
    assert data.multilabel
    assert data.labels == ("0", "1", "2", "3")
    assert sorted(map(tuple, data.test.y.tolist())) == sorted(map(tuple, one_hot.tolist()))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": lambda y: np.where(y == 1, 2, y)}, "the value 2"),
        ({"y": lambda y: np.where(y == 1, -1, y)}, "the value -1"),
        ({"y": lambda y: y * 0.5}, "the value 0.5"),
        ({"y": lambda y: np.where(y == 1, np.nan, 0)}, "the value nan"),
        ({"y": lambda y: y[:, :0]}, "no column"),
        ({"y": lambda y: y[:-1]}, "80 items .* 79 labels"),
        ({"y": lambda y: y, "labels": lambda y: ["a", "b"]}, "4 columns, and labels has 2 names"),
        ({"y": lambda y: y, "labels": lambda y: ["a", "b", "c", "a"]}, "twice"),
        ({"y": lambda y: np.hstack([y, 0 * y[:, :1]])}, "class '4' has too few"),
        ({"y": lambda y: np.hstack([y, 0 * y[:, :1] + 1])}, "every training item has the label '4'"),
        ({"y_train": lambda y: y, "y_test": lambda y: y[:, :3]}, "train has rows of 4, test has rows of 3"),
        ({"y_train": lambda y: y, "y_test": lambda y: y[:, 0]}, "train has rows of 4, test has single labels"),
    ],
)
def test_rows_that_can_not_be_used_are_one_error(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    x, y = pictures(80, seed=4)
    made = {name: make(y) for name, make in arrays.items()}
    made |= {name.replace("y", "x"): x for name in arrays if name.startswith("y")}
    with pytest.raises(DataError, match=message):
        open_data(npz(tmp_path, **made))


def test_columns_take_the_order_and_the_names_of_a_model(tmp_path: Path) -> None:
    x, y = pictures(80, seed=5)
    named = open_data(npz(tmp_path, x=x, y=y, labels=NAMES), labels=NAMES[::-1])
    assert named.labels == NAMES[::-1]
    plain = open_data(npz(tmp_path, x=x, y=y))
    assert named.test.y.shape == plain.test.y.shape
    unnamed = open_data(npz(tmp_path, x=x, y=y), labels=NAMES)
    assert unnamed.labels == NAMES
    assert unnamed.test.y.tolist() == plain.test.y.tolist()
    assert unnamed.sha256 == plain.sha256, "names that a model gives change no data"
    wanted = {key: (name, row[::-1]) for key, (name, row) in rows_by_content(plain).items()}
    assert {key: row for key, (_, row) in rows_by_content(named).items()} == {k: row for k, (_, row) in wanted.items()}
    for labels in (NAMES[:3], (*NAMES, "hen"), ("a", "b", "c", "d")):
        with pytest.raises(DataError, match="labels do not match"):
            open_data(npz(tmp_path, x=x, y=y, labels=NAMES), labels=labels, purpose="evaluation")


def test_data_in_memory_keep_their_rows(tmp_path: Path) -> None:
    x, y = pictures(80, seed=6)
    direct = open_data(source_of((x, y)))
    again = open_data(source_of(direct))
    assert rows_by_content(again) == rows_by_content(direct)


def test_calibration_items_are_spread_over_the_rarest_labels() -> None:
    y = np.zeros((100, 3), np.int64)
    y[:, 0] = 1
    y[90:, 1] = 1
    y[97:, 2] = 1
    chosen = y[calibration_rows(Split(None, np.arange(100), y), 9)]  # type: ignore[arg-type]
    assert chosen.sum(axis=0).tolist() == [9, 6, 3]


def test_copies_of_other_labels_contradict_each_other(tmp_path: Path) -> None:
    x, y = pictures(80, seed=7)
    x[1], x[2] = x[0], x[0]
    y[0], y[1], y[2] = [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]
    conflicts = open_data(npz(tmp_path, x=x, y=y, labels=NAMES)).conflicts
    assert conflicts is not None
    assert (conflicts.items, conflicts.wrong, conflicts.groups) == (3, 1, 1)
    assert sorted(label for _, label in conflicts.examples[0]) == ["cat", "cat and dog"]


def test_old_and_new_rows_are_joined(tmp_path: Path) -> None:
    old, new = (open_data(saved(tmp_path / f"{seed}.npz", 80, seed)) for seed in (8, 9))
    both = join(old, new)
    assert both.multilabel
    assert len(both.test.y) == len(old.test) + len(new.test)


def picture_folder(folder: Path, count: int, seed: int, *, splits: bool = False) -> tuple[Path, list[set[str]]]:
    """A folder of pictures with a table of their labels, and these labels."""
    from PIL import Image

    x, y = pictures(count, seed)
    lines = ["file_name,labels,group"]
    sets = []
    for n, (item, row) in enumerate(zip(x, y, strict=True)):
        name = f"{'test' if n % 4 == 0 else 'train'}/{n:03}.png" if splits else f"{n:03}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(item).save(folder / name)
        names = [NAMES[i] for i in np.flatnonzero(row)]
        lines.append(f"{name},{' ; '.join(names)},{n // 2}")
        sets.append({*names})
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder, sets


@pytest.mark.parametrize("splits", [False, True])
def test_pictures_with_a_table_of_labels(tmp_path: Path, splits: bool) -> None:
    folder, sets = picture_folder(tmp_path / "photos", 80, 10, splits=splits)
    data = open_data(folder)
    assert data.labels == NAMES
    assert data.multilabel
    for name in SPLITS:
        split = getattr(data, name)
        for row, labels in enumerate(split.y):
            number = int(Path(split.name(row)).stem)
            assert {NAMES[i] for i in np.flatnonzero(labels)} == sets[number]
            assert (number % 4 == 0) == (name == "test") or not splits
    if not splits:  # the column of groups was found: no pair is divided
        groups = [{int(Path(s.name(r)).stem) // 2 for r in range(len(s))} for s in (data.train, data.val, data.test)]
        assert not groups[0] & groups[2]
        assert not (groups[0] | groups[2]) & groups[1]
    evaluated = open_data(folder, purpose="evaluation", labels=NAMES[::-1])
    assert evaluated.labels == NAMES[::-1]


def test_tables_of_labels_that_do_not_fit_the_pictures(tmp_path: Path) -> None:
    folder, _ = picture_folder(tmp_path / "photos", 60, 11)
    table = folder / "metadata.csv"
    whole = table.read_text()
    table.write_text(whole + "\nmore.png,cat,1")
    with pytest.raises(DataError, match=r"names 1 file that .* does not have: more\.png"):
        open_data(folder)
    table.write_text(whole.rpartition("\n")[0])
    with pytest.raises(DataError, match=r"has no row of 1 file: 059\.png"):
        open_data(folder)
    table.write_text(whole + "\n001.png,hen,1")
    with pytest.raises(DataError, match=r"001\.png has two values of labels"):
        open_data(folder)
    table.write_text(whole.replace("labels", "other"))
    with pytest.raises(DataError, match="60 images but no class folders"):
        open_data(folder)
    table.write_text(whole + '\n"')
    with pytest.raises(DataError, match=r"metadata\.csv can't be read: unexpected end of data"):
        open_data(folder)
    assert len(open_data(folder, purpose="calibration").train) > 0  # which needs no labels


KIND = ("even", "odd")


@pytest.mark.parametrize("file", ["metadata.csv", "metadata.jsonl"])
@pytest.mark.parametrize("splits", [False, True])
@pytest.mark.parametrize("single", [False, True])
def test_tables_as_other_tools_write_them(tmp_path: Path, file: str, splits: bool, single: bool) -> None:
    """A table in each folder of a split, with paths from there, as in Hugging Face's ImageFolder."""
    folder, sets = picture_folder(tmp_path / "photos", 80, 12, splits=splits)
    (folder / "metadata.csv").unlink()
    rows: dict[Path, list[dict[str, Any]]] = {}
    for path in folder.rglob("*.png"):
        labels = sorted(sets[int(path.stem)])
        row = (
            {"file_name": path.name, "label": KIND[len(labels) % 2]}
            if single
            else {"file_name": path.name, "labels": labels}
        )
        rows.setdefault(path.parent, []).append(row)
    for parent, parts in rows.items():
        lines = [json.dumps(row) for row in parts]
        if file.endswith("csv"):
            lines = [",".join(parts[0])]
            lines += [",".join(";".join(v) if isinstance(v, list) else v for v in row.values()) for row in parts]
        (parent / file).write_text("\n".join(lines))
    data = open_data(folder)
    assert data.multilabel is not single
    assert data.labels == (KIND if single else NAMES)
    for name in SPLITS:
        split = getattr(data, name)
        for row, answer in enumerate(split.y):
            number = int(Path(split.name(row)).stem)
            if single:
                assert data.labels[answer] == KIND[len(sets[number]) % 2]
            else:
                assert {NAMES[i] for i in np.flatnonzero(answer)} == sets[number]
            assert (number % 4 == 0) == (name == "test") or not splits
