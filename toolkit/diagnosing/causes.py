"""The table of known causes: what keeps an operation from a fast kernel, and which rewrite or scheme mends it.

Every row has a ground: the engine's source, its documentation, or a script of `benchmarks/` that measures the gain. An
operation without a row is reported without advice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass

XNNPACK_DELEGATE = "LiteRT, tflite/delegates/xnnpack/xnnpack_delegate.cc"
MEASURED = "benchmarks/rewrites.py"
ORT_GUIDE = "onnxruntime.ai/docs/performance/model-optimizations/quantization.html"


@dataclass(frozen=True)
class Cause:
    """Why an operation is slow on an engine.

    Attributes:
        operations: Kinds of operations that it is true of; empty for all.
        types: What they compute in, as in `converters.inspection.Node`; empty for any type.
        why: The reason, to follow "which".
        rewrites: Names of the rewrites that mend it; the first that the file's scheme has and the file lacks is named.
        then: What they become, to follow "become".
        scheme: The scheme that mends it where no rewrite does; empty if none is known to.
        ground: Where that is known from.
    """

    operations: tuple[str, ...]
    types: tuple[str, ...]
    why: str
    _: KW_ONLY
    rewrites: tuple[str, ...] = ()
    then: str = ""
    scheme: str = ""
    ground: str = XNNPACK_DELEGATE

    def fits(self, operation: str, computes_in: str) -> bool:
        """Whether it is true of an operation."""
        return operation in (*self.operations, *(() if self.operations else (operation,))) and computes_in in (
            self.types or (computes_in,)
        )


_INT8 = ("int8", "uint8")
_UNARY = (
    *("ABS", "CEIL", "COS", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LOG", "NEG", "RELU_N1_TO_1", "RELU", "RELU6"),
    *("ROUND", "RSQRT", "SIN", "SQRT", "SQUARE"),
)
# fmt: off
NOT_DELEGATED: tuple[Cause, ...] = (
    Cause((), ("int16",), "XNNPACK does not take with 16-bit activations", scheme="tflite-int8",
          then="operations that XNNPACK takes", ground=f"{XNNPACK_DELEGATE}, GetXNNPackDatatype; {MEASURED}"),
    Cause(("DEPTHWISE_CONV_2D",), ("dynamic",), "XNNPACK does not take with float data and 8-bit weights",
          rewrites=("depthwise-weights",), then="float convolutions with 8-bit weights that XNNPACK takes",
          ground=f"{XNNPACK_DELEGATE}, VisitDepthwiseConv2DNode; {MEASURED}"),
    Cause(_UNARY, _INT8, "XNNPACK takes in float alone", rewrites=("lookup-islands",), then="look-up tables",
          ground=f"{XNNPACK_DELEGATE}, VisitUnaryNode; {MEASURED}"),
    Cause(("AVERAGE_POOL_2D", "SQUARED_DIFFERENCE", "SOFTMAX"), _INT8, "XNNPACK takes in float alone",
          rewrites=("float-islands", "lookup-islands"), then="float operations that XNNPACK takes",
          ground=f"{XNNPACK_DELEGATE}, VisitAveragePool2DNode, VisitSoftmaxNode; {MEASURED}"),
    Cause(("CONCATENATION",), (), "XNNPACK takes with two to five inputs alone", rewrites=("concatenations",),
          then="trees of concatenations that XNNPACK takes",
          ground=f"{XNNPACK_DELEGATE}, VisitConcatenationNode; {MEASURED}"),
)
"""Why XNNPACK leaves an operation to LiteRT's own kernels."""
ENDS = Cause(("QUANTIZE",), (), "XNNPACK does not take, at the file's ends", rewrites=("ends",),
             then="tables, and the whole graph one part",
             ground=f"{XNNPACK_DELEGATE}, the checks of QUANTIZE's types; {MEASURED}")
LEFT_IN_FLOAT = Cause((), (), "ONNX Runtime leaves in float, with a conversion before and after",
                      rewrites=("unsigned-activations",), then="integer convolutions",
                      ground=f"the engine's profile; {MEASURED}")
DYNAMIC = Cause(("ConvInteger",), (), "", scheme="onnx-int8", then="QLinearConv, which needs no conversions around it",
                ground=f"{ORT_GUIDE}: static quantization for CNNs; {MEASURED}")
LARGE_KERNEL = Cause(("DEPTHWISE_CONV_2D", "CONV_2D"), (), "XNNPACK has no kernel for depthwise convolutions of more "
                     "than 25 taps, and takes a general one", rewrites=("split-depthwise", "grouped-convolutions"),
                     then="sums of smaller ones",
                     ground=f"XNNPACK, src/configs/dwconv-config.c: primary tiles of at most 25; {MEASURED}")
UNSIGNED = Cause((), ("uint8",), "XNNPACK's kernels for uint8 use no dot-product instructions, those for int8 do",
                 scheme="tflite-int8", then="int8 kernels",
                 ground="XNNPACK, src/configs/gemm-config.c, init_qu8_gemm_config beside init_qs8_qc8w_gemm_config")
_FEWER = "layers with a quarter of the bytes"
WEIGHTS = {
    "tflite-float32": Cause((), (), "", scheme="tflite-int8", then=_FEWER, ground=f"the roofline of this CPU; {MEASURED}"),
    "tflite-float16": Cause((), (), "", scheme="tflite-int8", then=_FEWER,
                            ground=f"LiteRT unpacks these weights to float32; the roofline of this CPU; {MEASURED}"),
    "onnx-float32": Cause((), (), "", scheme="onnx-int8", then=_FEWER, ground=f"the roofline of this CPU; {MEASURED}"),
}
"""What gives files of a scheme smaller weights."""
# fmt: on


def cause_of(operation: str, computes_in: str, causes: Iterable[Cause] = NOT_DELEGATED) -> Cause | None:
    """The first cause of a table that fits an operation."""
    return next((c for c in causes if c.fits(operation, computes_in)), None)
