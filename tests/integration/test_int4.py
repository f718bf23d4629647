"""Weights of four bits: which layers get them, the same integers in both formats, and that engines unpack them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from rewriting import Net, answer, rewrite

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.inspection import read
from edgepress.converters.proof.verify import remainder
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx import quantize
from edgepress.converters.to_onnx.grids import four_bit_weights, pack
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.grids import LEVELS, four_bit_layers
from edgepress.runtime import load
from edgepress.runtime.sessions import onnx_session
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.measurement.benchmarking.plan import make_plan

INT4 = 17
"""The schema's number of the type."""


def net() -> Net:
    """A first convolution, one of each kind, and a last one."""
    made = Net((8, 8), 3)
    made.conv(16, (3, 3), act=1)
    made.depthwise((3, 3), act=1)
    made.conv(32, act=1)
    made.conv(16, (3, 3), stride=2, act=1)
    made.conv(16, groups=2, act=1)
    made.conv(8, act=1)  # of 128 weights
    made.conv(40, act=1)
    made.conv(10)
    return made


def stored(model: bytes) -> dict[str, tuple[str, int]]:
    """The kind of each layer and the type of its weights, by the name of its output."""
    graph = Graph(model)
    layers = [op for op in graph.operators if graph.kind(op) in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")]
    return {
        graph.name(int(op.outputs[0])): (graph.kind(op), graph.table.tensors[int(op.inputs[1])].type) for op in layers
    }


def integers(model: bytes) -> dict[str, Any]:
    """Weights of four bits, int8, by the name of the layer's output, shape (outputs, values)."""
    graph, found = Graph(model), {}
    for op in graph.operators:
        tensor = graph.table.tensors[int(op.inputs[1])] if len(op.inputs) > 1 else None
        if tensor is not None and tensor.type == INT4:
            data = np.asarray(graph.root.buffers[tensor.buffer].data, np.uint8).view(np.int8)
            both = np.stack([(data << 4).astype(np.int8) >> 4, data >> 4], axis=1).ravel()
            found[graph.name(int(op.outputs[0]))] = both[: int(np.prod(tensor.shape))].reshape(tensor.shape[0], -1)
    return found


@pytest.mark.parametrize("rewritten", [True, False])
def test_layers_between_the_first_and_the_last_get_four_bits(rewritten: bool) -> None:
    made = net()
    if rewritten:
        assert rewrite("dense-products", made.graph) == 2
    model = made.model()
    file = with_scheme(model, SCHEMES["tflite-int4"], _ranges(model), uint8=False)
    found = stored(file)
    few = [name for name, (_, type) in found.items() if type == INT4]
    assert few == ["layer3", "layer4", "layer7"]
    assert {found[name][0] for name in ("layer3", "layer7")} == {"FULLY_CONNECTED" if rewritten else "CONV_2D"}
    graph = Graph(model)
    for op in four_bit_layers(graph):
        weights = graph.constant(int(op.inputs[1]))
        assert weights is not None
        flat = weights.reshape(len(weights), -1)
        step = np.abs(flat).max(axis=1, keepdims=True) / LEVELS
        np.testing.assert_array_equal(integers(file)[graph.name(int(op.outputs[0]))], np.rint(flat / step))


def test_dense_products_answer_the_same() -> None:
    made = net()
    before = made.model()
    rewrite("dense-products", made.graph)
    np.testing.assert_allclose(answer(made.model()), answer(before), rtol=1e-4, atol=1e-4)


def test_both_formats_store_the_same_integers(run: Any) -> None:
    """Of LeNet; the kernels' axes differ between the formats."""
    tflite = integers(run.variants["tflite-int4"].read_bytes())
    model = onnx.load(run.variants["onnx-int4"])
    few = [numpy_helper.to_array(t).astype(np.int8) for t in model.graph.initializer if t.data_type == 22]
    assert len(few) == len(tflite) >= 2
    for one, other in zip(tflite.values(), few, strict=True):
        matrix = other if other.shape[0] == one.shape[0] else other.T
        np.testing.assert_array_equal(np.sort(matrix.reshape(len(one), -1), axis=1), np.sort(one, axis=1))
        assert np.abs(one).max(axis=1).min() == LEVELS


def test_onnx_runtime_computes_weights_of_four_bits_in_integers(run: Any, tmp_path: Any) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(str(run.variants["onnx-int4"]), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert {"QLinearConv", "QGemm"} <= {*kinds}
    assert not {"Conv", "Gemm", "FusedConv", "FusedGemm", "MatMul"} & {*kinds}


def test_a_file_of_four_bits_says_what_runs_it(run: Any) -> None:
    tflite, other = (read(run.variants[name]).runtime for name in ("tflite-int4", "onnx-int4"))
    assert tflite is not None
    assert other is not None
    assert tflite.releases == {"tensorflow_lite": "2.19", "tflite_runtime": None, "ai_edge_litert": "1.1.0"}
    assert other.releases == {"onnxruntime": "1.23"}
    assert "Cast int4" in other.because


def test_bits_behind_older_operators_are_converted() -> None:
    """ReduceMean takes its axes as an input since operator set 18."""
    random = np.random.default_rng(0)
    weights = [random.normal(size=shape).astype(np.float32) for shape in ((8, 3, 3, 3), (8, 8, 3, 3), (8, 4))]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], pads=[1] * 4),
        helper.make_node("Conv", ["a", "w1"], ["b"], pads=[1] * 4),
        helper.make_node("ReduceMean", ["b"], ["c"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["c", "w2"], ["y"]),
    ]
    ends = [
        helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in (("x", ["n", 3, 6, 6]), ("y", ["n", 4]))
    ]
    constants = [numpy_helper.from_array(w, f"w{n}") for n, w in enumerate(weights)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert four_bit_weights(model) == {"w1": 0}
    items = random.normal(size=(16, 3, 6, 6)).astype(np.float32)
    made = quantize.with_scheme(model, SCHEMES["onnx-int4"], lambda: [items], None)
    eight = quantize.with_scheme(model, SCHEMES["onnx-int8"], lambda: [items], None)
    assert {o.version for o in made.opset_import} == {21}
    assert {o.version for o in eight.opset_import} == {17}
    truth, found, near = (_scores(m, items) for m in (model, made, eight))
    noise = [10 * np.log10((truth**2).sum() / ((one - truth) ** 2).sum()) for one in (found, near)]
    assert 8 < noise[0] < noise[1]


def _scores(model: onnx.ModelProto, items: Any) -> Any:
    session = onnx_session(onnxruntime, model.SerializeToString())
    return np.concatenate([session.run(None, {"x": item[np.newaxis]})[0] for item in items])


def test_weights_that_the_quantizer_left_alone_stay() -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        *([helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 4])] for n in "xy"),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert pack(model, model, {"w": 0}) is model
    assert model.opset_import[0].version == 17


