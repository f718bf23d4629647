"""Which files the proof of `edgepress convert` accepts: sound ones, and ones that were broken on purpose.

    python benchmarks/proof_table.py --real ../shared/real --cache proof [--nets "lenet mnist,MobileNet"] [--seeds 1]

Every net of `proof_models` is converted to all schemes; each file is also broken in the ways of `proof_faults`. Both
are verified as `convert` does it: on data, and, if the scheme needs no calibration, also on seeded images. Whether a
file is broken is not read off the fault but measured on other items, up to 600 of them:

    broken    its accuracy is at least 5 points below the sound file's of the same scheme (where there are labels), or
              its agreement with the source model at least 10 points (where there are none; chance alone moves it by 3)
    sound     nothing was changed in it
    harmless  something was changed, but it costs less than that: counted, but neither verdict is wrong

`before` is the criterion that this one replaced: a bound on the SQNR of probabilities and of their logarithms. Files
are made and run once, and their answers kept in the cache. The first run trains the nets, too: about a quarter of an
hour of one core's time, in `--jobs` processes. The gap between the two classes is printed: noise or shift less its
bound, dB, of the nearest cells; broken files above 0 dB are refused by their labels alone. So is what the sound files
cost beside their source models, where there are labels.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import proof_before
import proof_cells
import proof_models
from proof_cells import Cell

from edgepress.converters.proof.compare import EXACT_DB, ITEMS, beside_rounded, compare, shortcoming
from edgepress.converters.proof.verify import end_of
from edgepress.converters.schemes import SCHEMES
from edgepress.runtime.contract import Verification

ACCURACY, AGREEMENT = 0.05, 0.10


@dataclasses.dataclass(frozen=True)
class Row:
    """A cell on one kind of items, with both verdicts; an empty reason means that the file is accepted."""

    cell: Cell
    on: str
    truth: str
    cost: float
    before: str
    after: str
    found: Verification

    @property
    def margin(self) -> float:
        """Noise and shift less their bounds, dB, whichever is nearer to being refused."""
        found, scheme = self.found, SCHEMES[self.cell.scheme]
        noise = found.spread_db, found.rounded_db, scheme.min_spread_db
        pairs = (noise, (found.offset_db, found.rounded_offset_db, scheme.min_offset_db))
        return min(max((r for r in ratios if r is not None), default=EXACT_DB) - least for *ratios, least in pairs)


def main() -> None:
    """Print the table, one JSON document last; exit with 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="folder of real models and data, see its README")
    parser.add_argument("--cache", type=Path, required=True, help="folder for nets and answers")
    parser.add_argument("--nets", default="", help="names, separated by commas; all if not given")
    parser.add_argument("--seeds", type=int, default=1, help="layers that each fault is put into")
    parser.add_argument("--items", type=int, default=ITEMS, help="items of a proof; slow files answer 8")
    parser.add_argument("--jobs", type=int, default=2, help="nets that are made at the same time")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in args.nets.split(",") if name] or proof_models.names()
    with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for name, count in pool.map(partial(_made, args.cache, args.real, args.seeds), wanted):
            print(f"{name}: {count} files", file=sys.stderr)
    rows: list[Row] = []
    for subject in proof_models.subjects(args.cache, args.real, wanted):
        cells = proof_cells.cells(subject, args.cache, args.seeds)
        rows += [row for cell in _with_truth(cells, args.items) for row in cell]
    summary = {when: _show(rows, when) for when in ("before", "after")}
    _gap(rows)
    lost = _costs(rows)
    verdicts = collections.Counter(row.truth for row in rows)
    files = collections.Counter({id(row.cell): row.truth for row in rows}.values())
    print(json.dumps({"files": files, "verdicts": verdicts, "sound files lose": lost, **summary}))
    sys.exit(summary["after"]["broken accepted"] > 0 or summary["after"]["sound refused"] > 2)


def _made(cache: Path, real: Path, seeds: int, name: str) -> tuple[str, int]:
    """Make the cells of a net that are not in the cache; its name and their number."""
    return name, sum(len(list(proof_cells.cells(s, cache, seeds))) for s in proof_models.subjects(cache, real, [name]))


