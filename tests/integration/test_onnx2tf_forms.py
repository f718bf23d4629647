"""Forms of ONNX operations that onnx2tf takes: they compute the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnx_rewriting import OnnxNet
from rewriting import Net, answer, kinds

from edgepress.converters.to_onnx.onnx2tf_forms import with_functions_inlined, with_onnx2tf_forms
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.onnx2tf_fixes import with_missing_turns, zero_padding

SHAPE = (6, 4, 5)
"""Of an item: channels, height, width."""
BOUND = np.array(1e-6, np.float32)
ZERO = np.array(0, np.float32)


def slices(*bounds: tuple[int, ...]) -> Callable[[OnnxNet], None]:
    """Parts of the first axis behind the batch, weighted and joined again."""

    def write(net: OnnxNet) -> None:
        source = net.now
        parts = []
        for number, (begin, end, *step) in enumerate(bounds):
            given = [np.array([value]) for value in (begin, end, 1, *step)]
            part = net.add("Slice", source, *given)
            parts.append(net.add("Mul", part, np.array(number + 1, np.float32)))
        net.add("Concat", *parts, axis=1)

    return write


def patches(last: tuple[int, ...]) -> Callable[[OnnxNet], None]:
    """Pieces of 2x1 pixels."""

    def write(net: OnnxNet) -> None:
        net.add("Reshape", np.array([1, 6, 2, 2, 5, 1]))
        net.add("Transpose", perm=[0, 1, 3, 5, 2, 4])
        net.add("Reshape", np.array(last))

    return write


def one(kind: str, *inputs: Any, **attributes: Any) -> Callable[[OnnxNet], None]:
    """One node."""

    def write(net: OnnxNet) -> None:
        net.add(kind, *(net.now if isinstance(x, str) and x == "now" else x for x in inputs), **attributes)

    return write


def expanded(*, alone: bool) -> Callable[[OnnxNet], None]:
    """A mean of each channel in the shape of the item, from which the item is taken off, or that is the output."""

    def write(net: OnnxNet) -> None:
        source = net.now
        mean = net.add("ReduceMean", axes=[2, 3], keepdims=1)
        wide = net.add("Expand", mean, np.array([1, *SHAPE]))
        net.add("Neg", wide) if alone else net.add("Sub", source, wide)

    return write


def normalized(net: OnnxNet) -> None:
    """Items of length 1, as torch writes `normalize`."""
    source = net.now
    norm = net.add("ReduceL2", axes=[1], keepdims=1)
    least = net.add("Clip", norm, np.array(1e-12, np.float32))
    net.add("Div", source, net.add("Expand", least, np.array([1, *SHAPE])))


def cut(*bounds: tuple[list[int], ...]) -> Callable[[OnnxNet], None]:
    """The largest number of each part of the item."""

    def write(net: OnnxNet) -> None:
        source = net.now
        parts = [net.add("Slice", source, *map(np.array, each)) for each in bounds]
        net.add("Concat", *(net.add("ReduceMax", part, axes=[1, 2, 3], keepdims=1) for part in parts), axis=1)

    return write


def in_turn(*steps: tuple[str, list[Any], dict[str, Any]]) -> Callable[[OnnxNet], None]:
    """Nodes one after the other."""

    def write(net: OnnxNet) -> None:
        for kind, inputs, attributes in steps:
            net.add(kind, *(net.now if isinstance(x, str) else x for x in inputs), **attributes)

    return write


def two_constants(net: OnnxNet) -> None:
    source = net.now
    net.add("Add", source, net.add("MatMul", net.constant(LEFT.T), np.ones((3, 1), np.float32)))


CHANNELS = {"axes": [2, 3], "keepdims": 1}
EACH = np.linspace(1e-6, 2e-6, 6, dtype=np.float32).reshape(6, 1, 1)
PLACES = np.random.default_rng(2).integers(-5, 5, (1, *SHAPE))
SLOPES = np.linspace(-1, 1, 20, dtype=np.float32).reshape(4, 5)
LEFT = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
PADS = np.array([0, 0, 2, 1, 0, 1, 0, 3])
CASES: dict[str, tuple[Callable[[OnnxNet], None], list[str]]] = {
    "halves": (slices((0, 3), (3, 6)), ["Split", "Mul", "Mul", "Concat"]),
    "parts in another order": (slices((4, 99), (0, 1), (1, -2)), ["Split", "Mul", "Mul", "Mul", "Concat"]),
    "a gap": (slices((0, 3), (4, 6)), ["Slice", "Mul", "Slice", "Mul", "Concat"]),
    "an overlap": (slices((0, 4), (3, 6)), ["Slice", "Mul", "Slice", "Mul", "Concat"]),
    "a beginning": (slices((0, 3), (3, 5)), ["Slice", "Mul", "Slice", "Mul", "Concat"]),
    "steps": (slices((0, 3, 2), (3, 6, 1)), ["Slice", "Mul", "Slice", "Mul", "Concat"]),
    "one part": (slices((1, 3)), ["Slice", "Mul", "Identity"]),
    "a small bound": (one("Clip", BOUND), ["Max"]),
    "a small bound and another": (one("Clip", BOUND, np.array(3, np.float32)), ["Max", "Min"]),
    "a bound below 1": (one("Clip", ZERO, np.array(1 - 1e-6, np.float32)), ["Max", "Min"]),
    "only a bound above": (one("Clip", "now", "", np.array(6 + 1e-6, np.float32)), ["Min"]),
    "the bounds of ReLU6": (one("Clip", ZERO, np.array(6, np.float32)), ["Clip"]),
    "a large bound": (one("Clip", np.array(1e-4, np.float32)), ["Clip"]),
    "a maximum": (one("Max", "now", BOUND), ["Max"]),
    "a maximum of three": (one("Max", BOUND, "now", np.array(1e-9, np.float32)), ["Max"]),
    "a minimum of three": (one("Min", "now", np.array(7, np.float32), np.array(6 + 1e-6, np.float32)), ["Min"]),
    "a maximum of bounds far away": (one("Max", BOUND, "now", np.array(2, np.float32)), ["Max"]),
    "a maximum of two values": (
        lambda net: net.add("Max", net.now, net.add("Neg"), BOUND) and None,
        ["Neg", "Max"],
    ),
    "a maximum of 0": (one("Max", "now", ZERO), ["Max"]),
    "a first factor": (one("MatMul", LEFT, "now"), ["Transpose", "MatMul", "Transpose"]),
    "a stack of first factors": (one("MatMul", np.stack([LEFT] * 6), "now"), ["MatMul"]),
    "a second factor": (one("MatMul", "now", np.ones((5, 2), np.float32)), ["MatMul"]),
    "an Expand": (expanded(alone=False), ["ReduceMean", "Sub"]),
    "an Expand alone": (expanded(alone=True), ["ReduceMean", "Expand", "Neg"]),
    "a norm": (normalized, ["ReduceL2", "Max", "Div"]),
    "the other side": (one("Pad", PADS, mode="wrap"), [*["Slice"] * 4, *["Concat"] * 3, "Identity"]),
    "the other side, of some axes": (
        one("Pad", "now", np.array([1, 2, 0, 1]), "", np.array([3, 2]), mode="wrap"),
        ["Pad"],
    ),
    "zeros": (one("Pad", PADS), ["Pad"]),
    "an Expand that is the output": (
        lambda net: net.add("Expand", net.add("ReduceMean", axes=[2], keepdims=1), np.array([1, *SHAPE])) and None,
        ["ReduceMean", "Expand"],
    ),
    "a turn alone": (
        lambda net: net.add("Transpose", net.add("Unsqueeze", np.array([1, 5])), perm=[0, 1, 3, 5, 2, 4]) and None,
        ["Reshape", "Transpose"],
    ),
    "four axes": (
        lambda net: net.add("Unsqueeze", net.add("ReduceMean", axes=[1], keepdims=0), np.array([1])) and None,
        ["ReduceMean", "Unsqueeze"],
    ),
    "one tensor": (lambda net: net.add("Neg", net.add("Concat", axis=1)) and None, ["Neg"]),
    "patches": (patches((1, 6, 2, 10)), ["Reshape", "Transpose", "Transpose", "Reshape"]),
    "pieces of two and more pixels": (
        lambda net: (
            net.add("Transpose", net.add("Reshape", np.array([1, 3, 2, 4, 1, 5])), perm=[0, 1, 3, 5, 2, 4])
            and net.add("Reshape", np.array([1, 60, 2, 1]))
            and None
        ),
        ["Reshape", "Transpose", "Reshape"],
    ),
    "a bound below -1": (one("Clip", np.array(-1 - 1e-6, np.float32), np.array(1, np.float32)), ["Max", "Min"]),
    "a Slice of the first axes": (
        one("Slice", "now", np.array([0]), np.array([1])),
        ["Slice"],
    ),
    "halves from the end": (cut(([0], [3], [-3]), ([3], [6], [1])), ["Split", *["ReduceMax"] * 2, "Concat"]),
    "halves of two axes": (cut(([0], [3], [1]), ([2], [4], [2])), [*["Slice", "ReduceMax"] * 2, "Concat"]),
    "halves of both at once": (
        cut(([0, 0], [3, 2], [1, 2]), ([3, 2], [6, 4], [1, 2])),
        [*["Slice", "ReduceMax"] * 2, "Concat"],
    ),
    "a bound of each channel": (one("Max", "now", EACH), ["Max"]),
    "a bound of a vector": (
        in_turn(("ReduceMean", [], {"axes": [1, 2, 3], "keepdims": 0}), ("Clip", [BOUND], {})),
        ["ReduceMean", "Max"],
    ),
    "a first factor of a vector": (
        in_turn(("ReduceMean", [], {"axes": [0, 1, 3], "keepdims": 0}), ("MatMul", [LEFT, "now"], {})),
        ["ReduceMean", "MatMul"],
    ),
    "factors that are both constant": (two_constants, ["MatMul", "Add"]),
    "one tensor that is the output": (one("Concat", "now", axis=1), ["Identity"]),
    "an Expand that widens": (
        in_turn(
            ("ReduceMean", [], CHANNELS),
            ("Expand", ["now", np.array([1, *SHAPE])], {}),
            ("Add", ["now", np.ones((6, 1, 1), np.float32)], {}),
        ),
        ["ReduceMean", "Expand", "Add"],
    ),
    "all of the other side": (
        one("Pad", np.array([0, 6, 0, 0, 0, 0, 4, 0]), mode="wrap"),
        ["Slice", "Slice", "Concat", "Concat", "Identity"],
    ),
    "an Elu": (one("Elu", alpha=2.0), ["Elu", "LeakyRelu"]),
    "an Elu of 1": (one("Elu"), ["Elu"]),
    "a slope of each pixel": (one("PRelu", SLOPES), ["Relu", "Sub", "Mul", "Add"]),
    "a slope of each channel": (one("PRelu", EACH), ["PRelu"]),
    "a sum of 1": (one("LpNormalization", axis=1, p=1), ["Abs", "ReduceSum", "Add", "Div"]),
    "a length of 1": (one("LpNormalization", axis=1), ["Mul", "ReduceSum", "Sqrt", "Add", "Div"]),
    "places from the end": (one("GatherElements", "now", PLACES, axis=-1), ["GatherElements"]),
    "a sum over nothing": (
        in_turn(("ReduceSum", [], {"noop_with_empty_axes": 1}), ("Neg", [], {})),
        ["Identity", "Neg"],
    ),
    "a pool of powers": (
        one("LpPool", kernel_shape=[2, 3], strides=[1, 2], pads=[1, 0, 0, 1], p=3),
        ["Abs", "Pow", "AveragePool", "Mul", "Pow"],
    ),
    "a pool of powers that is padded by name": (
        one("LpPool", kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
        ["LpPool"],
    ),
    "patches as channels": (patches((1, 12, 2, 5)), ["Reshape", "Transpose", "Reshape"]),
}


STAYING = ("a maximum of 0", "a maximum of bounds far away", "a maximum of two values", "a bound of each channel")
"""Cases of `CASES` in which no bound has to be written otherwise."""


def run(model: onnx.ModelProto, items: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"input": items})[0]


@pytest.mark.parametrize("name", CASES)
def test_forms_compute_the_same(name: str) -> None:
    write, expected = CASES[name]
    net = OnnxNet(SHAPE)
    write(net)
    model = net.model(opset=19 if name.startswith("the other side") else 17)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    items = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32) * 4
    items[:, :, 0] = 0  # as of a covered camera
    items[..., 0] = 5e-7
    before = run(model, items)
    written = with_onnx2tf_forms(onnx.shape_inference.infer_shapes(model))
    onnx.checker.check_model(written)
    assert sorted(node.op_type for node in written.graph.node) == sorted(expected)
    np.testing.assert_allclose(run(written, items), before, rtol=1e-5, atol=1e-8)
    if name == "places from the end":
        assert min(onnx.numpy_helper.to_array(tensor).min() for tensor in written.graph.initializer) >= 0
    for node in written.graph.node:
        if node.op_type in ("Max", "Min") and name not in STAYING:
            (bound,) = (tensor for tensor in written.graph.initializer if tensor.name == node.input[0])
            assert [*bound.dims] == [SHAPE[0], 1, 1] or name in ("a norm", "a bound of a vector")  # of one channel


@pytest.mark.parametrize(("number", "sizes"), [(3, [2, 2, 2]), (2, [3, 3]), (4, None)])
@pytest.mark.parametrize("channels", [6, 5])
def test_a_split_into_a_number_of_parts_gets_their_sizes(number: int, sizes: list[int] | None, channels: int) -> None:
    """Except where fewer parts hold all, so that the last ones would be empty."""
    parts = [f"part_{place}" for place in range(number)]
    nodes = [
        helper.make_node("Split", ["input"], parts, axis=-3, num_outputs=number),
        helper.make_node("Concat", parts[::-1], ["output"], axis=1),
    ]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, 4, 5]) for name in ("input", "output")
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    items = np.random.default_rng(0).normal(size=(1, channels, 4, 5)).astype(np.float32)
    before = run(model, items) if sizes else None
    written = with_onnx2tf_forms(onnx.shape_inference.infer_shapes(model))
    split = next(node for node in written.graph.node if node.op_type == "Split")
    if sizes is None:
        assert len(split.input) == 1
        return
    (given,) = written.graph.initializer
    assert onnx.numpy_helper.to_array(given).tolist() == [*sizes[:-1], sizes[-1] - (6 - channels)]
    np.testing.assert_array_equal(run(written, items), before)


@pytest.mark.parametrize("amounts", [[0, 0, -1, 0, 0, 0, 1, 0], [0, 7, 0, 0, 0, 0, 0, 0], "computed"])
def test_other_paddings_with_the_other_side_stay(amounts: Any) -> None:
    """Those that cut, that go round more than once, and of amounts that are not known."""
    net = OnnxNet(SHAPE)
    source = net.now
    if amounts == "computed":
        largest = net.add("Cast", net.add("ReduceMax", source, keepdims=0), to=onnx.TensorProto.INT64)
        net.add("Pad", source, net.add("Expand", largest, np.array([8])), mode="wrap")
    else:
        net.add("Pad", np.array(amounts), mode="wrap")
    model = net.model(opset=19)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    written = with_onnx2tf_forms(onnx.shape_inference.infer_shapes(model))
    assert [node.op_type for node in written.graph.node][-1] == "Pad"


@pytest.mark.parametrize("place", ["slices", "a first factor", "an Expand", "a turn", "the other side"])
def test_forms_of_tensors_of_unknown_sizes_stay(place: str) -> None:
    """As behind an operation that makes as many as it finds."""
    net = OnnxNet(SHAPE)
    found = net.add("NonZero")  # of shape (axes, found)
    if place == "slices":
        parts = [net.add("Slice", found, *map(np.array, each)) for each in (([0], [2], [1]), ([2], [4], [1]))]
        net.add("Concat", *parts, axis=1)
    elif place == "an Expand":
        wide = net.add("Expand", net.add("Gather", found, np.array([0])), net.add("Shape", found))
        net.add("Mul", found, wide)
    elif place == "a turn":
        net.add("Reshape", found, np.array([1, 4, 1, 1, -1, 1]))
        net.add("Reshape", net.add("Transpose", perm=[0, 1, 3, 5, 2, 4]), np.array([-1]))
    elif place == "the other side":
        net.add("Pad", found, np.array([0, 0, 0, 1]), mode="wrap")
    else:
        sizes = net.add("Gather", found, np.array(0))
        net.add("MatMul", LEFT, net.add("Reshape", "input", sizes))
    model = onnx.shape_inference.infer_shapes(net.model(opset=19))
    before = [node.op_type for node in model.graph.node]
    assert [node.op_type for node in with_onnx2tf_forms(model).graph.node] == before


@pytest.mark.parametrize("kind", ["Clip", "Max", "Min"])
def test_bounds_of_whole_numbers_stay(kind: str) -> None:
    """Such as those of places in a table."""
    net = OnnxNet((4,), onnx.TensorProto.INT64)
    net.add(kind, np.array(1, np.int64))
    net.add("Cast", to=onnx.TensorProto.FLOAT)
    written = with_onnx2tf_forms(net.model())
    assert [node.op_type for node in written.graph.node] == [kind, "Cast"]


def test_a_bound_that_is_computed_stays() -> None:
    net = OnnxNet(SHAPE)
    least = net.add("ReduceMin", axes=[1, 2, 3], keepdims=0)
    net.add("Clip", "input", net.add("Squeeze", least, np.array([0])), np.array(1 - 1e-6, np.float32))
    model = net.model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    assert "Clip" in {node.op_type for node in with_onnx2tf_forms(onnx.shape_inference.infer_shapes(model)).graph.node}


@pytest.mark.parametrize("alpha", [None, 0.5])
def test_swish_is_written_out(alpha: float | None) -> None:
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 3]) for name in ("input", "output")]
    node = helper.make_node("Swish", ["input"], ["output"], **({"alpha": alpha} if alpha else {}))
    model = helper.make_model(
        helper.make_graph([node], "g", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 24)], ir_version=10
    )
    items = np.linspace(-3, 3, 6, dtype=np.float32).reshape(2, 3)
    expected = items / (1 + np.exp(-(alpha or 1) * items))
    np.testing.assert_allclose(run(with_functions_inlined(model), items), expected, rtol=1e-5, atol=1e-6)


def test_functions_of_the_standard_are_written_out() -> None:
    tensor = helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 2, 4, 8])
    sink = helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [1, 2, 4, 8])
    nodes = [
        helper.make_node("RMSNormalization", ["input", "scale"], ["normal"], epsilon=1e-5),
        helper.make_node("Attention", ["normal", "normal", "input"], ["output"], is_causal=1),
    ]
    scale = onnx.numpy_helper.from_array(np.linspace(0.5, 2, 8).astype(np.float32), "scale")
    graph = helper.make_graph(nodes, "graph", [tensor], [sink], [scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    items = np.random.default_rng(0).normal(size=(1, 2, 4, 8)).astype(np.float32)
    written = with_functions_inlined(model)
    assert not {"Attention", "RMSNormalization"} & {node.op_type for node in written.graph.node}
    np.testing.assert_allclose(run(written, items), run(model, items), rtol=1e-4, atol=1e-5)
    assert with_functions_inlined(written) is written


@pytest.mark.parametrize("before", ["fused", "RELU", "RELU6", "TANH", "none"])
@pytest.mark.parametrize("value", [-np.inf, -1e38, -1e29])
def test_max_pooling_of_what_is_at_least_0_is_padded_with_0(before: str, value: float) -> None:
    """Any other padding, and any other pool, stays."""
    net = Net((4, 4), 3)
    if before == "none":
        net.add("NEG", [net.now], net.shape)
    else:
        net.conv(4, act=1 if before == "fused" else 0)
    if before in ("RELU", "RELU6", "TANH"):
        net.add(before, [net.now], net.shape)
    pads = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
    net.add("PADV2", [net.now, pads, np.array([value], np.float32)], (1, 6, 6, net.shape[3]))
    net.add(
        "MAX_POOL_2D",
        [net.now],
        (1, 4, 4, net.shape[3]),
        filterWidth=3,
        filterHeight=3,
        strideW=1,
        strideH=1,
        padding=1,
    )
    model = net.model()
    fixed = zero_padding(model)
    is_fixed = before in ("fused", "RELU", "RELU6") and value < -1e30
    assert ("PAD" in kinds(fixed)) == is_fixed
    assert ("PADV2" in kinds(fixed)) == (not is_fixed)
    assert is_fixed or fixed == model
    if value > -1e30 or np.isinf(value):
        return
    np.testing.assert_allclose(answer(fixed), answer(model), rtol=1e-6)


def test_a_tensor_of_another_shape_is_not_in_its_place() -> None:
    net = Net((4, 5), 3)
    net.conv(6)
    net.graph.rename(net.now, "sum_nhwc_bridge")
    missing = net.graph.add_tensor((1, 5, 4, 5), "sum")
    net.add("NEG", [missing], (1, 5, 4, 5))
    assert with_missing_turns(net.model()) == net.model()


def test_a_tensor_without_one_in_its_place_does_not_keep_others_from_theirs() -> None:
    net = Net((4, 5), 3)
    net.conv(6)
    net.graph.rename(net.now, "sum_nhwc")
    lost = net.graph.add_tensor((1, 6, 4, 5), "lost")
    missing = net.graph.add_tensor((1, 6, 4, 5), "sum")
    net.add("ADD", [lost, missing], (1, 6, 4, 5))
    fixed = Graph(with_missing_turns(net.model()))
    assert [fixed.kind(op) for op in fixed.operators] == ["CONV_2D", "TRANSPOSE", "ADD"]
    turn, total = fixed.operators[1:]
    assert [fixed.name(int(i)) for i in total.inputs] == ["lost", "sum"]
    assert fixed.name(int(turn.outputs[0])) == "sum"


@pytest.mark.parametrize("end", ["_nhwc_bridge", "__to_nhwc", "_other"])
def test_a_tensor_that_nothing_makes_is_turned_from_the_one_in_its_place(end: str) -> None:
    net = Net((4, 5), 3)
    net.conv(6)
    made = net.now
    net.graph.rename(made, f"sum{end}")
    missing = net.graph.add_tensor((1, 6, 4, 5), "sum")
    net.add("SLICE", [missing, np.array([0, 2, 0, 0], np.int32), np.array([1, 3, 4, 5], np.int32)], (1, 3, 4, 5))
    part = net.now
    net.add("TRANSPOSE", [part, np.array([0, 2, 3, 1], np.int32)], (1, 4, 5, 3))
    model = net.model()
    fixed = with_missing_turns(model)
    if end == "_other":
        assert fixed == model
        return
    assert kinds(fixed) == ["CONV_2D", "TRANSPOSE", "SLICE", "TRANSPOSE"]
    whole = Net((4, 5), 3)
    whole.conv(6)
    np.testing.assert_allclose(answer(fixed), answer(whole.model())[..., 2:5], rtol=1e-5, atol=1e-6)
