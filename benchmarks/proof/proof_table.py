"""Which files the proof of `edgepress convert` accepts: sound ones, hard ones, and ones that were broken on purpose.

    python benchmarks/proof/proof_table.py --real ../shared/real --cache proof
        [--nets "lenet mnist,MobileNet"] [--seeds 1]
    python benchmarks/proof/proof_table.py --real ../shared/real --cache proof --fresh 7,8

The nets are those of `proof_models`, or with `--fresh` those of `proof_fresh`, drawn by the seeds given. Each net is
converted to all schemes; each file is also broken in the ways of `proof_faults`. Files are verified as `convert` does
it: on data, and, if the scheme needs no calibration, also on seeded images. Whether a file is wrong is not read off the
fault but measured on other items, 3,000 of a fresh net and up to 600 of the others:

    wrong     its accuracy is at least 5 points below its source model's; without labels, its agreement with the source
              model is at least 10 points below that of the sound file of the same scheme (chance moves it by 3)
    right     nothing was changed in it, and its accuracy is at most 2 points below its source model's; without labels:
              nothing was changed in it
    between   all others: counted, but neither verdict is wrong

Files are made and run once, and their answers kept in the cache. The first run trains the nets, too: of `proof_models`
about an hour of one core's time, in `--jobs` processes; of a fresh seed about ten minutes. The largest loss of a file
that was accepted and the smallest loss of one that was refused are printed.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import proof_cells
import proof_fresh
import proof_models
from proof_cells import Cell
from proof_models import Subject

from edgepress.converters.proof.compare import ITEMS, LEAST_DB, compare, shortcoming
from edgepress.converters.proof.verify import end_of
from edgepress.converters.schemes import SCHEMES
from edgepress.runtime.contract import Verification

WRONG = 0.05
"""Loss of accuracy from which a file is wrong, 0-1."""
RIGHT = 0.02
"""Largest loss of accuracy of a right file, 0-1."""
AGREEMENT = 0.10
"""Agreement that a file without labels must lose against the sound one of its scheme to be wrong, 0-1."""
ALLOWED = 0.01
"""Share of right files that may be refused."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A cell on one kind of items, with the verdict; an empty reason means that the file is accepted."""

    cell: Cell
    on: str
    truth: str
    cost: float
    reason: str
    found: Verification


