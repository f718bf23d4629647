"""Which steps of ONNX graphs are a layer normalization, and which only look like one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx_rewriting import OnnxNet, kinds, near, rewritten

from edgepress.converters.importers.operations import join_steps


def normalize(
    net: OnnxNet,
    axes: Any = (1,),
    *,
    beta: bool = True,
    epsilon: Any = 1e-3,
    gamma: Any = 2.0,
    second: Any = None,
    flat: Any = None,
    keep: tuple[int, int] = (1, 1),
    swap: dict[str, str] | None = None,
) -> None:
    """Normalization step by step; `swap` names steps that read the value's negative, or are another operation."""
    swap, value = swap or {}, net.add("Neg")
    other = net.add("Sigmoid", value)

    def of(step: str, usual: str) -> str:
        return other if swap.get(step) == "other" else usual

    def kind(step: str, usual: str) -> str:
        found = swap.get(step, "other")
        return usual if found == "other" else found

    reduced = {} if axes is None else {"axes": list(axes)}
    mean = net.add("ReduceMean", of("mean", value), keepdims=keep[0], **reduced)
    moved = mean if flat is None else net.add("Reshape", mean, np.array(flat))
    off = net.add("Sub", of("off", value), moved)
    square = net.add(kind("square", "Mul"), off, of("square", off))
    reduced = {} if axes is None else {"axes": list(second or axes)}
    net.add(kind("variance", "ReduceMean"), square, keepdims=keep[1], **reduced)
    net.add(kind("epsilon", "Add"), np.array(epsilon, np.float32))
    net.add(kind("root", "Sqrt"))
    net.add(kind("inverse", "Reciprocal"))
    factor = net.add(kind("gamma", "Mul"), np.array(gamma, np.float32))
    scaled = net.add(kind("scaled", "Mul"), of("scaled", value), factor)
    if beta:
        product = net.add(kind("product", "Mul"), of("product", mean), of("factor", factor))
        net.add(kind("shift", "Sub"), net.constant(np.float32(0.5)), product)
    else:
        net.add(kind("shift", "Mul"), net.add(kind("negated", "Neg"), of("negated", mean)), of("factor", factor))
    net.add("Add", scaled, net.now)
    net.add("Relu")


def count(net: OnnxNet) -> int:
    """How many normalizations are replaced, but for one that is added behind them."""
    normalize(net, [-1])
    return rewritten(net.model(), "onnx-layer-norm")[1] - 1


SHAPES = [(5, 4, 6), (4, 6), (2, 5, 4, 6), (6,), (1, 3, 2)]


@pytest.mark.parametrize(
    ("shape", "axis"), [(shape, axis) for shape in SHAPES for axis in range(-len(shape), len(shape) + 1) if axis]
)
@pytest.mark.parametrize("beta", [True, False])
def test_any_axis_but_the_batch_is_normalized(shape: tuple[int, ...], axis: int, beta: bool) -> None:
    net = OnnxNet(shape)
    normalize(net, [axis], beta=beta, epsilon=0.3)
    last = axis % (len(shape) + 1) == len(shape)
    found = kinds(near(net, "onnx-layer-norm"))
    assert found == [
        "Neg",
        *([] if last else ["Transpose"]),
        "LayerNormalization",
        *([] if last else ["Transpose"]),
        "Relu",
    ]


@pytest.mark.parametrize("flat", [None, [1]])
def test_a_vector_is_normalized(flat: Any) -> None:
    net = OnnxNet((5, 4))
    net.add("ReduceMax", axes=[0, 2], keepdims=0)
    normalize(net, [0], flat=flat, gamma=[2.0, 3.0, -1.0, 0.5, 7.0])
    assert "LayerNormalization" in kinds(near(net, "onnx-layer-norm"))


@pytest.mark.parametrize(
    ("options", "places"),
    [
        ({}, 1),
        ({"gamma": np.ones((4, 5, 4, 1))}, 0),
        ({"gamma": np.ones((1, 1, 1, 1, 1))}, 0),
        ({"gamma": [1.0, 2.0, 3.0, 4.0]}, 0),
        ({"epsilon": np.full((5, 1, 1), 0.1)}, 0),
        ({"epsilon": np.full((1, 1, 1), 0.1)}, 1),
        ({"axes": [1, 2]}, 0),
        ({"axes": None}, 0),
        ({"axes": [2], "second": [1]}, 0),
        ({"keep": (0, 1)}, 0),
        ({"keep": (1, 0)}, 0),
        ({"flat": [-1, 1, 4, 4]}, 1),
        ({"flat": [0, 1, 4, 4]}, 1),
    ],
)
def test_other_shapes_of_a_normalization_stay(options: Any, places: int) -> None:
    net = OnnxNet((5, 4, 4))
    normalize(net, **options)
    assert count(net) == places


@pytest.mark.parametrize("step", ["mean", "off", "square", "scaled", "product", "factor", "negated"])
@pytest.mark.parametrize("beta", [True, False])
def test_steps_that_read_another_value_are_no_normalization(step: str, beta: bool) -> None:
    net = OnnxNet((5, 4, 4))
    normalize(net, beta=beta, swap={step: "other"})
    read = "negated" if beta else "product"
    assert count(net) == (step == read)


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        ("square", "Add"),
        ("variance", "ReduceMax"),
        ("epsilon", "Sub"),
        ("root", "Exp"),
        ("inverse", "Neg"),
        ("gamma", "Add"),
        ("scaled", "Sub"),
        ("product", "Add"),
        ("shift", "Add"),
        ("shift", "Mul"),
        ("shift", "Div"),
        ("negated", "Abs"),
    ],
)
@pytest.mark.parametrize("beta", [True, False])
def test_other_operations_are_no_normalization(step: str, kind: str, beta: bool) -> None:
    net = OnnxNet((5, 4, 4))
    normalize(net, beta=beta, swap={step: kind})
    is_same = (step, beta) in (("product", False), ("negated", True)) or (step, kind, beta) == ("shift", "Mul", False)
    assert count(net) == is_same


