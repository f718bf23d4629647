"""Folders of images: which layouts are taken, what is left out, and that memory does not grow."""

from __future__ import annotations

import errno
import os
import pickle
import re
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgepress.runtime.image import load_image
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.readers import folder as folder_module
from edgepress.toolkit.data.types import SHOWN, UNDECODED, UNSORTED, notes_of_skipped
from edgepress.toolkit.errors import DataError

SIGNS = Path(__file__).parents[2] / "../shared/real/data/sign_digits/Dataset"


def image(path: Path, seed: int, size: tuple[int, int] = (30, 30), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def classes(root: Path, *, count: int = 10, first: int = 0, names: tuple[str, ...] = ("cat", "dog")) -> Path:
    for c, name in enumerate(names):
        for i in range(count):
            image(root / name / f"{i}.png", first + c * count + i)
    return root


def files(split) -> set[str]:  # type: ignore[no-untyped-def]
    return {split.name(row) for row in range(len(split))}


def test_class_folders(tmp_path: Path) -> None:
    data = open_data(classes(tmp_path))
    assert data.labels == ("cat", "dog")
    assert data.input == InputSpec.image(30, 30, "rgb")
    assert data.record.counts == {"train": 14, "val": 2, "test": 4}
    for row in range(len(data.train)):
        name = data.train.name(row)
        assert data.labels[data.train.y[row]] == name.split("/")[0]
        assert np.array_equal(data.train.read([row])[0], load_image(tmp_path / name, data.input))


def test_names_and_places_of_files_do_not_move_them_between_splits(tmp_path: Path) -> None:
    before = open_data(classes(tmp_path / "a"))
    shutil.move(tmp_path / "a", tmp_path / "b")
    for i, path in enumerate(sorted((tmp_path / "b").rglob("*.png"))):
        path.rename(path.parent / f"renamed-{99 - i}.png")
    after = open_data(tmp_path / "b")
    assert after.sha256 == before.sha256
    assert np.array_equal(after.test.read(slice(None)), before.test.read(slice(None)))


def test_given_parts(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    classes(tmp_path / "test", count=3, first=100)
    data = open_data(tmp_path)
    assert data.record.counts == {"train": 18, "val": 2, "test": 6}
    assert files(data.test) == {f"test/{c}/{i}.png" for c in ("cat", "dog") for i in range(3)}
    classes(tmp_path / "valid", count=2, first=200)
    assert open_data(tmp_path).record.counts == {"train": 20, "val": 4, "test": 6}


def test_copy_of_a_test_image_is_not_trained_on(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    classes(tmp_path / "test", count=3, first=100)
    shutil.copy(tmp_path / "test/cat/1.png", tmp_path / "train/cat/copy.png")
    data = open_data(tmp_path)
    assert "train/cat/copy.png" not in files(data.train) | files(data.val)
    assert [name for name, _ in data.skipped] == ["train/cat/copy.png"]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert open_data(classes(tmp_path, names=("train", "bus"))).labels == ("bus", "train")


def test_parts_without_train_or_without_classes(tmp_path: Path) -> None:
    classes(tmp_path / "a/test")
    with pytest.raises(DataError, match=r"test/.*train/"):
        open_data(tmp_path / "a")
    classes(tmp_path / "b/train")
    image(tmp_path / "b/test/1.png", 999)
    with pytest.raises(DataError, match=r"1 image but no class folders"):
        open_data(tmp_path / "b")
    classes(tmp_path / "c/train")
    classes(tmp_path / "c/test", first=50, names=("cat", "cow"))
    with pytest.raises(DataError, match=r"class 'cow' .*0 in train"):
        open_data(tmp_path / "c")


def test_what_is_no_image_is_ignored(tmp_path: Path) -> None:
    data = open_data(classes(tmp_path))
    (tmp_path / "cat/notes.txt").write_text("x")
    (tmp_path / "cat/._0.png").write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / "__MACOSX/cat").mkdir(parents=True)
    (tmp_path / "cat/.thumbnails").mkdir()
    (tmp_path / "cat/.thumbnails/0.png").write_text("x")
    (tmp_path / "cat/loop").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "README.md").write_text("x")
    assert open_data(tmp_path).sha256 == data.sha256


def test_images_deeper_in_a_class_folder_and_upper_case_suffixes(tmp_path: Path) -> None:
    classes(tmp_path)
    (tmp_path / "cat/more").mkdir()
    (tmp_path / "cat/0.png").rename(tmp_path / "cat/more/0.PNG")
    assert sum(open_data(tmp_path).record.counts.values()) == 20


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([(40, 50)] * 4, (40, 50)), ([(40, 50)] * 3 + [(3, 9)], (40, 50)), ([(300, 300)] * 4, (96, 96)),
     ([(40, 50), (41, 50), (42, 50), (43, 50)], (96, 96))],
    ids=["all-alike", "most", "too-large", "mixed"],
)  # fmt: skip
def test_natural_size(tmp_path: Path, sizes: list[tuple[int, int]], expected: tuple[int, int]) -> None:
    for name in ("a", "b"):
        for i, size in enumerate(sizes):
            image(tmp_path / name / f"{i}.png", 100 * ord(name) + i, size)
    assert open_data(tmp_path).input.shape == (*expected, 3)


