"""The watch over a board's stream: scenes count once, a reference is learned on site, and answers tell of a change."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drifting import EDGES, reference

from edgepress.runtime import Contract, InputSpec, Model
from edgepress.runtime.drift import (
    ALPHA,
    STILL,
    DriftReference,
    DriftTest,
    DriftWatch,
)
from edgepress.runtime.errors import InputError
from edgepress.runtime.scenes import NEW_SCENE
from edgepress.runtime.sessions import Session

SCENES = np.random.default_rng(8).integers(0, 256, (300, 8, 8)).repeat(4, axis=1).repeat(4, axis=2)[..., np.newaxis]


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


def scene(level: int, *, noise: int = 0) -> Any:
    rng = np.random.default_rng(noise)
    return np.clip(np.full((16, 16, 1), level) + rng.integers(-noise, noise + 1, (16, 16, 1)), 0, 255).astype(np.uint8)


def test_a_scene_counts_once() -> None:
    watch = DriftWatch(reference())
    for noise in range(1, 7):
        assert watch.look(scene(100, noise=noise), 0.5)["scenes"] == 1
    assert watch.look(scene(100 + int(NEW_SCENE) + 3), 0.5)["scenes"] == 2
    assert watch.look(scene(100), 0.5)["scenes"] == 3, "compared with the scene that counted last"
    tensors = DriftWatch(reference(), counted="items")
    assert [tensors.look(np.zeros(4), 0.5)["scenes"] for _ in range(3)] == [1, 2, 3]


def test_frames_of_one_scene_give_no_alarm_although_each_is_uncertain() -> None:
    watch = DriftWatch(reference())
    for n in range(500):
        state = watch.look(scene(100, noise=n % 7), 0.0)
    assert not state["alarm"]


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
    watch = DriftWatch(None, learn=200, engine="litert", on_alarm=told.append, counted="items")
    rng = np.random.default_rng(3)
    learning = {"learns_from": 200, "alarm": False}
    for n in range(199):
        assert watch.look(np.zeros(1), float(rng.uniform())) == {"counted": n + 1, "scenes": n + 1} | learning
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
    with pytest.raises(InputError, match="of 99 items; accepted: 100 to"):
        model(None).watch_drift(99)
    opened = model(other)
    opened.watch_drift(100)
    assert opened.judge(np.array([0.9], np.float32)).drift == {
        "counted": 1,
        "scenes": 1,
        "learns_from": 100,
        "alarm": False,
    }
