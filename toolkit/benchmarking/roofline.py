"""How far a model is from what this CPU can do at most.

Small calibrating kernels show the ceilings: a matrix product in float32 and one in 8-bit integers, by whichever engine
and size reaches most, and reading memory beyond the caches. A net's latency then becomes multiply-accumulates per
second, as a share of the ceiling of its own data type (the idea of Williams et al. 2009, "Roofline",
doi:10.1145/1498765.1498785).

Limits: a ceiling is what these engines reached with the same number of threads while nothing else ran, not what the
maker promises. Depthwise convolutions and activations can't come near it, since they do little with what they read.
"""

from __future__ import annotations

from dataclasses import replace

from edgepress.converters.schemes import SCHEMES, Scheme
from edgepress.converters.worker import ChildDied, run_in_child
from edgepress.runtime import ENGINES, available_engines
from edgepress.runtime.errors import EngineError, InputError
from edgepress.toolkit.engines.toy_models import dense_model
from edgepress.toolkit.results.records import Ceiling, Measurement
from edgepress.toolkit.workers.kernels import CeilingJob, Product, run_kernels

SIZES = (256, 512, 1024)
"""Rows, columns and depth of the products."""
SILENCE_S = 60.0
FLOAT32, INT8 = "float32_macs_per_s", "int8_macs_per_s"
UNITS = {"float32": FLOAT32, "int8": INT8, None: None}
"""The ceiling of each kind of arithmetic; 16-bit activations have none."""


def measure_ceiling(threads: int) -> Ceiling:
    """Run the calibrating kernels in a child process; takes about four seconds.

    Args:
        threads: Threads that they may use, as many as the candidates.

    Raises:
        InputError: `threads` is out of range.
        EngineError: Neither LiteRT nor ONNX Runtime is installed, or the process died.
    """
    if not 1 <= threads <= 256:
        raise InputError(f"threads is {threads}; accepted: 1 to 256.")
    engines = [e for e in ("litert", "onnxruntime") if e in available_engines()]
    if not engines:
        raise EngineError("LiteRT or ONNX Runtime is needed to find what this CPU can do; neither is installed.")
    kinds = [(int8, engine, n) for int8 in (False, True) for engine in engines for n in SIZES]
    products = tuple(
        Product(engine, dense_model(ENGINES[engine].formats[0], n, n, rows=n, int8=int8), n**3)
        for int8, engine, n in kinds
    )
    try:
        *rates, read = run_in_child(run_kernels, CeilingJob(threads, products), silence_s=SILENCE_S)
    except ChildDied as e:
        raise EngineError(f"The kernels that show what this CPU can do ended with {e}. {e.log}".strip()) from e
    best = {}
    kernels = {"memory_bytes_per_s": "NumPy bitwise OR over 256 MiB"}
    for int8, field in ((False, FLOAT32), (True, INT8)):
        rate, engine, n = max((r, e, n) for r, (i, e, n) in zip(rates, kinds, strict=True) if i == int8)
        best[field] = rate
        kernels[field] = f"{engine}, {'8-bit integer' if int8 else 'float32'} product of {n} x {n} x {n}"
    return Ceiling(**best, memory_bytes_per_s=read, kernels=kernels)


def with_limits(row: Measurement, ceiling: Ceiling, macs: int) -> Measurement:
    """A measurement with what it reached of the ceilings.

    Args:
        row: With its median latency; without one, only `macs` is filled in.
        ceiling: Of the host and the number of threads that it was measured with.
        macs: Multiply-accumulates of one item.

    Returns:
        The row with `macs`, `macs_per_s`, `compute_share` and `memory_share`. The last takes the file's size for its
        weights; it is None where they come faster than memory is: then they stay in the caches, and memory is no limit.
    """
    if row.p50_us is None or not row.p50_us:
        return replace(row, macs=macs)
    seconds = row.p50_us / 1e6
    rate, reading = macs * row.batch / seconds, row.size_bytes / seconds / ceiling.memory_bytes_per_s
    unit = _unit(SCHEMES.get(row.scheme), row.engine)
    return replace(
        row,
        macs=macs,
        macs_per_s=rate,
        compute_share=rate / getattr(ceiling, unit) if unit else None,
        memory_share=reading if reading <= 1 else None,
    )


def _unit(scheme: Scheme | None, engine: str) -> str | None:
    if scheme is None:
        return None
    unpacks = engine == "openvino" and not scheme.calibrated  # int8 weights, instead of quantizing the activations
    return FLOAT32 if unpacks else UNITS[scheme.arithmetic]
