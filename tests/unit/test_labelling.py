"""The folder of `label`: its order, its moves, and what it refuses."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sounds import tone

from edgepress.runtime.keeping import ABOUT
from edgepress.runtime.sound.doubt import wav_bytes
from edgepress.toolkit.data import open_data
from edgepress.toolkit.errors import DataError, InputError
from edgepress.toolkit.improvement.labelling import desk as desk_module
from edgepress.toolkit.improvement.labelling.desk import LEFT_OUT, OUT, TO_DO, Desk, order
from edgepress.toolkit.improvement.labelling.recordings import BLOCK, COLUMNS, RATE, spectrogram


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures that a board has kept: of two scenes each, answered as 0, 1, 0, 1, ..., and one of somebody else."""
    rng = np.random.default_rng(0)
    scenes = [rng.integers(0, 256, (8, 8)).repeat(4, axis=0).repeat(4, axis=1) for _ in range(4)]
    for n in range(12):
        noisy = np.clip(scenes[n % 4] + rng.normal(0, 3, (32, 32)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(tmp_path / f"20261128T1200000{n:02d}Z-{n % 2:03d}-0{n + 50:02d}0-{n:08x}.png")
    Image.fromarray(noisy).save(tmp_path / "mine.jpg")
    (tmp_path / ABOUT).write_text('{"labels": ["cat", "dog"], "model": "m"}')
    return tmp_path


def test_like_pictures_follow_each_other(folder: Path) -> None:
    desk = Desk(folder)
    assert len(desk.pictures) == 13
    assert [picture.answer for picture in desk.pictures] == [0] * 6 + [1] * 6 + [None]
    scenes = [int(picture.name[16:18]) % 4 for picture in desk.pictures[:12]]
    assert [len({*scenes[n : n + 3]}) for n in (0, 3, 6, 9)] == [1, 1, 1, 1]
    assert [picture.group for picture in desk.pictures] == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3 + [5]
    assert desk.pictures[0].time == "2026-11-28 12:00"
    assert desk.pictures[0].probability == pytest.approx(int(desk.pictures[0].name[24:28]) / 1000)


def test_the_order_has_each_picture_once() -> None:
    small = np.random.default_rng(0).uniform(0, 255, (50, 64))
    rows, groups = order(small, [n % 3 or None for n in range(50)])
    assert sorted(rows) == [*range(50)]
    assert groups == sorted(groups)


def test_labels_are_folders_and_survive(folder: Path) -> None:
    desk = Desk(folder)
    for row in range(8):
        desk.label(row, row % 2)
    desk.label(8, OUT)
    assert desk.done == 9
    assert len([*(folder / "cat").iterdir()]) == len([*(folder / "dog").iterdir()]) == 4
    again = Desk(folder)
    assert again.label_numbers == desk.label_numbers
    assert (folder / LEFT_OUT).is_dir()
    data = open_data(folder)
    assert data.labels == ("cat", "dog")
    assert len(data.train) + len(data.val) + len(data.test) == 8, "pictures to do, and left out, are not data"


def test_steps_are_undone_in_turn_without_empty_classes(folder: Path) -> None:
    desk = Desk(folder)
    desk.label(3, 1)
    desk.label(3, 0)
    desk.label(3, 0)
    assert desk.undo() == 3
    assert desk.label_numbers[3] == 1
    assert not (folder / "cat").exists()
    assert desk.undo() == 3
    assert desk.undo() is None
    assert desk.label_numbers == [TO_DO] * 13
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set()


def test_a_picture_that_is_gone_or_there_twice_is_told(folder: Path) -> None:
    desk = Desk(folder)
    desk.path(0).unlink()
    with pytest.raises(InputError, match="can't be moved"):
        desk.label(0, 1)
    assert not (folder / "dog").exists(), "a class without pictures"
    (folder / "dog").mkdir(exist_ok=True)
    (folder / "dog" / desk.pictures[1].name).write_bytes(b"x")
    with pytest.raises(InputError, match="is there already"):
        desk.label(1, 1)
    assert desk.label_numbers == [TO_DO] * 13
    assert desk.undo() is None


def test_a_step_back_that_fails_can_be_taken_later(folder: Path) -> None:
    desk = Desk(folder)
    desk.label(2, 1)
    (folder / desk.pictures[2].name).write_bytes(b"x")
    with pytest.raises(InputError, match="is there already"):
        desk.undo()
    (folder / desk.pictures[2].name).unlink()
    assert desk.undo() == 2
    assert desk.label_numbers[2] == TO_DO


def test_the_folder_of_a_class_that_a_kill_left_empty_is_removed(folder: Path) -> None:
    (folder / "dog").mkdir()
    (folder / LEFT_OUT).mkdir()
    (folder / "mine").mkdir()
    Desk(folder)
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["mine"]


@pytest.mark.parametrize(("most", "accepted"), [(13, True), (12, False)])
def test_a_folder_holds_so_many_pictures_at_most(
    folder: Path, monkeypatch: pytest.MonkeyPatch, most: int, *, accepted: bool
) -> None:
    monkeypatch.setattr(desk_module, "MOST", most)
    if accepted:
        assert len(Desk(folder).pictures) == 13
    else:
        with pytest.raises(InputError, match="13 pictures; accepted: 1 to 12"):
            Desk(folder)


def test_the_name_of_a_class_has_at_most_200_bytes(folder: Path) -> None:
    assert Desk(folder, ["cat", "ä" * 100]).labels == ("cat", "ä" * 100)
    with pytest.raises(InputError, match="can't be the name of a folder"):
        Desk(folder, ["cat", "ä" * 100 + "x"])


def test_what_is_no_picture_is_named(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG")
    (folder / "link.png").symlink_to(folder / "mine.jpg")
    desk = Desk(folder)
    assert len(desk.pictures) == 13
    assert desk.unreadable.keys() == {"broken.png"}


@pytest.mark.parametrize(
    "labels", [["cat"], ["cat", "cat"], ["cat", "a/b"], ["cat", ".."], ["cat", ".x"], ["cat", ""], ["cat", "a\nb"],
               ["cat", " a"], ["cat", "ä" * 101], ["cat", "__MACOSX"]],
)  # fmt: skip
def test_classes_that_can_not_be_folders_are_refused(labels: list[str], folder: Path) -> None:
    with pytest.raises(InputError):
        Desk(folder, labels)


def test_a_folder_that_can_not_be_labelled_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        Desk(tmp_path / "no")
    with pytest.raises(InputError, match="which classes"):
        Desk(tmp_path)
    with pytest.raises(InputError, match="holds 0 pictures"):
        Desk(tmp_path, ["a", "b"])
    (tmp_path / ABOUT).write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        Desk(tmp_path)


def test_other_classes_may_be_given(folder: Path) -> None:
    """The model's answers that are among them stay."""
    desk = Desk(folder, ["bird", "dog"])
    answers: list[Any] = sorted({picture.answer for picture in desk.pictures}, key=str)
    assert answers == [1, None]


def test_the_nearest_picture_is_the_one_with_the_smallest_squared_distance() -> None:
    small = np.array([[0.0, 0.0], [0.0, 14.0], [8.0, 8.0], [7.0, 8.0]])
    assert order(small, [None] * 4)[0] == [0, 3, 2, 1]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights")
def test_the_folder_itself_may_be_named_by_a_link(folder: Path, tmp_path_factory: Any) -> None:
    link = tmp_path_factory.mktemp("links") / "pictures"
    link.symlink_to(folder)
    desk = Desk(link)
    desk.label(0, 0)
    assert desk.undo() == 0
    assert desk.done == 0


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights")
@pytest.mark.parametrize("name", ["dog", LEFT_OUT])
def test_pictures_are_not_moved_through_a_link(name: str, folder: Path, tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copy(folder / "mine.jpg", elsewhere / "secret.jpg")
    desk = Desk(folder)
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(InputError, match="is a link to another folder"):
        desk.label(0, OUT if name == LEFT_OUT else 1)
    with pytest.raises(InputError, match="is a link to another folder"):
        Desk(folder)
    assert [path.name for path in elsewhere.iterdir()] == ["secret.jpg"]
    (folder / name).unlink()
    (folder / name).mkdir()
    (folder / name / desk.pictures[0].name).symlink_to(elsewhere / "nothing")
    with pytest.raises(InputError, match="is there already"):
        desk.label(0, OUT if name == LEFT_OUT else 1)


class Counted(str):
    """A text that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)


def test_of_many_classes_each_is_not_compared_with_all(folder: Path) -> None:
    (folder / ABOUT).write_text(json.dumps({"labels": [*map(str, range(300))], "model": "m"}))
    Desk(folder, [Counted(n) for n in range(300)])
    assert Counted.compared < 10 * 300


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Recordings that a board has kept, of two words in turn, and what is none."""
    for n in range(6):
        samples = tone(np.random.default_rng(n), n % 2, 32000)
        (tmp_path / f"20261128T12000000{n}Z-{n % 2:03d}-0600-{n:08x}.wav").write_bytes(wav_bytes(samples, RATE))
    (tmp_path / "cut <b>off.wav").write_bytes(wav_bytes(samples, RATE)[:-5000])
    (tmp_path / "script.wav").write_bytes(b"<script>alert(1)</script>")
    (tmp_path / ABOUT).write_text('{"labels": ["go", "stop"], "model": "m"}')
    return tmp_path


def test_recordings_are_labelled_as_pictures_are(sounds: Path) -> None:
    desk = Desk(sounds)
    assert desk.what == "recording"
    assert [picture.answer for picture in desk.pictures] == [0] * 3 + [1] * 3
    assert (desk.pictures[0].probability, desk.pictures[0].time) == (0.6, "2026-11-28 12:00")
    assert "is cut off" in desk.unreadable["cut <b>off.wav"]
    assert "no WAV file" in desk.unreadable["script.wav"]
    for row in range(6):
        desk.label(row, row // 3)
    data = open_data(sounds, purpose="evaluation")
    assert data.labels == ("go", "stop")
    assert len(data.train) + len(data.val) + len(data.test) == 6, "what can't be read lies beside the classes"
    Image.new("L", (8, 8)).save(sounds / "a.png")
    with pytest.raises(InputError, match="holds pictures and recordings"):
        Desk(sounds)


@pytest.mark.parametrize("count", [1, 300, RATE, 40 * RATE])
def test_a_spectrogram_is_dark_where_and_when_a_tone_is(count: int) -> None:
    hertz = float(np.random.default_rng(count).uniform(1000, 7000))
    samples = 8000 * np.sin(2 * np.pi * hertz * np.arange(count) / RATE)
    samples[: count // 2] *= 0
    image = spectrogram(samples.astype(np.int16))
    assert (image.shape, image.dtype) == ((BLOCK // 4, COLUMNS, 1), np.uint8)
    if count >= RATE:
        assert (image[:, : COLUMNS // 3] == 255).all()
        rows = np.argmin(image[:, -COLUMNS // 3 : -4, 0], axis=0)
        assert np.abs((BLOCK // 4 - 0.5 - rows) * 2 * RATE / BLOCK - hertz).max() <= 2 * RATE / BLOCK
