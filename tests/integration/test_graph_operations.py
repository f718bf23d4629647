"""Each operation of a program computes what LiteRT does, for several items at once, and has gradients."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from int8_graphs import Net
from rewriting import Net as Windows

from edgepress.converters.graph.operations import OPERATIONS
from edgepress.converters.graph.program import Program, UnknownOperationError, litert_answers
from edgepress.converters.ptq.channel_scales import channel_ranges

SHAPE, LINE = (1, 4, 6, 3), (1, 1, 1, 5)
IMAGE = np.linspace(-2, 2, 72, dtype=np.float32).reshape(SHAPE)


def ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def case(kind: str, *inputs: Any, shape: Any = SHAPE, of: Any = SHAPE, table: str = "", **options: Any) -> Any:
    """Arrays among the inputs become constants, and None is the graph's input, which is the only one by default."""
    detail = "-".join(str(value) for value in options.values())
    return pytest.param(kind, inputs or (None,), shape, of, table, options, id=f"{kind} {detail}".strip())


UNARY = """
    ABS CEIL COS ELU EXP FLOOR HARD_SWISH LOGISTIC LOG_SOFTMAX NEG RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 ROUND SIGN SIN
    SQUARE TANH ZEROS_LIKE
"""
CASES = [
    *(case(kind) for kind in UNARY.split()),
    case("LEAKY_RELU", table="LeakyRelu", alpha=0.3),
    case("PRELU", None, np.float32([[[0.1, -0.5, 2]]])),
    case("GELU", approximate=True, table="Gelu"),
    case("GELU", approximate=False, table="Gelu"),
    case("SOFTMAX", beta=0.7, table="Softmax"),
    case("L2_NORMALIZATION", table="L2Norm"),
    case("LOCAL_RESPONSE_NORMALIZATION", table="LocalResponseNormalization", radius=1, bias=1.0, alpha=0.5, beta=0.7),
    *(case(kind, None, np.abs(IMAGE) + 1) for kind in ("DIV", "FLOOR_DIV", "FLOOR_MOD")),
    *(case(kind, None, IMAGE[:, :1]) for kind in ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")),
    *(case("ADD", None, IMAGE, fusedActivationFunction=number) for number in (1, 2, 3)),
    case("MUL", IMAGE[0, 0, 0], None, fusedActivationFunction=1),
    case("ADD_N", None, IMAGE, None),
    case("POW", np.abs(IMAGE) + 1, None),
    *(
        case(kind, None, ints(1, 2), shape=(1, 3), table="Reducer", keepDims=False)
        for kind in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")
    ),
    case("MEAN", None, ints(-1), shape=(1, 4, 6, 1), table="Reducer", keepDims=True),
    case("RESHAPE", None, ints(1, 72), shape=(1, 72)),
    case("RESHAPE", None, ints(24, 3), shape=(24, 3)),
    case("EXPAND_DIMS", None, ints(1), shape=(1, 1, 4, 6, 3)),
    case("SQUEEZE", of=LINE, shape=(1, 5), table="Squeeze", squeezeDims=[1, 2]),
    case("BROADCAST_TO", None, ints(1, 4, 2, 5), of=LINE, shape=(1, 4, 2, 5)),
    case("SLICE", None, ints(0, 1, 2, 0), ints(1, 2, 3, 3), shape=(1, 2, 3, 3)),
    case("STRIDED_SLICE", None, ints(0, 1, 0, 0), ints(1, 4, 5, 0), ints(1, 2, 2, 1), shape=(1, 2, 3, 3),
         table="StridedSlice", endMask=8),
    case("STRIDED_SLICE", None, ints(0, -1, 0, 0), ints(0, 0, 6, 3), ints(1, 1, 1, 1), shape=(1, 6, 3),
         table="StridedSlice", beginMask=1, endMask=1, shrinkAxisMask=2),
    case("CONCATENATION", None, IMAGE, None, shape=(1, 4, 18, 3), axis=2),
    case("CONCATENATION", None, None, shape=(1, 4, 6, 6), axis=-1),
    case("PACK", None, IMAGE, shape=(1, 4, 6, 3, 2), axis=4, valuesCount=2),
    case("PACK", None, None, shape=(1, 2, 4, 6, 3), axis=1, valuesCount=2),
    case("TRANSPOSE", None, ints(0, 3, 1, 2), shape=(1, 3, 4, 6)),
    case("PAD", None, ints((0, 0), (1, 2), (0, 1), (0, 0)), shape=(1, 7, 7, 3)),
    case("PADV2", None, ints((0, 0), (1, 2), (0, 1), (0, 0)), np.array([-4], np.float32), shape=(1, 7, 7, 3)),
    case("MIRROR_PAD", None, ints((0, 0), (1, 2), (0, 1), (0, 0)), shape=(1, 7, 7, 3), table="MirrorPad", mode=0),
    case("MIRROR_PAD", None, ints((0, 0), (1, 2), (0, 1), (0, 0)), shape=(1, 7, 7, 3), table="MirrorPad", mode=1),
    case("TILE", None, ints(1, 2, 1, 3), shape=(1, 8, 6, 9)),
    case("GATHER", None, ints(2, 0, 0, 1), shape=(1, 4, 6, 4), axis=3),
    case("REVERSE_V2", None, ints(2)),
    case("SPACE_TO_DEPTH", shape=(1, 2, 3, 12), table="SpaceToDepth", blockSize=2),
    case("DEPTH_TO_SPACE", of=(1, 2, 3, 12), table="DepthToSpace", blockSize=2),
    *(
        case(kind, None, ints(7, 9), shape=(1, 7, 9, 3), table=table, alignCorners=align, halfPixelCenters=half)
        for kind, table in (("RESIZE_BILINEAR", "ResizeBilinear"), ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighbor"))
        for align, half in ((False, False), (True, False), (False, True))
    ),
    case("BATCH_MATMUL", None, np.ones((1, 4, 5, 3), np.float32) * IMAGE[:, :, :1], shape=(1, 4, 6, 5), adjY=True),
    case("BATCH_MATMUL", None, IMAGE, shape=(1, 4, 3, 3), adjX=True),
    case("FULLY_CONNECTED", None, IMAGE.reshape(4, 18), np.float32([1, 2, 3, 4]), of=(1, 18), shape=(1, 4)),
    case("FULLY_CONNECTED", None, IMAGE[0, 0, :2], of=SHAPE, shape=(24, 2)),
    case("FULLY_CONNECTED", None, IMAGE[0, 0, :2], shape=(1, 4, 6, 2), keepNumDims=True, fusedActivationFunction=3),
    *(
        case(kind, shape=(1, 2, 3, 3), table="Pool2D", padding=0, strideH=2, strideW=2, filterHeight=3, filterWidth=3)
        for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D")
    ),
    case("AVERAGE_POOL_2D", shape=(1, 2, 2, 3), table="Pool2D", padding=1, strideH=2, strideW=3, filterHeight=2,
         filterWidth=3, fusedActivationFunction=1),
    *(
        case("TRANSPOSE_CONV", ints(1, *size, 2), np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3),
             None, shape=(1, *size, 2), table="TransposeConv", padding=padding, strideH=2, strideW=2)
        for size, padding in (((8, 12), 0), ((8, 13), 1))
    ),
]  # fmt: skip


def one(kind: str, inputs: Any, shape: Any, of: Any, table: str, options: Any) -> bytes:
    net = Net(of, scale=0, dtype=np.float32)
    places = [net.input if x is None else net.constant(x) for x in inputs]
    net.op(kind, places, shape, scale=0, dtype=np.float32, table=table, **options)
    net.root.operatorCodes[0].version = 2 if kind == "BROADCAST_TO" else 1
    return net.model()


def compared(model: bytes, *, low: float = -3.0, differentiable: bool = True) -> Program:
    """The program of a model, which was found to answer as LiteRT does, also in a compiled function with gradients."""
    import tensorflow as tf

    program = Program(model)
    items = np.random.default_rng(0).uniform(low, 3, (3, *program.shapes[program.source][1:])).astype(np.float32)
    expected = litert_answers(model, items).reshape(3, -1)
    bound = 1e-5 * max(1e-6, float(np.abs(expected).max()))
    assert program.batched
    assert np.abs(program.answers(items) - expected).max() <= bound
    changed = {name: tf.constant(values) for name, values in program.constants.items() if values.dtype == np.float32}

    @tf.function(input_signature=[tf.TensorSpec([None, *items.shape[1:]])])
    def compiled(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, *changed.values()])
            y = program.run(x, constants=changed)[program.sink]
        return y, tape.gradient(y, [x, *changed.values()], unconnected_gradients="zero")

    answers, gradients = compiled(items)
    assert np.abs(np.asarray(answers).reshape(3, -1) - expected).max() <= bound
    assert all(np.isfinite(g).all() for g in gradients)
    assert np.abs(gradients[0]).max() > 0 or not differentiable
    return program


