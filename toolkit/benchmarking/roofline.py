"""How close a model comes to the limits of this CPU (Williams et al. 2009, "Roofline", doi:10.1145/1498765.1498785).

Small calibration kernels measure the ceilings: a float32 and an 8-bit integer matrix product, on the engine and in the
size that reach most, and reading memory beyond the caches. A latency then becomes multiply-accumulates per second, as a
share of the ceiling of its data type.

Limits: a ceiling is what these engines reached with the same number of threads while nothing else ran, not the peak
of the data sheet. Depthwise convolutions and activations cannot reach it, because they compute little per byte read.
"""

from __future__ import annotations

from edgepress.converters.schemes import SCHEMES, Scheme
from edgepress.converters.worker import ChildDied, run_in_child
from edgepress.runtime import ENGINES, available_engines
from edgepress.runtime.errors import EngineError, InputError
from edgepress.toolkit.engines.toy_models import dense_model
from edgepress.toolkit.results.figures import ExplainingFigures, FileFigures
from edgepress.toolkit.results.records import Ceiling
from edgepress.toolkit.workers.kernels import OPENERS, CeilingJob, Product, run_kernels

SIZES = (256, 512, 1024)
"""Rows, columns and depth of the products."""
SILENCE_S = 60.0
FLOAT32, INT8 = "float32_macs_per_s", "int8_macs_per_s"
UNITS = {"float32": FLOAT32, "int8": INT8, None: None}
"""The ceiling of each kind of arithmetic; 16-bit activations have none."""


def measure_ceiling(threads: int) -> Ceiling:
    """Run the calibration kernels in a child process; takes about four seconds.

    Args:
        threads: Number of threads that they may use, the same as the files.

    Raises:
        InputError: `threads` is out of range.
        EngineError: No engine that can run the kernels is installed, or the process died.
    """
    if not 1 <= threads <= 256:
        raise InputError(f"threads is {threads}; accepted: 1 to 256.")
    engines = [e for e in OPENERS if e in available_engines()]
    if not engines:
        raise EngineError(f"Measuring the limits of this CPU needs one of {', '.join(OPENERS)}; none is installed.")
    kinds = [(int8, engine, n) for int8 in (False, True) for engine in engines for n in SIZES]
    products = tuple(
        Product(engine, dense_model(ENGINES[engine].formats[0], n, n, rows=n, int8=int8), n**3)
        for int8, engine, n in kinds
    )
    try:
        *rates, read = run_in_child(run_kernels, CeilingJob(threads, products), silence_s=SILENCE_S)
    except ChildDied as e:
        raise EngineError(f"The calibration kernels ended with {e}. {e.log}".strip()) from e
    best = {}
    kernels = {"memory_bytes_per_s": "NumPy bitwise OR over 256 MiB"}
    for int8, field in ((False, FLOAT32), (True, INT8)):
        rate, engine, n = max((r, e, n) for r, (i, e, n) in zip(rates, kinds, strict=True) if i == int8)
        best[field] = rate
        kernels[field] = f"{engine}, {'8-bit integer' if int8 else 'float32'} product of {n} x {n} x {n}"
    return Ceiling(**best, memory_bytes_per_s=read, kernels=kernels)


def limit_figures(file: FileFigures, p50_us: float | None, ceiling: Ceiling, *, macs: int) -> ExplainingFigures:
    """How close a file comes to the ceilings of the CPU.

    Args:
        file: The file and how it runs. Its size stands for the size of its weights.
        p50_us: Median latency of a call, microseconds; without it, only `macs` is known.
        ceiling: What the host reached with the same number of threads.
        macs: Multiply-accumulates of one item.

    Returns:
        The figures; `memory_share` is None where weights arrive faster than from memory: then they stay in the caches.
    """
    if not p50_us:
        return ExplainingFigures(macs=macs)
    seconds = p50_us / 1e6
    rate, reading = macs * file.batch / seconds, file.size_bytes / seconds / ceiling.memory_bytes_per_s
    unit = _unit(SCHEMES.get(file.scheme), file.engine)
    return ExplainingFigures(
        macs=macs,
        macs_per_s=rate,
        compute_share=rate / getattr(ceiling, unit) if unit else None,
        memory_share=reading if reading <= 1 else None,
    )


def _unit(scheme: Scheme | None, engine: str) -> str | None:
    if scheme is None:
        return None
    unpacks = not scheme.calibrated and engine in ENGINES and ENGINES[engine].dynamic_in_float
    return FLOAT32 if unpacks else UNITS[scheme.arithmetic]
