"""The search of a sweep: what Optuna proposes, from results that a store holds; nothing is trained here."""

import itertools
import json
import math
from types import MappingProxyType

import pytest
import sweep_results

pytest.importorskip("optuna")

from edgepress.toolkit.errors import InputError, SweepError
from edgepress.toolkit.search.sweeping.jobs import Job
from edgepress.toolkit.search.sweeping.proposals import CostLimits
from edgepress.toolkit.search.sweeping.search import PART, Search, Unpromising
from edgepress.toolkit.search.sweeping.space import PointJobs
from edgepress.toolkit.search.sweeping.store import Store
from edgepress.toolkit.search.sweeping.sweep import _row, front

EPOCHS = 8


class Space:
    """Six networks, four widths, two seeds, three schemes; wide is accurate and slow; "bad" learns nothing."""

    dimensions = MappingProxyType(
        {
            "net": ("a", "b", "c", "d", "e", "bad"),
            "width": (0.25, 0.5, 1.0, 2.0),
            "seed": (0, 1),
            "to": ("tflite-float32", "tflite-int8", "tflite-int4"),
        }
    )

    def fitted(self, point):
        return point | {"width": None} if point["net"] == "a" else point

    def trial(self, point):
        train = Job("train", {"epochs": EPOCHS} | {name: point[name] for name in ("net", "width", "seed")})
        convert = Job("convert", {"scheme": point["to"]}, {"model": train.key})
        return PointJobs(point, train, convert, Job("time", {}, {"file": convert.key}))

    def figures(self, point):
        kind, width = "abcde".find(point["net"]), point["width"] or 0.5
        scheme = {"float32": (0.01, 3.0), "int8": (0.0, 1.0), "int4": (-0.1, 1.1)}[point["to"].removeprefix("tflite-")]
        accuracy = 0.1 if kind < 0 else 0.95 - 0.2 / (width + 0.3) - 0.05 * kind + scheme[0] + 0.01 * point["seed"]
        cost = (kind + 2) * width * scheme[1]
        return {"val_accuracy": accuracy, "size_bytes": round(1e4 * cost), "p50_us": 100 * cost}

    def points(self):
        found = (
            dict(zip(self.dimensions, values, strict=True)) for values in itertools.product(*self.dimensions.values())
        )
        return list({str(point): point for point in map(self.fitted, found)}.values())


class World:
    """Does jobs at once, and counts those that were not in the store."""

    def __init__(self, store, space, broken=()):
        self.store, self.space, self.broken, self.done = store, space, broken, []

    def work(self, search, most=10**9):
        """Do the jobs of a search, up to a number of jobs that are not in the store; then it is killed."""
        while jobs := search.ask():
            for job in jobs:
                if (entry := self.store.get(job.key)) is None:
                    if len(self.done) == most:
                        return search.tried
                    self.done.append(job)
                    entry = self._do(job, search)
                search.tell(job, entry)
        return search.tried

    def _do(self, job, search):
        point = next(t.point for t in search.trials if job.key in [j.key for j in t.jobs] or _same(job, t.train))
        if job.kind in ("train", PART) and point["net"] in self.broken:
            return SweepError("it broke")
        if isinstance(lost := [self.store.get(key) for key in job.needs.values()], list) and None in lost:
            return SweepError("left out")
        figures = self.space.figures(point)
        return put(self.store, job, figures, history(figures, job.arguments.get("until", EPOCHS)))


def put(store, job, figures, rows):
    known = figures | {"history": rows, "scheme": job.arguments.get("scheme")}
    result, made, names = sweep_results.WHOLE[job.kind]
    result = result | {name: value for name, value in known.items() if name in result}
    if job.kind == "train":
        result["epochs_run"] = len(rows)
    files = sweep_results.write_files(store.folder / "made", names, result.get("size_bytes", 5))
    return store.put(job.key, job.to_dict(), result, made, files=files)


def history(figures, epochs):
    best = figures["val_accuracy"]
    return [sweep_results.epoch(n + 1, best * (1 - 0.5 ** (n + 1))) for n in range(epochs)]


def _same(part, train):
    return part.kind == PART and {**train.arguments, "until": part.arguments["until"]} == part.arguments


def searched(folder, count=30, broken=(), **options):
    space = Space()
    return World(Store(folder), space, broken).work(Search(space, Store(folder), count, **options))


def hypervolume(figures):
    worst, best, area = math.log(4000), 0.0, 0.0
    for one in sorted(figures, key=lambda f: f["p50_us"]):
        if one["val_accuracy"] > best:
            area, best = area + (one["val_accuracy"] - best) * (worst - math.log(one["p50_us"])), one["val_accuracy"]
    return area


def test_front_keeps_what_nothing_beats():
    assert front([[1, 5], [2, 4], [2, 5], [3, 3], [1, 5], [9, 9]]) == [0, 1, 3]
    assert front([[1.0, 1.0]]) == [0]


def test_a_search_finds_nearly_the_whole_front_and_tries_nothing_twice(tmp_path):
    space = Space()
    whole = hypervolume([space.figures(point) for point in space.points()])
    shares = []
    for seed in range(2):
        tried = searched(tmp_path / str(seed), 40, seed=seed)
        assert len(tried) == 40 == len({str(t.trial.point) for t in tried})
        shares.append(hypervolume([t.figures for t in tried if t.status == "complete"]) / whole)
    assert sum(shares) / len(shares) > 0.96


