"""The pictures or recordings of a folder, in an order to label them, and where each is: its folder is its label.

A label is given by one rename, so that nothing is half-done at any moment, and each label is kept if the process is
killed. Like pictures follow each other: by the model's answer, and then each by the one whose thumbnail is nearest,
of a recording that of its spectrogram.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.image import IMAGE_SUFFIXES, load_image
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.keeping import ABOUT, NAME, RECORDING_NAME
from edgepress.runtime.scenes import other_scene, thumbnail
from edgepress.toolkit.data.collected import read_about
from edgepress.toolkit.data.decoding import in_threads
from edgepress.toolkit.data.sound_files import is_recording
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.improvement.labelling.recordings import read_recording, spectrogram

LEFT_OUT = ".left-out"
"""Folder of pictures of no class; data sets ignore it."""
TO_DO = -2
OUT = -1
"""What stands in the place of the number of a label: not labelled yet, and left out."""
MOST = 10_000
"""Most pictures of a folder."""
SMALL = InputSpec.image(32, 32, "rgb")
"""What thumbnails are made of."""
MOST_NAME = 200
"""Most bytes of the name of a class."""


@dataclass(frozen=True)
class UnlabelledPicture:
    """A picture or recording to label.

    Attributes:
        name: Name of its file.
        group: Number of its group of like pictures.
        answer: What the model answered, an index into the labels; None if it is not known.
        probability: Of this answer, 0-1.
        time: When it was kept, such as "2026-11-28 19:52"; "" if it is not known.
    """

    name: str
    group: int
    answer: int | None
    probability: float | None
    time: str


class Desk:
    """A folder of pictures, or of recordings.

    Args:
        folder: The folder.
        labels: The classes; None takes those of the model that has kept the pictures.

    Attributes:
        folder: The folder.
        what: "picture" or "recording".
        labels: The classes, at least two.
        pictures: All of these, labelled ones included, in the order in which they are shown.
        label_numbers: The label of each: an index into `labels`, `TO_DO` or `OUT`.
        unreadable: Files that can't be decoded, with the reason.

    Raises:
        InputError: There are none, too many, both kinds, no classes, or a class can't be the name of a folder, or its
            folder is a link.
        DataError: What the model says of its labels can't be read.
    """

    def __init__(self, folder: Path, labels: Sequence[str] | None = None) -> None:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder.", "Give a folder of pictures, such as that of board collect.")
        self.folder = folder
        self._undo = list[tuple[int, int]]()
        known = read_about(folder).labels if (folder / ABOUT).exists() else None
        if labels is None and known is None:
            hint = "Name the classes: --labels cat,dog."
            raise InputError(f"{folder} does not say which classes there are ({ABOUT} is missing).", hint)
        self.labels = tuple(labels if labels is not None else known or ())
        _require_folders(self.labels)
        for number in (OUT, *range(len(self.labels))):
            _refuse_link(self._folder_of(number))
        for number in (OUT, *range(len(self.labels))):  # such as that of a move during which the process was killed
            self._remove_if_empty(self._folder_of(number))
        places = self._places()
        if not 0 < len(places) <= MOST:
            raise InputError(
                f"{folder} holds {len(places)} pictures; accepted: 1 to {MOST}, or as many recordings.",
                "Give a folder of pictures or recordings.",
            )
        kinds = {is_recording(name) for name, _ in places}
        if len(kinds) > 1:
            raise InputError(f"{folder} holds pictures and recordings.", "Label them in two folders.")
        self.what = "recording" if kinds.pop() else "picture"
        numbers = {label: number for number, label in enumerate(self.labels)}
        answers = {n: numbers[label] for n, label in enumerate(known or ()) if label in numbers}
        self.unreadable: dict[str, str] = {}
        self.pictures, self.label_numbers = self._in_order(places, answers)
        if not self.pictures:
            raise InputError(f"No {self.what} in {folder} can be decoded.", next(iter(self.unreadable.values())))

    def path(self, row: int) -> Path:
        """Where a picture is now."""
        return self._folder_of(self.label_numbers[row]) / self.pictures[row].name

    def label(self, row: int, number: int) -> None:
        """Give a picture a label, `OUT` or `TO_DO`.

        Raises:
            InputError: It can't be moved.
        """
        before = self.label_numbers[row]
        if before != number:
            self._move(row, number)
            self._undo.append((row, before))

    def undo(self) -> int | None:
        """Take the last step back; the row of its picture, None if there is none."""
        if not self._undo:
            return None
        row, before = self._undo[-1]
        self._move(row, before)
        self._undo.pop()  # only now, so that a step that can't be taken back yet is not lost
        return row

    @property
    def done(self) -> int:
        """Number of pictures that are labelled or left out."""
        return sum(number != TO_DO for number in self.label_numbers)

    def _move(self, row: int, number: int) -> None:
        path = self.path(row)
        name = self.pictures[row].name
        target = self._folder_of(number) / name
        try:
            if number != TO_DO:
                _refuse_link(target.parent)
            if os.path.lexists(target):
                raise InputError(f"{target} is there already.", "Rename one of the two, and reload the page.")
            target.parent.mkdir(exist_ok=True)
            os.rename(path, target)
        except OSError as e:
            self._remove_if_empty(target.parent)
            problem = f"{path} can't be moved to {target.parent}: {e.strerror or e}."
            raise InputError(problem, "Start edgepress label again if files were moved.") from e
        self.label_numbers[row] = number
        self._remove_if_empty(path.parent)

    def _remove_if_empty(self, folder: Path) -> None:
        """Remove the folder of a class without pictures, with which no command opens the data."""
        if folder != self.folder:
            with suppress(OSError):  # others are in it, or it is not there
                folder.rmdir()

    def _folder_of(self, number: int) -> Path:
        return self.folder if number == TO_DO else self.folder / (LEFT_OUT if number == OUT else self.labels[number])

    def _places(self) -> list[tuple[str, int]]:
        """Name and label of each picture, in the order of the names."""
        places = []
        for number in (TO_DO, OUT, *range(len(self.labels))):
            with suppress(FileNotFoundError, NotADirectoryError):
                for entry in os.scandir(self._folder_of(number)):
                    known = os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES or is_recording(entry.name)
                    if known and not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                        places.append((entry.name, number))
        return sorted(places)

    def _in_order(
        self, places: list[tuple[str, int]], answers: dict[int, int]
    ) -> tuple[list[UnlabelledPicture], list[int]]:
        """The pictures in the order in which they are shown, and their labels."""
        readable = []
        small = []
        said = []
        paths = [self._folder_of(number) / name for name, number in places]
        for (name, number), thumbnail_or_error in zip(places, in_threads(_small, paths), strict=True):
            if isinstance(thumbnail_or_error, InputError):
                self.unreadable[name] = thumbnail_or_error.message
                continue
            readable.append((name, number))
            small.append(thumbnail_or_error)
            matched = _kept_name(name)
            said.append(answers.get(int(matched[1])) if matched else None)
        rows, groups = order(np.array(small), said)
        pictures = [_picture(readable[row][0], group, said[row]) for row, group in zip(rows, groups, strict=True)]
        return pictures, [readable[row][1] for row in rows]


def _refuse_link(folder: Path) -> None:
    """Raise InputError if the folder of a class is a link: it may lead to pictures that are not to be moved."""
    if folder.is_symlink():
        raise InputError(f"{folder} is a link to another folder.", "Remove it, or copy its pictures to a folder.")


def order(small: npt.NDArray[Any], said: Sequence[int | None]) -> tuple[list[int], list[int]]:
    """Rows in an order in which like pictures follow each other, and the number of the group of each.

    Args:
        small: Thumbnails, shape (N, parts).
        said: The model's answer to each, None if it is not known.
    """
    rows = list[int]()
    groups = list[int]()
    group = 0
    for answer in sorted({*said}, key=lambda each: (each is None, each)):
        left = [row for row, each in enumerate(said) if each == answer]
        last: int | None = None
        while left:
            # The nearest to the last one; the darkest one begins.
            distance = small[left].mean(axis=1) if last is None else ((small[left] - small[last]) ** 2).sum(axis=1)
            row = left.pop(int(np.argmin(distance)))
            if last is None or other_scene(small[row], small[last]):
                group += 1
            rows.append(row)
            groups.append(group)
            last = row
    return rows, groups


def _small(path: Path) -> npt.NDArray[Any] | InputError:
    try:
        image = spectrogram(read_recording(path)) if is_recording(path.name) else load_image(path, SMALL)
        return thumbnail(image).ravel()
    except InputError as e:
        return e


def _kept_name(name: str) -> re.Match[str] | None:
    """What the name of a file says that a board has kept: number of the class, and thousandths of its probability."""
    return NAME.fullmatch(name) or RECORDING_NAME.fullmatch(name)


def _picture(name: str, group: int, said: int | None) -> UnlabelledPicture:
    matched = _kept_name(name)
    if matched is None:
        return UnlabelledPicture(name, group, None, None, "")
    time = f"{name[:4]}-{name[4:6]}-{name[6:8]} {name[9:11]}:{name[11:13]}"
    return UnlabelledPicture(name, group, said, None if said is None else int(matched[2]) / 1000, time)


def _require_folders(labels: Sequence[str]) -> None:
    """Raise InputError if labels are too few, or can't all be names of folders."""
    if len({*labels}) < max(2, len(labels)):
        raise InputError(f"There are {len(labels)} classes; accepted: two or more, all different.", "Name others.")
    forbidden = '/\\:*?"<>|' if sys.platform == "win32" else "/"
    for label in labels:
        hidden = not label or label.startswith(".") or label == "__MACOSX" or label != label.strip()
        if hidden or not label.isprintable() or {*forbidden} & {*label} or len(label.encode()) > MOST_NAME:
            problem = f"The class {label!r} can't be the name of a folder, in which its pictures would be."
            raise InputError(problem, "Train with another name of this class.")
