"""Profile one inference: the time of each operation, as a table, and of each layer, for a plot.

The engine's own profiler reports how long each kernel took, in a child process. `pairing` then maps the kernels to the
operations and layers of the file, where that is certain.

Limits: engines count whole microseconds, so kernels of small nets may show as 0; time that no kernel accounts for is
`rest_us`. Tracing takes time itself, about 2 us per kernel with ONNX Runtime; `tracing_slowdown` shows how much.
Latencies and kernel times are averages over the faster half of the runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.inspection import Node, read
from edgepress.converters.process.worker import ChildDied, Worker
from edgepress.runtime.engines import ENGINES
from edgepress.runtime.errors import EngineError, InputError, unknown
from edgepress.runtime.sessions import file_format
from edgepress.toolkit.diagnosis.profiling.pairing import (
    operation_of,
    own_places,
    pair,
    paired_by_name,
    ports_of,
    weight_bytes,
)
from edgepress.toolkit.machine.environments import python_for, usable_engines
from edgepress.toolkit.results.figures import OperationTime
from edgepress.toolkit.results.records import round_floats
from edgepress.toolkit.workers.trace import ProfileJob, Traces, trace_file

RUNS = 200
"""Traced calls, unless the caller sets them."""
SILENCE_S = 120.0
"""Time without a sign of life after which the child process is ended, seconds."""


@dataclass(frozen=True, kw_only=True)
class NodeTime:
    """One kernel of an inference.

    Attributes:
        name: Layer or tensor that it computes, from the file; the engine's name for it where that is unknown.
        operation: Kind of operation, as the file's format names it where known.
        kernel: The engine's description of the kernel.
        time_us: Its time in one inference, microseconds.
        share: Share of the time of all kernels, 0-1.
        delegated: Whether a delegate ran it.
        computes_in: Type of its data, as in `converters.inspection.Node`; "" if it is not known.
        macs: Multiply-accumulates of one inference; None if they are not known, because the engine reports neither
            shapes nor, with certainty, which operation of the file it is.
        weight_bytes: Size of the weights that it reads; None if it is not known.
        least_us: Its shortest time of all inferences, microseconds.
    """

    name: str
    operation: str
    kernel: str
    time_us: float
    share: float
    delegated: bool
    computes_in: str = ""
    macs: int | None = None
    weight_bytes: int | None = None
    least_us: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Where the time of one inference goes.

    Attributes:
        file: The file.
        engine: What ran it.
        threads: Number of threads that it was allowed to use.
        runs: Number of traced inferences.
        total_us: Latency of a whole inference without tracing, microseconds.
        rest_us: The part of it that no kernel accounts for, at least 0: the call itself, transfers, and rounding.
        tracing_slowdown: Time of all kernels divided by `total_us`, at least 1; the shares are valid regardless.
        operations: By kind of operation, most expensive first.
        nodes: Every kernel, in the order in which they ran.
        delegated_share: Share of the kernels' time that a delegate took, 0-1; None if the engine has no delegates.
        delegated_operations: Number of the file's operations that a delegate ran; None if the engine has no delegates.
        file_operations: Number of operations in the file; None if the engine has no delegates.
        method: Source of the times, in words.
    """

    file: str
    engine: str
    threads: int
    runs: int
    total_us: float
    rest_us: float
    tracing_slowdown: float
    operations: tuple[OperationTime, ...]
    nodes: tuple[NodeTime, ...]
    delegated_share: float | None
    delegated_operations: int | None
    file_operations: int | None
    method: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON document, rounded to four decimals."""
        return {name: round_floats(value, lambda v: round(v, 4)) for name, value in asdict(self).items()}


def profile(
    file: str | Path,
    engine: str | None = None,
    *,
    threads: int = 1,
    runs: int = RUNS,
    items: npt.NDArray[Any] | None = None,
) -> Profile:
    """Profile a file on an engine; takes at most about five seconds for nets of up to 100 ms.

    Args:
        file: A `.tflite` or `.onnx` classifier, whoever made it, with an input of fixed size. LiteRT's profiler takes
            no file with state, as of a fused LSTM.
        engine: An engine with a profiler; None takes the first usable one that opens the file.
        threads: Number of threads that the engine may use, 1 to 256.
        runs: Number of inferences to time and to trace; fewer if they take over two seconds.
        items: Inputs, shape (N, *shape), as the file's contract describes them; None generates noise.

    Raises:
        EngineError: The engine has no profiler, does not open or support the file, or its process died.
        ModelFileError: The file can't be opened.
        InputError: `threads` or `runs` is out of range, or the file leaves sizes free.

    Example:
        >>> from edgepress.toolkit import profile
        >>> profile("edgepress-demo/variants/model-int8.tflite").operations[0].operation
        'CONV_2D'
    """
    path = Path(file)
    if not 1 <= threads <= 256 or runs < 1:
        raise InputError(f"threads is {threads} and runs {runs}; accepted: 1 to 256 threads, at least 1 run.")
    format = file_format(path)
    profilers = [name for name, row in ENGINES.items() if row.profiler]
    fitting = [name for name in profilers if format in ENGINES[name].formats]  # the first is named if none is usable
    engine = engine or next((e for e in usable_engines(format) if e in profilers), fitting[0])
    if engine not in ENGINES:
        raise unknown("engine", engine, profilers)
    if engine not in profilers:
        raise EngineError(f"{engine} does not report the time of its operations.", f"Use {', '.join(profilers)}.")
    try:
        with Worker(silence_s=SILENCE_S, python=python_for(engine)) as worker:
            (traces,) = worker.call(trace_file, ProfileJob(path, engine, threads, runs, items))
    except ChildDied as e:
        raise EngineError(f"Profiling {path} on {engine} ended with {e}. {e.log}".strip(), "Try another engine.") from e
    delegates = ENGINES[engine].delegates
    content = read(path) if delegates or format == "onnx" else None
    file_nodes = content.nodes if content else ()
    if delegates:
        pairs = pair(traces.kernels, file_nodes, ports_of(path))
    else:
        pairs = paired_by_name(traces.kernels, file_nodes)
    if content and any(
        port.shape and (port.shape[0] or 1) > 1 for port in content.inputs
    ):  # counted for one item of several
        pairs = {i: replace(node, macs=None) for i, node in pairs.items()}
    nodes = _nodes(traces, pairs, named=delegates)
    total = _quiet_mean(traces.latencies_us[:, np.newaxis])[0]
    kernels = fsum(n.time_us for n in nodes)
    return Profile(
        file=str(path),
        engine=engine,
        threads=threads,
        runs=len(traces.times_us),
        total_us=float(total),
        rest_us=max(float(total) - kernels, 0.0),
        tracing_slowdown=max(kernels / float(total), 1.0),
        operations=_operations(nodes, kernels or 1.0),
        nodes=nodes,
        delegated_share=fsum(n.time_us for n in nodes if n.delegated) / (kernels or 1.0) if delegates else None,
        delegated_operations=len(file_nodes) - len(own_places(traces.kernels)) if delegates else None,
        file_operations=len(file_nodes) if delegates else None,
        method=ENGINES[engine].profiler,
    )


def _quiet_mean(times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean of each column over the half of the rows with the smallest sums; a median would be whole microseconds."""
    quiet = np.argsort(times.sum(axis=1), kind="stable")[: (len(times) + 1) // 2]
    return np.asarray(times[quiet].mean(axis=0))


def _nodes(traces: Traces, pairs: Mapping[int, Node], *, named: bool) -> tuple[NodeTime, ...]:
    """Every kernel with its time, and if `named` with the name and the operation that the file has for it."""
    times = _quiet_mean(traces.times_us)
    whole = fsum(times) or 1.0
    return tuple(
        NodeTime(
            name=pairs[i].name if named and i in pairs else kernel.name,
            operation=pairs[i].operation if named and i in pairs else operation_of(kernel),
            kernel=kernel.kind,
            time_us=float(time),
            share=float(time) / whole,
            delegated=kernel.delegated,
            computes_in=kernel.computes_in or (pairs[i].computes_in if i in pairs else ""),
            macs=pairs[i].macs if i in pairs and kernel.macs is None else kernel.macs,
            weight_bytes=kernel.weight_bytes or (weight_bytes(pairs[i]) if i in pairs else None),
            least_us=float(np.min(traces.times_us[:, i])),
        )
        for i, (kernel, time) in enumerate(zip(traces.kernels, times, strict=True))
    )


def _operations(nodes: Sequence[NodeTime], whole: float) -> tuple[OperationTime, ...]:
    groups: dict[tuple[str, bool], list[NodeTime]] = defaultdict(list)
    for node in nodes:
        groups[node.operation, node.delegated].append(node)
    rows = [
        OperationTime(
            operation=operation,
            count=len(group),
            time_us=fsum(n.time_us for n in group),
            share=fsum(n.time_us for n in group) / whole,  # rounded once: a sum of shares can exceed 1
            delegated=delegated,
        )
        for (operation, delegated), group in groups.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.time_us))