def _with_truth(cells: proof_cells.Cells, items: int = ITEMS) -> list[list[Row]]:
    made = list(cells)
    worth = {cell.scheme: _worth(cell) for cell in made if not cell.fault}
    return [_rows(cell, worth[cell.scheme] - _worth(cell), items) for cell in made if cell.scheme in worth]


def _worth(cell: Cell) -> float:
    """Accuracy on held-out items, or agreement with the source model where there are no labels."""
    held = cell.scores["held"]
    expected = cell.source["held"].argmax(1) if cell.labels is None else cell.labels
    return float((held.argmax(1) == expected[: len(held)]).mean())


def _costs(rows: list[Row]) -> float:
    """The largest drop of accuracy, 0-1, of a sound file beside its source model."""
    drops = {}
    for cell in (row.cell for row in rows if row.truth == "sound" and row.cell.labels is not None):
        labels = cell.labels[: len(cell.scores["held"])]
        right = (cell.source["held"][: len(labels)].argmax(1) == labels).mean()
        drops[f"{cell.subject} {cell.scheme}"] = float(right) - _worth(cell)
    print("\naccuracy lost by sound files, largest first:")
    for name in sorted(drops, key=lambda name: -drops[name])[:5]:
        print(f"  {name}: {100 * drops[name]:.1f} points")
    return round(max(drops.values(), default=0.0), 4)


def _rows(cell: Cell, cost: float, items: int) -> list[Row]:
    limit = AGREEMENT if cell.labels is None else ACCURACY
    truth = "sound" if not cell.fault else "broken" if cost >= limit else "harmless"
    rows = []
    for on in (kind for kind in cell.scores if kind != "held"):
        scheme, scores = SCHEMES[cell.scheme], cell.scores[on][:items]
        source = cell.source[on][: len(scores)]
        end, name = end_of(cell.task, cell.ends_in), "seeded" if on == "seeded" else "data"
        inner = cell.logits[on][:items] if cell.logits is not None and end else None
        found = compare(source, scores, on=name, end=end, before_end=inner)
        after = shortcoming(found, scheme)
        if after and cell.rounded is not None:
            beside = compare(cell.rounded[on][: len(scores)], scores, on=name, end=end, before_end=inner)
            found = beside_rounded(found, beside)
            after = shortcoming(found, scheme)
        before = proof_before.shortcoming(source, scores, cell.scheme, cell.task, cell.ends_in)
        rows.append(Row(cell, on, truth, cost, before, after, found))
    return rows


def _show(rows: list[Row], when: str) -> dict[str, int]:
    """The wrong verdicts of one criterion, each with its reason, and their number."""
    missed = [r for r in rows if r.truth == "broken" and not getattr(r, when)]
    refused = [r for r in rows if r.truth == "sound" and getattr(r, when)]
    print(f"\n{when}: {len(missed)} broken accepted, {len(refused)} sound refused")
    for row in (*missed, *refused):
        cell = row.cell
        why = getattr(row, when) or f"costs {100 * row.cost:.0f} points; {row.margin:+.1f} dB from the bound"
        print(f"  {row.truth:7} {cell.subject} {cell.scheme} ({row.on}) {cell.fault}: {why}")
    return {"broken accepted": len(missed), "sound refused": len(refused)}


def _gap(rows: list[Row]) -> None:
    """How far both classes are from the bounds of noise and shift."""
    print("\nspread to noise or to shift, dB above the bound (fifth nearest, nearest):")
    for precision in dict.fromkeys(SCHEMES[row.cell.scheme].precision for row in rows):
        some = [row for row in rows if SCHEMES[row.cell.scheme].precision == precision]
        for on in ("data", "seeded"):
            sound, broken = (sorted(r.margin for r in some if (r.truth, r.on) == (t, on)) for t in ("sound", "broken"))
            if sound and broken:
                low, high = (f"{v[min(4, len(v) - 1)]:6.1f} {v[0]:6.1f}" for v in (sound, broken[::-1]))
                print(f"  {precision:8} {on:6}  {len(sound):3} sound from {low}   {len(broken):3} broken to {high}")


if __name__ == "__main__":
    main()
