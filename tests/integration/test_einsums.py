"""Einsum with constant weights becomes the matrix products that quantizers know."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx_rewriting import OnnxNet, answer, kinds

from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx.forms import with_plain_forms
from edgepress.converters.to_onnx.quantize import with_scheme

SHAPES = {
    "bnc,cd->bnd": (6, 4),
    "bnc,dc->bdn": (4, 6),
    "qc,bnc->bqn": (3, 6),
    "bnc,ech->bneh": (3, 6, 4),
    "ech,bnc->enbh": (3, 6, 4),
    "bnc,nc->b": (5, 6),
    "b n c, d c -> b d n": (4, 6),
    "bnec,ech->bneh": (2, 6, 4),
    "enc,bnec->b": (2, 5, 6),
    "bnec,ech->ebhn": (2, 6, 4),
}
"""Shape of the weights by the equation."""


def net_of(equation: str, shape: tuple[int, ...]) -> OnnxNet:
    first, second = equation.replace(" ", "").partition("->")[0].split(",")
    net = OnnxNet((5, 2, 6) if "bnec" in (first, second) else (5, 6), seed=1)
    factors = [net.add("Relu"), net.random.normal(size=shape).astype(np.float32)]
    net.add("Einsum", *(factors if first[0] == "b" else factors[::-1]), equation=equation)
    return net


@pytest.mark.parametrize(("equation", "shape"), SHAPES.items())
@pytest.mark.parametrize("count", [1, 3])
def test_products_with_weights_are_matrix_products(equation: str, shape: tuple[int, ...], count: int) -> None:
    net = net_of(equation, shape)
    model = net.model()
    items = net.items(count)
    plain = with_plain_forms(model)
    assert "MatMul" in kinds(plain)
    assert "Einsum" not in kinds(plain)
    np.testing.assert_allclose(answer(plain, items), answer(model, items), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("bnc,ncd,bnd->bn", ["Relu", "MatMul", "Einsum"]),
        ("bnc,cd,de->bne", ["Relu", "MatMul", "MatMul"]),
        ("bnc,bnc,cd->bd", ["Relu", "Einsum", "MatMul"]),
        ("bnn,nd,de->be", ["Relu", "Einsum", "MatMul"]),
    ],
)
def test_products_of_more_factors_are_products_of_two(equation: str, expected: list[str]) -> None:
    """A Mahalanobis distance."""
    sizes = {"b": 1, "n": 5, "c": 6, "d": 4, "e": 3}
    terms = equation.partition("->")[0].split(",")
    net = OnnxNet(tuple(sizes[letter] for letter in terms[0][1:]), seed=1)
    first = net.add("Relu")
    others = {term: net.random.normal(size=[sizes[letter] for letter in term]).astype(np.float32) for term in terms[1:]}
    net.add("Einsum", first, *(first if term == terms[0] else others[term] for term in terms[1:]), equation=equation)
    model = net.model()
    plain = with_plain_forms(model)
    assert [kind for kind in kinds(plain) if kind not in ("Reshape", "Transpose")] == expected
    assert all(len(node.input) < 3 for node in plain.graph.node)
    items = net.items()
    np.testing.assert_allclose(answer(plain, items), answer(model, items), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("equation", ["...c,cd,de->...e", "bnc,cd,de"])
def test_products_of_more_factors_without_all_letters_stay(equation: str) -> None:
    net = OnnxNet((5, 6), seed=1)
    net.add("Einsum", net.now, np.ones((6, 4), np.float32), np.ones((4, 3), np.float32), equation=equation)
    assert kinds(with_plain_forms(net.model())) == ["Einsum"]


@pytest.mark.parametrize("equation", ["bnc,cd->bnd", "cd,bnc->bdn"])
def test_a_product_with_a_constant_is_a_dense_layer(equation: str) -> None:
    plain = with_plain_forms(net_of(equation, (6, 4)).model())
    assert "MatMul" in kinds(plain)
    assert "Reshape" not in kinds(plain)


@pytest.mark.parametrize(
    ("equation", "constant"),
    [
        ("bnc,bmc->bnm", None),
        ("bnc,bnc->bnc", None),
        ("bnc,cd->bd", (6, 4)),
        ("bnc,c->bnc", (6,)),
        ("...c,cd->...d", (6, 4)),
        ("bnc,ccd->bnd", (6, 6, 4)),
        ("bnc,bcd->bnd", (1, 6, 4)),  # repeated for the items, whose number is not known
    ],
)
def test_other_sums_stay(equation: str, constant: tuple[int, ...] | None) -> None:
    net = OnnxNet((5, 6))
    before = net.add("Relu")
    net.add("Einsum", before, before if constant is None else np.ones(constant, np.float32), equation=equation)
    model = net.model()
    assert "Einsum" in kinds(with_plain_forms(model))


def test_weights_of_an_einsum_are_stored_in_bytes() -> None:
    net = OnnxNet((64, 48))
    net.add("Einsum", net.now, net.random.normal(size=(4, 48, 32)).astype(np.float32), equation="bnc,ech->bneh")
    net.add("Relu")
    model = with_plain_forms(net.model())
    file = with_scheme(model, SCHEMES["onnx-int8"], lambda: [net.items(8)], None)
    weights = [t for t in file.graph.initializer if int(np.prod(t.dims)) == 4 * 48 * 32]
    assert [t.data_type for t in weights] == [onnx.TensorProto.INT8]
    items = net.items(4)
    exact = answer(model, items)
    noise = np.square(answer(file, items, optimized=False) - exact).mean()
    assert 10 * np.log10(np.square(exact).mean() / noise) > 25
