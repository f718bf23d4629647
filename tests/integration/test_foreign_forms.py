"""Forms that exporters give to operations: they are brought to forms that quantizers and converters take."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as fb
from onnx_rewriting import OnnxNet
from rewriting import Net, answer, kinds

from edgepress.converters.errors import ConversionError
from edgepress.converters.ptq.score import runner
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx.forms import with_plain_forms
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.converters.to_onnx.quantize import with_scheme
from edgepress.converters.to_tflite import flatbuffer
from edgepress.converters.to_tflite.constants import with_plain_constants
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.plain_forms import as_log_softmax
from edgepress.runtime.sessions import onnx_session

BOOL = 6
"""Of the schema's `TensorType`."""


def run(model: onnx.ModelProto, shape: tuple[int, ...]) -> Any:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return onnx_session(onnxruntime, model.SerializeToString()).run(None, {"input": x})[0]


@pytest.mark.parametrize("pads", [None, [1, 1, 1, 1], [0, 1, 2, 0]])
@pytest.mark.parametrize(("ceil", "counted"), [(1, 1), (1, 0), (0, 1)])
def test_pools_of_integers_divide_as_those_of_float(pads: list[int] | None, ceil: int, counted: int) -> None:
    shape = (3, 8, 7)
    items = np.random.default_rng(0).normal(size=(16, *shape)).astype(np.float32)
    net = OnnxNet(shape)
    net.conv(4, 3, (3, 3))
    given: dict[str, Any] = {"pads": pads} if pads else {}
    net.add("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=ceil, count_include_pad=counted, **given)
    net.conv(4, 4, (1, 1))
    model = net.model()
    before = run(model, (2, *shape))
    model = with_plain_forms(model)
    np.testing.assert_allclose(run(model, (2, *shape)), before, rtol=1e-4, atol=1e-5)
    if ceil and counted and pads and pads[2] == 2:  # left as it is
        return
    after = run(with_scheme(model, SCHEMES["onnx-int8"], lambda: [items], None), (2, *shape))
    assert np.square(after - before).mean() < 0.001 * before.var()


@pytest.mark.parametrize(("groups", "biased"), [(3, True), (6, True), (3, False), (1, True)])
def test_transposed_convolutions_in_groups_are_quantized(groups: int, *, biased: bool) -> None:
    """The quantizer took the scales of one group for those of all biases, and refused the model."""
    shape = (6, 5, 4)
    items = np.random.default_rng(0).normal(size=(16, *shape)).astype(np.float32)
    net = OnnxNet(shape)
    weights = net.random.normal(size=(6, 2, 3, 3)).astype(np.float32)
    bias = [net.random.normal(size=2 * groups).astype(np.float32)] if biased else []
    net.add("ConvTranspose", weights, *bias, group=groups, strides=[2, 2])
    model = net.model()
    before = run(model, (2, *shape))
    changed = with_plain_forms(model)
    assert (changed is model) == (groups == 1 or not biased)
    np.testing.assert_allclose(run(changed, (2, *shape)), before, rtol=1e-4, atol=1e-5)
    after = run(with_scheme(changed, SCHEMES["onnx-int8"], lambda: [items], None), (2, *shape))
    assert np.square(after - before).mean() < 0.001 * before.var()


@pytest.mark.parametrize("by", ["sizes", "computed sizes", "scales", "scales and no sizes"])
@pytest.mark.parametrize("size", [(11, 5), (3, 30), (48, 6), (28, 9)])
@pytest.mark.parametrize("mode", ["pytorch_half_pixel", "align_corners"])
def test_cubic_resizes_between_convolutions_run_in_8_bits(size: tuple[int, int], by: str, mode: str) -> None:
    """Those that shrink did not: ONNX Runtime moved a Transpose through them."""
    shape = (3, 14, 7)
    items = np.random.default_rng(0).normal(size=(16, *shape)).astype(np.float32)
    net = OnnxNet(shape)
    source = net.conv(16, 3, (3, 3), pads=[1] * 4)
    sizes = [net.constant(np.array([1, 16, *size]))]
    if by == "computed sizes":
        batch = net.add("Gather", net.add("Shape", source), np.array([0]))
        sizes = [net.add("Concat", batch, np.array([16, *size]), axis=0)]
    scales = np.array([1, 1, size[0] / 14 + 0.01, size[1] / 7 + 0.01], np.float32)
    given = {"scales": [scales], "scales and no sizes": [scales, ""]}.get(by, ["", *sizes])
    net.add("Resize", source, "", *given, mode="cubic", coordinate_transformation_mode=mode, exclude_outside=1)
    net.conv(8, 16, (3, 3))
    model = net.model()
    before = run(model, (1, *shape))
    changed = with_plain_forms(model)
    shrinks = size[0] < 14 or size[1] < 7
    assert ("MatMul" in [node.op_type for node in changed.graph.node]) == shrinks
    np.testing.assert_allclose(run(changed, (1, *shape)), before, rtol=1e-3, atol=1e-3)
    after = run(with_scheme(changed, SCHEMES["onnx-int8"], lambda: [items], None), (1, *shape))
    assert np.square(after - before).mean() < 0.001 * before.var()


@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 7)])
@pytest.mark.parametrize("epsilon", [None, 0.5])
def test_groups_are_normalized_as_instances(shape: tuple[int, ...], epsilon: float | None) -> None:
    net = OnnxNet(shape)
    scale, bias = net.random.normal(size=(2, 6)).astype(np.float32)
    net.add("GroupNormalization", scale, bias, num_groups=3, **({} if epsilon is None else {"epsilon": epsilon}))
    net.add("Relu")
    model = net.model()
    model.opset_import[0].version = 21
    before = run(model, (2, *shape))
    model = with_plain_forms(model)
    assert "GroupNormalization" not in [node.op_type for node in model.graph.node]
    np.testing.assert_allclose(run(model, (2, *shape)), before, rtol=1e-4, atol=1e-4)


