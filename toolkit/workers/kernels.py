"""Child process: run the calibration kernels that measure the limits of the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from edgepress.converters.worker import Emit
from edgepress.runtime.sessions import onnx_session

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


def _litert(model: bytes, threads: int) -> Callable[[], Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.allocate_tensors()
    (port,) = interpreter.get_input_details()
    interpreter.set_tensor(port["index"], _noise(port["shape"], port["dtype"]))
    invoke: Callable[[], Any] = interpreter.invoke
    return invoke


def _onnxruntime(model: bytes, threads: int) -> Callable[[], Any]:
    import onnxruntime

    session = onnx_session(onnxruntime, model, intra_op_num_threads=threads, inter_op_num_threads=1)
    (port,) = session.get_inputs()
    feed = {port.name: _noise(port.shape, np.uint8 if port.type == "tensor(uint8)" else np.float32)}
    return lambda: session.run(None, feed)


OPENERS: dict[str, Callable[[bytes, int], Callable[[], Any]]] = {"litert": _litert, "onnxruntime": _onnxruntime}
"""The engines that run calibration kernels: each opens a model with some threads and returns a call of it."""


def _noise(shape: Any, dtype: Any) -> Any:
    return np.random.Generator(np.random.PCG64(1)).integers(0, 100, shape).astype(dtype)
