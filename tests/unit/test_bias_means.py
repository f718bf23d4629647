"""Mean errors that biases make up for, and how much memory the values of an item take."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from linking import step_of
from rewriting import Net

from edgepress.converters.ptq import bias as module
from edgepress.converters.ptq.bias import live_bytes, with_own_biases
from edgepress.converters.to_tflite.graph import Graph


def steps_of(*steps: tuple[tuple[str, ...], tuple[str, ...]], **shapes: tuple[int, ...]) -> Any:
    """A program of steps, each given by what it reads and makes."""
    made = []
    for inputs, outputs in steps:
        step = step_of("ADD", [shapes[name] for name in inputs], [shapes[name] for name in outputs])
        made.append(dataclasses.replace(step, inputs=inputs, outputs=outputs))
    readers: dict[str, list[Any]] = {}
    for step in made:
        for name in dict.fromkeys(step.inputs):
            readers.setdefault(name, []).append(step)
    return SimpleNamespace(steps=made, shapes=shapes, source="x", readers=readers)


def test_tensors_take_memory_until_their_last_reader_has_run() -> None:
    chain = steps_of((("x",), ("a",)), (("a",), ("b",)), (("b",), ("c",)), x=(1, 5), a=(1, 20), b=(1, 30), c=(1, 2))
    assert live_bytes(chain) == 4 * (5 + 20 + 30), "the input is counted on"
    kept = steps_of(
        (("x",), ("a",)), (("a",), ("b",)), (("a", "b"), ("c",)), (("c",), ("d",)),
        x=(1, 5), a=(2, 10), b=(3, 10), c=(1, 40), d=(1, 7),
    )  # fmt: skip
    assert live_bytes(kept) == 4 * (5 + 20 + 30 + 40)
    late = steps_of((("x",), ("a",)), (("a",), ("b",)), (("b",), ("c",)), x=(1, 5), a=(1, 20), b=(1, 1), c=(1, 90))
    assert live_bytes(late) == 4 * (5 + 1 + 90)
    several = steps_of((("x",), ("a", "b")), (("a",), ("c",)), x=(1, 5), a=(1, 20), b=(1, 30), c=(1, 40))
    assert live_bytes(several) == 4 * (5 + 20 + 30 + 40)
    assert live_bytes(steps_of(x=(1, 500))) == 2000


@dataclasses.dataclass
class Grid:
    """A grid that adds its first number to what it rounds."""

    scale: np.ndarray
    zero: np.ndarray

    def apply(self, value: float) -> float:
        return value + float(self.scale)


def test_tensors_are_rounded_by_the_grids_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Constants are what their integers stand for; grids of channels are those of weights only."""
    channels = Grid(np.array([[0.5], [2.0]]), np.array([[1], [-1]]))
    tensors: dict[str, Any] = {
        "weights": (channels, np.array([[3, -7], [4, 127]], np.int8)),
        "float": (None, np.array([1.5], np.float32)),
        "value": (Grid(np.array(0.25), np.array(3)), None),
        "channels": (channels, None),
        "plain": (None, None),
        "last": (Grid(np.array(0.5), np.array(3)), None),
    }
    names = list(tensors)
    graph = SimpleNamespace(
        table=SimpleNamespace(tensors=names), name=names.__getitem__, constant=lambda i: tensors[names[i]][1]
    )
    monkeypatch.setattr(module, "Graph", lambda file: graph)
    monkeypatch.setattr(module, "grid_of", lambda graph, i: tensors[names[i]][0])
    found = module.Quantized(b"")
    weights = found.constant("weights", np.zeros(0))
    np.testing.assert_array_equal(weights, np.array([[1, -4], [10, 256]], np.float32), strict=True)
    given = np.array([7.0])
    for name in ("float", "value", "none"):
        assert found.constant(name, given) is given
    assert {name: found.rounded(name, 1.0) for name in names} == dict.fromkeys(names, 1.0) | {
        "value": 1.25,
        "last": 1.5,
    }


def biases(model: bytes) -> list[Any]:
    graph = Graph(model)
    return [graph.constant(int(op.inputs[2])) for op in graph.operators if len(op.inputs) > 2]


@pytest.mark.parametrize("kind", ["left out", "empty", "shared"])
def test_layers_get_biases_of_their_own(kind: str) -> None:
    net = Net((4, 4), 2)
    net.conv(3)
    net.depthwise((2, 2), multiplier=2)
    net.add("RELU", [net.now], net.shape)
    net.conv(6)
    first, _, _, last = net.graph.operators
    taken = net.graph.constant(int(net.graph.operators[1].inputs[2]))
    if kind == "left out":
        last.inputs = last.inputs[:2]
    elif kind == "empty":
        last.inputs[2] = -1
    else:
        last.inputs[2] = net.graph.operators[1].inputs[2]
    own = Graph(with_own_biases(net.model()))
    layers = [op for op in own.operators if own.kind(op) != "RELU"]
    assert len({int(op.inputs[2]) for op in layers}) == 3
    assert all(op.inputs[2] >= 0 for op in layers)
    expected = taken if kind == "shared" else np.zeros(6, np.float32)
    np.testing.assert_array_equal(own.constant(int(layers[2].inputs[2])), expected, strict=True)
    np.testing.assert_array_equal(own.constant(int(layers[0].inputs[2])), net.graph.constant(int(first.inputs[2])))
    assert [int(i) for i in layers[2].inputs[:2]] == [int(i) for i in last.inputs[:2]]


def test_a_depthwise_layer_without_a_bias_gets_one_for_each_output() -> None:
    net = Net((4, 4), 2)
    net.depthwise((2, 2), multiplier=3)
    net.graph.operators[-1].inputs[2] = -1
    (bias,) = biases(with_own_biases(net.model()))
    assert bias.tolist() == [0] * 6


def test_a_graph_whose_layers_have_biases_of_their_own_stays() -> None:
    net = Net((4, 4), 2)
    net.conv(3)
    model = net.model()
    assert with_own_biases(model) is model
