"""Depthwise convolutions of several outputs a channel, as several of one."""

from __future__ import annotations

import numpy as np
import pytest
from rewriting import Net, answer, kinds, rewrite

from edgepress.converters.to_tflite.graph import Graph


@pytest.mark.parametrize(("channels", "multiplier"), [(8, 2), (24, 3), (64, 8)])
@pytest.mark.parametrize(
    ("kernel", "stride", "same", "act"), [((3, 3), 1, True, 0), ((5, 3), 2, False, 1), ((4, 3), 2, True, 3)]
)
def test_answers_stay(channels, multiplier, kernel, stride, same, act):
    net = Net((9, 8), channels)
    net.depthwise(kernel, multiplier=multiplier, stride=stride, same=same, act=act)
    net.conv(5)
    graph = Graph(model := net.model())
    assert rewrite("depthwise-multiplier", graph) == 1
    changed = graph.to_bytes()
    assert kinds(changed) == ["DEPTHWISE_CONV_2D"] * multiplier + ["CONCATENATION", "CONV_2D"]
    assert {code.version for code in Graph(changed).root.operatorCodes} == {1}, "what older releases of LiteRT open"
    for builtin in (False, True):
        before, after = answer(model, builtin=builtin), answer(changed, builtin=builtin)
        assert np.abs(before - after).max() < 1e-5 * max(1.0, np.abs(before).max())


@pytest.mark.parametrize(
    ("channels", "multiplier", "behind"),
    [
        (8, 1, (1, 1)),
        (8, 3, (1, 1)),
        (8, 2, (3, 3)),
        (1, 8, (1, 1)),
        (7, 2, (1, 1)),
        (23, 3, (1, 1)),
        (8, 2, (1, 3)),
        (8, 2, None),
    ],
)
def test_others_stay(channels, multiplier, behind):
    net = Net((9, 8), channels)
    net.depthwise((3, 3), multiplier=multiplier)
    if behind:
        net.conv(5, behind)
    assert rewrite("depthwise-multiplier", Graph(net.model())) == 0
