"""Convolutions of one channel a group, as depthwise ones."""

from __future__ import annotations

import numpy as np
import pytest
from rewriting import Net, answer, kinds, rewrite

from edgepress.converters.to_tflite.graph import Graph


@pytest.mark.parametrize("multiplier", [1, 2, 3])
@pytest.mark.parametrize(("stride", "same", "dilation"), [(1, True, 1), (2, True, 1), (2, False, 1), (1, False, 2)])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 5)])
def test_answers_stay(kernel, stride, same, dilation, multiplier):
    net = Net((9, 10), 4)
    net.conv(4 * multiplier, kernel, groups=4, stride=stride, same=same, dilation=dilation, act=1)
    graph = Graph(model := net.model())
    assert rewrite("grouped-depthwise", graph) == 1
    changed = graph.to_bytes()
    assert kinds(changed) == ["DEPTHWISE_CONV_2D"]
    before = answer(model)
    assert np.abs(before - answer(changed)).max() < 1e-5
    assert np.abs(before - answer(changed, builtin=True)).max() < 1e-5


@pytest.mark.parametrize(("channels", "groups"), [(4, 1), (4, 2), (1, 1)])
def test_other_convolutions_stay(channels, groups):
    net = Net((9, 8), channels)
    net.conv(4, (3, 3), groups=groups)
    assert rewrite("grouped-depthwise", Graph(net.model())) == 0