def test_groups_of_another_opset_stay() -> None:
    """Before opset 21, scales were those of groups."""
    net = OnnxNet((6, 5, 4))
    net.add("GroupNormalization", np.ones(3, np.float32), np.zeros(3, np.float32), num_groups=3)
    model = net.model()
    model.opset_import[0].version = 18
    model = with_plain_forms(model)
    assert [node.op_type for node in model.graph.node] == ["GroupNormalization"]


def test_groups_that_are_single_channels_have_the_same_factors_in_each_opset() -> None:
    """Before opset 21, scales were those of groups, which are those of channels here."""
    net = OnnxNet((6, 5, 4))
    scale, bias = net.random.normal(size=(2, 6)).astype(np.float32)
    net.add("GroupNormalization", scale, bias, num_groups=6)
    model = net.model()
    model.opset_import[0].version = 21
    before = run(model, (2, 6, 5, 4))
    model.opset_import[0].version = 18
    written = with_plain_forms(model)
    assert "InstanceNormalization" in [node.op_type for node in written.graph.node]
    np.testing.assert_allclose(run(written, (2, 6, 5, 4)), before, rtol=1e-4, atol=1e-5)


SIX = np.ones(6, np.float32)
OTHER_FORMS: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "a counted pool": (
        "AveragePool",
        [],
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "ceil_mode": 1, "count_include_pad": 1},
    ),
    "groups": ("GroupNormalization", [SIX, SIX], {"num_groups": 3}),
    "a pad of some axes": ("Pad", [np.array([1, 2]), np.array(0, np.float32), np.array([2])], {}),
}
"""Operations with a form that is written otherwise, if sizes are known."""


