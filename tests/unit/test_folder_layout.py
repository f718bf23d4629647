"""Folders of splits that are not named as such: they are not classes, and none is left out."""

from pathlib import Path

import pytest
from test_data_folder import classes

from edgepress.toolkit.data import open_data
from edgepress.toolkit.errors import DataError


@pytest.mark.parametrize(
    ("train", "test"),
    [("Training", "Testing"), ("Train", "Test"), ("TRAIN", "VAL"), ("seg_train", "seg_test"), ("trainset", "testset")],
)
def test_folders_of_splits_are_no_classes(tmp_path: Path, train: str, test: str) -> None:
    classes(tmp_path / train)
    classes(tmp_path / test, first=50)
    with pytest.raises(DataError, match=rf"have the classes .*{train}.* splits: .*cat, dog.*{train} to train"):
        open_data(tmp_path)


def test_folders_of_one_split_get_no_names_that_are_equal(tmp_path: Path) -> None:
    classes(tmp_path / "train_a")
    classes(tmp_path / "train_b", first=50)
    with pytest.raises(DataError, match=r"Name the folders of splits train, val and test\."):
        open_data(tmp_path)


@pytest.mark.parametrize("name", ["Test", "testing", "test_set", "dev", "Validation"])
def test_a_folder_of_a_split_is_not_left_out(tmp_path: Path, name: str) -> None:
    classes(tmp_path / "train")
    classes(tmp_path / name, first=50)
    with pytest.raises(DataError, match=rf"{name}/ beside train/.*Rename {name} to (test|val)\."):
        open_data(tmp_path)


def test_classes_with_such_names_and_other_folders_beside_splits_are_read(tmp_path: Path) -> None:
    classes(tmp_path / "a", names=("Train", "Test"))
    assert open_data(tmp_path / "a").labels == ("Test", "Train"), "there are no folders in them"
    for name in ("test_drive", "training"):
        classes(tmp_path / "b" / name, first=len(name), names=(f"{name} 1", f"{name} 2"))
    assert open_data(tmp_path / "b").labels == ("test_drive", "training"), "they have nothing in common"
    classes(tmp_path / "c/train")
    classes(tmp_path / "c/test", first=50)
    counts = open_data(tmp_path / "c").record.counts
    classes(tmp_path / "c/train_masks", first=90)
    classes(tmp_path / "c/Test", first=150, names=("other",))
    assert open_data(tmp_path / "c").record.counts == counts


@pytest.mark.parametrize("inside", ["train", "."])
def test_a_folder_around_the_data_is_named(tmp_path: Path, inside: str) -> None:
    classes(tmp_path / "photos" / inside)
    classes(tmp_path / "photos" / inside.replace("train", "test"), first=50)
    with pytest.raises(DataError, match=r"one class: photos.*give --data .*photos\."):
        open_data(tmp_path)


def test_a_folder_around_the_classes_in_train_is_named(tmp_path: Path) -> None:
    classes(tmp_path / "train/images")
    classes(tmp_path / "test/images", first=50)
    with pytest.raises(DataError, match=r"one class: images.*\(cat, dog\), move them into train/\."):
        open_data(tmp_path)