def main() -> None:
    """Print the table, one JSON document last; exit with 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="folder of real models and data, see its README")
    parser.add_argument("--cache", type=Path, required=True, help="folder for nets and answers")
    parser.add_argument("--nets", default="", help="names, separated by commas; all if not given")
    parser.add_argument("--fresh", default="", help="seeds of fresh nets, separated by commas, instead of the others")
    parser.add_argument("--seeds", type=int, default=1, help="layers that each fault is put into")
    parser.add_argument("--items", type=int, default=ITEMS, help="items of a proof; slow files answer fewer")
    parser.add_argument(
        "--jobs", type=int, default=2, help="nets that are made at the same time; 0 uses the cache alone"
    )
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    fresh = [int(seed) for seed in args.fresh.split(",") if seed]
    names = proof_fresh.names(fresh) if fresh else proof_models.names()
    wanted = [name for name in args.nets.split(",") if name] or names
    if args.jobs:
        with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            for name, count in pool.map(partial(_made, args.cache, args.real, args.seeds, fresh), wanted):
                print(f"{name}: {count} files", file=sys.stderr)
    else:
        wanted = [name for name in wanted if proof_cells.folder_of(args.cache, name).joinpath("complete").exists()]
    rows: list[Row] = []
    for subject in _subjects(args.cache, args.real, fresh, wanted):
        rows += _with_truth(proof_cells.cells(subject, args.cache, args.seeds), args.items)
    summary = _show(rows)
    print(json.dumps({"nets": len(wanted), **summary}))
    sys.exit(summary["wrong accepted"] > 0 or summary["right refused"] > ALLOWED * summary["right"])


def _subjects(cache: Path, real: Path, fresh: Sequence[int], wanted: Sequence[str]) -> Iterator[Subject]:
    return proof_fresh.subjects(cache, real, fresh, wanted) if fresh else proof_models.subjects(cache, real, wanted)


def _made(cache: Path, real: Path, seeds: int, fresh: Sequence[int], name: str) -> tuple[str, int]:
    """Make the cells of a net that are not in the cache; its name and their number."""
    return name, sum(len(list(proof_cells.cells(s, cache, seeds))) for s in _subjects(cache, real, fresh, [name]))


def _with_truth(cells: proof_cells.Cells, items: int = ITEMS) -> list[Row]:
    made = list(cells)
    sound = {cell.scheme: _worth(cell) for cell in made if not cell.fault}
    rows: list[Row] = []
    for cell in made:
        if cell.labels is not None:
            held = cell.scores["held"]
            cost = _right(cell.source["held"][: len(held)], cell) - _right(held, cell)
            limit = WRONG
        elif cell.scheme in sound:
            cost, limit = sound[cell.scheme] - _worth(cell), AGREEMENT
        else:
            continue
        truth = "wrong" if cost >= limit else "right" if cell.sound and cost <= RIGHT else "between"
        rows += [_row(cell, on, truth, cost, items) for on in cell.scores if on != "held"]
    return rows


def _worth(cell: Cell) -> float:
    """Agreement with the source model on held-out items."""
    held = cell.scores["held"]
    return float((held.argmax(1) == cell.source["held"].argmax(1)[: len(held)]).mean())


def _right(scores: proof_cells.Array, cell: Cell) -> float:
    assert cell.labels is not None
    return float((scores.argmax(1) == cell.labels[: len(scores)]).mean())


def _row(cell: Cell, on: str, truth: str, cost: float, items: int) -> Row:
    scores = cell.scores[on][:items]
    end = end_of(cell.task, cell.ends_in)
    found = compare(
        cell.source[on][: len(scores)],
        scores,
        on="seeded" if on == "seeded" else "data",
        end=end,
        before_end=cell.logits[on][:items] if cell.logits is not None and end else None,
        task=cell.task,
        ends_in=cell.ends_in,
        labels=cell.data_labels[: len(scores)] if on == "data" and cell.data_labels is not None else None,
    )
    return Row(cell, on, truth, cost, shortcoming(found, SCHEMES[cell.scheme]), found)


def _show(rows: list[Row]) -> dict[str, int]:
    """The wrong verdicts, each with its reason, and how many of each kind there are."""
    missed = [row for row in rows if row.truth == "wrong" and not row.reason]
    refused = [row for row in rows if row.truth == "right" and row.reason]
    print(f"{len(missed)} wrong accepted, {len(refused)} right refused")
    for row in (*missed, *refused):
        cell, lost = row.cell, f"lost {100 * (row.found.lost or 0):.1f} %, {row.found.spread_db} dB"
        why = f"{row.reason or 'accepted'}; costs {100 * row.cost:.1f} points; {lost}"
        print(f"  {row.truth:7} {cell.subject} {cell.scheme} ({row.on}) {cell.fault}: {why}")
    for what, some in (("accepted", [r for r in rows if not r.reason]), ("refused", [r for r in rows if r.reason])):
        costs = sorted((row.cost for row in some), reverse=what == "accepted")
        print(f"{what} {len(some)}; nearest, points: {', '.join(f'{100 * cost:.1f}' for cost in costs[:8])}")
    for truth, end in (("right", max), ("wrong", min)):
        shares = [_share_of_chance(row) for row in rows if row.on == "seeded" and row.truth == truth and _is_quiet(row)]
        if shares:
            print(f"proven loss on seeded items, of {truth} files that are not too noisy: {end(shares):.2f} of chance")
    counts = collections.Counter(row.truth for row in rows)
    return {**counts, "wrong accepted": len(missed), "right refused": len(refused)}


def _is_quiet(row: Row) -> bool:
    """Whether labels decide about a file on seeded items, not the noise of its answers."""
    found = row.found
    return bool(found.lost_by_chance) and (found.spread_db is None or found.spread_db >= LEAST_DB)


def _share_of_chance(row: Row) -> float:
    """The lower bound of what is lost, as a share of what a file loses that ignores the items."""
    return (row.found.lost_low or 0.0) / (row.found.lost_by_chance or 1.0)


if __name__ == "__main__":
    main()
