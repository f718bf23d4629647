"""ONNX models whose weights are in files beside them, as recent versions of PyTorch export them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepress.converters.to_onnx.opening import open_model
from edgepress.runtime.errors import ModelFileError

RNG = np.random.default_rng()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A dense layer of drawn sizes, with its weights in weights.bin."""
    inputs, outputs = (int(n) for n in RNG.integers(20, 60, 2))
    weights = numpy_helper.from_array(RNG.normal(size=(inputs, outputs)).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, inputs))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, outputs))],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file = tmp_path / "net.onnx"
    onnx.save(model, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return file


def test_they_are_read_and_a_missing_one_is_named(path: Path) -> None:
    session = onnxruntime.InferenceSession(path)
    x = RNG.normal(size=session.get_inputs()[0].shape).astype(np.float32)
    (expected,) = session.run(None, {"x": x})
    model, _ = open_model(path)
    (answer,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(answer, expected, rtol=1e-6)
    (path.parent / "weights.bin").unlink()
    with pytest.raises(ModelFileError, match=r"keeps its weights in weights\.bin, which is missing\.") as caught:
        open_model(path)
    assert "Copy it into the same folder" in caught.value.hint


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "a/../../weights.bin"])
def test_files_of_other_folders_are_not_read(path: Path, location: str) -> None:
    model = onnx.load(path, load_external_data=False)
    (path.parent.parent / "weights.bin").write_bytes((path.parent / "weights.bin").read_bytes())
    (entry,) = (e for e in model.graph.initializer[0].external_data if e.key == "location")
    entry.value = location
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError) as caught:
        open_model(path)
    assert "\n" not in caught.value.message


def test_a_cut_file_of_weights_is_an_error_of_the_model(path: Path) -> None:
    weights = path.parent / "weights.bin"
    weights.write_bytes(weights.read_bytes()[: RNG.integers(1, 1000)])
    with pytest.raises(ModelFileError, match="is not a valid ONNX model"):
        open_model(path)
