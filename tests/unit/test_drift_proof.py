"""The script that measures `--drift` computes many streams at once: it must do what the runtime does with each."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.runtime.drift import STILL, DriftReference, DriftTest, DriftWatch, edges_of

PROOF = Path(__file__).parents[2] / "benchmarks" / "proof"


@pytest.fixture
def proof(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(PROOF))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    return importlib.import_module("drift")


@pytest.mark.parametrize("seed", range(4))
def test_bets_on_many_streams_are_those_of_the_runtime(seed: int, proof: Any) -> None:
    """With the same random numbers, before and after a change, until the alarm."""
    rng = np.random.default_rng(seed)
    edges, known = edges_of(rng.uniform(size=100)), rng.uniform(size=300)
    reference = DriftReference.of(edges, known, "x")
    one, many = DriftTest(reference, seed=seed + 100), proof.Bets(np.array([reference.counts]), seed=seed + 100)
    stream = np.concatenate([rng.uniform(size=400), rng.uniform(size=600) ** 3])
    for certainty, place in zip(stream, proof.binned([np.array(edges)], stream[np.newaxis])[0], strict=True):
        one.observe(float(certainty))
        many.observe(np.array([place]))
        assert one.alarm == (many.alarm[0] >= 0)
        assert one.counted == many.counted[0]
        assert many.waiting[0] + many.bets[0].sum() == pytest.approx(one.capital, rel=1e-9)
    assert one.alarm
    assert many.alarm[0] == one.counted


def test_the_scenes_of_many_streams_are_those_of_the_runtime(proof: Any) -> None:
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (40, 16, 16, 1)) * rng.uniform(0, 0.6, (40, 1, 1, 1))
    frames = [scenes[n // 20] + rng.normal(0, 2, (16, 16, 1)) for n in range(800)]
    frames += [np.zeros((16, 16, 1))] * (3 * STILL)
    watch = DriftWatch(DriftReference(edges=(0.5,), counts=(500, 500), engine="x"))
    rule, counted = proof.Scenes(1, 64), 0
    for frame in frames:
        image = np.clip(frame, 0, 255).astype(np.uint8)
        counted += int(rule.count(proof.thumbnails(image[np.newaxis]))[0])
        assert watch.look(image, float(rng.uniform()))["scenes"] == counted
    assert 3 < counted < 80