@pytest.mark.parametrize(("kind", "inputs", "shape", "of", "table", "options"), CASES)
def test_an_operation_computes_what_litert_does(kind, inputs, shape, of, table, options):
    steps = {"CEIL", "FLOOR", "ROUND", "SIGN", "ZEROS_LIKE", "FLOOR_DIV"}
    low = 0.5 if kind == "POW" else -3.0
    compared(one(kind, inputs, shape, of, table, options), low=low, differentiable=kind not in steps)


@pytest.mark.parametrize("kind", ["LOG", "SQRT", "RSQRT"])
def test_functions_of_positive_numbers(kind):
    net = Net(SHAPE, scale=0, dtype=np.float32)
    high = net.op("ADD", [net.input, net.constant(np.float32([4]))], SHAPE, scale=0, dtype=np.float32)
    net.op(kind, [high], SHAPE, scale=0, dtype=np.float32)
    compared(net.model())


@pytest.mark.parametrize("kind", ["SPLIT", "SPLIT_V", "UNPACK"])
def test_operations_with_several_outputs(kind):
    net = Net((1, 4, 6, 2), scale=0, dtype=np.float32)
    shape = (1, 4, 6) if kind == "UNPACK" else (1, 4, 6, 1)
    axis, sizes = net.constant(ints(3)), net.constant(ints(1, 1))
    inputs, options = {
        "SPLIT": ([axis, net.input], {"numSplits": 2}),
        "SPLIT_V": ([net.input, sizes, axis], {"numSplits": 2}),
        "UNPACK": ([net.input], {"num": 2, "axis": 3}),
    }[kind]
    table = {"SPLIT": "Split", "SPLIT_V": "SplitV", "UNPACK": "Unpack"}[kind]
    first = net.op(kind, inputs, shape, scale=0, dtype=np.float32, table=table, **options)
    second = net.tensor(shape, dtype=np.float32)
    net.graph.operators[-1].outputs = [first, second]
    net.op("SUB", [second, first], shape, scale=0, dtype=np.float32)
    compared(net.model())


