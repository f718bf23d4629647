"""Which files the page shows, on which engines, and the test images on which they differ from the reference.

The test items on which the files differ from the reference, most differing first, and some on which none differs.

The answers are those of `benchmark`: kept ones are used again, so that after a benchmark of the same files they are
here at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.hints import Hints
from edgepress.runtime import Contract
from edgepress.runtime.board import usable_cores
from edgepress.runtime.decisions import same_answers
from edgepress.toolkit.data.for_model import Described, data_for, require_one_input
from edgepress.toolkit.data.reading import Reading
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.machine.environments import usable_engines
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.measurement.benchmarking.collect import collect_answers
from edgepress.toolkit.measurement.benchmarking.plan import (
    describe_files,
    find_baseline,
    find_engines,
    find_files,
    lacking,
)
from edgepress.toolkit.truth import label_text
from edgepress.toolkit.workers.opening import Candidate

MAX_SHOWN = 24
"""Each has a process of its own."""


@dataclass(frozen=True)
class Shown:
    """A file on an engine, as the page shows it.

    Attributes:
        name: Its scheme if no other file has it, else the file's name; with the engine if it is shown on several.
        about: Its contract.
        candidate: The file, engine and number of threads.
    """

    name: str
    about: Described
    candidate: Candidate

    @property
    def contract(self) -> Contract:
        """The file's contract."""
        return self.about.contract


@dataclass(frozen=True)
class Choice:
    """What the page shows.

    Attributes:
        shown: Files on engines, the reference first.
        is_float: Whether the reference, with which the others are compared, is a float32 file.
        broken: Names of files that nothing can be said of, and why.
        notes: What was found or guessed about files that others made.
    """

    shown: tuple[Shown, ...]
    is_float: bool
    broken: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    @property
    def reference(self) -> Shown:
        """What the others are compared with."""
        return self.shown[0]

    def open_data(self, data: str | None, *, reading: Reading) -> tuple[DataSet, list[str]]:
        """The data set whose test images are compared, with notes; None: the one that the reference names.

        Raises:
            EdgepressError: There is none, or it can't be opened or does not match the reference.
        """
        about = self.reference.about
        return data_for(about.contract, data, where=about.file, reading=reading, numbered=about.numbered)

    def labelled(self, data: DataSet) -> Choice:
        """The same, where files whose labels are only numbers have those of the data."""
        shown = []
        for each in self.shown:
            about = each.about.labelled(data)
            shown.append(replace(each, about=about, candidate=each.candidate._replace(contract=about.contract_json)))
        return replace(self, shown=tuple(shown))


def choose(
    files: str | Path | Sequence[str | Path],
    *,
    engines: str | None = None,
    baseline: str | None = None,
    threads: int = 1,
    hints: Hints | None = None,
) -> Choice:
    """Describe the files and choose engines and reference; nothing is opened yet.

    Args:
        files: `.tflite` and `.onnx` files, or one folder of them.
        engines: As for `benchmark`; None takes the first installed engine that opens each file.
        baseline: File or scheme that the others are compared with; None: float32, else the first file.
        threads: Number of threads that an engine may use.
        hints: What the user knows of files that edgepress did not make.

    Raises:
        EdgepressError: No file can be used, one has no labels, or a name is unknown.
    """
    chosen_engines = None if engines is None else find_engines(engines)
    described, broken = describe_files(find_files(files), hints)
    for path, about in described.items():
        if about.contract.task == "none":
            raise InputError(f"{path} has no labels (its task is none), so it classifies nothing.", "Leave it out.")
        require_one_input(about.contract, path, "play")
    opening = {
        path: [e for e in usable_engines(path.suffix[1:]) if e not in lacking(about.contract)]
        for path, about in described.items()
    }
    pairs = [
        (path, engine)
        for path, usable in opening.items()
        for engine in (usable[:1] if chosen_engines is None else [e for e in usable if e in chosen_engines])
    ]
    if not pairs:
        engine_names = ", ".join(chosen_engines or ()) or "no engine that is installed"
        raise InputError(
            f"{engine_names} opens none of the files.", "Name others with --engine; edgepress doctor lists them."
        )
    base = find_baseline({path: about.contract for path, about in described.items()}, broken, baseline)
    if base is not None and base not in pairs:
        pairs.append(base)
    pairs.sort(key=lambda pair: pair != base)  # stable: the reference first, the others in the order of the schemes
    if len(pairs) > MAX_SHOWN:
        raise InputError(
            f"These are {len(pairs)} files and engines; the page shows up to {MAX_SHOWN}, each in its own process.",
            "Name fewer files, or fewer engines with --engine.",
        )
    schemes = Counter(described[path].contract.scheme for path in {path for path, _ in pairs})
    names = Counter(path.name for path in described)
    shown = Counter(path for path, _ in pairs)

    def name(path: Path, engine: str) -> str:
        scheme = described[path].contract.scheme
        name = scheme if scheme and schemes[scheme] == 1 else path.name if names[path.name] == 1 else str(path)
        return name if shown[path] == 1 else f"{name} on {engine}"

    left_out = [path.name for path in described if path not in {path for path, _ in pairs}]
    return Choice(
        shown=tuple(
            Shown(
                name(path, engine),
                described[path],
                Candidate(path, engine, threads, contract=described[path].contract_json),
            )
            for path, engine in pairs
        ),
        is_float=base is not None,
        broken=tuple((path.name, str(error)) for path, error in broken.items()),
        notes=(
            *(note for about in described.values() for note in about.notes),
            *([f"Left out, because no chosen engine opens them: {', '.join(left_out)}."] if left_out else []),
        ),
    )


