"""A sweep on a cluster of this machine: equal results although processes are killed, scaling, and overhead.

    python benchmarks/compression/sweep_cluster.py            # all three; or --only kills | scaling | overhead

- kills: 48 jobs (24 trainings of small nets on the digits, and a conversion of each to int8) on a scheduler and four
  workers on loopback, once undisturbed and once while a worker or the scheduler, chosen at random, is killed every
  20 seconds. Every result must be there once, with a document equal to that of the undisturbed run but for times, and
  files of the same hashes.
- scaling: 24 jobs that each compute for a known time on one core; seconds on one worker and on two, in turns.
- overhead: seconds and milliseconds a job for 500 to 5,000 jobs that do nothing, on two workers: store, hashes,
  scheduler and the processes' messages. Then the same again, when all results are there.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from edgepress.toolkit.search.cluster.cluster import ClusterRunner
from edgepress.toolkit.search.cluster.setup import Where
from edgepress.toolkit.search.sweeping import loop
from edgepress.toolkit.search.sweeping.jobs import Job, Made
from edgepress.toolkit.search.sweeping.plan import plan_of
from edgepress.toolkit.search.sweeping.space import Grid, Space
from edgepress.toolkit.search.sweeping.store import Entry, Store

EVERY_S = 20.0
WORK = 0.5
"""Seconds that a job of known cost computes, measured on an idle core."""


class Given:
    """Proposes these jobs."""

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs, self.trials = jobs, []

    def ask(self) -> list[Job]:
        """All jobs, once."""
        jobs, self.jobs = self.jobs, []
        return jobs

    def tell(self, job: Job, outcome: object) -> None:
        """Nothing depends on results."""


def nothing(job: Job, inputs: Mapping[str, Entry], folder: Path) -> Made:
    """A job that does nothing."""
    return Made({"n": job.arguments["n"]})


def compute(job: Job, inputs: Mapping[str, Entry], folder: Path) -> Made:
    """A job that takes `WORK` seconds of one core."""
    value = 0
    for n in range(job.arguments["steps"]):
        value = (value * 31 + n) % 1_000_003
    return Made({"value": value})


def steps_for(seconds: float) -> int:
    """Steps of `compute` that take this long on this machine."""
    began = time.perf_counter()
    compute(Job("", {"steps": 2_000_000}, versions={}), {}, Path())
    return int(2_000_000 * seconds / (time.perf_counter() - began))


def done(runner: ClusterRunner, store: Store, jobs: list[Job]) -> float:
    """Seconds to do all jobs."""
    began = time.perf_counter()
    outcomes = loop.run(Given(list(jobs)), runner, store)
    seconds = time.perf_counter() - began
    failed = [outcome for outcome in outcomes.values() if not isinstance(outcome, Entry)]
    assert not failed, failed[0]
    assert len(outcomes) == len(jobs)
    return seconds


class Killer(threading.Thread):
    """Kills a worker or the scheduler every `EVERY_S` seconds."""

    def __init__(self, runner: ClusterRunner, seed: int) -> None:
        super().__init__(daemon=True)
        self.runner, self.random, self.over = runner, random.Random(seed), threading.Event()
        self.killed: Counter[str] = Counter()

    def run(self) -> None:
        """Kill until `over` is set."""
        while not self.over.wait(EVERY_S):
            cluster = self.runner.cluster
            assert cluster is not None
            what = self.random.choice(["scheduler", "worker", "worker", "worker", "worker"])
            pid = cluster.scheduler_pid if what == "scheduler" else self.random.choice(cluster.worker_pids)
            os.kill(pid, signal.SIGKILL)
            self.killed[what] += 1


def results(store: Store) -> dict[str, object]:
    """Each result without times; files by their hashes, but those of documents with times."""
    found: dict[str, object] = {}
    for entry in store:
        files = {n: h for n, h in entry.hashes.items() if n != "metrics.json"}
        assert entry.key not in found
        found[entry.key] = {"job": dict(entry.job), "result": dict(entry.result), "files": files}
    return found


def kills(place: Path, epochs: int, seeds: int) -> None:
    """Compare an undisturbed run with one under kills."""
    plan = plan_of({
        "data": {"source": "digits"},
        "dimensions": {"arch": ["lenet"], "seed": list(range(seeds)), "to": "tflite-int8"},
        "training": {"epochs": epochs},
        "timing": {"rounds": 0},
    })  # fmt: skip
    found = []
    for name, disturbed in (("undisturbed", False), ("killed", True)):
        os.environ["EDGEPRESS_CACHE"] = str(place / f"cache-{name}")  # the workers' folder
        store, proposer, again = Store(place / name), Grid(Space(plan)), Counter[str]()
        with ClusterRunner(store, Where.of("local:4")) as runner:
            killer = Killer(runner, seed=0)
            if disturbed:
                killer.start()
            began = time.perf_counter()
            outcomes = loop.run(proposer, runner, store, lambda event, again=again: again.update([event.kind]))
            seconds = time.perf_counter() - began
            killer.over.set()
        whole = sum(isinstance(outcome, Entry) for outcome in outcomes.values())
        rest = list((store.folder / "partial").iterdir())
        half = [p for p in (store.folder / "results").glob("*/*") if p.name.startswith(".")]
        found.append(results(store))
        print(
            f"{name}: {whole} of {len(outcomes)} jobs done in {seconds:.0f} s; "
            f"killed: {dict(killer.killed) or 'none'}; begun again: {again['again']}; "
            f"results {len(found[-1])}; half-written: {len(rest) + len(half)}",
            flush=True,
        )
    differ = [key for key in found[0] | found[1] if found[0].get(key) != found[1].get(key)]
    print(f"results that differ: {len(differ)} of {len(found[0])}")
    if differ:
        print(found[0].get(differ[0]), found[1].get(differ[0]), sep="\n")


def scaling(place: Path, turns: int) -> None:
    """Compare one worker with two."""
    steps, ratios = steps_for(WORK), []
    here = f"{Path(__file__).stem}:compute"
    with (
        ClusterRunner(Store(place / "one"), Where.of("local:1")) as one,
        ClusterRunner(Store(place / "two"), Where.of("local:2")) as two,
    ):
        for turn in range(turns + 1):  # the first one starts the processes
            seconds = []
            for runner in (one, two):
                jobs = [Job(here, {"steps": steps, "n": n, "turn": turn, "r": id(runner)}) for n in range(24)]
                seconds.append(done(runner, runner._store, jobs))
            if turn:
                ratios.append(seconds[0] / seconds[1])
                print(f"turn {turn}: one worker {seconds[0]:.1f} s, two {seconds[1]:.1f} s: {ratios[-1]:.2f} times")
    print(f"two workers: {statistics.median(ratios):.2f} times one ({min(ratios):.2f} to {max(ratios):.2f})")


def overhead(place: Path, counts: list[int]) -> None:
    """Time jobs that do nothing."""
    with ClusterRunner(Store(place / "start"), Where.of("local:2")) as runner:
        done(runner, runner._store, [Job(f"{Path(__file__).stem}:nothing", {"n": -n}) for n in range(1, 20)])
        for count in counts:
            store = runner._store = Store(place / f"store-{count}")
            jobs = [Job(f"{Path(__file__).stem}:nothing", {"n": n, "of": count}) for n in range(count)]
            first, again = done(runner, store, jobs), done(runner, store, jobs)
            print(
                f"{count} jobs: {first:.1f} s, {1000 * first / count:.1f} ms a job; "
                f"all there: {again:.1f} s, {1000 * again / count:.2f} ms a job",
                flush=True,
            )


def main() -> None:
    """Run the three parts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=["kills", "scaling", "overhead"])
    parser.add_argument("--epochs", type=int, default=20, help="of each training under kills")
    parser.add_argument("--seeds", type=int, default=24, help="a training each, and its conversion")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--counts", default="500,1000,2500,5000")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH", "")])
    place = Path(tempfile.mkdtemp(prefix="edgepress-sweep-"))
    os.environ["EDGEPRESS_CACHE"] = str(place / "cache")
    try:
        if options.only in (None, "kills"):
            kills(place, options.epochs, options.seeds)
        if options.only in (None, "scaling"):
            scaling(place, options.turns)
        if options.only in (None, "overhead"):
            overhead(place, [int(count) for count in options.counts.split(",")])
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    main()
