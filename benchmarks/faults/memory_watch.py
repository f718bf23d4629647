"""The peak memory and the CPU time of a process and its children, for the fuzzers."""

from __future__ import annotations

import contextlib
import threading
import time
from types import TracebackType

import psutil

POLL_S = 0.02
"""Seconds between two looks; the process itself also says its peak."""


class Watch:
    """Resident memory of a process tree above that at the beginning, its maximum until `stop` or the block's end."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._before, self._peak, self._done = self._resident(), 0, threading.Event()
        self._own = self._root.memory_info().rss
        with contextlib.suppress(OSError), open(f"/proc/{pid}/clear_refs", "w") as file:
            file.write("5")  # its peak begins anew; see proc_pid_clear_refs(5)
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> int:
        """End it, and give the peak above the beginning, bytes."""
        if not self._done.is_set():
            self._done.set()
            self._thread.join()
            self._peak = max(self._peak, self._resident(), self._before + self._high() - self._own)
        return self._peak - self._before

    def _look(self) -> None:
        while not self._done.is_set():
            self._peak = max(self._peak, self._resident())
            time.sleep(POLL_S)

    def _high(self) -> int:
        try:
            with open(f"/proc/{self._root.pid}/status") as file:
                return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            return 0

    def _resident(self) -> int:
        sizes = 0
        with contextlib.suppress(psutil.Error):
            for process in (self._root, *self._root.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    sizes += int(process.memory_info().rss)
        return sizes


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and its living children have taken."""
    total = 0.0
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total
