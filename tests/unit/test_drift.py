"""Drift: false alarms are as rare as promised, and changes of images are noticed."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from accepting import ACCEPT
from drifting import EDGES, reference
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import binom, kstest, spearmanr

from edgepress.runtime import Contract, InputSpec
from edgepress.runtime.drift import (
    BENDS,
    BINS,
    LEAST_REFERENCE,
    MOST_REFERENCE,
    POWER,
    SHARE,
    SLOPES,
    WAKE,
    DriftReference,
    DriftTest,
    bets_on,
    edges_of,
    reference_in,
)
from edgepress.runtime.errors import InputError, ModelFileError
from edgepress.toolkit.measurement.calibrating.fit import fit
from edgepress.toolkit.measurement.calibrating.references import Wish, divide_items


@pytest.mark.parametrize(("count", "accepted"), [(0, False), (1, True), (255, True), (256, False)])
def test_a_reference_has_so_many_edges(count: int, *, accepted: bool) -> None:
    given: dict[str, Any] = {"edges": np.linspace(0, 1, count), "counts": (1,) * (count + 1), "engine": "litert"}
    if accepted:
        assert len(DriftReference(**given).edges) == count
    else:
        with pytest.raises(ValueError, match="the edges of its drift reference are damaged"):
            DriftReference(**given)


@pytest.mark.parametrize("bet", range(len(bets_on(0.5))))
def test_each_bet_is_a_density(bet: int) -> None:
    """So that no bet gains on average from p-values that are uniform, and none can lose more than all."""
    halves = [quad(lambda p: bets_on(p)[bet], low, high, limit=200)[0] for low, high in ((0, 0.5), (0.5, 1))]
    assert sum(halves) == pytest.approx(1, abs=1e-4)
    assert all(bets_on(p)[bet] > 0 for p in np.linspace(0, 1, 999).tolist())


def test_bets_rise_on_the_side_that_they_are_for() -> None:
    low, middle, high = (np.array(bets_on(p)) for p in (0.01, 0.5, 0.99))
    assert (low[[0, 1, 6]] > 1).all()
    assert (high[[0, 1, 6]] < 1).all()
    assert (high[[2, 3, 7]] > 1).all()
    assert (low[[2, 3, 7]] < 1).all()
    assert middle[4] > 1 > low[4]
    assert low[5] > 1 > middle[5]


@given(st.lists(st.floats(-0.5, 1.5) | st.just(-np.inf), min_size=1, max_size=60), st.integers(0, 9))
def test_capital_stays_positive_and_counts_are_kept(stream: list[float], seed: int) -> None:
    test = DriftTest(reference(100), seed=seed)
    for certainty in stream:
        test.observe(certainty)
        assert 0 < test.capital <= test.most
    assert test.counted == len(stream) or test.alarm


@pytest.mark.parametrize("count", [3, 40])
def test_p_values_are_uniform_and_independent_of_those_before(count: int) -> None:
    """Of streams that are like their reference, however few items it has; the reference alone would give others."""
    pairs = []
    for seed in range(1500):
        values = np.random.default_rng(seed).uniform(size=count + 2) ** 3
        test = DriftTest(DriftReference.of(EDGES, values[:count], "x"), seed=10_000 + seed)
        pairs.append([test._p_value(float(value)) for value in values[count:]])
    first, second = np.array(pairs).T
    assert kstest(first, "uniform").pvalue > 1e-3
    assert kstest(second, "uniform").pvalue > 1e-3
    assert kstest(second[first < 0.2], "uniform").pvalue > 1e-3
    assert spearmanr(first, second).pvalue > 1e-3


def test_an_image_that_is_less_certain_than_all_has_the_smallest_p_value() -> None:
    test = DriftTest(reference(999))
    assert test._p_value(-np.inf) < 0.1
    assert test._p_value(0.999) > 0.9


def test_capital_begins_at_one_and_changes_little_with_one_image() -> None:
    test = DriftTest(reference())
    assert (test.capital, test.alarm) == (1, False)
    test.observe(0.5)
    assert test.capital == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("count", [120, 1500])
def test_false_alarms_are_as_rare_as_promised(count: int) -> None:
    """Bets against a reference of few items that take it for exact would give alarms in a third of these streams."""
    streams, length, alarms = 80, 600, 0
    for seed in range(streams):
        rng = np.random.default_rng(seed)
        test = DriftTest(reference(count, seed=1000 + seed), alpha=0.2, seed=5000 + seed)
        for certainty in rng.uniform(size=length).tolist():
            test.observe(certainty)
        alarms += test.alarm
    assert alarms <= binom.ppf(0.999, streams, 0.2)


@pytest.mark.parametrize(
    ("worse", "within"),
    [(lambda u: u**3, 90), (lambda u: u**0.33, 90), (lambda u: u / 10, 25), (lambda u: 0.5 + (u - 0.5) / 8, 90)],
)
def test_a_change_is_noticed_soon_even_after_a_quiet_time(worse: Any, within: int) -> None:
    rng = np.random.default_rng(5)
    for quiet in (0, 1000):
        test = DriftTest(reference(1500))
        for certainty in rng.uniform(size=quiet):
            test.observe(float(certainty))
        assert not test.alarm
        for certainty in worse(rng.uniform(size=within)):
            test.observe(float(certainty))
        assert test.alarm
        before = test.counted, test.capital
        test.observe(0.5)
        assert (test.counted, test.capital) == before, "nothing changes after an alarm"


def test_certainties_that_differ_in_the_sixth_decimal_are_told_apart() -> None:
    """Those of a net that is nearly always sure."""
    edges = edges_of(1 - 1e-6 * np.arange(1, 160), bins=8)
    assert len(edges) == 7
    assert edges == pytest.approx(1 - 1e-6 * np.arange(140, 0, -20), abs=2e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300))
def test_bins_hold_about_as_many_items(values: list[float]) -> None:
    edges = edges_of(np.array(values))
    assert 1 <= len(edges) < BINS
    found = DriftReference.of(edges, np.array([*values, -np.inf]), "x")
    assert sum(found.counts) == len(values) + 1
    assert found.counts[0] >= 1
    assert list(found.edges) == sorted(set(found.edges))


class NumpyTest:
    """The test as it is in the papers' notation, with arrays: what `DriftTest` must compute."""

    def __init__(self, reference: DriftReference, seed: int) -> None:
        self.edges, self.seen = np.array(reference.edges), np.array(reference.counts)
        self.random, self.waiting, self.bets, self.counted = np.random.default_rng(seed), 1.0, np.zeros(8), 0

    def observe(self, certainty: float) -> float:
        place = int(np.searchsorted(self.edges, certainty if np.isfinite(certainty) else -np.inf, side="right"))
        self.seen[place] += 1
        p = (self.seen[:place].sum() + self.random.random() * self.seen[place]) / self.seen.sum()
        p = np.clip(p, 1e-12, 1 - 1e-12)
        u = 2 * p - 1
        gains = [*(1 + np.array(SLOPES) * u), *(1 + np.array(BENDS) * (3 * u * u - 1))]
        gains += [POWER * p ** (POWER - 1), POWER * (1 - p) ** (POWER - 1)]
        woken = self.waiting * 0.5 / (WAKE + self.counted)
        self.waiting -= woken
        self.bets = ((1 - SHARE) * self.bets + (SHARE * self.bets.sum() + woken) / 8) * np.array(gains)
        self.counted += 1
        return float(self.waiting + self.bets.sum())


