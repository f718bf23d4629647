"""Which products of ONNX graphs lose the shapes around them, and which steps are a GELU."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_rewriting import FLOAT, OnnxNet, kinds, near, rewritten

from edgepress.converters.importers.operations import join_steps
from edgepress.converters.to_onnx.graph import attribute


def f32(value: Any) -> Any:
    return np.array(value, np.float32)


def product(
    net: OnnxNet, rows: Any, result: Any, *, matrix: Any = (6, 2), kinds: tuple[str, str] = ("Reshape", "Reshape")
) -> None:
    """A product between two Reshapes."""
    for kind, shape in zip(kinds, (rows, result), strict=True):
        if kind == "Reshape":
            net.add(kind, np.array(shape))
        else:
            net.add(kind)
        if shape is rows:
            net.add("MatMul", net.random.normal(size=matrix).astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "rows", "result", "matrix", "places"),
    [
        ((5, 6), [-1, 6], [-1, 5, 2], (6, 2), 1),
        ((5, 6), [-1, 6], [-1, 5, 6], (6, 6), 1),
        ((5, 4, 6), [-1, 6], [-1, 5, 4, 2], (6, 2), 1),
        ((2, 5, 4, 6), [-1, 6], [-1, 2, 5, 4, 3], (6, 3), 1),
        ((6,), [-1, 6], [-1, 2], (6, 2), 0),  # two axes have no rows to join
        ((5, 6), [-1, 3], [-1, 5, 4], (3, 2), 0),
        ((5, 6), [-1, 6], [-1, 2, 5], (6, 2), 0),
        ((5, 6), [-1, 6], [-1, 10], (6, 2), 0),
        ((5, 6), [-1, 6], [-1, 1, 5, 2], (6, 2), 0),
        ((4, 6), [-1, 6], [-1, 2, 6], (6, 3), 0),
        ((3, 4, 6), [-1, 6], [-1, 4, 3, 2], (6, 2), 0),
        ((5, 6), [-1, 5, 6], [-1, 5, 2], (6, 2), 0),
        ((5, 6), [-1, 5, 6], [-1, 5, 2], (1, 6, 2), 0),
        ((5, 6), [-1, 6], [-1, 5, 2], (1, 6, 2), 0),
    ],
)
def test_products_of_the_last_axis_alone_lose_their_reshapes(
    shape: tuple[int, ...], rows: Any, result: Any, matrix: Any, places: int
) -> None:
    net = OnnxNet(shape)
    net.add("Relu")
    product(net, rows, result, matrix=matrix)
    net.add("Relu")
    if places:
        assert kinds(near(net, "onnx-dense")) == ["Relu", "MatMul", "Relu"]
    else:
        assert rewritten(net.model(), "onnx-dense")[1] == 0


@pytest.mark.parametrize(
    "kind", ["before", "behind", "both", "output", "two read", "rows are free", "computed", "two free"]
)
def test_products_behind_others_that_stay_lose_their_reshapes(kind: str) -> None:
    net = OnnxNet((5, 6))
    value = net.add("Relu")
    rows = value if kind in ("before", "both") else net.add("Reshape", np.array([-1, 6]))
    matrix = net.constant(net.random.normal(size=(6, 2)).astype(np.float32))
    made = net.add("MatMul", rows, net.add("Identity", matrix) if kind == "computed" else matrix)
    if kind not in ("behind", "both"):
        net.add("Reshape", np.array([-1, 5, 2]))
    first = net.now
    net.add("Relu")
    if kind == "two read":
        net.add("Add", net.add("ReduceMax", keepdims=0), net.add("ReduceMax", made, keepdims=0))
    last = net.now
    net.add("Reshape", value, np.array([-1, 6]))
    net.add("MatMul", net.random.normal(size=(6, 3)).astype(np.float32))
    net.add("Reshape", np.array([-1, 5, 3]))
    net.add("Add", net.add("ReduceMax", keepdims=0), net.add("ReduceMax", last, keepdims=0))
    model = net.model()
    if kind == "output":
        model.graph.output.append(onnx.helper.make_tensor_value_info(first, FLOAT, ["batch", 5, 2]))
    free = {"rows are free": [1], "two free": [1]}.get(kind, [])
    for axis in free:
        model.graph.input[0].type.tensor_type.shape.dim[axis].Clear()
    if free:
        del model.graph.value_info[:]
        model = onnx.shape_inference.infer_shapes(model)
    assert rewritten(model, "onnx-dense")[1] == (0 if free else 1)


def test_a_free_axis_beside_the_batch_is_kept_where_it_is() -> None:
    """The result's shape is computed from the value's, so that both have the same free axes."""
    net = OnnxNet((5, 6))
    value = net.add("Relu")
    front = net.add("Slice", net.add("Shape", value), np.array([0]), np.array([2]))
    back = net.add("Concat", front, np.array([2]), axis=0)
    net.add("Reshape", value, np.array([-1, 6]))
    net.add("MatMul", net.random.normal(size=(6, 2)).astype(np.float32))
    net.add("Reshape", net.now, back)
    net.add("Relu")
    near(net, "onnx-dense")
    model = net.model()
    model.graph.input[0].type.tensor_type.shape.dim[1].Clear()
    del model.graph.value_info[:]
    assert rewritten(onnx.shape_inference.infer_shapes(model), "onnx-dense")[1] == 0


@pytest.mark.parametrize("place", ["result", "value"])
def test_products_between_unknown_shapes_stay(place: str) -> None:
    net = OnnxNet((5, 6))
    value = net.add("Relu")
    for kind, shape in (("rows", [-1, 6]), ("result", [-1, 5, 2])):
        now = net.now
        sizes = net.constant(np.array(shape))
        net.add("Reshape", now, net.add("Abs", sizes) if kind == place else sizes)
        if kind == "rows":
            net.add("MatMul", net.random.normal(size=(6, 2)).astype(np.float32))
    net.add("Relu")
    model = net.model()
    if place == "value":
        model.graph.input[0].type.tensor_type.ClearField("shape")
        model.graph.value_info.remove(next(v for v in model.graph.value_info if v.name == value))
    assert rewritten(model, "onnx-dense")[1] == 0


# GELU.


def erfc(net: OnnxNet, change: str = "") -> None:
    """0.5 * x * (1 - erf(-x * 0.7071)), or with one change."""
    value, other = net.now, net.add("Sigmoid")
    root, half = np.array(np.sqrt(0.5), np.float32), np.array(0.5, np.float32)
    halved = net.add(
        "Add" if change == "sum" else "Mul", other if change == "half of another" else value, np.full(6, half)
        if change == "vector half" else half,
    )  # fmt: skip
    net.add("Abs" if change == "abs" else "Neg", value)
    net.add("Div" if change == "quotient" else "Mul", np.full(6, root) if change == "vector root" else root)
    erf = net.add("Erf")
    one = np.array([1] * 6 if change == "vector one" else 2 if change == "two" else 1, np.float32)
    complement = net.add("Add" if change == "added" else "Sub", net.constant(one), erf)
    if change == "itself":
        net.add("Mul", complement, complement)
    elif change == "product with a constant":
        net.add("Mul", complement, half)
    else:
        net.add(
            "Add" if change == "sum of both" else "Mul",
            *((complement, halved) if change == "turned" else (halved, complement)),
        )
    if change == "read":
        net.add("Add", net.now, complement)
    elif change == "read erf":
        net.add("Add", net.now, erf)
    net.add("Neg")


def erf_form(net: OnnxNet, change: str = "") -> None:
    """x * (1 + erf(x / 1.4142)) * 0.5, or with one change."""
    value, other = net.now, net.add("Sigmoid")
    root, half = np.array(np.sqrt(2), np.float32), np.array(0.5, np.float32)
    net.add("Mul" if change == "quotient" else "Div", value, np.full(6, root) if change == "vector root" else root)
    erf = net.add("Erf")
    one = np.array([1] * 6 if change == "vector one" else 2 if change == "two" else 1, np.float32)
    shifted = net.add("Sub" if change == "added" else "Add", erf, one)
    factor = {"half of another": other, "itself": shifted}.get(change, value)
    made = net.add("Mul", *((shifted, factor) if change == "turned" else (factor, shifted)))
    halves = np.full(6, half) if change == "vector half" else half
    net.add(
        "Add" if change == "sum" else "Mul", *((net.constant(halves), made) if change == "turned" else (made, halves))
    )
    if change.startswith("read"):
        net.add("Add", net.now, shifted if change == "read" else erf)
    net.add("Neg")


def exported(net: OnnxNet) -> None:
    """As PyTorch's exporter writes it since it is built on torch.export."""
    value = net.now
    net.add("Div", f32(np.sqrt(2)))
    net.add("Add", net.add("Erf"), net.constant(f32(1)))
    net.add("Mul", value, net.add("Mul", net.constant(f32(0.5)), net.now))


