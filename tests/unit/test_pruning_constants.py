"""What removal makes of an operation's constants, what importance and costs are computed from, without a graph."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from linking import step_of

from edgepress.converters.pruning import plan, remove
from edgepress.converters.pruning.importance import channel_moments, importance_of, readers
from edgepress.converters.pruning.plan import PruningCosts, normalize
from edgepress.converters.pruning.units import Family, Units, all_kept

RANDOM = np.random.default_rng(0)
ON, OFF = True, False


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int64)


def adapt(kind: str, inputs: list[Any], outputs: list[Any], *, keep: dict[str, list[bool]], **options: Any) -> Any:
    """New constants by place, if channels of tensors stay as given."""
    step = step_of(kind, inputs, outputs, **options)
    units = SimpleNamespace(of=keep, kept=lambda name, keep: np.array(keep[name]))
    return remove._adapt(step, units, keep, {})  # type: ignore[arg-type]


def same(found: dict[int, np.ndarray], expected: dict[int, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for place, values in expected.items():
        np.testing.assert_array_equal(found[place], values, strict=True)


def test_weights_lose_the_rows_and_columns_of_channels_that_leave() -> None:
    source, out = np.array([ON, OFF, ON]), np.array([OFF, ON])
    for bias in ([], [normal(2)]):
        keep = {"t0": source.tolist(), "o0": out.tolist()}
        weights = normal(2, 3, 1, 3)
        found = adapt("CONV_2D", [(1, 4, 4, 3), weights, *bias], [(1, 4, 4, 2)], keep=keep)
        same(found, {1: weights[out][..., source]} | {2 + n: b[out] for n, b in enumerate(bias)})
        weights = normal(2, 6)
        found = adapt("FULLY_CONNECTED", [(1, 2, 3), weights, *bias], [(1, 2)], keep=keep)
        same(found, {1: weights[out][:, np.tile(source, 2)]} | {2 + n: b[out] for n, b in enumerate(bias)})


def test_each_group_loses_the_same_columns() -> None:
    keep = {"t0": [ON, OFF, ON, OFF], "o0": [ON, ON, OFF, ON, ON, OFF]}
    weights = normal(6, 1, 1, 2)
    found = adapt("CONV_2D", [(1, 4, 4, 4), weights], [(1, 4, 4, 6)], keep=keep)
    same(found, {1: weights[keep["o0"]][..., :1]})


def test_layers_of_single_channels_lose_these() -> None:
    keep = {"t0": [ON, OFF], "o0": [ON, ON, OFF, OFF]}
    weights, bias = normal(1, 3, 3, 4), normal(4)
    found = adapt("DEPTHWISE_CONV_2D", [(1, 4, 4, 2), weights, bias], [(1, 4, 4, 4)], keep=keep)
    same(found, {1: weights[..., :2], 2: bias[:2]})
    weights = normal(4, 3, 3, 1)
    found = adapt("CONV_2D", [(1, 4, 4, 2), weights, bias], [(1, 4, 4, 4)], keep=keep)
    same(found, {1: weights[:2], 2: bias[:2]})


@pytest.mark.parametrize("kind", ["ADD", "MUL", "PRELU"])
def test_constants_of_each_channel_lose_those_that_leave(kind: str) -> None:
    keep = {"t0": [ON, OFF, ON], "o0": [ON, OFF, ON]}
    constant = normal(1, 1, 3)
    same(adapt(kind, [(1, 4, 3), constant], [(1, 4, 3)], keep=keep), {1: constant[..., [0, 2]]})
    same(adapt(kind, [(1, 4, 3), normal(1)], [(1, 4, 3)], keep=keep), {})
    same(adapt(kind, [(1, 4, 3), constant], [(1, 4, 3)], keep={"t0": [ON] * 3, "o0": [ON] * 3}), {})


def test_shapes_have_the_size_that_is_left() -> None:
    keep = {"t0": [ON, OFF], "o0": [ON, OFF, ON, OFF]}
    for written, expected in (([3, 4], [3, 2]), ([-1, 4], [-1, 2]), ([3, -1], [3, -1])):
        same(adapt("RESHAPE", [(6, 2), ints(*written)], [(3, 4)], keep=keep), {1: ints(*expected)})
    same(adapt("RESHAPE", [(6, 2)], [(3, 4)], keep=keep), {})


def test_padding_counts_the_channels_that_are_left_on_both_sides() -> None:
    keep = {"t0": [ON, OFF, ON], "o0": [ON, OFF, ON, OFF, ON, OFF, ON, ON]}
    pads = ints([0, 0], [2, 1], [2, 3])
    for kind, more in (("PAD", []), ("PADV2", [np.zeros((), np.float32)])):
        found = adapt(kind, [(1, 4, 3), pads, *more], [(1, 7, 8)], keep=keep)
        same(found, {1: ints([0, 0], [2, 1], [1, 2])})
    assert pads[2].tolist() == [2, 3]


def test_parts_and_slices_count_the_channels_that_are_left() -> None:
    keep = {"t0": [ON, OFF, ON, ON, OFF], "o0": [ON, OFF], "o1": [ON, ON, OFF]}
    parts, source = [(1, 3, 2), (1, 3, 3)], (1, 3, 5)
    for axis in (2, -1):
        found = adapt("SPLIT_V", [source, ints(2, 3), ints(axis)], parts, keep=keep)
        same(found, {1: ints(2 - 1, 3 - 1)})
    rows = {"t0": [ON, OFF], "o0": [ON, OFF], "o1": [ON, OFF]}
    same(adapt("SPLIT_V", [(1, 5, 2), ints(2, 3), ints(1)], [(1, 2, 2), (1, 3, 2)], keep=rows), {})
    sliced = {"t0": keep["t0"], "o0": [ON, ON, OFF]}
    found = adapt("SLICE", [source, ints(0, 1, 2), ints(1, 2, 3)], [(1, 2, 3)], keep=sliced)
    same(found, {1: ints(0, 1, 1), 2: ints(1, 2, 2)})
    same(adapt("COS", [source], [source], keep={"t0": keep["t0"], "o0": keep["t0"]}), {})


def test_moments_are_summed_over_batches_of_any_size() -> None:
    """Of floats only; of a tensor without axes, too."""
    items = normal(5, 3, 2) + 7
    program: Any = SimpleNamespace(
        batches=lambda items: iter([items[:3], items[3:]]),
        run=lambda batch: {"a": batch, "b": batch[:, 0, 0], "n": np.arange(4)},
        shapes={"a": (1, 3, 2), "b": (), "n": (4,)},
    )
    found = channel_moments(program, items)
    assert set(found) == {"a", "b"}
    for name, rows in (("a", items.reshape(-1, 2)), ("b", items[:, 0, :1])):
        mean, variance = found[name]
        assert mean.shape == variance.shape == (rows.shape[1],)
        np.testing.assert_allclose(mean, rows.mean(axis=0, dtype=float), rtol=1e-9)
        np.testing.assert_allclose(variance, rows.astype(float).var(axis=0), rtol=1e-6)


def layer(kind: str, weights: np.ndarray, channels: int, source: str, output: str, size: int = 20) -> Any:
    step = step_of(kind, [(1, 5, 3, channels), weights], [(1, 5, 3, size)])
    names = {"inputs": (source, f"weights of {output}"), "outputs": (output,), "output": output, "macs": size}
    return SimpleNamespace(**{**step.__dict__, **names, "weights": "w", "input_shape": step.input_shape})


def three_layers() -> Any:
    """A convolution, a depthwise one, and a third of a constant."""
    steps = [
        layer("CONV_2D", normal(3, 2, 2, 2), 2, "source", "a", 100),
        layer("DEPTHWISE_CONV_2D", normal(1, 2, 3, 3) * 9, 3, "a", "b", 200),
        layer("CONV_2D", normal(2, 1, 1, 3), 3, "b", "c", 300),
        layer("FULLY_CONNECTED", normal(2, 3), 3, "given", "d", 400),
    ]
    program: Any = SimpleNamespace(steps=steps, weighted=lambda: iter(steps), constants={"given": normal(1, 3)})
    of = {"source": [0, 0], "a": [1, 2, 3], "b": [1, 2, 3], "c": [4, 5], "d": [0, 0]}
    return Units(program, {name: np.array(ids) for name, ids in of.items()}, 6)


def test_importance_is_the_size_of_weights_beside_their_layers_mean() -> None:
    units = three_layers()
    found = importance_of("l1", units, {}, items=np.zeros(0))
    expected = np.zeros(6)
    for step, axis in zip(units.program.steps, (0, 3, 0, 0), strict=True):
        rows = np.moveaxis(np.abs(step.constants[1]), axis, 0).reshape(step.constants[1].shape[axis], -1)
        for unit, row in zip(units.of[step.output], rows, strict=True):
            expected[unit] += row.mean() / rows.mean()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_importance_is_the_variance_of_what_layers_read_beside_its_mean() -> None:
    """A depthwise layer or one of constants can't take a mean into its bias."""
    units = three_layers()
    assert [step.output for step in readers(units.program)] == ["a", "c"]
    variances = {"source": np.array([1.0, 3]), "a": np.ones(3), "b": np.array([1.0, 2, 6])}
    moments = {name: (np.zeros(len(v)), v) for name, v in variances.items()}
    found = importance_of("variance", units, moments, items=np.zeros(0))
    np.testing.assert_allclose(found, [2, 1 / 3, 2 / 3, 2, 0, 0])
    moments["b"] = np.zeros(3), np.zeros(3)
    assert importance_of("variance", units, moments, items=np.zeros(0))[1:].tolist() == [0] * 5


