"""Groups that are seen in names of files: found where names repeat in all classes, and not in names of other kinds."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from random import Random

import numpy as np
import pytest

from edgepress.toolkit.data.group_names import SEEN, detect, groups_by_pattern

Named = Callable[[Random, int, int], str]
"""The name of an item, of a random generator, its class and its number in it."""
CLASSES = 6
ITEMS = 60


def found(name: Named, *, classes: int = CLASSES, items: int = ITEMS, seed: int = 0) -> str | None:
    random = Random(seed)
    rows = [(c, i) for c in range(classes) for i in range(items)]
    return detect([name(random, c, i) for c, i in rows], np.array([c for c, _ in rows]), classes=classes)


OF_GROUPS: dict[str, tuple[Named, str]] = {
    "speaker": (lambda r, c, i: f"speaker{i % 12}_{i:03d}.png", "speaker3"),
    "hash of a speaker": (lambda r, c, i: f"{uuid.UUID(int=i % 15).hex[-8:]}3a_nohash_{i // 15}.jpg", "000000033a"),
    "number of a video": (lambda r, c, i: f"img_{i % 10:04d}_frame{i}.jpg", "0003"),
    "class, speaker, take": (lambda r, c, i: f"{c}_s{i % 8}_{i}.png", "s3"),
    "folder": (lambda r, c, i: f"subject{i % 9}/{i}.png", "subject3"),
    "no separator": (lambda r, c, i: f"obj{i % 9}view{i}.png".replace("view", "v" * 3), "obj3vvv"),
    "folder with other words": (lambda r, c, i: f"p{i % 7}/IMG_{r.randrange(10_000):04d}.jpg", "p3"),
    "patient and patch": (lambda r, c, i: f"88{i % 11}_idx5_x{r.randrange(50)}_y{r.randrange(50)}.png", "883"),
}


@pytest.mark.parametrize("kind", OF_GROUPS)
def test_groups_of_names_are_found(kind: str) -> None:
    name, third = OF_GROUPS[kind]
    rule = found(name)
    assert rule in SEEN
    assert groups_by_pattern(rule, [name(Random(0), 1, 3)]) == [third]


WITHOUT: dict[str, Named] = {
    "class and number": lambda r, c, i: f"{['cardboard', 'glass', 'metal', 'paper', 'plastic', 'trash'][c]}{i}.jpg",
    "class, number with separator": lambda r, c, i: f"{c}_{i:04d}.png",
    "number and class": lambda r, c, i: f"{i:04d}_{c}.png",
    "number of all and class": lambda r, c, i: f"{c * ITEMS + i:05d}_{c}.png",
    "camera": lambda r, c, i: f"IMG_{r.randrange(4000, 6000)}.JPG",
    "cameras": lambda r, c, i: f"{r.choice(['IMG', 'DSC', 'DSCN', 'PICT', 'P', 'GOPR'])}_{r.randrange(9999):04d}.JPG",
    "camera with folders": lambda r, c, i: f"{100 + r.randrange(8)}_{r.randrange(10_000):04d}.JPG",
    "dates": lambda r, c, i: f"IMG_202405{1 + i % 9:02d}_{r.randrange(240000):06d}.jpg",
    "dates with separators": lambda r, c, i: f"2024-05-{1 + i % 9:02d} 10.15.{r.randrange(60)}.jpg",
    "dates, day first": lambda r, c, i: f"Photo {1 + i % 9}-05-2024 {r.randrange(1000)}.jpg",
    "messenger": lambda r, c, i: f"IMG-202405{1 + i % 9:02d}-WA{r.randrange(10_000):04d}.jpg",
    "hash": lambda r, c, i: f"{r.getrandbits(128):032x}.png",
    "UUID": lambda r, c, i: f"{uuid.UUID(int=r.getrandbits(128), version=4)}.png",
    "photo service": lambda r, c, i: f"{r.randrange(10**10)}_{r.getrandbits(40):010x}_n.jpg",
    "number": lambda r, c, i: f"{i}.png",
    "frames of one video": lambda r, c, i: f"frame{i:05d}.png",
    "frames, separated": lambda r, c, i: f"frame_{i:05d}.png",
    "copies of a browser": lambda r, c, i: f"images ({i}).jpg",
    "split": lambda r, c, i: f"{r.choice(['train', 'test', 'val'])}_{i}.png",
    "parts of a set": lambda r, c, i: f"batch{i % 6}_{i}.png",
    "folds": lambda r, c, i: f"fold{i % 10}/{i}.png",
    "augmentation": lambda r, c, i: f"{r.choice(['rot90', 'rot180', 'flip1', 'blur3', 'crop2', 'noise5'])}_{i}.png",
    "augmentation behind": lambda r, c, i: f"{i:04d}_rot{90 * (i % 4)}.png",
    "kinds of pictures": lambda r, c, i: f"{r.choice(['day', 'night', 'rain', 'fog', 'snow', 'dusk'])}_{i}.png",
    "folders of kinds": lambda r, c, i: f"{r.choice(['indoor', 'outdoor', 'studio', 'street', 'car'])}/{i}.png",
    "objects of one class": lambda r, c, i: f"object{c * 10 + i % 10}_{i}.png",
    "few groups": lambda r, c, i: f"cam{i % 4}_{i}.png",
    "image set": lambda r, c, i: f"n0144{c}764_{r.randrange(100_000)}.JPEG",
    "one is most": lambda r, c, i: f"s{0 if i < 40 else i % 9}_{i}.png",
    "synthetic": lambda r, c, i: f"{i}_{r.randrange(1000)}.png",
    "letters": lambda r, c, i: "".join(r.choice("abcdef-_0123") for _ in range(11)) + ".png",
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", WITHOUT)
def test_names_of_other_kinds_are_no_groups(kind: str, seed: int) -> None:
    assert found(WITHOUT[kind], seed=seed) is None


@pytest.mark.parametrize(("classes", "items"), [(2, 9), (2, 400), (10, 300), (40, 25)])
def test_random_and_counted_names_are_no_groups_in_data_of_any_size(classes: int, items: int) -> None:
    for kind in ("hash", "UUID", "number and class", "class, number with separator", "camera", "photo service"):
        assert found(WITHOUT[kind], classes=classes, items=items) is None, kind


def test_long_names_take_no_time() -> None:
    for pattern in SEEN:
        for name in ("1" * 255, "a1" * 127, "_" * 255, "a_" * 127, "a/" * 5000, "-1" * 100 + ".png", "1" * 250 + ".p"):
            groups_by_pattern(pattern, [name] * 20)


def test_one_class_or_few_items_have_no_groups() -> None:
    name, _ = OF_GROUPS["speaker"]
    assert found(name, classes=1) is None
    assert found(name, classes=2, items=5) is None