@pytest.mark.parametrize("seed", range(5))
def test_the_capital_is_that_of_arrays(seed: int) -> None:
    """On a stream that stays, changes, has certainties on edges and some that are no numbers, until the alarm."""
    rng = np.random.default_rng(seed)
    stream = [*rng.uniform(size=400), np.nan, 0.5, np.inf, -np.inf, 0.0625, *(rng.uniform(size=2000) ** 2)]
    one, other = DriftTest(reference(500, seed=seed), seed=seed), NumpyTest(reference(500, seed=seed), seed)
    for certainty in map(float, stream):
        if one.alarm:
            break
        one.observe(certainty)
        assert one.capital == pytest.approx(other.observe(certainty), rel=1e-12)
    assert one.alarm


@pytest.mark.parametrize(
    "changes",
    [
        {"edges": (0.5, 0.2)},
        {"edges": ()},
        {"edges": (0.5, 0.5)},
        {"edges": (float("nan"), 0.5)},
        {"counts": (1, 2)},
        {"counts": (1, -1, 3)},
        {"counts": (1, 1 << 40, 3)},
        {"edges": (-1.01, 0.5)},
        {"edges": (0.2, 2.01)},
        {"counts": (0, 0, 0)},
        {"counts": (1.5, 2, 3)},
        {"engine": 3},
    ],
)
def test_a_damaged_reference_is_refused(changes: dict[str, Any]) -> None:
    spec = InputSpec(shape=(2,), dtype="float32")
    sound = DriftReference(edges=(0.2, 0.5), counts=(1, 2, 3), engine="litert")
    contract = Contract(task="softmax", labels=("a", "b"), input=spec, scheme="x", accept=ACCEPT, drift=sound)
    assert Contract.from_json(contract.to_json()).drift == sound
    document = json.loads(contract.to_json())
    document["drift"] |= {name: list(v) if isinstance(v, tuple) else v for name, v in changes.items()}
    with pytest.raises(ModelFileError, match="not a valid edgepress contract"):
        Contract.from_json(json.dumps(document))


def test_the_reference_of_a_calibration_counts_the_items_that_chose_nothing() -> None:
    rng = np.random.default_rng(0)
    top = rng.uniform(0.6, 1, (800, 1)).astype(np.float32)
    scores = np.concatenate([top, 1 - top], axis=1)
    found = fit(scores, np.zeros(800, np.int64), Wish("error", 0.05, 0.95), engine="litert")
    assert found.drift is not None
    assert sum(found.drift.counts) == len(divide_items(800)[1])
    assert len(found.drift.counts) == BINS
    assert max(found.drift.counts) < 3 * min(found.drift.counts)
    assert found.drift.engine == "litert"


def test_the_largest_reference_is_accepted() -> None:
    found = DriftReference(edges=(-1.0, 2.0), counts=(0, (1 << 40) - 1, 0), engine="litert")
    assert sum(found.counts) == (1 << 40) - 1


def test_a_reference_is_of_the_engine_that_answers_or_learned_from_100_to_100_000_scenes() -> None:
    known = reference()
    assert reference_in("a.tflite", known, engine="litert", learn=None) is known
    with pytest.raises(InputError, match=r"in a\.tflite is of litert, not of onnxruntime"):
        reference_in("a.tflite", known, engine="onnxruntime", learn=None)
    with pytest.raises(InputError, match=r"a\.tflite holds no reference"):
        reference_in("a.tflite", None, engine="litert", learn=None)
    for learn in (100, 100_000):
        assert reference_in("a.tflite", known, engine="litert", learn=learn) is None
    for learn in (99, 100_001):
        with pytest.raises(InputError, match=f"of {learn} items; accepted: {LEAST_REFERENCE} to {MOST_REFERENCE}"):
            reference_in("a.tflite", None, engine="litert", learn=learn)
