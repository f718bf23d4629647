"""What adaptive rounding of a graph gives to that of its layers, and on how many items, without a graph."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from linking import step_of

from edgepress.converters.graph.program import UnknownOperationError
from edgepress.converters.ptq import adaround as module
from edgepress.converters.ptq.layer_rounding import LayerWeights, nearest
from edgepress.converters.to_tflite.grids import LEVELS

RANDOM = np.random.default_rng(0)


class Tensor(np.ndarray[Any, Any]):
    """An array as TensorFlow has it."""

    def numpy(self) -> np.ndarray:
        return np.asarray(self)


def tensor(*shape: int) -> Tensor:
    return RANDOM.normal(size=shape).astype(np.float32).view(Tensor)


RELU = 1
RELU6 = 3
TANH = 4
NO = -np.inf, np.inf


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("act", "bounds"), [(None, NO), (0, NO), (RELU, (0, np.inf)), (RELU6, (0, 6)), (TANH, NO)])
def test_a_layer_is_rounded_for_its_float_answers_on_what_it_will_read(
    monkeypatch: pytest.MonkeyPatch, act: int | None, bounds: Any, bias: bool
) -> None:
    weights, values, more = (np.asarray(tensor(*shape)) for shape in ((3, 4), (3, 4), (3,)))
    step = step_of(
        "FULLY_CONNECTED", [(1, 4), weights, *([more] if bias else [])], [(1, 3)], fusedActivationFunction=act
    )
    true, rounded = tensor(9, 4), tensor(9, 4)
    seen: list[Any] = []

    def best(weights: np.ndarray, power: np.ndarray, levels: int) -> Any:
        seen.append((weights, power, levels))
        return np.full((3, 1), 0.25, np.float32)

    def round_layer(layer: LayerWeights, samples: np.ndarray, targets: np.ndarray, bounds: Any) -> Any:
        seen.append((layer, samples, targets, bounds))
        return values

    monkeypatch.setattr(module, "best_steps", best)
    monkeypatch.setattr(module, "round_for_outputs", round_layer)
    rounder = module._Rounder(SimpleNamespace(), (), {})  # type: ignore[arg-type]
    assert rounder._four_bits(step, true, rounded).tolist() == values.tolist()
    (given, power, levels), (layer, samples, targets, limits) = seen
    np.testing.assert_array_equal(given, weights)
    np.testing.assert_allclose(power, (np.asarray(rounded) ** 2).mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(samples, rounded)
    own = more if bias else np.zeros(3)
    np.testing.assert_allclose(targets, np.clip(np.asarray(true) @ weights.T + own, *bounds), rtol=1e-5, atol=1e-6)
    assert (levels, limits, layer.levels) == (LEVELS, bounds, LEVELS)
    np.testing.assert_array_equal(layer.bias, own)
    assert layer.step.tolist() == [[0.25]] * 3


@pytest.mark.parametrize(("largest", "together"), [(15, False), (16, True)])
def test_wide_layers_are_rounded_to_the_nearest_step(
    monkeypatch: pytest.MonkeyPatch, largest: int, together: bool
) -> None:
    weights = np.asarray(tensor(3, 1, 2, 2))
    options = {"padding": 0, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    step = step_of("CONV_2D", [(1, 3, 3, 2), weights], [(1, 3, 3, 3)], fusedActivationFunction=0, **options)
    monkeypatch.setattr(module, "LARGEST", largest)
    monkeypatch.setattr(module, "best_steps", lambda *_: np.full((3, 1), 0.25, np.float32))
    monkeypatch.setattr(module, "round_for_outputs", lambda layer, *_: layer.weights * 0)
    rounder = module._Rounder(SimpleNamespace(), (), {})  # type: ignore[arg-type]
    found = rounder._four_bits(step, tensor(5, 3, 3, 2), tensor(5, 3, 3, 2))
    np.testing.assert_allclose(found, 0 * weights if together else nearest(weights, np.float32(0.25), LEVELS))
    assert found.shape == weights.shape


@pytest.mark.parametrize(("each", "used"), [(1 << 25, 4), ((1 << 26) + 1, 1), (1 << 30, 1), (1 << 24, 6)])
def test_items_are_used_whose_tensors_fit(monkeypatch: pytest.MonkeyPatch, each: int, used: int) -> None:
    """In 2^28 bytes, those of both graphs."""
    program: Any = SimpleNamespace(batched=True, dtype=np.float32, with_constants=lambda changed: changed)
    seen: list[Any] = []
    monkeypatch.setattr(module, "Program", lambda model: program)
    monkeypatch.setattr(module, "live_bytes", lambda program: each)
    monkeypatch.setattr(module, "four_bit_names", lambda model: ["a", "b"])

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
