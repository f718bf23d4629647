"""Which cluster does the jobs of a sweep, checked that nobody else can use it, and one of this machine on loopback.

A cluster of this machine: a scheduler and workers in processes of their own, on loopback only.

One that ends is started again. The processes end when the one that started them does. As with any Dask scheduler,
whoever can connect to it can run code as its user; on loopback these are the users of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import urlsplit

from edgepress.converters.process.scratch import ScratchFolder, remove_abandoned
from edgepress.toolkit.errors import ClusterError, InputError

MOST_WORKERS = 256
"""Most worker processes on this machine."""


@dataclass(frozen=True)
class Where:
    """Which cluster, as options say it; checked.

    Attributes:
        scheduler: Address of a scheduler; "" for a cluster of this machine.
        count: Number of workers of that.
        tls: "ca", "cert" and "key": paths of certificates; empty for none.
    """

    scheduler: str = ""
    count: int = 0
    tls: Mapping[str, Path] | None = None

    @classmethod
    def of(
        cls,
        cluster: str | None = None,
        scheduler: str | None = None,
        *,
        tls_ca: Path | None = None,
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        insecure: bool = False,
    ) -> Where:
        """Check the options of a cluster.

        Args:
            cluster: "local:N" for N workers on this machine.
            scheduler: Address of a scheduler: tcp://HOST:PORT or tls://HOST:PORT.
            tls_ca: Certificate of the authority that signed those of the cluster; PEM, as the next two.
            tls_cert: Certificate of this client.
            tls_key: Its key.
            insecure: Whether tcp:// is accepted for another machine.

        Raises:
            InputError: They contradict each other, or the connection would be open to others.
        """
        files = {"ca": tls_ca, "cert": tls_cert, "key": tls_key}
        tls = {name: path for name, path in files.items() if path is not None}
        if (cluster is None) == (scheduler is None):
            raise InputError(
                "Give either a cluster or a scheduler.", "--cluster local:4, or --scheduler tls://HOST:PORT."
            )
        if cluster is not None:
            if tls or insecure:
                raise InputError("A cluster on this machine uses loopback only.", "Leave out the TLS options.")
            name, _, number = cluster.partition(":")
            if name != "local" or not number.isdecimal() or not 1 <= int(number) <= MOST_WORKERS:
                raise InputError(f"The cluster {cluster!r} is unknown.", f"Accepted: local:1 to local:{MOST_WORKERS}.")
            return cls(count=int(number))
        assert scheduler is not None
        cls._check_address(scheduler, tls, insecure=insecure)
        return cls(scheduler=scheduler, tls=tls or None)

    @staticmethod
    def _check_address(scheduler: str, tls: Mapping[str, Path], *, insecure: bool) -> None:
        url = urlsplit(scheduler)
        try:
            host = url.hostname
            port = url.port
        except ValueError:
            host = port = None
        if url.scheme not in ("tcp", "tls") or not host or not port or url.path or url.username:
            raise InputError(
                f"The scheduler {scheduler!r} is not a valid address.", "Accepted: tcp://HOST:PORT, tls://HOST:PORT."
            )
        missing = [f"--tls-{name}" for name in ("ca", "cert", "key") if name not in tls]
        if url.scheme == "tls" and missing:
            raise InputError(f"{scheduler} needs certificates; {', '.join(missing)} is missing.", "Name the PEM files.")
        if url.scheme == "tcp" and tls:
            raise InputError(
                f"{scheduler} is not encrypted, so certificates are of no use.", "Write tls://, not tcp://."
            )
        if url.scheme == "tcp" and not insecure and not _is_loopback(host):
            raise InputError(
                f"Whoever reaches {scheduler} can run any code on its workers, and connections are not encrypted.",
                "Use tls:// with --tls-ca, --tls-cert and --tls-key; or --insecure in a network that only you use.",
            )
        for name, path in tls.items():
            if not path.is_file():
                raise InputError(f"There is no file {path} for --tls-{name}.", "Check the path.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


LOOPBACK = "127.0.0.1"
LOOK_S = 0.1
"""Seconds between two looks at the processes."""
SOON_S = 3.0
"""Seconds after its start within which the end of a process counts as a failure to start."""
STARTS = 5
"""Number of failures to start, one after another, after which the cluster gives up."""


@dataclass
class _Node:
    arguments: tuple[str, ...]
    log: IO[bytes]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0


class LocalCluster:
    """A scheduler and workers; used as a context manager.

    Args:
        count: Number of workers. The first one alone has the resource "timing".
        on_failure: Called if a process can't be started, in the thread that watches.
    """

    def __init__(self, count: int, on_failure: Callable[[ClusterError], None]) -> None:
        self._folder = ScratchFolder()  # for all processes: one that is killed removes nothing
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = probe.getsockname()[1]
        self.address = f"tcp://{LOOPBACK}:{port}"
        self._on_failure = on_failure
        rows: list[tuple[str, ...]] = [("scheduler", str(port))]
        rows += [("worker", str(port), f"worker-{i}", "timing" if i == 0 else "") for i in range(count)]
        self.nodes = [_Node(row, tempfile.TemporaryFile()) for row in rows]  # noqa: SIM115 - closed by __exit__
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="cluster")

    @property
    def scheduler_pid(self) -> int:
        """The process ID of the scheduler."""
        return _pid(self.nodes[0])

    @property
    def worker_pids(self) -> list[int]:
        """The process IDs of the workers."""
        return [_pid(node) for node in self.nodes[1:]]

    def __enter__(self) -> LocalCluster:
        for node in self.nodes:
            self._start(node)
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._closed.set()
        self._watcher.join()
        for node in self.nodes[::-1]:
            if node.process is not None:
                node.process.kill()  # jobs end with it, and can be resumed
                node.process.wait()
            node.log.close()
        self._folder.cleanup()

    def _start(self, node: _Node) -> None:
        code = f"from edgepress.toolkit.search.cluster.setup import main; main({node.arguments!r}, {os.getpid()})"
        command = [sys.executable, "-P", "-c", code]
        environment = os.environ | {"TMPDIR": self._folder.name}
        node.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=node.log, stderr=node.log, env=environment
        )
        node.started = time.monotonic()

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_S):
            for node in self.nodes:
                if node.process is None or node.process.poll() is None:
                    continue
                node.failures = node.failures + 1 if time.monotonic() - node.started < SOON_S else 0
                if node.failures >= STARTS:
                    self._on_failure(ClusterError(f"The {node.arguments[0]} can't be started: {_last_words(node)}"))
                    return
                self._start(node)


def _pid(node: _Node) -> int:
    assert node.process is not None
    return node.process.pid


def _last_words(node: _Node) -> str:
    node.log.seek(0)
    lines = node.log.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def main(arguments: tuple[str, ...], parent: int) -> None:
    """Be a scheduler or a worker until the process that started this one ends."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C in a terminal reaches all; the parent ends this one
        asyncio.run(_scheduler(*arguments[1:]) if arguments[0] == "scheduler" else _worker(*arguments[1:]))


async def _scheduler(port: str) -> None:
    from distributed import Scheduler

    async with Scheduler(host=LOOPBACK, port=int(port), dashboard_address=f"{LOOPBACK}:0") as scheduler:
        await scheduler.finished()


async def _worker(port: str, name: str, resource: str) -> None:
    import dask
    from distributed import Worker

    dask.config.set({"distributed.worker.daemon": False})
    address = f"tcp://{LOOPBACK}:{port}"
    with tempfile.TemporaryDirectory() as folder:  # in that of the cluster
        worker = Worker(
            address,
            host=LOOPBACK,
            name=name,
            nthreads=1,
            memory_limit=0,  # jobs are done in child processes
            resources={resource: 1} if resource else None,
            dashboard_address=f"{LOOPBACK}:0",
            local_directory=folder,
            death_timeout=30,
        )
        async with worker:
            await worker.finished()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    remove_abandoned(os.path.dirname(os.environ["TMPDIR"]))  # the parent was killed, and has removed nothing
    os._exit(1)
