"""The store of a sweep, its jobs, and the loop that has them done in processes of this machine."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.toolkit.errors import (
    BusyError,
    EdgepressError,
    InputError,
    LostProcessError,
    LostWorkerError,
    StoreError,
    SweepError,
)
from edgepress.toolkit.search.sweeping import jobs, loop
from edgepress.toolkit.search.sweeping.jobs import Job, run_job
from edgepress.toolkit.search.sweeping.loop import ATTEMPTS, Event, run
from edgepress.toolkit.search.sweeping.runners import LocalRunner
from edgepress.toolkit.search.sweeping.store import ENTRY, Entry, Store

HERE = Path(__file__).parents[1] / "support"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda e: st.lists(e, max_size=3), max_leaves=5
)


class Listed:
    """Proposes jobs; `told` has what it was told, in order."""

    trials = ()

    def __init__(self, *jobs: Job) -> None:
        self.jobs, self.told = list(jobs), []

    def ask(self) -> Iterable[Job]:
        asked, self.jobs = self.jobs, []
        return asked

    def tell(self, job: Job, outcome: Any) -> None:
        self.told.append((job, outcome))


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.txt"
    path.touch()
    return path


def spin(number: int, log: Path | None = None, *needs: Job, seconds: float = 0.0) -> Job:
    context = {"log": str(log)} if log else {}
    arguments = {"number": number, "seconds": seconds}
    return Job("sweep_jobs:spin", arguments, {str(i): need.key for i, need in enumerate(needs)}, context)


def done(store: Store, *wanted: Job, processes: int = 2) -> tuple[dict[str, Any], list[Event]]:
    events: list[Event] = []
    with LocalRunner(store, processes) as runner:
        outcomes = run(Listed(*wanted), runner, store, events.append)
    return outcomes, events


def test_a_result_is_kept_with_its_files(store: Store) -> None:
    job = spin(4)
    made = run_job(job, store)
    found = store.get(job.key)
    assert found == made
    assert found.result == {"number": 4}
    assert found.files["number.txt"].read_text() == "4"
    assert [entry.key for entry in store] == [job.key]
    assert not [*(store.folder / "partial").iterdir()]


@pytest.mark.parametrize("what", ["file", "missing file", "result", "cut off", "no entry", "other key"])
def test_a_damaged_result_is_done_again(store: Store, log: Path, what: str) -> None:
    job = spin(4, log)
    made = run_job(job, store)
    path, entry = made.files["number.txt"], made.files["number.txt"].with_name(ENTRY)
    if what == "file":
        path.write_text("5")
    elif what == "missing file":
        path.unlink()
    elif what == "result":
        entry.write_text(entry.read_text().replace('"number": 4', '"number": 5'))
    elif what == "cut off":
        entry.write_text(entry.read_text()[:-20])
    elif what == "no entry":
        entry.unlink()
    else:
        run_job(other := spin(5), store)
        entry.write_bytes(store.get(other.key).files["number.txt"].with_name(ENTRY).read_bytes())
    assert store.get(job.key) is None
    assert run_job(job, store).result == {"number": 4}
    assert store.get(job.key).files["number.txt"].read_text() == "4"
    assert len(log.read_text().splitlines()) == 2


def test_a_result_that_is_there_stays(store: Store, tmp_path: Path) -> None:
    job = spin(1)
    first = run_job(job, store)
    (tmp_path / "number.txt").write_text("9")
    again = store.put(job.key, job.to_dict(), {"number": 9}, {}, files={"number.txt": tmp_path / "number.txt"})
    assert again == first


@pytest.mark.parametrize("name", ["../a", "a/b", "", "..", ENTRY])
def test_files_stay_in_their_folder(store: Store, log: Path, name: str) -> None:
    with pytest.raises(SweepError, match="refused"):
        store.put(spin(1).key, spin(1).to_dict(), {}, {}, files={name: log})


def test_key_depends_on_all_that_the_result_does() -> None:
    job = Job("train", {"a": 1, "b": 2}, {"model": "x"})
    same = Job("train", {"b": 2, "a": 1}, {"model": "x"}, {"data": "elsewhere"}, alone=True)
    assert same.key == job.key
    others = [
        Job("convert", {"a": 1, "b": 2}, {"model": "x"}),
        Job("train", {"a": 1, "b": 3}, {"model": "x"}),
        Job("train", {"a": 1, "b": 2}, {"model": "y"}),
        Job("train", {"a": 1, "b": 2}, {"model": "x"}, versions={"edgepress": "0"}),
    ]
    assert len({job.key, *(other.key for other in others)}) == 5
    assert Job(**json.loads(json.dumps(job.to_dict()))).key == job.key


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_key_does_not_depend_on_the_way_through_json(arguments: dict[str, Any]) -> None:
    job = Job("train", arguments)
    assert Job(**json.loads(json.dumps(job.to_dict()))).key == job.key
    assert Job("train", dict(reversed(arguments.items()))).key == job.key
    assert Job("train", arguments | {"another": 0}).key != job.key or arguments.get("another") == 0


def test_other_versions_on_a_worker_are_refused(store: Store) -> None:
    job = Job("sweep_jobs:spin", {"number": 1}, versions={"numpy": "0.1"})
    with pytest.raises(SweepError, match=r"numpy .* instead of 0\.1"):
        run_job(job, store)


def test_a_job_that_another_does_is_busy(store: Store) -> None:
    job = spin(1)
    with store.working(job.key), pytest.raises(BusyError):
        run_job(job, store)
    assert run_job(job, store).result == {"number": 1}


def test_unknown_kinds_are_named(store: Store) -> None:
    with pytest.raises(SweepError, match="no kind of job 'trains'"):
        run_job(Job("trains", {}), store)


@pytest.mark.parametrize("where", ["results", "job"])
def test_a_full_disk_is_one_error_and_leaves_nothing_half(
    store: Store, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def worded(*_: Any, **__: Any) -> None:
        try:
            full()
        except OSError as e:
            raise InputError("x can't be written.") from e

    job = spin(1)
    with monkeypatch.context() as patched:
        if where == "results":
            patched.setattr(Path, "rename", full)
        else:
            patched.setattr(jobs, "_call_kind", worded)
        with pytest.raises(StoreError, match="No space left on device") as error:
            run_job(job, store)
        assert "run the same command again" in error.value.hint
    assert not [*(store.folder / "results").glob("*/*")]
    assert run_job(job, store).result == {"number": 1}


def test_errors_of_a_job_are_not_the_disks(store: Store) -> None:
    with pytest.raises(InputError, match="It can't be done"):
        run_job(Job("sweep_jobs:fail", {"how": "input"}), store)
    with pytest.raises(SweepError, match=r"ZeroDivisionError in sweep_jobs\.py:\d+: as planned"):
        run_job(Job("sweep_jobs:fail", {"how": "bug"}), store)


def test_jobs_wait_for_what_they_need(store: Store, log: Path) -> None:
    a, b = spin(1, log), spin(2, log)
    c = spin(10, log, a, b)
    d = spin(100, log, c)
    outcomes, _ = done(store, d, c, b, a)
    assert outcomes[d.key].result == {"number": 113}
    assert len(log.read_text().splitlines()) == 4
    again, events = done(store, d, c, b, a)
    assert again == outcomes
    assert {event.kind for event in events} == {"kept"}
    assert len(log.read_text().splitlines()) == 4


def test_a_failure_leaves_out_what_needs_it_and_nothing_else(store: Store) -> None:
    bad = Job("sweep_jobs:fail", {"how": "input"})
    child, good = spin(1, None, bad), spin(2)
    grandchild = spin(3, None, child)
    outcomes, events = done(store, bad, child, grandchild, good)
    assert outcomes[good.key].result == {"number": 2}
    assert str(outcomes[bad.key]) == "It can't be done. Do something else."
    assert "Left out" in str(outcomes[child.key])
    assert [e.kind for e in events if e.job in (child, grandchild)] == ["left out", "left out"]
    assert len([e for e in events if e.kind == "failed"]) == 1
    assert [e.finished for e in events if e.kind != "started"] == [1, 2, 3, 4]


def test_a_job_that_no_job_makes_is_left_out(store: Store) -> None:
    orphan = Job("sweep_jobs:spin", {"number": 1}, {"x": "ab" * 32})
    outcomes, _ = done(store, orphan)
    assert "no job makes" in str(outcomes[orphan.key])


def test_a_lost_worker_is_replaced_and_the_job_goes_on(store: Store, log: Path) -> None:
    job = Job("sweep_jobs:resume", {}, context={"log": str(log)})
    outcomes, events = done(store, job, processes=1)
    assert outcomes[job.key].result == {"number": 7}
    assert [e.kind for e in events] == ["started", "again", "started", "done"]


def test_a_job_that_kills_its_process_fails_in_the_end(store: Store, log: Path) -> None:
    job, good = Job("sweep_jobs:fail", {"how": "die"}, context={"log": str(log)}), spin(1)
    outcomes, _ = done(store, job, good)
    assert "SIGKILL" in str(outcomes[job.key])
    assert isinstance(outcomes[good.key], Entry)
    assert len(log.read_text().splitlines()) == ATTEMPTS


def test_timing_jobs_are_alone_on_the_machine(store: Store) -> None:
    others = [Job("sweep_jobs:sleep", {"seconds": 0.2, "n": n}) for n in range(4)]
    alone = [Job("sweep_jobs:sleep", {"seconds": 0.1, "n": n}, alone=True) for n in (10, 11)]
    outcomes, _ = done(store, others[0], alone[0], *others[1:], alone[1])
    spans = {job.key: outcomes[job.key].made["span"] for job in (*others, *alone)}
    for job in alone:
        began, ended = spans.pop(job.key)
        assert all(e <= began or b >= ended for b, e in spans.values())


@pytest.mark.slow
def test_timing_is_alone_beside_other_sweeps_too(tmp_path: Path) -> None:
    """Two processes that know nothing of each other."""
    text = (
        "import json, sys; from edgepress.toolkit.search.sweeping.jobs import Job, run_job;"
        "from edgepress.toolkit.search.sweeping.store import Store;"
        "alone = sys.argv[2] == 'alone';"
        "print(json.dumps([run_job(Job('sweep_jobs:sleep', {'seconds': .1, 'n': n, 'alone': alone}, alone=alone),"
        " Store(sys.argv[1])).made['span'] for n in range(4)]))"
    )
    command = [sys.executable, "-c", text, str(tmp_path / "store")]
    running = [subprocess.Popen([*command, how], stdout=subprocess.PIPE) for how in ("alone", "shared")]
    alone, shared = (json.loads(process.communicate()[0]) for process in running)
    assert all(e <= began or b >= ended for began, ended in alone for b, e in shared)


@pytest.mark.slow
def test_two_sweeps_do_each_job_once(tmp_path: Path, log: Path) -> None:
    store = Store(tmp_path / "store")
    command = [sys.executable, str(HERE / "sweep_program.py"), str(store.folder), str(log), "12", "0.05"]
    running = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    lines = log.read_text().splitlines()
    assert len(lines) == len(set(lines)) == 12
    assert len([*store]) == 12


@pytest.mark.slow
def test_a_killed_sweep_goes_on(tmp_path: Path, log: Path) -> None:
    store = Store(tmp_path / "store")
    command = [sys.executable, str(HERE / "sweep_program.py"), str(store.folder), str(log), "10", "0.1"]
    for wait in (1.0, 1.3, 1.6):
        process = subprocess.Popen(command)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert all(entry.result for entry in store)
    assert subprocess.run(command, timeout=60).returncode == 0
    found = {entry.result["number"] for entry in store}
    assert found == {*range(10)}


def test_a_full_disk_ends_the_sweep(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        title = "none"

        def free(self, job: Job) -> bool:
            return True

        def submit(self, job: Job) -> Any:
            future: Future[None] = Future()
            future.set_exception(StoreError("full"))
            return future

    with pytest.raises(StoreError, match="full"):
        run(Listed(spin(1), spin(2)), Full(), store)  # type: ignore[arg-type]


def test_a_proposer_that_learns(store: Store) -> None:
    """It asks for the next job only when it was told of the one before."""

    class Steps(Listed):
        def tell(self, job: Job, outcome: Any) -> None:
            super().tell(job, outcome)
            number = outcome.result["number"]
            if number < 4:
                self.jobs = [spin(number + 1)]

    steps = Steps(spin(0))
    with LocalRunner(store, 2) as runner:
        run(steps, runner, store)
    assert [outcome.result["number"] for _, outcome in steps.told] == [0, 1, 2, 3, 4]
    assert not any(isinstance(outcome, EdgepressError) for _, outcome in steps.told)


class Losing:
    """Does jobs at once, but loses job 0 `losses` times first; job n is free when that was begun n * `every` times."""

    title = "made up"

    def __init__(self, store: Store, losses: int, error: type[LostWorkerError], every: int) -> None:
        self.store, self.losses, self.error, self.every, self.begun = store, losses, error, every, 0

    def free(self, job: Job) -> bool:
        return job.arguments["number"] * self.every <= self.begun

    def submit(self, job: Job) -> Any:
        future: Future[None] = Future()
        self.begun += job.arguments["number"] == 0
        if job.arguments["number"] == 0 and self.begun <= self.losses:
            future.set_exception(self.error("lost"))
        else:
            run_job(job, self.store)
            future.set_result(None)
        return future


@pytest.mark.parametrize(
    ("losses", "error", "others", "every", "end"),
    [
        (loop.LOSSES - 1, LostWorkerError, 0, 1, "done"),
        (loop.LOSSES, LostWorkerError, 0, 1, "failed"),
        (3 * loop.LOSSES, LostWorkerError, 6, loop.LOSSES // 2, "done"),
        (ATTEMPTS - 1, LostProcessError, 4, 1, "done"),
        (ATTEMPTS, LostProcessError, 4, 1, "failed"),
    ],
)
def test_a_lost_worker_counts_only_while_no_other_job_ends(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    losses: int,
    error: type[LostWorkerError],
    others: int,
    every: int,
    end: str,
) -> None:
    monkeypatch.setattr(loop, "BUSY_S", 0.001)
    runner, events = Losing(store, losses, error, every), list[Event]()
    run(Listed(*map(spin, range(others + 1))), runner, store, events.append)  # type: ignore[arg-type]
    assert [e.kind for e in events if e.job == spin(0)][-1] == end
    assert len([e for e in events if e.kind == "done"]) == others + (end == "done")
    assert runner.begun == losses + (end == "done")


@pytest.mark.parametrize("missing", ["val", "test"])
def test_a_file_that_can_not_be_judged_is_one_error(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its accuracy is unknown, which no result may say: `shapes.CONVERT`."""
    from dataclasses import replace

    from edgepress.toolkit.data import open_data
    from edgepress.toolkit.search.sweeping import work

    data = open_data("digits")
    whole = getattr(data, missing)
    few = replace(data, **{missing: replace(whole, indices=whole.indices[:0], y=whole.y[:0])})
    monkeypatch.setattr("edgepress.toolkit.data.for_model.contract_of", lambda path: None)
    monkeypatch.setattr("edgepress.toolkit.data.for_model.data_for", lambda *_, **__: (few, None))

    def answered(candidates: Any, part: Any, jobs: int) -> Any:
        return [SimpleNamespace(predicted=part.test.y, engine="litert")]

    monkeypatch.setattr("edgepress.toolkit.measurement.benchmarking.collect.collect_answers", answered)
    job = Job("convert", {"scheme": "tflite-int8", "data": data.sha256}, {}, {"data": "digits"})
    with pytest.raises(SweepError, match=rf"has no {missing} items, so a\.tflite can't be judged"):
        work._test_file(Path("a.tflite"), job)
