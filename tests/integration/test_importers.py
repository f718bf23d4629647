"""Operations of ONNX files, in the forms that exporters write: what is imported answers as ONNX Runtime does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import helper
from onnx_rewriting import OnnxNet, answer

from edgepress.converters.freezing.frozen import freeze, trace
from edgepress.converters.importers.node import UnsupportedError
from edgepress.converters.importers.onnx_graph import import_graph
from edgepress.converters.importers.operations import join_steps
from edgepress.converters.to_tflite.convert import float_tflite
from edgepress.converters.to_tflite.graph import Graph

Write = Callable[[OnnxNet], Any]
SHAPE = (6, 4, 5)
"""Of an item: channels, height, width."""
BOUND = np.array(1e-6, np.float32)
ZERO = np.array(0, np.float32)
CHANNELS = {"axes": [2, 3], "keepdims": 1}
EACH = np.linspace(1e-6, 2e-6, 6, dtype=np.float32).reshape(6, 1, 1)
PLACES = np.random.default_rng(2).integers(-5, 5, (1, *SHAPE))
SLOPES = np.linspace(-1, 1, 20, dtype=np.float32).reshape(4, 5)
LEFT = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
EMPTY = np.array([], np.float32)


def one(kind: str, *inputs: Any, **attributes: Any) -> Write:
    """One node."""
    return lambda net: net.add(
        kind, *(net.now if isinstance(x, str) and x == "now" else x for x in inputs), **attributes
    )


def in_turn(*writes: Write) -> Write:
    return lambda net: [write(net) for write in writes]


def slices(*bounds: tuple[int, ...]) -> Write:
    """Parts of the first axis behind the batch, weighted and joined again."""

    def write(net: OnnxNet) -> None:
        source = net.now
        parts = []
        for number, (begin, end, *step) in enumerate(bounds):
            part = net.add("Slice", source, *(np.array([value]) for value in (begin, end, 1, *step)))
            parts.append(net.add("Mul", part, np.array(number + 1, np.float32)))
        net.add("Concat", *parts, axis=1)

    return write


def expanded(net: OnnxNet) -> None:
    """A mean of each channel in the shape of the item, from which the item is taken off."""
    source = net.now
    wide = net.add("Expand", net.add("ReduceMean", **CHANNELS), np.array([1, *SHAPE]))
    net.add("Sub", source, wide)


def normalized(net: OnnxNet) -> None:
    """Items of length 1, as torch writes `normalize`."""
    source = net.now
    least = net.add("Clip", net.add("ReduceL2", axes=[1], keepdims=1), np.array(1e-12, np.float32))
    net.add("Div", source, net.add("Expand", least, np.array([1, *SHAPE])))


def shuffled(net: OnnxNet) -> None:
    """A convolution in groups, a shuffle of its channels, and another one."""
    net.conv(6, 2, (1, 1), group=3)
    net.add("Reshape", np.array([1, 3, 2, 4, 5]))
    net.add("Transpose", perm=[0, 2, 1, 3, 4])
    net.add("Reshape", np.array([1, *SHAPE]))
    net.conv(6, 1, (3, 3), group=6, pads=[1] * 4)


def attention(net: OnnxNet) -> None:
    """Pixels as words, in two heads."""
    net.add("Reshape", np.array([1, 6, 20]))
    words = net.add("Transpose", perm=[0, 2, 1])
    heads = []
    for _ in range(3):
        net.add("MatMul", words, net.random.normal(size=(6, 6)).astype(np.float32) * np.float32(0.1))
        net.add("Reshape", np.array([1, 20, 2, 3]))
        heads.append(net.add("Transpose", perm=[0, 2, 1, 3]))
    query, key, value = heads
    scores = net.add("MatMul", query, net.add("Transpose", key, perm=[0, 1, 3, 2]))
    net.add("MatMul", net.add("Softmax", scores, axis=-1), value)
    net.add("Reshape", net.add("Transpose", perm=[0, 2, 1, 3]), np.array([1, 20, 6]))


def layer_norm(net: OnnxNet) -> None:
    """Over channels that come first, as ConvNeXt writes it."""
    source = net.now
    off = net.add("Sub", source, net.add("ReduceMean", source, axes=[1], keepdims=1))
    variance = net.add("ReduceMean", net.add("Pow", off, np.array(2, np.float32)), axes=[1], keepdims=1)
    root = net.add("Sqrt", net.add("Add", variance, np.array(1e-6, np.float32)))
    net.add("Mul", net.add("Div", off, root), np.linspace(1, 2, 6, dtype=np.float32).reshape(6, 1, 1))
    net.add("Add", np.linspace(-1, 1, 6, dtype=np.float32).reshape(6, 1, 1))


def gelu(net: OnnxNet) -> None:
    source = net.now
    inner = net.add("Add", net.add("Erf", net.add("Div", np.array(np.sqrt(2), np.float32))), np.array(1, np.float32))
    net.add("Mul", net.add("Mul", source, inner), np.array(0.5, np.float32))


def recurrent(kind: str, gates: int, direction: str, **options: Any) -> Write:
    """A layer over the rows of a channel's image."""

    def write(net: OnnxNet) -> None:
        both = 2 if direction == "bidirectional" else 1
        random = net.random.normal
        weights = [random(size=(both, gates * 3, size)).astype(np.float32) * np.float32(0.3) for size in (5, 3)]
        bias = random(size=(both, 2 * gates * 3)).astype(np.float32)
        net.add("Reshape", np.array([6, 4, 5]))
        net.add(kind, net.now, *weights, bias, hidden_size=3, direction=direction, **options)
        net.add("Transpose", perm=[2, 0, 1, 3])

    return write


