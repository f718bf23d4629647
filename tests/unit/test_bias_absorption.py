"""Which tensors can be shifted, by what, and which biases take it up, without a graph."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from linking import step_of

from edgepress.converters.graph.step import Step
from edgepress.converters.ptq.bias import absorb_shifts, find_shifts

SAME = 0
VALID = 1
RELU = 1
IMAGE = (1, 6, 6, 2)
RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def named(kind: str, inputs: dict[str, Any], output: str, shape: Any = IMAGE, **options: Any) -> Step:
    step = step_of(kind, list(inputs.values()), [shape], **options)
    return dataclasses.replace(step, inputs=tuple(inputs), outputs=(output,))


def conv(
    source: str,
    output: str,
    *,
    act: int | None = 0,
    padding: int = SAME,
    kernel: tuple[int, int] = (1, 1),
    bias: str = "",
) -> Step:
    weights = {f"w {output}": normal(2, *kernel, 2), bias or f"b {output}": normal(2)}
    return named("CONV_2D", {source: IMAGE, **weights}, output, padding=padding, fusedActivationFunction=act)


def program_of(*steps: Step, sink: str = "end") -> Any:
    readers: dict[str, list[Step]] = {}
    shapes: dict[str, Any] = {}
    for step in steps:
        shapes |= dict(zip(step.inputs, step.input_shapes, strict=True)) | {step.output: step.shape}
        for name in dict.fromkeys(step.inputs):
            readers.setdefault(name, []).append(step)
    constants = {step.inputs[place] for step in steps for place in step.constants}
    shared = {name for name in constants if len(readers[name]) > 1}
    return SimpleNamespace(steps=steps, sink=sink, readers=readers, shapes=shapes, shared=shared)


RANGES: Any = {
    name: (np.array([-1.0, 2.0]), np.array([5.0, 3.0])) for name in ("a", "b", "c", "d", "end", "sum", "source")
}  # middles: 2 and 2.5


def shifted(*steps: Step, sink: str = "end") -> set[str]:
    return set(find_shifts(program_of(*steps, sink=sink), RANGES))


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 1), (1, 3)])
@pytest.mark.parametrize("padding", [SAME, VALID])
def test_what_a_layer_reads_is_shifted_if_it_meets_no_zeros(kind: str, kernel: tuple[int, int], padding: int) -> None:
    shape = {"CONV_2D": (2, *kernel, 2), "DEPTHWISE_CONV_2D": (1, *kernel, 2), "FULLY_CONNECTED": (2, 72)}[kind]
    options = {} if kind == "FULLY_CONNECTED" else {"padding": padding}
    reader = named(kind, {"a": IMAGE, "w": normal(*shape), "b": normal(2)}, "end", **options)
    unpadded = kind == "FULLY_CONNECTED" or padding == VALID or kernel == (1, 1)
    assert shifted(conv("source", "a"), reader) == ({"a"} if unpadded else set())


def test_a_shift_is_the_middle_of_each_channel() -> None:
    found = find_shifts(program_of(conv("source", "a"), conv("a", "end")), RANGES)
    assert {name: shift.tolist() for name, shift in found.items()} == {"a": [2, 2.5]}
    middle: Any = {"a": (np.array([-1.0, -2.0]), np.array([1.0, 2.0]))}
    assert not find_shifts(program_of(conv("source", "a"), conv("a", "end")), middle)


@pytest.mark.parametrize("act", [None, 0, RELU])
def test_tensors_behind_activations_stay(act: int | None) -> None:
    assert shifted(conv("source", "a", act=act), conv("a", "end")) == (set() if act else {"a"})


def test_tensors_stay_that_others_read_or_that_nothing_reads() -> None:
    first, second = conv("source", "a"), conv("a", "end")
    assert shifted(first, second, sink="a") == set()
    assert shifted(first, conv("source", "end")) == set()
    assert shifted(first, second, named("COS", {"a": IMAGE}, "c")) == set()
    assert shifted(first, second, conv("a", "c")) == {"a"}
    assert shifted(conv("source", "c", act=RELU), conv("c", "a"), second) == {"a"}
    weights = named("FULLY_CONNECTED", {"c": (1, 2), "a": (2, 2), "b": normal(2)}, "end")
    assert shifted(first, weights) == set()
    as_bias = named("FULLY_CONNECTED", {"c": (1, 2), "w": normal(2, 2), "a": (2,)}, "end")
    assert shifted(first, as_bias) == set()
    bare = named("CONV_2D", {"a": IMAGE, "w": normal(2, 1, 1, 2)}, "end", padding=VALID)
    assert shifted(first, bare) == set(), "its reader has no bias"
    misfit = named("CONV_2D", {"a": IMAGE, "w": normal(2, 1, 1, 3), "b": normal(2)}, "end", padding=VALID)
    assert shifted(first, misfit) == set()
    alone = named("CONV_2D", {"source": IMAGE, "w": normal(2, 1, 1, 2)}, "a", padding=VALID)
    assert shifted(alone, second) == set(), "it has no bias"


def test_biases_that_two_layers_read_take_up_no_shift() -> None:
    assert shifted(conv("source", "a", bias="one"), conv("a", "end", bias="one")) == set()
    steps = conv("source", "a"), conv("a", "c", bias="one"), conv("c", "end", bias="one")
    assert shifted(*steps) == set()


def add(first: str, second: Any, output: str, **options: Any) -> Step:
    inputs = {first: IMAGE} | ({"constant": second} if isinstance(second, np.ndarray) else {second: IMAGE})
    return named("ADD", inputs, output, fusedActivationFunction=options.pop("act", 0), **options)


def test_a_sum_is_shifted_by_as_much_as_its_parts() -> None:
    steps = conv("source", "a"), conv("source", "b"), add("a", "b", "sum"), conv("sum", "end")
    found = find_shifts(program_of(*steps), RANGES)
    np.testing.assert_allclose(found["sum"], found.get("a", 0) + found.get("b", 0))
    assert (
        shifted(conv("source", "a"), conv("source", "b"), add("a", "b", "sum", act=RELU), conv("sum", "end")) == set()
    )
    assert shifted(conv("source", "a"), add("a", normal(2), "sum"), conv("sum", "end")) == set()
    narrow = named("ADD", {"a": IMAGE, "n": (1, 6, 6, 1)}, "sum")
    assert shifted(conv("source", "a"), narrow, conv("sum", "end")) == set()
    column = named("ADD", {"a": IMAGE, "n": (1, 1, 1, 2)}, "sum")
    assert "a" in shifted(conv("source", "a"), column, conv("sum", "end"))
    assert shifted(conv("source", "a"), conv("source", "b"), add("a", "b", "end")) == set()


def width(ends: Any, shift: np.ndarray) -> float:
    low, high = ends
    return float(max((high - shift).max(), 0) - min((low - shift).min(), 0))


@pytest.mark.parametrize("seed", range(12))
def test_the_shift_of_a_part_narrows_it_and_the_sum(seed: int) -> None:
    """By the least product of both widths, of four shifts: none, its middle, what centres the sum, and between."""
    random = np.random.default_rng(seed)
    ends = np.sort(
        random.normal(size=(3, 2, 2)) * random.uniform(0.1, 9, (3, 2, 1)) + random.normal(size=(3, 1, 2)), axis=1
    )
    ranges: Any = dict(zip(("a", "b", "sum"), ends, strict=True))
    steps = conv("source", "a"), conv("source", "b"), add("a", "b", "sum"), conv("sum", "end")
    found = find_shifts(program_of(*steps), ranges)
    other = np.zeros(2)
    for name in ("a", "b"):
        own, there = ranges[name].mean(axis=0), ranges["sum"].mean(axis=0) - other
        tried = [own, there, (own + there) / 2, np.zeros(2)]
        costs = [width(ranges[name], d) * width(ranges["sum"], d + other) for d in tried]
        best = tried[int(np.argmin(costs))]
        np.testing.assert_allclose(found.get(name, np.zeros(2)), best)
        other = other + best
    np.testing.assert_allclose(found.get("sum", np.zeros(2)), other)


def test_between_its_middle_and_that_of_the_sum_both_may_be_narrowest() -> None:
    """For at least some ranges, each of the four is best."""
    chosen = set()
    for seed in range(200):
        random = np.random.default_rng(seed)
        ends = np.sort(random.normal(size=(2, 2, 1)) * 3 + random.normal(size=(2, 1, 1)), axis=1)
        ranges: Any = {"a": ends[0], "sum": ends[1]}
        steps = conv("source", "a"), add("a", "source", "sum"), conv("sum", "end")
        shift = find_shifts(program_of(*steps), ranges).get("a", np.zeros(1))
        own, there = ends[0].mean(axis=0), ends[1].mean(axis=0)
        chosen |= {n for n, d in enumerate((own, there, (own + there) / 2, np.zeros(1))) if np.allclose(shift, d)}
    assert chosen == {0, 1, 2, 3}


def test_biases_take_up_shifts_of_both_ends() -> None:
    first, second = conv("source", "a"), conv("a", "end", padding=VALID, kernel=(2, 3))
    dense = named("FULLY_CONNECTED", {"a": IMAGE, "w d": normal(3, 72), "b d": normal(3)}, "d", (1, 3))
    depth = named("DEPTHWISE_CONV_2D", {"a": IMAGE, "w c": normal(1, 2, 2, 4), "b c": normal(4)}, "c")
    untouched = conv("source", "other")
    shift = np.array([3.0, -5.0])
    found = absorb_shifts(program_of(first, second, dense, depth, untouched), {"a": shift})
    expected = {
        "b a": first.constants[2] - shift,
        "b end": second.constants[2] + np.einsum("ohwi,i->o", second.constants[1], shift),
        "b d": dense.constants[2] + dense.constants[1] @ np.tile(shift, 36),
        "b c": depth.constants[2] + depth.constants[1].sum(axis=(0, 1, 2)) * np.repeat(shift, 2),
    }
    assert {*found} == {*expected}
    for name, bias in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], bias, rtol=1e-4, atol=1e-4)
    both = absorb_shifts(program_of(second), {"a": shift, "end": np.array([1.0, 2.0])})
    np.testing.assert_allclose(both["b end"], expected["b end"] - [1, 2], rtol=1e-4, atol=1e-4)
