"""Child process: trace the kernels of an inference with the engine's own profiler.

All profilers report the kernels that ran, in order, with their times. LiteRT's Python classes do not expose its
profiler, but the C interface of the same library does (`edgepress.toolkit.workers.trace_litert`).

Limits: engines count whole microseconds, most of them rounded down, so shorter kernels show as 0. Tracing takes time
itself, so the latency of a whole inference is measured before, without it.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.converters.process.worker import Emit
from edgepress.runtime.adapted import adapted, quantized
from edgepress.runtime.engines import open_session
from edgepress.runtime.errors import EngineError, InputError
from edgepress.runtime.flatbuffer import has_variables
from edgepress.runtime.items import random_items
from edgepress.runtime.openvino_session import openvino_options
from edgepress.runtime.sessions import Session, onnx_session
from edgepress.toolkit.workers.opening import engine_errors

PHASE_S = 2.0
"""Seconds after which timing and tracing each end, even if runs are left."""
WARM_RUNS = 5
"""Calls before the traced ones."""
OPENVINO_RUNS = 25
"""Inferences between two readings of OpenVINO's counters, which only add up: enough for whole microseconds to matter
little, few enough for disturbed ones to be dropped with the slower half."""


@dataclass(frozen=True)
class ProfileJob:
    """The file to profile, and how.

    Attributes:
        file: A `.tflite` or `.onnx` file.
        engine: Engine that runs it.
        threads: Number of threads that the engine may use.
        runs: Largest number of inferences to time and to trace.
        items: Inputs, shape (N, *shape), used in turn; None generates noise. Their values hardly affect the time.
    """

    file: Path
    engine: str
    threads: int
    runs: int
    items: npt.NDArray[Any] | None = None


class Kernel(NamedTuple):
    """A kernel: what the engine ran as one unit.

    Attributes:
        name: The engine's name for it: a layer's name, or a description of the kernel.
        kind: Kind of operation.
        delegated: Whether a delegate ran it.
        place: Position of the operation in the file, if the engine reports it.
        computes_in: Type of its data, "" if the engine does not report it.
        macs: Multiply-accumulates of one inference, if they follow from the shapes that the engine reports.
        weight_bytes: Size of the constants that it reads, if the engine reports that.
    """

    name: str
    kind: str
    delegated: bool = False
    place: int | None = None
    computes_in: str = ""
    macs: int | None = None
    weight_bytes: int | None = None


class Traces(NamedTuple):
    """The result of a job.

    Attributes:
        latencies_us: Of whole inferences without tracing, microseconds.
        kernels: The kernels of one inference, in order.
        times_us: Time of each kernel in each traced inference, microseconds, shape (runs, kernels).
    """

    latencies_us: npt.NDArray[np.float64]
    kernels: list[Kernel]
    times_us: npt.NDArray[np.float64]


def trace_file(job: ProfileJob, emit: Emit) -> None:
    """Time inferences, then trace others; emits `Traces`."""
    with engine_errors(job.file):
        emit(_traces(job))


def _traces(job: ProfileJob) -> Traces:
    _, session = open_session(job.file, job.engine, job.threads)
    if job.engine == "litert" and has_variables(job.file, job.file.read_bytes()):
        raise EngineError(
            f"{job.file} has state (variable tensors, as of a fused LSTM), which LiteRT's profiler does not support.",
            "Use edgepress benchmark, which times the whole file; inspect lists its operations.",
        )
    if session.dtype.names:
        names = ", ".join(session.dtype.names)
        hint = "Use edgepress benchmark, which times the whole file."
        raise InputError(f"{job.file} has the inputs {names}; only files of one input are profiled.", hint)
    if any(n < 1 for n in session.shape):
        raise InputError(
            f"{job.file} takes items of shape {['?' if n < 1 else n for n in session.shape]}; no time can be given "
            "for sizes that are free.",
            "Fix them first: edgepress convert --size.",
        )
    session.keep_state = session.stateful  # only the time matters, and opening the file again would count
    items = _read_batches(job, session)
    for i in range(WARM_RUNS):
        session.run(items[i % len(items)])
    latencies = []
    for i in _runs(job.runs):
        start = time.perf_counter_ns()
        session.run(items[i % len(items)])
        latencies.append((time.perf_counter_ns() - start) / 1000)
    del session
    kernels, times = TRACERS[job.engine](job, items)
    return Traces(np.array(latencies), kernels, times)


def _runs(most: int, least: int = 1) -> Iterator[int]:
    """0, 1, ... below `most`; ends after `PHASE_S` seconds, but not before `least` numbers."""
    until = time.monotonic() + PHASE_S
    for i in range(most):
        yield i
        if i + 1 >= least and time.monotonic() > until:
            return


def _read_batches(job: ProfileJob, session: Session) -> list[npt.NDArray[Any]]:
    """Batches as the file takes them, of one item or of the file's fixed batch size."""
    size = session.batch or 1
    items = job.items
    if items is None:
        items = random_items(session.contract, (8, *session.shape), np.dtype(np.float32))
    elif session.contract is not None and session.contract.adapter is not None:
        items = adapted(items, session.contract.adapter)
    if items.dtype != session.dtype:
        items = quantized(items, session.scale, session.dtype)
    return [np.repeat(item[np.newaxis], size, axis=0) for item in items]