CASES: dict[str, Write] = {
    "halves": slices((0, 3), (3, 6)),
    "parts in another order": slices((4, 99), (0, 1), (1, -2)),
    "an overlap": slices((0, 4), (3, 6)),
    "steps": slices((0, 3, 2), (3, 6, 1)),
    "a small bound": one("Clip", BOUND),
    "a bound below 1": one("Clip", ZERO, np.array(1 - 1e-6, np.float32)),
    "only a bound above": one("Clip", "now", "", np.array(6 + 1e-6, np.float32)),
    "the bounds of ReLU6": one("Clip", ZERO, np.array(6, np.float32)),
    "a maximum of three": one("Max", BOUND, "now", np.array(1e-9, np.float32)),
    "a minimum of three": one("Min", "now", np.array(7, np.float32), np.array(6 + 1e-6, np.float32)),
    "a bound of each channel": one("Max", "now", EACH),
    "a computed bound": in_turn(
        lambda net: net.add("Squeeze", net.add("ReduceMin", axes=[1, 2, 3], keepdims=0), np.array([0])),
        lambda net: net.add("Clip", "input", net.now, np.array(1 - 1e-6, np.float32)),
    ),
    "a first factor": one("MatMul", LEFT, "now"),
    "a stack of first factors": one("MatMul", np.stack([LEFT] * 6), "now"),
    "a second factor": one("MatMul", "now", np.ones((5, 2), np.float32)),
    "an Expand": expanded,
    "a norm": normalized,
    "the other side": one("Pad", np.array([0, 0, 2, 1, 0, 1, 0, 3]), mode="wrap"),
    "more than all of the other side": one("Pad", np.array([0, 7, 0, 0, 0, 0, 9, 0]), mode="wrap"),
    "less than all": one("Pad", np.array([0, 0, -1, 0, 0, 0, 1, 0])),
    "the edge": one("Pad", np.array([0, 0, 2, 1, 0, 1, 0, 3]), mode="edge"),
    "a mirror": one("Pad", np.array([0, 0, 2, 1, 0, 1, 0, 3]), mode="reflect"),
    "an Elu": one("Elu", alpha=2.0),
    "a Selu": one("Selu"),
    "a slope of each pixel": one("PRelu", SLOPES),
    "a slope of each channel": one("PRelu", EACH),
    "a length of 1": one("LpNormalization", axis=1),
    "a sum of 1": one("LpNormalization", axis=1, p=1),
    "places from the end": one("GatherElements", "now", PLACES, axis=-1),
    "places of a table": one("Gather", "now", np.array([[1, -1], [0, 2]]), axis=2),
    "a sum over nothing": in_turn(one("ReduceSum", noop_with_empty_axes=1), one("Neg")),
    "the logarithm of a sum": one("ReduceLogSumExp", axes=[1, 3], keepdims=0),
    "logarithms far from 0": in_turn(one("Mul", np.array(300, np.float32)), one("ReduceLogSumExp", axes=[1])),
    "a pool of powers": one("LpPool", kernel_shape=[2, 3], strides=[1, 2], pads=[1, 0, 0, 1], p=3),
    "a pool with more places": one("MaxPool", kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1),
    "a padded mean": one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
    "a counted mean": one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, count_include_pad=1),
    "windows below": one("MaxPool", kernel_shape=[3, 2], strides=[2, 1], auto_pad="SAME_LOWER"),
    "a softmax over channels": one("Softmax", axis=1),
    "a softmax over rows": one("Softmax", axis=2),
    "the largest of each": in_turn(one("ArgMax", axis=1), one("Cast", to=onnx.TensorProto.FLOAT)),
    "a shuffle": shuffled,
    "attention": attention,
    "a layer norm": layer_norm,
    "a GELU": gelu,
    "an error function": one("Erf"),
    "slices backwards": one("Slice", np.array([-1, 2]), np.array([-99, -99]), np.array([3, 1]), np.array([-1, -2])),
    "a column": one("Gather", "now", np.array(2), axis=3),
    "pieces": in_turn(
        one("Reshape", np.array([1, 6, 2, 2, 5, 1])), one("Transpose", perm=[0, 1, 3, 5, 2, 4]), one("Flatten")
    ),
    "channels as pixels": in_turn(
        lambda net: net.conv(8, 6, (1, 1)), one("DepthToSpace", "now", blocksize=2, mode="CRD")
    ),
    "an Einsum": one("Einsum", "now", LEFT, equation="bchw,kh->bckw"),
    "instances": one("InstanceNormalization", EACH.ravel() * 1e6, EACH.ravel()),
    "neighbours": one("LRN", size=3),
    "a transposed convolution": lambda net: net.add(
        "ConvTranspose", LEFT[:, :, None, None].repeat(2, 0).repeat(3, 2).repeat(3, 3), strides=[2, 2], pads=[1] * 4
    ),
    "one in groups": lambda net: net.add(
        "ConvTranspose", net.random.normal(size=(6, 2, 2, 3)).astype(np.float32), group=3, dilations=[2, 1]
    ),
    "an uneven convolution": lambda net: net.conv(12, 1, (3, 2), group=6, strides=[2, 1], pads=[1, 0, 2, 1]),
    "a dilated convolution": lambda net: net.conv(4, 3, (2, 2), group=2, dilations=[2, 3], pads=[1, 1, 1, 2]),
    "an LSTM": recurrent("LSTM", 4, "forward"),
    "both ways": recurrent("LSTM", 4, "bidirectional"),
    "a GRU": recurrent("GRU", 3, "reverse", linear_before_reset=1),
    "another GRU": recurrent("GRU", 3, "forward"),
    "an RNN": recurrent("RNN", 1, "forward", clip=0.5),
}
WAYS = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric")
CASES |= {
    f"the nearest, {way}, {rounding}, {scale}": one(
        "Resize", EMPTY, np.array([1, 1, scale, scale], np.float32), mode="nearest", nearest_mode=rounding,
        coordinate_transformation_mode=way,
    )
    for way in WAYS
    for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    for scale in (2.0, 0.5, 3.0)
    if way != "align_corners" or scale != 0.5
}  # fmt: skip
CASES |= {
    f"{mode}, {way}, {scale}, {options}": one(
        "Resize", EMPTY, np.array([1, 1, *scale], np.float32), mode=mode, coordinate_transformation_mode=way, **options
    )
    for way in WAYS[:4]
    for mode in ("linear", "cubic")
    for scale, options in (((1.5, 2.0), {}), ((0.5, 1.3), {}), ((0.7, 0.5), {"antialias": 1}), ((0.5, 2.0), {}))
    if way != "align_corners" or scale == (1.5, 2.0)
}


