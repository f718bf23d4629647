"""Items that took no part in choosing, labelled or not: on how many of them does a file differ from the baseline?

A file can't lose more items than it answers differently, so new items without labels are evidence. Those that are
answered differently can be labelled: `write_differences` writes them into a folder, which `open_more` reads again. A
label counts up to the first item without one, in the order of the files' names, which is that of a hash of the content:
so what counts was chosen by chance, however the user chose what to label.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.files import whole_file
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.data.remembered import reading_options
from edgepress.toolkit.data.types import SPLITS, DataSet, Split, notes_of_skipped
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.stats.choice import Evidence
from edgepress.toolkit.workers.opening import Candidate

TO_LABEL = "to-label"
"""The folder beside the results that items are written to."""
MOST_WRITTEN = 400
"""Items that are written at most; they are a sample by chance of all that differ."""
LEAST_SIDE = 128
"""Smaller images are enlarged so that people recognize them, pixels."""
DIGITS = 16
"""Hexadecimal digits of the content's hash in a file's name."""
BATCH = 256
"""Items that are read at once."""

Ints = npt.NDArray[np.int64]
_NAME = re.compile(rf"([0-9a-f]{{{DIGITS}}})\b.*\.png")
_FOLDER = re.compile(r"(\d+) .*")


@dataclass(frozen=True)
class More:
    """The items.

    Attributes:
        data: They stand in the place of its test split, sorted by their hashes; its labels are the files'.
        digests: The hash of each item's content.
        labels: The class of each item that the user has labelled; -1 for others.
        notes: What a reader must know.
    """

    data: DataSet
    digests: tuple[str, ...]
    labels: Ints
    notes: tuple[str, ...] = ()

    @property
    def record(self) -> dict[str, Any]:
        """As in `Benchmark.more`."""
        known = int((self.labels >= 0).sum())
        about = {"source": self.data.source, "sha256": self.data.sha256, "count": len(self.labels)}
        return {**about, "labelled": known, "folder": None, "to_label": 0}

    def count(self, evidence: Evidence, baseline: Ints, predicted: Ints) -> Evidence:
        """Evidence of test items with that of these items: two files' predictions, int64, shape (N,)."""
        (differing,) = np.nonzero(baseline != predicted)
        labels = self.labels[differing]
        known = differing[: int(np.argmax(labels < 0)) if (labels < 0).any() else len(labels)]
        before = baseline[known] == self.labels[known]
        after = predicted[known] == self.labels[known]
        return replace(
            evidence,
            more_items=len(self.labels),
            more_differing=len(differing),
            more_lost=int(before.sum()),
            more_gained=int(after.sum()),
            more_others=int((~before & ~after).sum()),
        )


@dataclass(frozen=True)
class Further:
    """The items, and what every file on every engine answers to them."""

    items: More
    answers: Mapping[Candidate, Answers | EdgepressError]

    def added(self, evidence: Evidence, pair: Candidate, baseline: Candidate | None) -> Evidence:
        """Evidence of test items with that of these; the same if one of the two did not answer them."""
        predicted = self.predicted(pair)
        reference = self.predicted(baseline)
        return evidence if predicted is None or reference is None else self.items.count(evidence, reference, predicted)

    def predicted(self, pair: Candidate | None) -> Ints | None:
        """The classes that a pair answers; None if it did not."""
        answers = self.answered(pair)
        return None if answers is None else answers.predicted

    def answered(self, pair: Candidate | None) -> Answers | None:
        """What a pair answers; None if it did not."""
        answers = None if pair is None else self.answers[pair]
        return answers if isinstance(answers, Answers) else None


