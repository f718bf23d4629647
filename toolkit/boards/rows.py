"""Convert a visit to a board into rows of a benchmark, and merge them into one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.runtime import Contract
from edgepress.toolkit.benchmarking.accepted import without_promise
from edgepress.toolkit.benchmarking.accuracy import accuracy_figures, accuracy_status, evidence_of, with_probability
from edgepress.toolkit.benchmarking.advice import choose
from edgepress.toolkit.benchmarking.collect import Answers
from edgepress.toolkit.benchmarking.expected import Odds
from edgepress.toolkit.boards.facts import describe_board
from edgepress.toolkit.boards.parcels import Cargo
from edgepress.toolkit.boards.session import BoardResults, Visit
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.results.records import NOT_COMPARABLE, PROVEN, Benchmark, Measurement
from edgepress.toolkit.stats.choice import Rule
from edgepress.toolkit.stats.intervals import paired_ratio
from edgepress.toolkit.workers.answer import judge


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