def model_of(write: Write, opset: int = 17) -> onnx.ModelProto:
    net = OnnxNet(SHAPE)
    write(net)
    model = net.model(opset=opset)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    return onnx.shape_inference.infer_shapes(model)


def opset_of(name: str) -> int:
    return 19 if "half_pixel_symmetric" in name or "other side" in name or "antialias" in name else 17


def item() -> Any:
    """One with zeros, as of a covered camera, and with almost zeros."""
    made = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32) * 4
    made[:, :, 0] = 0
    made[..., 0] = 5e-7
    return made


def imported(model: onnx.ModelProto) -> Callable[[Any], Any]:
    return import_graph(join_steps(model), channels_last=True)


@pytest.mark.parametrize("name", CASES)
def test_what_is_imported_answers_as_onnx_runtime(name: str) -> None:
    import tensorflow as tf

    model = model_of(CASES[name], opset_of(name))
    expected = answer(model, item(), optimized=False)
    found = imported(model)(tf.constant(np.moveaxis(item(), 1, -1))).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("part", range(4))
def test_tflite_has_operations_for_it(part: int) -> None:
    """All in one file, which is quicker than one for each."""
    import tensorflow as tf

    names = [*CASES][part::4]
    expected = [answer(model_of(CASES[name], opset_of(name)), item(), optimized=False).ravel() for name in names]
    functions = [imported(model_of(CASES[name], opset_of(name))) for name in names]
    ends = lambda x: tf.concat([tf.reshape(function(x), [-1]) for function in functions], 0)  # noqa: E731
    interpreter = Interpreter(model_content=float_tflite(freeze(trace(ends, (1, 4, 5, 6), "float32"))))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.moveaxis(item(), 1, -1))
    interpreter.invoke()
    (end,) = interpreter.get_output_details()
    found = np.split(interpreter.get_tensor(end["index"]), np.cumsum([each.size for each in expected])[:-1])
    for name, each, other in zip(names, found, expected, strict=True):
        np.testing.assert_allclose(each, other, rtol=1e-3, atol=1e-4, err_msg=name)


