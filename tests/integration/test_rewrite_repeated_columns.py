"""TILE as RESIZE_NEAREST_NEIGHBOR: the same answers, in operations that hardware without floats has."""

from __future__ import annotations

import numpy as np
import pytest
from rewriting import Net, answer, kinds, rewrite

from edgepress.converters.to_tflite.graph import Graph


def tiled(shape: tuple[int, ...], times: tuple[int, ...]) -> bytes:
    """A convolution whose output is tiled in another shape."""
    net = Net((4, 6), 3)
    net.conv(5)
    net.add("RESHAPE", [net.now, np.array(shape, np.int32)], shape)
    output = tuple(size * count for size, count in zip(shape, times, strict=True))
    net.add("TILE", [net.now, np.array(times, np.int32)], output)
    return net.model()


@pytest.mark.parametrize("times", [2, 3, 7, 64])
@pytest.mark.parametrize(
    ("shape", "axis"), [((1, 4, 1, 6, 5), 2), ((1, 4, 6, 1, 5), 3), ((1, 24, 1, 5), 2), ((1, 1, 120), 1)]
)
def test_the_same_answers(times: int, shape: tuple[int, ...], axis: int) -> None:
    before = tiled(shape, tuple(times if at == axis else 1 for at in range(len(shape))))
    graph = Graph(before)
    assert rewrite("repeated-columns", graph) == 1
    after = graph.to_bytes()
    assert kinds(after) == ["CONV_2D", "RESHAPE", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "RESHAPE"]
    np.testing.assert_array_equal(answer(before), answer(after))
    (resize,) = (op for op in Graph(after).operators if Graph(after).kind(op) == "RESIZE_NEAREST_NEIGHBOR")
    assert resize.builtinOptions.halfPixelCenters, "otherwise float32 may round a border into the column before"
    assert rewrite("repeated-columns", Graph(after)) == 0


def test_options_of_an_operation_are_not_lost() -> None:
    graph = Graph(tiled((1, 24, 1, 5), (1, 1, 2, 1)))
    with pytest.raises(KeyError, match="logisticoptions"):
        graph.operator("LOGISTIC", [0], 0, alignCorners=False)


@pytest.mark.parametrize(
    ("shape", "times"),
    [((1, 24, 5), (1, 2, 1)), ((1, 24, 5, 1), (1, 1, 1, 3)), ((1, 4, 1, 30), (1, 2, 2, 1)), ((1, 1, 120), (1, 65, 1))],
    ids=["values one after the other", "the last axis", "two axes", "many times"],
)
def test_other_tiles_are_left_alone(shape: tuple[int, ...], times: tuple[int, ...]) -> None:
    assert rewrite("repeated-columns", Graph(tiled(shape, times))) == 0
