"""Mixed precision: which layers stay float, and what a user is told of the choice."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from mixing import MIXED, READER, WIDE, Array, Case, items, kept_in_wide, types, wide_case
from rewriting import Net

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.errors import ConversionError
from edgepress.converters.float_layers import NOTHING, FloatLayers, matching
from edgepress.converters.graph.program import Program, UnknownOperationError
from edgepress.converters.graph.tflite_scales import scales_of_tflite
from edgepress.converters.mixed_precision.choose import choose
from edgepress.converters.mixed_precision.ranking import FloatSet, Ranking
from edgepress.converters.mixed_precision.sensitivity import LayerSimulation
from edgepress.converters.options.conversion import ConversionOptions
from edgepress.converters.ptq.score import Scorer, answers_before_end
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme


@pytest.fixture
def wide() -> Case:
    return wide_case()


@pytest.fixture
def kept() -> FloatLayers:
    return kept_in_wide()


def test_the_layer_that_eight_bits_ruin_is_kept_and_no_other(wide: Case, kept: FloatLayers) -> None:
    """The tensor is made by one layer and read by another behind a pool, so that these three compute in float."""
    assert [layer.name for layer in kept.layers] == [WIDE, "layer4", READER]
    before, after = kept.record["drop_pp"]
    assert before > 30
    assert after <= 6
    assert kept.record["measure"] == "agreement with the source model"
    kinds = types(wide.make(kept))
    assert kinds[WIDE] == kinds[READER] == np.float32
    assert kinds["layer2"] == kinds["layer6"] == np.int8


def test_nothing_is_kept_if_eight_bits_hold_the_limit() -> None:
    case = Case(wide=False)
    chosen = case.choose(drop=10.0)
    assert chosen.layers == ()
    assert "nothing is kept in float" in chosen.notes[0]
    assert case.make(chosen) == with_scheme(case.model, SCHEMES["tflite-int8"], case.ranges, uint8=False)


def test_named_layers_are_kept_whatever_they_cost(wide: Case) -> None:
    chosen = wide.choose("^layer[15]$")
    assert [(layer.name, layer.weights, layer.why) for layer in chosen.layers] == [
        ("layer1", "float32", "named by --keep-float"),
        ("layer5", "float32", "named by --keep-float"),
    ]
    assert "max_drop_pp" not in chosen.record
    more = wide.choose("^layer1$", 6.0)
    assert {layer.name for layer in more.layers} >= {"layer1", WIDE, READER}


def test_a_name_that_matches_nothing_is_an_error_with_names_that_are_near(wide: Case) -> None:
    with pytest.raises(ConversionError, match="'layr3' matches none of the model's 8 layers") as e:
        wide.choose("layr3")
    assert "layer3" in e.value.hint
    assert matching("b|c$", ["a", "net/b", "bc", "cd"]) == ("net/b", "bc")


def test_a_limit_that_can_not_be_kept_is_an_error(wide: Case) -> None:
    plain = wide.make(NOTHING)
    with pytest.raises(ConversionError, match="pp of agreement with the source model; the limit is 1"):
        choose(wide.model, lambda kept: plain, wide.judge, items(0), how=ConversionOptions(max_drop=1.0))


def test_layers_are_added_where_the_simulation_sees_no_loss(wide: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real files decide: the wide tensor is found although its rounding seems to cost nothing."""
    monkeypatch.setattr(LayerSimulation, "divergence", lambda simulation, names: float("layer7" in names))
    chosen = wide.choose(drop=6.0)
    assert {WIDE, READER} <= {layer.name for layer in chosen.layers}
    assert np.dtype(np.int8) in types(wide.make(chosen)).values()


def test_a_choice_that_holds_is_found_where_more_in_float_loses_more(wide: Case) -> None:
    """Items that are lost need not be fewer with more layers in float, if only a few decide."""
    plain = wide.make(NOTHING)

    def make(kept: FloatLayers) -> bytes:
        return plain if len(kept.layers) > 4 else wide.make(kept)

    chosen = choose(wide.model, make, wide.judge, items(0), how=ConversionOptions(max_drop=6.0))
    assert {WIDE, READER} <= {layer.name for layer in chosen.layers}
    assert len(chosen.layers) <= 4