@pytest.mark.parametrize(
    ("axis", "free", "flat", "places"),
    [
        (1, "channels", None, 0),
        (1, "rows", None, 1),
        (1, "rows", [0, 1, -1, 4], 0),  # nothing says that these are the rows
        (2, "channels", None, 1),
        (1, "rank", None, 0),
    ],
)
def test_the_normalized_axis_has_a_known_size(axis: int, free: str, flat: Any, places: int) -> None:
    net = OnnxNet((5, 4, 4))
    normalize(net, [axis], flat=flat)
    model = net.model()
    shape = model.graph.input[0].type.tensor_type
    if free == "rank":
        shape.ClearField("shape")
    else:
        shape.shape.dim[1 if free == "channels" else 2].Clear()
    del model.graph.value_info[:]
    assert rewritten(onnx.shape_inference.infer_shapes(model), "onnx-layer-norm")[1] == places


def test_each_of_several_normalizations_is_replaced() -> None:
    net = OnnxNet((5, 4, 3))
    net.add("Add", net.now, np.float32(1))
    normalize(net, [3], beta=False)
    net.add("Add", "input", net.now)
    normalize(net, [1], gamma=np.arange(1, 6).reshape(5, 1, 1))
    near(net, "onnx-layer-norm", places=2)


def in_steps(net: OnnxNet, root: str, square: str, scaled: str) -> None:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta over the last axis, or as Keras 3 writes it."""
    value = net.now
    mean = net.add("ReduceMean", value, axes=[-1], keepdims=1)
    off = net.add("Sub", value, mean)
    net.add("Mul", off, off) if square == "Mul" else net.add("Pow", off, np.float32(2))
    net.add("Add", net.add("ReduceMean", net.now, axes=[-1], keepdims=1), np.float32(1e-3))
    divisor = net.add("Sqrt")
    gamma, beta = (net.constant(net.random.normal(size=6).astype(np.float32)) for _ in range(2))
    if root != "Div":
        divisor = (
            net.add("Reciprocal") if root == "Reciprocal" else net.add("Div", net.constant(np.float32(1)), divisor)
        )
    if scaled == "keras":
        factor = net.add("Mul", divisor, gamma)
        shift = net.add("Add", net.add("Mul", net.add("Neg", mean), factor), beta)
        net.add("Add", net.add("Mul", value, factor), shift)
    else:
        made = net.add("Div" if root == "Div" else "Mul", off, divisor)
        net.add("Add", net.add("Mul", gamma, made), beta)


@pytest.mark.parametrize("square", ["Mul", "Pow"])
@pytest.mark.parametrize(
    ("root", "scaled"), [("Div", "plain"), *((r, s) for r in ("Reciprocal", "one over it") for s in ("plain", "keras"))]
)
def test_all_ways_to_write_the_steps_are_one_operation(root: str, square: str, scaled: str) -> None:
    """For the TFLite file, too, whatever the opset."""
    net = OnnxNet((5, 4, 6))
    net.add("Neg")
    in_steps(net, root, square, scaled)
    net.add("Neg")
    expected = ["Neg", "LayerNormalization", "Neg"]
    assert kinds(near(net, "onnx-layer-norm")) == expected
    assert kinds(join_steps(net.model())) == kinds(join_steps(net.model(opset=16))) == expected


def test_axes_may_be_an_input() -> None:
    """As they are from opset 18 on."""
    net = OnnxNet((5, 6))
    net.add("Neg")
    in_steps(net, "Div", "Mul", "plain")
    upgraded = onnx.version_converter.convert_version(net.model(), 18)
    assert all(len(node.input) == 2 for node in upgraded.graph.node if node.op_type == "ReduceMean")
    changed, places = rewritten(upgraded, "onnx-layer-norm")
    assert places == 1
    assert "ReduceMean" not in kinds(changed)


@pytest.mark.parametrize("turned", [False, True])
def test_a_shift_of_another_sign_is_no_normalization(turned: bool) -> None:
    net = OnnxNet((5, 6))
    in_steps(net, "Reciprocal", "Mul", "keras")
    model = net.model()
    (negated,) = (node for node in model.graph.node if node.op_type == "Neg")
    (shift,) = (node for node in model.graph.node if negated.output[0] in node.input)
    if turned:  # mean * factor - beta
        (sum_,) = (node for node in model.graph.node if shift.output[0] in node.input)
        sum_.op_type = "Sub"
    shift.input[list(shift.input).index(negated.output[0])] = negated.input[0]
    assert rewritten(model, "onnx-layer-norm")[1] == 0


@pytest.mark.parametrize("scaled", ["plain", "keras"])
@pytest.mark.parametrize(("change", "places"), [("none", 1), ("axis", 0), ("numerator", 0)])
def test_mean_and_variance_are_over_one_axis_and_the_root_is_inverted(change: str, places: int, scaled: str) -> None:
    net = OnnxNet((5, 6, 6))
    in_steps(net, "one over it", "Mul", scaled)
    model = net.model()
    mean = next(node for node in model.graph.node if node.op_type == "ReduceMean")
    if change == "axis":
        mean.attribute[0].ints[:] = [-2]
    if change == "numerator":
        division = next(node for node in model.graph.node if node.op_type == "Div")
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(2, np.float32), "two"))
        division.input[0] = "two"
    assert rewritten(model, "onnx-layer-norm")[1] == places