def open_more(source: str, data: DataSet, *, labelled: Path | None = None, reading: Reading = STRICT) -> More:
    """Open items that took no part in choosing.

    Args:
        source: What they are in, as `open_data` takes it; labels in it are not needed and not read.
        data: The data of the benchmark. Copies of its items are left out, as are items of `source` that occur twice.
        labelled: The folder of `write_differences`, with the labels of items that the user has sorted.
        reading: How they are read.

    Raises:
        EdgepressError: They can't be opened, or none is left.
    """
    if not data.labels:
        raise InputError("--more compares classes, and these files have no labels (task none).", "Leave --more out.")
    if data.multilabel:
        raise InputError(
            f"--more compares classes, and items of {data.source} have any number of labels.", "Leave --more out."
        )
    if labelled is not None and any(
        labelled.resolve().is_relative_to(Path(s).resolve()) for s in (source, data.source)
    ):
        raise InputError(f"{labelled} lies in the data, so its images would be items.", "Give another --differences.")
    same = reading_options(source, data.table, data.sound)
    opened = open_data(source, input=data.input, purpose="calibration", **reading.arguments, **same)
    indices = np.concatenate([getattr(opened, name).indices for name in SPLITS])
    every = Split(opened.train.source, indices, np.zeros(len(indices), np.int64))
    seen = {digest for name in SPLITS for digest in _digests(getattr(data, name))}
    rows = {digest: row for row, digest in enumerate(_digests(every)) if digest not in seen}
    if not rows:
        raise InputError(
            f"--more {source} holds no item that is not in {data.source}, too.",
            "Give --more images that took no part in training, calibration or choosing; they need no labels.",
        )
    digests = tuple(sorted(rows))
    chosen = np.array([rows[digest] for digest in digests], np.int64)
    held = Split(every.source, every.indices[chosen], np.zeros(len(chosen), np.int64))
    known = {} if labelled is None else _labels_in(labelled, data.labels)
    notes = notes_of_skipped(opened.skipped)
    if copies := len(indices) - len(rows):
        notes.append(f"{copies} of {len(indices)} items of {source} are copies of others, or are in {data.source}.")
    return More(
        data=replace(data, source=source, test=held, sha256=opened.sha256, tested="more"),
        digests=digests,
        labels=np.array([known.get(digest, -1) for digest in digests], np.int64),
        notes=tuple(notes),
    )


def write_differences(more: More, baseline: Ints, predicted: Ints, folder: Path) -> int:
    """Write the images on which two files differ into a folder to label, beside one folder for each class.

    Images that lie in a folder of a class are left there, and nothing is overwritten or removed. Each file is complete
    or absent.

    Args:
        more: The items.
        baseline: The baseline's classes, int64, shape (N,).
        predicted: The file's.
        folder: The folder to label, made if missing.

    Returns:
        Number of images in it that have no label.
    """
    rows = np.flatnonzero(baseline != predicted)[:MOST_WRITTEN].tolist()
    unlabelled = [row for row in rows if more.labels[row] < 0]
    if not unlabelled:
        return 0
    for number, label in enumerate(more.data.labels):
        _make(folder / f"{number} {_safe(label)}")
    for row in unlabelled:
        name = f"{more.digests[row]} {_safe(Path(more.data.test.name(row)).stem)}.png"
        if not (folder / name).exists():
            _write_image(more.data.test.read([row])[0], more.data.input, folder / name)
    return len(unlabelled)


def _write_image(item: npt.NDArray[np.uint8], spec: InputSpec, path: Path) -> None:
    from PIL import Image

    pixels = item[..., 0] if item.shape[-1] == 1 else item
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if (factor := -(-LEAST_SIDE // max(image.size))) > 1:
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    with whole_file(path) as temporary:
        image.save(temporary, format="PNG")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"{folder} can't be made: {e.strerror or e}.", "Give another folder: --differences.") from e


def _labels_in(folder: Path, labels: Sequence[str]) -> dict[str, int]:
    """The classes of images that the user has moved into the folders of classes, by their hashes.

    Raises:
        InputError: An image lies in the folders of two classes, or a folder names a class that there is not.
    """
    rows: dict[str, int] = {}
    for number, path in _class_folders(folder):
        if number >= len(labels) or path.name != f"{number} {_safe(labels[number])}":
            expected = f"{number} {_safe(labels[number])}" if number < len(labels) else f"0 to {len(labels) - 1}"
            raise InputError(f"{path} is not the folder of a class of these files.", f"Accepted: {expected}.")
        for file in path.iterdir():
            if (match := _NAME.fullmatch(file.name)) and rows.setdefault(match[1], number) != number:
                raise InputError(f"{file.name} lies in two folders of {folder}.", "Leave it in that of its class.")
    return rows


def _class_folders(folder: Path) -> Iterator[tuple[int, Path]]:
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.is_dir() and (match := _FOLDER.fullmatch(path.name)):
                yield int(match[1]), path


def _safe(name: str) -> str:
    """A name as part of a file's, on every system: letters, digits, dots, hyphens; none that leads elsewhere."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[:60] or "_"


def _digests(split: Split) -> Iterator[str]:
    """The hash of each item as the files take it, in the order of the split."""
    for x, _ in split.batches(BATCH):
        for item in x:
            yield hashlib.sha256(np.ascontiguousarray(item).tobytes()).hexdigest()[:DIGITS]
