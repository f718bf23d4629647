"""Rewrites of ONNX graphs of transformer-like nets: products with a matrix, layer normalization, GELU."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx_rewriting import FLOAT, OnnxNet, kinds, near, rewritten

SHAPE = (5, 4, 6)


def tensordot(net: OnnxNet, given: int, *, rows: bool = True) -> None:
    """A product of the last axis, with shapes computed from that of the input."""
    value, taken = net.now, net.shape[-1]
    sizes = net.add("Shape", value)
    front = net.add("Gather", sizes, np.array([0, 1, 2]), axis=0)
    back = net.add("Concat", front, np.array([given]), axis=0)
    net.add("Reshape", value, np.array([-1, taken] if rows else [-1, taken * 2]))
    net.add("MatMul", net.random.normal(size=(taken if rows else taken * 2, given)).astype(np.float32))
    net.add("Reshape", net.now, back if rows else np.array([-1, 5, 2, given]))
    net.add("Add", np.ones(given, np.float32))


@pytest.mark.parametrize("given", [3, 6])
def test_a_product_of_the_last_axis_is_one_operation(given: int) -> None:
    net = OnnxNet(SHAPE)
    net.add("Relu")
    tensordot(net, given)
    assert kinds(near(net, "onnx-dense")) == ["Relu", "MatMul", "Add"]


def test_a_product_of_other_rows_stays() -> None:
    net = OnnxNet(SHAPE)
    net.add("Relu")
    tensordot(net, 3, rows=False)
    assert rewritten(net.model(), "onnx-dense")[1] == 0


def test_products_behind_others_that_stay_are_found() -> None:
    """A product without shapes around it, and one of other rows."""
    net = OnnxNet(SHAPE)
    net.add("MatMul", net.random.normal(size=(SHAPE[-1], SHAPE[-1])).astype(np.float32))
    tensordot(net, 3, rows=False)
    net.add("Relu")
    value, rows = net.now, net.random.normal(size=(3, 3)).astype(np.float32)
    net.add("Reshape", value, np.array([-1, 3]))
    net.add("MatMul", rows)
    net.add("Reshape", net.now, np.array([-1, 5, 2, 3]))
    net.add("Relu")
    assert rewritten(net.model(), "onnx-dense")[1] == 1


def normalization(
    net: OnnxNet,
    axis: int,
    *,
    beta: bool,
    reshape: bool = True,
    second: int | None = None,
    turned: bool = False,
    keep: dict[str, int] | None = None,
) -> None:
    size, value = (None, *net.shape)[axis], net.now
    shape = tuple(size if i == axis else 1 for i in range(4))
    keep = {"keepdims": 1} if keep is None else keep
    mean = net.add("ReduceMean", value, axes=[axis], **keep)
    flat = net.add("Reshape", mean, np.array([-1, *(1 if i == axis else n for i, n in enumerate(net.shape, 1))]))
    off = net.add("Sub", value, flat if reshape else mean)
    square = net.add("Mul", off, off)
    net.add("ReduceMean", square, axes=[second or axis], **keep)
    net.add("Add", np.full((1, 1, 1, 1), 1e-3, np.float32))
    net.add("Sqrt")
    net.add("Reciprocal")
    factor = net.add("Mul", net.random.normal(size=shape).astype(np.float32))
    scaled = net.add("Mul", value, factor)
    if beta:
        net.add("Sub", net.constant(net.random.normal(size=shape).astype(np.float32)), net.add("Mul", mean, factor))
    else:
        net.add("Mul", net.add("Neg", mean), factor)
    net.add("Add", *((net.now, scaled) if turned else (scaled, net.now)))
    net.add("Relu")


@pytest.mark.parametrize("beta", [True, False])
@pytest.mark.parametrize("axis", [1, 3])
@pytest.mark.parametrize("reshape", [True, False])
def test_normalization_of_an_axis_is_one_operation(axis: int, beta: bool, reshape: bool) -> None:
    net = OnnxNet(SHAPE)
    net.add("Neg")
    normalization(net, axis, beta=beta, reshape=reshape)
    turned = ["Transpose"] if axis == 1 else []
    expected = ["Neg", *turned, "LayerNormalization", *turned, "Relu"]
    assert kinds(near(net, "onnx-layer-norm", tolerance=1e-5)) == expected


@pytest.mark.parametrize("beta", [True, False])
def test_terms_may_be_in_any_order_and_the_default_keeps_axes(beta: bool) -> None:
    net = OnnxNet(SHAPE)
    net.add("Neg")
    normalization(net, 3, beta=beta, turned=True, keep={})
    assert kinds(near(net, "onnx-layer-norm", tolerance=1e-5)) == ["Neg", "LayerNormalization", "Relu"]


def test_normalization_of_two_axes_stays() -> None:
    net = OnnxNet((4, 4, 4))
    normalization(net, 1, beta=True, reshape=False, second=2)
    assert rewritten(net.model(), "onnx-layer-norm")[1] == 0


def test_normalization_before_opset_17_stays() -> None:
    net = OnnxNet(SHAPE)
    net.add("Neg")
    normalization(net, 3, beta=True)
    model = net.model()
    model.opset_import[0].version = 16
    assert rewritten(model, "onnx-layer-norm")[1] == 0


def plain_normalization(net: OnnxNet, gamma: tuple[int, ...], beta: tuple[int, ...], dtype: type = np.float32) -> None:
    """Normalization of the channels, axis 1, with factors of any shapes."""
    value = net.add("Cast", "input", to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    mean = net.add("ReduceMean", value, axes=[1], keepdims=1)
    off = net.add("Sub", value, mean)
    net.add("ReduceMean", net.add("Mul", off, off), axes=[1], keepdims=1)
    net.add("Add", dtype(1e-3))
    net.add("Sqrt")
    net.add("Reciprocal")
    factors = [np.asarray(net.random.normal(size=shape)).astype(dtype) for shape in (gamma, beta)]
    factor = net.add("Mul", factors[0])
    scaled = net.add("Mul", value, factor)
    net.add("Add", scaled, net.add("Sub", net.constant(factors[1]), net.add("Mul", mean, factor)))
    net.add("Cast", net.now, to=FLOAT)


@pytest.mark.parametrize("gamma", [(), (1,), (4, 1, 1), (1, 4, 1, 1)])
@pytest.mark.parametrize("beta", [(), (1, 1), (4, 1, 1), (1, 4, 1, 1)])
def test_factors_of_a_normalization_may_lack_axes(gamma: tuple[int, ...], beta: tuple[int, ...]) -> None:
    net = OnnxNet((4, 4, 4))
    plain_normalization(net, gamma, beta)
    assert "LayerNormalization" in kinds(near(net, "onnx-layer-norm", tolerance=1e-5))


@pytest.mark.parametrize(
    ("gamma", "beta", "dtype"),
    [((4,), (4, 1, 1), np.float32), ((4, 1, 1), (4,), np.float32), ((), (4, 1), np.float32), ((), (), np.float64)],
)
def test_a_normalization_with_factors_along_other_axes_or_of_other_types_stays(
    gamma: tuple[int, ...], beta: tuple[int, ...], dtype: type
) -> None:
    net = OnnxNet((4, 4, 4))
    plain_normalization(net, gamma, beta, dtype)
    assert rewritten(net.model(), "onnx-layer-norm")[1] == 0


def erfc_gelu(
    net: OnnxNet, *, half: float = 0.5, root: float = np.sqrt(0.5), dtype: type = np.float32, end: bool = True
) -> None:
    value = net.now
    halved = net.add("Mul", net.constant(dtype(half)), value)
    net.add("Neg", value)
    net.add("Mul", dtype(root))
    net.add("Erf")
    net.add("Mul", halved, net.add("Sub", net.constant(dtype(1)), net.now))
    if end:
        net.add("Neg")


def test_gelu_is_written_as_it_is_fused() -> None:
    net = OnnxNet(SHAPE)
    net.add("Neg")
    erfc_gelu(net)
    found = near(net, "onnx-gelu", tolerance=1e-5)
    assert kinds(found) == ["Neg", "Div", "Erf", "Add", "Mul", "Mul", "Neg"]
    one, made = rewritten(found, "onnx-float-gelu")
    assert made == 1
    assert kinds(one) == ["Neg", "Gelu", "Neg"]


def test_a_gelu_behind_another_function_is_found() -> None:
    net = OnnxNet(SHAPE)
    net.add("Erf")
    net.add("Neg")
    erfc_gelu(net, half=0.4)
    erfc_gelu(net)
    assert rewritten(net.model(), "onnx-gelu")[1] == 1


@pytest.mark.parametrize("rewrite", ["onnx-gelu", "onnx-float-gelu"])
def test_a_gelu_that_is_the_output_keeps_its_name(rewrite) -> None:
    net = OnnxNet(SHAPE)
    value = net.add("Neg")
    if rewrite == "onnx-gelu":
        erfc_gelu(net, end=False)
    else:
        net.add("Div", np.float32(np.sqrt(2)))
        net.add("Erf")
        net.add("Mul", value, net.add("Add", np.float32(1)))
        net.add("Mul", np.float32(0.5))
    found = near(net, rewrite, tolerance=1e-5)
    assert found.graph.output[0].name == net.now


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_a_gelu_of_other_types_stays(dtype: type) -> None:
    net = OnnxNet(SHAPE)
    net.add("Cast", to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    erfc_gelu(net, dtype=dtype, end=False)
    net.add("Cast", to=FLOAT)
    assert rewritten(net.model(), "onnx-gelu")[1] == 0


@pytest.mark.parametrize("options", [{"half": 0.4}, {"root": 0.7}])
def test_what_is_no_gelu_stays(options) -> None:
    net = OnnxNet(SHAPE)
    net.add("Neg")
    erfc_gelu(net, **options)
    assert rewritten(net.model(), "onnx-gelu")[1] == 0


@pytest.mark.parametrize(
    ("root", "one", "half", "places"),
    [(np.sqrt(2), 1, 0.5, 1), (1.4, 1, 0.5, 0), (np.sqrt(2), 2, 0.5, 0), (np.sqrt(2), 1, 0.6, 0)],
)
def test_gelu_of_8_bits_is_one_operation(root: float, one: float, half: float, places: int) -> None:
    net = OnnxNet(SHAPE)
    value = net.add("Neg")
    net.add("Div", np.float32(root))
    net.add("Erf")
    net.add("Add", np.float32(one))
    net.add("Mul", value, net.now)
    net.add("Mul", np.float32(half))
    net.add("Neg")
    if places:
        near(net, "onnx-float-gelu", tolerance=1e-5)
    else:
        assert rewritten(net.model(), "onnx-float-gelu")[1] == 0
