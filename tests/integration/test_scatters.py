"""Scatters of ONNX models that add at constant places, as PyTorch writes the sums of nets on graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_rewriting import OnnxNet

from edgepress.converters.to_onnx.forms import with_plain_forms

PLACES = np.array([1, 0, 3, 1, -1])
VALUES = np.arange(4 * 3, dtype=np.float32).reshape(1, 4, 3)
WHOLE: dict[str, tuple[str, Any, Any, dict[str, Any]]] = {
    "rows": ("ScatterElements", VALUES, np.broadcast_to(PLACES[None, :, None], (1, 5, 3)), {"axis": 1}),
    "columns": ("ScatterElements", VALUES[:, :, :5], np.broadcast_to(PLACES, (1, 4, 5)), {"axis": -1}),
    "rows of a batch in the middle": ("ScatterND", VALUES[0][:, None], PLACES[:, None], {}),
}
PARTS: dict[str, tuple[str, Any, Any, dict[str, Any]]] = {
    "each of its own": ("ScatterElements", VALUES, np.random.default_rng(0).integers(0, 4, (1, 5, 3)), {"axis": 1}),
    "parts of rows": ("ScatterElements", VALUES, np.broadcast_to(PLACES[None, :, None], (1, 5, 2)), {"axis": 1}),
    "numbers of rows": ("ScatterND", VALUES[0], np.stack([PLACES % 4, PLACES % 3], 1), {}),
    "greatest": ("ScatterND", VALUES[0][:, None], PLACES[:, None], {"reduction": "max"}),
}


def scatter(kind: str, base: Any, places: Any, attributes: dict[str, Any]) -> tuple[onnx.ModelProto, Any]:
    """A model that scatters its input, and an item."""
    rows = (*places.shape[:-1], *base.shape[places.shape[-1] :])
    shape = rows if kind == "ScatterND" else places.shape
    if attributes.get("axis") == -1:
        base = np.zeros((1, 4, 4), np.float32)
    net = OnnxNet(shape[1:])
    net.add(kind, base, places.astype(np.int64), "input", **{"reduction": "add"} | attributes)
    model = net.model(opset=18)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = shape[0]
    return model, np.random.default_rng(0).normal(size=shape).astype(np.float32)


def run(model: onnx.ModelProto, items: Any) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"input": items})[0]


@pytest.mark.parametrize("name", WHOLE)
def test_sums_at_constant_places_become_products(name: str) -> None:
    """ONNX Runtime has no float16 kernel."""
    model, items = scatter(*WHOLE[name])
    plain = with_plain_forms(model)
    onnx.checker.check_model(plain)
    assert [node.op_type for node in plain.graph.node] == ["Transpose", "MatMul", "Transpose", "Add"]
    np.testing.assert_allclose(run(plain, items), run(model, items), atol=1e-5)


@pytest.mark.parametrize("name", PARTS)
def test_other_scatters_stay(name: str) -> None:
    model, _ = scatter(*PARTS[name])
    assert [node.op_type for node in with_plain_forms(model).graph.node] == [PARTS[name][0]]


def test_sums_of_too_many_places_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepress.converters.to_onnx.products.MOST", 19)
    model, _ = scatter(*WHOLE["rows"])
    assert [node.op_type for node in with_plain_forms(model).graph.node] == ["ScatterElements"]
