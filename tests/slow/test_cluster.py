"""Sweeps on a cluster: what is refused, what travels, and what a lost worker or scheduler costs."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cluster_jobs
import psutil
import pytest

from edgepress.toolkit.errors import (
    BusyError,
    ClusterError,
    EdgepressError,
    InputError,
    LostProcessError,
    LostWorkerError,
    StoreError,
    SweepError,
)
from edgepress.toolkit.search.cluster import cluster as cluster_module
from edgepress.toolkit.search.cluster import worker
from edgepress.toolkit.search.cluster.cluster import ClusterRunner
from edgepress.toolkit.search.cluster.setup import Where
from edgepress.toolkit.search.cluster.worker import do, entry_files, entry_header, error_of, pack, put_entry, unpack
from edgepress.toolkit.search.sweeping import loop
from edgepress.toolkit.search.sweeping.jobs import Job
from edgepress.toolkit.search.sweeping.store import Entry, Store, key_of


class All:
    """Proposes these jobs."""

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs, self.trials = jobs, []

    def ask(self) -> list[Job]:
        jobs, self.jobs = self.jobs, []
        return jobs

    def tell(self, job: Job, outcome: object) -> None: ...


def number(n: int, **options: Any) -> Job:
    arguments = {"n": n} | ({"seconds": options.pop("seconds")} if "seconds" in options else {})
    return Job("cluster_jobs:number", arguments, **options)


def run(runner: ClusterRunner, store: Store, jobs: list[Job]) -> list[Entry | EdgepressError]:
    outcomes = loop.run(All([*jobs]), runner, store)
    return [outcomes[job.key] for job in jobs]


def total(outcome: Entry | EdgepressError) -> int:
    assert isinstance(outcome, Entry), outcome
    assert outcome.files["n.txt"].read_text() == str(outcome.result["total"])
    return int(outcome.result["total"])


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The environment of workers."""
    hostile = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        here = str(Path(__file__).parents[1] / "support")
        patch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
        patch.setenv("HOSTILE", str(hostile))
        yield hostile


@pytest.fixture(scope="module")
def runner(paths: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterRunner]:
    """A cluster of two workers on this machine."""
    with ClusterRunner(Store(tmp_path_factory.mktemp("store")), Where.of("local:2")) as running:
        yield running


def test_options_that_would_open_a_cluster_to_others_are_refused(tmp_path: Path) -> None:
    assert Where.of("local:4") == Where(count=4)
    for address in ("tcp://127.0.0.1:8786", "tcp://localhost:1", "tcp://[::1]:8786"):
        assert Where.of(scheduler=address).scheduler == address
    for address in ("tcp://192.168.0.9:8786", "tcp://node:8786", "tcp://0.0.0.0:8786", "tcp://localhost.node:8786"):
        with pytest.raises(InputError, match="any code"):
            Where.of(scheduler=address)
        assert Where.of(scheduler=address, insecure=True).tls is None
    for address in ("tls://node", "node:8786", "http://node:1", "tcp://:8786", "tcp://node:99999", "tcp://a@node:1"):
        with pytest.raises(InputError, match="not a valid address"):
            Where.of(scheduler=address, insecure=True)
    files = {name: tmp_path / name for name in ("tls_ca", "tls_cert", "tls_key")}
    with pytest.raises(InputError, match="--tls-key is missing"):
        Where.of(scheduler="tls://node:1", tls_ca=files["tls_ca"], tls_cert=files["tls_cert"])
    with pytest.raises(InputError, match=r"no file .*tls_ca"):
        Where.of(scheduler="tls://node:1", **files)
    for path in files.values():
        path.touch()
    assert Where.of(scheduler="tls://node:1", **files).tls == {"ca": files["tls_ca"], "cert": files["tls_cert"],
                                                                "key": files["tls_key"]}  # fmt: skip
    with pytest.raises(InputError, match="not encrypted"):
        Where.of(scheduler="tcp://127.0.0.1:1", **files)
    for cluster in ("local:0", "local", "local:x", "local:1000", "kubernetes:3"):
        with pytest.raises(InputError, match="is unknown"):
            Where.of(cluster)
    with pytest.raises(InputError, match="either"):
        Where.of("local:1", "tcp://127.0.0.1:1")
    with pytest.raises(InputError, match="loopback only"):
        Where.of("local:1", insecure=True)


