"""What types and scales quantized files hold, on models of a few nodes that need no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx import quantize as to_onnx
from edgepress.converters.to_tflite import convert as to_tflite

CHANNELS = 4
SCALES = np.array([1.0, 4.0, 16.0, 64.0], np.float32)
"""Of the weights of each channel: per-channel scales keep the ratios."""


def derived(module: Any, model: Any, scheme: str, *more: Any, **options: Any) -> Any:
    """A model of a scheme from a float one."""
    return module.with_scheme(model, SCHEMES[scheme], *more, **options)


def float_net() -> onnx.ModelProto:
    """Convolution, ReLU, mean over the image, a product with a matrix, softmax."""
    random = np.random.default_rng(0)
    weights = random.uniform(-1, 1, (CHANNELS, 3, 3, 3)).astype(np.float32) * SCALES[:, None, None, None]
    constants = {
        "w": weights,
        "b": np.zeros(CHANNELS, np.float32),
        "m": random.uniform(-1, 1, (CHANNELS, CHANNELS)).astype(np.float32) * SCALES,
        "c": np.zeros(CHANNELS, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["conv"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "m", "c"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", CHANNELS])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def batches() -> Iterable[np.ndarray]:
    return [np.random.default_rng(1).uniform(0, 1, (8, 3, 8, 8)).astype(np.float32)]


@pytest.fixture(scope="module")
def int8() -> onnx.ModelProto:
    found: onnx.ModelProto = derived(to_onnx, float_net(), "onnx-int8", batches, (0.0, 1.0))
    return found


def constants_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def quantizers(model: onnx.ModelProto, kind: str) -> list[tuple[np.ndarray, np.ndarray, bool]]:
    """Scale, zero point, and whether a constant is concerned, of each node of a kind."""
    held = constants_of(model)
    return [(held[n.input[1]], held[n.input[2]], n.input[0] in held) for n in model.graph.node if n.op_type == kind]


def test_activations_of_onnx_int8_are_unsigned_if_rewritten(int8: onnx.ModelProto) -> None:
    unsigned = derived(to_onnx, float_net(), "onnx-int8", batches, (0.0, 1.0), rewrites=("uint8-activations",))
    assert {zero.dtype for _, zero, _ in quantizers(unsigned, "QuantizeLinear")} == {np.dtype(np.uint8)}
    found = quantizers(int8, "QuantizeLinear")
    assert len(found) >= 4
    for scale, zero, constant in found:
        assert not constant
        assert zero.dtype == np.int8
        assert scale.size == 1
    assert any(zero != 0 for _, zero, _ in found), "of what is never negative all 256 levels are used"


def test_weights_of_onnx_int8_are_signed_symmetric_and_per_channel(int8: onnx.ModelProto) -> None:
    held = constants_of(int8)
    weights = [n for n in int8.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in held]
    by_type = {}
    for node in weights:
        value, scale, zero = (held[name] for name in node.input)
        by_type.setdefault(value.dtype, []).append((value, scale))
        assert value.dtype == zero.dtype
        assert not zero.any()
    assert set(by_type) == {np.dtype(np.int8), np.dtype(np.int32)}, "weights, and biases of 32 bits"
    assert len(by_type[np.dtype(np.int8)]) == 2
    for value, scale in by_type[np.dtype(np.int8)]:
        assert scale.shape == (CHANNELS,)
        assert scale / scale[0] == pytest.approx(SCALES, rel=0.25), "a scale for each channel"
        assert np.abs(value.astype(int)).max() >= 127, "the whole range is used"


def test_softmax_of_onnx_int8_stays_float_and_answers_are_near(int8: onnx.ModelProto) -> None:
    import onnxruntime

    (softmax,) = (n for n in int8.graph.node if n.op_type == "Softmax")
    assert softmax.output[0] == int8.graph.output[0].name == "scores"
    answers = []
    for model in (float_net(), int8):
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        answers.append(session.run(None, {"input": next(iter(batches()))})[0])
    assert np.abs(answers[0] - answers[1]).max() < 0.1


def test_onnx_dynamic_has_unsigned_weights() -> None:
    # ConvInteger has no kernel for signed ones.
    found = derived(to_onnx, float_net(), "onnx-dynamic", batches, (0.0, 1.0))
    kinds = {
        t.name: t.data_type for t in found.graph.initializer if t.data_type in (TensorProto.INT8, TensorProto.UINT8)
    }
    large = {name for name in kinds if constants_of(found)[name].size > 1}
    assert len(large) == 2
    assert {kinds[name] for name in large} == {TensorProto.UINT8}
    assert "ConvInteger" in {n.op_type for n in found.graph.node}


def test_onnx_float16_halves_weights_and_keeps_the_ends() -> None:
    found = derived(to_onnx, float_net(), "onnx-float16", batches, None)
    assert {v.dtype for v in constants_of(found).values()} == {np.dtype(np.float16)}
    for end in (found.graph.input[0], found.graph.output[0]):
        assert end.type.tensor_type.elem_type == TensorProto.FLOAT


# TFLite.


def weights_of(model: bytes) -> list[Any]:
    """The constant of two dimensions in a TFLite file, with its quantization."""
    from ai_edge_litert import schema_py_generated as fb

    graph = fb.ModelT.InitFromPackedBuf(model, 0).subgraphs[0]
    return [t for t in graph.tensors if t.shape is not None and list(t.shape) == [6, 16]]


@pytest.fixture(scope="module")
def dense() -> bytes:
    """A layer with the signature that TensorFlow writes and litert-quantizer looks for."""
    from ai_edge_litert import schema_py_generated as fb

    from edgepress.converters.to_tflite.flatbuffer import append, opcode, tensor, write

    weights = np.random.default_rng(0).integers(-127, 128, (6, 16)).astype(np.float32)
    graph = fb.SubGraphT(tensors=[], operators=[])
    model = fb.ModelT(version=3, operatorCodes=[], subgraphs=[graph], buffers=[fb.BufferT()])
    values = append(model.buffers, fb.BufferT(data=np.frombuffer(weights.tobytes(), np.uint8)))
    taken, held = tensor(graph, [1, 16], "input"), tensor(graph, [6, 16], "weights", buffer=values)
    graph.inputs, graph.outputs = [taken], [tensor(graph, [1, 6], "scores")]
    layer = fb.OperatorT(
        opcodeIndex=opcode(model, fb.BuiltinOperator.FULLY_CONNECTED),
        inputs=[taken, held, -1],
        outputs=graph.outputs,
        builtinOptionsType=fb.BuiltinOptions.FullyConnectedOptions,
        builtinOptions=fb.FullyConnectedOptionsT(),
    )
    append(graph.operators, layer)
    first, last = ([fb.TensorMapT(name=name, tensorIndex=int(ends[0]))] for name, ends in _ends(graph))
    model.signatureDefs = [fb.SignatureDefT(inputs=first, outputs=last, signatureKey="serve", subgraphIndex=0)]
    return bytes(write(model))


def _ends(graph: Any) -> list[tuple[str, Any]]:
    return [("input", graph.inputs), ("scores", graph.outputs)]


def test_fully_connected_weights_of_tflite_dynamic_have_one_scale(dense: bytes) -> None:
    # tflite-runtime 2.14 reads per-channel weights of a dynamic FULLY_CONNECTED wrongly, without an error.
    (weights,) = weights_of(derived(to_tflite, dense, "tflite-dynamic", None, uint8=False))
    assert weights.type == 9, "int8"
    assert len(weights.quantization.scale) == 1
    assert list(weights.quantization.zeroPoint) == [0]


@pytest.mark.parametrize("scheme", ["tflite-int8", "tflite-int16x8"])
def test_static_weights_of_tflite_have_a_scale_a_channel(dense: bytes, scheme: str) -> None:
    items = np.random.default_rng(0).uniform(0, 255, (4, 16)).astype(np.float32)
    ranges = tflite_statistics(dense, lambda: [items], (0.0, 255.0)).ranges()
    (weights,) = weights_of(derived(to_tflite, dense, scheme, ranges, uint8=True))
    assert weights.type == 9
    assert len(weights.quantization.scale) == 6
    assert len(set(weights.quantization.scale)) > 1
    assert not np.any(weights.quantization.zeroPoint)


def test_float16_weights_are_widened_where_they_are_used(dense: bytes) -> None:
    found = weights_of(derived(to_tflite, dense, "tflite-float16", None, uint8=False))
    assert sorted(t.type for t in found) == [0, 1], "float16 as stored, float32 as used"