MAX_LISTED = 240
"""Most test items on which files differ that the page lists."""
MAX_AGREED = 24
"""Most test items on which no file differs that it offers, evenly spread over the split."""
CAP_S = 600.0
"""Seconds that one file may take to answer all test images before it is left out."""


@dataclass(frozen=True)
class Differences:
    """What the page shows of the test images.

    Attributes:
        state: "running" until all have answered; "none" if there is nothing to compare.
        text: What was found, or why there is nothing.
        share: Share of the answers that are there, 0-1.
        items: For each listed item, its row in the test split, name, label, what the reference answers, and what the
            differing files answer, by their number; nothing for the last ones, on which none differs.
        counts: Number of test images on which each file differs, by its number.
        notes: Files that are not compared, and why; what is to be known of the data.
        data: The data set; None while there is none.
    """

    state: Literal["running", "done", "none"]
    text: str
    share: float = 0.0
    items: tuple[dict[str, Any], ...] = ()
    counts: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()
    data: DataSet | None = None

    def to_dict(self) -> dict[str, Any]:
        """As the page gets it."""
        return {
            "state": self.state,
            "text": self.text,
            "share": self.share,
            "items": list(self.items),
            "counts": dict(self.counts),
            "notes": list(self.notes),
        }

    def item(self, row: int) -> npt.NDArray[Any] | None:
        """A listed test image, as the files take it; None for any other row."""
        if self.data is None or row not in {item["row"] for item in self.items}:
            return None
        values: npt.NDArray[Any] = self.data.test.read([row])[0]
        return values


def find_differences(
    choice: Choice, data: DataSet, *, cache: Path | None = None, notes: tuple[str, ...] = (), on_progress: Any = None
) -> Differences:
    """Let all files answer the test images and list those on which they differ.

    Args:
        choice: The files.
        data: The data set, opened as the reference takes it.
        cache: As for `collect_answers`.
        notes: What is to be known of the data.
        on_progress: As for `collect_answers`.

    Raises:
        EdgepressError: An image can't be read.
    """
    jobs = max(1, usable_cores() - 1)  # one is left for who plays
    candidates = [shown.candidate for shown in choice.shown]
    collected = collect_answers(candidates, data, jobs=jobs, cap_s=CAP_S, cache=cache, on_progress=on_progress)
    reference, *others = collected
    failures = [
        f"{shown.name} is not compared on test images: {answers}"
        for shown, answers in zip(choice.shown, collected, strict=True)
        if isinstance(answers, EdgepressError)
    ]
    if isinstance(reference, EdgepressError):
        return Differences("none", f"No test images are compared, as the reference failed: {reference}", notes=notes)
    predicted = {n: other.predicted for n, other in enumerate(others, 1) if isinstance(other, Answers)}
    differs = {n: ~same_answers(answers, reference.predicted) for n, answers in predicted.items()}
    count = np.sum(list(differs.values()), axis=0, dtype=np.int64) if differs else np.zeros(len(data.test), np.int64)
    differing = np.argsort(-count, kind="stable")[: np.count_nonzero(count)]
    (agreed,) = np.nonzero(count == 0)
    offered = agreed[np.linspace(0, len(agreed) - 1, min(MAX_AGREED, len(agreed))).astype(np.int64)]
    items = tuple(
        {
            "row": row,
            "name": data.test.name(row),
            "label": label_text(data.test.y[row], data.labels),
            "reference": label_text(reference.predicted[row], data.labels),
            "others": {n: label_text(predicted[n][row], data.labels) for n, other in differs.items() if other[row]},
        }
        for row in map(int, [*differing[:MAX_LISTED], *offered])
    )
    counts = tuple((n, int(different.sum())) for n, different in differs.items())
    return Differences("done", _text(choice, data, len(differing), len(predicted)), 1.0, items, counts,
                       (*notes, *failures), data)  # fmt: skip


def _text(choice: Choice, data: DataSet, differing: int, others: int) -> str:
    """What was found, in a sentence or two."""
    name = choice.reference.name
    images = "images" if data.input.is_image else "items"
    total = f"{len(data.test):,} test {images} of {data.source}"
    if not others:
        return f"There is no other file to compare with {name}."
    if not differing:
        return f"No file differs from {name} on the {total}."
    shown = f" The {MAX_LISTED} on which most files differ are listed." if differing > MAX_LISTED else ""
    return f"On {differing:,} of the {total}, at least one file answers differently from {name}.{shown}"
