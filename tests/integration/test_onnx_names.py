"""Names in quantized ONNX files: what the quantizer adds has short ones, what people look for keeps its own."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnx_rewriting import OnnxNet

from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx.convert import shorten_names
from edgepress.converters.to_onnx.quantize import with_scheme

SHAPE = (3, 6, 5)
ITEMS = np.random.default_rng(0).normal(size=(16, *SHAPE)).astype(np.float32)


def quantized() -> onnx.ModelProto:
    net = OnnxNet(SHAPE)
    net.conv(4, 3, (3, 3))
    net.add("Relu")
    net.conv(2, 4, (1, 1))
    model = net.model()
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name if name == "input" else f"a_net/with/long_names/{name}" for name in names]
    for value in (*model.graph.initializer, *model.graph.output):
        value.name = f"a_net/with/long_names/{value.name}"
    return with_scheme(model, SCHEMES["onnx-int8"], lambda: [ITEMS], None)


def answers(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    result: np.ndarray = session.run(None, {"input": ITEMS})[0]
    return result


def test_what_the_quantizer_adds_has_short_names() -> None:
    model = quantized()
    before = answers(model)
    size = model.ByteSize()
    weights = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 1}
    layers = {node.name for node in model.graph.node if node.op_type == "Conv"}
    values = {name for node in model.graph.node if node.op_type == "Conv" for name in node.output}
    ends = [value.name for value in (*model.graph.input, *model.graph.output)]
    shorten_names(model)
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_array_equal(answers(model), before)
    assert model.ByteSize() < 0.7 * size
    assert weights <= {tensor.name for tensor in model.graph.initializer}
    assert layers == {node.name for node in model.graph.node if node.op_type == "Conv"}
    assert values == {name for node in model.graph.node if node.op_type == "Conv" for name in node.output}
    assert ends == [value.name for value in (*model.graph.input, *model.graph.output)]
    shorter = model.SerializeToString()
    shorten_names(model)
    assert model.SerializeToString() == shorter


def test_names_that_others_have_are_not_taken() -> None:
    """Nor are those changed that the graph inside a node reads."""
    net = OnnxNet(SHAPE)
    first = net.quantized(0.1, 128)
    inner = helper.make_graph(
        [helper.make_node("Neg", [first], ["negative"])], "inner", [], [helper.make_empty_tensor_value_info("negative")]
    )
    net.add("If", net.constant(np.array(True)), then_branch=inner, else_branch=inner)
    net.quantized(0.2, 100)
    net.add("Relu")
    model = net.model()
    before = answers(model)
    for node in model.graph.node:  # the name that the first scale would get
        for names in (node.input, node.output):
            names[:] = ["s0" if name == "Relu_5" else name for name in names]
    model.graph.output[0].name = "s0"
    shorten_names(model)
    np.testing.assert_array_equal(answers(model), before)
    assert first in [name for node in model.graph.node for name in node.output]


def test_names_inside_graphs_are_not_taken() -> None:
    net = OnnxNet(SHAPE)
    net.quantized(0.1, 128)
    names = ["q0", "s0"]
    inner = helper.make_graph(
        [helper.make_node("Neg", [names[1]], [names[0]]), helper.make_node("Abs", [names[0]], ["end"])],
        "inner",
        [],
        [helper.make_empty_tensor_value_info("end")],
    )
    first = net.now
    chosen = net.add("If", net.constant(np.array(True)), then_branch=inner, else_branch=inner)
    net.add("Add", first, chosen)
    model = net.model()
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(3, np.float32), names[1]))
    before = answers(model)
    shorten_names(model)
    np.testing.assert_array_equal(answers(model), before)
