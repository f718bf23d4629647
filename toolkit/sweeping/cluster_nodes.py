"""A cluster of this machine: a scheduler and workers in processes of their own, on loopback only.

One that ends is started again. The processes end when the one that started them does. As with any Dask scheduler,
whoever can connect to it can run code as its user; on loopback these are the users of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import IO

from edgepress.converters.scratch import ScratchFolder, remove_abandoned
from edgepress.toolkit.errors import ClusterError

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
        code = f"from edgepress.toolkit.sweeping.cluster_nodes import main; main({node.arguments!r}, {os.getpid()})"
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
