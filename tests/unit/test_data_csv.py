"""CSV files as data: windows stay in one recording and label, splits keep recordings whole, messages name the cell."""

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest

from edgepress.runtime.data_record import DataRecord
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.remembered import open_in_groups
from edgepress.toolkit.data.types import SPLITS
from edgepress.toolkit.errors import DataError, InputError

NAMES = ["time", "ax", "ay", "subject", "activity"]


def write(path: Path, names: list[str], rows: list[list[object]], separator: str = ",") -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator).writerows([names, *rows])
    return path


def recordings(persons: int, rows: int = 40, labels: tuple[str, ...] = ("sit", "walk"), seed: int = 0):
    """Rows of NAMES; the first value is the number of the row, so that windows show where they are from."""
    rng = np.random.default_rng(seed)
    out: list[list[object]] = []
    for person in range(persons):
        for label in labels:
            out += [[i, len(out) + i, float(rng.normal()), f"p{person}", label] for i in range(rows)]
    return out


@pytest.mark.parametrize("seed", range(5))
def test_windows_are_consecutive_rows_of_one_person_and_label(tmp_path, seed):
    rng = np.random.default_rng(seed)
    length = int(rng.integers(20, 60))
    window = int(rng.integers(2, 12))
    step = int(rng.integers(1, 12))
    rows = recordings(8, length, seed=seed)
    data = open_data(write(tmp_path / "a.csv", NAMES, rows), window=window, step=step)
    assert data.input == InputSpec(shape=(window, 2), dtype="float32")
    total = 0
    for name in SPLITS:
        split = getattr(data, name)
        total += len(split)
        for x, y in zip(split.read(slice(None)), split.y, strict=True):
            first = int(x[0, 0])
            assert x[:, 0].tolist() == list(range(first, first + window))
            own = rows[first : first + window]
            assert {row[4] for row in own} == {data.labels[y]}
            assert len({row[3] for row in own}) == 1
            assert np.array_equal(x[:, 1], np.array([row[2] for row in own], np.float32))
    assert total == 16 * ((length - window) // step + 1)


def test_no_person_is_in_two_splits_and_the_record_finds_the_same_items_again(tmp_path):
    path = write(tmp_path / "a.csv", NAMES, recordings(10))
    data = open_data(path, window=8, step=4)
    assert data.group == "column:subject"
    people = {name: {int(x[0, 0]) // 80 for x in getattr(data, name).read(slice(None))} for name in SPLITS}
    assert sum(map(len, people.values())) == 10 == len(set.union(*people.values()))
    record = data.record
    assert record.table is not None
    assert (record.table.window, record.table.step, record.table.columns) == (8, 4, ("ax", "ay"))
    again, notes = open_in_groups(str(path), record, purpose="evaluation", input=data.input, labels=data.labels)
    assert (again.sha256, notes) == (data.sha256, [])
    assert len(again.test) == len(data.test)


def test_columns_are_taken_by_the_names_that_a_model_was_trained_on(tmp_path):
    rows = recordings(6)
    first = open_data(write(tmp_path / "a.csv", NAMES, rows), window=8)
    names = ["activity", "ay", "more", "ax", "subject"]
    moved = write(tmp_path / "b.csv", names, [[r[4], r[2], 7, r[1], r[3]] for r in rows])
    second, _ = open_in_groups(str(moved), first.record, labels=first.labels, input=first.input, purpose="evaluation")
    assert second.sha256 == first.sha256
    with pytest.raises(DataError, match="no column 'ax', which the model takes"):
        open_in_groups(str(write(tmp_path / "c.csv", NAMES[2:], [r[2:] for r in rows])), first.record)


def test_a_window_has_the_hash_of_the_same_array_in_an_npz(tmp_path):
    data = open_data(write(tmp_path / "a.csv", NAMES, recordings(6)), window=8)
    np.savez(
        tmp_path / "a.npz",
        **{
            f"{a}_{n}": v
            for n in SPLITS
            for a, v in (("x", getattr(data, n).read(slice(None))), ("y", np.array(data.labels)[getattr(data, n).y]))
        },
    )
    assert open_data(tmp_path / "a.npz").sha256 == data.sha256


def test_a_split_for_another_process_holds_its_own_rows_only(tmp_path):
    data = open_data(write(tmp_path / "a.csv", NAMES, recordings(10)), window=8, step=2)
    copy = pickle.loads(pickle.dumps(data.val))
    assert np.array_equal(copy.read(slice(None)), data.val.read(slice(None)))
    assert [copy.name(i) for i in range(3)] == [data.val.name(i) for i in range(3)]
    assert len(copy.source.values) < len(data.val.source.values) / 2


def test_without_a_window_each_row_is_an_item(tmp_path):
    rows = [[i % 7 + i / 100, i, f"k{i % 3}"] for i in range(60)]
    data = open_data(write(tmp_path / "a.csv", ["weight", "length", "class"], rows, ";"))
    assert (data.input.shape, data.group, data.labels) == ((2,), "", ("k0", "k1", "k2"))
    assert len(data.train) + len(data.val) + len(data.test) == 60
    assert data.record.table is not None
    assert data.record.table.window == 0


def test_long_runs_of_a_label_without_a_window_are_noted(tmp_path):
    data = open_data(write(tmp_path / "a.csv", NAMES, recordings(6)))
    assert any("--window 128" in note for note in data.group_notes)


def test_a_model_of_windows_says_how_long_they_are(tmp_path):
    path = write(tmp_path / "a.csv", NAMES, recordings(6))
    spec = InputSpec(shape=(16, 2), dtype="float32")
    assert open_data(path, input=spec, purpose="evaluation").input.shape == (16, 2)


def test_one_recording_is_cut_into_pieces_that_no_split_shares(tmp_path):
    rows = [row[:3] + row[4:] for row in recordings(1, 400)]
    path = write(tmp_path / "a.csv", ["time", "ax", "ay", "activity"], rows)
    data = open_data(path, window=8, step=2)
    assert data.group == "column:piece"
    assert any("fewer than 3 recordings" in note for note in data.group_notes)
    seen = [{int(v) for x in getattr(data, n).read(slice(None)) for v in x[:, 0]} for n in SPLITS]
    assert all(seen)
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    again, _ = open_in_groups(str(path), data.record, purpose="evaluation")
    assert again.sha256 == data.sha256


def test_files_of_a_folder_are_recordings_or_splits(tmp_path):
    for i in range(6):
        rows = [row[1:3] + row[4:] for row in recordings(1, seed=i)]
        write(tmp_path / "flat" / f"{i}.csv", ["ax", "ay", "label"], rows)
        write(tmp_path / "parts" / ("test" if i > 3 else "train") / f"{i}.csv", ["ax", "ay", "label"], rows)
    assert open_data(tmp_path / "flat", window=8).group == "column:file"
    parts = open_data(tmp_path / "parts", window=8, purpose="evaluation")
    assert {parts.test.name(i).split(",")[0] for i in range(len(parts.test))} == {"test/4.csv", "test/5.csv"}
    write(tmp_path / "flat" / "9.csv", ["ay", "label"], [[1, "sit"]])
    with pytest.raises(DataError, match=r"9\.csv has no column 'ax'"):
        open_data(tmp_path / "flat", window=8)


def test_other_labels_and_numbers_of_people_are_no_channels(tmp_path):
    noise = np.random.default_rng(0).normal(size=400).tolist()
    rows = [[i, noise[i], i % 2, i // 40, f"l{i // 20 % 2}"] for i in range(400)]
    path = write(tmp_path / "a.csv", ["Time (s)", "ax", "class", "Subject_ID", "label"], rows)
    with pytest.raises(DataError, match="each of label, class may be the label"):
        open_data(path)
    data = open_data(path, label_column="label", window=10)
    assert data.record.table is not None
    assert (data.record.table.columns, data.group) == (("ax",), "column:Subject_ID")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("5,1,x,p0,sit", r"line 7: the column 'ay' has 'x', which is no finite number"),
        ("5,1,,p0,sit", r"line 7: the column 'ay' has no value"),
        ("5,nan,1,p0,sit", r"line 7: the column 'ax' has no value"),
        ("5,inf,1,p0,sit", r"line 7: the column 'ax' has 'inf'"),
        ("5,1_0,1,p0,sit", r"line 7: the column 'ax' has '1_0'"),
        ("5,1e39,1,p0,sit", r"line 7: the column 'ax' has '1e39'"),
        ("5,1,1,p0", r"line 7: it has 4 cells, and the first line names 5"),
        ("5,1,1,p0,sit,9", r"line 7: it has 6 cells"),
        ("5,1,1,p0,", r"line 7: the column 'activity' is empty"),
        ('5,"1,5",1,p0,sit', r"'1,5'.*"),
    ],
)
def test_a_bad_row_is_named_and_can_be_left_out(tmp_path, line, says):
    path = write(tmp_path / "a.csv", NAMES, recordings(6))
    lines = path.read_text().splitlines()
    lines.insert(6, line)
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=says):
        open_data(path, window=8)
    data = open_data(path, window=8, step=1, skip_unreadable=True)
    assert data.skipped[0][0] == f"1 row of {path}"
    starts = sorted(int(x[0, 0]) for n in SPLITS for x in getattr(data, n).read(slice(None)))
    assert starts[0] == 5  # the five rows before it are fewer than a window


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "no first line with the names"),
        (b"1,2,3\n4,5,6\n", "no first line with the names"),
        (b"ax,label\n", "no row that can be used"),
        (b"ax,ay\n1,2\n", "no column of labels"),
        (b"ax,ax,label\n1,2,a\n", "several columns 'ax'"),
        (b"time,label\n1,a\n", "no column of values"),
        (b"ax,label\n1,\xff\n", "line 2 is not text in UTF-8"),
        (b'ax,label\n1,"a\n', "line 2"),
        (b"ax,label\n1," + b"a" * (1 << 21), "line 2 is longer"),
        (b",".join(b"c%d" % i for i in range(2000)) + b"\n", "2000 columns; accepted: up to 1024"),
    ],
)
def test_files_that_are_no_tables_are_refused(tmp_path, text, says):
    path = tmp_path / "a.csv"
    path.write_bytes(text)
    with pytest.raises(DataError, match=says):
        open_data(path)


