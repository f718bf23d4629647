"""Latency of one model file on this machine by number of threads, and the best number for `--threads auto`.

The file is opened once per number of threads; they take turns of a quarter of a second, so that a slow moment of the
machine affects all of them. What is timed is `Model.answer` of a prepared item of random values. The best number is the
smallest whose median is within 5 % of the fastest. It is stored in `~/.cache/edgepress/threads.json` (or under
`XDG_CACHE_HOME`) by the file's hash and the engine; not beside the model, where a bundle's checksums would break.
"""

from __future__ import annotations

import array
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.runtime.board import cpu_name, usable_cores, version
from edgepress.runtime.engines import ENGINES
from edgepress.runtime.errors import EngineError, InputError
from edgepress.runtime.items import random_items
from edgepress.runtime.model import Model, load
from edgepress.runtime.system import temperature_c

TURN_S = 0.25
NEAR = 1.05


def bench(
    path: str | os.PathLike[str],
    engine: str | None = None,
    *,
    contract: str | os.PathLike[str] | None = None,
    threads: Sequence[int] = (),
    seconds: float = 10.0,
    sustained_s: float = 0.0,
    minute_s: float = 60.0,
    on_minute: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Time a file and store the best number of threads, if several were timed; docs/runtime.md lists the result.

    `threads` are the numbers to compare (empty: 1, 2, 4, 8 and the number of cores, up to that number), each timed for
    `seconds`; of an engine with one thread, 1 alone is timed. The best one then continues for `sustained_s`, to see
    whether the CPU is throttled: `on_minute` is called with the figures of every `minute_s`. Errors are those of
    `load`.
    """
    cores = usable_cores()
    before = temperature_c()
    one_thread = engine in ENGINES and ENGINES[engine].one_thread
    counts = [1] if one_thread else sorted(set(threads)) or sorted(n for n in {1, 2, 4, 8, cores} if n <= cores)
    models, opened, items = _open_models(path, engine, counts, contract)
    times = [array.array("f") for _ in counts]
    for _ in range(max(1, round(seconds / TURN_S))):
        for model, latencies in zip(models, times, strict=True):
            _time_calls(model, items, min(seconds, TURN_S) / 10)  # the caches hold the weights of the previous one
            latencies.extend(_time_calls(model, items, min(seconds, TURN_S)))
    results = [start | _summary(latencies) for start, latencies in zip(opened, times, strict=True)]
    fastest = min(float(r["p50_us"]) for r in results)
    best = next(i for i, r in enumerate(results) if r["p50_us"] <= NEAR * fastest)
    model = models[best]
    minutes = list[dict[str, Any]]()
    while (left := sustained_s - len(minutes) * minute_s) > 0:
        part = _summary(_time_calls(model, items, min(minute_s, left)))
        minutes.append({"minute": len(minutes) + 1} | part | {"temperature_c": temperature_c()})
        if on_minute:
            on_minute(minutes[-1])
    slowdown = minutes[-1]["p50_us"] / minutes[0]["p50_us"] if len(minutes) > 1 else None
    return {
        "file": str(path),
        "scheme": model.contract.scheme if model.contract else "",
        "size_bytes": model.path.stat().st_size,
        "sha256": _key(model).split()[0],
        "engine": model.engine,
        "engine_version": version(ENGINES[model.engine].package),
        "cpu": cpu_name(),
        "cores": cores,
        "temperature_before_c": before,
        "temperature_after_c": temperature_c(),
        "results": results,
        "best_threads": counts[best],
        "kept_in": _keep(model, counts[best]) if len(counts) > 1 else None,
        "minutes": minutes,
        "slowdown": slowdown,
        "speed": "" if slowdown is None else "held" if slowdown < NEAR else f"fell to {1 / slowdown:.0%}",
    }


def best_threads(
    path: str | os.PathLike[str], engine: str | None = None, contract: str | os.PathLike[str] | None = None
) -> int:
    """The number of threads that `bench` found best for a file on this machine; InputError if it has not run here."""
    model = load(path, engine, contract=contract)
    if ENGINES[model.engine].one_thread:
        return 1
    if not isinstance(threads := _read_choices().get(_key(model)), int):
        problem = f"The best number of threads for {path} on {model.engine} is not known here."
        raise InputError(problem, f"Find it with: python -m edgepress.runtime bench {path}")
    return threads


def _open_models(
    path: Any, engine: str | None, counts: list[int], contract: Any
) -> tuple[list[Model], list[dict[str, Any]], list[Any]]:
    """A model for each number of threads, how long opening and the first call took, and items to time calls with."""
    models = list[Model]()
    opened = list[dict[str, Any]]()
    items = list[Any]()
    for n in counts:
        start = time.perf_counter()
        model = load(path, engine, n, contract)
        if not ENGINES[model.engine].timed:
            raise EngineError(f"The latency of {model.engine} on this machine says nothing.", "Time another engine.")
        load_ms = (time.perf_counter() - start) * 1e3
        # A reset is not a part of the net, and may mean to open the file again.
        models.append(model := load(path, engine, n, contract, keep_state=True) if model.stateful else model)
        if min(model.shape, default=1) < 1:
            problem = f"{path} leaves the size of its input open: {list(model.shape)}."
            raise InputError(problem, "Fix the size when exporting the model.")
        items = list(random_items(model.contract, (8, *model.ready[0]), model.ready[1]))
        opened.append({"threads": n, "load_ms": load_ms, "first_us": float(_time_calls(model, items, 0)[0])})
    return models, opened, items


def _time_calls(model: Model, items: Sequence[Any], seconds: float) -> array.array[float]:
    """Latencies of calls for some seconds (at least one call), microseconds, as float32."""
    clock = time.perf_counter_ns
    answer = model.answer
    latencies = array.array("f")
    i = 0
    end = (now := clock()) + int(seconds * 1e9)
    while not i or now < end:
        item = items[i & 7]
        i = i + 1
        start = clock()
        answer(item)
        now = clock()
        latencies.append((now - start) / 1e3)
    return latencies


def _summary(latencies: array.array[float]) -> dict[str, Any]:
    quantiles = np.quantile(np.asarray(latencies), (0, 0.5, 0.9, 0.99)).tolist()
    return {"count": len(latencies)} | dict(zip(("min_us", "p50_us", "p90_us", "p99_us"), quantiles, strict=True))


def _key(model: Model) -> str:
    return f"{hashlib.sha256(model.path.read_bytes()).hexdigest()} {model.engine}"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgepress" / "threads.json"


def _read_choices() -> dict[str, Any]:
    try:
        return dict(json.loads(_cache().read_bytes()))
    except (OSError, ValueError, TypeError):  # missing or damaged: nothing has been measured
        return {}


def _keep(model: Model, threads: int) -> str | None:
    """Store the best number; returns the file, None if it cannot be written, as on a read-only system."""
    path = _cache()
    temporary = _cache().with_name(f".threads.{os.getpid()}.json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(_read_choices() | {_key(model): threads}))
        os.replace(temporary, path)
    except OSError:
        return None
    return str(path)