def test_a_seed_always_proposes_the_same_and_another_does_not(tmp_path):
    points = [[t.trial.point for t in searched(tmp_path / str(n), 16, seed=seed)] for n, seed in enumerate((0, 0, 1))]
    assert points[0] == points[1] != points[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search that nothing disturbed."""
    return searched(tmp_path_factory.mktemp("whole"), seed=3)


@pytest.mark.parametrize("most", [1, 17, 40])
def test_a_killed_search_does_nothing_twice_and_ends_the_same(tmp_path, whole, most):
    space, store = Space(), Store(tmp_path / "killed")
    first, second = World(store, space), World(store, space)
    first.work(Search(space, store, 30, seed=3), most)
    tried = second.work(Search(space, store, 30, seed=3))
    assert [(t.trial.point, t.status, t.figures) for t in tried] == [
        (t.trial.point, t.status, t.figures) for t in whole
    ]
    assert not {job.key for job in first.done} & {job.key for job in second.done}


def test_hopeless_trainings_stop_early_and_go_no_further(tmp_path):
    tried = searched(tmp_path, 40)
    stopped = [t for t in tried if t.status == "stopped"]
    bad = [t for t in tried if t.trial.point["net"] == "bad"]
    assert len([t for t in bad if t.status == "stopped"]) > len(bad) / 2
    best = front([[-t.figures["val_accuracy"], t.figures["p50_us"]] for t in tried if t.status == "complete"])
    assert best
    for t in stopped:
        assert t.epochs < EPOCHS
        assert all(Store(tmp_path).get(job.key) is None for job in t.trial.jobs)
    assert not [t for t in searched(tmp_path / "all", 24, early_stopping=False) if t.status == "stopped"]


def test_a_finished_training_in_the_store_is_judged_as_if_it_were_not_finished(tmp_path):
    plain, space, store = searched(tmp_path / "plain", 32), Space(), Store(tmp_path / "full")
    for job, figures in ((space.trial(p).train, space.figures(p)) for p in space.points()):
        put(store, job, figures, history(figures, EPOCHS))
    assert [t.status for t in searched(store.folder, 32)] == [t.status for t in plain]
    assert "stopped" in {t.status for t in plain}


def test_what_is_over_a_limit_or_stopped_is_told_to_be_infeasible(tmp_path):
    limits = CostLimits(size_bytes=25_000, latency_us=200)
    assert limits.over({"size_bytes": 50_000, "p50_us": 100}) == [1.0, -0.5]

    space, store = Space(), Store(tmp_path)
    search = Search(space, store, 24, limits=limits)
    tried = World(store, space).work(search)
    told = {str(t.trial.point): search._proposals._asked[json.dumps(t.trial.point, sort_keys=True)] for t in tried}
    for t in tried:
        kept = t.status == "complete" and t.figures["size_bytes"] <= 25_000 and t.figures["p50_us"] <= 200
        (violation,) = told[str(t.trial.point)].constraints.values()
        assert (violation <= 0) == kept
    assert len({t.status for t in tried}) == 2


def test_the_rule_compares_with_the_same_network_and_else_stops_only_what_hardly_learns():
    rule = Unpromising()
    assert rule.stops(0.25, {"0": ("a", 0.5), "1": ("a", 0.6), "2": ("a", 0.9)}) == set(), "too few are known"
    assert rule.stops(0.25, {"3": ("a", 0.65), "4": ("b", 0.3), "5": ("b", 0.2)}) == set()
    assert rule.stops(0.25, {"6": ("a", 0.54), "7": ("a", 0.7), "8": ("b", 0.31), "9": ("c", 0.1)}) == {"6", "9"}
    assert rule.stops(0.5, {"9": ("c", 0.0)}) == set(), "another rung"


def test_a_failed_training_ends_its_points_only(tmp_path):
    tried = searched(tmp_path, 40, broken=("b",), early_stopping=False)
    assert {t.status for t in tried if t.trial.point["net"] == "b"} == {"failed"}
    assert all(t.error for t in tried if t.status == "failed")
    assert any(t.status == "complete" for t in tried)


def test_a_training_whose_first_part_fails_is_a_failed_row(tmp_path):
    space, store = Space(), Store(tmp_path)
    search = Search(space, store, 40)
    World(store, space, broken=("b",)).work(search)
    trials = [trial for trial in search.trials if trial.point["net"] == "b"]
    rows = [_row(trial, {}, tmp_path) for trial in trials]
    assert {(row.status, row.error) for row in rows} == {("failed", "it broke")}


def test_no_more_points_are_tried_than_there_are_and_none_is_an_error(tmp_path):
    space, store = Space(), Store(tmp_path)
    space.dimensions = {**Space.dimensions, "net": ("a", "b"), "seed": (0,)}
    assert len(World(store, space).work(Search(space, store, 500))) == len(space.points()) == 15
    with pytest.raises(InputError, match="--search is 0; accepted: 1 or more"):
        Search(Space(), Store(tmp_path), 0)
    assert len(searched(tmp_path / "one", 1)) == 1