@pytest.mark.parametrize("name", OTHER_FORMS)
@pytest.mark.parametrize("known", ["all", "batch and channels", "nothing"])
def test_forms_of_unknown_sizes_stay(name: str, known: str) -> None:
    """But those that need no more than the number of axes."""
    kind, constants, attributes = OTHER_FORMS[name]
    net = OnnxNet((6, 8, 7 if known == "all" else "width"))  # type: ignore[arg-type]
    if known == "nothing":
        source = net.now
        sizes = net.add("Cast", net.add("Reshape", source, np.array([-1])), to=onnx.TensorProto.INT64)
        net.add("Reshape", source, sizes)
    net.add(kind, *constants, **attributes)
    model = net.model(opset=21)
    stays = known == "nothing" or (known != "all" and name != "a pad of some axes")
    assert (with_plain_forms(model) == model) == stays


@pytest.mark.parametrize("computed", ["amounts", "axes", "scale", "bias"])
def test_forms_with_computed_parameters_stay(computed: str) -> None:
    net = OnnxNet((6, 8, 7))
    source = net.now
    if computed in ("amounts", "axes"):
        numbers = net.add("Cast", net.add("ReduceMax", source, keepdims=0), to=onnx.TensorProto.INT64)
        given = net.add("Expand", numbers, np.array([2 if computed == "amounts" else 1]))
        amounts, axes = (given, np.array([2])) if computed == "amounts" else (np.array([1, 2]), given)
        net.add("Pad", source, amounts, np.array(0, np.float32), axes)
    else:
        given = net.add("ReduceMax", source, np.array([0, 2, 3]), keepdims=0)
        net.add("GroupNormalization", source, *((given, SIX) if computed == "scale" else (SIX, given)), num_groups=3)
    model = net.model(opset=21)
    assert with_plain_forms(model) == model


@pytest.mark.parametrize(
    ("kind", "constants", "attributes"),
    [
        ("AveragePool", [], {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "count_include_pad": 1, "ceil_mode": 1}),
        ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}),
        ("MaxPool", [], {"kernel_shape": [3, 3], "pads": [1] * 4, "ceil_mode": 1}),
        ("Pad", [np.array([0, 0, 1, 1] * 2), np.array(0, np.float32)], {}),
        ("GroupNormalization", [SIX.astype(np.float16)] * 2, {"num_groups": 3}),
        ("Add", [np.float32([1e9] * 7)], {}),
    ],
)
def test_forms_that_quantizers_take_stay(kind: str, constants: list[Any], attributes: dict[str, Any]) -> None:
    half = kind == "GroupNormalization"
    net = OnnxNet((6, 8, 7), onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT)
    net.add(kind, *constants, **attributes)
    model = net.model(net.kind, opset=21)
    assert with_plain_forms(model) == model


def test_a_model_of_plain_forms_is_not_copied() -> None:
    net = OnnxNet((3, 8, 7))
    net.conv(4, 3, (3, 3), auto_pad="SAME_UPPER")
    net.add("MaxPool", kernel_shape=[2, 2])
    net.add("Pad", np.array([0, 0, 1, 1] * 2), np.array(0, np.float32))
    net.add("Add", np.array(1, np.float32))
    model = net.model()
    assert with_plain_forms(model) is model


@pytest.mark.parametrize("other", ["", "beta", "reader", "kind"])
def test_a_logarithm_of_a_softmax_is_one_operation(other: str) -> None:
    net = Net((3, 2), 4)
    softmax = net.add("SOFTMAX", [net.now], net.shape, beta=2.0 if other == "beta" else 1.0)
    net.add("SQRT" if other == "kind" else "LOG", [softmax], net.shape)
    if other == "reader":
        net.add("ADD", [net.now, softmax], net.shape)
    model = net.model()
    changed = as_log_softmax(model)
    assert (kinds(changed) == ["LOG_SOFTMAX"]) == (not other)
    np.testing.assert_allclose(answer(changed), answer(model), rtol=1e-5, atol=1e-6)


