"""Features of different ranges in front of a dense layer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rewriting import Net

from edgepress.converters.numeric.grids import round_to_grid
from edgepress.converters.ptq import repair
from edgepress.converters.ptq.repair import rounding_db, with_scaled_features
from edgepress.converters.to_tflite.graph import Graph
from edgepress.runtime.engines import import_engine

FEATURES = 6
OUTPUTS = 5
RANGES = np.array([1e-4, 1.0, 1e3, 1e6, 1.0, 3.0])
MIDDLES = np.array([0.0, 2000.0, 0.0, 5e6, 0.0, -3.0])


def items(count: int = 200, seed: int = 0) -> Any:
    return (np.random.default_rng(seed).normal(size=(count, FEATURES)) * RANGES + MIDDLES).astype(np.float32)


def with_one_range(model: bytes, x: Any) -> bytes:
    return with_scaled_features(model, lambda count: x[:count])


def dense(weights: Any, bias: Any = None, *, views: bool = False) -> bytes:
    net = Net((), FEATURES)
    if views:
        net.add("RESHAPE", [net.now, np.array([1, FEATURES, 1], np.int32)], (1, FEATURES, 1))
        net.add("RESHAPE", [net.now, np.array([1, FEATURES], np.int32)], (1, FEATURES))
    more = [] if bias is None else [np.asarray(bias, np.float32)]
    net.add("FULLY_CONNECTED", [net.now, np.asarray(weights, np.float32), *more], (1, OUTPUTS))
    return net.model()


def outputs(model: bytes, x: Any) -> Any:
    interpreter = import_engine("litert").Interpreter(model_content=model)
    interpreter.allocate_tensors()
    found = []
    for item in x:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], item[np.newaxis])
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.array(found)


def suitable(seed: int = 1) -> Any:
    """Weights by which all features matter alike."""
    return np.random.default_rng(seed).normal(size=(OUTPUTS, FEATURES)) / RANGES


@pytest.mark.parametrize("views", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_the_answers_stay(bias: bool, views: bool) -> None:
    weights = suitable()
    shift = -(weights @ MIDDLES) if bias else None
    model = dense(weights, shift, views=views)
    changed = with_one_range(model, items())
    kinds = [Graph(changed).kind(op) for op in Graph(changed).operators]
    assert kinds == [*(["RESHAPE"] * 2 * views), "SUB", "MUL", "FULLY_CONNECTED"]
    x = items(50, seed=3)
    exact = x.astype(np.float64) @ weights.astype(np.float32).astype(np.float64).T + (0 if shift is None else shift)
    before, after = (np.abs(outputs(m, x) - exact).max() for m in (model, changed))
    assert after <= max(before, 1e-5 * np.abs(exact).max())


def test_features_have_the_range_of_one_to_minus_one() -> None:
    graph = Graph(with_one_range(dense(suitable()), items()))
    sub, mul, layer = graph.operators
    shift, scale = (graph.constant(int(op.inputs[1])) for op in (sub, mul))
    scaled = (items().astype(np.float64) - shift) * scale
    np.testing.assert_allclose(scaled.min(axis=0), -1, atol=1e-3)
    np.testing.assert_allclose(scaled.max(axis=0), 1, atol=1e-3)
    assert 0.5 < np.abs(graph.constant(int(layer.inputs[1]))).max() < 20


def test_features_that_one_scale_suits_stay() -> None:
    x = np.random.default_rng(0).normal(size=(200, FEATURES)).astype(np.float32) * [1, 2, 3, 1, 2, 3]
    model = dense(np.random.default_rng(1).normal(size=(OUTPUTS, FEATURES)))
    assert with_one_range(model, x) == model
    small = suitable()
    small[:, 0] = 0  # what is lost does not matter
    ranges = RANGES.copy()
    ranges[1:] = 1
    only = dense(small * RANGES / ranges)
    assert with_one_range(only, x * ranges) == only


def test_features_that_hardly_vary_get_a_range_of_their_size() -> None:
    """Where they vary later, they are not clipped before they count more than others, or than in the plain file."""
    x = items()
    x[:, 2] = 7.0 + 1e-5 * x[:, 0]
    x[:, 4] = 0.0
    graph = Graph(with_one_range(dense(suitable()), x))
    factors = graph.constant(int(graph.operators[1].inputs[1]))
    assert factors[2] == pytest.approx(1 / 0.007, rel=1e-3)
    rows = np.abs(suitable())
    strongest = np.delete(rows / factors, 4, axis=1).max(axis=1)
    assert 1 / factors[4] == pytest.approx((strongest / rows[:, 4]).min(), rel=1e-3)
    light = suitable()
    light[:, 4] *= 1e-9
    alone = Graph(with_one_range(dense(light), x))
    whole = x.max() - min(x.min(), 0)
    assert 1 / alone.constant(int(alone.operators[1].inputs[1]))[4] == pytest.approx(whole / 2, rel=1e-3)
    assert np.isfinite(outputs(graph.to_bytes(), x[:5])).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_changes_nothing(bad: float) -> None:
    x = items()
    x[3, 2] = bad
    model = dense(suitable())
    assert with_one_range(model, x) == model
    tiny = items() * [1e-41 / RANGES[0], 1, 1, 1, 1, 1]
    assert with_one_range(model, tiny.astype(np.float32) - np.array([0, *MIDDLES[1:]], np.float32)) == model


def test_items_are_read_only_for_a_dense_layer() -> None:
    net = Net((), FEATURES)
    net.add("RELU", [net.now], (1, FEATURES))

    def fail(count: int) -> Any:
        raise AssertionError(count)

    assert with_scaled_features(net.model(), fail) == net.model()
    many: list[int] = []
    with_scaled_features(dense(suitable()), lambda count: many.append(count) or items())
    assert many == [4_000_000 // FEATURES]


def two_layers(*, other: str = "FULLY_CONNECTED") -> bytes:
    """Two layers that read the features, and the sum of what they make."""
    net = Net((), FEATURES)
    source = net.now
    parts = [net.add("FULLY_CONNECTED", [source, suitable(seed).astype(np.float32)], (1, OUTPUTS)) for seed in (1, 2)]
    if other == "RELU":
        net.add("RELU", [source], (1, FEATURES))
        parts[1] = net.add("FULLY_CONNECTED", [net.now, suitable(2).astype(np.float32)], (1, OUTPUTS))
    net.add("ADD", parts, (1, OUTPUTS))
    return net.model()


def test_all_layers_that_read_the_features_read_scaled_ones() -> None:
    model = two_layers()
    changed = with_one_range(model, items())
    kinds = [Graph(changed).kind(op) for op in Graph(changed).operators]
    assert kinds == ["SUB", "MUL", "FULLY_CONNECTED", "FULLY_CONNECTED", "ADD"]
    x = items(50, seed=3)
    exact = sum(x.astype(np.float64) @ suitable(seed).astype(np.float32).astype(np.float64).T for seed in (1, 2))
    assert np.abs(outputs(changed, x) - exact).max() <= max(np.abs(outputs(model, x) - exact).max(), 1e-5 * exact.max())
    mixed = two_layers(other="RELU")
    assert with_one_range(mixed, items()) == mixed


def test_a_layer_of_large_sums_hides_no_other() -> None:
    """One feature is large, and one of two layers reads it alone, with sums that are large and exact."""
    random = np.random.default_rng(4)
    net = Net((), FEATURES)
    large = np.zeros((OUTPUTS, FEATURES), np.float32)
    large[:, 0] = random.normal(size=OUTPUTS)
    small = (random.normal(size=(OUTPUTS, FEATURES)) * (np.arange(FEATURES) > 0)).astype(np.float32)
    source = net.now
    parts = [net.add("FULLY_CONNECTED", [source, weights], (1, OUTPUTS)) for weights in (large, small)]
    net.add("ADD", [net.add("TANH", [parts[0]], (1, OUTPUTS)), parts[1]], (1, OUTPUTS))
    x = random.normal(size=(200, FEATURES)).astype(np.float32)
    x[:, 0] *= 1000
    model = net.model()
    assert with_one_range(model, x) != model


def test_a_model_of_views_stays() -> None:
    net = Net((), FEATURES)
    net.add("RESHAPE", [net.now, np.array([1, 2, -1], np.int32)], (1, 2, FEATURES // 2))
    model = net.model()
    assert with_one_range(model, items()) == model


def test_weights_that_another_layer_reads_stay() -> None:
    net = Net((), FEATURES)
    weights = net.graph.add_constant((suitable()[:1] * np.ones((FEATURES, 1))).astype(np.float32), "weights")
    for _ in range(2):
        net.add("FULLY_CONNECTED", [net.now, weights], (1, FEATURES))
    graph = Graph(with_one_range(net.model(), items()))
    assert [graph.kind(op) for op in graph.operators] == ["SUB", "MUL", "FULLY_CONNECTED", "FULLY_CONNECTED"]
    names = [graph.name(index) for index in range(len(graph.table.tensors))]
    assert len({*names}) == len(names)


def test_other_beginnings_stay() -> None:
    net = Net((), FEATURES)
    net.add("RELU", [net.now], (1, FEATURES))
    net.add("FULLY_CONNECTED", [net.now, suitable().astype(np.float32)], (1, OUTPUTS))
    assert with_one_range(net.model(), items()) == net.model()
    image = Net((2, 3), 1)
    image.conv(2)
    assert with_one_range(image.model(), items().reshape(-1, 2, 3, 1)) == image.model()


def test_a_bias_that_is_left_out_by_its_index_is_zero() -> None:
    net = Net((), FEATURES)
    net.add("FULLY_CONNECTED", [net.now, suitable().astype(np.float32), -1], (1, OUTPUTS))
    model = net.model()
    changed = with_one_range(model, items())
    assert changed != model
    x = items(50, seed=3)
    exact = x.astype(np.float64) @ suitable().astype(np.float32).astype(np.float64).T
    assert np.abs(outputs(changed, x) - exact).max() <= 1e-5 * np.abs(exact).max()


def test_a_feature_that_is_always_0_makes_no_noise() -> None:
    """Its weights are large, because its values would be small."""
    x = np.random.default_rng(0).uniform(-1, 1, (2000, 3)) * [100, 1, 0]
    model = one_output(1e-2, 1, 1e4)
    changed = Graph(with_one_range(model, x.astype(np.float32)))
    assert changed.kind(changed.operators[0]) == "SUB"
    row = np.abs(changed.constant(int(changed.operators[2].inputs[1])))[0]
    assert row[2] <= row[:2].max() * 1.001


@pytest.mark.parametrize("kind", ["SUB", "ADD", "DIV", "MUL", "const - x"])
@pytest.mark.parametrize("single", [False, True])
def test_features_are_scaled_behind_a_shift_of_each(kind: str, single: bool) -> None:
    net = Net((), FEATURES)
    constant = np.array(3.0 if single else MIDDLES + 0.5, np.float32)
    operands = [constant, net.now] if kind == "const - x" else [net.now, constant]
    net.add("SUB" if kind == "const - x" else kind, operands, (1, FEATURES))
    net.add("ADD", [net.now, np.full(FEATURES, 0.25, np.float32)], (1, FEATURES))
    net.add("FULLY_CONNECTED", [net.now, suitable().astype(np.float32)], (1, OUTPUTS))
    model = net.model()
    x = items()
    changed = Graph(with_one_range(model, x))
    assert [changed.kind(op) for op in changed.operators][1:] == ["ADD", "SUB", "MUL", "FULLY_CONNECTED"]
    scaled = Graph(changed.to_bytes())
    scaled.table.outputs = [scaled.operators[3].outputs[0]]
    largest = np.abs(outputs(scaled.to_bytes(), x)).max(axis=0)
    assert largest.max() <= 1.01
    assert largest[[3, 5]] == pytest.approx(1, abs=0.01)
    before, after = (outputs(each, x[:50]) for each in (model, changed.to_bytes()))
    assert np.abs(after - before).max() <= 1e-4 * np.abs(before).max()


def test_a_shift_of_other_axes_ends_the_features() -> None:
    net = Net((), FEATURES)
    net.add("RESHAPE", [net.now, np.array([1, 2, 3], np.int32)], (1, 2, 3))
    net.add("SUB", [net.now, np.array([[1.0], [2.0]], np.float32)], (1, 2, 3))
    net.add("RESHAPE", [net.now, np.array([1, FEATURES], np.int32)], (1, FEATURES))
    net.add("FULLY_CONNECTED", [net.now, suitable().astype(np.float32)], (1, OUTPUTS))
    model = net.model()
    assert with_one_range(model, items()) == model


def one_output(*weights: float) -> bytes:
    net = Net((), len(weights))
    net.add("FULLY_CONNECTED", [net.now, np.array([weights], np.float32)], (1, 1))
    return net.model()


@pytest.mark.parametrize(("db", "is_scaled"), [(30.3, False), (29.7, True)])
def test_features_are_scaled_below_30_db(db: float, is_scaled: bool) -> None:
    """The output is the second feature, whose noise is that of the first one's scale."""
    large = 255 * 10 ** (-db / 20)
    x = np.random.default_rng(0).uniform(-1, 1, (20_000, 2)) * [large, 1]
    assert rounding_db(x, np.array([[0, 1.0]]), np.full(2, np.ptp(x))) == pytest.approx(db, abs=0.2)
    model = one_output(0, 1)
    assert (with_one_range(model, x.astype(np.float32)) != model) == is_scaled


