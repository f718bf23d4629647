"""Removal of channels: a smaller file answers as the program whose channels are forced to constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewriting import Net
from test_tuning_groups import BLOCKS, PINNED, RELU, _dense, program_of

from edgepress.converters.graph.program import Program
from edgepress.converters.pruning import importance as measures
from edgepress.converters.pruning.importance import channel_moments
from edgepress.converters.pruning.plan import BLOCK, NEAR, PruningCosts, chosen_units, planned_units
from edgepress.converters.pruning.remove import without_channels
from edgepress.converters.pruning.units import Units, removable_units
from edgepress.converters.ptq.score import macs
from edgepress.converters.to_tflite.graph import Graph

STAYING = {*PINNED} - {"swish", "offset", "mirrored rows"}
"""Blocks from whose input no channel can leave."""


def some_kept(units: Units, seed: int) -> np.ndarray:
    """Which units stay: at random, at least one of each family."""
    random, keep = np.random.default_rng(seed), np.ones(units.count, bool)
    for family in units.families:
        keep[random.permutation(family.units)[: random.integers(0, len(family.units))]] = False
    return keep


def items_of(program: Program, count: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, *program.shapes[program.source][1:])).astype(np.float32)


def forced(program: Program, units: Units, keep: np.ndarray, items: np.ndarray, values: dict[str, Any]) -> np.ndarray:
    """Answers of the program whose channels that leave are constants, by default 0, in every tensor."""

    def force(name: str, value: Any) -> Any:
        stays = keep[units.of[name]].astype(np.float32)
        return value * stays + (1 - stays) * values.get(name, np.zeros(1)).astype(np.float32)

    return np.asarray(program.run(items, after=force)[program.sink])


def near(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * max(1e-3, np.abs(expected).max()))


def check(program: Program, seed: int) -> None:
    units, model = removable_units(program), program.with_constants({})
    keep = some_kept(units, seed)
    smaller = without_channels(model, units, keep)
    pruned, items = Program(smaller), items_of(program)
    near(pruned.answers(items), forced(program, units, keep, items, {}))
    costs = PruningCosts(model, units)
    assert costs.total(costs.sizes(keep)) == pytest.approx(macs(smaller), abs=0.5)
    for name, ids in units.of.items():
        assert pruned.shapes.get(name, (keep[ids].sum(),))[-1] == keep[ids].sum()
    if not keep.all():
        assert sum(c.size for c in pruned.constants.values()) < sum(c.size for c in program.constants.values())


@given(st.lists(st.sampled_from(list(BLOCKS)), max_size=5), st.integers(0, 99))
@settings(max_examples=10)
def test_a_file_without_channels_answers_as_if_they_were_zero(blocks: list[str], seed: int) -> None:
    check(program_of(blocks, seed), seed)


@pytest.mark.parametrize("block", BLOCKS)
def test_channels_leave_through_each_block(block: str) -> None:
    program = program_of([block, "convolution", block])
    first = program.steps[0].output
    assert removable_units(program).of[first].any() == (block not in STAYING)
    check(program, 1)


def _spread(net: Net) -> None:
    """Channels of zeros, a slice of them, a sum over places, and one channel that multiplies many."""
    shape = net.shape
    net.add("PAD", [net.now, np.array([[0, 0], [0, 0], [0, 0], [1, 2]], np.int32)], (*shape[:3], shape[3] + 3))
    net.add("SLICE", [net.now, np.int32([0, 0, 0, 1]), np.int32([1, *shape[1:]])], shape)
    net.conv(6, act=RELU)
    many = net.now
    net.conv(1)
    net.add("LOGISTIC", [net.now], net.shape)
    net.add("MUL", [many, net.now], (*shape[:3], 6))
    net.add("TANH", [net.now], net.shape)


def _large_groups(net: Net) -> None:
    net.conv(8)
    net.conv(12, (3, 3), groups=4, act=RELU)


@pytest.mark.parametrize("block", [_spread, _large_groups])
def test_channels_leave_through_other_operations(block):
    net = Net((6, 5), 3)
    net.conv(4, act=RELU)
    block(net)
    net.conv(5)
    net.add("RESHAPE", [net.now, np.array([1, -1], np.int32)], (1, int(np.prod(net.shape))), newShape=[1, -1])
    _dense(net, 3)
    for seed in range(4):
        check(Program(net.model()), seed)


def test_moments_are_the_mean_and_the_variance_of_each_channel_over_batches():
    net = Net((6, 5), 3)
    net.conv(6, act=RELU)
    net.conv(8, (3, 3), same=False)
    program = Program(net.model())
    items = items_of(program, 50) + 40  # a mean far from 0, beside which the variance is small
    found = channel_moments(program, items)
    values = program.run(items)
    assert len(found) >= 3
    for name, (mean, variance) in found.items():
        rows = np.asarray(values[name], np.float64).reshape(-1, len(mean))
        np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-6)
        np.testing.assert_allclose(variance, rows.var(0), rtol=1e-6)


def test_a_mean_goes_into_the_biases_of_what_reads_it():
    """Exactly, without padding."""
    net = Net((6, 5), 3)
    net.conv(6, act=RELU)
    net.conv(8, (3, 3), same=False, act=RELU)
    net.add("MEAN", [net.now, np.array([1, 2], np.int32)], (1, 8))
    _dense(net, 7)
    _dense(net, 3)
    program = Program(net.model())
    units, items = removable_units(program), items_of(program, 16)
    keep, moments = some_kept(units, 3), channel_moments(program, items)
    means = {name: mean for name, (mean, _) in moments.items()}
    assert not keep.all()
    pruned = Program(without_channels(net.model(), units, keep, means))
    # Only what layers read is constant: their own outputs follow.
    read = {step.inputs[0]: means[step.inputs[0]] for step in program.weighted()}

    def force(step: Any, place: int, value: Any) -> Any:
        if place or not step.weights or step.inputs[0] not in units.of:
            return value
        stays = keep[units.of[step.inputs[0]]].astype(np.float32)
        return value * stays + (1 - stays) * read[step.inputs[0]].astype(np.float32)

    expected = np.asarray(program.run(items, before=force)[program.sink])
    near(pruned.answers(items), expected)


def test_a_layer_without_a_bias_gets_one_for_the_means():
    net = Net((6, 5), 3)
    net.conv(6, act=RELU)
    net.add("MEAN", [net.now, np.array([1, 2], np.int32)], (1, 6))
    net.add("FULLY_CONNECTED", [net.now, net.random.normal(size=(4, 6)).astype(np.float32)], (1, 4))
    program = Program(net.model())
    units, items = removable_units(program), items_of(program, 16)
    keep = some_kept(units, 3)
    means = {name: mean for name, (mean, _) in channel_moments(program, items).items()}
    pruned = Graph(without_channels(net.model(), units, keep, means))
    assert [len(op.inputs) for op in pruned.operators] == [3, 2, 3]
    assert [len(op.inputs) for op in Graph(without_channels(net.model(), units, keep)).operators] == [3, 2, 2]


def test_with_padding_the_mean_of_the_outputs_is_right():
    net = Net((6, 5), 3)
    net.conv(6, act=RELU)
    net.conv(2, (3, 3))
    program = Program(net.model())
    units, items = removable_units(program), items_of(program, 16)
    keep = np.ones(units.count, bool)
    keep[units.families[0].units[:3]] = False
    means = {name: mean for name, (mean, _) in channel_moments(program, items).items()}
    pruned = Program(without_channels(net.model(), units, keep, means))
    source = program.steps[1].inputs[0]

    def force(name: str, value: Any) -> Any:
        stays = keep[units.of[name]].astype(np.float32)
        return value * stays + (1 - stays) * means[name].astype(np.float32) if name == source else value

    expected = np.asarray(program.run(items, after=force)[program.sink])
    found = pruned.answers(items).reshape(expected.shape)
    near(found.mean(axis=(0, 1, 2)), expected.mean(axis=(0, 1, 2)))
    assert np.abs(found - expected).max() > 1e-3, "the border can't be exact"


def test_what_leaves_nothing_behind_stays():
    """A layer of one channel, the input and the output."""
    net = Net((4, 4), 3)
    net.conv(1, act=RELU)
    net.conv(5)
    units = removable_units(Program(net.model()))
    assert units.families == ()
    assert units.count == 1


def _redundant() -> tuple[Program, Units]:
    """A net in which half of the channels of a layer are nearly unused: small and constant."""
    net = Net((6, 6), 3)
    net.conv(16, (3, 3), act=RELU)
    net.conv(4, (3, 3), act=RELU)
    _dense_net(net)
    program = Program(net.model())
    step = program.steps[0]
    weights = step.constants[1].copy()
    weights[::2] *= 1e-4
    program = Program(program.with_constants({step.weights: weights}))
    return program, removable_units(program)


def _dense_net(net: Net) -> None:
    net.add("MEAN", [net.now, np.array([1, 2], np.int32)], (1, net.shape[3]))
    _dense(net, 3)


@pytest.mark.parametrize("measure", measures.MEASURES)
def test_each_measure_finds_channels_that_are_not_needed(measure):
    program, units = _redundant()
    items = items_of(program, 8)
    found = measures.importance_of(measure, units, channel_moments(program, items), items=items)
    ids = units.of[program.steps[0].output]
    assert found[ids[::2]].max() < found[ids[1::2]].min()
    costs = PruningCosts(program.with_constants({}), units)
    whole = costs.total(costs.sizes(np.ones(units.count, bool)))
    keep = chosen_units(units, found, costs, 0.55 * whole)
    assert keep is not None
    assert keep[ids].tolist() == [False, True] * 8  # a multiple of 8, and the right ones


def test_taylor_is_the_squared_change_by_a_factor_of_the_difference_from_the_mean():
    """Of one answer, by differences instead of derivatives."""
    net = Net((5, 4), 3)
    net.conv(4, act=RELU)
    net.conv(3, (3, 3), act=RELU)
    _dense(net, 1)
    program = Program(net.model())
    units, items = removable_units(program), items_of(program, 6)
    moments = channel_moments(program, items)
    found = measures.importance_of("taylor", units, moments, items=items, kind="sigmoid")

    def answers(unit: int, factor: float) -> np.ndarray:
        def change(step: Any, place: int, value: Any) -> Any:
            name = step.inputs[0]
            if place or not step.weights or not units.of[name].any():
                return value
            mean = moments[name][0].astype(np.float32)
            return mean + np.where(units.of[name] == unit, factor, 1).astype(np.float32) * (value - mean)

        return np.asarray(program.run(items, before=change)[program.sink], np.float64).ravel()

    for unit in range(1, units.count):
        slopes = (answers(unit, 1.01) - answers(unit, 0.99)) / 0.02
        assert found[unit] == pytest.approx(float(np.square(slopes).mean()), rel=0.05)


@pytest.mark.parametrize(("kind", "ignored"), [("softmax", True), ("sigmoid", False)])
def test_what_a_channel_adds_to_all_answers_does_not_count_where_softmax_ignores_it(kind: Any, ignored: bool) -> None:
    net = Net((5, 4), 3)
    net.conv(4)
    net.add("MEAN", [net.now, np.array([1, 2], np.int32)], (1, 4))
    weights = net.random.normal(size=(3, 4)).astype(np.float32)
    weights[:, 1] = 2
    net.add("FULLY_CONNECTED", [net.now, weights, np.zeros(3, np.float32)], (1, 3))
    program = Program(net.model())
    units, items = removable_units(program), items_of(program, 32)
    found = measures.importance_of("taylor", units, channel_moments(program, items), items=items, kind=kind)
    of_channels = found[units.of[program.steps[0].output]]
    assert (of_channels[1] < 1e-6 * of_channels.max()) == ignored
    assert np.delete(of_channels, 1).min() > 1e-4 * of_channels.max()


def test_a_plan_keeps_its_bound_and_wastes_little():
    program = program_of(["convolution", "residual", "branches", "convolution"])
    model, units = program.with_constants({}), removable_units(program)
    importance = np.random.default_rng(0).uniform(size=units.count)
    costs = PruningCosts(model, units)
    whole = costs.total(costs.sizes(np.ones(units.count, bool)))
    for share in (0.9, 0.6, 0.3):
        keep = chosen_units(units, importance, costs, share * whole, block=1, cut=1.0)
        assert keep is not None
        found = macs(without_channels(model, units, keep))
        assert (share - 0.2) * whole < found <= share * whole
    assert chosen_units(units, importance, costs, 1.0, cut=1.0) is None


@pytest.mark.parametrize("block", [BLOCK, 16])
@pytest.mark.parametrize("widths", [(24, 40), (6, 120, 84), (16, 32, 64), (64, 64)])
def test_whole_blocks_of_channels_do_not_end_far_below_what_was_asked(widths: tuple[int, ...], block: int) -> None:
    net = Net((1, 1), 16)
    for width in widths:
        net.conv(width, act=RELU)
    net.add("RESHAPE", [net.now, np.array([1, -1], np.int32)], (1, widths[-1]), newShape=[1, -1])
    _dense(net, 10)
    program = Program(net.model())
    units = removable_units(program)
    costs = PruningCosts(net.model(), units)
    whole = macs(net.model())
    for seed, share in enumerate((0.9, 0.7, 0.5, 0.3)):
        importance = np.random.default_rng(seed).uniform(size=units.count)
        keep = planned_units(units, importance, costs, share * whole, block=block)
        assert keep is not None
        found = macs(without_channels(net.model(), units, keep))
        assert NEAR * share * whole <= found <= share * whole, (share, found / whole)
