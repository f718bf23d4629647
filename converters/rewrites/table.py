"""The table of rewrites: what each does, for which schemes and targets, and in which stage of a conversion.

A rewrite is a row here and a module that is named in it. There are three stages:

* "float": a function of the float graph, before it is quantized;
* "recipe": a choice that the recipe of a scheme (`to_tflite/convert.py`, `to_onnx/quantize.py`) makes, because only the
  quantizer can; the module's function only counts the places in the float graph that it concerns;
* "quantized": a function of the finished graph, whose ends have their types.

A function changes its graph in place, a `to_tflite.graph.Graph` for TFLite and an `onnx.ModelProto` for ONNX, and
returns at how many places it did.
"""

from __future__ import annotations

import copy
import importlib
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from edgepress.converters.schemes import SCHEMES, Scheme
from edgepress.converters.targets import TARGETS, Target
from edgepress.converters.to_tflite.graph import Graph

Stage = Literal["float", "recipe", "quantized"]


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
            or as much. The bound that rounded weights set is computed without the last kind (`make_files`).
    """

    name: str
    summary: str
    schemes: tuple[str, ...]
    _: KW_ONLY
    stage: Stage
    targets: tuple[Target, ...] = ("cpu",)
    changes: Literal["exact", "float rounding", "int8 rounding"] = "exact"

    @property
    def module(self) -> str:
        """Its module, in the folder of its format."""
        format = SCHEMES[self.schemes[0]].format
        return f"edgepress.converters.rewrites.{format}.{self.name.removeprefix('onnx-').replace('-', '_')}"

    def apply(self, graph: Any) -> int:
        """Change a graph in place; returns at how many places."""
        changed: int = importlib.import_module(self.module).rewrite(graph)
        return changed


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
    Rewrite("dense-products", "make 1x1 convolutions of 4-bit weights dense layers, which the delegate takes",
            ("tflite-int4",), stage="float"),
    Rewrite("line-pads", "pad images by lines instead of pixels", _FAST, stage="float"),
    Rewrite("depthwise-float32", "keep 32-bit weights in depthwise convolutions", ("tflite-float16",),
            stage="recipe", changes="float rounding"),
    Rewrite("float16-biases", "store biases in 16 bits, as older LiteRT needs beside 16-bit weights",
            ("tflite-float16",), stage="quantized", changes="float rounding"),
    Rewrite("depthwise-weights", "compute depthwise convolutions in float, from 8-bit weights", ("tflite-dynamic",),
            stage="recipe", changes="int8 rounding"),
    Rewrite("small-products", "compute small 1x1 convolutions in float, from 8-bit weights", ("tflite-dynamic",),
            stage="recipe", changes="int8 rounding"),
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
    Rewrite("onnx-convolution-weights", "compute convolutions in float, from 8-bit weights", ("onnx-dynamic",),
            stage="recipe", changes="int8 rounding"),
    Rewrite("uint8-activations", "use unsigned activations, as the fastest kernels require", _ONNX_INT8,
            stage="recipe", changes="int8 rounding"),
    Rewrite("onnx-input-bytes", "read the input's bytes without conversion", _ONNX_INT8,
            stage="quantized", changes="int8 rounding"),
    Rewrite("onnx-relu-bytes", "compute ReLU of shared values as a limit of their bytes", _ONNX_INT8,
            stage="quantized", changes="int8 rounding"),
    Rewrite("onnx-quantized-hard-sigmoid", "compute hard sigmoid as an addition of 8-bit numbers", _ONNX_INT8,
            stage="quantized", changes="int8 rounding"),
    Rewrite("onnx-swish", "compute x * sigmoid(x) in float, in one operation", _ONNX_INT8,
            stage="quantized", changes="int8 rounding"),
)
# fmt: on
"""In the order in which they are applied."""


def rewrites_for(scheme: Scheme, target: Target, stage: Stage) -> tuple[Rewrite, ...]:
    """The rewrites of a stage that a scheme gets for a target."""
    return tuple(r for r in REWRITES if r.stage == stage and scheme.name in r.schemes and target in r.targets)


def rewritten_tflite(model: bytes, rewrites: tuple[Rewrite, ...]) -> tuple[bytes, dict[str, int]]:
    """A TFLite model after rewrites, and at how many places each changed it; the same bytes if none did."""
    if not rewrites:
        return model, {}
    graph = Graph(model)
    made = {r.name: count for r in rewrites if (count := r.apply(graph))}
    return (graph.to_bytes() if made else model), made


def rewritten_onnx(model: Any, rewrites: tuple[Rewrite, ...]) -> tuple[Any, dict[str, int]]:
    """An ONNX model after rewrites, which is a copy if there are any, and at how many places each changed it."""
    if not rewrites:
        return model, {}
    changed = copy.deepcopy(model)
    made = {r.name: count for r in rewrites if (count := r.apply(changed))}
    return (changed if made else model), made