def test_parcels_are_refused_if_a_byte_differs(tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_text("12345")
    job = {"kind": "k"}
    entry = Store(tmp_path / "a").put(key_of(job), job, {"n": 1}, {}, files={"n.txt": tmp_path / "n.txt"})
    parcel = pack(entry_header(entry), entry_files(entry))
    header, files = unpack(parcel)
    (tmp_path / "in").mkdir()
    again = put_entry(Store(tmp_path / "b"), header, files, tmp_path / "in")
    assert (again.result, again.hashes, again.files["n.txt"].read_text()) == (entry.result, entry.hashes, "12345")
    for bad in (parcel[:-1], parcel + b"x", parcel[:-5] + b"12346", parcel[:20], b"", "text", None, [parcel],
                (1 << 62).to_bytes(8, "big") + parcel[8:]):  # fmt: skip
        with pytest.raises(SweepError, match="refused"):
            unpack(bad)
    with pytest.raises(SweepError, match="refused"):
        put_entry(Store(tmp_path / "b"), header, {}, tmp_path / "in")
    with pytest.raises(SweepError, match="refused"):
        put_entry(Store(tmp_path / "b"), header | {"result": None}, files, tmp_path / "in")


def test_errors_travel_as_text() -> None:
    kinds = {"busy": BusyError, "ended": LostProcessError, "lost": LostWorkerError, "failed": SweepError}
    for kind, error in (*kinds.items(), ("os", SweepError)):
        found = error_of({"error": kind, "message": "It failed.", "hint": "Fix it."})
        assert (type(found), found.message, found.hint) == (error, "It failed.", "Fix it.")
    for name, kind in (*kinds.items(), ("lost", StoreError), ("lost", OSError), ("failed", ValueError)):
        assert worker._error(kind("It failed."))["error"] == name
    header, _ = unpack(do(b"rubbish"))
    assert header["error"] == "failed"


def test_a_full_disk_here_ends_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes from workers can't be kept: that is no lost worker, so no other one is tried."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "n.txt").write_text("1")
    job = number(1)
    entry = Store(tmp_path / "a").put(job.key, job.to_dict(), {"total": 1}, {}, files={"n.txt": tmp_path / "n.txt"})
    parcel = pack({"result": entry_header(entry)}, entry_files(entry))
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match="No space left on device"):
        ClusterRunner(Store(tmp_path / "b"), Where(count=1))._keep(job, parcel)


def test_a_worker_keeps_what_is_in_use_for_long(tmp_path: Path) -> None:
    store, old = Store(tmp_path), time.time() - 2 * worker.KEEP_S

    def age(folder: Path) -> None:
        for path in (*folder.rglob("*"), folder):
            os.utime(path, (old, old))

    kept, gone = (key_of({"kind": kind}) for kind in ("a", "b"))
    for kind, key in (("a", kept), ("b", gone)):
        store.put(key, {"kind": kind}, {}, {}, files={})
        age(store.folder / "results" / key[:2] / key)
    names = ("running", "killed", "training")
    for name in names:
        (store.folder / "partial" / name / "run").mkdir(parents=True)
        age(store.folder / "partial" / name)
    (store.folder / "partial" / "training" / "run" / "checkpoint").touch()
    assert store.keep(kept)
    with store.working("running"):
        os.utime(store.folder / "partial" / "running", (old, old))
        worker._tidy(store)
        assert sorted(path.name for path in (store.folder / "partial").iterdir()) == ["running", "training"]
    assert [entry.key for entry in store] == [kept]


def test_results_come_back_with_their_files(runner: ClusterRunner, tmp_path: Path) -> None:
    store = runner._store
    first = [number(n) for n in range(3)]
    last = number(10, needs={f"input {i}": job.key for i, job in enumerate(first)})
    timed = number(20, alone=True)
    outcomes = run(runner, store, [*first, last, timed, number(-1)])
    assert [total(outcome) for outcome in outcomes[:-1]] == [0, 1, 2, 13, 20]
    assert isinstance(outcomes[-1], SweepError)
    assert outcomes[-1].message == "Negative numbers fail."
    assert all(outcome.made["pid"] != os.getpid() for outcome in outcomes if isinstance(outcome, Entry))
    deadline = time.monotonic() + 30
    while not runner.title.startswith("2 ") and time.monotonic() < deadline:  # the jobs do not wait for both workers
        time.sleep(0.1)
    assert "2 worker threads on this machine, http://127.0.0.1" in runner.title


