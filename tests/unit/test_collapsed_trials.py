"""`compress` never offers a file that has collapsed, whatever drop is allowed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepress.toolkit.results.figures import pack
from edgepress.toolkit.search.compression.trial import Limits, Trial, best_of, with_drop
from edgepress.toolkit.stats.choice import Rule

COUNT = 300


@pytest.mark.parametrize("max_drop", [0.5, 60.0, 95.0])
@pytest.mark.parametrize("right", [75, 200])
def test_a_file_that_has_collapsed_misses_the_drop(max_drop, right):
    limits = Limits.of(max_drop=max_drop, max_size=1000)
    whole = Trial(scheme="tflite-float32", correct=pack(np.arange(COUNT) < 270))
    trial = Trial(scheme="tflite-int8", cost=1, file=Path("x"), size_bytes=900, correct=pack(np.arange(COUNT) < right))
    trial = with_drop(trial, whole, COUNT, max_drop)
    allowed = (270 - right) / COUNT <= max_drop / 100
    assert (best_of([trial], limits, Rule()) is not None) == allowed
    collapsed = replace(trial, collapsed=True)
    assert set(collapsed.missed(limits)) == {"drop"}
    assert best_of([collapsed], limits, Rule()) is None