def kinds_of(write: Write) -> list[str]:
    graph = Graph(float_tflite(freeze(trace(imported(model_of(write)), (1, 4, 5, 6), "float32"))))
    return [graph.kind(op) for op in graph.operators]


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (in_turn(gelu, one("Transpose", perm=[0, 2, 3, 1])), ["GELU"]),
        (shuffled, ["CONV_2D", "RESHAPE", "TRANSPOSE", "RESHAPE", "DEPTHWISE_CONV_2D", "TRANSPOSE"]),
        (in_turn(lambda net: net.conv(6, 6, (3, 3)), one("Transpose", perm=[0, 2, 3, 1])), ["CONV_2D"]),
        (
            in_turn(one("Transpose", perm=[0, 2, 3, 1]), one("Transpose", perm=[0, 3, 1, 2]), one("GlobalAveragePool")),
            ["MEAN", "RESHAPE"],
        ),
        (one("PRelu", np.linspace(0.1, 1, 6, dtype=np.float32).reshape(6, 1, 1)), ["PRELU", "TRANSPOSE"]),
        (in_turn(one("HardSwish"), one("GlobalMaxPool")), ["HARD_SWISH", "MAX_POOL_2D", "RESHAPE"]),
    ],
)  # fmt: skip
def test_as_few_operations_as_there_are(write: Write, expected: list[str]) -> None:
    """Transposes that undo each other are none."""
    assert kinds_of(write) == expected


