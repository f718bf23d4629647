"""Which files the page shows, on which engines, and which of them the others are compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgepress.converters.contract.hints import Hints
from edgepress.runtime import Contract
from edgepress.toolkit.benchmarking.plan import describe_files, find_baseline, find_engines, find_files, lacking
from edgepress.toolkit.data.for_model import Described, data_for, require_one_input
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.engines.environments import usable_engines
from edgepress.toolkit.errors import InputError
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

    def open_data(self, data: str | None, *, skip_unreadable: bool) -> tuple[DataSet, list[str]]:
        """The data set whose test images are compared, with notes; None: the one that the reference names.

        Raises:
            EdgepressError: There is none, or it can't be opened or does not match the reference.
        """
        about = self.reference.about
        return data_for(
            about.contract, data, where=about.file, skip_unreadable=skip_unreadable, numbered=about.numbered
        )

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
