"""Groups in folders, tables and arrays: what is found, what is said, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_data_folder import classes, image  # type: ignore[import-not-found]

from edgepress.runtime.data_record import DataRecord
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.collected import follow, join
from edgepress.toolkit.data.readers import metadata
from edgepress.toolkit.data.readers.metadata import NAMES, MetadataTable
from edgepress.toolkit.data.remembered import open_in_groups
from edgepress.toolkit.data.types import SPLITS, DataSet, Split
from edgepress.toolkit.errors import DataError, NoGroupsError

LABELS = ("ball", "cup", "pen")


def photos(root: Path, *, persons: int = 10, each: int = 3, first: int = 0, name: str = "person{}_{}.png") -> Path:
    """Photos of the same persons in three classes."""
    for c, label in enumerate(LABELS):
        for person in range(persons):
            for k in range(each):
                image(root / label / name.format(person, k + first), hash((c, person, k, first)) % 2**31, size=(28, 28))
    return root


def persons(split: Split) -> set[str]:
    return {Path(split.name(row)).name.split("_")[0] for row in range(len(split))}


def table(root: Path, rows: list[tuple[str, ...]], *, head: tuple[str, ...] = ("file", "object")) -> Path:
    (root / "metadata.csv").write_text("\n".join(",".join(row) for row in [head, *rows]) + "\n")
    return root


def files(data: DataSet) -> list[str]:
    return [getattr(data, name).name(row) for name in SPLITS for row in range(len(getattr(data, name)))]


def test_persons_in_the_names_are_not_divided_and_the_record_says_how(tmp_path: Path) -> None:
    data = open_data(photos(tmp_path))
    parts = [persons(getattr(data, name)) for name in SPLITS]
    assert [len(part) for part in parts] == [7, 1, 2]
    assert len(set.union(*parts)) == 10
    assert "10 groups of items (person0, person1, person2, ...)" in data.group_notes[0]
    assert "--group none" in data.group_notes[0]
    assert data.record.group == data.group != ""
    again, notes = open_in_groups(str(tmp_path), data.record, purpose="evaluation")
    assert (again.sha256, notes) == (data.sha256, [])


def test_none_and_a_record_from_before_groups_split_by_content(tmp_path: Path) -> None:
    photos(tmp_path)
    alone = open_data(tmp_path, group="none")
    assert (alone.group, alone.group_notes, alone.test.groups) == ("none", (), None)
    assert len(persons(alone.test) & persons(alone.train)) > 0
    old = DataRecord(source=str(tmp_path), sha256=alone.sha256, counts={})
    for record in (old, alone.record, None):
        assert open_in_groups(str(tmp_path), record, purpose="evaluation")[0].sha256 == alone.sha256
    assert open_data(tmp_path, purpose="evaluation").sha256 == alone.sha256, "only a training looks for groups"


def test_names_do_not_change_given_test_items(tmp_path: Path) -> None:
    photos(tmp_path / "train")
    photos(tmp_path / "test", each=1, first=50)
    data = open_data(tmp_path)
    assert (data.group, len(data.test)) == ("", 30)


def test_a_column_of_the_table(tmp_path: Path) -> None:
    classes(tmp_path, names=("cat", "dog"))
    rows = [(f"{name}/{i}.png", f"o{i // 2}") for name in ("cat", "dog") for i in range(10)]
    data = open_data(table(tmp_path, rows), group="column:object")
    where = {f: s for s in SPLITS for f in [getattr(data, s).name(r) for r in range(len(getattr(data, s)))]}
    for i in range(0, 10, 2):
        assert len({where[f"{name}/{j}.png"] for name in ("cat", "dog") for j in (i, i + 1)}) == 1
    assert data.record.counts == {"train": 12, "val": 4, "test": 4}
    assert "5 groups of items (o0, o1, o2, ...) by column:object" in data.group_notes[0]
    assert open_data(tmp_path).group == "", "other columns than group must be named"


@pytest.mark.parametrize("name", ["group", "groups"])
def test_a_column_named_group_is_used(tmp_path: Path, name: str) -> None:
    classes(tmp_path)
    rows = [(f"./{label}/{i}.png", "x", f"o{i // 2}") for label in ("cat", "dog") for i in range(10)]
    data = open_data(table(tmp_path, rows, head=("file_name", "other", name)))
    assert data.group == f"column:{name}"


def test_files_that_the_table_lacks_and_that_the_data_lack_are_named(tmp_path: Path) -> None:
    classes(tmp_path)
    rows = [(f"{name}/{i}.png", f"o{i // 2}") for name in ("cat", "dog") for i in range(8)]
    data = open_data(table(tmp_path, [*rows, ("cat/gone.png", "o1"), ("dog/8.png", "")]), group="column:object")
    notes = " ".join(data.group_notes)
    assert "metadata.csv names 1 file that" in notes
    assert "cat/gone.png" in notes
    assert "4 of 20 items have no group (cat/8.png, cat/9.png, dog/8.png" in notes
    assert len(files(data)) == 20


BAD_TABLES = {
    "": "it is empty",
    "\n": "it is empty",
    "object\na\n": "one column must be named file",
    "file,path,object\na,b,c\n": "one column must be named file",
    "file,object\ncat/0.png\n": "row 2 has 1 fields",
    "file,object\n/etc/passwd,a\n": "does not lie below",
    "file,object\n../../secret,a\n": "does not lie below",
    "file,object\ncat/../../secret,a\n": "does not lie below",
    "file,object\nC:\\secret,a\n": "does not lie below",
    "file,object\n,a\n": "does not lie below",
    "file,object\ncat/0.png,a\ncat/0.png,b\n": "has two values of object: a and b",
    "file,object\ncat/0.png," + "a" * 2000 + "\n": "more than 1000 characters",
    "file,object\ncat/0.png," + "a" * 200_000 + "\n": "can't be read",
    'file,object\n"cat/0.png,a\n': "can't be read",
    "file,object,object\na,b,c\n": "some twice",
    "file," + ",".join(map(str, range(2000))) + "\n": "2001 columns",
    "file,object\ncat/0.png,\ud800\n": "can't be read",
    "file,object\ncat/0.png,a\n" + "\0": "",
}


@pytest.mark.parametrize("content", BAD_TABLES)
def test_bad_tables_are_refused(tmp_path: Path, content: str) -> None:
    classes(tmp_path, count=4)
    (tmp_path / "metadata.csv").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError) as error:
        open_data(tmp_path, group="column:object")
    assert BAD_TABLES[content] in str(error.value)
    assert "metadata.csv" in str(error.value)


def test_a_large_table_or_a_link_to_a_device_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes(table(tmp_path, [("cat/0.png", "a")]), count=4)
    monkeypatch.setattr(metadata, "MOST_BYTES", 20)
    with pytest.raises(DataError, match="more than 20 bytes"):
        open_data(tmp_path, group="column:object")


BAD_ROWS = {
    "[1]": "line 1 is no object",
    '{"file": "cat/0.png", "object": {"a": 1}}': "line 1 has an object in 'object'",
    '{"file": "cat/0.png", "object": [["a"]]}': "has a list in 'object' of other lists",
    '{"file": "cat/0.png", "object": ["a;b"]}': "has a list in 'object' of other lists, or of texts with ';'",
    '{"object": "a"}': "one column must be named file",
    '{"file": "cat/0.png", "object": "a"': "can't be read",
    "[" * 100_000: "can't be read",
    "{}\n" * 20_000 + json.dumps({str(i): "" for i in range(900)}): "20001 rows of 900 columns",
    "\n" * (1 << 22): "lines",
}


@pytest.mark.parametrize("content", BAD_ROWS, ids=BAD_ROWS.values())
def test_bad_rows_of_json_are_refused(tmp_path: Path, content: str) -> None:
    classes(tmp_path, count=4)
    (tmp_path / "metadata.jsonl").write_text(content)
    with pytest.raises(DataError) as error:
        open_data(tmp_path, group="column:object")
    assert BAD_ROWS[content] in str(error.value)
    assert "metadata.jsonl" in str(error.value)


def test_two_tables_of_a_folder_are_refused(tmp_path: Path) -> None:
    classes(table(tmp_path, [("cat/0.png", "a")]), count=4)
    (tmp_path / "metadata.jsonl").write_text('{"file": "cat/0.png", "object": "b"}')
    with pytest.raises(DataError, match="two tables"):
        open_data(tmp_path, group="column:object")


JSON_VALUES = st.recursive(st.none() | st.integers() | st.text(max_size=4), lambda each: st.lists(each, max_size=3))
JSON_ROWS = st.dictionaries(
    st.sampled_from(["file", "labels", "path", "a"]) | st.text(max_size=3), JSON_VALUES, max_size=4
)


@given(st.sampled_from(NAMES), st.binary(max_size=300) | st.lists(JSON_ROWS | JSON_VALUES, max_size=4))
def test_any_bytes_are_a_table_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, file: str, content: bytes | list[Any]
) -> None:
    root = tmp_path_factory.mktemp("table")
    lines = content if isinstance(content, bytes) else "\n".join(map(json.dumps, content)).encode()
    (root / file).write_bytes(lines)
    data = MetadataTable(root, ["a/b.png"])
    try:
        for name in data.names():
            values, _ = data.read(name)
            assert len(values) == 1
    except DataError:
        pass


def test_rules_that_data_do_not_have_are_errors_for_the_data_named_and_notes_for_others(tmp_path: Path) -> None:
    classes(tmp_path)
    with pytest.raises(NoGroupsError, match="has no column 'object'"):
        open_data(tmp_path, group="column:object")
    with pytest.raises(NoGroupsError, match="no file names"):
        open_data("digits", group="a+")
    record = DataRecord(source="other", sha256="", counts={}, group="column:object")
    data, notes = open_in_groups(str(tmp_path), record, purpose="evaluation")
    assert data.test.groups is None
    assert "trained on data split by groups (column:object)" in notes[0]


def test_too_few_groups_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    classes(tmp_path)
    rows = [(f"cat/{i}.png", "one") for i in range(10)] + [(f"dog/{i}.png", f"o{i}") for i in range(10)]
    with pytest.raises(DataError, match="class 'cat' has too few groups") as error:
        open_data(table(tmp_path, rows), group="column:object")
    assert "--group none" in str(error.value.hint)


def test_groups_that_folders_of_splits_divide_are_said_and_leave_the_training(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    classes(tmp_path / "test", count=3, first=500)
    rows = [(f"train/{n}/{i}.png", f"o{i}") for n in ("cat", "dog") for i in range(10)]
    rows += [(f"test/{n}/{i}.png", f"o{i + 9}") for n in ("cat", "dog") for i in range(3)]
    data = open_data(table(tmp_path, rows), group="column:object")
    assert len(data.test) == 6
    assert sum(map(len, (data.train, data.val))) == 18
    assert "1 group of" in data.group_notes[-1]
    assert "(o9): 2 items of these are left out" in data.group_notes[-1]
    assert [reason for _, reason in data.skipped] == ["its group, or a copy, is in the test or validation split"] * 2


@pytest.mark.parametrize("kind", [np.int64, str, bytes, bool])
def test_an_array_of_an_npz(tmp_path: Path, kind: type) -> None:
    x = np.random.default_rng(0).integers(0, 255, (60, 8, 8), np.uint8)
    of = np.arange(60) // 2 % (2 if kind is bool else 15)
    group = np.array([f"g{i}" for i in of]).astype("S") if kind is bytes else of.astype(kind)
    y = np.arange(60) % 2
    np.savez(tmp_path / "a.npz", x=x, y=y, subject=group)
    if kind is bool:
        with pytest.raises(DataError, match="too few"):
            open_data(tmp_path / "a.npz", group="column:subject")
        return
    data = open_data(tmp_path / "a.npz", group="column:subject")
    groups = [set(getattr(data, name).groups.tolist()) for name in SPLITS]
    assert [len(g) for g in groups] == [10, 2, 3]
    assert len(set.union(*groups)) == 15
    assert open_data(tmp_path / "a.npz").group == ""
    np.savez(tmp_path / "b.npz", x=x, y=y, groups=group)
    assert open_data(tmp_path / "b.npz").group == "column:groups"
    assert open_data(tmp_path / "b.npz").sha256 == data.sha256


def test_arrays_of_an_npz_with_splits(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 255, (60, 8, 8), np.uint8)
    y, of = np.arange(60) % 2, np.arange(60) // 2 % 15
    parts = {"x_train": x[:40], "y_train": y[:40], "g_train": of[:40], "x_test": x[40:], "y_test": y[40:]}
    np.savez(tmp_path / "a.npz", **parts)
    with pytest.raises(NoGroupsError, match="has no column 'g'"):
        open_data(tmp_path / "a.npz", group="column:g")
    np.savez(tmp_path / "a.npz", **parts, g_test=of[40:])
    data = open_data(tmp_path / "a.npz", group="column:g")
    assert not {*data.train.groups.tolist()} & {*data.test.groups.tolist()}
    np.savez(tmp_path / "a.npz", **parts, g_test=of[41:])
    with pytest.raises(NoGroupsError, match="has no column 'g'"):
        open_data(tmp_path / "a.npz", group="column:g")


def test_groups_stay_with_their_items_when_a_split_is_pickled_or_taken_from(tmp_path: Path) -> None:
    data = open_data(photos(tmp_path))
    test = data.test
    copy = pickle.loads(pickle.dumps(test))
    assert copy.groups.tolist() == test.groups.tolist()
    few = test.take(np.array([5, 2]))
    assert few.groups.tolist() == test.groups[[5, 2]].tolist()
    assert few.name(1) == test.name(2)


def test_new_items_of_old_groups_follow_them(tmp_path: Path) -> None:
    old = open_data(photos(tmp_path / "old", persons=10))
    fresh, _ = open_in_groups(str(photos(tmp_path / "new", persons=14, first=9)), old.record, purpose="evaluation")
    followed = follow(old, fresh)
    for name in SPLITS:
        others = set.union(*(persons(getattr(old, other)) for other in SPLITS if other != name))
        assert not persons(getattr(followed, name)) & others, name
    assert sorted(files(followed)) == sorted(files(fresh))
    both = join(old, followed)
    assert not {*both.train.groups.tolist()} & {*both.test.groups.tolist()}
    assert len(both.test.groups) == len(both.test)


def test_old_items_without_groups_let_new_ones_be(tmp_path: Path) -> None:
    fresh = open_data(photos(tmp_path))
    assert follow(open_data(tmp_path, group="none"), fresh).record.counts == fresh.record.counts
    alone = open_data(tmp_path, group="none")
    assert follow(fresh, alone) is alone


def test_a_table_of_another_tool_is_ignored_unless_it_is_asked_for(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        for number in range(20):
            folder = tmp_path / label
            folder.mkdir(exist_ok=True)
            Image.new("L", (8, 8), 9 * number + len(label)).save(folder / f"{number}.png")
    (tmp_path / "metadata.csv").write_text("image_id,label\n1,cat\n")
    assert open_data(tmp_path).group == ""
    with pytest.raises(DataError, match=r"metadata\.csv"):
        open_data(tmp_path, group="column:label")
