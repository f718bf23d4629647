"""Collect the answers of files to the test split: each shard is decoded once and answered by processes on all cores.

Every candidate (file and engine) has its own child processes (`edgepress.converters.process.worker.Worker`); one that
crashes fails alone. As many threads as there are cores work on tasks (a candidate and a shard) in the order of the
shards. Each takes an idle process of the candidate, or starts another one. So a single file gets one process per core,
several files run in parallel, and a slow file gets a second process. Memory holds a few shards, regardless of the
number of images.

Processes map shards as files: they share one copy, and 55 images of 224 x 224 cost about 3 ms instead of 13 ms through
a pipe (`benchmarks/speed/evaluation_speed.py` compares the whole with a bare loop).
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from edgepress.converters.process.scratch import ScratchFolder
from edgepress.runtime.board import usable_cores
from edgepress.runtime.sessions import file_format
from edgepress.toolkit.arguments import OnProgress
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.machine.environments import usable_engines
from edgepress.toolkit.measurement.benchmarking.answers import Answerer, Answers
from edgepress.toolkit.measurement.benchmarking.cache import Shelf, prune
from edgepress.toolkit.workers.opening import Candidate

SHARD_BYTES = 8 << 20
"""Largest size of a shard, the items that are decoded, answered and cached together."""
SHARD_ITEMS = 1024
"""Largest number of items of a shard."""


def collect_answers(
    candidates: Sequence[Candidate],
    data: DataSet,
    *,
    jobs: int | None = None,
    cap_s: float = 120.0,
    cache: Path | None = None,
    estimated: Collection[Candidate] = (),
    on_progress: OnProgress | None = None,
) -> list[Answers | EdgepressError]:
    """Let every candidate answer the test split.

    Args:
        candidates: Files on engines. Candidates that differ only in `batch`, which is for timing, are answered once.
        data: Its test split, opened as the files take it.
        jobs: Number of parallel processes; None: number of usable CPUs / threads of a candidate.
        cap_s: Seconds that one candidate may take to answer before it fails; decoding does not count.
        cache: Folder that keeps finished shards, so that an interrupted call can resume; None keeps nothing. See
            `edgepress.toolkit.documents.default_cache`.
        estimated: Candidates that stop after `ENOUGH_ITEMS` items if they are slow beside the others, or if their time
            is up, instead of answering all items or failing.
        on_progress: Called with "accuracy" and the share that is done, 0-1, possibly from other threads.

    Returns:
        For each candidate, in their order: its answers, or why there are none.

    Raises:
        EdgepressError: An item cannot be read.
    """
    named = [_name_engine(c._replace(batch=1)) for c in candidates]
    different = list(dict.fromkeys(named))
    jobs = jobs or max(1, usable_cores() // max((c.threads for c in different), default=1))
    may_stop = {_name_engine(c._replace(batch=1)) for c in estimated} if data.labels else set()
    answerers = [Answerer(c, data, cap_s, Shelf(cache, c, data), may_stop=c in may_stop) for c in different]
    _run(answerers, data, jobs, on_progress)
    if cache is not None:
        prune(cache)
    outcomes = {c: t.outcome for c, t in zip(different, answerers, strict=True)}
    return [outcomes[c] for c in named]


def shards(data: DataSet) -> Iterator[slice]:
    """The rows of the test split in parts, each an even sample of it; they depend only on the data."""
    item = int(np.prod(data.input.shape)) * np.dtype(data.input.dtype).itemsize
    size = min(SHARD_ITEMS, max(1, SHARD_BYTES // item))
    count = len(data.test)
    parts = -(-count // size)
    for first in range(parts):
        yield slice(first, count, parts)


def _name_engine(candidate: Candidate) -> Candidate:
    """The candidate with its engine's name; if no engine opens the file, opening it will report the error."""
    if candidate.engine is not None:
        return candidate
    with contextlib.suppress(EdgepressError):
        return candidate._replace(engine=next(iter(usable_engines(file_format(candidate.file))), None))
    return candidate


def _run(answerers: Sequence[Answerer], data: DataSet, jobs: int, on_progress: OnProgress | None) -> None:
    telling = threading.Lock()
    count = len(data.test)

    def tell() -> None:
        if on_progress is not None:
            with telling:
                items_done = sum(count if t.ended else t.done for t in answerers)
                on_progress("accuracy", items_done / (count * len(answerers)))

    def task(answerer: Answerer, rows: slice, path: Path) -> None:
        answerer.answer(rows, path)
        answerer.stop_if_slow(min(t.seconds_an_item for t in answerers))
        answerer.close_idle()
        tell()

    flying: deque[tuple[Path, list[Future[None]]]] = deque()

    def land() -> None:
        path, tasks = flying.popleft()
        for each in tasks:
            each.result()
        path.unlink()

    with ScratchFolder() as folder, ThreadPoolExecutor(jobs) as pool:
        try:
            for rows in shards(data):
                waiting = [t for t in answerers if not t.ended and not t.remember(rows)]
                if waiting:
                    path = Path(folder) / f"{rows.start}.npy"
                    np.save(path, data.test.read(rows))
                    flying.append((path, [pool.submit(task, t, rows, path) for t in waiting]))
                tell()
                if len(flying) > jobs + 1:
                    land()
            while flying:
                land()
        except BaseException:  # including Ctrl-C: start nothing new, and end what runs
            pool.shutdown(wait=False, cancel_futures=True)
            for answerer in answerers:
                answerer.fail(EdgepressError("Stopped."))
            raise
        finally:
            for answerer in answerers:
                answerer.close()