def test_nothing_listens_beyond_loopback(runner: ClusterRunner) -> None:
    assert runner.cluster is not None
    pids = [runner.cluster.scheduler_pid, *runner.cluster.worker_pids]
    listening = [c for pid in pids for c in psutil.Process(pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert len(listening) >= 3
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}


@pytest.mark.parametrize("function", ["send_object", "send_error", "send_rubbish", "send_other"])
def test_nothing_that_a_worker_sends_is_unpickled(
    runner: ClusterRunner, paths: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    monkeypatch.setattr(cluster_module, "do", getattr(cluster_jobs, function))
    job = number(n := 1000 + sum(function.encode()))
    error = runner.submit(job).exception(timeout=60)
    assert isinstance(error, LostWorkerError)
    assert not (paths / str(os.getpid())).exists()
    assert runner._store.get(job.key) is None
    if function != "send_error":
        assert isinstance(error, LostProcessError), "an attempt that failed: another worker may do better"
        assert "refused" in error.message or "another job" in error.message
    monkeypatch.undo()
    assert total(*run(runner, runner._store, [job])) == n  # it still works


def test_lost_workers_and_schedulers_cost_time_only(runner: ClusterRunner) -> None:
    assert runner.cluster is not None
    killed: list[int] = []

    def kill(event: loop.Event) -> None:
        assert runner.cluster is not None
        if event.kind == "done" and event.finished in (2, 5):
            pid = runner.cluster.worker_pids[1] if event.finished == 2 else runner.cluster.scheduler_pid
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    jobs = [number(2000 + n, seconds=0.3) for n in range(10)]
    outcomes = loop.run(All([*jobs]), runner, runner._store, kill)
    assert [total(outcomes[job.key]) for job in jobs] == [*range(2000, 2010)]
    assert len(killed) == 2
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in killed)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_scheduler_that_does_not_answer_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_S", 1.0)
    address = f"tcp://127.0.0.1:{free_port()}"
    began = time.monotonic()
    with (
        pytest.raises(ClusterError, match=rf"{address} did not answer within 1 s"),
        ClusterRunner(Store(tmp_path), Where.of(scheduler=address)),
    ):
        pass
    assert time.monotonic() - began < 20


def certificates(folder: Path) -> dict[str, Path]:
    """An authority and a certificate that it signed."""
    paths = {name: folder / f"{name}.pem" for name in ("ca", "ca-key", "cert", "key")}
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    own = ["-days", "2", "-subj", "/CN=edgepress test", "-keyout", str(paths["ca-key"]), "-out", str(paths["ca"])]
    subprocess.run([*new, *own], check=True, capture_output=True)
    signed = ["-CA", str(paths["ca"]), "-CAkey", str(paths["ca-key"]), "-days", "2", "-subj", "/CN=node"]
    files = ["-keyout", str(paths["key"]), "-out", str(paths["cert"])]
    subprocess.run([*new, *signed, *files], check=True, capture_output=True)
    return paths


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_a_scheduler_elsewhere_with_certificates(paths: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_S", 20.0)
    monkeypatch.setattr(cluster_module, "TIMING_WORKER_S", 0.0)
    (tmp_path / "others").mkdir()
    ours, theirs = certificates(tmp_path), certificates(tmp_path / "others")
    address = f"tls://127.0.0.1:{free_port()}"
    tls = [f"--tls-{option}={ours[name]}" for option, name in (("ca-file", "ca"), ("cert", "cert"), ("key", "key"))]

    def dask(name: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *options, *tls]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    scheduler = dask("scheduler", "--host=" + address, "--dashboard-address=127.0.0.1:0")
    worker_options = ("--host=tls://127.0.0.1", "--nthreads=1", "--no-nanny", "--no-dashboard")
    processes = [scheduler, dask("worker", address, *worker_options)]
    try:
        where = Where.of(scheduler=address, tls_ca=ours["ca"], tls_cert=ours["cert"], tls_key=ours["key"])
        store = Store(tmp_path / "store")
        with ClusterRunner(store, where) as running:
            first, timed = run(running, store, [number(1), number(2, alone=True)])
            assert total(first) == 1
            assert isinstance(timed, SweepError)
            assert "No worker that may measure time" in timed.message
            monkeypatch.setattr(cluster_module, "TIMING_WORKER_S", 120.0)
            processes.append(dask("worker", address, *worker_options, "--resources=timing=1"))  # comes in some seconds
            (timed,) = run(running, store, [number(2, alone=True)])
            assert total(timed) == 2
            monkeypatch.setattr(cluster_module, "CONNECT_S", 3.0)
            wrong = Where.of(scheduler=address, tls_ca=theirs["ca"], tls_cert=theirs["cert"], tls_key=theirs["key"])
            with pytest.raises(ClusterError, match="did not answer"), ClusterRunner(store, wrong):
                pass
            scheduler.kill()
            with pytest.raises(ClusterError, match="was lost"):
                run(running, store, [number(3, seconds=60)])
    finally:
        for process in processes:
            process.kill()
            process.wait()
