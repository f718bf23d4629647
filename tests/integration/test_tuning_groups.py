"""Scale groups: any positive factors of them leave the float graph's answers as they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewriting import Net, answer, kinds

from edgepress.converters.graph.operations import OPERATIONS
from edgepress.converters.graph.program import Program
from edgepress.converters.ptq.channel_scales import ScaleGroups, scale_groups

RELU, RELU_N1_TO_1, RELU6 = 1, 2, 3


def _dense(net: Net, outputs: int) -> None:
    weights = net.random.normal(size=(outputs, int(np.prod(net.shape)))).astype(np.float32)
    bias = net.random.normal(size=outputs).astype(np.float32)
    net.add("FULLY_CONNECTED", [net.now, weights, bias], (1, outputs))


def _residual(net: Net) -> None:
    beside = net.now
    net.conv(net.shape[3], (3, 3), act=RELU)
    net.add("ADD", [net.now, beside], net.shape, fusedActivationFunction=RELU)


def _gate(net: Net) -> None:
    """A squeeze-excite block: the mean of each channel, through two convolutions and a sigmoid, multiplies it."""
    beside, shape = net.now, net.shape
    axes = np.array([1, 2], np.int32)
    net.add("MEAN", [net.now, axes], (1, 1, 1, shape[3]), keepDims=True)
    net.conv(2, act=RELU)
    net.conv(shape[3])
    net.add("LOGISTIC", [net.now], net.shape)
    net.add("MUL", [beside, net.now], shape)


def _branches(net: Net) -> None:
    """Two branches side by side."""
    source, shape = net.now, net.shape
    first = net.conv(3, act=RELU)
    net.now = source
    second = net.conv(5, (3, 3))
    net.add("CONCATENATION", [first, second], (*shape[:3], 8), axis=3)


def _halves(net: Net) -> None:
    """The channels in two halves, one of which is added to what a convolution makes of the other."""
    shape = (*net.shape[:3], net.shape[3])
    net.conv(8)
    half = (*shape[:3], 4)
    outs = [net.graph.add_tensor(half, f"half{net.count}_{i}") for i in range(2)]
    axis = net.graph.add_constant(np.array(3, np.int32))
    op = net.graph.operator("SPLIT", [axis, net.now], outs[0], numSplits=2)
    op.outputs = outs
    net.graph.operators.append(op)
    net.now = outs[0]
    net.conv(4, act=RELU)
    net.add("ADD", [net.now, outs[1]], half)


def _affine(net: Net) -> None:
    """A factor and a sum for each channel."""
    for kind in ("MUL", "ADD"):
        values = net.random.normal(size=net.shape[3]).astype(np.float32)
        net.add(kind, [net.now, values], net.shape, fusedActivationFunction=RELU if kind == "ADD" else 0)


def _pooled(net: Net, kind: str) -> None:
    height, width = (-(-n // 2) for n in net.shape[1:3])
    options = {"filterHeight": 2, "filterWidth": 2, "strideH": 2, "strideW": 2, "padding": 0}
    net.add(kind, [net.now], (1, height, width, net.shape[3]), **options)


def _pad_channels(net: Net, kind: str = "PAD", number: float | None = None) -> None:
    """Channels before and behind the others."""
    *rest, channels = net.shape
    by = [] if number is None else [np.array(number, np.float32)]
    net.add(kind, [net.now, np.array([[0, 0]] * 3 + [[1, 2]], np.int32), *by], (*rest, channels + 3))


def _stack(net: Net) -> None:
    """The rows of two convolutions, one below the other."""
    source, (one, height, width, _) = net.now, net.shape
    first = net.conv(4, act=RELU)
    net.now = source
    net.add("CONCATENATION", [first, net.conv(4)], (one, 2 * height, width, 4), axis=1)


def _beside_constant(net: Net) -> None:
    """Channels beside constant ones."""
    *rest, channels = net.shape
    values = net.random.normal(size=(*rest, 2)).astype(np.float32)
    net.add("CONCATENATION", [net.now, values], (*rest, channels + 2), axis=3)


def _transpose(net: Net, *order: int) -> None:
    shape = net.shape
    net.add("TRANSPOSE", [net.now, np.array(order, np.int32)], tuple(shape[axis] for axis in order))


def _mean(net: Net, axis: int) -> None:
    shape = [1 if place == axis % 4 else size for place, size in enumerate(net.shape)]
    net.add("MEAN", [net.now, np.array([axis], np.int32)], tuple(shape), keepDims=True)


def _slice(net: Net) -> None:
    """The channels without the first and the last, if there are more."""
    *rest, channels = net.shape
    if channels < 3:
        return
    size = (*rest, channels - 2)
    net.add("SLICE", [net.now, np.array([0, 0, 0, 1], np.int32), np.array(size, np.int32)], size)


def _stride(net: Net, axis: int) -> None:
    """Every second row or channel."""
    ends = np.array(net.shape, np.int32)
    steps = np.where(np.arange(4) == axis, 2, 1).astype(np.int32)
    shape = tuple(int(n) for n in -(-ends // steps))
    net.add("STRIDED_SLICE", [net.now, np.zeros(4, np.int32), ends, steps], shape)
    net.give_options("StridedSlice")


def _computed_bias(net: Net) -> None:
    """A convolution whose bias an operation makes."""
    source = net.now
    bias = net.add("NEG", [net.random.normal(size=4).astype(np.float32)], (4,))
    net.now = source
    net.conv(4)
    net.graph.operators[-1].inputs[2] = bias


def _split(net: Net) -> None:
    """One channel and the others, if there are any."""
    *rest, channels = net.shape
    if channels < 2:
        return
    outs = [net.graph.add_tensor((*rest, n), f"part{net.count}_{n}") for n in (1, channels - 1)]
    sizes, axis = (net.graph.add_constant(np.array(n, np.int32)) for n in ([1, channels - 1], 3))
    op = net.graph.operator("SPLIT_V", [net.now, sizes, axis], outs[0])
    op.outputs = outs
    net.graph.operators.append(op)
    net.give_options("SplitV", numSplits=2)
    net.now = outs[1]
    net.conv(3)
    net.add("MUL", [net.now, outs[0]], (*rest, 3))


def _mirror(net: Net, axis: int) -> None:
    """Three more rows or channels, if there are as many."""
    if net.shape[axis] < 3:
        return
    pads = np.zeros((4, 2), np.int32)
    pads[axis] = 1, 2
    net.add("MIRROR_PAD", [net.now, pads], tuple(int(n) for n in net.shape + pads.sum(1)))
    net.give_options("MirrorPad")


BLOCKS: dict[str, Callable[[Net], object]] = {
    "convolution": lambda net: net.conv(6, (3, 3), act=RELU),
    "grouped": lambda net: net.conv(net.shape[3] * 2, (3, 3), groups=net.shape[3]),
    "depthwise": lambda net: net.depthwise((3, 3), act=RELU),
    "multiplier": lambda net: net.depthwise((3, 3), multiplier=2),
    "residual": _residual,
    "gate": _gate,
    "branches": _branches,
    "halves": _halves,
    "affine": _affine,
    "scalar": lambda net: net.add("MUL", [net.now, np.float32([[[[0.3]]]])], net.shape),
    "offset": lambda net: net.add("ADD", [net.now, np.float32([[[[0.3]]]])], net.shape),
    "average": lambda net: _pooled(net, "AVERAGE_POOL_2D"),
    "largest": lambda net: _pooled(net, "MAX_POOL_2D"),
    "pad": lambda net: net.pad([(1, 0), (0, 2)]),
    "swish": lambda net: net.add("HARD_SWISH", [net.now], net.shape),
    "limited": lambda net: net.conv(4, act=RELU_N1_TO_1),
    "channels of zeros": _pad_channels,
    "channels of zeros, given": lambda net: _pad_channels(net, "PADV2", 0),
    "channels of ones": lambda net: _pad_channels(net, "PADV2", 1),
    "stacked rows": _stack,
    "constant channels": _beside_constant,
    "turned": lambda net: _transpose(net, 0, 2, 1, 3),
    "turned channels": lambda net: _transpose(net, 0, 1, 3, 2),
    "mean of rows": lambda net: _mean(net, 1),
    "mean of channels": lambda net: _mean(net, 3),
    "mean of the last axis": lambda net: _mean(net, -1),
    "inner channels": _slice,
    "second rows": lambda net: _stride(net, 1),
    "second channels": lambda net: _stride(net, 3),
    "computed bias": _computed_bias,
    "unequal parts": _split,
    "mirrored rows": lambda net: _mirror(net, 1),
    "mirrored channels": lambda net: _mirror(net, 3),
}
PINNED = (
    "swish",
    "offset",
    "channels of ones",
    "constant channels",
    "turned channels",
    "mean of channels",
    "mean of the last axis",
    "second channels",
    "computed bias",
    "mirrored rows",
    "mirrored channels",
)
"""Blocks whose input can't be scaled."""