@pytest.mark.parametrize("kind", ["macs", "bytes"])
def test_costs_fall_with_the_channels_that_layers_read_and_make(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    monkeypatch.setattr(plan, "macs", lambda model: 1234)
    units = three_layers()
    costs = PruningCosts(b"", units, kind)
    each = [100, 200, 300, 400] if kind == "macs" else [24, 18, 6, 6]
    rest = 234 if kind == "macs" else 0
    sizes = costs.sizes(all_kept(units))
    assert sizes == {"source": 2, "a": 3, "b": 3, "c": 2, "d": 2}
    assert costs.total(sizes) == pytest.approx(sum(each) + rest)
    left = costs.sizes(np.array([ON, ON, OFF, ON, OFF, ON]))
    assert left == {"source": 2, "a": 2, "b": 2, "c": 1, "d": 2}
    parts = [each[0] * 2 / 3, each[1] * 2 / 3, each[2] * 2 / 3 / 2, each[3]]
    assert costs.total(left) == pytest.approx(sum(parts) + rest)
    for number, part in enumerate(parts):
        assert costs.total(left, [number]) == pytest.approx(part)
    assert costs.total(left, []) == 0
    assert plan.weights(units.program) == 54
    assert [costs.layers_of(Family(np.arange(1), {name: 1})) for name in "abcd"] == [[0, 1], [1, 2], [2], [3]]
    assert costs.layers_of(Family(np.arange(1), {"c": 1, "source": 1, "none": 1})) == [0, 2]


def test_importance_without_a_mean_stays() -> None:
    assert normalize(np.array([1.0, -2.0, 1.0])).tolist() == [1, -2, 1]
    assert normalize(np.array([0.0, 1.0])).tolist() == [0, 1]
    assert normalize(np.array([7.0, 0.5, 0.25, 0.25])).tolist() == [21, 1.5, 0.75, 0.75]