def test_natural_colour(tmp_path: Path) -> None:
    for i in range(4):
        image(tmp_path / "a" / f"{i}.png", i, mode="L")
        image(tmp_path / "b" / f"{i}.png", 10 + i, mode="L")
    assert open_data(tmp_path, size=32).input == InputSpec.image(32, 32, "grey")
    assert open_data(tmp_path, size=32, color="rgb").input == InputSpec.image(32, 32, "rgb")
    image(tmp_path / "b/5.png", 50, mode="RGB")
    assert open_data(tmp_path).input.color == "rgb"


def test_unreadable_image_is_named_or_listed(tmp_path: Path) -> None:
    whole = classes(tmp_path) / "dog/3.png"
    whole.write_bytes(whole.read_bytes()[:-500])
    (tmp_path / "cat/empty.jpg").touch()
    with pytest.raises(DataError, match=r"cat/empty\.jpg.*--skip-unreadable"):
        open_data(tmp_path)
    data = open_data(tmp_path, skip_unreadable=True)
    assert {name for name, _ in data.skipped} == {"dog/3.png", "cat/empty.jpg"}
    assert all(reason for _, reason in data.skipped)
    assert sum(data.record.counts.values()) == 19


def test_folders_that_can_not_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="class folders"):
        open_data(tmp_path)
    image(tmp_path / "1.png", 1)
    with pytest.raises(DataError, match=r"1 image but no class folders"):
        open_data(tmp_path)
    classes(tmp_path, names=("cat",))
    with pytest.raises(DataError, match="one class: cat"):
        open_data(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError, match=r"dog has no images\."):
        open_data(tmp_path)
    for name in ("1.wav", "2.WAV", "a.heic"):
        (tmp_path / "dog" / name).touch()
    with pytest.raises(DataError, match=r"dog has no images, but 2 \.wav files, 1 \.heic file\.") as caught:
        open_data(tmp_path)
    assert "Sounds become WAV or FLAC files" in caught.value.hint
    for name in ("1.wav", "2.WAV"):
        (tmp_path / "dog" / name).unlink()
    with pytest.raises(DataError, match=r"1 \.heic file\..*Save them as JPEG or PNG\."):
        open_data(tmp_path)
    (tmp_path / "dog/a.heic").rename(tmp_path / "dog/a")
    with pytest.raises(DataError, match=r"no images, but 1 file without a suffix\."):
        open_data(tmp_path)
    image(tmp_path / "dog/1.png", 77)
    with pytest.raises(DataError, match="class 'dog'"):
        open_data(tmp_path)


def test_pictures_that_are_not_decoded_are_listed(tmp_path: Path) -> None:
    before = open_data(classes(tmp_path))
    for name in ("1.HEIC", "2.heic", "notes.txt", ".hidden.heic"):
        (tmp_path / "cat" / name).touch()
    data = open_data(tmp_path)
    assert data.skipped == (("2 .heic files", UNDECODED),)
    assert data.sha256 == before.sha256