def halved_first(net: OnnxNet) -> None:
    value = net.now
    half = net.add("Mul", f32(0.5))
    net.add("Erf", net.add("Mul", value, f32(np.sqrt(0.5))))
    net.add("Mul", net.add("Add", f32([1]), net.now), half)


def with_tanh(net: OnnxNet, *, power: bool) -> None:
    value = net.now
    cube = net.add("Pow", f32(3)) if power else net.add("Mul", value, net.add("Mul", value, value))
    net.add("Add", value, net.add("Mul", cube, net.constant(f32(0.044715))))
    bent = net.add("Tanh", net.add("Mul", net.constant(f32(np.sqrt(2 / np.pi))), net.now))
    net.add("Mul", net.add("Mul", value, f32(0.5)), net.add("Add", bent, f32(1)))


def nearly_plain(net: OnnxNet, *, change: str) -> None:
    """The form that ONNX Runtime fuses, but for one operation."""
    value = net.now
    net.add("Mul", f32(np.sqrt(0.5))) if change == "product" else net.add("Div", f32(np.sqrt(2)))
    net.add("Erf")
    net.add("Sub", f32(-1)) if change == "difference" else net.add("Add", f32(1))
    net.add("Mul", value, net.now)
    net.add("Div", f32(2)) if change == "quotient" else net.add("Mul", f32(0.5))


