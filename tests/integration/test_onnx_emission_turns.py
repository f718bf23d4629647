"""ONNX graphs written from TFLite graphs turn few images, take a free batch, and leave the rest to tf2onnx."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_emitting import between, check, dense, emitted, put, turns
from rewriting import Net, rewrite

from edgepress.converters.adapter import EXACT, InputAdapter
from edgepress.converters.to_onnx.emission import Emission, UnsupportedError
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.converters.to_onnx.operations import TABLE, of_one
from edgepress.converters.to_tflite import passes
from edgepress.converters.to_tflite.graph import Graph
from edgepress.runtime.input_spec import InputSpec

AXES = np.array([1, 2], np.int32)


def test_joining_and_dividing() -> None:
    net = Net((4, 4), 3)
    net.conv(6)
    left = net.now
    net.conv(4)
    net.add("CONCATENATION", [left, net.now], (1, 4, 4, 10), axis=3)
    net.conv(6)
    bounds = [np.array(v, np.int32) for v in ([0, 1, 0, 0], [0, 4, 4, 6], [1, 1, 2, 1])]
    masks = {"beginMask": 1, "endMask": 1}
    put(net, "STRIDED_SLICE", [net.now, *bounds], (1, 3, 2, 6), "StridedSliceOptions", **masks)
    net.add("SLICE", [net.now, np.array([0, 0, 0, 2], np.int32), np.array([1, -1, 2, 3], np.int32)], (1, 3, 2, 3))
    assert turns(check(net)) == 2


@pytest.mark.parametrize("axis", [1, 3])
def test_split(axis: int) -> None:
    net = Net((4, 4), 3)
    net.conv(6)
    shape = tuple(n // 2 if a == axis else n for a, n in enumerate(net.shape))
    net.add("SPLIT", [np.array(axis, np.int32), net.now], shape, numSplits=2)
    first, second = net.now, net.graph.add_tensor(shape, "second")
    net.graph.operators[-1].outputs = [first, second]
    net.add("SUB", [first, second], shape)
    assert turns(check(net)) == 2


@pytest.mark.parametrize("perm", [(0, 3, 1, 2), (0, 2, 1, 3), (0, 3, 2, 1), (0, 1, 2, 3)])
def test_transposes(perm: tuple[int, ...]) -> None:
    net = Net((4, 5), 3)
    net.conv(6)
    net.add("TRANSPOSE", [net.now, np.array(perm, np.int32)], tuple(net.shape[a] for a in perm))
    net.conv(2)
    check(net)


def test_a_turn_to_channels_first_and_back_is_none() -> None:
    net = Net((4, 5), 3)
    net.add("TRANSPOSE", [net.now, np.array([0, 3, 1, 2], np.int32)], (1, 3, 4, 5))
    net.add("TRANSPOSE", [net.now, np.array([0, 2, 3, 1], np.int32)], (1, 4, 5, 3))
    net.conv(2)
    net.add("MEAN", [net.now, AXES], (1, 2), keepDims=False)
    written = emitted(net.model())
    assert turns(written) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((4, 5, 6), (1, 20, 6)),
        ((4, 5, 6), (1, 120)),
        ((4, 5, 6), (1, 4, 30)),
        ((1, 5, 6), (1, 5, 6)),
        ((4, 5, 6), (1, 2, 10, 6)),
    ],
)
def test_reshapes(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    net = Net(old[:2], 3)
    net.conv(old[2])
    net.add("RESHAPE", [net.now, np.array(new, np.int32)], new, newShape=list(new))
    net.add("RELU", [net.now], new)
    check(net)


def test_a_convolution_of_one_axis_stays_channels_first() -> None:
    net = Net((1, 9), 3)
    for _ in range(2):
        net.conv(4, (1, 3), act=1)
        net.add("RESHAPE", [net.now, np.array([1, 9, 4], np.int32)], (1, 9, 4), newShape=[1, 9, 4])
        net.add("ADD", [net.now, np.ones(4, np.float32)], (1, 9, 4))
        net.add("RESHAPE", [net.now, np.array([1, 1, 9, 4], np.int32)], (1, 1, 9, 4), newShape=[1, 1, 9, 4])
    net.conv(2)
    assert turns(check(net)) == 2


def test_values_of_fewer_axes_are_broadcast_by_item() -> None:
    net = Net((4, 5), 6)
    net.conv(6, act=1)
    image = net.now
    net.add("MEAN", [image, AXES], (1, 6), keepDims=False)
    line = net.now
    net.add("MUL", [image, line], (1, 4, 5, 6))
    net.conv(2)
    model = float_onnx_of(net.model())
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    check(net)


def test_a_batch_that_the_converter_dropped_comes_back() -> None:
    net = Net((1, 1), 4)
    net.conv(4)
    image = net.now
    net.conv(4)
    net.add("RESHAPE", [net.now, np.array([4], np.int32)], (4,), newShape=[4])
    net.add("ADD", [image, net.now], (1, 1, 1, 4))
    model = float_onnx_of(net.model())
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_squeeze_and_excitation_turns_nothing() -> None:
    net = Net((6, 6), 3)
    net.conv(8, (3, 3), act=1)
    image = net.now
    net.add("MEAN", [image, AXES], (1, 1, 1, 8), keepDims=True)
    net.conv(4, act=1)
    net.conv(8, act=3)
    net.add("MUL", [net.now, np.array(1 / 6, np.float32)], net.shape)
    net.add("MUL", [image, net.now], (1, 6, 6, 8))
    net.add("MEAN", [net.now, AXES], (1, 8), keepDims=False)
    written = check(net)
    assert turns(written) == 1
    assert Counter(node.op_type for node in written.graph.node)["GlobalAveragePool"] == 2


@pytest.mark.parametrize("reshape", [(1, 1, 1, 8), (1, 8, 1, 1)])
def test_a_line_becomes_an_image_without_a_turn(reshape: tuple[int, ...]) -> None:
    net = Net((6, 6), 3)
    net.conv(8, (3, 3), act=1)
    net.add("MEAN", [net.now, AXES], (1, 8), keepDims=False)
    net.add("RESHAPE", [net.now, np.array(reshape, np.int32)], reshape, newShape=list(reshape))
    net.conv(4)
    assert turns(check(net)) == (1 if reshape[3] == 8 else 2)  # the end of the net is turned back, if it is an image


def test_layer_normalization_keeps_the_channels_last() -> None:
    net = Net((4, 5), 3)
    net.conv(6, (3, 3))
    value, shape, last = net.now, net.shape, np.array([3], np.int32)
    net.add("MEAN", [value, last], (1, 4, 5, 1), keepDims=True)
    mean = net.now
    net.add("SQUARED_DIFFERENCE", [value, mean], shape)
    net.add("MEAN", [net.now, last], (1, 4, 5, 1), keepDims=True)
    net.add("ADD", [net.now, np.array(1e-3, np.float32)], (1, 4, 5, 1))
    net.add("RSQRT", [net.now], (1, 4, 5, 1))
    net.add("MUL", [net.now, np.ones(6, np.float32)], shape)
    factor = net.now
    net.add("MUL", [value, factor], shape)
    scaled = net.now
    net.add("MUL", [mean, factor], shape)
    net.add("SUB", [np.ones(6, np.float32), net.now], shape)
    net.add("ADD", [scaled, net.now], shape)
    dense(net, 4, keeps=True)
    written = check(net)
    assert turns(written) == 2  # in front of the convolution and behind it

    changed = float_onnx_of(net.model())
    assert rewrite("onnx-layer-norm", changed) == 1
    assert turns(changed) == 2


def test_channel_attention_turns_no_image() -> None:
    net = Net((6, 6), 3)
    net.conv(8, (3, 3), act=1)
    image = net.now
    net.add("MEAN", [image, np.array([3], np.int32)], (1, 6, 6, 1), keepDims=True)
    net.conv(1, (3, 3))
    net.add("LOGISTIC", [net.now], net.shape)
    net.add("MUL", [image, net.now], (1, 6, 6, 8))
    net.add("MEAN", [net.now, AXES], (1, 8), keepDims=False)
    assert turns(check(net)) == 1


def test_prelu_and_gather() -> None:
    net = Net((4, 4), 3)
    net.conv(6)
    net.add("PRELU", [net.now, net.random.normal(size=(1, 1, 6)).astype(np.float32)], net.shape)
    net.add("GATHER", [net.now, np.array([2, 1, 0], np.int32)], (1, 4, 4, 3), axis=3)
    net.conv(2)
    assert turns(check(net)) == 2


def test_weights_of_16_bits_are_widened() -> None:
    net = Net((4, 4), 3)
    net.conv(4)
    conv = net.graph.operators[-1]
    weights = net.graph.constant(int(conv.inputs[1]))
    assert weights is not None
    stored = net.graph.add_constant(weights.astype(np.float16))
    wide = net.graph.add_tensor(weights.shape, "wide")
    net.graph.operators.insert(0, net.graph.operator("DEQUANTIZE", [stored], wide))
    conv.inputs = [conv.inputs[0], wide, conv.inputs[2]]
    written = emitted(net.model())
    assert {node.op_type for node in written.graph.node} == {"Transpose", "Conv"}


def test_what_is_not_known_is_refused_by_name() -> None:
    net = Net((4, 4), 3)
    net.add("ATAN2", [net.now, net.now], net.shape)
    with pytest.raises(UnsupportedError, match="ATAN2"):
        Emission(Graph(net.model()), of_one).write(TABLE)


def test_what_is_not_known_is_left_to_tf2onnx() -> None:
    net = Net((4, 4), 3)
    options = {"radius": 1, "bias": 1.0, "alpha": 0.5, "beta": 0.5}
    put(net, "LOCAL_RESPONSE_NORMALIZATION", [net.now], net.shape, "LocalResponseNormalizationOptions", **options)
    assert float_onnx_of(net.model()).producer_name == "tf2onnx"


def test_a_wrong_answer_is_left_to_tf2onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    net = between(lambda net: net.add("RELU", [net.now], net.shape))
    assert float_onnx_of(net.model()).producer_name != "tf2onnx"
    monkeypatch.setitem(TABLE, "RELU", TABLE["NEG"])
    assert float_onnx_of(net.model()).producer_name == "tf2onnx"


def test_exact_steps_of_an_adapter_keep_their_names() -> None:
    net = Net((4, 4), 3)
    net.conv(4)
    adapter = InputAdapter(InputSpec.image(4, 4, "rgb"), (4, 4, 3), per_image="standardize")
    model = float_onnx_of(passes.prepend_adapter(net.model(), adapter))
    exact = [node.name for node in model.graph.node if EXACT.match(node.name)]
    assert [name.rpartition("_")[2] for name in exact] == ["mean", "sub", "mul", "mean", "sqrt", "maximum", "div"]


def test_a_hard_sigmoid_whose_offset_is_in_the_bias_goes_into_the_convolution() -> None:
    net = Net((6, 6), 3)
    net.conv(8, act=1)
    image = net.now
    net.conv(8, act=3)
    net.add("MUL", [net.now, np.array(1 / 6, np.float32)], net.shape)
    gate = net.graph.name(net.now)
    net.add("MUL", [image, net.now], net.shape)
    before = float_onnx_of(net.model())
    after = copy.deepcopy(before)
    assert rewrite("onnx-hard-sigmoid", after) == 1
    assert next(node.op_type for node in after.graph.node if gate in node.output) == "HardSigmoid"
    assert rewrite("onnx-hard-gates", after) == 1
    items = {"input": np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype(np.float32) * 4}
    one, two = (onnxruntime.InferenceSession(m.SerializeToString()).run(None, items)[0] for m in (before, after))
    np.testing.assert_allclose(one, two, atol=1e-4)


CODE = """
import hashlib, sys
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
print(hashlib.sha256(float_onnx_of(sys.stdin.buffer.read()).SerializeToString()).hexdigest())
"""


def test_the_bytes_are_the_same_in_every_process() -> None:
    model = between(lambda net: net.add("HARD_SWISH", [net.now], net.shape)).model()
    command, seen = [sys.executable, "-P", "-c", CODE], set()
    for seed in ("0", "1"):
        run = subprocess.run(
            command, input=model, capture_output=True, check=True, env=os.environ | {"PYTHONHASHSEED": seed}
        )
        seen.add(run.stdout)
    assert len(seen) == 1


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_chain_of_operations(data: st.DataObject) -> None:
    """Operations that keep images, drop an axis, and bring it back, in any order."""
    net = Net((data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))), data.draw(st.sampled_from([1, 3, 4])))
    kept = [net.now]
    for _ in range(data.draw(st.integers(1, 7))):
        same = [i for i in kept if net.graph.shape(i) == net.shape]
        match data.draw(st.sampled_from(["conv", "relu", "constant", "sum", "join", "flat", "image", "mean", "turn"])):
            case "conv" if len(net.shape) == 4:
                net.conv(data.draw(st.sampled_from([1, 3, 4])), (data.draw(st.integers(1, 3)),) * 2, act=1)
            case "relu":
                net.add("RELU6", [net.now], net.shape)
            case "constant":
                net.add("MUL", [net.now, net.random.normal(size=net.shape[-1:]).astype(np.float32)], net.shape)
            case "sum":
                net.add("ADD", [net.now, data.draw(st.sampled_from(same))], net.shape)
            case "join":
                axis = data.draw(st.integers(1, len(net.shape) - 1))
                shape = tuple(n * 2 if a == axis else n for a, n in enumerate(net.shape))
                net.add("CONCATENATION", [data.draw(st.sampled_from(same)), net.now], shape, axis=axis)
            case "flat" if len(net.shape) == 4:
                shape = (1, net.shape[1] * net.shape[2], net.shape[3])
                net.add("RESHAPE", [net.now, np.array(shape, np.int32)], shape, newShape=list(shape))
            case "image" if len(net.shape) == 3:
                shape = data.draw(st.sampled_from([(1, 1, *net.shape[1:]), (1, net.shape[1], 1, net.shape[2])]))
                net.add("RESHAPE", [net.now, np.array(shape, np.int32)], shape, newShape=list(shape))
            case "mean" if len(net.shape) == 4:
                axes = data.draw(st.sampled_from([[1, 2], [1], [3]]))
                shape = tuple(1 if a in axes else n for a, n in enumerate(net.shape))
                net.add("MEAN", [net.now, np.array(axes, np.int32)], shape, keepDims=True)
            case "turn":
                perm = [0, *data.draw(st.permutations(range(1, len(net.shape))))]
                net.add("TRANSPOSE", [net.now, np.array(perm, np.int32)], tuple(net.shape[a] for a in perm))
        kept.append(net.now)
    if net.graph.operators:
        check(net)


def test_names_of_nodes_stay_different_over_several_rewrites() -> None:
    net = Net((6, 6), 3)
    net.conv(8, act=3)
    net.add("MUL", [net.now, np.array(1 / 6, np.float32)], net.shape)
    net.conv(8)
    net.add("GELU", [net.now], net.shape)
    model = float_onnx_of(net.model())
    assert [rewrite(module, model) for module in ("onnx-hard-sigmoid", "onnx-float-gelu", "onnx-hard-gates")] == [
        1,
        1,
        1,
    ]
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert {net.graph.name(int(op.outputs[0])) for op in net.graph.operators[1:]} <= set(names)


@pytest.mark.parametrize("repeats", [(1, 1, 2, 1), (1, 2, 1, 3)])
def test_copies_of_axes(repeats: tuple[int, ...]) -> None:
    """TensorFlow's converter writes nearest upsampling of lines so."""

    def tiled(net: Net) -> None:
        shape = tuple(size * times for size, times in zip(net.shape, repeats, strict=True))
        net.add("TILE", [net.now, np.array(repeats, np.int32)], shape)

    assert turns(check(between(tiled))) == 2
