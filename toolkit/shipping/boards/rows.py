"""What goes to a board and comes back: bundles and test items as one array, and its answers as rows of a benchmark."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.runtime import Contract
from edgepress.toolkit.data.for_model import contract_of, data_for
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.benchmarking.accuracy import (
    accuracy_figures,
    accuracy_status,
    evidence_of,
    with_probability,
    without_promise,
)
from edgepress.toolkit.measurement.benchmarking.advice import choose
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.measurement.benchmarking.expected import Odds
from edgepress.toolkit.measurement.benchmarking.plan import find_files
from edgepress.toolkit.results.records import NOT_COMPARABLE, PROVEN, Benchmark, Measurement
from edgepress.toolkit.shipping.boards.facts import describe_board
from edgepress.toolkit.shipping.boards.session import BoardResults, Parcel, Visit
from edgepress.toolkit.shipping.bundles.build import SAMPLES, bundle
from edgepress.toolkit.shipping.bundles.verify import verify
from edgepress.toolkit.stats.choice import Rule
from edgepress.toolkit.stats.intervals import paired_ratio
from edgepress.toolkit.workers.answer import judge

PART = 64
"""Number of items held in memory while the array is written."""


@dataclass(frozen=True)
class Cargo:
    """The files and items for all boards.

    Attributes:
        parcels: One per file.
        contracts: The contracts of the files.
        data: The data, with the test items that are sent; None if accuracy is not measured.
        items: The test items as an `.npy` file; None if accuracy is not measured.
        notes: Warnings for the user.
    """

    parcels: tuple[Parcel, ...]
    contracts: tuple[Contract, ...]
    data: DataSet | None = None
    items: Path | None = None
    notes: tuple[str, ...] = ()


def pack(
    files: Sequence[Path],
    folder: Path,
    *,
    data: str | None,
    limit: int,
    reading: Reading = STRICT,
    on_step: Callable[[str], None],
) -> Cargo:
    """Bundle the model files and write the test items.

    Args:
        files: Model files, bundles of them (`.zip`), or one folder of model files.
        folder: Folder to write to.
        data: Data of the samples and the test items; None: neither is sent.
        limit: Maximum number of test items.
        reading: How the data are read.
        on_step: Called with a sentence when a step begins.

    Raises:
        EdgepressError: A file or the data can't be used, or the files have different inputs or labels.
    """
    parcels, contracts = _bundles(files, folder, data=data, on_step=on_step)
    if data is None:
        return Cargo(parcels, contracts)
    for contract, parcel in zip(contracts, parcels, strict=True):
        if (contract.input, contract.labels) != (contracts[0].input, contracts[0].labels):
            hint = "Benchmark them separately."
            raise InputError(f"{parcel.file} has another input or other labels than {parcels[0].file}.", hint)
    opened, notes = data_for(contracts[0], data, where=parcels[0].file, reading=reading)
    if len(opened.test) > limit:
        notes.append(f"Accuracy on boards: {limit} of the {len(opened.test)} test items (--items).")
        test = Split(opened.test.source, opened.test.indices[:limit], opened.test.y[:limit])
        opened = replace(opened, test=test)
    _write_items(opened.test, folder / "items.npy")
    return Cargo(parcels, contracts, opened, folder / "items.npy", tuple(notes))


def _bundles(
    files: Sequence[Path], folder: Path, *, data: str | None, on_step: Callable[[str], None]
) -> tuple[tuple[Parcel, ...], tuple[Contract, ...]]:
    """Bundle each model file, and verify the given bundles."""
    parcels = []
    contracts = []
    paths = list(files) if any(f.suffix == ".zip" for f in files) else find_files(files)
    for i, path in enumerate(paths):
        if path.suffix == ".zip":
            verified = verify(path)
        else:
            on_step(f"bundling {path.name}")
            target = folder / f"{i}.zip"
            samples = SAMPLES if data is not None else 0
            verified = bundle(path, target, data=data, samples=samples).verified
        manifest = verified.manifest
        if manifest.format != "zip":
            raise InputError(f"{path} is a {manifest.format}; boards accept only bundles of the format zip.")
        model = next(f for f in manifest.files if f.path == manifest.model)
        extracted = folder / str(i) / manifest.model
        extracted.parent.mkdir(parents=True)
        with zipfile.ZipFile(verified.path) as archive:
            extracted.write_bytes(archive.read(f"{manifest.name}/{manifest.model}"))
        contracts.append(contract_of(extracted))
        about = {"name": manifest.name, "model": manifest.model, "scheme": manifest.scheme}
        parcels.append(Parcel(path, verified.path, **about, size_bytes=model.size_bytes, sha256=model.sha256))
    return tuple(parcels), tuple(contracts)


def _write_items(split: Split, path: Path) -> None:
    """Write all items of a split to one `.npy` file, a few at a time."""
    first = split.read([0])
    shape = (len(split), *first.shape[1:])
    array = np.lib.format.open_memmap(path, mode="w+", dtype=first.dtype, shape=shape)
    for start in range(0, len(split), PART):
        rows = slice(start, start + PART)
        array[rows] = split.read(rows)
    array.flush()


def board_rows(
    host: str, visit: Visit, *, cargo: Cargo, baseline: str, max_drop_pp: float, rule: Rule
) -> tuple[dict[str, Any], list[Measurement]]:
    """A board's entry in a benchmark's `boards`, and one row per file and number of threads.

    Args:
        host: The user's name for the board.
        visit: The results of the board.
        cargo: The files and items that were sent.
        baseline: The scheme that drops and speed-ups refer to, on this board.
        max_drop_pp: Largest acceptable accuracy drop, percentage points.
        rule: How a file to ship is chosen.
    """
    parcels = cargo.parcels
    data = cargo.data
    entry = describe_board(host, visit.info, visit.states)
    reference = next((i for i, p in enumerate(parcels) if p.scheme == baseline and not visit.results[i].error), None)
    pairs = zip(visit.results, cargo.contracts, strict=True)
    answers = [None if data is None else _answers(results, contract, data) for results, contract in pairs]
    against = None if reference is None else answers[reference]
    odds = None if data is None or against is None else Odds.of(against, data.test.y)
    rows = []
    for i, (parcel, results) in enumerate(zip(parcels, visit.results, strict=True)):
        about = {name: getattr(parcel, name) for name in ("scheme", "size_bytes", "sha256")}
        row = Measurement(file=str(parcel.file), engine=results.engine, threads=1, host=host, status=PROVEN, **about)
        if reference is not None:
            row = dataclasses.replace(row, size_ratio=parcel.size_bytes / parcels[reference].size_bytes)
        answer = answers[i]
        if data is not None and answer is not None:
            accuracy = accuracy_figures(answer, against, data=data)
            if against is not None:
                evidence = evidence_of(answer, against, data)
                if odds is not None:
                    evidence = dataclasses.replace(evidence, expected_lost=odds.expected_lost([(against, answer)]))
                accuracy = with_probability(accuracy, evidence, max_drop_pp)
            row = dataclasses.replace(row, **vars(accuracy), status=accuracy_status(accuracy, max_drop_pp))
        if results.error:
            row = dataclasses.replace(row, status=f"failed: {results.error}")
        elif entry["reasons"]:
            row = dataclasses.replace(row, status=f"{NOT_COMPARABLE}: {', '.join(entry['reasons'])}; {row.status}")
        timed = None if reference is None else visit.results[reference].rounds
        rows += _timing_rows(row, results.rounds, timed) or [row]
    if data is not None:
        count = len(data.test)
        fewest = [r for r in rows if r.threads == min(r.threads for r in rows)]
        advice = choose(fewest, host=entry, count=count, max_drop_pp=max_drop_pp, rule=rule)
        notes = [*entry["notes"], *_without_promise(visit, cargo)]
        entry |= {"items": count, "advice": dataclasses.asdict(advice), "notes": notes}
    return entry | {"resumed_pieces": visit.taken_up, "left_in": visit.folder or None}, rows


def _without_promise(visit: Visit, cargo: Cargo) -> list[str]:
    """A sentence for each calibrated file that answered with an engine other than that of its promise."""
    answered = [
        (parcel.file, without_promise(contract, results.engine))
        for parcel, contract, results in zip(cargo.parcels, cargo.contracts, visit.results, strict=True)
        if results.scores is not None and not results.error
    ]
    return [f"{Path(file).name}: {text}" for file, texts in answered for text in texts]


def merge(result: Benchmark, entry: Mapping[str, Any], rows: Sequence[Measurement]) -> Benchmark:
    """Replace the rows of the same files and board in a benchmark.

    If the name now refers to another board, all of its older rows are removed.
    """
    old = next((b for b in result.boards if b["name"] == entry["name"]), {})
    files = {r.file for r in rows} if all(old.get(k) == entry[k] for k in _IDENTITY) else None
    kept = [r for r in result.results if r.host != entry["name"] or (files is not None and r.file not in files)]
    boards = [b for b in result.boards if b["name"] != entry["name"]]
    return dataclasses.replace(result, boards=(*boards, entry), results=(*kept, *rows))


def _answers(results: BoardResults, contract: Contract, data: DataSet) -> Answers | None:
    """A file's answers to the test items; other scores than theirs, NaN and infinity are an error of the file."""
    if results.scores is None:
        return None
    shape = (len(data.test), len(contract.labels))
    if results.scores.shape != shape:
        results.error = f"its scores are of shape {results.scores.shape}, not {shape}."
        return None
    if not np.isfinite(results.scores).all():
        results.error = "its scores contain NaN or infinity."
        return None
    return Answers(results.engine, *judge(results.scores, contract, multilabel=data.multilabel))


def _timing_rows(
    row: Measurement, rounds: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]] | None
) -> list[Measurement]:
    """One row per number of threads; percentiles are medians over the rounds."""
    rows = []
    for n in range(len(rounds[0]["results"]) if rounds else 0):
        own = [r["results"][n] for r in rounds]
        medians = [r["p50_us"] for r in own]
        figures: dict[str, Any] = {name: float(np.median([r[name] for r in own])) for name in _MEDIANS}
        timed = dataclasses.replace(
            row,
            threads=own[0]["threads"],
            min_us=min(r["min_us"] for r in own),
            count=sum(r["count"] for r in own),
            rounds=len(own),
            round_medians_us=tuple(medians),
            **figures,
        )
        if reference:
            theirs = [r["results"][n]["p50_us"] for r in reference]
            ratio = paired_ratio(np.array(theirs), np.array(medians))
            timed = dataclasses.replace(timed, speedup=ratio.estimate, speedup_low=ratio.low, speedup_high=ratio.high)
        rows.append(timed)
    return rows


_MEDIANS = ("load_ms", "first_us", "p50_us", "p90_us", "p99_us")
_IDENTITY = ("node", "cpu", "machine", "cores", "python")