def _trace_litert(job: ProfileJob, items: list[npt.NDArray[Any]]) -> tuple[list[Kernel], npt.NDArray[np.float64]]:
    from edgepress.toolkit.workers import trace_litert

    runs: list[tuple[list[Kernel], list[float]]] = []
    with trace_litert.compile_file(job.file, job.threads, items[0]) as model:
        for i in _runs(WARM_RUNS + job.runs, least=WARM_RUNS + 1):
            events = model.trace(items[i % len(items)])
            kernels = [Kernel(e.tag, e.tag, e.delegated, None if e.delegated else e.place) for e in events]
            runs.append((kernels, [e.time_us for e in events]))
    return _regular(job.engine, runs[WARM_RUNS:])


def _trace_onnxruntime(job: ProfileJob, items: list[npt.NDArray[Any]]) -> tuple[list[Kernel], npt.NDArray[np.float64]]:
    import onnxruntime

    settings: dict[str, Any] = {"intra_op_num_threads": job.threads, "inter_op_num_threads": 1, "log_severity_level": 3}
    with tempfile.TemporaryDirectory() as folder:
        settings |= {"enable_profiling": True, "profile_file_prefix": str(Path(folder, "profile"))}
        session = onnx_session(onnxruntime, str(job.file), **settings)
        name = session.get_inputs()[0].name
        for i in _runs(WARM_RUNS + job.runs):
            session.run(None, {name: items[i % len(items)]})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    runs: list[tuple[list[Kernel], list[float]]] = []
    kernels: list[Kernel] = []
    times: list[float] = []
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            kernels.append(_onnxruntime_kernel(event["name"].removesuffix("_kernel_time"), event["args"]))
            times.append(event["dur"])
        elif event["name"] == "model_run":
            runs.append((kernels, times))
            kernels = []
            times = []
    return _regular(job.engine, runs[min(WARM_RUNS, len(runs) - 1) :])


def _onnxruntime_kernel(name: str, about: Mapping[str, Any]) -> Kernel:
    """A kernel by what ONNX Runtime's profile says of it; shapes of weights that it has packed are missing there."""
    inputs, outputs = (
        [(k, v) for port in about.get(f"{side}_type_shape", ()) for k, v in port.items()] for side in _SIDES
    )
    kind = about["op_name"]
    types = [_ONNX_TYPES.get(k, k) for k, _ in inputs]
    macs = None
    if (
        kind in ("Conv", "FusedConv", "NhwcFusedConv", "ConvInteger")
        and len(inputs) > 1
        and outputs
        and len(inputs[1][1]) > 2
    ):
        macs = math.prod(outputs[0][1]) * math.prod(inputs[1][1][1:])
    elif (
        kind in ("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulInteger")
        and len(inputs) > 1
        and outputs
        and inputs[0][1]
    ):
        macs = math.prod(outputs[0][1]) * inputs[0][1][-1]
    weights = int(about.get("parameter_size") or 0)
    return Kernel(name, kind, computes_in=types[0] if types else "", macs=macs, weight_bytes=weights or None)


