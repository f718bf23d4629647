"""The table of rewrites: what each does, for which schemes and targets, and in which stage of a conversion.

There are three stages:

* "float": on the float graph, before it is quantized;
* "recipe": a choice that the recipe of a scheme (`to_tflite/convert.py`, `to_onnx/quantize.py`) makes, because only the
  quantizer can; the row says which places in the float graph it concerns;
* "quantized": on the finished graph, whose ends have their types.

Rows of the first and the last stage have a module of their name. Some have `matches`, which yields the places of a
graph that fit, and `change`, which changes one of them before the next is looked for; others have `rewrite`, which does
both and returns at how many places. They work on a `to_tflite.graph.Graph` or a `to_onnx.graph.OnnxGraph`.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgepress.converters.schemes import SCHEMES, TARGETS, Scheme, Target
from edgepress.converters.to_tflite.float_layers import float_chains, is_small_product, normalization
from edgepress.converters.to_tflite.graph import Graph

if TYPE_CHECKING:
    from edgepress.converters.to_onnx.graph import OnnxGraph

Stage = Literal["float", "recipe", "quantized"]

SUBJECTS = {
    "onnx": {
        "activations": "gelu float_gelu swish hard_sigmoid quantized_hard_sigmoid hard_gates layer_norm",
        "inputs": "input_bytes input_scale input_zero",
        "convolutions": "first_convolution pads pool_strides dense plain_shapes",
        "bytes": "depthwise_channels relu_bytes body_inputs",
    },
    "tflite": {
        "depthwise": "split_depthwise depthwise_multiplier grouped_depthwise",
        "folding": "fold_normalization fold_pool channel_affine single_mean",
        "taps": "unused_taps wide_taps line_pads",
        "integers": "lookup_islands integer_hard_swish integer_kernels ends",
        "operations": "concat_tree plain_reshapes repeated_columns dense_products float16_biases",
        "layer_norm": "layer_norm",
    },
}
"""The modules of each format, one a subject, and the rewrites in each."""


@dataclass(frozen=True)
class Rewrite:
    """One row of the table.

    Attributes:
        name: Its name in contracts and tables, such as "lookup-islands", which is that of its module; of an ONNX one,
            "onnx-" may stand before it, because TFLite has one of the same name or could have.
        summary: One line for a user.
        schemes: Names of the schemes that get it.
        stage: When it is applied.
        targets: Targets that it is right for.
        changes: What it does to the answers of the graph that it changes: "exact", nothing but the order of sums that
            an engine chooses; "float rounding", by rounding of float32 or float16; "int8 rounding", by a step of 8 bits
            or as much. The bound that rounded weights set is computed without the last kind (`conversion.make`).
        concerns: Of a recipe: returns the operations of a float graph that it concerns.
    """

    name: str
    summary: str
    schemes: tuple[str, ...]
    _: KW_ONLY
    stage: Stage
    targets: tuple[Target, ...] = ("cpu",)
    changes: Literal["exact", "float rounding", "int8 rounding"] = "exact"
    concerns: Callable[[Any], list[Any]] | None = None

    @property
    def module(self) -> str:
        """Its module, in the folder of its format; its functions there end in its name."""
        format = SCHEMES[self.schemes[0]].format
        subject = next(subject for subject, names in SUBJECTS[format].items() if self._stem in names.split())
        return f"edgepress.converters.rewrites.{format}.{subject}"

    @property
    def _stem(self) -> str:
        return self.name.removeprefix("onnx-").replace("-", "_")

    def function(self, verb: str) -> Callable[..., Any] | None:
        """The function that does "find", "change" or "rewrite" for it; None if it has no such function."""
        return getattr(importlib.import_module(self.module), f"{verb}_{self._stem}", None)

    def apply(self, graph: Graph | OnnxGraph) -> int:
        """Change a graph in place; returns at how many places."""
        if self.concerns is not None:
            return len(self.concerns(graph))
        find, change, rewrite = (self.function(verb) for verb in ("find", "change", "rewrite"))
        if rewrite is not None:
            return int(rewrite(graph))
        assert find is not None, self.module
        assert change is not None, self.module
        count = 0
        for match in find(graph):  # one by one: a change may make or unmake others
            change(graph, match)
            count += 1
        return count


def _depthwise(graph: Graph) -> list[Any]:
    return [op for op in graph.operators if graph.kind(op) == "DEPTHWISE_CONV_2D"]


def _small_products(graph: Graph) -> list[Any]:
    return [op for op in graph.operators if is_small_product(graph, op)]


def _float_convolutions(graph: OnnxGraph) -> list[Any]:
    from edgepress.converters.to_onnx.float_layers import is_float_convolution

    return [node for node in graph.operators if is_float_convolution(graph, node)]


def _onnx_normalization(graph: OnnxGraph) -> list[Any]:
    from edgepress.converters.to_onnx.float_layers import normalization

    return normalization(graph)


def _onnx_float_chains(graph: OnnxGraph) -> list[Any]:
    from edgepress.converters.to_onnx import float_layers as onnx

    return onnx.float_chains(graph)


def _products(graph: OnnxGraph) -> list[Any]:
    return graph.nodes("Conv", "ConvTranspose", "Gemm", "MatMul")


_INT8 = ("tflite-int8", "tflite-int4", "tflite-mixed")
_FAST = ("tflite-float32", "tflite-float16", "tflite-dynamic", *_INT8, "tflite-weights8")
_TFLITE = tuple(name for name in SCHEMES if name.startswith("tflite-"))
_ONNX_INT8 = ("onnx-int8", "onnx-int4", "onnx-mixed")
_ONNX = ("onnx-float32", "onnx-float16", "onnx-dynamic", *_ONNX_INT8)
# fmt: off
REWRITES: tuple[Rewrite, ...] = (
    Rewrite("fold-normalization", "put the scaling of the input into the weights of the first convolution", _TFLITE,
            stage="float", changes="float rounding", targets=TARGETS),
    Rewrite("single-mean", "subtract one mean from pixels instead of one for each channel",
            _INT8, stage="float", changes="int8 rounding", targets=TARGETS),
    Rewrite("grouped-depthwise", "make convolutions of one channel a group DEPTHWISE_CONV_2D", _TFLITE,
            stage="float", targets=TARGETS),
    Rewrite("depthwise-multiplier", "divide depthwise convolutions of several outputs a channel", _TFLITE,
            stage="float", changes="float rounding", targets=TARGETS),
    Rewrite("fold-pool", "replace pools of one value by strides of the convolutions behind them", _TFLITE,
            stage="float", targets=TARGETS),
    Rewrite("channel-affine", "make MUL and ADD with a constant for each channel a 1x1 depthwise convolution",
            _FAST, stage="float", changes="float rounding", targets=TARGETS),
    Rewrite("unused-taps", "leave out taps of kernels that only meet padding", _FAST, stage="float",
            changes="float rounding", targets=TARGETS),
    Rewrite("layer-norm", "compute layer normalization in fewer passes, in float", _FAST,
            stage="float", changes="float rounding"),
    Rewrite("split-depthwise", "make depthwise convolutions of over 25 taps a sum of dilated ones", _FAST,
            stage="float", changes="float rounding"),
    Rewrite("wide-taps", "let convolutions of few channels read the columns of a step as channels",
            ("tflite-dynamic", *_INT8), stage="float"),
    Rewrite("plain-reshapes", "make operations that only change a shape RESHAPE",
            _FAST, stage="float", targets=TARGETS),
    Rewrite("repeated-columns", "resize images instead of repeating values, as upsampling does", _INT8,
            stage="float", targets=("integer-only",)),
    Rewrite("dense-products", "make 1x1 convolutions of 4-bit weights dense layers, which the delegate takes",
            ("tflite-int4",), stage="float"),
    Rewrite("line-pads", "pad images by lines instead of pixels", _FAST, stage="float"),
    # With the biases of 32 bits that litert-quantizer leaves, LiteRT 1.2 does not open a file in which depthwise
    # weights have 16 ("failed to delegate DEPTHWISE_CONV_2D node"; `float16_biases` tells more). They are few, the
    # files of MobileNets grow by 2 %, and as the fewest values go into each of their sums, their rounding costs most:
    # 1-2 dB.
    Rewrite("depthwise-float32", "keep 32-bit weights in depthwise convolutions", ("tflite-float16",),
            stage="recipe", changes="float rounding", concerns=_depthwise),
    Rewrite("float16-biases", "store biases in 16 bits, as older LiteRT needs beside 16-bit weights",
            ("tflite-float16",), stage="quantized", changes="float rounding"),
    # XNNPACK takes dynamically quantized CONV_2D and FULLY_CONNECTED, but not DEPTHWISE_CONV_2D, whose built-in hybrid
    # kernel is many times slower than XNNPACK's float one. With an explicit DEQUANTIZE in front of its weights, which
    # XNNPACK unpacks once when the file is opened, the float kernel is used, and the file is no larger. (LiteRT,
    # tflite/delegates/xnnpack/xnnpack_delegate.cc, `VisitDepthwiseConv2DNode`.)
    Rewrite("depthwise-weights", "compute depthwise convolutions in float, from 8-bit weights", ("tflite-dynamic",),
            stage="recipe", changes="int8 rounding", concerns=_depthwise),
    # The same for small 1x1 convolutions; `to_tflite.float_layers` says which, and why.
    Rewrite("small-products", "compute small 1x1 convolutions in float, from 8-bit weights", ("tflite-dynamic",),
            stage="recipe", changes="int8 rounding", concerns=_small_products),
    # Features of tensors differ in their ranges; `to_tflite.float_layers` says why that matters.
    Rewrite("float-normalization", "scale the features of a tensor in float, before they are quantized",
            (*_INT8, "tflite-int16x8"), stage="recipe", changes="int8 rounding", concerns=normalization),
    # Such as softplus and roots of mean squares; `float_chains` says why.
    Rewrite("float-chains", "compute in float what stretches the range of values and narrows it again",
            (*_INT8, "tflite-int16x8"), stage="recipe", changes="int8 rounding", concerns=float_chains),
    Rewrite("concat-tree", "divide CONCATENATION of more than five tensors", _FAST, stage="quantized", targets=TARGETS),
    Rewrite("lookup-islands", "compute what has no int8 kernel by a look-up table or a float kernel",
            _INT8, stage="quantized", changes="int8 rounding"),
    Rewrite("ends", "convert uint8 at the ends by a look-up table, so that the delegate takes the whole graph",
            _INT8, stage="quantized"),
    Rewrite("integer-kernels", "use the int8 kernels of operations that the quantizer leaves in float",
            _INT8, stage="quantized", targets=("integer-only",), changes="int8 rounding"),
    Rewrite("integer-hard-swish", "compute hard-swish by additions and products of integers", _INT8,
            stage="quantized", targets=("integer-only",), changes="int8 rounding"),
    Rewrite("onnx-input-zero", "put the scaling of the input into the first weights, its offset into the zero point",
            _ONNX_INT8, stage="float", changes="int8 rounding"),
    Rewrite("onnx-first-convolution", "let the first convolution read four columns as channels", _ONNX_INT8,
            stage="float", changes="float rounding"),
    Rewrite("onnx-input-scale", "put the scaling of the input into the weights of the first convolution", _ONNX,
            stage="float", changes="float rounding"),
    Rewrite("onnx-pads", "let convolutions pad by themselves", _ONNX, stage="float"),
    Rewrite("onnx-pool-strides", "replace pools of one value by strides of the convolutions behind them",
            _ONNX, stage="float"),
    Rewrite("onnx-plain-shapes", "leave out Reshape that changes nothing", _ONNX,
            stage="float"),
    Rewrite("onnx-dense", "multiply by a matrix without Reshape around it", _ONNX, stage="float"),
    Rewrite("onnx-layer-norm", "compute layer normalization in one operation",
            tuple(s for s in _ONNX if s != "onnx-float16"), stage="float", changes="float rounding"),
    Rewrite("onnx-gelu", "write GELU as ONNX Runtime fuses it",
            _ONNX, stage="float", changes="float rounding"),
    Rewrite("onnx-hard-sigmoid", "make Add, Clip and Mul one HardSigmoid", _ONNX,
            stage="float", changes="float rounding"),
    Rewrite("onnx-hard-gates", "put hard sigmoids into the convolutions in front of them", _ONNX_INT8,
            stage="float", changes="float rounding"),
    Rewrite("onnx-depthwise-channels", "give depthwise convolutions a multiple of 16 channels", _ONNX_INT8,
            stage="float", changes="float rounding"),
    Rewrite("onnx-float-gelu", "compute GELU in float, in one operation", _ONNX_INT8,
            stage="float", changes="float rounding"),
    # ONNX Runtime's ConvInteger copies its input into columns, has no fast depthwise kernel, and needs the range of its
    # input first: MobileNets take 4 to 6 times as long as in float (onnxruntime/core/providers/cpu/quantization/
    # conv_integer.cc, release 1.32). `to_onnx.float_layers` says how they are stored.
    Rewrite("onnx-convolution-weights", "compute convolutions in float, from 8-bit weights", ("onnx-dynamic",),
            stage="recipe", changes="int8 rounding", concerns=_float_convolutions),
    # ONNX Runtime's fast x86 kernels multiply unsigned by signed bytes. Of signed activations, its optimizer makes
    # unsigned ones (QDQS8ToU8Transformer, onnxruntime/core/optimizer/qdq_transformer/qdq_s8_to_u8.cc), but only between
    # two operations with one reader; the others stay signed, and convolutions that have inputs of both kinds stay
    # float. The direct convolution, without a copy of its input, exists for unsigned ones alone on x86 (MlasConvSym,
    # onnxruntime/core/mlas/lib/convsym.cpp, since release 1.11). On x86 without VNNI, these products saturate, as those
    # of signed activations do; the runtime prevents it (`edgepress.runtime.sessions.onnx_session`).
    Rewrite("uint8-activations", "use unsigned activations, as the fastest kernels require", _ONNX_INT8,
            stage="recipe", changes="int8 rounding", concerns=_products),
    Rewrite("onnx-float-normalization", "scale the features of a tensor in float, before they are quantized",
            _ONNX_INT8, stage="recipe", changes="int8 rounding", concerns=_onnx_normalization),
    Rewrite("onnx-float-chains", "compute in float what stretches the range of values and narrows it again",
            (*_ONNX_INT8, "onnx-dynamic"), stage="recipe", changes="int8 rounding", concerns=_onnx_float_chains),
    Rewrite("onnx-input-bytes", "read the input's bytes without conversion", _ONNX_INT8,
            stage="quantized", changes="int8 rounding"),
    Rewrite("onnx-relu-bytes", "compute ReLU of shared values as a limit of their bytes", _ONNX_INT8,
            stage="quantized", changes="int8 rounding"),
    Rewrite("onnx-quantized-hard-sigmoid", "compute hard sigmoid as an addition of 8-bit numbers", _ONNX_INT8,
            stage="quantized", changes="int8 rounding"),
    Rewrite("onnx-swish", "compute x * sigmoid(x) in float, in one operation", _ONNX_INT8,
            stage="quantized", changes="int8 rounding"),
    Rewrite("onnx-body-inputs", "copy what bodies of Loop, If and Scan read, where ONNX Runtime would abort",
            _ONNX_INT8, stage="quantized"),
)
# fmt: on
"""In the order in which they are applied."""
CHANNEL_AFFINE = tuple(row for row in REWRITES if row.name == "channel-affine")
"""The rewrite with which repairs are scored: it gives factors by channel a scale each, which equalization changes."""


def rewrites_for(scheme: Scheme, target: Target, stage: Stage) -> tuple[Rewrite, ...]:
    """The rewrites of a stage that a scheme gets for a target."""
    return tuple(r for r in REWRITES if r.stage == stage and scheme.name in r.schemes and target in r.targets)


def rewritten_tflite(model: bytes, rewrites: tuple[Rewrite, ...]) -> tuple[bytes, dict[str, int]]:
    """A TFLite model after rewrites, and at how many places each changed it; the same bytes if none did."""
    if not rewrites:
        return model, {}
    graph = Graph(model)
    counts = {r.name: count for r in rewrites if (count := r.apply(graph))}
    return (graph.to_bytes() if counts else model), counts


def rewritten_onnx(model: Any, rewrites: tuple[Rewrite, ...]) -> tuple[Any, dict[str, int]]:
    """An ONNX model after rewrites, which is a copy if there are any, and at how many places each changed it."""
    if not rewrites:
        return model, {}
    changed = copy.deepcopy(model)
    counts = {r.name: count for r in rewrites if (count := apply_to_onnx(r, changed))}
    return (changed if counts else model), counts


def apply_to_onnx(rewrite: Rewrite, model: Any) -> int:
    """Change an ONNX model in place; returns at how many places."""
    from edgepress.converters.to_onnx.graph import OnnxGraph

    graph = OnnxGraph(model)
    count = rewrite.apply(graph)
    if count and rewrite.concerns is None:
        graph.finish()
    return count
