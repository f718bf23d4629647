"""SQUEEZE and EXPAND_DIMS as RESHAPE: the same answers, and nothing that XNNPACK leaves out."""

from __future__ import annotations

import numpy as np
import pytest
from rewriting import Net, answer, kinds, rewrite

from edgepress.converters.to_tflite.graph import Graph


@pytest.mark.parametrize("kind", ["SQUEEZE", "EXPAND_DIMS"])
@pytest.mark.parametrize("size", [(1, 1), (1, 4)])
def test_the_same_answers(kind: str, size: tuple[int, int]) -> None:
    net = Net(size, 6)
    net.conv(5)
    if kind == "SQUEEZE":
        net.add(kind, [net.now], (size[1], 5) if size[1] > 1 else (5,))
    else:
        net.add(kind, [net.now, np.array(1, np.int32)], (1, 1, *size, 5))
    before = net.model()
    graph = Graph(before)
    assert rewrite("plain-reshapes", graph) == 1
    after = graph.to_bytes()
    assert kinds(after) == ["CONV_2D", "RESHAPE"]
    for builtin in (True, False):
        np.testing.assert_array_equal(answer(before, builtin=builtin), answer(after, builtin=builtin))
    assert rewrite("plain-reshapes", Graph(after)) == 0


def test_scalars_are_left_alone() -> None:
    net = Net((1, 1), 1)
    net.add("SQUEEZE", [net.now], ())
    assert rewrite("plain-reshapes", Graph(net.model())) == 0
