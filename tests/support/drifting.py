"""A reference for drift, for tests."""

from __future__ import annotations

import numpy as np

from edgepress.runtime.drift import DriftReference

EDGES = tuple(np.arange(1, 16) / 16)


def reference(count: int = 300, *, seed: int = 0) -> DriftReference:
    """The reference of uniform certainties."""
    return DriftReference.of(EDGES, np.random.default_rng(seed).uniform(size=count), "litert")