def program_of(blocks: list[str], seed: int = 0) -> Program:
    """A net of blocks between a convolution and a dense layer, without operations that programs do not know yet."""
    net = Net((6, 5), 3, seed=seed)
    net.conv(4, act=RELU)
    for block in blocks:
        BLOCKS[block](net)
        if net.shape[3] > 16:
            net.conv(4)
    net.add("RESHAPE", [net.now, np.array([1, -1], np.int32)], (1, int(np.prod(net.shape))))
    _dense(net, 6)
    _dense(net, 3)
    model = net.model()
    if unknown := set(kinds(model)) - set(OPERATIONS):
        pytest.skip(f"programs do not know {unknown}")
    return Program(model)


def random_factors(groups: ScaleGroups, seed: int) -> np.ndarray:
    factors = np.exp2(np.random.default_rng(seed).uniform(-6, 6, groups.count))
    factors[0] = 1
    return factors


@given(st.lists(st.sampled_from([b for b in BLOCKS if b != "halves"]), max_size=5), st.integers(0, 99))
@settings(max_examples=10)
def test_any_factors_leave_the_answers_as_they_are(blocks: list[str], seed: int) -> None:
    program = program_of(blocks, seed)
    groups = scale_groups(program)
    before = answer(program.with_constants({}))
    after = answer(program.with_constants(groups.scale_constants(random_factors(groups, seed))))
    assert np.abs(after - before).max() <= 1e-4 * max(1e-3, np.abs(before).max())


