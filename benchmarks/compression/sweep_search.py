"""What `--search 40` finds of a grid of 200: hypervolume of accuracy against latency, as a share of the grid's.

    python benchmarks/compression/sweep_search.py --grid grid.json  # trains, converts and times the grid; resumable
    python benchmarks/compression/sweep_search.py --grid grid.json --searches 20

The grid is ten networks x sizes, two augmentations, two seeds and five schemes on the digits: 40 trainings, 200 files.
It is done once; searches then find all results there. The hypervolume is that of validation accuracy and the logarithm
of latency, beyond the worst of each in the grid. Beside Optuna's proposals stand as many random ones, and Optuna's
without stopping unpromising trainings; "epochs" are those of the trainings that a search starts.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters.files import write_json
from edgepress.toolkit import convert, train
from edgepress.toolkit.data import open_data
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.machine.host import choose_cpus
from edgepress.toolkit.measurement.benchmarking.collect import collect_answers
from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.measurement.benchmarking.quiet import Watch
from edgepress.toolkit.measurement.benchmarking.timing import latency_figures, time_candidates
from edgepress.toolkit.search.sweeping.jobs import Job
from edgepress.toolkit.search.sweeping.proposals import Tried
from edgepress.toolkit.search.sweeping.search import Search
from edgepress.toolkit.search.sweeping.space import PointJobs
from edgepress.toolkit.search.sweeping.store import Store
from edgepress.toolkit.search.sweeping.sweep import front
from edgepress.toolkit.workers.opening import Candidate, Opening

NETS: dict[str, dict[str, Any]] = {
    "dense": {"arch": "dense"},
    "lenet": {"arch": "lenet"},
    "ds-cnn": {"arch": "ds-cnn"},
    "mobilenet-v1-0.1": {"arch": "mobilenet-v1", "width": 0.1},
    "alexnet-0.1": {"arch": "alexnet", "width": 0.1},
}
SPACE: dict[str, Sequence[Any]] = {
    "net": tuple(NETS),
    "size": (28, 36),
    "augmentation": ("none", "affine"),
    "seed": (0, 1),
    "scheme": ("tflite-float32", "tflite-float16", "tflite-dynamic", "tflite-int8", "tflite-weights8"),
}
EPOCHS = 6
TRAINED = ("net", "size", "augmentation", "seed")


def main() -> None:
    """Make what is missing of the grid, then search it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", type=Path, required=True, help="JSON file of the grid's results")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--searches", type=int, default=20)
    options = parser.parse_args()
    grid = json.loads(options.grid.read_text()) if options.grid.exists() else {}
    for values in itertools.product(*(SPACE[name] for name in TRAINED)):
        choice = dict(zip(TRAINED, values, strict=True))
        if name(choice) not in grid:
            grid[name(choice)] = measured(choice)
            write_json(options.grid, grid)
            print(name(choice), len(grid), flush=True)
    cells = [cell for training in grid.values() for cell in training["files"].values()]
    points = np.array([[cell["val_accuracy"], np.log(cell["p50_us"])] for cell in cells])
    worst = points[:, 0].min(), points[:, 1].max()
    whole = hypervolume(points, worst)
    best = front(np.column_stack([-points[:, 0], points[:, 1]]))
    print(f"grid: {len(cells)} files of {len(grid)} trainings, {EPOCHS * len(grid)} epochs; front of {len(best)}")
    rng = np.random.default_rng(0)
    found: dict[str, list[tuple[float, int]]] = {"random": [], "search": [], "search, none stopped": []}
    for seed in range(options.searches):
        rows = rng.choice(len(cells), options.count, replace=False)
        found["random"].append((hypervolume(points[rows], worst) / whole, EPOCHS * len({n // 5 for n in rows})))
        for kind in list(found)[1:]:
            trials = searched(grid, options.count, seed, early_stopping=kind == "search")
            done = [t.figures for t in trials if t.status == "complete"]
            reached = np.array([[f["val_accuracy"], np.log(f["p50_us"])] for f in done])
            epochs = sum({t.trial.train.key: t.epochs for t in trials}.values())
            found[kind].append((hypervolume(reached, worst) / whole, epochs))
    for kind, results in found.items():
        shares, epochs = np.array(results).T
        low, middle, high = np.quantile(shares, (0, 0.5, 1))
        reached95 = int((shares >= 0.95).sum())
        print(
            f"{kind:22} hypervolume {middle:.1%} (least {low:.1%}, most {high:.1%}) of the grid's, >= 95 % in "
            f"{reached95} of {len(shares)}; {epochs.mean():.0f} epochs"
        )


def name(choice: Mapping[str, Any]) -> str:
    """A training in words."""
    return " ".join(str(choice[dimension]) for dimension in TRAINED)


def measured(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Train, convert to all schemes, and test and time the files in turns: history and figures by scheme."""
    data = open_data("digits", size=choice["size"])
    with tempfile.TemporaryDirectory() as folder:
        options = {"augmentation": choice["augmentation"], "seed": choice["seed"], **NETS[choice["net"]]}
        run = train(data, out=folder, epochs=EPOCHS, progress=False, **options)
        variants = convert(run.model, ",".join(SPACE["scheme"]), verify=False, repairs=False)
        candidates = [Candidate(variant.path, "litert") for variant in variants if variant.path]
        assert len(candidates) == len(variants)
        right = {}
        for split in ("val", "test"):
            items = dataclasses.replace(data, test=getattr(data, split))
            answers = collect_answers(candidates, items, jobs=1)
            assert not any(isinstance(a, EdgepressError) for a in answers)
            right[split] = [float(np.mean(a.predicted == items.test.y)) for a in answers]  # type: ignore[union-attr]
        cpus = choose_cpus(1)
        openings = [Opening(candidate, data.labels, data.input, cpus) for candidate in candidates]
        items = data.val.read(slice(0, 16))
        timings = time_candidates(openings, items, Watch(cpus), BenchmarkOptions(rounds=8))
        p50 = [dataclasses.asdict(latency_figures(t, None))["p50_us"] for t in timings]  # type: ignore[arg-type]
        columns = zip(variants, right["val"], right["test"], p50, strict=True)
        files = {
            v.scheme: {"val_accuracy": val, "accuracy": test, "size_bytes": v.size_bytes, "p50_us": us}
            for v, val, test, us in columns
        }
    return {"history": [{"val_accuracy": row["val_accuracy"]} for row in run.history], "files": files}


class Points:
    """The grid as what is searched; a trial's results are put into the store when it is proposed."""

    dimensions = SPACE

    def __init__(self, grid: Mapping[str, Any], store: Store) -> None:
        self.grid, self.store = grid, store

    def fitted(self, point: Mapping[str, Any]) -> Mapping[str, Any]:
        """Every combination can be tried."""
        return point

    def trial(self, point: Mapping[str, Any]) -> PointJobs:
        """See `space.Space`."""
        training = self.grid[name(point)]
        cell = training["files"][point["scheme"]]
        about = {"training": name(point)}
        train = self._done(Job("sweep_search:train", about | {"epochs": EPOCHS}), training | {"epochs_run": EPOCHS})
        about |= {"scheme": point["scheme"]}
        convert = self._done(Job("sweep_search:convert", about, {"model": train.key}), cell)
        return PointJobs(
            point, train, convert, self._done(Job("sweep_search:time", about, {"file": convert.key}), cell)
        )

    def _done(self, job: Job, result: Mapping[str, Any]) -> Job:
        if self.store.get(job.key) is None:
            self.store.put(job.key, job.to_dict(), result, {}, files={})
        return job


def searched(grid: Mapping[str, Any], count: int, seed: int, *, early_stopping: bool) -> list[Tried]:
    """A search that finds every result in a store."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        search = Search(Points(grid, store), store, count, seed=seed, early_stopping=early_stopping)
        while jobs := search.ask():
            for job in jobs:
                entry = store.get(job.key)
                assert entry is not None
                search.tell(job, entry)
        return search.tried


def hypervolume(points: Any, worst: tuple[float, float]) -> float:
    """The area between points (accuracy, logarithm of latency) and the worst of both."""
    area, best = 0.0, worst[0]
    for accuracy, latency in sorted(points.tolist(), key=lambda point: point[1]):
        if accuracy > best:
            area, best = area + (accuracy - best) * (worst[1] - latency), accuracy
    return float(area)


if __name__ == "__main__":
    main()