@pytest.mark.parametrize(("gain_db", "is_scaled"), [(5.7, False), (6.3, True)])
def test_features_are_scaled_where_that_gains_6_db(gain_db: float, is_scaled: bool) -> None:
    """Two large features, whose difference counts, keep their noise; that of a small one can be taken off."""
    u, s, small = np.random.default_rng(0).uniform(-1, 1, (3, 20_000)) * [[100], [10], [0.5]]
    x = np.stack([u + s, u, small], 1)
    half = np.ptp(x, axis=0) / 2
    scaled = (x - x.min(axis=0)) / half - 1

    def gain(weight: float) -> float:
        weights = np.array([[1, -1, weight]])
        now = rounding_db(x, weights, np.full(3, np.ptp(x)))
        assert now < 25
        return rounding_db(scaled, weights * half, np.full(3, 2.0)) - now

    weight = min(np.linspace(0.5, 5, 200), key=lambda each: abs(gain(each) - gain_db))
    assert gain(weight) == pytest.approx(gain_db, abs=0.1)
    model = one_output(1, -1, weight)
    assert (with_one_range(model, x.astype(np.float32)) != model) == is_scaled


def test_of_ranges_on_one_side_of_zero_the_whole_begins_at_zero() -> None:
    """The scale of a tensor holds 0, so that features of 900 to 1,000 leave a small one few steps."""
    x = np.random.default_rng(0).uniform(0, 1, (2000, 2)) * [100, 1] + [900, 0]
    model = one_output(0, 1)
    assert with_one_range(model, x.astype(np.float32)) != model
    assert with_one_range(model, -x.astype(np.float32)) != model
    narrow = x - [900, 0]
    narrow[:, 0] /= 20
    assert with_one_range(model, narrow.astype(np.float32)) == model