def test_float16_weights_become_float32() -> None:
    net = Net((3, 2), 4)
    weights = net.random.normal(size=(5, 1, 1, 4)).astype(np.float16)
    restored = net.graph.add_tensor(weights.shape, "restored")
    net.graph.operators.append(net.graph.operator("DEQUANTIZE", [net.graph.add_constant(weights)], restored))
    net.conv(5)
    net.graph.operators[-1].inputs[1] = restored
    model = net.model()
    plain = with_plain_constants(model)
    assert kinds(plain) == ["CONV_2D"]
    np.testing.assert_allclose(answer(plain), answer(model), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "is_constant"), [(1, True), (1 << 20, True), (1 << 20 | 1, False), (0, False)])
def test_states_of_up_to_a_million_zeros_are_constants(size: int, *, is_constant: bool) -> None:
    net = Net((1, 1), max(size, 1))
    state = net.graph.add_tensor((size,), "state")
    net.add("ADD", [net.now, state], net.shape)
    plain = Graph(with_plain_constants(net.model()))
    assert (plain.constant(int(plain.operators[0].inputs[1])) is not None) == is_constant


@pytest.mark.parametrize("kind", ["ADD", "SVDF"])
def test_states_that_nothing_sets_are_zeros(kind: str) -> None:
    """Those of operations that write into them are kept."""
    net = Net((3, 2), 4)
    state = net.graph.add_tensor((1, 3, 2, 4), "state")
    net.graph.table.tensors[state].isVariable = True
    net.add("ADD", [net.now, state], net.shape)
    net.graph.operators[-1].opcodeIndex = len(net.graph.root.operatorCodes)
    net.graph.root.operatorCodes.append(fb.OperatorCodeT(builtinCode=getattr(fb.BuiltinOperator, kind)))
    model = net.model()
    plain = Graph(with_plain_constants(model))
    value = plain.constant(int(plain.operators[0].inputs[1]))
    assert (value is not None and not value.any()) == (kind == "ADD")


@pytest.mark.parametrize(
    ("kind", "keys", "says"),
    [
        ("WHILE", [], "control flow (WHILE)"),
        ("READ_VARIABLE", ["a"], "keeps variables"),
        ("ADD", ["train", "infer"], "2 signatures (train, infer)"),
        ("ADD", ["infer"], "graphs with (inputs, outputs) [(1, 1), (1, 1)]"),
    ],
)
def test_models_of_several_graphs_are_refused_for_what_they_are(kind: str, keys: list[str], says: str) -> None:
    net = Net((3, 2), 4)
    net.add("ADD", [net.now, np.ones(4, np.float32)], net.shape)
    root = net.graph.root
    root.operatorCodes[0].builtinCode = getattr(fb.BuiltinOperator, kind)
    net.graph.table.outputs = [net.now]
    root.subgraphs.append(root.subgraphs[0])
    root.signatureDefs = [fb.SignatureDefT(signatureKey=key, inputs=[], outputs=[]) for key in keys]
    with pytest.raises(ConversionError) as refused:
        flatbuffer.read(flatbuffer.write(root))
    assert says in refused.value.message


def test_a_slice_of_the_whole_batch_does_not_end_it() -> None:
    """The mask that a graph makes of its input tells items apart only if they are not all positive."""
    net = Net((3, 2), 4)
    source = net.now
    begin, size = np.zeros(4, np.int32), np.array([1, 3, 2, 1], np.int32)
    first = net.add("SLICE", [source, begin, size], (1, 3, 2, 1))
    larger = net.add("GREATER", [first, np.array(-0.5, np.float32)], net.shape)
    net.graph.table.tensors[larger].type = BOOL
    net.add("MUL", [source, net.add("CAST", [larger], (1, 3, 2, 1))], (1, 3, 2, 4))
    net.add("MEAN", [net.now, np.array([1, 2], np.int32)], (1, 4))
    model = net.model()
    onnx_model = float_onnx_of(model)
    items = np.random.default_rng(3).normal(size=(5, 3, 2, 4)).astype(np.float32)
    expected = np.stack([runner(model)(item)[0] for item in items])
    session = onnxruntime.InferenceSession(onnx_model.SerializeToString())
    np.testing.assert_allclose(session.run(None, {session.get_inputs()[0].name: items})[0], expected, rtol=1e-4)
