"""Equalization for the scales that files have: of dense layers, of joined tensors, of nets that int8 refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rewriting import Net

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.conversion import float_graph as opening
from edgepress.converters.conversion.float_graph import FloatGraph, FloatGraphJob, make_float_graph
from edgepress.converters.errors import ConversionError
from edgepress.converters.graph.program import Program
from edgepress.converters.options.conversion import MINMAX
from edgepress.converters.ptq.channel_scales import (
    ChannelRanges,
    ScaleGroups,
    channel_ranges,
    scale_groups,
    tensor_ranges,
)
from edgepress.converters.ptq.equalization import equalizing_factors
from edgepress.converters.ptq.repair import repair
from edgepress.converters.ptq.score import Score, Scorer
from edgepress.converters.rewrites.table import CHANNEL_AFFINE
from edgepress.runtime import InputSpec

RELU = 1
ITEMS = np.random.default_rng(0).normal(size=(160, 6, 6, 3)).astype(np.float32)
CALIBRATION = ITEMS[:64]
TEST = ITEMS[64:]
SEEDS = range(3)


def batches() -> list[np.ndarray]:
    return [CALIBRATION]


def scores_of(made: Net, classes: int = 5) -> bytes:
    """A net with a dense layer behind the mean of its channels."""
    channels = made.shape[-1]
    made.add("MEAN", [made.now, np.array([1, 2], np.int32)], (1, channels))
    weights = made.random.normal(size=(classes, channels)).astype(np.float32)
    made.add("FULLY_CONNECTED", [made.now, weights, np.zeros(classes, np.float32)], (1, classes))
    return made.model()


def dense_net(seed: int) -> bytes:
    """Dense layers whose rows differ in scale by up to 2^16, some of which are never active on the items."""
    made = Net((6, 6), 3, seed=seed)
    made.add("MEAN", [made.now, np.array([1], np.int32)], (1, 6, 3))
    made.add("RESHAPE", [made.now, np.array([1, 18], np.int32)], (1, 18))
    for size in (32, 24):
        weights = made.random.normal(size=(size, made.shape[-1])).astype(np.float32)
        bias = np.where(np.arange(size) < 4, -40, made.random.normal(size=size)).astype(np.float32)
        made.add("FULLY_CONNECTED", [made.now, weights, bias], (1, size), fusedActivationFunction=RELU)
    weights = made.random.normal(size=(5, 24)).astype(np.float32)
    made.add("FULLY_CONNECTED", [made.now, weights, np.zeros(5, np.float32)], (1, 5))
    return uneven(made.model(), seed, 8)


def uneven(model: bytes, seed: int, exponent: float) -> bytes:
    """The same function with each group of channels multiplied by up to 2^exponent."""
    program = Program(model)
    groups = scale_groups(program)
    factors = np.exp2(np.random.default_rng(seed).uniform(-exponent, exponent, groups.count))
    factors[0] = 1
    return program.with_constants(groups.scale_constants(factors))


def agreement(score: Score) -> float:
    assert score.agreement is not None
    return score.agreement


@pytest.mark.parametrize("seed", SEEDS)
def test_dense_weights_of_one_scale_are_balanced(seed: int) -> None:
    model = dense_net(seed)
    judge = Scorer(model, TEST)
    repaired = repair(model, batches, judge, wanted=["exact"])
    assert agreement(judge.score(model, None, "dynamic")) < 0.85
    assert agreement(judge.score(repaired.models["exact"], None, "dynamic")) >= 0.95


def measured(model: bytes) -> tuple[ScaleGroups, ChannelRanges]:
    program = Program(model)
    return scale_groups(program), channel_ranges(program, CALIBRATION)


def joined_net(seed: int) -> bytes:
    """Two branches, one of them 200 times smaller, that a depthwise convolution reads joined."""
    made = Net((6, 6), 3, seed=seed)
    source = made.now
    large = made.conv(8, (3, 3), act=RELU)
    made.now = source
    small = made.conv(8, (3, 3), act=RELU)
    made.add("CONCATENATION", [large, small], (1, 6, 6, 16), axis=3)
    made.depthwise((3, 3), act=RELU)
    model = scores_of(made)
    program = Program(model)
    groups = scale_groups(program)
    joined = next(s.output for s in program.steps if s.kind == "DEPTHWISE_CONV_2D")
    factors = np.ones(groups.count)
    factors[groups.of[joined][8:]] = 200
    entered = next(s.inputs[0] for s in program.steps if s.kind == "DEPTHWISE_CONV_2D")
    factors[groups.of[entered][8:]] = 200
    return program.with_constants(groups.scale_constants(factors))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_small_branch_of_a_joined_tensor_is_scaled_up(seed: int) -> None:
    model = joined_net(seed)
    groups, ranges = measured(model)
    factors = equalizing_factors(groups, ranges)
    joined = next(s.output for s in groups.program.steps if s.kind == "CONCATENATION")
    widths = np.maximum(ranges[joined][1], 0) / factors[groups.of[joined]]
    live = widths > 0
    assert np.median(widths[:8][live[:8]]) < 10 * np.median(widths[8:][live[8:]])
    judge = Scorer(model, TEST)
    repaired = repair(model, batches, judge, wanted=["int8"])
    program = Program(repaired.models["int8"])
    after = tensor_ranges(channel_ranges(program, CALIBRATION), program.source, None)
    assert agreement(judge.score(repaired.models["int8"], after)) >= 0.95


def test_a_small_part_of_a_divided_tensor_is_scaled_up() -> None:
    """The part has the scale of the whole in integer files, although its own values fill its own range."""
    made = Net((6, 6), 3, seed=1)
    whole = made.conv(16, (3, 3), act=RELU)
    parts = []
    for first in (0, 8):
        begin = np.array([0, 0, 0, first], np.int32)
        made.add("SLICE", [whole, begin, np.array([1, 6, 6, 8], np.int32)], (1, 6, 6, 8))
        parts.append(made.conv(8, act=RELU))
    made.add("ADD", parts, (1, 6, 6, 8))
    program = Program(scores_of(made))
    divided = program.steps[0]
    groups = scale_groups(program)
    factors = np.ones(groups.count)
    factors[groups.of[divided.output][8:]] = 200
    program = Program(program.with_constants(groups.scale_constants(factors)))
    groups = scale_groups(program)
    ranges = channel_ranges(program, CALIBRATION)
    scaled = ranges[divided.output][1] / equalizing_factors(groups, ranges)[groups.of[divided.output]]
    live = scaled > 0
    ratio = np.median(scaled[:8][live[:8]]) / np.median(scaled[8:][live[8:]])
    assert 1 / 30 < ratio < 30


@pytest.mark.parametrize("seed", SEEDS)
def test_a_net_that_int8_refuses_is_repaired(seed: int) -> None:
    made = Net((6, 6), 3, seed=seed)
    made.conv(12, (3, 3), act=RELU)
    made.conv(12, act=RELU)
    model = uneven(scores_of(made), seed, 12)
    judge = Scorer(model, TEST)
    _, ranges = measured(model)
    with pytest.raises(ConversionError, match="too far apart"):
        judge.score(model, tensor_ranges(ranges, Program(model).source, None))
    repaired = repair(model, batches, judge, wanted=["int8"])
    stage = repaired.stages[0]
    assert stage.name == "equalization"
    assert stage.kept
    assert stage.before == judge.worst_score(model, "int8")
    assert agreement(stage.after) >= 0.95


def test_the_worst_score_is_not_better_than_any() -> None:
    model = dense_net(0)
    judge = Scorer(model, TEST)
    worst = judge.worst_score(model, "int8")
    real = judge.score(model, None, "dynamic")
    assert real.better_than(worst)
    assert not worst.better_than(real)
    assert not worst.better_than(worst)
    assert not worst.sound


def affine_net(seed: int) -> bytes:
    """A factor and a shift by channel; one channel is wide in front of them, and never active behind them."""
    made = Net((6, 6), 3, seed=seed)
    made.conv(12, (3, 3), act=RELU)
    factor = made.random.uniform(0.5, 2, 12).astype(np.float32)
    shift = made.random.normal(size=12).astype(np.float32)
    factor[0] = 1
    shift[0] = -900
    made.add("MUL", [made.now, factor], made.shape)
    made.add("ADD", [made.now, shift], made.shape, fusedActivationFunction=RELU)
    made.conv(12, act=RELU)
    program = Program(scores_of(made))
    first = next(program.weighted())
    ranges = channel_ranges(program, ITEMS)
    wider = np.ones(12, np.float32)
    wider[0] = 600 / ranges[first.output][1][0]
    held = program.constants
    return program.with_constants(
        {
            first.weights: held[first.weights] * wider[:, np.newaxis, np.newaxis, np.newaxis],
            first.bias: held[first.bias] * wider,
        }
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_repairs_are_judged_with_the_graph_that_files_are_made_from(seed: int) -> None:
    """Factors by channel have one scale as a product, and a scale each as the convolution that they become."""
    model = affine_net(seed)
    as_product, as_convolution = (
        repair(model, batches, Scorer(model, TEST, before=before), wanted=["int8"]).stages[0]
        for before in ((), CHANNEL_AFFINE)
    )
    assert as_product.after.snr_db < 5
    assert as_convolution.kept
    assert as_convolution.after.snr_db > 20


def validation(count: int) -> tuple[np.ndarray, None]:
    return TEST[:count], None


def float_graph_of(model: bytes, folder: Path, *, rewrites: bool) -> FloatGraph:
    """What a conversion makes of a model whose float graph this is, repaired for int8."""
    folder.mkdir()
    adapter = InputAdapter(InputSpec(shape=ITEMS.shape[1:], dtype="float32"), ITEMS.shape[1:])
    job = FloatGraphJob(
        folder, adapter, batches, validation=validation, wanted=("int8",), how=replace(MINMAX, rewrites=rewrites)
    )
    source: Any = SimpleNamespace(tflite=lambda adapter: model)
    reports: list[Any] = []
    opening._opened[:] = [source]
    try:
        make_float_graph(job, reports.append)
    finally:
        opening._opened.clear()
    (report,) = reports
    assert isinstance(report, FloatGraph)
    return report


def test_a_conversion_judges_repairs_with_the_rewrites_that_its_files_get(tmp_path: Path) -> None:
    model = affine_net(0)
    as_product, as_convolution = (
        float_graph_of(model, tmp_path / str(rewrites), rewrites=rewrites).facts["int8"]["repairs"][0]
        for rewrites in (False, True)
    )
    assert as_product["after"]["snr_db"] < 5
    assert as_convolution["kept"]
    assert as_convolution["after"]["snr_db"] > 20
