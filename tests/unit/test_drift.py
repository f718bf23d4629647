"""Drift: false alarms are as rare as promised, changes of images are noticed, and scenes count once."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accepting import ACCEPT
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import binom, kstest, spearmanr

from edgepress.runtime import Contract, InputSpec, Model
from edgepress.runtime.drift import (
    ALPHA,
    BENDS,
    BINS,
    POWER,
    SHARE,
    SLOPES,
    STILL,
    WAKE,
    DriftReference,
    DriftTest,
    DriftWatch,
    bets_on,
    edges_of,
)
from edgepress.runtime.errors import InputError, ModelFileError
from edgepress.runtime.scenes import NEW_SCENE, is_other_scene, other_scene, parts_of, thumbnail
from edgepress.runtime.sessions import Session
from edgepress.toolkit.calibrating.fit import fit
from edgepress.toolkit.calibrating.items import Wish, divide_items

EDGES = tuple(np.arange(1, 16) / 16)


def reference(count: int = 300, *, seed: int = 0) -> DriftReference:
    """The reference of uniform certainties."""
    return DriftReference.of(EDGES, np.random.default_rng(seed).uniform(size=count), "litert")


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


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300))
def test_bins_hold_about_as_many_items(values: list[float]) -> None:
    edges = edges_of(np.array(values))
    assert 1 <= len(edges) < BINS
    found = DriftReference.of(edges, np.array([*values, -np.inf]), "x")
    assert sum(found.counts) == len(values) + 1
    assert found.counts[0] >= 1
    assert list(found.edges) == sorted(set(found.edges))


def test_thumbnails_are_means_of_parts() -> None:
    image = np.zeros((16, 24, 3), np.uint8)
    image[:8] = 90
    small = thumbnail(image)
    assert small.shape == (8, 8)
    assert small[:4] == pytest.approx(90)
    assert small[4:] == pytest.approx(0)
    assert thumbnail(np.full((5, 40, 1), 7, np.uint8)) == pytest.approx(np.full((5, 8), 7))


@pytest.mark.parametrize(
    "shape", [(28, 30, 1), (96, 96, 3), (5, 40, 1), (1, 1, 1), (8, 12, 4), (2056, 3, 1), (2064, 3, 1)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_thumbnails_are_exact_for_all_sizes(shape: tuple[int, int, int], dtype: Any) -> None:
    """Parts of unlike sizes, few pixels, and so many rows of white ones that 16 bits do not hold their sum."""
    image = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    image[:, 0] = 255
    height, width, _ = shape
    rows, columns = ([n * size // min(8, size) for n in range(min(8, size) + 1)] for size in (height, width))
    expected = [
        [image[rows[i] : rows[i + 1], columns[k] : columns[k + 1]].mean(dtype=np.float64) for k in range(min(8, width))]
        for i in range(min(8, height))
    ]
    assert thumbnail(image) == pytest.approx(np.array(expected), rel=1e-12)
    assert parts_of(image) == thumbnail(image).ravel().tolist()


@given(st.integers(0, 10_000), st.floats(0, 60), st.floats(0, 60), st.floats(-40, 40))
def test_one_pair_of_thumbnails_is_compared_as_many_are(seed: int, noise: float, contrast: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    last = 128 + contrast * rng.normal(size=64)
    small = last + shift + noise * rng.normal(size=64)
    assert is_other_scene(small.tolist(), last.tolist()) == bool(other_scene(small, last))
    assert not is_other_scene(last.tolist(), last.tolist())


@pytest.mark.parametrize(
    ("change", "contrast", "new"), [(24.9, 0.0, False), (25.1, 0.0, True), (24.9, 60.0, False), (25.1, 60.0, True)]
)
def test_another_level_from_a_limit_on_is_another_scene(change: float, contrast: float, new: bool) -> None:
    last = [100.0 + contrast * (-1) ** n for n in range(64)]
    assert is_other_scene([level + change for level in last], last) == new


@pytest.mark.parametrize(
    ("pattern", "contrast", "new"), [(3.9, 1.0, False), (4.1, 1.0, True), (14.9, 20.0, False), (15.1, 20.0, True)]
)
def test_another_pattern_is_another_scene_relative_to_the_contrast(pattern: float, contrast: float, new: bool) -> None:
    """The change has nothing of the pattern that was there, so the larger contrast is the root of both squares."""
    last = [100.0 + contrast * (-1) ** n for n in range(64)]
    small = [level + pattern * (-1) ** (n // 2) for n, level in enumerate(last)]
    assert is_other_scene(small, last) == is_other_scene(last, small) == new


def test_pixels_and_scores_that_are_no_numbers_do_not_spoil_the_state() -> None:
    """An image of NaN counts as little as one that stays, and those after it are compared with the last known one."""
    watch = DriftWatch(reference())
    bad = np.full((16, 16, 1), np.nan, np.float32)
    assert watch.look(bad, 0.5)["scenes"] == 0
    assert watch.look(scene(100), 0.5)["scenes"] == 1
    assert watch.look(bad, float("nan"))["scenes"] == 1
    assert watch.look(scene(100), 0.5)["scenes"] == 1
    assert watch.look(scene(200), float("nan"))["scenes"] == 2
    assert math.isfinite(watch.state()["capital"])
    for _ in range(STILL - 1):
        assert watch.look(bad, 0.5)["scenes"] == 2
    assert watch.look(bad, 0.5)["scenes"] == 3, "one of STILL counts in any case"
    assert watch.look(scene(200), 0.5)["scenes"] == 3, "and is not what the next ones are compared with"


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


def scene(level: int, *, noise: int = 0) -> Any:
    rng = np.random.default_rng(noise)
    return np.clip(np.full((16, 16, 1), level) + rng.integers(-noise, noise + 1, (16, 16, 1)), 0, 255).astype(np.uint8)


def test_a_scene_counts_once() -> None:
    watch = DriftWatch(reference())
    for noise in range(1, 7):
        assert watch.look(scene(100, noise=noise), 0.5)["scenes"] == 1
    assert watch.look(scene(100 + int(NEW_SCENE) + 3), 0.5)["scenes"] == 2
    assert watch.look(scene(100), 0.5)["scenes"] == 3, "compared with the scene that counted last"
    tensors = DriftWatch(reference(), images=False)
    assert [tensors.look(np.zeros(4), 0.5)["scenes"] for _ in range(3)] == [1, 2, 3]


def test_frames_of_one_scene_give_no_alarm_although_each_is_uncertain() -> None:
    watch = DriftWatch(reference())
    for n in range(500):
        state = watch.look(scene(100, noise=n % 7), 0.0)
    assert not state["alarm"]


SCENES = np.random.default_rng(8).integers(0, 256, (300, 8, 8)).repeat(4, axis=1).repeat(4, axis=2)[..., np.newaxis]


@pytest.mark.parametrize("contrast", [1, 0.5, 0.15, 0.08])
def test_scenes_are_told_apart_in_low_contrast_and_their_noisy_frames_are_not(contrast: float) -> None:
    """A camera that fails shows little contrast, and its scenes must count nevertheless."""
    rng, watch = np.random.default_rng(0), DriftWatch(reference())
    for n, image in enumerate(128 + (SCENES[:20] - 128) * contrast, 1):
        for _ in range(10):
            frame = np.clip(np.rint(image + rng.normal(0, 3, image.shape) + rng.normal(0, 2)), 0, 255).astype(np.uint8)
            assert watch.look(frame, 0.5)["scenes"] == n


@pytest.mark.parametrize("level", [0, 255, 128])
def test_a_camera_that_shows_nothing_any_more_raises_an_alarm(level: int) -> None:
    watch, rng = DriftWatch(reference()), np.random.default_rng(5)
    for image in SCENES:
        assert not watch.look(image.astype(np.uint8), float(rng.uniform()))["alarm"]
    before = watch.state()["scenes"]
    assert before == len(SCENES)
    for n in range(60 * STILL):
        state = watch.look(np.full((32, 32, 1), level, np.uint8), 0.01)
        if state["alarm"]:
            break
        assert state["scenes"] == before + 1 + n // STILL, "one of them at once, then one of STILL"
    assert state["alarm"]


def test_a_certainty_that_is_no_number_is_the_least() -> None:
    """It says nothing for the answer, so it must not count as the most certain one."""
    for certainty in (np.nan, np.inf, -np.inf):
        assert DriftTest(reference(999))._p_value(certainty) < 0.1
        known = DriftReference.of(EDGES, np.array([certainty, 0.99]), "x").counts
        assert (known[0], known[-1], sum(known)) == (1, 1, 2)
    test = DriftTest(reference())
    for _ in range(60):
        test.observe(np.nan)
    same = DriftTest(reference())
    for _ in range(60):
        same.observe(-np.inf)
    assert (test.capital, test.alarm) == (same.capital, True)


def test_a_reference_is_learned_on_site_and_changes_are_told_in_words() -> None:
    told: list[str] = []
    watch = DriftWatch(None, learn=200, engine="litert", on_alarm=told.append, images=False)
    rng = np.random.default_rng(3)
    for n in range(199):
        assert watch.look(np.zeros(1), float(rng.uniform())) == {"scenes": n + 1, "learns_from": 200, "alarm": False}
    watch.look(np.zeros(1), float(rng.uniform()))
    assert watch._test is not None
    assert sum(watch._test._seen) == 150, "the first quarter sets the edges and is not counted"
    for _ in range(300):
        state = watch.look(np.zeros(1), float(rng.uniform()))
    assert not state["alarm"]
    assert state["scenes"] == 300
    for _ in range(60):
        state = watch.look(np.zeros(1), float(rng.uniform() / 20))
    assert state["alarm"]
    assert told == [state["meaning"]], "once"
    assert "nothing is promised of accepted answers" in told[0]
    assert "the reference learned here" in told[0]
    json.dumps(state, allow_nan=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"edges": (0.5, 0.2)},
        {"edges": ()},
        {"edges": (0.5, 0.5)},
        {"edges": (float("nan"), 0.5)},
        {"counts": (1, 2)},
        {"counts": (1, -2, 3)},
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


class Fixed(Session):
    """A session whose first class has the score that its item says."""

    dtype, scale, batch, stateful, keep_state = np.dtype(np.float32), (1.0, 0), None, False, False

    def __init__(self, contract: Contract) -> None:
        self.contract, self.shape, self.classes, self.output_shape = contract, (1,), 2, (2,)

    def run(self, batch: Any) -> Any:
        return np.concatenate([batch, 1 - batch], axis=1)

    def reset(self) -> None:
        """Nothing is kept."""


def model(drift: DriftReference | None) -> Model:
    spec = InputSpec(shape=(1,), dtype="float32")
    contract = Contract(task="softmax", labels=("a", "b"), input=spec, scheme="x", drift=drift)
    return Model(Path("net.tflite"), "litert", 1, Fixed(contract))


def test_answers_have_the_state_of_the_test() -> None:
    opened = model(reference())
    assert opened.judge(np.array([0.9], np.float32)).drift is None
    opened.watch_drift()
    answer = opened.judge(np.array([0.9], np.float32))
    assert answer.drift is not None
    assert answer.drift["scenes"] == 1
    assert answer.to_dict()["drift"] == answer.drift
    for _ in range(80):
        answer = opened.judge(np.array([0.5], np.float32))
    assert answer.drift is not None
    assert answer.drift["alarm"]
    assert f"at most {100 * ALPHA:g} %" in answer.drift["meaning"]


def test_a_reference_is_needed_and_belongs_to_an_engine() -> None:
    with pytest.raises(InputError, match="holds no reference for drift"):
        model(None).watch_drift()
    other = dataclasses.replace(reference(), engine="openvino")
    with pytest.raises(InputError, match="is of openvino, not of litert"):
        model(other).watch_drift()
    with pytest.raises(InputError, match="of 99 scenes; accepted: 100 to"):
        model(None).watch_drift(99)
    opened = model(other)
    opened.watch_drift(100)
    assert opened.judge(np.array([0.9], np.float32)).drift == {"scenes": 1, "learns_from": 100, "alarm": False}
