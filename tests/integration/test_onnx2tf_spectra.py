"""Fourier transforms of ONNX models as products, for onnx2tf, which converts none."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_rewriting import OnnxNet

from edgepress.converters.to_onnx.onnx2tf_forms import with_onnx2tf_forms


def number(value: int) -> Any:
    return np.array(value, np.int64)


NONE = ""
WINDOW = np.hanning(8).astype(np.float32)
CASES: dict[str, tuple[tuple[int, ...], int, str, list[Any], dict[str, Any]]] = {
    "half of a real one": ((6, 1), 17, "DFT", [], {"onesided": 1}),
    "a whole real one": ((6, 1), 17, "DFT", [], {}),
    "a longer one": ((6, 1), 17, "DFT", [number(9)], {"onesided": 1}),
    "a shorter one": ((6, 1), 17, "DFT", [number(4)], {}),
    "a complex one": ((6, 2), 17, "DFT", [], {}),
    "an inverse one": ((6, 2), 17, "DFT", [], {"inverse": 1}),
    "another axis": ((3, 6, 1), 17, "DFT", [], {"axis": 2, "onesided": 1}),
    "the axis of an input": ((6, 3, 2), 20, "DFT", [NONE, number(1)], {}),
    "the axis of the default": ((3, 6, 2), 20, "DFT", [], {}),
    "the inverse of a half": ((4, 2), 20, "DFT", [number(7), number(-2)], {"onesided": 1, "inverse": 1}),
    "frames in a window": ((30, 1), 17, "STFT", [number(3), WINDOW, number(8)], {}),
    "frames in a window of no other length": ((30, 1), 17, "STFT", [number(4), WINDOW], {"onesided": 0}),
    "frames without a window": ((30, 1), 17, "STFT", [number(5), NONE, number(7)], {}),
}


def transform(name: str) -> onnx.ModelProto:
    shape, opset, kind, inputs, attributes = CASES[name]
    net = OnnxNet(shape)
    net.add(kind, "input", *inputs, **attributes)
    model = net.model(opset=opset)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    return onnx.shape_inference.infer_shapes(model)


def run(model: onnx.ModelProto, items: Any) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"input": items})[0]


@pytest.mark.parametrize("name", CASES)
def test_transforms_become_products(name: str) -> None:
    """onnx2tf made custom operations of them, so that no model with `torch.stft` or `torch.fft` became TFLite."""
    model = transform(name)
    items = np.random.default_rng(0).normal(size=(1, *CASES[name][0])).astype(np.float32)
    before = run(model, items)
    written = with_onnx2tf_forms(model)
    onnx.checker.check_model(written)
    assert not {"DFT", "STFT"} & {node.op_type for node in written.graph.node}
    after = run(written, items)
    assert after.shape == before.shape
    np.testing.assert_allclose(after, before, atol=1e-5)


@pytest.mark.parametrize("place", [1, 3])
def test_a_transform_of_a_computed_size_stays(place: int) -> None:
    model = transform("frames in a window")
    (node,) = model.graph.node
    model.graph.input.append(onnx.helper.make_tensor_value_info("size", onnx.TensorProto.INT64, []))
    node.input[place] = "size"
    assert [each.op_type for each in with_onnx2tf_forms(model).graph.node] == ["STFT"]


def test_frames_of_complex_numbers_stay() -> None:
    model = transform("frames in a window")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 2
    assert [node.op_type for node in with_onnx2tf_forms(model).graph.node] == ["STFT"]


@pytest.mark.parametrize(("name", "most"), [("a longer one", 2 * 6 * 9), ("frames in a window", 2 * 8 * 8)])
def test_transforms_of_too_large_matrices_stay(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of seconds of sound took gigabytes."""
    for limit, stays in ((most, False), (most - 1, True)):
        monkeypatch.setattr("edgepress.converters.to_onnx.onnx2tf_spectra.MOST", limit)
        kinds = {node.op_type for node in with_onnx2tf_forms(transform(name)).graph.node}
        assert bool(kinds & {"DFT", "STFT"}) == stays
