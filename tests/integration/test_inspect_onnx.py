"""`edgepress inspect` of ONNX files that others made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inspecting import row_of

from edgepress.converters.inspection import Inspection, read
from edgepress.converters.inspection.report import Port
from edgepress.toolkit.conversion.inspection import inspect


def test_onnx_of_others(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, "wide"])
    sink = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Mine", ["c"], ["y"], name="mine", domain="my.domain"),
    ]
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("my.domain", 1)]
    model = helper.make_model(helper.make_graph(nodes, "g", [source], [sink], [weight]), opset_imports=opsets)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    f = inspect(path)
    assert f.contract is None
    assert f.inputs == (Port(name="x", shape=(None, 3, 8, None), dtype="float32"),)
    assert (row_of(f, "Conv")["macs"], f.parameters) == (8 * 1 * 4 * 3, 12)
    assert f.custom_operations == ("my.domain.Mine",)
    assert f.macs_not_counted == ("my.domain.Mine",)
    assert f.peak_activation_bytes is None
    assert any("x[3]" in note for note in f.notes)
    assert f.engine is not None
    assert not f.engine.opens


def onnx_model(path: Path, nodes: list[Any], source: Any, sink: Any, constants: dict[str, Any]) -> Inspection:
    """Write an `.onnx` from x to y and read it; a node is its operation, inputs, output and attributes."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", source), ("y", sink))]
    made = [helper.make_node(kind, inputs, [output], **more) for kind, inputs, output, more in nodes]
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(made, "g", ends[:1], ends[1:], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return read(path)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_an_onnx_lstm_counts_its_two_matrices(tmp_path: Path, dtype: Any) -> None:
    shapes = {"w": (1, 24, 4), "r": (1, 24, 6), "b": (1, 48), "h": (1, 1, 6)}
    constants = {f"{name}16": np.ones(shape, dtype) for name, shape in shapes.items()}
    casts = [("Cast", [f"{name}16"], name, {"to": 1}) for name in shapes]
    step = ("LSTM", ["x", "w", "r", "b", "", "h", "h"], "y", {"hidden_size": 6})
    f = onnx_model(tmp_path / "model.onnx", [*casts, step], [10, 1, 4], [10, 1, 1, 6], constants)
    assert (f.macs, f.macs_not_counted) == (10 * 24 * 10, ())


def test_an_onnx_product_may_transpose_its_first_factor(tmp_path: Path) -> None:
    step = ("Gemm", ["x", "w"], "y", {"transA": 1})
    f = onnx_model(tmp_path / "model.onnx", [step], [16, 1], [1, 3], {"w": np.ones((16, 3), np.float32)})
    assert f.macs == 48


def test_onnx_branches_are_not_counted(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    bodies = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3])],
        )
        for name in ("then", "else")
    }
    constants = {"w": np.ones((4, 3), np.float32), "c": np.array(True)}
    f = onnx_model(tmp_path / "model.onnx", [("If", ["c"], "y", bodies)], [1, 4], [1, 3], constants)
    assert f.macs_not_counted == ("If",)
    assert f.notes == ("Not inspected: the bodies of If.",)


@pytest.mark.parametrize(("shape", "peak"), [((-1, 2, 2), 4 * (16 + 4)), ((8, 2, 2), None)])
def test_figures_of_an_onnx_file_with_a_fixed_batch_are_for_one(tmp_path: Path, shape: Any, peak: int | None) -> None:
    constants = {"w": np.ones((16, 4), np.float32), "s": np.array(shape)}
    nodes = [("MatMul", ["x", "w"], "a", {}), ("Reshape", ["a", "s"], "y", {})]
    f = onnx_model(tmp_path / "model.onnx", nodes, [8, 16], [8, 2, 2], constants)
    assert f.inputs[0].shape == (8, 16)
    assert (f.macs, f.peak_activation_bytes) == (64, peak)
    assert any("8 items" in note or "is 8, taken as a batch" in note for note in f.notes)