@pytest.mark.parametrize("block", BLOCKS)
def test_any_factors_of_each_block(block: str) -> None:
    program = program_of([block, "convolution", block])
    groups = scale_groups(program)
    changed = groups.scale_constants(random_factors(groups, 1))
    before, after = answer(program.with_constants({})), answer(program.with_constants(changed))
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max(), rtol=0)
    assert changed, "nothing was scaled"


@pytest.mark.parametrize("block", BLOCKS)
def test_channels_are_free_unless_an_operation_needs_them_as_they_are(block: str) -> None:
    program, groups = _groups(block)
    assert groups.of[program.steps[0].output].any() == (block not in PINNED)


def _groups(block: str) -> tuple[Program, ScaleGroups]:
    program = program_of([block])
    return program, scale_groups(program)


def _outputs(program: Program, kind: str) -> list[str]:
    return [step.output for step in program.steps if step.kind == kind]


def test_what_a_residual_addition_joins_has_the_same_factors() -> None:
    program, groups = _groups("residual")
    (total,) = _outputs(program, "ADD")
    added = next(step for step in program.steps if step.kind == "ADD").inputs
    for name in added:
        np.testing.assert_array_equal(groups.of[name], groups.of[total])
    assert len(set(groups.of[total])) == 4, "each channel has a factor of its own"


def test_the_parts_of_a_concatenation_keep_their_own_factors() -> None:
    program, groups = _groups("branches")
    (joined,) = _outputs(program, "CONCATENATION")
    parts = next(step for step in program.steps if step.kind == "CONCATENATION").inputs
    np.testing.assert_array_equal(groups.of[joined], np.concatenate([groups.of[name] for name in parts]))
    assert len(set(groups.of[joined])) == 8


def test_a_gate_is_pinned_and_what_it_multiplies_is_free() -> None:
    program, groups = _groups("gate")
    (gate,), (product,) = _outputs(program, "LOGISTIC"), _outputs(program, "MUL")
    assert not groups.of[gate].any()
    assert groups.of[product].all()


def test_ends_and_swish_are_pinned() -> None:
    program, groups = _groups("swish")
    for name in (program.source, program.sink, *_outputs(program, "HARD_SWISH")):
        assert not groups.of[name].any()


def test_pixels_of_a_flattened_image_share_the_factors_of_its_channels() -> None:
    program, groups = _groups("convolution")
    (flat,) = _outputs(program, "RESHAPE")
    source = next(step for step in program.steps if step.kind == "RESHAPE").inputs[0]
    np.testing.assert_array_equal(groups.of[flat].reshape(-1, 6), np.tile(groups.of[source], (30, 1)))


def test_weights_that_two_operations_read_are_not_scaled() -> None:
    net = Net((4, 4), 3)
    net.conv(3, act=RELU)
    first = net.graph.operators[-1]
    net.conv(3, act=RELU)
    net.graph.operators[-1].inputs = [first.outputs[0], *first.inputs[1:]]
    net.conv(2)
    groups = scale_groups(Program(net.model()))
    assert groups.count == 1


def test_a_relu6_bounds_its_groups() -> None:
    net = Net((4, 4), 3)
    net.conv(3, act=RELU6)
    net.conv(2, act=RELU)
    net.conv(2)
    groups = scale_groups(Program(net.model()))
    np.testing.assert_array_equal(groups.bounded[groups.of["layer1"]], True)
    np.testing.assert_array_equal(groups.bounded[groups.of["layer2"]], False)
