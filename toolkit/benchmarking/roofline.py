"""How close a model comes to the limits of this CPU (Williams et al. 2009, "Roofline", doi:10.1145/1498765.1498785).

`edgepress.toolkit.profiling.ceiling` measures the limits. A latency becomes multiply-accumulates per second, as a share
of the ceiling of its data type.

Limits: depthwise convolutions and activations cannot reach the ceiling of a matrix product.
"""

from __future__ import annotations

from edgepress.converters.schemes import SCHEMES, Scheme
from edgepress.runtime import ENGINES
from edgepress.toolkit.profiling.ceiling import FLOAT32, INT8
from edgepress.toolkit.results.figures import ExplainingFigures, FileFigures
from edgepress.toolkit.results.records import Ceiling

UNITS = {"float32": FLOAT32, "int8": INT8, None: None}
"""The ceiling of each kind of arithmetic; 16-bit activations have none."""


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
