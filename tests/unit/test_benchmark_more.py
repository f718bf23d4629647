"""Items that took no part in choosing: what counts, and which images are written to be labelled."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.measurement.benchmarking.more import Further, More, open_more, write_differences
from edgepress.toolkit.stats.choice import Evidence
from edgepress.toolkit.workers.opening import Candidate

RNG = np.random.default_rng(5)
LABELS = ("cat", "../dog", "CON/a")


def arrays(folder: Path, name: str, count: int, **more: Any) -> str:
    """An .npz of grey images, all different."""
    path = folder / f"{name}.npz"
    x = RNG.integers(0, 256, (count, 8, 8, 1), np.uint8)
    np.savez(path, **({"x_train": x, "y_train": np.zeros(count, np.int64)} | more))
    return str(path)


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    x, y = RNG.integers(0, 256, (30, 8, 8, 1), np.uint8), np.arange(30) % 3
    np.savez(tmp_path / "d.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:], labels=list(LABELS))
    return open_data(tmp_path / "d.npz")


@pytest.fixture
def more(data: DataSet, tmp_path: Path) -> More:
    return open_more(arrays(tmp_path, "more", 40), data)


def known(more: More, **labels: Any) -> More:
    return More(more.data, more.digests, np.asarray(labels["labels"], np.int64))


def test_items_come_in_the_order_of_their_hashes_without_labels(more: More, data: DataSet) -> None:
    assert len(more.labels) == 40
    assert list(more.digests) == sorted(more.digests)
    assert more.data.labels == data.labels
    assert (more.labels == -1).all()
    assert more.notes == ()
    assert more.record["count"] == 40


def test_copies_of_the_data_s_items_and_of_each_other_are_left_out(data: DataSet, tmp_path: Path) -> None:
    held = np.concatenate([part.read(slice(0, 3)) for part in (data.train, data.val, data.test) if len(part)])
    new = RNG.integers(0, 256, (4, 8, 8, 1), np.uint8)
    x = np.concatenate([held, new, new[:2]])
    found = open_more(arrays(tmp_path, "m", 0, x_train=x, y_train=np.zeros(len(x), np.int64)), data)
    assert len(found.labels) == 4
    assert f"{len(x) - 4} of {len(x)} items" in found.notes[0]
    with pytest.raises(InputError, match="holds no item"):
        open_more(str(tmp_path / "d.npz"), data)


def test_every_split_of_further_data_counts(data: DataSet, tmp_path: Path) -> None:
    x, zeros = RNG.integers(0, 256, (9, 8, 8, 1), np.uint8), np.zeros(3, np.int64)
    np.savez(tmp_path / "m.npz", x_train=x[:3], y_train=zeros, x_val=x[3:6], y_val=zeros, x_test=x[6:], y_test=zeros)
    assert len(open_more(str(tmp_path / "m.npz"), data).labels) == 9


def test_a_model_without_labels_has_no_further_items(data: DataSet, tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(InputError, match="no labels"):
        open_more(arrays(tmp_path, "m", 3), replace(data, labels=()))


def test_differences_count_and_labels_up_to_the_first_that_is_missing(more: More) -> None:
    before, after = np.zeros(40, np.int64), np.zeros(40, np.int64)
    after[[3, 7, 11, 20, 30]] = 1
    test = Evidence(100, 2, 1, 3)
    assert more.count(test, before, after) == Evidence(100, 2, 1, 3, 40, 5)
    labels = np.full(40, -1)
    labels[[3, 7, 20]] = 0, 1, 2  # the one at 11 is missing, so that at 20 was not reached by chance
    assert known(more, labels=labels).count(test, before, after) == Evidence(100, 2, 1, 3, 40, 5, 1, 1, 0)
    labels[11] = 2
    assert known(more, labels=labels).count(test, before, after) == Evidence(100, 2, 1, 3, 40, 5, 1, 1, 2)
    labels[:] = 0
    assert known(more, labels=labels).count(test, before, after) == Evidence(100, 2, 1, 3, 40, 5, 5, 0, 0)
    assert known(more, labels=labels).count(test, before, before) == Evidence(100, 2, 1, 3, 40, 0)


def test_a_pair_that_did_not_answer_adds_nothing(more: More) -> None:
    one, other, lost = (Candidate(Path(name), "litert") for name in ("a", "b", "c"))
    answers = [Answers("litert", np.full(40, n), np.ones(40, np.float32)) for n in (0, 1)]
    further = Further(more, {one: answers[0], other: answers[1], lost: InputError("It crashed.")})
    test = Evidence(100, 2, 1)
    assert further.added(test, other, one).more_differing == 40
    assert further.added(test, lost, one) == test
    assert further.added(test, other, lost) == test
    assert further.added(test, other, None) == test


def written(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.glob("*.png"))


def test_images_are_written_to_be_sorted_and_labels_are_read_again(more: More, data: DataSet, tmp_path: Path) -> None:
    folder, before, after = tmp_path / "to-label", np.zeros(40, np.int64), np.zeros(40, np.int64)
    rows = [3, 7, 11, 20, 30]
    after[rows] = 1
    assert write_differences(more, before, after, folder) == 5
    names = written(folder)
    assert [name[:16] for name in names] == [more.digests[row] for row in rows]
    with Image.open(folder / names[0]) as image:
        assert max(image.size) >= 128, "people recognize it"
        small = np.asarray(image.resize((8, 8), Image.Resampling.NEAREST))
    assert (small == more.data.test.read([3])[0, :, :, 0]).all()
    classes = sorted(p for p in folder.iterdir() if p.is_dir())
    assert [p.name for p in classes] == ["0 cat", "1 dog", "2 CON_a"]
    assert {p.resolve().parent for p in classes} == {folder.resolve()}, "no label leads elsewhere"
    (folder / names[0]).rename(classes[1] / names[0])
    (folder / names[1]).rename(classes[2] / names[1])
    again = open_more(more.data.source, data, labelled=folder)
    assert [again.labels[row] for row in rows] == [1, 2, -1, -1, -1]
    assert again.record["labelled"] == 2
    assert again.count(Evidence(9, 0, 0), before, after) == Evidence(9, 0, 0, 0, 40, 5, 0, 1, 1)
    kept = (classes[1] / names[0]).read_bytes()
    assert write_differences(again, before, after, folder) == 3
    assert written(folder) == names[2:], "what is sorted is not written again"
    assert (classes[1] / names[0]).read_bytes() == kept


def test_labels_are_refused_where_they_contradict_each_other(more: More, data: DataSet, tmp_path: Path) -> None:
    folder = tmp_path / "to-label"
    write_differences(more, np.zeros(40, np.int64), np.ones(40, np.int64), folder)
    name = written(folder)[0]
    for number in ("0 cat", "2 CON_a"):
        (folder / number / name).write_bytes(b"")
    with pytest.raises(InputError, match="two folders"):
        open_more(more.data.source, data, labelled=folder)
    (folder / "0 cat" / name).unlink()
    (folder / "2 CON_a").rename(folder / "2 horse")
    with pytest.raises(InputError, match=re.escape("2 CON_a")):
        open_more(more.data.source, data, labelled=folder)
    before = folder / "2 horse"
    for number in (3, 7):
        before = before.rename(folder / f"{number} horse")
        with pytest.raises(InputError, match="0 to 2"):
            open_more(more.data.source, data, labelled=folder)


def test_files_that_agree_write_nothing(more: More, tmp_path: Path) -> None:
    same = np.zeros(40, np.int64)
    assert write_differences(more, same, same, tmp_path / "none") == 0
    assert not (tmp_path / "none").exists()


def test_an_interrupted_image_leaves_nothing(more: More, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, path: Any, **options: Any) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        write_differences(more, np.zeros(40, np.int64), np.ones(40, np.int64), tmp_path / "to-label")
    assert not [p for p in (tmp_path / "to-label").iterdir() if p.is_file()]


def test_a_folder_that_can_not_be_made_is_an_error_that_names_the_option(more: More, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="can't be made") as error:
        write_differences(more, np.zeros(40, np.int64), np.ones(40, np.int64), tmp_path / "file" / "x")
    assert "--differences" in str(error.value)


def test_at_most_so_many_are_written_the_first_by_their_hashes(
    more: More, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgepress.toolkit.measurement.benchmarking import more as module

    monkeypatch.setattr(module, "MOST_WRITTEN", 6)
    assert write_differences(more, np.zeros(40, np.int64), np.ones(40, np.int64), tmp_path / "x") == 6
    assert [name[:16] for name in written(tmp_path / "x")] == list(more.digests[:6])


def test_the_folder_to_label_may_not_lie_in_the_data(more: More, data: DataSet, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(InputError, match="lies in"):
        open_more(str(tmp_path / "new"), data, labelled=tmp_path / "new" / "to-label")