EXACT: list[Any] = [exported, halved_first]
EXACT += [partial(nearly_plain, change=change) for change in ("product", "difference", "quotient")]
FORMS = [*EXACT, partial(with_tanh, power=True), partial(with_tanh, power=False)]


@pytest.mark.parametrize("make", FORMS)
def test_gelus_of_all_exporters_are_one_operation(make: Any) -> None:
    """Of the form of torch.export, onnx-int8 quantized each step."""
    net = OnnxNet((5, 4, 6))
    net.add("Neg")
    make(net)
    net.add("Neg")
    (_, node, _) = near(net, "onnx-float-gelu", tolerance=1e-4).graph.node
    assert node.op_type == ("Gelu" if make in EXACT else "FastGelu")
    (_, joined, _) = join_steps(net.model()).graph.node
    assert (joined.op_type, attribute(joined, "approximate")) == ("Gelu", b"none" if make in EXACT else b"tanh")


def test_each_of_two_kinds_of_gelus_is_told_by_its_result() -> None:
    net = OnnxNet((5, 4, 6))
    with_tanh(net, power=True)
    first = net.now
    exported(net)
    joined = join_steps(net.model()).graph.node
    assert [(n.output[0], attribute(n, "approximate")) for n in joined] == [(first, b"tanh"), (net.now, b"none")]


@pytest.mark.parametrize("make", EXACT)
def test_gelus_of_other_forms_are_written_as_onnx_runtime_fuses_them(make: Any) -> None:
    net = OnnxNet((5, 4, 6))
    make(net)
    assert kinds(near(net, "onnx-gelu", tolerance=1e-4)) == ["Div", "Erf", "Add", "Mul", "Mul"]
    assert rewritten(near(net, "onnx-gelu", tolerance=1e-4), "onnx-gelu")[1] == 0


CHANGES = [
    *("sum", "half of another", "vector half", "quotient", "vector root", "vector one", "two", "added", "itself"),
    *("read", "read erf"),
]


@pytest.mark.parametrize(
    ("make", "what", "change"),
    [
        *((erfc, "onnx-gelu", change) for change in [*CHANGES, "abs", "product with a constant", "sum of both"]),
        *((erf_form, "onnx-float-gelu", change) for change in CHANGES),
    ],
)
def test_a_gelu_behind_what_is_none_is_found(make: Any, what: Any, change: str) -> None:
    net = OnnxNet((5, 4, 6))
    make(net, change)
    make(net)
    near(net, what, tolerance=1e-4)


@pytest.mark.parametrize(("make", "what"), [(erfc, "onnx-gelu"), (erf_form, "onnx-float-gelu")])
def test_terms_of_a_gelu_may_be_in_another_order(make: Any, what: Any) -> None:
    net = OnnxNet((5, 4, 6))
    make(net, "turned")
    near(net, what, tolerance=1e-4)


@pytest.mark.parametrize(("make", "what"), [(erfc, "onnx-gelu"), (erf_form, "onnx-float-gelu")])
@pytest.mark.parametrize("known", [True, False])
def test_a_gelu_of_unknown_shape_stays(make: Any, what: Any, known: bool) -> None:
    net = OnnxNet((5, 4, 6))
    make(net)
    model = net.model()
    del model.graph.value_info[:]
    if not known:
        model.graph.input[0].type.tensor_type.ClearField("shape")
        model.graph.output[0].type.tensor_type.ClearField("shape")
    changed, made = rewritten(model, what)
    assert made == known
    if known and what == "onnx-float-gelu":
        (value,) = changed.graph.value_info
        assert value.name in {name for node in changed.graph.node for name in node.output if node.op_type == "Gelu"}
        batch, *others = value.type.tensor_type.shape.dim
        assert not batch.HasField("dim_value")
        assert [dim.dim_value for dim in others] == [5, 4, 6]
