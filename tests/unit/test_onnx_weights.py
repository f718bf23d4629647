"""A quantized ONNX file is found to be of a float file by the weights that both name, if few tensors have one name."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepress.converters.diagnosis.aligning import is_made_of
from edgepress.converters.diagnosis.files import OnnxFile

WEIGHTS = np.random.default_rng(3).normal(size=(2, 4, 4)).astype(np.float32)


def model_of(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], output: str) -> OnnxFile:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("input", output)]
    stored = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], stored)
    return OnnxFile(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def float_file() -> OnnxFile:
    """Two layers with activations, between an identity at each end, as converters write them."""
    nodes = [helper.make_node("Identity", ["input"], ["taken"])]
    before = "taken"
    for name in "ab":
        nodes += [helper.make_node("MatMul", [before, f"weights_{name}"], [f"{name}_linear"])]
        nodes += [helper.make_node("Relu", [f"{name}_linear"], [before := name])]
    nodes += [helper.make_node("Identity", ["b"], ["Identity"])]
    return model_of(nodes, {f"weights_{n}": w for n, w in zip("ab", WEIGHTS, strict=True)}, "Identity")


def int8_file(prefix: str) -> OnnxFile:
    """The same without the activations, with other names of all tensors but one."""
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, np.ndarray] = {}
    before = "input"
    for name, made, weights in zip("ab", ("a", "scores"), WEIGHTS, strict=True):
        stem = f"{prefix}{name}"
        scale = np.float32(np.abs(weights).max() / 127)
        constants |= {f"{stem}_scale": scale, f"{stem}_quantized": np.rint(weights / scale).astype(np.int8)}
        held = f"{stem}_DequantizeLinear_Output"
        nodes += [helper.make_node("DequantizeLinear", [f"{stem}_quantized", f"{stem}_scale"], [held])]
        nodes += [helper.make_node("MatMul", [before, held], [before := made])]
    return model_of(nodes, constants, "scores")


@pytest.mark.parametrize(("prefix", "found"), [("weights_", True), ("others_", False)])
def test_weights_tell_what_a_file_was_made_of(prefix: str, found: bool) -> None:
    file = int8_file(prefix)
    reference = float_file()
    assert len({*file.names} & {*reference.names}) < len(reference.names) / 2
    assert is_made_of(file, reference) == found
    assert is_made_of(reference, reference)
