"""Child process: what a diagnosis asks of an engine: outputs of operations, TFLM's arena, speed of small kernels.

The file returns them itself: it is a copy in which each is an output of the graph. So nothing depends on what an
interpreter keeps, and delegates return what they compute.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.converters.process.worker import Emit
from edgepress.runtime.engines import import_engine, open_session
from edgepress.runtime.errors import EdgepressError, parsing
from edgepress.runtime.micro_session import HINT, MicroSession
from edgepress.runtime.sessions import onnx_session

ARENA_BYTES = 64 << 20
"""Memory that TFLM may use; a file that returns all tensors can't reuse any."""


class OutputsJob(NamedTuple):
    """What to run.

    Attributes:
        file: The copy that returns all outputs.
        engine: "litert", "litert-built-in" or "tflite-micro".
        items: A `.npy` file of items as the file stores them, shape (N, values).
        tensors: Numbers of the tensors that the copy returns, in its order.
    """

    file: str
    engine: str
    items: str
    tensors: tuple[int, ...]


def operation_outputs(job: OutputsJob, emit: Emit) -> None:
    """Emit for each item a dictionary of the stored outputs, flat, by the number of the tensor."""
    items = np.load(job.items)
    answer = _micro if job.engine == "tflite-micro" else _litert
    with parsing(job.file, HINT, failed=f"does not run on {job.engine}"):
        answer(job, items, emit)


def _litert(job: OutputsJob, items: npt.NDArray[Any], emit: Emit) -> None:
    module = import_engine("litert", "diagnose --engines litert")
    kinds = module.OpResolverType
    kind = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if job.engine == "litert-built-in" else kinds.AUTO
    interpreter = module.Interpreter(model_path=job.file, num_threads=1, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    for item in items:
        interpreter.set_tensor(source["index"], item.reshape(source["shape"]))
        interpreter.invoke()
        emit({index: interpreter.get_tensor(index).reshape(-1).copy() for index in job.tensors})


def _micro(job: OutputsJob, items: npt.NDArray[Any], emit: Emit) -> None:
    module = import_engine("tflite-micro", "diagnose --engines tflite-micro")
    size = max(ARENA_BYTES, 10 * Path(job.file).stat().st_size)
    interpreter = module.runtime.Interpreter.from_file(job.file, arena_size=size)
    shape = interpreter.get_input_details(0)["shape"]
    for item in items:
        interpreter.set_input(item.reshape(shape), 0)
        interpreter.invoke()
        emit({index: interpreter.get_output(n).reshape(-1).copy() for n, index in enumerate(job.tensors)})


class MicroOpening(NamedTuple):
    """The result of opening a file.

    Attributes:
        arena_bytes: Bytes of the arena; None if the package does not say, or the file does not run.
        error: Why it does not run, "" if it does.
    """

    arena_bytes: int | None
    error: str = ""


def open_micro(path: str, emit: Emit) -> None:
    """Emit a `MicroOpening`."""
    try:
        _, session = open_session(Path(path), "tflite-micro", 1)
    except EdgepressError as e:
        emit(MicroOpening(None, e.message))
        return
    assert isinstance(session, MicroSession)
    emit(MicroOpening(session.arena_bytes))


KERNEL_S = 0.2
"""Seconds for which a kernel is repeated; the best run counts."""
READ_BYTES = 256 << 20
"""Larger than the caches of any workstation CPU."""


class Product(NamedTuple):
    """A matrix product as a model.

    Attributes:
        engine: One of `OPENERS`.
        model: Its bytes.
        macs: Multiply-accumulates of one call.
    """

    engine: str
    model: bytes
    macs: int


class CeilingJob(NamedTuple):
    """The kernels to run, and their number of threads."""

    threads: int
    products: tuple[Product, ...]


def run_kernels(job: CeilingJob, emit: Emit) -> None:
    """Emit the rate of each product (multiply-accumulates per second), then that of reading memory (bytes/second)."""
    for product in job.products:
        call = OPENERS[product.engine](product.model, job.threads)
        emit(product.macs / _best(call))
    emit(_read_rate(job.threads))


def _read_rate(threads: int) -> float:
    """Bytes per second of an OR over 256 MiB, which no cache holds and whose arithmetic is negligible."""
    parts = np.array_split(np.ones(READ_BYTES // 8, np.uint64), threads)  # not zeros: they share one page
    with ThreadPoolExecutor(threads) as pool:  # NumPy releases the GIL
        return READ_BYTES / _best(lambda: list(pool.map(np.bitwise_or.reduce, parts)), 2 * KERNEL_S)


def _best(call: Callable[[], Any], seconds: float = KERNEL_S) -> float:
    call()
    best = float("inf")
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or best == float("inf"):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def _time_litert(model: bytes, threads: int) -> Callable[[], Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.allocate_tensors()
    (port,) = interpreter.get_input_details()
    interpreter.set_tensor(port["index"], _noise(port["shape"], port["dtype"]))
    invoke: Callable[[], Any] = interpreter.invoke
    return invoke


def _time_onnxruntime(model: bytes, threads: int) -> Callable[[], Any]:
    import onnxruntime

    session = onnx_session(onnxruntime, model, intra_op_num_threads=threads, inter_op_num_threads=1)
    (port,) = session.get_inputs()
    feed = {port.name: _noise(port.shape, np.uint8 if port.type == "tensor(uint8)" else np.float32)}
    return lambda: session.run(None, feed)


OPENERS: dict[str, Callable[[bytes, int], Callable[[], Any]]] = {
    "litert": _time_litert,
    "onnxruntime": _time_onnxruntime,
}
"""The engines that run calibration kernels: each opens a model with some threads and returns a call of it."""


def _noise(shape: Any, dtype: Any) -> Any:
    return np.random.Generator(np.random.PCG64(1)).integers(0, 100, shape).astype(dtype)