def _trace_openvino(job: ProfileJob, items: list[npt.NDArray[Any]]) -> tuple[list[Kernel], npt.NDArray[np.float64]]:
    import openvino

    core = openvino.Core()
    model = core.read_model(str(job.file))
    model.reshape(list(items[0].shape))
    options = openvino_options(job.threads) | {"PERF_COUNT": True}

    def counters(request: Any, count: int) -> dict[Kernel, float]:
        """The kernels' times after `count` more inferences: means over all so far, in whole microseconds."""
        for i in range(count):
            request.infer([items[i % len(items)]])
        executed = [p for p in request.profiling_info if p.status == openvino.ProfilingInfo.Status.EXECUTED]
        return {_openvino_kernel(p, works): p.real_time.total_seconds() * 1e6 for p in executed}

    runs: list[tuple[list[Kernel], list[float]]] = []
    until = time.monotonic() + PHASE_S
    works: dict[str, _Work] = {}
    parts = -(-job.runs // OPENVINO_RUNS)
    count = job.runs // parts
    while len(runs) < parts and (not runs or time.monotonic() < until):
        # Compiled again, because counters cannot be reset; the slow first inferences are subtracted.
        compiled = core.compile_model(model, "CPU", options)
        request = compiled.create_infer_request()
        works = works or _openvino_works(compiled)
        first = counters(request, WARM_RUNS)
        last = counters(request, count)
        means = {k: ((WARM_RUNS + count) * last[k] - WARM_RUNS * first.get(k, 0.0)) / count for k in last}
        runs.append((list(means), [max(time, 0.0) for time in means.values()]))
    kernels, times = _regular(job.engine, runs)
    return kernels, times.repeat(count, axis=0)  # each inference gets the mean of its group


class _Work(NamedTuple):
    """What a node of OpenVINO's graph multiplies: multiply-accumulates and number of weights."""

    macs: int
    weights: int


def _openvino_kernel(info: Any, works: Mapping[str, _Work]) -> Kernel:
    """A kernel by OpenVINO's counters; its type, such as "brgconv_avx512_I8", ends with that of its data."""
    kind = str(info.exec_type).rpartition("_")[2].lower()
    work = works.get(info.node_name)
    name, size = _OPENVINO_TYPES.get(kind, ("", 0))
    stored = work.weights * size if work else 0
    return Kernel(
        info.node_name, info.node_type, computes_in=name, macs=work.macs if work else None, weight_bytes=stored or None
    )


def _openvino_works(model: Any) -> dict[str, _Work]:
    """What the nodes of OpenVINO's graph multiply, as it runs; weights are their second input."""
    places = {}
    for node in model.get_runtime_model().get_ordered_ops():
        kind = node.get_rt_info()["layerType"].astype(str)
        shapes = [list(port.get_shape()) for port in node.inputs()]
        if kind in ("Convolution", "FullyConnected", "MatMul") and len(shapes) > 1 and shapes[1]:
            values = math.prod(node.outputs()[0].get_shape())
            weights = shapes[1]
            # Weights of a convolution in groups have one axis more, the groups; those of others begin with the outputs.
            summed = weights[max(len(weights) - len(shapes[0]), 0) + 1 :] if kind == "Convolution" else shapes[0][-1:]
            places[node.get_friendly_name()] = _Work(values * math.prod(summed), math.prod(weights))
    return places


_SIDES = ("input", "output")
_ONNX_TYPES = {"float": "float32", "double": "float64"}
_OPENVINO_TYPES = {"f32": ("float32", 4), "f16": ("float16", 2), "bf16": ("bfloat16", 2)}
_OPENVINO_TYPES |= dict.fromkeys(("i8", "u8"), ("int8", 1))
"""Names of types in NumPy's words, and their sizes; kernels for int8 are named alike whether data have a sign."""
TRACERS = {"litert": _trace_litert, "onnxruntime": _trace_onnxruntime, "openvino": _trace_openvino}
"""How to read the profiler of each engine whose row in `edgepress.runtime.ENGINES` names one."""


def _regular(engine: str, runs: list[tuple[list[Kernel], list[float]]]) -> tuple[list[Kernel], npt.NDArray[np.float64]]:
    """The kernels of the last run, and the times of all runs with the same kernels; an error if there are none."""
    kernels = runs[-1][0]
    if not kernels:
        raise EngineError(f"{engine} reported no operation that it ran.", "Upgrade it, or profile on another engine.")
    return kernels, np.array([times for run_kernels, times in runs if run_kernels == kernels], np.float64)
