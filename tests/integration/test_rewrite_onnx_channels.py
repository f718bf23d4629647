"""Which depthwise convolutions of ONNX files get a multiple of 16 channels, and what is between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx_rewriting import OnnxNet, kinds, near, rewritten


def numbers(net: OnnxNet, *shape: int) -> np.ndarray:
    return net.random.uniform(1, 2, shape).astype(np.float32)


def net_of(count: int = 24, *, size: tuple[int, ...] = (7, 6)) -> OnnxNet:
    net = OnnxNet((3, *size))
    net.conv(count, 3, (1,) * len(size))
    return net


def depthwise(net: OnnxNet, count: int = 24, *kernel: int, **options: Any) -> str:
    return net.conv(count, 1, kernel or (3, 2), group=count, **options)


def groups(model: onnx.ModelProto) -> list[int]:
    return [a.i for node in model.graph.node for a in node.attribute if a.name == "group"]


@pytest.mark.parametrize(
    ("count", "wide"),
    [(1, 1), (10, 10), (11, 16), (15, 16), (16, 16), (21, 21), (22, 32), (31, 32), (33, 48), (47, 48)],
)
def test_channels_grow_by_half_at_most(count: int, wide: int) -> None:
    net = net_of(count)
    depthwise(net, count)
    net.conv(2, count, (2, 1))
    if wide == count:
        assert rewritten(net.model(), "onnx-depthwise-channels")[1] == 0
    else:
        assert groups(near(net, "onnx-depthwise-channels")) == [wide]


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        *(
            (kind, {})
            for kind in ("Relu", "HardSigmoid", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "HardSwish", "Identity")
        ),
        ("GlobalAveragePool", {}),
        ("AveragePool", {"kernel_shape": [2, 1]}),
        ("MaxPool", {"kernel_shape": [1, 2]}),
    ],
)
def test_what_works_on_each_channel_by_itself_is_widened(kind: str, attributes: Any) -> None:
    net = net_of()
    depthwise(net)
    net.add(kind, **attributes)
    net.conv(2, 24, (1, 1))
    near(net, "onnx-depthwise-channels")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1, 1), (24, 1, 1), (1, 24, 1, 1)])
def test_numbers_for_each_channel_are_widened(kind: str, shape: tuple[int, ...], first: bool) -> None:
    net = net_of()
    depthwise(net)
    constant = numbers(net, *shape)
    net.add(kind, *([constant, net.now] if first else [constant]))
    net.conv(2, 24, (1, 1))
    near(net, "onnx-depthwise-channels", tolerance=1e-4)


@pytest.mark.parametrize("shape", [(24,), (1, 24), (1, 24, 1), (24, 1), (24, 24, 1), (24, 24, 24), (1, 24, 24, 1)])
def test_numbers_along_other_axes_stay(shape: tuple[int, ...]) -> None:
    net = OnnxNet((3, 24, 24))
    net.conv(24, 3, (1, 1))
    depthwise(net, 24, 1, 1)
    net.add("Add", numbers(net, *shape))
    net.conv(2, 24, (1, 1))
    assert rewritten(net.model(), "onnx-depthwise-channels")[1] == 0


@pytest.mark.parametrize(
    ("pads", "places"),
    [
        ([0, 0, 1, 2, 0, 0, 3, 0], 1),
        ([0, 1, 0, 0, 0, 0, 0, 0], 0),
        ([0, 0, 0, 0, 0, 1, 0, 0], 0),
        ([1, 0, 0, 0, 0, 0, 0, 0], 0),
    ],
)
@pytest.mark.parametrize("value", [(), (np.float32(3),)])
def test_pads_of_rows_and_columns_are_kept(pads: list[int], places: int, value: Any) -> None:
    net = net_of()
    depthwise(net)
    net.add("Pad", np.array(pads), *value)
    net.conv(2, 24 + pads[1] + pads[5], (1, 1))
    if places:
        near(net, "onnx-depthwise-channels")
    else:
        assert rewritten(net.model(), "onnx-depthwise-channels")[1] == 0


def test_all_depthwise_convolutions_of_the_same_channels_are_counted() -> None:
    net = net_of()
    first = depthwise(net, pads=[1, 1, 1, 0])
    second = depthwise(net, pads=[1, 1, 1, 0], bias=False)
    net.add("Add", second, first)
    value = depthwise(net)
    one = net.conv(2, 24, (3, 2))
    net.now = value
    two = net.conv(2, 24, (3, 2), bias=False)
    net.add("Mul", one, two)
    net.conv(22, 2, (1, 1))
    depthwise(net, 22, 1, 2)
    net.conv(2, 22, (1, 1))
    assert groups(near(net, "onnx-depthwise-channels", places=4)) == [32] * 4


def test_values_that_convolutions_make_beside_each_other_are_widened() -> None:
    net = OnnxNet((3, 7, 6))
    one = net.conv(24, 3, (1, 1))
    net.now = "input"
    two = net.conv(24, 3, (1, 1), bias=False)
    depthwise(net, 24, 1, 1)
    net.add("Sub", one, net.now)
    net.conv(2, 24, (1, 1))
    assert kinds(near(net, "onnx-depthwise-channels")).count("Conv") == 4
    assert two != one


@pytest.mark.parametrize(
    "kind", ["one channel", "Concat", "Indices", "weights", "PRelu", "three axes", "multiplier", "grouped"]
)
def test_channels_that_are_not_kept_apart_stay(kind: str) -> None:
    net = net_of(size=(7,) if kind == "three axes" else (7, 6))
    if kind == "three axes":
        depthwise(net, 24, 3)
        net.conv(2, 24, (1,))
        assert rewritten(net.model(), "onnx-depthwise-channels")[1] == 0
        return
    value = depthwise(net, bias=kind != "weights")
    match kind:
        case "one channel":
            net.add("Mul", value, net.add("ReduceMean", axes=[1], keepdims=1))
        case "Concat":
            net.add("Concat", value, value, axis=1)
        case "PRelu":
            net.add("PRelu", numbers(net, 24, 1, 1))
        case "multiplier":
            net.conv(48, 1, (1, 1), group=24)
        case "grouped":
            net.conv(12, 2, (1, 1), group=12)
        case "weights":
            net.add("Conv", value, net.add("Neg", net.constant(numbers(net, 2, 24, 1, 1))))
        case "Indices":
            net.add("MaxPool", kernel_shape=[1, 1])
            net._nodes[-1].output.append("indices")
    if kind != "weights":
        net.conv(2, {"Concat": 48, "multiplier": 48, "grouped": 12}.get(kind, 24), (1, 1))
    assert rewritten(net.model(), "onnx-depthwise-channels")[1] == 0
