"""Which factor of a product is scaled, and what factors make of constants, without a graph."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from linking import letters, program_around, step_of

from edgepress.converters.graph.step import Step
from edgepress.converters.ptq.channel_scales import ScaleGroups, scale_groups

IMAGE = (1, 5, 3, 4)
MEAN = (1, 1, 1, 4)
RELU6 = 3


def ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def named(kind: str, inputs: dict[str, Any], outputs: dict[str, Any], **options: Any) -> Step:
    """A step whose tensors have names; arrays are constants."""
    made = step_of(kind, list(inputs.values()), list(outputs.values()), **options)
    return dataclasses.replace(made, inputs=tuple(inputs), outputs=tuple(outputs))


def product(first: str, second: str, output: str, *shapes: Any) -> Step:
    one, other = shapes or (IMAGE, IMAGE)
    return named("MUL", {first: one} | {second: other}, {output: IMAGE})


def pins(name: str, *channels: int, shape: Any = IMAGE) -> list[Step]:
    """Steps that pin channels of a tensor."""
    steps = []
    for channel in channels:
        part = f"{name}{channel}"
        constants = {f"begin {part}": ints(0, 0, 0, channel), f"size {part}": ints(1, 1, 1, 1)}
        steps.append(named("SLICE", {name: shape} | constants, {part: (1, 1, 1, 1)}))
        steps.append(named("COS", {part: (1, 1, 1, 1)}, {f"end {part}": (1, 1, 1, 1)}))
    return steps


def groups(*steps: Step) -> ScaleGroups:
    shapes = {step.outputs[0]: step.shape for step in steps}
    return scale_groups(program_around(*steps, **shapes))


def shown(found: ScaleGroups, *names: str) -> str:
    return letters([found.of[name] for name in names])


@pytest.mark.parametrize(
    ("pinned", "expected"),
    [
        ({}, "abcd .... abcd"),
        ({"a": (0, 1, 2, 3)}, ".... abcd abcd"),
        ({"b": (0, 1, 2, 3)}, "abcd .... abcd"),
        ({"a": (0, 1), "b": (2, 3)}, "..ab cd.. cdab"),
        ({"a": (0, 1), "b": (1, 2, 3)}, "..ab c... c.ab"),
        ({"a": (0,), "b": (1,)}, ".abc d... dabc"),
        ({"a": (0, 1, 2, 3), "b": (0, 1, 2, 3)}, ".... .... ...."),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_product_takes_the_factors_of_what_is_not_pinned(pinned: Any, expected: str, turned: bool) -> None:
    """If both are free, of the larger tensor."""
    sides = [("a", IMAGE), ("b", MEAN)]
    (first, shape), (second, other) = reversed(sides) if turned else sides
    steps = [step for name, channels in pinned.items() for step in pins(name, *channels, shape=dict(sides)[name])]
    found = groups(*steps, product(first, second, "out", shape, other))
    assert shown(found, "a", "b", "out") == expected


def test_one_channel_times_many_is_pinned_and_so_is_a_square() -> None:
    found = groups(product("a", "b", "out", IMAGE, (1, 5, 3, 1)))
    assert shown(found, "a", "b", "out") == ".... . ...."
    square = step_of("MUL", [IMAGE, IMAGE], [IMAGE])
    square = dataclasses.replace(square, inputs=("a", "a"), outputs=("out",))
    assert shown(groups(square), "a", "out") == ".... ...."


@pytest.mark.parametrize("first", [True, False])
def test_products_with_a_pinned_factor_are_decided_before_others(first: bool) -> None:
    """The second product ties its free factor to the smaller factor of the first, which is pinned in the end."""
    early = product("a", "b", "early", IMAGE, MEAN)
    late = product("early", "gate", "late")
    steps = [*pins("gate", 0, 1, 2, 3), *((early, late) if first else (late, early))]
    found = groups(*steps)
    assert shown(found, "a", "b", "early", "gate", "late") == "abcd .... abcd .... abcd"


@pytest.mark.parametrize("sides", [("gate", "a"), ("a", "gate")])
def test_a_product_that_another_one_pins_keeps_its_other_factor_free(sides: tuple[str, str]) -> None:
    """The output of the second is pinned with the larger factor of the first, whose smaller one is then free."""
    one = product("a", "b", "one", IMAGE, MEAN)
    other = product(*sides, "other")
    steps = [*pins("gate", 0, 1, 2, 3), *pins("other", 0, 1, 2, 3), one, other]
    assert shown(groups(*steps), "a", "b", "one", "gate", "other") == ".... abcd abcd .... ...."


def test_of_two_open_products_the_first_is_decided_first() -> None:
    """It pins its smaller factor, which is the larger one of the second."""
    steps = [product("a", "b", "one", IMAGE, MEAN), product("b", "c", "two", MEAN, MEAN)]
    steps[1] = dataclasses.replace(steps[1], shape=MEAN)
    found = groups(*steps)
    assert shown(found, "a", "b", "one", "c", "two") == "abcd .... abcd efgh efgh"


def test_groups_are_bounded_where_a_relu6_makes_one_of_their_channels() -> None:
    first = named("RELU6", {"a": (1, 2)}, {"b": (1, 2)})
    joined = named("CONCATENATION", {"b": (1, 2), "c": (1, 1)}, {"d": (1, 3)}, axis=1)
    found = groups(first, joined)
    assert shown(found, "a", "b", "c", "d") == "ab ab c abc"
    assert found.bounded[found.of["d"]].tolist() == [True, True, False]
    assert found.count == len(found.bounded) == 4
    assert not groups(first, *pins("b", 0, 1, shape=(1, 2))).bounded.any()


def scaled(step: Step, factors: list[float], **of: list[int]) -> dict[str, np.ndarray]:
    program: Any = SimpleNamespace(steps=[step])
    arrays = {name: np.array(ids) for name, ids in of.items()}
    made = ScaleGroups(program, arrays, len(factors), np.zeros(len(factors), bool))
    return made.scale_constants(np.array(factors))


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert {*found} == {*expected}
    for name, values in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], values, rtol=1e-6)


FACTORS = [1.0, 2.0, 4.0, 8.0, 16.0]


@pytest.mark.parametrize("bias", [True, False])
def test_weights_take_up_the_factors_of_what_they_read_and_make(bias: bool) -> None:
    weights, more = normal(2, 4), {"c": normal(2)} if bias else {}
    step = named("FULLY_CONNECTED", {"a": (1, 2), "w": weights} | more, {"b": (1, 2)})
    out, read = np.array([8.0, 16]), np.tile([2.0, 4], 2)
    same(
        scaled(step, FACTORS, a=[1, 2], b=[3, 4]),
        {"w": weights * read / out[:, np.newaxis]} | {name: values / out for name, values in more.items()},
    )
    same(scaled(step, FACTORS, a=[1, 2], b=[0, 0]), {"w": weights * read})
    same(scaled(step, FACTORS, a=[0, 0], b=[0, 0]), {})
    same(
        scaled(step, FACTORS, b=[3, 4]),
        {"w": weights / out[:, np.newaxis]} | {name: values / out for name, values in more.items()},
    )
    misfit = named("FULLY_CONNECTED", {"a": (1, 3), "w": weights}, {"b": (1, 2)})
    same(scaled(misfit, FACTORS, a=[1, 1, 1], b=[3, 4]), {"w": weights / out[:, np.newaxis]})


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("kind", ["ADD", "SUB", "MUL", "MAXIMUM"])
def test_constants_of_sums_and_products_take_up_factors(kind: str, place: int) -> None:
    for constant in (normal(2), normal(1)):
        inputs = [("a", (1, 2)), ("c", constant)]
        step = named(kind, dict(inputs if place else inputs[::-1]), {"b": (1, 2)})
        by = {"ADD": 1, "SUB": 1, "MUL": np.array([2.0, 4])}.get(kind)
        expected = {"c": constant * by / np.array([8.0, 16])} if by is not None and len(constant) == 2 else {}
        same(scaled(step, FACTORS, a=[1, 2], b=[3, 4]), expected)
