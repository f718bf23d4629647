"""`--keep` on a board: scenes once, classes balanced, old and new alike, and never more than the quota."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgepress.runtime import keeping
from edgepress.runtime.errors import InputError
from edgepress.runtime.image import load_image
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.keeping import ABOUT, LOCK, MOST_BYTES, NAME, UNFINISHED, Keeper, encode

SPEC = InputSpec.image(16, 16, "grey")
LABELS = ("a", "b", "c")


def keeper(folder: Path, quota: int = 10, **more: Any) -> Keeper:
    more = {"labels": LABELS, "seed": 0, "prepare": lambda path: load_image(path, SPEC)} | more
    return Keeper(folder, quota, model="m.tflite", **more)


def scene(seed: int) -> Any:
    """An image that is like no other one."""
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8)).astype(np.uint8)
    return blocks.repeat(2, axis=0).repeat(2, axis=1)[:, :, np.newaxis]


def show(it: Keeper, seed: int, number: int = 0) -> None:
    item = scene(seed)
    it.look(item, item, np.eye(3, dtype=np.float32)[number] * 0.75 + 0.1)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if NAME.fullmatch(p.name))


def numbers(folder: Path) -> Counter[int]:
    return Counter(int(found[1]) for name in names(folder) if (found := NAME.fullmatch(name)))


def test_a_name_says_what_the_model_answered(tmp_path: Path) -> None:
    show(keeper(tmp_path), 1, number=2)
    (name,) = names(tmp_path)
    assert "Z-002-0850-" in name
    assert json.loads((tmp_path / ABOUT).read_text()) == {"labels": [*LABELS], "model": "m.tflite"}
    assert (load_image(tmp_path / name, SPEC) == scene(1)).all()


def test_a_scene_is_kept_once_even_if_it_comes_back(tmp_path: Path) -> None:
    it = keeper(tmp_path)
    for seed in (1, 1, 2, 1, 2, 1):
        show(it, seed)
    assert len(names(tmp_path)) == 2
    it._lock.close()
    again = keeper(tmp_path)
    show(again, 1)
    assert len(names(tmp_path)) == 2


def test_classes_are_balanced_and_others_files_stay(tmp_path: Path) -> None:
    (tmp_path / "mine.jpg").write_bytes(b"x")
    it = keeper(tmp_path, 9)
    for seed in range(300):
        show(it, seed, number=0 if seed % 10 else 1 + seed % 20 // 10)
    assert numbers(tmp_path) == {0: 3, 1: 3, 2: 3}
    assert (tmp_path / "mine.jpg").exists()


@pytest.mark.slow
def test_old_and_new_pictures_have_the_same_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the process is killed in between: the middle half is kept as often as the rest."""
    monkeypatch.setattr(keeping, "encode", lambda image, item: (".png", b""))
    monkeypatch.setattr(keeping, "write_whole", lambda path, data: path.write_bytes(data))
    monkeypatch.setattr(keeping, "other_scene", lambda small, last: np.ones(np.shape(small)[:-1], bool))
    drawn = []
    for seed in range(60):
        folder = tmp_path / str(seed)
        blank = {"prepare": lambda path: scene(0)}
        it, seen = keeper(folder, 8, seed=seed, **blank), dict[str, int]()
        for number in range(80):
            before = {kept.name for kept in it._kept}
            show(it, number, number % 2)
            seen |= {kept.name: number for kept in it._kept if kept.name not in before}
            if number == 40:
                it._lock.close()
                it = keeper(folder, 8, seed=1000 + seed, **blank)
        drawn += [seen[kept.name] for kept in it._kept]
    counts = np.histogram(drawn, bins=4, range=(0, 80))[0]
    assert counts.sum() == 480
    assert ((counts > 120 - 40) & (counts < 120 + 40)).all()


def test_there_are_never_more_files_than_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, most = keeping.os.replace, list[int]()

    def counted(source: Any, target: Any) -> None:
        most.append(len(names(tmp_path)) + (tmp_path / UNFINISHED).exists() * (Path(target).name != ABOUT))
        replace(source, target)

    monkeypatch.setattr(keeping.os, "replace", counted)
    it = keeper(tmp_path, 5)
    for seed in range(60):
        show(it, seed, seed % 3)
    assert max(most) == 5


def test_a_smaller_quota_counts_and_damaged_pictures_leave(tmp_path: Path) -> None:
    it = keeper(tmp_path, 9)
    for seed in range(30):
        show(it, seed, seed % 3)
    it._lock.close()
    damaged = names(tmp_path)[0]
    (tmp_path / damaged).write_bytes(b"")
    (tmp_path / UNFINISHED).write_bytes(b"half")
    keeper(tmp_path, 6)
    assert numbers(tmp_path) == {0: 2, 1: 2, 2: 2}
    assert damaged not in names(tmp_path)
    assert not (tmp_path / UNFINISHED).exists()


