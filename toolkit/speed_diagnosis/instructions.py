"""Instructions that the engines' int8 kernels use and this CPU lacks.

XNNPACK chooses its kernels by the CPU (src/configs/gemm-config.c, `init_qs8_qc8w_gemm_config`; the same for dynamic
files in `init_qdu8_f32_qc8w_gemm_config`): on x86 those with AVX512-VNNI or AVX-VNNI, else with AVX512 or AVX2, which
multiply through 16 bits; on ARM those with int8 matrix products or the dot product, else with 16-bit multiplications.
ONNX Runtime's documentation says the same of its own (docs/performance/model-optimizations/quantization.html).
"""

from __future__ import annotations

import platform
from typing import NamedTuple

from edgepress.runtime.system import FLAGS, cpu_info

ENGINES = ("litert", "onnxruntime")
"""Engines of which this is known."""
GROUND = "XNNPACK, src/configs/gemm-config.c; onnxruntime.ai/docs/performance/model-optimizations/quantization.html"


class Instructions(NamedTuple):
    """Instructions, any of which suffices, with their name in words and what int8 kernels do without them."""

    flags: tuple[str, ...]
    name: str
    without: str


_X86 = (
    Instructions(("avx2", "avx512f"), "AVX2", "they use vectors of half the length or less"),
    Instructions(
        ("avx512_vnni", "avx_vnni", "amx_int8"),
        "VNNI, a dot product of 8-bit integers",
        "they multiply through 16 bits, and int8 gains little over float32",
    ),
)
_ARM = (
    Instructions(
        ("asimddp", "i8mm"),
        "the dot product of 8-bit integers",
        "they multiply through 16 bits, and int8 gains less over float32",
    ),
)
_BY_MACHINE = {"x86_64": _X86, "AMD64": _X86, "i686": _X86, "aarch64": _ARM, "armv8l": _ARM, "armv7l": _ARM}


def missing(flags: frozenset[str] | None = None, machine: str = "") -> tuple[Instructions, ...]:
    """What int8 kernels of the engines would use and the CPU lacks, most important first; empty where it is not known.

    Args:
        flags: The CPU's extensions, as /proc/cpuinfo lists them; None reads them.
        machine: The machine's architecture; empty is this one's.
    """
    flags = frozenset(cpu_info(FLAGS).split()) if flags is None else flags
    known = _BY_MACHINE.get(machine or platform.machine(), ())
    return tuple(one for one in known if flags and not flags & {*one.flags})