def test_a_file_of_another_kind_is_told_what_to_become(tmp_path: Path) -> None:
    (tmp_path / "words.wav").touch()
    with pytest.raises(DataError, match=r"words\.wav is not a data set") as caught:
        open_data(tmp_path / "words.wav")
    section = re.search(r'docs/data\.md, "([^"]+)"', caught.value.hint)
    assert section
    assert f"## {section[1]}\n" in (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")


def test_images_beside_class_folders_are_said_to_be_left_out(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    assert open_data(tmp_path).skipped == ()
    image(tmp_path / "train/1.png", 999)
    image(tmp_path / "train/2.png", 998)
    (tmp_path / "train/labels.csv").touch()
    assert open_data(tmp_path).skipped == ((f"2 images in {tmp_path / 'train'}", UNSORTED),)


def test_of_many_items_left_out_the_first_are_named() -> None:
    skipped = [(f"{i}.png", "it is damaged") for i in range(SHOWN + 3)]
    assert notes_of_skipped(skipped[:1]) == ["Left out: 0.png (it is damaged)"]
    assert len(notes_of_skipped(skipped[:SHOWN])) == SHOWN
    assert notes_of_skipped(skipped)[SHOWN - 1 :] == ["Left out: 19.png (it is damaged)", "Left out: 3 more."]


@pytest.mark.parametrize("name", ["photos.zip", "PHOTOS.ZIP"])
def test_an_archive_is_told_to_be_unpacked(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(DataError, match="Unpack the archive"):
        open_data(tmp_path / name)


def test_image_that_is_gone_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "CACHE_BYTES", 0)
    data = open_data(classes(tmp_path))
    (tmp_path / data.test.name(1)).unlink()
    with pytest.raises(DataError, match="does not exist"):
        data.test.read(slice(None))


def test_cache_changes_nothing_but_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes(tmp_path)
    read = []
    for room in (0, 5 * 30 * 30 * 3, 1 << 20):
        monkeypatch.setattr(folder_module, "CACHE_BYTES", room)
        train = open_data(tmp_path).train
        rows = np.array([3, 1, 3, 0, 13, 7])
        read += [train.read(rows), train.read(rows), pickle.loads(pickle.dumps(train)).read(rows)]
    assert all(np.array_equal(read[0], other) for other in read)


def test_a_pickled_split_takes_only_its_own_files_along(tmp_path: Path) -> None:
    data = open_data(classes(tmp_path))
    again = pickle.loads(pickle.dumps(data.test))
    assert files(again) == files(data.test)
    assert len(again.source) == len(data.test)


def peak_of_reading(root: Path) -> int:
    """Bytes that are held at most while a folder is opened and all its images are read."""
    tracemalloc.start()
    data = open_data(root, size=64)
    for split in (data.train, data.val, data.test):
        for _ in split.batches(32):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held for an image, beyond the fixed cache, is its name and hash: not its pixels."""
    monkeypatch.setattr(folder_module, "CACHE_BYTES", 64 * 64 * 3 * 20)
    peaks = {}
    for count in (100, 600):
        root = tmp_path / str(count)
        for i in range(count):
            path = root / "ab"[i % 2] / f"{i}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (i % 256, i // 256, 0)).save(path)
        peaks[count] = min(peak_of_reading(root) for _ in range(2))  # in one, Python's table of names may grow
    per_image = (peaks[600] - peaks[100]) / 500
    assert per_image < 64 * 64 * 3 / 5


@pytest.mark.slow
@pytest.mark.skipif(not SIGNS.exists(), reason="the sign digits are not here")
def test_real_photos() -> None:
    data = open_data(SIGNS, size=64)
    assert data.labels == tuple("0123456789")
    assert data.record.counts == {"train": 1442, "val": 207, "test": 413}
    assert data.test.read(slice(0, 50)).std() > 20


def test_a_folder_that_can_not_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes(tmp_path)
    image(tmp_path / "cat" / "more" / "1.png", 99)
    scan = os.scandir

    def refuse(path: str) -> Any:
        if os.path.basename(path) == "more":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"more can't be read: Permission denied"):
        open_data(tmp_path)


def test_an_image_file_without_end_is_not_hashed(tmp_path: Path) -> None:
    os.truncate(classes(tmp_path) / "cat" / "0.png", folder_module.MOST_FILE_BYTES + 1)
    for purpose in ("training", "evaluation"):
        with pytest.raises(DataError, match=r"0\.png can't be read: it has 1073741825 bytes"):
            open_data(tmp_path, input=InputSpec.image(8, 8, "rgb"), purpose=purpose)
    assert len(open_data(tmp_path, skip_unreadable=True).skipped) == 1


def test_folders_nested_too_deeply_are_refused(tmp_path: Path) -> None:
    classes(tmp_path)
    (tmp_path / "cat").joinpath(*"d" * folder_module.DEEPEST).mkdir(parents=True)
    assert open_data(tmp_path).labels == ("cat", "dog")
    (tmp_path / "cat").joinpath(*"d" * (folder_module.DEEPEST + 1)).mkdir()
    with pytest.raises(DataError, match="more than 64 levels of folders"):
        open_data(tmp_path)