def test_a_few_items_beyond_the_limit_are_no_loss_if_the_answers_are_not_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 of 150 items are 2.7 pp, but chance; the float graph itself is unsure about them."""
    case = Case(wide=False)
    before = case.judge.score_file(case.model)
    lost = dataclasses.replace(before, agreement=1 - 4 / 150, hits=np.arange(150) >= 4)
    monkeypatch.setattr(case.judge, "score_file", lambda file: before if file == case.model else lost)
    chosen = case.choose(drop=1.0)
    assert not chosen.layers
    assert chosen.record["drop_pp"][0] == pytest.approx(100 * 4 / 150, abs=1e-3)
    assert chosen.record["expected_drop_pp"][0] <= 1


def test_labels_that_chance_made_right_do_not_hide_a_loss(wide: Case) -> None:
    """The int8 file happens to be right on as many items as it loses, but the float graph's own certainty tells."""
    own, other = (answers_before_end(file, items(1)).argmax(1) for file in (wide.model, wide.make(NOTHING)))
    (differing,) = np.nonzero(own != other)
    labels = own.copy()
    labels[differing[::2]] = other[differing[::2]]
    judge = Scorer(wide.model, items(1), labels)
    chosen = choose(wide.model, wide.make, judge, items(0), how=ConversionOptions(max_drop=6.0))
    assert chosen.record["drop_pp"][0] <= 0 < 6 < chosen.record["expected_drop_pp"][0]
    assert chosen.record["expected_drop_pp"][1] <= 6
    assert {WIDE, READER} <= {layer.name for layer in chosen.layers}


@pytest.mark.slow
def test_a_float_graph_that_is_too_sure_expects_no_more_than_its_labels_show(wide: Case) -> None:
    """A fifth of its answers is wrong, however sure it is: what changes is not lost for certain."""
    own, other = (answers_before_end(file, items(1)).argmax(1) for file in (wide.model, wide.make(NOTHING)))
    wrong = np.arange(len(own)) % 5 == 0
    labels = np.where(wrong, (own + 1) % (own.max() + 1), own)
    expected = [
        choose(wide.model, wide.make, Scorer(wide.model, items(1), y), items(0), how=ConversionOptions(max_drop=50.0))
        for y in (own, labels)
    ]
    sure, unsure = (chosen.record["expected_drop_pp"][0] for chosen in expected)
    assert unsure < 0.8 * sure
    assert sure <= 100 * (own != other).mean()


def swish_features(dense: tuple[Array, Array] | None = None) -> bytes:
    """Four random convolutions, each with a swish, and a dense layer if its weights and biases are given."""
    made = Net((14, 14), 1, seed=1)
    for channels, kernel, stride in ((8, (3, 3), 2), (16, (1, 1), 1), (16, (3, 3), 2), (24, (1, 1), 1)):
        linear = made.conv(channels, kernel, stride=stride)
        gate = made.add("LOGISTIC", [linear], made.shape)
        made.add("MUL", [linear, gate], made.shape)
    made.add("RESHAPE", [made.now, np.array([1, -1], np.int32)], (1, int(np.prod(made.shape))))
    if dense is not None:
        made.add("FULLY_CONNECTED", [made.now, *dense], (1, 10))
    return made.model()


def swish_net(x: Array, y: Array) -> bytes:
    """A net that knows all of these items by heart, and is sure of every answer."""
    features = answers_before_end(swish_features(), x)
    mean, spread = features.mean(0), features.std()
    known = (features - mean) / spread
    solved = np.linalg.solve(known.T @ known + 0.02 * np.eye(known.shape[1]), known.T @ (np.eye(10)[y] - 0.1))
    weights = (40 / spread * solved).T.astype(np.float32)
    return swish_features((weights, -weights @ mean))