def test_the_ratio_is_that_of_rounded_features_and_weights() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (20_000, FEATURES))
    weights = np.random.default_rng(1).normal(size=(OUTPUTS, FEATURES))
    step = 2 / 255
    noise = (np.round(x / step) * step @ round_to_grid(weights, 0).T - x @ weights.T).var(axis=0).sum()
    signal = (x @ weights.T).var(axis=0).sum()
    assert rounding_db(x, weights, np.full(FEATURES, 2.0)) == pytest.approx(10 * np.log10(signal / noise), abs=0.2)


class Scored:
    """What `_choose` needs of a pipeline: scores that are compared as numbers, by kind."""

    def __init__(self, **scores: int) -> None:
        self.scores = scores
        self.stages: list[Any] = []
        self.notes: list[str] = []
        self.is_changed = False

    def score_plain(self, kind: str) -> Any:
        return SimpleNamespace(score=Number(self.scores[kind]))


class Number(int):
    """A score, which is sound from 30 on."""

    @property
    def sound(self) -> bool:
        return self >= 30

    def better_than(self, other: int) -> bool:
        return self > other

    def gained(self, other: int, errors: float) -> int:
        return self - other if self > other + errors else 0


@pytest.mark.parametrize(
    ("dynamic", "int8", "kept"),
    [
        ((3, 5), (3, 3), True),
        ((3, 5), (3, 2), False),
        ((3, 3), (3, 3), False),
        ((2, 1), (2, 1), False),
        ((40, 41), (40, 41), False),
        ((40, 40), (3, 5), True),
        ((40, 39), (3, 5), False),
    ],
)
def test_features_are_scaled_if_that_helps_a_kind_and_harms_none(
    dynamic: tuple[int, int], int8: tuple[int, int], kept: bool
) -> None:
    plain, scaled = (Scored(dynamic=dynamic[n], int8=int8[n]) for n in (0, 1))
    check_choice(plain, scaled, "feature-scaling", kept=kept)


