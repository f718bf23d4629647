"""What adaptive rounding of a graph gives to that of its layers, and on how many items, without a graph."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from linking import step_of

from edgepress.converters.graph.program import UnknownOperationError
from edgepress.converters.ptq import adaround as module
from edgepress.converters.ptq.layer_rounding import nearest
from edgepress.converters.to_tflite.grids import LEVELS

RANDOM = np.random.default_rng(0)


class Tensor(np.ndarray[Any, Any]):
    """An array as TensorFlow has it."""

    def numpy(self) -> np.ndarray:
        return np.asarray(self)


def tensor(*shape: int) -> Tensor:
    return RANDOM.normal(size=shape).astype(np.float32).view(Tensor)


@pytest.mark.parametrize(("largest", "together"), [(15, False), (16, True)])
def test_wide_layers_are_rounded_to_the_nearest_step(
    monkeypatch: pytest.MonkeyPatch, largest: int, together: bool
) -> None:
    weights = np.asarray(tensor(3, 1, 2, 2))
    options = {"padding": 0, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    step = step_of("CONV_2D", [(1, 3, 3, 2), weights], [(1, 3, 3, 3)], fusedActivationFunction=0, **options)
    monkeypatch.setattr(module, "LARGEST", largest)
    monkeypatch.setattr(module, "best_steps", lambda *_: np.full((3, 1), 0.25, np.float32))
    monkeypatch.setattr(module, "round_by_covariance", lambda weights, *_: weights * 0)
    rounder = module._Rounder(SimpleNamespace(), (), {})  # type: ignore[arg-type]
    found = rounder._four_bits(step, tensor(5, 3, 3, 2), tensor(5, 3, 3, 2))
    np.testing.assert_allclose(found, 0 * weights if together else nearest(weights, np.float32(0.25), LEVELS))
    assert found.shape == weights.shape


@pytest.mark.parametrize(("each", "used"), [(1 << 27, 4), ((1 << 28) + 1, 1), (1 << 32, 1), (1 << 26, 6)])
def test_items_are_used_whose_tensors_fit(monkeypatch: pytest.MonkeyPatch, each: int, used: int) -> None:
    """In 2^30 bytes, those of both graphs."""
    program: Any = SimpleNamespace(batched=True, dtype=np.float32, with_constants=lambda changed: changed)
    seen: list[Any] = []
    monkeypatch.setattr(module, "Program", lambda model: program)
    monkeypatch.setattr(module, "live_bytes", lambda program: each)
    monkeypatch.setattr(module, "choose_layers", lambda program, model, items: ("a", "b"))

    class Rounder:
        def __init__(self, program: Any, names: Any, ranges: Any) -> None:
            self.changed = {"names": names, "ranges": ranges}

        def run(self, items: np.ndarray) -> None:
            seen.append(items)

    monkeypatch.setattr(module, "_Rounder", Rounder)
    found: Any = module.round_weights(b"", np.arange(6))
    assert (found.layers, found.items) == (("a", "b"), used)
    assert seen[0].tolist() == list(range(used))
    assert seen[0].dtype == np.float32
    assert found.model == {"names": {"a", "b"}, "ranges": {}}
    some: Any = module.round_weights(b"", np.arange(6), {"x": (0.0, 1.0)}, layers=["c"])
    assert (some.layers, some.model["names"], some.model["ranges"]) == (("c",), {"c"}, {"x": (0.0, 1.0)})
    program.batched = False
    with pytest.raises(UnknownOperationError):
        module.round_weights(b"", np.arange(6))
