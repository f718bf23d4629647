"""ONNX graphs written from TFLite graphs: every tensor has its name and LiteRT's values, and few are turned."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_emitting import between, check, dense, put, turns
from pairwise import pairwise
from rewriting import Net

from edgepress.converters.to_tflite.flatbuffer import BOOL

UNARY = (
    *("ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "NEG", "RELU"),
    *("RELU6", "RELU_N1_TO_1", "ROUND", "SIGN", "SIN", "SQUARE", "TANH"),
)
ABOVE_0 = ("LOG", "RSQRT", "SQRT")
BINARY = ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")


@pytest.mark.parametrize("kind", UNARY)
def test_functions_of_one_value(kind: str) -> None:
    options = {"LEAKY_RELU": {"alpha": 0.3}, "GELU": {"approximate": False}}.get(kind, {})
    written = check(between(lambda net: net.add(kind, [net.now], net.shape, **options)))
    assert turns(written) == 2  # at the ends


def test_gelu_by_tanh() -> None:
    check(between(lambda net: net.add("GELU", [net.now], net.shape, approximate=True)))


@pytest.mark.parametrize("kind", ABOVE_0)
def test_functions_of_positive_values(kind: str) -> None:
    net = Net((4, 4), 3)
    net.add(kind, [net.now], net.shape)
    check(net, above=0.1)


@pytest.mark.parametrize("act", [0, 1, 2, 3])
def test_what_is_fused_has_the_name_of_the_result(act: int) -> None:
    net = Net((5, 5), 3)
    net.conv(4, act=act)
    first = net.now
    net.conv(4, (3, 3), act=act)
    net.add("ADD", [first, net.now], net.shape, fusedActivationFunction=act)
    assert turns(check(net)) == 2


@pytest.mark.parametrize(
    ("kind", "shape"),
    [*((kind, (6,)) for kind in BINARY), *(("SUB", s) for s in ((), (1,), (1, 1, 1, 6), (1, 6, 5, 1), (6, 5, 6)))],
)
def test_functions_of_a_value_and_a_constant(kind: str, shape: tuple[int, ...]) -> None:
    other = np.random.default_rng(0).uniform(0.5, 2, shape).astype(np.float32)
    assert turns(check(between(lambda net: net.add(kind, [net.now, other], net.shape)))) == 2
    if kind != "DIV":  # by 0
        assert turns(check(between(lambda net: net.add(kind, [other, net.now], net.shape)))) == 2


@pytest.mark.parametrize("kind", ["EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"])
@pytest.mark.parametrize("chosen", ["SELECT", "SELECT_V2"])
def test_comparisons_choose(kind: str, chosen: str) -> None:
    def write(net: Net) -> None:
        value = net.now
        net.add("ROUND", [value], net.shape)
        rounded = net.now
        mask = net.add(kind, [rounded, np.array(1, np.float32)], net.shape)
        net.graph.table.tensors[mask].type = BOOL
        other = np.zeros(net.shape, np.float32) if chosen == "SELECT" else np.array(0, np.float32)
        net.add(chosen, [mask, value, other], net.shape)

    assert turns(check(between(write))) == 2


@pytest.mark.parametrize("kind", ["LOGICAL_AND", "LOGICAL_OR"])
def test_logic(kind: str) -> None:
    def write(net: Net) -> None:
        value, shape = net.now, net.shape
        masks = [net.add("GREATER", [value, np.array(bound, np.float32)], shape) for bound in (0.5, -0.5)]
        masks.append(net.add("LOGICAL_NOT", masks[:1], shape))
        masks.append(net.add(kind, masks[1:], shape))
        for mask in masks:
            net.graph.table.tensors[mask].type = BOOL
        net.add("SELECT_V2", [masks[-1], value, np.full(shape[-1], 2, np.float32)], shape)

    assert turns(check(between(write))) == 2


def test_masks_may_be_constants() -> None:
    """As that of a causal attention is."""

    def write(net: Net) -> None:
        value, shape = net.now, net.shape
        computed = net.add("GREATER", [value, np.array(0, np.float32)], shape)
        both = net.add("LOGICAL_AND", [computed, np.arange(shape[-1]) % 2 == 0], shape)
        for mask in (computed, both):
            net.graph.table.tensors[mask].type = BOOL
        net.add("SELECT_V2", [both, value, np.array(0, np.float32)], shape)

    assert turns(check(between(write))) == 2


@pytest.mark.parametrize("scale", [0, 1e-7, 1])
def test_l2_normalization_divides_by_what_is_not_0(scale: float) -> None:
    def write(net: Net) -> None:
        net.add("MUL", [net.now, np.array(scale, np.float32)], net.shape)
        net.add("L2_NORMALIZATION", [net.now], net.shape)

    assert turns(check(between(write))) == 2


def test_pow() -> None:
    check(between(lambda net: net.add("POW", [net.now, np.array(2, np.float32)], net.shape)))


@pytest.mark.parametrize(
    ("kind", "axes"),
    [
        *(("MEAN", axes) for axes in ([1], [2], [3], [-1], [1, 2], [1, 3], [1, 2, 3])),
        *((kind, [2, 3]) for kind in ("SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")),
    ],
)
@pytest.mark.parametrize("keeps", [True, False])
def test_reductions(kind: str, axes: list[int], *, keeps: bool) -> None:
    net = Net((4, 5), 3)
    net.conv(6, act=3)
    gone = {a % 4 for a in axes}
    shape = tuple(1 if a in gone else n for a, n in enumerate(net.shape) if keeps or a not in gone)
    put(net, kind, [net.now, np.array(axes, np.int32)], shape, "ReducerOptions", keepDims=keeps)
    check(net)


@pairwise(kernel=[(1, 1), (2, 3), (3, 3), (4, 5)], stride=[1, 2, 3], same=[True, False])
def test_convolutions(kernel: tuple[int, int], stride: int, *, same: bool) -> None:
    net = Net((9, 8), 4)
    net.conv(6, kernel, stride=stride, same=same)
    net.depthwise(kernel if min(net.shape[1:3]) >= 5 or same else (1, 1), same=same, act=1)
    net.depthwise((1, 1), multiplier=2)
    net.conv(8, groups=4)
    check(net)


def test_dilated_convolutions() -> None:
    net = Net((9, 8), 4)
    net.conv(6, (3, 3), dilation=2)
    net.depthwise((3, 3), dilation=2)
    check(net)


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@pytest.mark.parametrize("padding", [0, 1])
def test_pools(kind: str, padding: int) -> None:
    def pool(net: Net, kernel: int, stride: int, act: int = 0) -> None:
        height, width = (-(-n // stride) if padding == 0 else (n - kernel) // stride + 1 for n in net.shape[1:3])
        options = {"padding": padding, "strideH": stride, "strideW": stride, "fusedActivationFunction": act}
        shape = (1, height, width, net.shape[3])
        net.add(kind, [net.now], shape, filterHeight=kernel, filterWidth=kernel, **options)

    net = Net((9, 8), 3)
    pool(net, 3, 2)
    net.conv(4)
    pool(net, 2, 1, act=1)
    check(net)


def test_a_pool_of_the_whole_image_is_a_global_one() -> None:
    net = Net((4, 5), 3)
    net.conv(4)
    options = {"padding": 1, "strideH": 1, "strideW": 1, "filterHeight": 4, "filterWidth": 5}
    net.add("AVERAGE_POOL_2D", [net.now], (1, 1, 1, 4), **options)
    assert "GlobalAveragePool" in {node.op_type for node in check(net).graph.node}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("keeps", [True, False])
def test_dense_layers(*, keeps: bool, bias: bool) -> None:
    net = Net((3, 4), 2)
    net.conv(5)
    dense(net, 7, keeps=keeps, act=1, bias=bias)
    dense(net, 3, keeps=keeps)
    net.add("SOFTMAX", [net.now], net.shape, beta=1.0)
    check(net)


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_softmax_is_over_the_channels_wherever_they_are(beta: float) -> None:
    check(between(lambda net: net.add("SOFTMAX", [net.now], net.shape, beta=beta)))
    check(between(lambda net: net.add("LOG_SOFTMAX", [net.now], net.shape)))


def test_pads() -> None:
    net = Net((5, 4), 3)
    net.pad([(1, 2), (0, 1)])
    net.conv(4, (3, 3), same=False)
    net.pad([(1, 0), (2, 0)])
    amounts = np.array([(0, 0), (1, 1), (0, 1), (1, 0)], np.int32)
    net.add("PADV2", [net.now, amounts, np.array(1.5, np.float32)], tuple(np.array(net.shape) + amounts.sum(1)))
    shape = tuple(np.array(net.shape) + amounts.sum(1))
    put(net, "MIRROR_PAD", [net.now, amounts], shape, "MirrorPadOptions", mode=0)
    assert turns(check(net)) == 2


@pairwise(
    kind=["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"],
    options=[{}, {"halfPixelCenters": True}, {"alignCorners": True}],
    size=[(8, 10), (12, 15), (2, 5)],
)
def test_resizing(kind: str, options: dict[str, bool], size: tuple[int, int]) -> None:
    check(
        between(lambda net: net.add(kind, [net.now, np.array(size, np.int32)], (1, *size, 6), **options), size=(4, 5))
    )


def test_blocks() -> None:
    net = Net((4, 6), 3)
    net.conv(8)
    put(net, "DEPTH_TO_SPACE", [net.now], (1, 8, 12, 2), "DepthToSpaceOptions", blockSize=2)
    put(net, "SPACE_TO_DEPTH", [net.now], (1, 4, 6, 8), "SpaceToDepthOptions", blockSize=2)
    net.conv(2)
    assert turns(check(net)) == 2


@pytest.mark.parametrize("padding", [0, 1])
def test_transposed_convolutions(padding: int) -> None:
    net = Net((4, 3), 2)
    weights = net.random.normal(size=(5, 3, 3, 2)).astype(np.float32)
    size = (8, 6) if padding == 0 else (9, 7)
    inputs = [np.array([1, *size, 5], np.int32), weights, net.now]
    options = {"padding": padding, "strideH": 2, "strideW": 2}
    put(net, "TRANSPOSE_CONV", inputs, (1, *size, 5), "TransposeConvOptions", **options)
    check(net)


def test_products_of_matrices() -> None:
    net = Net((4, 5), 6)
    first = net.now
    net.add("RELU", [first], net.shape)
    net.add("BATCH_MATMUL", [first, net.now], (1, 4, 5, 5), adjX=False, adjY=True)
    net.add("BATCH_MATMUL", [net.now, first], (1, 4, 5, 6), adjX=True, adjY=False)
    check(net)
