"""Known causes of slow operations: kernels that lack, what fixes each, and instructions that this CPU lacks.

Every row has a ground: the engine's source, its documentation, or a script of `benchmarks/` that measures the gain. An
operation without a row is reported without advice.

Instructions that the engines' int8 kernels use and this CPU lacks.

XNNPACK chooses its kernels by the CPU (src/configs/gemm-config.c, `init_qs8_qc8w_gemm_config`; the same for dynamic
files in `init_qdu8_f32_qc8w_gemm_config`): on x86 those with AVX512-VNNI or AVX-VNNI, else with AVX512 or AVX2, which
multiply through 16 bits; on ARM those with int8 matrix products or the dot product, else with 16-bit multiplications.
ONNX Runtime's documentation says the same of its own (docs/performance/model-optimizations/quantization.html).
"""

from __future__ import annotations

import platform
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

from edgepress.converters.rewrites.tflite.integers import TABLES
from edgepress.runtime.system import FLAGS, cpu_info
from edgepress.toolkit.diagnosis.speed.about import PICKING, WIDE

XNNPACK_DELEGATE = "LiteRT, xnnpack_delegate.cc"
MEASURED = "benchmarks/speed/rewrites.py"
ORT_GUIDE = "onnxruntime.ai/docs/performance/model-optimizations/quantization.html"


@dataclass(frozen=True)
class Cause:
    """Why an operation is slow on an engine.

    Attributes:
        operations: Kinds of operations that it is true of; empty for all.
        types: What they compute in, as in `converters.inspection.Node`; empty for any type.
        why: The reason, to follow "that XNNPACK" or "because".
        rewrites: Names of the rewrites that fix it; the first that the file's scheme has and the file lacks is named.
        then: What they become, to follow "makes them".
        scheme: The scheme that fixes it where no rewrite does; empty if none is known to.
        mark: What must be special about the operation (`about.About.marks`); empty for nothing.
        ground: Where that is known from.
    """

    operations: tuple[str, ...]
    types: tuple[str, ...]
    why: str
    _: KW_ONLY
    rewrites: tuple[str, ...] = ()
    then: str = ""
    scheme: str = ""
    mark: str = ""
    ground: str = XNNPACK_DELEGATE

    def fits(self, operation: str, computes_in: str, mark: str = "") -> bool:
        """Whether it is true of an operation."""
        kinds = self.operations or (operation,)
        types = self.types or (computes_in,)
        return operation in kinds and computes_in in types and self.mark in ("", mark)


_INT8 = ("int8", "uint8")
# fmt: off
NOT_DELEGATED: tuple[Cause, ...] = (
    Cause((), ("int16",), "does not take with 16-bit activations", scheme="tflite-int8",
          then="operations that XNNPACK takes", ground=f"{XNNPACK_DELEGATE}, GetXNNPackDatatype; {MEASURED}"),
    Cause(("AVERAGE_POOL_2D", "MAX_POOL_2D"), (), "does not take with strides beyond the filter", mark=PICKING,
          rewrites=("fold-pool",), then="strides of the next convolutions",
          ground=f"{XNNPACK_DELEGATE}, CheckPoolingParams; {MEASURED}"),
    Cause(("DEPTHWISE_CONV_2D",), ("dynamic",), "does not take with float data and 8-bit weights",
          rewrites=("depthwise-weights",), then="float convolutions that it takes, with 8-bit weights",
          ground=f"{XNNPACK_DELEGATE}, VisitDepthwiseConv2DNode; {MEASURED}"),
    Cause(tuple(sorted(TABLES)), _INT8, "supports only in float", rewrites=("lookup-islands", "integer-hard-swish"),
          then="look-up tables", ground=f"{XNNPACK_DELEGATE}, VisitUnaryNode; {MEASURED}"),
    Cause(("SQUARED_DIFFERENCE",), _INT8, "supports only in float", rewrites=("layer-norm", "lookup-islands"),
          then="float operations that it takes", ground=f"{XNNPACK_DELEGATE}, VisitBinaryOp; {MEASURED}"),
    Cause(("AVERAGE_POOL_2D", "SOFTMAX"), _INT8, "supports only in float",
          rewrites=("lookup-islands",), then="float operations that it takes",
          ground=f"{XNNPACK_DELEGATE}, VisitAveragePool2DNode, VisitSoftmaxNode; {MEASURED}"),
    Cause(("CONCATENATION",), (), "takes with two to five inputs alone", mark=WIDE, rewrites=("concat-tree",),
          then="several of at most five", ground=f"{XNNPACK_DELEGATE}, VisitConcatenationNode; {MEASURED}"),
)
"""Why XNNPACK leaves an operation to LiteRT's own kernels."""
ENDS = Cause(("QUANTIZE",), (), "does not take from one integer type to another", rewrites=("ends",),
             then="tables, and the whole graph one part", ground=f"{XNNPACK_DELEGATE}, VisitUnaryNode; {MEASURED}")
LEFT_IN_FLOAT = Cause((), ("int8",), "", rewrites=("uint8-activations",), then="integer operations",
                      ground=f"ONNX Runtime, qdq_s8_to_u8.cc; {MEASURED}")
CONV_INTEGER = "ConvInteger"
DYNAMIC_CONVOLUTION = Cause((CONV_INTEGER,), (), "", rewrites=("onnx-convolution-weights",),
                            then="float convolutions with 8-bit weights",
                            ground=f"ONNX Runtime, conv_integer.cc; {MEASURED}")
DYNAMIC = Cause((CONV_INTEGER,), (), "", scheme="onnx-int8", then="QLinearConv, which needs no conversions around it",
                ground=f"{ORT_GUIDE}: static quantization for CNNs; {MEASURED}")
LARGE_KERNEL = Cause((), (), "XNNPACK's depthwise kernels end at 25 taps", rewrites=("split-depthwise",),
                     then="sums of smaller ones",
                     ground=f"XNNPACK, src/configs/dwconv-config.c: primary tiles of at most 25; {MEASURED}")
SMALL_PRODUCT = Cause((), (), "quantizing each pixel takes longer than multiplying it", rewrites=("small-products",),
                      then="float convolutions with 8-bit weights",
                      ground=f"converters/to_tflite/float_layers.py; {MEASURED}")
UNSIGNED = Cause((), ("uint8",), "XNNPACK's kernels for uint8 use no dot product, those for int8 do",
                 scheme="tflite-int8", then="int8 kernels",
                 ground="XNNPACK, src/configs/gemm-config.c: init_qu8_gemm_config beside init_qs8_qc8w_gemm_config")
_FEWER = "a quarter as large"
_ROOFLINE = f"what this CPU reads from memory and multiplies; {MEASURED}"
WEIGHTS = {
    "tflite-float32": Cause((), (), "", scheme="tflite-int8", then=_FEWER, ground=_ROOFLINE),
    "tflite-float16": Cause((), (), "", scheme="tflite-int8", then=_FEWER, ground=_ROOFLINE),
    "onnx-float32": Cause((), (), "", scheme="onnx-int8", then=_FEWER, ground=_ROOFLINE),
}
"""What gives files of a scheme smaller weights; LiteRT unpacks those of float16 to float32."""
# fmt: on


def not_delegated(operation: str, computes_in: str, mark: str = "") -> Cause | None:
    """Why XNNPACK leaves an operation to LiteRT's own kernels; None if that is not known."""
    return next((c for c in NOT_DELEGATED if c.fits(operation, computes_in, mark)), None)


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