def test_volumes() -> None:
    """A convolution, pools and a transposed convolution of them."""
    net = OnnxNet((4, 5, 6, 7))
    random = net.random.normal
    net.add("Conv", random(size=(6, 2, 2, 3, 2)).astype(np.float32), group=2, dilations=[1, 2, 1], pads=[1] * 6)
    net.add("MaxPool", kernel_shape=[2, 2, 2], strides=[2, 1, 1])
    net.add("AveragePool", kernel_shape=[2, 2, 1], pads=[1, 0, 0, 0, 1, 0])
    net.add(
        "ConvTranspose", random(size=(6, 1, 2, 2, 2)).astype(np.float32), strides=[2, 2, 1], pads=[1, 0, 0, 0, 1, 0]
    )
    model = net.model()
    x = net.items(1)
    expected = answer(model, x, optimized=False)
    infer = import_graph(model, channels_last=True)
    interpreter = Interpreter(model_content=float_tflite(freeze(trace(infer, (1, 5, 6, 7, 4), "float32"))))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.moveaxis(x, 1, -1))
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def plain_answers(model: onnx.ModelProto, x: Any) -> tuple[Any, Any]:
    """What is imported makes of an item in its own order of axes, and what ONNX Runtime makes of it."""
    import tensorflow as tf

    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"input": x})[0]
    return import_graph(model, channels_last=False)(tf.constant(x)).numpy(), expected


def number(value: int) -> Any:
    return np.array(value, np.int64)


WINDOW = np.hanning(8).astype(np.float32)
SPECTRA: dict[str, tuple[tuple[int, ...], int, str, list[Any], dict[str, Any]]] = {
    "half of a real one": ((6, 1), 17, "DFT", [], {"onesided": 1}),
    "a whole real one": ((6, 1), 17, "DFT", [], {}),
    "a longer one": ((6, 1), 17, "DFT", [number(9)], {"onesided": 1}),
    "a shorter one": ((6, 1), 17, "DFT", [number(4)], {}),
    "a complex one": ((6, 2), 17, "DFT", [], {}),
    "an inverse one": ((6, 2), 17, "DFT", [], {"inverse": 1}),
    "another axis": ((3, 6, 1), 17, "DFT", [], {"axis": 2, "onesided": 1}),
    "the axis of an input": ((6, 3, 2), 20, "DFT", ["", number(1)], {}),
    "the axis of the default": ((3, 6, 2), 20, "DFT", [], {}),
    "the inverse of a half": ((4, 2), 20, "DFT", [number(7), number(-2)], {"onesided": 1, "inverse": 1}),
    "frames in a window": ((30, 1), 17, "STFT", [number(3), WINDOW, number(8)], {}),
    "frames in a window of no other length": ((30, 1), 17, "STFT", [number(4), WINDOW], {"onesided": 0}),
    "frames without a window": ((30, 1), 17, "STFT", [number(5), "", number(7)], {}),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_transforms_are_products(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, opset, kind, inputs, attributes = SPECTRA[name]
    net = OnnxNet(shape)
    net.add(kind, "input", *inputs, **attributes)
    model = net.model(opset=opset)
    found, expected = plain_answers(model, net.items(1))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr("edgepress.converters.importers.products.MOST", 10)
    with pytest.raises(UnsupportedError, match=rf"^{kind} \(node_0\) can't be converted to TFLite: "):
        plain_answers(model, net.items(1))


@pytest.mark.parametrize("alpha", [None, 0.5])
def test_swish(alpha: float | None) -> None:
    import tensorflow as tf

    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 3]) for name in ("input", "output")]
    node = helper.make_node("Swish", ["input"], ["output"], **({"alpha": alpha} if alpha else {}))
    model = helper.make_model(
        helper.make_graph([node], "g", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 24)], ir_version=10
    )
    items = np.linspace(-3, 3, 6, dtype=np.float32).reshape(2, 3)
    expected = items / (1 + np.exp(-(alpha or 1) * items))
    np.testing.assert_allclose(import_graph(model, channels_last=False)(tf.constant(items)), expected, rtol=1e-5)