@pytest.mark.parametrize(
    ("dynamic", "int8", "kept"),
    [
        ((3, 5), (3, 3), True),
        ((3, 1), (3, 1), True),  # noise from elsewhere
        ((3, 5), (4, 1), False),  # items are clearly lost
        ((40, 41), (40, 41), False),
        ((40, 37), (3, 5), False),
        ((40, 38), (3, 5), True),
    ],
)
def test_the_mean_of_logits_is_taken_out_unless_that_clearly_loses_items(
    dynamic: tuple[int, int], int8: tuple[int, int], kept: bool
) -> None:
    plain, changed = (Scored(dynamic=dynamic[n], int8=int8[n]) for n in (0, 1))
    check_choice(plain, changed, "logit-means", kept=kept)


def check_choice(plain: Scored, changed: Scored, name: Any, *, kept: bool) -> None:
    """What was chosen, and that both pipelines' stages and notes are told."""
    plain.stages.append("earlier")
    plain.notes.append("earlier")
    chosen: Any = repair._choose(plain, changed, ["dynamic", "int8"], name)  # type: ignore[arg-type]
    assert chosen is (changed if kept else plain)
    assert changed.is_changed == kept
    assert chosen.notes == ["earlier", *([repair.WHAT[name]] if kept else [])]
    earlier, *stages = chosen.stages
    assert earlier == "earlier"
    assert [(stage.name, stage.kind, stage.kept) for stage in stages] == [
        (name, kind, kept) for kind in ("dynamic", "int8")
    ]
    assert [(stage.before, stage.after) for stage in stages] == [
        (plain.scores[kind], changed.scores[kind]) for kind in ("dynamic", "int8")
    ]
