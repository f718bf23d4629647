"""The table of rewrites: what each does, for which schemes and targets, and in which stage of a conversion.

A rewrite is a row here and a module that is named in it. There are three stages:

* "float": a function of the float graph, before it is quantized;
* "recipe": a choice that the recipe of a scheme makes when it quantizes (`to_tflite/convert.py`, `to_onnx/convert.py`),
  because only the quantizer can; the module's function only counts the places in the float graph that it concerns;
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
from edgepress.converters.targets import Target
from edgepress.converters.to_tflite.graph import Graph

Stage = Literal["float", "recipe", "quantized"]


@dataclass(frozen=True)
class Rewrite:
    """One row of the table.

    Attributes:
        name: Its name in contracts and tables, such as "lookup-islands"; of ONNX ones it begins with "onnx-".
        summary: One line for a user.
        schemes: Names of the schemes that get it.
        stage: When it is applied.
        engines: Names of the engines that gain.
        targets: Targets that it is right for.
        changes: What it does to the answers: "exact", "float rounding", or "int8 rounding": by a step of a tensor.
    """

    name: str
    summary: str
    schemes: tuple[str, ...]
    _: KW_ONLY
    stage: Stage
    engines: tuple[str, ...]
    targets: tuple[Target, ...] = ("cpu", "integer-only")
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


_LITERT = ("litert", "tflite-runtime")
_FAST = ("tflite-float32", "tflite-float16", "tflite-dynamic", "tflite-int8")
_TFLITE = tuple(name for name in SCHEMES if name.startswith("tflite-"))
_ORT, _ONNX = ("onnxruntime",), ("onnx-float32", "onnx-float16", "onnx-dynamic", "onnx-int8")
# fmt: off
REWRITES: tuple[Rewrite, ...] = (
    Rewrite("fold-normalization", "scaling of the input is in the weights of the first convolution", _TFLITE,
            stage="float", engines=_LITERT, changes="float rounding"),
    Rewrite("single-mean", "pixels lose one mean for all channels", ("tflite-int8",),
            stage="float", engines=_LITERT, changes="int8 rounding"),
    Rewrite("grouped-depthwise", "convolutions of one channel a group are depthwise ones", _TFLITE,
            stage="float", engines=_LITERT),
    Rewrite("depthwise-multiplier", "depthwise convolutions of several outputs a channel are several of one", _TFLITE,
            stage="float", engines=_LITERT),
    Rewrite("fold-pool", "pools of one value are strides of the convolutions behind them", _TFLITE,
            stage="float", engines=_LITERT),
    Rewrite("concat-tree", "CONCATENATION takes at most five tensors", _TFLITE, stage="float", engines=_LITERT),
    Rewrite("channel-affine", "a factor and a shift for each channel are a 1x1 depthwise convolution",
            _FAST, stage="float", engines=_LITERT, changes="float rounding"),
    Rewrite("unused-taps", "taps of kernels that only meet padding are gone", _FAST, stage="float", engines=_LITERT),
    Rewrite("layer-norm", "layer normalization takes fewer passes, and stays float", _TFLITE,
            stage="float", engines=_LITERT, targets=("cpu",), changes="float rounding"),
    Rewrite("split-depthwise", "depthwise convolutions of over 25 taps are sums of dilated ones", _TFLITE,
            stage="float", engines=_LITERT, targets=("cpu",), changes="float rounding"),
    Rewrite("wide-taps", "a first convolution reads the columns of a step as one, with their channels",
            ("tflite-dynamic", "tflite-int8"), stage="float", engines=_LITERT, targets=("cpu",)),
    Rewrite("plain-reshapes", "operations that only change a shape are RESHAPE", _FAST, stage="float",
            engines=_LITERT),
    Rewrite("line-pads", "zeros around an image are put around its lines", _FAST, stage="float", engines=_LITERT,
            targets=("cpu",)),
    Rewrite("depthwise-float32", "depthwise convolutions keep weights of 32 bits", ("tflite-float16",),
            stage="recipe", engines=_LITERT, targets=("cpu",)),
    Rewrite("float16-biases", "biases have 16 bits, which older LiteRT needs beside weights of 16", ("tflite-float16",),
            stage="quantized", engines=("litert",), targets=("cpu",), changes="float rounding"),
    Rewrite("depthwise-weights", "depthwise convolutions compute in float from 8-bit weights", ("tflite-dynamic",),
            stage="recipe", engines=_LITERT, targets=("cpu",), changes="int8 rounding"),
    Rewrite("small-products", "small 1x1 convolutions compute in float from 8-bit weights", ("tflite-dynamic",),
            stage="recipe", engines=_LITERT, targets=("cpu",), changes="int8 rounding"),
    Rewrite("lookup-islands", "operations without an int8 kernel become tables, or float kernels between int8 ones",
            ("tflite-int8",), stage="quantized", engines=_LITERT, targets=("cpu",), changes="int8 rounding"),
    Rewrite("ends", "uint8 at the ends becomes int8 by a table, so that the whole graph is one part", ("tflite-int8",),
            stage="quantized", engines=_LITERT, targets=("cpu",)),
    Rewrite("integer-kernels", "operations that the quantizer leaves in float use int8 kernels", ("tflite-int8",),
            stage="quantized", engines=_LITERT, targets=("integer-only",), changes="int8 rounding"),
    Rewrite("integer-hard-swish", "hard-swish becomes additions and products of integers", ("tflite-int8",),
            stage="quantized", engines=_LITERT, targets=("integer-only",), changes="int8 rounding"),
    Rewrite("onnx-input-zero", "the input's scale in the first weights, its offset as zero point", ("onnx-int8",),
            stage="float", engines=_ORT, changes="int8 rounding"),
    Rewrite("onnx-first-convolution", "the first convolution takes four columns at once", ("onnx-int8",),
            stage="float", engines=_ORT, changes="float rounding"),
    Rewrite("onnx-input-scale", "the input's scale in the weights of the first convolution", _ONNX,
            stage="float", engines=_ORT, changes="float rounding"),
    Rewrite("onnx-pads", "padding is the convolutions' own", _ONNX, stage="float", engines=_ORT),
    Rewrite("onnx-pool-strides", "pools of 1x1 become strides", _ONNX, stage="float", engines=_ORT),
    Rewrite("onnx-plain-shapes", "reshapes to the shape that there is are left out", _ONNX,
            stage="float", engines=_ORT),
    Rewrite("onnx-dense", "products with a matrix without reshapes", _ONNX, stage="float", engines=_ORT),
    Rewrite("onnx-layer-norm", "layer normalization as one operation", tuple(s for s in _ONNX if s != "onnx-float16"),
            stage="float", engines=_ORT, changes="float rounding"),
    Rewrite("onnx-gelu", "GELU as it is fused", _ONNX, stage="float", engines=_ORT, changes="float rounding"),
    Rewrite("onnx-hard-sigmoid", "add, clip and scale as one operation", _ONNX,
            stage="float", engines=_ORT, changes="float rounding"),
    Rewrite("onnx-hard-gates", "hard sigmoids behind convolutions become part of them", ("onnx-int8",),
            stage="float", engines=_ORT, changes="float rounding"),
    Rewrite("onnx-depthwise-channels", "depthwise convolutions of a multiple of 16 channels", ("onnx-int8",),
            stage="float", engines=_ORT, changes="float rounding"),
    Rewrite("onnx-float-gelu", "GELU in float, as one operation", ("onnx-int8",),
            stage="float", engines=_ORT, targets=("cpu",), changes="float rounding"),
    Rewrite("onnx-convolution-weights", "convolutions compute in float from 8-bit weights", ("onnx-dynamic",),
            stage="recipe", engines=_ORT, targets=("cpu",), changes="int8 rounding"),
    Rewrite("uint8-activations", "activations are unsigned, as the fastest kernels need", ("onnx-int8",),
            stage="recipe", engines=_ORT, changes="int8 rounding"),
    Rewrite("onnx-input-bytes", "the input's bytes are read as they are", ("onnx-int8",),
            stage="quantized", engines=_ORT),
    Rewrite("onnx-relu-bytes", "ReLU of what others read too as a limit of its bytes", ("onnx-int8",),
            stage="quantized", engines=_ORT, changes="int8 rounding"),
    Rewrite("onnx-quantized-hard-sigmoid", "hard sigmoids as additions of 8 bits", ("onnx-int8",),
            stage="quantized", engines=_ORT, changes="int8 rounding"),
    Rewrite("onnx-swish", "x * sigmoid(x) in float, as one operation", ("onnx-int8",),
            stage="quantized", engines=_ORT, targets=("cpu",), changes="int8 rounding"),
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