def test_a_full_disk_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = list[str]()
    it = keeper(tmp_path, 2, on_trouble=told.append)
    show(it, 0)
    show(it, 1)
    before = names(tmp_path)
    monkeypatch.setattr(keeping.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    for seed in range(2, 20):
        show(it, seed)
    assert names(tmp_path) == before
    assert len(told) == 1
    assert "the disk is full" in told[0]


def test_a_picture_that_can_not_be_stored_does_not_use_up_the_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[str]()
    it = keeper(tmp_path, on_trouble=told.append)
    for seed in range(3):
        it.look(tmp_path / "none.png", scene(seed), np.array([1, 0, 0], np.float32))
    assert len(told) == 1
    assert "A picture can't be kept" in told[0]
    monkeypatch.setattr(keeping.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    for seed in range(3, 6):
        show(it, seed)
    assert len(told) == 2
    assert "the disk is full" in told[1]


def test_a_folder_that_is_moved_or_replaced_is_not_made_anew(tmp_path: Path) -> None:
    """Another process, with other labels, may have made one of its name, or it was a disk that is gone."""
    told, folder = list[str](), tmp_path / "kept"
    it = keeper(folder, on_trouble=told.append)
    show(it, 0)
    folder.rename(tmp_path / "moved")
    show(it, 1)
    assert not folder.exists()
    assert "was moved or removed" in told[0]
    other = keeper(folder, labels=("x", "y"))
    show(it, 2)
    assert names(folder) == []
    other._lock.close()
    shutil.rmtree(folder)
    (tmp_path / "moved").rename(folder)
    show(it, 3)
    assert len(names(folder)) == 2
    assert len(told) == 1


@pytest.mark.parametrize(("probability", "said"), [(12.3, "1000"), (-1.0, "0000"), (np.nan, "0000"), (np.inf, "0000")])
def test_any_probability_makes_a_name(probability: float, said: str, tmp_path: Path) -> None:
    """A file of others may answer anything."""
    item = scene(0)
    keeper(tmp_path).look(item, item, np.full(3, probability, np.float32))
    (name,) = names(tmp_path)
    assert f"-000-{said}-" in name


def test_two_processes_or_two_models_do_not_share_a_folder(tmp_path: Path) -> None:
    it = keeper(tmp_path)
    with pytest.raises(InputError, match="Another process"):
        keeper(tmp_path)
    it._lock.close()
    with pytest.raises(InputError, match="other labels"):
        keeper(tmp_path, labels=("x", "y"))
    (tmp_path / ABOUT).write_bytes(b"[" * 100_000)
    with pytest.raises(InputError, match="damaged"):
        keeper(tmp_path)


@pytest.mark.parametrize("quota", [0, -1, 10_001])
def test_a_quota_out_of_range_is_refused(quota: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="accepted: 1 to 10000"):
        keeper(tmp_path / "new", quota)
    assert not (tmp_path / "new").exists()


def test_a_large_picture_is_stored_small_and_without_its_place(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3000, 2000, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    exif[0x010E] = "where it was taken"
    Image.fromarray(noise).save(tmp_path / "a.jpg", exif=exif)
    item = load_image(tmp_path / "a.jpg", InputSpec.image(16, 16, "rgb"))
    for image in (tmp_path / "a.jpg", (tmp_path / "a.jpg").read_bytes(), noise):
        suffix, data = encode(image, item)
        assert suffix == ".jpg"
        assert len(data) <= MOST_BYTES
        assert b"where" not in data
    (tmp_path / "b.jpg").write_bytes(encode(tmp_path / "a.jpg", item)[1])
    with Image.open(tmp_path / "b.jpg") as picture:
        assert picture.width > picture.height


@pytest.mark.parametrize("name", ["a.npy", "a.NPY"])
def test_of_an_array_the_item_is_stored(name: str, tmp_path: Path) -> None:
    item = scene(3)
    suffix, data = encode(tmp_path / name, item)
    (tmp_path / f"a{suffix}").write_bytes(data)
    assert (load_image(tmp_path / f"a{suffix}", SPEC) == item).all()
    assert encode(b"\x93NUMPY...", item) == (suffix, data)


def test_a_description_without_end_is_not_read(tmp_path: Path) -> None:
    (tmp_path / ABOUT).touch()
    os.truncate(tmp_path / ABOUT, keeping.MOST_ABOUT + 1)  # zeros that take no room on the disk
    with pytest.raises(InputError, match="it has 4194305 bytes"):
        keeper(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes and links")
def test_links_and_pipes_are_neither_followed_nor_waited_for_nor_removed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    show(keeper(kept), 1)
    (name,) = names(kept)
    (kept / name).unlink()
    os.mkfifo(kept / name)
    (kept / name.replace(".png", ".jpg")).mkdir()
    show(keeper(kept), 2)
    assert (kept / name).is_fifo()
    assert len(names(kept)) == 3
    (kept / LOCK).unlink()
    (kept / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="Pictures can't be kept"):
        keeper(kept)
    assert not (tmp_path / "elsewhere").exists()
    for other in (LOCK, ABOUT):
        (kept / other).unlink()
        os.mkfifo(kept / other)
        with pytest.raises(InputError, match="Pictures can't be kept"):
            keeper(kept)
        (kept / other).unlink()