def test_functions_of_the_standard() -> None:
    tensor = helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 2, 4, 8])
    sink = helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [1, 2, 4, 8])
    nodes = [
        helper.make_node("RMSNormalization", ["input", "scale"], ["normal"], epsilon=1e-5),
        helper.make_node("Attention", ["normal", "normal", "input"], ["output"], is_causal=1),
    ]
    scale = onnx.numpy_helper.from_array(np.linspace(0.5, 2, 8).astype(np.float32), "scale")
    graph = helper.make_graph(nodes, "graph", [tensor], [sink], [scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    found, expected = plain_answers(model, np.random.default_rng(0).normal(size=(1, 2, 4, 8)).astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("computed", [False, True])
def test_branches_are_taken_if_their_condition_is_known(*, computed: bool) -> None:
    net = OnnxNet((4,))
    value = helper.make_tensor_value_info("negative", onnx.TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Neg", ["input"], ["negative"])], "branch", [], [value])
    condition = net.constant(np.array(True))
    if computed:
        condition = net.add("Greater", net.add("ReduceMax", keepdims=0), np.array(0, np.float32))
    net.add("If", condition, then_branch=branch, else_branch=branch)
    model = net.model()
    if computed:
        with pytest.raises(UnsupportedError, match=r"control flow, which is not converted to TFLite: If \(node_\d\)"):
            plain_answers(model, net.items(1))
    else:
        found, expected = plain_answers(model, net.items(1))
        np.testing.assert_array_equal(found, expected)


def test_loops_of_a_known_length_are_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer ones than the limit are refused, as are those whose end depends on values."""
    net = OnnxNet((4,))
    kinds = [("turn", onnx.TensorProto.INT64, []), ("goes", onnx.TensorProto.BOOL, []), ("sum", 1, [1, 4])]
    made = [("goes_on", onnx.TensorProto.BOOL, []), ("next", 1, [1, 4]), ("row", 1, [1, 4])]
    nodes = [
        helper.make_node("Identity", ["goes"], ["goes_on"]),
        helper.make_node("Add", ["sum", "input"], ["next"]),
        helper.make_node("Neg", ["next"], ["row"]),
    ]
    ends = [[helper.make_tensor_value_info(*value) for value in each] for each in (kinds, made)]
    body = helper.make_graph(nodes, "body", *ends)
    node = helper.make_node("Loop", ["turns", "begin", "input"], ["sums", "rows"], body=body)
    values = {"turns": number(3), "begin": np.array(True)}
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in values.items()]
    last = helper.make_node("Add", ["rows", "sums"], ["output"])
    source, sink = (helper.make_tensor_value_info(n, 1, s) for n, s in (("input", [1, 4]), ("output", [3, 1, 4])))
    graph = helper.make_graph([node, last], "net", [source], [sink], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found, expected = plain_answers(model, net.items(1))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    for name, limit, reason in (("MOST_TURNS", 2, "more than 2 turns"), ("MOST_NODES", 6, "more than 6 nodes")):
        with monkeypatch.context() as patch:
            patch.setattr(f"edgepress.converters.importers.onnx_graph.{name}", limit)
            with pytest.raises(UnsupportedError, match=reason):
                plain_answers(model, net.items(1))


def test_random_numbers_are_no_constants() -> None:
    net = OnnxNet((4,))
    net.add("Mul", "input", net.add("RandomNormal", "", shape=[1, 4]))
    net._nodes[0].ClearField("input")
    with pytest.raises(
        UnsupportedError, match=r"RandomNormal \(node_0\) can't be converted to TFLite: its results are random"
    ):
        plain_answers(net.model(), net.items(1))


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (one("NonZero"), r"NonZero \(node_0\) can't be converted to TFLite: there is no TFLite operation for it"),
        (one("MatMul", np.ones((7, 2), np.float32)), r"MatMul \(node_0\) can't be converted to TFLite: "),
        (in_turn(one("Reshape", np.array([6, 20])), one("Det")), r"Det \(node_1\)"),
        (
            lambda net: net.add("Tile", "input", net.add("Cast", net.add("Shape", net.add("NonZero")), to=7)),
            r"NonZero \(node_0\)",
        ),
    ],
)
def test_what_can_not_be_imported_is_named(write: Write, reason: str) -> None:
    import tensorflow as tf

    net = OnnxNet(SHAPE)
    write(net)
    graph = helper.make_graph(
        net._nodes, "net", [helper.make_tensor_value_info("input", 1, [1, *SHAPE])],
        [helper.make_tensor_value_info(net.now, 1, None)], net._constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(UnsupportedError, match=reason) as refused:
        import_graph(model, channels_last=False)(tf.constant(item()))
    assert refused.value.hint == "ONNX schemes may still work."