def test_recordings_shorter_than_a_window_are_named(tmp_path):
    path = write(tmp_path / "a.csv", NAMES, recordings(6, 10))
    with pytest.raises(DataError, match="the longest stretch of label 'sit' has 10 rows, and a window 11"):
        open_data(path, window=11)
    rows = [*recordings(6, 20), *([i, 1, i, "p9", "sit"] for i in range(4))]
    data = open_data(write(tmp_path / "b.csv", NAMES, rows), window=8)
    assert any("1 of 13 stretches" in note for note in data.group_notes)


def test_options_of_rows_are_refused_where_there_are_none(tmp_path):
    with pytest.raises(InputError, match="has no CSV files or recordings"):
        open_data("digits", window=8)
    with pytest.raises(InputError, match="Give --window, too"):
        open_data(write(tmp_path / "a.csv", NAMES, recordings(6)), step=8)


def test_tables_beside_images_are_not_the_data(tmp_path):
    from PIL import Image

    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(5):
            pixels = np.random.default_rng([i, ord(label)]).integers(0, 256, (30, 30), np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{i}.png")
    write(tmp_path / "labels.csv", ["file", "label"], [["a/0.png", "a"]])
    assert open_data(tmp_path).input.is_image


def test_calibration_needs_no_labels(tmp_path):
    path = write(tmp_path / "a.csv", ["time", "ax", "ay"], [row[:3] for row in recordings(4)])
    data = open_data(path, window=8, purpose="calibration")
    assert data.labels == ()
    assert data.train.read(slice(0, 1)).shape == (1, 8, 2)


def test_a_record_of_rows_survives_a_contract():
    from edgepress.runtime.data_record import data_record_from

    record = DataRecord(source="a.csv", sha256="", counts={})
    assert data_record_from({"source": "a.csv", "sha256": "", "counts": {}}) == record
    with pytest.raises(ValueError, match="window and step"):
        data_record_from({"source": "", "sha256": "", "counts": {}, "table": {"columns": ["a"], "window": -1}})