def small_digits(split: Any, count: int) -> tuple[Array, Array]:
    """Digits of half the size, values 0-1, and their labels."""
    images = split.read(slice(0, count)).astype(np.float32) / 255
    return images.reshape(-1, 14, 2, 14, 2, 1).mean((2, 4)), split.y[:count]


def test_a_net_that_is_too_sure_keeps_no_layer_where_int8_is_as_accurate(
    digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers that its int8 file changes were as often wrong before, whatever the net prefers its own by."""
    (x, y), (others, labels) = small_digits(digits.train, 300), small_digits(digits.val, 180)
    model = swish_net(x, y)
    ranges = tflite_statistics(model, lambda: [x[:200]], None).ranges()

    def make(kept: FloatLayers) -> bytes:
        return with_scheme(model, MIXED, ranges, uint8=False, float_layers=kept)

    def choice() -> FloatLayers:
        return choose(model, make, Scorer(model, others, labels), x[:100], how=ConversionOptions(max_drop=4.0))

    calibrated = choice()
    assert calibrated.layers == ()
    assert calibrated.record["drop_pp"][0] <= 0
    monkeypatch.setattr("edgepress.converters.mixed_precision.choose.LEAST_FIT", 1 + len(labels))
    as_it_says = choice()
    assert len(as_it_says.layers) > 2
    assert as_it_says.record["drop_pp"][0] == calibrated.record["drop_pp"][0]
    assert as_it_says.record["expected_drop_pp"][0] > 1.5 * calibrated.record["expected_drop_pp"][0]


def test_a_graph_that_can_not_be_simulated_is_an_error(wide: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: bytes) -> Program:
        raise UnknownOperationError("ATAN2, which makes x")

    monkeypatch.setattr("edgepress.converters.mixed_precision.choose.Program", refuse)
    with pytest.raises(ConversionError, match="can't simulate it: ATAN2, which makes x"):
        wide.choose("layer1")


def test_outputs_that_are_no_scores_of_labels_need_names(wide: Case) -> None:
    judge = Scorer(wide.model, items(1, 8), labelled=False)
    with pytest.raises(ConversionError, match="not class scores"):
        choose(wide.model, wide.make, judge, items(0, 8), how=ConversionOptions(max_drop=1.0))
    assert choose(wide.model, wide.make, judge, items(0, 8), how=ConversionOptions(keep_float="layer1")).layers


def test_rounding_the_wide_layer_alone_costs_most(wide: Case) -> None:
    simulation = LayerSimulation(Program(wide.model), scales_of_tflite(Program(wide.model), wide.make(NOTHING)))
    simulation.use(items(0))
    alone = {layer.name: simulation.divergence(names) for layer, names in simulation.layers.items()}
    assert max(alone, key=lambda name: alone[name]) in (WIDE, READER)
    whole = {*simulation.names}
    (names,) = (names for layer, names in simulation.layers.items() if layer.name == WIDE)
    assert simulation.divergence(whole.difference(names)) < simulation.divergence(whole)
    assert simulation.divergence(()) == 0


def test_states_grow_and_cost_more_and_lose_less(wide: Case) -> None:
    simulation = LayerSimulation(Program(wide.model), scales_of_tflite(Program(wide.model), wide.make(NOTHING)))
    frontier = Ranking(simulation, {name: 1.0 + place for place, name in enumerate(simulation.names)})
    states = list(frontier.states(FloatSet()))
    assert states[0] == FloatSet()
    losses, costs = [frontier.loss(state) for state in states], [frontier.cost(state) for state in states]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] == sum(frontier.losses.values())
    assert costs[0] == 0 < costs[-1]
    for less, more in pairwise(states[:-1]):
        assert less.layers <= more.layers
        assert less.weights <= more.weights <= more.layers
    weighted = {number for number, layer in enumerate(frontier.layers) if layer.weights}
    assert all(weighted - state.layers for state in states)