def test_weights8_computes_in_float(run: Any, digits: Any) -> None:
    found = read(run.variants["tflite-weights8"])
    work = {n.computes_in for n in found.nodes if n.macs}
    assert work == {"float32"}
    assert {w.dtype for w in found.weights if w.size_bytes > 1000} == {"int8"}
    items = digits.test.read(slice(100))
    near, exact = (load(run.variants[name]).scores(items) for name in ("tflite-weights8", "tflite-float32"))
    assert 0 < np.abs(near - exact).max() < 0.05


def test_a_net_without_a_layer_for_four_bits_is_noted(tmp_path: Any) -> None:
    made = Net((8, 8), 3)
    made.conv(16, (3, 3))
    made.conv(8)
    path = tmp_path / "m.tflite"
    path.write_bytes(with_scheme(made.model(), SCHEMES["tflite-int4"], _ranges(made.model()), uint8=False))
    assert any("no weights have 4 bits" in note for note in remainder(path, SCHEMES["tflite-int4"]))
    path.write_bytes(with_scheme(net().model(), SCHEMES["tflite-int4"], _ranges(net().model()), uint8=False))
    assert not remainder(path, SCHEMES["tflite-int4"])


def _ranges(model: bytes) -> Any:
    items = np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype(np.float32)
    return tflite_statistics(model, lambda: [items], None).ranges()


def test_an_engine_that_lacks_a_scheme_is_not_measured_with_it(run: Any) -> None:
    files = [run.variants[name] for name in ("tflite-int4", "tflite-int8")]
    plan = make_plan(files, None, BenchmarkOptions(engine="openvino,litert"))
    found = {(pair.file.name, pair.engine) for pair in plan.pairs}
    assert found == {(files[0].name, "litert"), (files[1].name, "litert"), (files[1].name, "openvino")}
    assert [note for note in plan.notes if "openvino" in note and files[0].name in note]
    with pytest.raises(InputError, match="No engine of openvino"):
        make_plan(files[:1], None, BenchmarkOptions(engine="openvino"))
