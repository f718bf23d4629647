"""Rewrites of activations and layer normalizations of ONNX graphs.

0.5 * x * (1 - erf(-x * 0.7071)) is six kernels; x * (1 + erf(x / 1.4142)) * 0.5 is the form that is fused into one,
Gelu (GeluFusion, onnxruntime/core/optimizer/gelu_fusion.cc, since release 0.5).

GELU between values of 8 bits is computed in float, as one operation of ONNX Runtime's own.

Quantized step by step, it is half a dozen kernels, two of which are float anyway. Gelu (com.microsoft, since release
0.5) is not recognized there, because the optimizer makes a DequantizeLinear for each reader of its input
(EnsureUniqueDQForNodeUnit, onnxruntime/core/optimizer/qdq_transformer), so it is written before quantization.

x * sigmoid(x) between values of 8 bits is computed in float, as QuickGelu.

Quantized, it is two kernels: QLinearSigmoid, which looks up one value after the other, and QLinearMul. QuickGelu, of
ONNX Runtime's own operations (com.microsoft, since release 1.11; x * sigmoid(alpha * x)), DequantizeLinear and
QuantizeLinear are vectorized, and take less time together. The sigmoid itself is not rounded to 8 bits any more. As
Sigmoid and Mul of the standard, it would stay two kernels: the optimizer makes a DequantizeLinear for each of them
(EnsureUniqueDQForNodeUnit, onnxruntime/core/optimizer/qdq_transformer), so that QuickGeluFusion does not find one
value that both read.

max(0, min(6, x + 3)) / 6, as Keras and PyTorch exporters write it, becomes HardSigmoid.

TensorFlow's converter adds the 3 to the bias of the convolution before it, so that only the limits and the factor are
left; these become HardSigmoid of another offset.
ONNX Runtime runs Add, Clip and Mul or Div one after the other, with one pass over the values each; HardSigmoid is one
kernel, and where it follows a convolution it is computed inside it (ConvActivationFusion and NchwcTransformer,
onnxruntime/core/optimizer). The steps are not recognized (release 1.32).

HardSigmoid between DequantizeLinear and QuantizeLinear becomes an Add of 8 bits.

alpha * x + beta, limited to 0 to 1, is a change of scale: the sum of x and beta / alpha, quantized by a scale that is
alpha times coarser, whose integers end where the limits are. ONNX Runtime has no HardSigmoid of 8 bits, and would run
three kernels in float; it fuses this into one QLinearAdd (release 1.32).

HardSigmoid behind a convolution that nothing else reads becomes part of it: weights scaled, then Clip to 0 to 1.

In a file of 8 bits, the Clip is what the limits of its integers do anyway, and costs nothing; ONNX Runtime has no
HardSigmoid of 8 bits (QLinearOpsRegistry, onnxruntime/python/tools/quantization/registry.py, release 1.32).

Layer normalization, as frameworks write it in steps, becomes LayerNormalization.

ONNX Runtime's LayerNormFusion (onnxruntime/core/optimizer/layer_norm_fusion.cc, release 1.32) knows the last axis and
the steps of PyTorch alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from edgepress.converters.to_onnx.gelus import find_gelus, write_gelus
from edgepress.converters.to_onnx.graph import MICROSOFT, OnnxGraph, attribute
from edgepress.converters.to_onnx.layer_norms import LAYER_NORM, write_layer_norms


def rewrite_gelu(graph: OnnxGraph) -> int:
    """Write each GELU of another form anew, but for those with tanh; returns how many."""
    return write_gelus(graph)


def rewrite_float_gelu(graph: OnnxGraph) -> int:
    """Replace GELUs that are written out; returns at how many places."""
    gelus = find_gelus(graph)
    for gelu in gelus:
        sizes = [None if size == -1 else size for size in graph.shape(gelu.value) or ()]
        kind = "FastGelu" if gelu.is_approximate else "Gelu"
        graph.replace(gelu.result, kind, [gelu.value], domain=MICROSOFT)
        if all(each.name != gelu.result for each in (*graph.proto.value_info, *graph.proto.output)):
            known = onnx.helper.make_tensor_value_info(gelu.result, onnx.TensorProto.FLOAT, sizes)
            graph.proto.value_info.append(known)
    return len(gelus)


def rewrite_swish(graph: OnnxGraph) -> int:
    """Replace quantized pairs of Sigmoid and Mul; returns how many."""
    changed = 0
    for sigmoid in graph.nodes("Sigmoid"):
        (value,) = sigmoid.input
        restored = _behind(graph, _behind(graph, sigmoid, "QuantizeLinear"), "DequantizeLinear")
        product = _behind(graph, restored, "Mul")
        if product is None or graph.maker(value, "DequantizeLinear") is None:
            continue
        if sorted(product.input) != sorted((value, *restored.output)):
            continue
        (result,) = product.output
        if graph.only_reader(result, "QuantizeLinear") is None:
            continue
        graph.move_readers(result, graph.add("QuickGelu", [value], domain=MICROSOFT, alpha=1.0))
        changed += 1
    return changed


def _behind(graph: OnnxGraph, node: Any, kind: str) -> Any:
    """The node of a kind that alone reads what another makes; None if there is none, or no other."""
    return graph.only_reader(node.output[0], kind) if node is not None else None


def rewrite_hard_sigmoid(graph: OnnxGraph) -> int:
    """Replace the three steps by HardSigmoid; returns at how many places."""
    changed = 0
    for clip in graph.nodes("Clip"):
        limits = [graph.scalar(name) for name in clip.input[1:]]
        (clipped,) = clip.output
        scaled = graph.only_reader(clipped)
        if limits != [0.0, 6.0] or scaled is None or scaled.op_type not in ("Mul", "Div"):
            continue
        start = _start(graph, clip.input[0])
        second = graph.operand(scaled)
        if start is None or second is None or second[1].size != 1 or second[1].dtype != np.float32:
            continue
        if scaled.op_type == "Div" and scaled.input[0] != clipped:
            continue
        (value, beta), (result,) = start, scaled.output
        if graph.shape(value) is None or graph.shape(value) != graph.shape(result):
            continue  # a constant of more axes would add some
        factor = second[1].item()
        factor = 1 / factor if scaled.op_type == "Div" else factor
        if not np.isclose(factor, 1 / 6, rtol=1e-6):
            continue
        graph.replace(result, "HardSigmoid", [value], alpha=1 / 6, beta=beta)
        changed += 1
    return changed


def _start(graph: OnnxGraph, limited: str) -> tuple[str, float] | None:
    """The value to which 3 was added, and the offset that this makes; or the convolution whose bias holds the 3."""
    shifted = graph.maker(limited)
    if shifted is None or graph.only_reader(limited) is None:
        return None
    if shifted.op_type == "Conv" and not shifted.domain:
        return limited, 0.0
    sum_ = graph.operand(shifted) if shifted.op_type == "Add" and not shifted.domain else None
    if sum_ is None or sum_[1].size != 1 or sum_[1].item() != 3:
        return None
    return sum_[0], 0.5


def rewrite_quantized_hard_sigmoid(graph: OnnxGraph) -> int:
    """Replace HardSigmoids between 8 bits; returns how many."""
    changed = 0
    for node in graph.nodes("HardSigmoid"):
        (value,), (result,) = node.input, node.output
        before = graph.maker(value, "DequantizeLinear")
        after = graph.only_reader(result, "QuantizeLinear")
        if before is None or after is None or len(after.input) < 3:
            continue
        scale = graph.scalar(after.input[1])
        zero = graph.constant(after.input[2])
        alpha = float(attribute(node, "alpha", 0.2))
        beta = float(attribute(node, "beta", 0.5))
        if scale is None or zero is None or zero.size != 1 or alpha <= 0 or beta <= 0:
            continue
        low = np.iinfo(zero.dtype).min
        high = np.iinfo(zero.dtype).max
        if int(zero.item()) != low or (high - low) * scale > 1.001:
            continue  # these integers go beyond the limits
        step = graph.add_constant(np.array(beta / alpha / (high - low), np.float32))
        offset = graph.add_constant(np.array(high, zero.dtype))
        term = graph.add("DequantizeLinear", [offset, step, after.input[2]])
        node.op_type = "Add"
        node.ClearField("attribute")
        graph.feed(node, 1, term)
        graph.feed(after, 1, graph.add_constant(np.array(scale / alpha, np.float32)))
        changed += 1
    return changed


def rewrite_hard_gates(graph: OnnxGraph) -> int:
    """Move HardSigmoid into the convolutions before it; returns how many."""
    changed = 0
    for node in graph.nodes("HardSigmoid"):
        (value,) = node.input
        conv = graph.maker(value, "Conv")
        if conv is None or graph.only_reader(value) is None:
            continue
        weights = graph.constant(conv.input[1])
        bias = graph.constant(conv.input[2]) if len(conv.input) > 2 else np.zeros(1, np.float32)
        if weights is None or bias is None or weights.dtype != np.float32:
            continue
        alpha = np.float32(attribute(node, "alpha", 0.2))
        beta = np.float32(attribute(node, "beta", 0.5))
        graph.feed(conv, 1, graph.add_constant(weights * alpha))
        shifted = graph.add_constant(np.broadcast_to(bias * alpha + beta, weights.shape[:1]).astype(np.float32))
        graph.feed(conv, 2, shifted)
        node.op_type = "Clip"
        node.ClearField("attribute")
        for place, limit in ((1, 0), (2, 1)):
            graph.feed(node, place, graph.add_constant(np.array(limit, np.float32)))
        changed += 1
    return changed


def rewrite_layer_norm(graph: OnnxGraph) -> int:
    """Replace the steps by LayerNormalization; returns at how many places."""
    return write_layer_norms(graph) if graph.opset >= LAYER_NORM else 0
