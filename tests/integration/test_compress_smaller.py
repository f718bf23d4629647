"""The strategy that prunes, of nets whose accuracy is a function of their size: what it trains, and what is best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.toolkit.results.figures import pack
from edgepress.toolkit.search.compression import smaller
from edgepress.toolkit.search.compression.builder import FloatModel
from edgepress.toolkit.search.compression.report import why_best
from edgepress.toolkit.search.compression.search import StrategySearch
from edgepress.toolkit.search.compression.trial import Limits, Trial, with_drop
from edgepress.toolkit.stats.choice import Rule

COUNT, WHOLE = 400, 100_000
"""Validation items, and bytes of the int8 file."""
FINAL = {"drop_pp": 0.0, "drop_low_pp": -1.0, "drop_high_pp": 1.0, "items": 10, "accuracy": 1.0, "probability": 0.5}
FINAL["weak_source"] = None
"""What the best file does on test items."""
Wrong = Callable[[int], int]


def correct(wrong: int) -> str:
    return pack(np.arange(COUNT) >= wrong)


class Builder:
    """Makes files that are `grows` times as large as asked, and get `wrong(bytes)` items wrong."""

    def __init__(self, folder: Path, wrong: Wrong, grows: float) -> None:
        self.folder, self.wrong, self.grows = folder, wrong, grows
        self.cache, self.asked = SimpleNamespace(seconds=0.0), list[int]()
        self.subject = SimpleNamespace(
            format="tflite", validation=SimpleNamespace(test=range(COUNT)), model=Path("model")
        )

    def prune(self, *, max_size: int) -> FloatModel:
        self.asked.append(max_size)
        self.cache.seconds += 60
        path = self.folder / f"{max_size}.tflite"
        path.write_bytes(bytes(round(self.grows * max_size)))
        return FloatModel(path, {}, 60.0)

    def convert(self, source: Path, schemes: Sequence[str]) -> list[Trial]:
        return [Trial(scheme=scheme, file=source, size_bytes=source.stat().st_size) for scheme in schemes]

    def measure(self, trial: Trial, reference: Trial) -> Trial:
        return replace(trial, correct=correct(self.wrong(trial.size_bytes or 0)))


def search(folder: Path, wrong: Wrong, *, grows: float = 1.0, minutes: float = 1e3) -> tuple[StrategySearch, list[int]]:
    """The state after `prune`, with a limit of half the bytes and of 3 percentage points, and the sizes asked for."""
    builder = Builder(folder, wrong, grows)
    limits = Limits.of(3, WHOLE // 2)
    state = StrategySearch(builder, builder, limits, Rule(), minutes=minutes, on_trial=lambda trial: None)  # type: ignore[arg-type]
    about: dict[str, Any] = {"how": "", "file": folder / "f", "correct": correct(0)}
    reference = Trial(number=0, strategy="float", cost=0, scheme="tflite-float32", size_bytes=3 * WHOLE, **about)
    sizes = {"int8": WHOLE, "int4": int(0.8 * WHOLE)}
    others = [
        Trial(number=n, strategy=name, cost=n, scheme=f"tflite-{name}", size_bytes=size, **about)
        for n, (name, size) in enumerate(sizes.items(), 1)
    ]
    state.trials = [reference, *(with_drop(trial, reference, COUNT, 3.0) for trial in others)]
    state.strategy, state.cost = "prune", 7
    smaller.prune(state)
    return state, builder.asked


def test_a_smaller_net_that_is_not_worse_is_the_best(tmp_path: Path) -> None:
    state, asked = search(tmp_path, lambda size: 2)
    best = state.best()
    assert len(asked) == 2
    assert 0.9 * WHOLE / 2 < asked[0] <= WHOLE / 2
    assert asked[1] == pytest.approx(smaller.FURTHER * asked[0], rel=1e-3)
    assert best is not None
    assert best.size_bytes == asked[1]
    assert "of the 2 that keep all limits: size " in why_best(best, state, FINAL)


def test_a_smaller_net_that_is_worse_is_not(tmp_path: Path) -> None:
    state, asked = search(tmp_path, lambda size: 2 if size > 0.4 * WHOLE else 11)
    best = state.best()
    assert best is not None
    assert best.size_bytes == asked[0]
    state, asked = search(tmp_path, lambda size: 2 if size > 0.4 * WHOLE else 99)
    assert "is the only one that keeps all limits: size " in why_best(state.trials[-2], state, FINAL)


def test_a_net_that_came_out_too_large_is_pruned_more(tmp_path: Path) -> None:
    state, asked = search(tmp_path, lambda size: 2 if size > 0.4 * WHOLE else 99, grows=1.3)
    best = state.best()
    assert best is not None
    assert best.size_bytes == round(1.3 * asked[1])
    assert 0.9 * WHOLE / 2 < best.size_bytes <= WHOLE / 2


def test_trainings_end_with_the_time_and_in_number(tmp_path: Path) -> None:
    assert len(search(tmp_path, lambda size: 2, minutes=0.5)[1]) == 1
    assert len(search(tmp_path, lambda size: 99)[1]) <= smaller.TRAININGS
