"""What this CPU reaches at most, measured with small kernels on the engines that run the files.

The kernels are a matrix product and a depthwise convolution, each in float32 and in 8-bit integers, on the engine and
in the size that reach most, and reading memory beyond the caches.

Limits: a ceiling is what these engines reached with the same number of threads while nothing else ran, not the peak
of the data sheet. A depthwise convolution has its own, because it computes little per byte read.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgepress.converters.worker import ChildDied, run_in_child
from edgepress.runtime import ENGINES, available_engines
from edgepress.runtime.errors import EngineError, InputError
from edgepress.toolkit.engines.toy_models import dense_model, depthwise_model
from edgepress.toolkit.results.records import Ceiling
from edgepress.toolkit.workers.kernels import OPENERS, CeilingJob, Product, run_kernels

SIZES = (256, 512, 1024)
"""Rows, columns and depth of the products."""
IMAGES = ((56, 64), (28, 256), (14, 512))
"""Height, which is the width, and channels of the depthwise convolutions."""
TAPS = 9
"""Weights of a channel in a depthwise convolution of 3 x 3."""
SILENCE_S = 60.0
"""Time without a sign of life after which the child process is ended, seconds."""
FLOAT32 = "float32_macs_per_s"
INT8 = "int8_macs_per_s"


def measure_ceiling(threads: int) -> Ceiling:
    """Run the calibration kernels in a child process; takes about five seconds.

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
    about, products = zip(*_kernels(engines), strict=True)
    try:
        *rates, read = run_in_child(run_kernels, CeilingJob(threads, products), silence_s=SILENCE_S)
    except ChildDied as e:
        raise EngineError(f"The calibration kernels ended with {e}. {e.log}".strip()) from e
    best: dict[str, float] = {}
    kernels = {"memory_bytes_per_s": "NumPy bitwise OR over 256 MiB"}
    for (field, text), rate in zip(about, rates, strict=True):
        if rate > best.get(field, 0.0):
            best[field] = rate
            kernels[field] = text
    return Ceiling(**best, memory_bytes_per_s=read, kernels=kernels)


def _kernels(engines: list[str]) -> Iterator[tuple[tuple[str, str], Product]]:
    """Each kernel with the field of `Ceiling` that it is for, and its description."""
    for field, int8 in ((FLOAT32, False), (INT8, True)):
        kind = "8-bit integer" if int8 else "float32"
        for engine in engines:
            for n in SIZES:
                model = dense_model(ENGINES[engine].formats[0], n, n, rows=n, int8=int8)
                yield (field, f"{engine}, {kind} product of {n} x {n} x {n}"), Product(engine, model, n**3)
        for n, channels in IMAGES if "litert" in engines else ():
            text = f"litert, {kind} depthwise convolution, 3 x 3, of {n} x {n} x {channels}"
            model = depthwise_model(n, channels, int8=int8)
            yield (f"depthwise_{field}", text), Product("litert", model, n * n * channels * TAPS)