@settings(max_examples=15)
@example(size=(7, 9), kernel=(1, 1), strides=(1, 3), dilation=1, same=True, kind="grouped", multiplier=2, act=0)
@given(
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.sampled_from([1, 1, 2]),
    same=st.booleans(),
    kind=st.sampled_from(["conv", "grouped", "by channel", "depthwise"]),
    multiplier=st.integers(1, 3),
    act=st.sampled_from([0, 1, 3]),
)
def test_windows_of_any_form(size, kernel, strides, dilation, same, kind, multiplier, act):
    if not same and any(n < dilation * (k - 1) + 1 for n, k in zip(size, kernel, strict=True)):
        return
    if kind == "depthwise" and dilation > 1 and max(strides) > 1:
        return  # LiteRT has no such kernel
    net = Windows(size, 4)
    options = {"stride": strides[0], "same": same, "dilation": dilation, "act": act}
    if kind == "depthwise":
        net.depthwise(kernel, multiplier=multiplier, **options)
    else:
        net.conv(4 * multiplier, kernel, groups={"conv": 1, "grouped": 2, "by channel": 4}[kind], **options)
    op = net.graph.operators[-1]
    op.builtinOptions.strideW = strides[1]
    reach = dilation * (kernel[1] - 1) + 1
    width = -(-size[1] // strides[1]) if same else -(-(size[1] - reach + 1) // strides[1])
    shape = list(net.graph.shape(net.now))
    net.graph.table.tensors[net.now].shape = [*shape[:2], width, shape[3]]
    compared(net.model(), differentiable=not act)


def test_a_shape_that_is_computed_holds_for_several_items():
    net = Net(SHAPE, scale=0, dtype=np.float32)
    shape = net.op("SHAPE", [net.input], (4,), scale=0, dtype=np.int32, outType=2)
    ends = [net.constant(ints(0)), net.constant(ints(1)), net.constant(ints(1))]
    first = net.op("STRIDED_SLICE", [shape, *ends], (), scale=0, dtype=np.int32, table="StridedSlice", shrinkAxisMask=1)
    sizes = net.op("PACK", [first, net.constant(np.array(72, np.int32))], (2,), scale=0, dtype=np.int32, valuesCount=2)
    net.op("RESHAPE", [net.input, sizes], (1, 72), scale=0, dtype=np.float32)
    compared(net.model())


def test_values_without_an_axis_of_items_are_computed_item_by_item():
    """As the converter writes an addition behind images of one pixel."""
    net = Net(LINE, scale=0, dtype=np.float32)
    flat = net.op("RESHAPE", [net.input, net.constant(ints(5))], (5,), scale=0, dtype=np.float32)
    scaled = net.op("MUL", [flat, net.constant(np.arange(5, dtype=np.float32))], (5,), scale=0, dtype=np.float32)
    net.op("ADD", [net.input, scaled], LINE, scale=0, dtype=np.float32)
    compared(net.model())


def test_weights_of_16_bits_are_computed_in_32():
    net = Net((1, 6), scale=0, dtype=np.float32)
    weights = net.constant(np.linspace(-1, 1, 18).reshape(3, 6).astype(np.float16))
    wide = net.op("DEQUANTIZE", [weights], (3, 6), scale=0, dtype=np.float32)
    net.op("FULLY_CONNECTED", [net.input, wide], (1, 3), scale=0, dtype=np.float32)
    compared(net.model())


def test_answers_are_computed_one_by_one_where_items_would_mix():
    net = Net((1, 6), scale=0, dtype=np.float32)
    net.op("TRANSPOSE", [net.input, net.constant(ints(1, 0))], (6, 1), scale=0, dtype=np.float32)
    net.op(
        "SOFTMAX", [net.graph.operators[-1].outputs[0]], (6, 1), scale=0, dtype=np.float32, table="Softmax", beta=1.0
    )
    net.op("MUL", [net.input, 3], (6, 6), scale=0, dtype=np.float32)
    model = net.model()
    program, items = Program(model), np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    assert not program.batched
    assert np.allclose(program.answers(items), litert_answers(model, items).reshape(4, -1), atol=1e-6)
    low, high = channel_ranges(program, items)[program.source]
    assert np.allclose((low, high), (items.min(axis=0), items.max(axis=0)))
    low, high = channel_ranges(program, items)[program.sink]
    assert np.allclose(high.max(), program.answers(items).max())
    assert np.allclose(low.min(), program.answers(items).min())


def test_an_unknown_operation_is_named_with_its_tensor():
    assert "UNIQUE" not in OPERATIONS
    net = Net(SHAPE, scale=0, dtype=np.float32)
    net.op("UNIQUE", [net.input], SHAPE, scale=0, dtype=np.float32)
    with pytest.raises(UnknownOperationError, match="UNIQUE, which makes t1"):
        Program(net.model())


def test_an_unknown_form_is_named_with_its_tensor():
    net = Net(SHAPE, scale=0, dtype=np.float32)
    axes = net.op("CAST", [net.input], SHAPE, scale=0, dtype=np.int32)
    net.op("MEAN", [net.input, axes], (1,), scale=0, dtype=np.float32, table="Reducer")
    with pytest.raises(UnknownOperationError, match="MEAN, which makes t2"):
        Program(net.model())
    net = Net(SHAPE, scale=0, dtype=np.float32)
    net.op("ADD", [net.input, net.input], SHAPE, scale=0, dtype=np.float32, fusedActivationFunction=5)
    with pytest.raises(UnknownOperationError, match="activation 5 in ADD, which makes t1"):
        Program(net.model())


def test_a_quantized_graph_is_refused():
    net = Net(SHAPE)
    net.op("RELU", [net.input], SHAPE)
    with pytest.raises(UnknownOperationError, match="t0 is quantized"):
        Program(net.model())


def test_gradients_of_strided_convolutions_of_one_pixel_stay_in_their_memory() -> None:
    """TensorFlow's own ended the process after some steps: 15 channels, strides of 2 and 9 items."""
    code = """
import numpy as np, tensorflow as tf
from types import SimpleNamespace
from edgepress.converters.graph.layers import _convolution
options = SimpleNamespace(strideH=2, strideW=2, padding=0, dilationHFactor=1, dilationWFactor=1)
step = SimpleNamespace(options=options, activation="")
weights = tf.Variable(np.random.default_rng(0).normal(size=(24, 1, 1, 15)).astype(np.float32))
image = tf.random.normal((9, 14, 14, 15))
@tf.function
def gradients():
    with tf.GradientTape() as tape:
        tape.watch(image)
        loss = tf.reduce_sum(_convolution(step, [image, weights, None]) ** 2)
    return tape.gradient(loss, [image, weights])
for _ in range(60):
    of_image, of_weights = gradients()
part = image.numpy()[:, ::2, ::2]
expected = 2 * np.einsum("nyxo,nyxi->oi", np.einsum("nyxi,oi->nyxo", part, weights.numpy()[:, 0, 0]), part)
assert np.allclose(of_weights.numpy()[:, 0, 0], expected, rtol=1e-3, atol=1e-2)
"""
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
