"""Files of mixed precision: which tensors are float in both formats, names of layers, and options that are refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mixing import MIXED, Case, input_type, items, kept_in_wide, types, wide_case
from rewriting import Net

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.float_layers import NOTHING, FloatLayer, FloatLayers, layer_name
from edgepress.converters.graph.program import Program
from edgepress.converters.mixed_precision.sensitivity import layers_of
from edgepress.converters.ptq.score import Scorer
from edgepress.converters.rewrites.table import rewrites_for, rewritten_tflite
from edgepress.converters.schemes import SCHEMES, schemes_for
from edgepress.converters.to_onnx import quantize as to_onnx
from edgepress.converters.to_onnx.float_layers import float_nodes
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.convert import _with_extensions, with_scheme
from edgepress.converters.to_tflite.graph import Graph
from edgepress.runtime import InputError, load
from edgepress.toolkit.conversion.convert import convert


@pytest.fixture
def wide() -> Case:
    return wide_case()


@pytest.fixture
def kept() -> FloatLayers:
    return kept_in_wide()


def test_the_limit_holds_on_items_that_nobody_has_seen(wide: Case, kept: FloatLayers) -> None:
    judge = Scorer(wide.model, items(2, 400))
    plain, mixed = (judge.score_file(wide.make(choice)).agreement for choice in (NOTHING, kept))
    assert plain is not None
    assert mixed is not None
    assert plain < 0.7
    assert mixed > 0.92


@pytest.mark.parametrize("place", [0, 2])
def test_a_float_input_stays_float_where_the_first_layer_does(wide: Case, place: int) -> None:
    """Samples with rare large values lose the small ones in 256 steps."""
    layer = layers_of(Program(wide.model))[place]
    loud = items(3).copy()
    loud[0] *= 3000
    ranges = tflite_statistics(wide.model, lambda: [loud], None).ranges()
    kept = FloatLayers((FloatLayer(layer.name, layer.outputs, weights="float32"),))
    file = with_scheme(wide.model, MIXED, ranges, uint8=False, float_layers=kept)
    assert input_type(file) == (flat.UINT8 if place else flat.FLOAT32)
    pixels = with_scheme(wide.model, MIXED, ranges, uint8=True, float_layers=kept)
    assert input_type(pixels) == flat.UINT8, "pixels lose nothing"


def test_what_rewrites_put_in_front_of_a_float_layer_is_float_too() -> None:
    """The columns of a strided convolution become channels, behind PAD and RESHAPE."""
    made = Net((8, 8), 1, seed=4)
    made.conv(8, (3, 4), act=1, stride=2)
    made.conv(8, (3, 3), act=1)
    model = made.model()
    rewritten, done = rewritten_tflite(model, rewrites_for(MIXED, "cpu", "float"))
    assert {"wide-taps", "line-pads"} <= {*done}
    ranges = tflite_statistics(rewritten, lambda: [items(3)[..., :1]], None).ranges()
    first = layers_of(Program(model))[0]
    kept = FloatLayers((FloatLayer(first.name, first.outputs, weights="float32"),))
    file = with_scheme(rewritten, MIXED, ranges, uint8=False, float_layers=kept)
    assert input_type(file) == flat.FLOAT32
    kinds = types(file)
    before = list(kinds)[: list(kinds).index(first.outputs[0]) + 1]
    assert len(before) > 2
    assert {kinds[name] for name in before} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("name", "extends"), [("dense_columns", True), ("dense_pad_2", True), ("dense_1", False)])
def test_a_layer_whose_name_has_a_number_more_is_another_one(name: str, extends: bool) -> None:
    names = [name, "dense"]
    first, second = (SimpleNamespace(outputs=[i]) for i in range(2))
    graph: Any = SimpleNamespace(operators=[first, second], readers=lambda: {0: [second]}, name=names.__getitem__)
    graph.output_name = lambda operation: names[operation.outputs[0]]
    assert _with_extensions(graph, {"dense"}) == (sorted(names) if extends else ["dense"])


def test_the_onnx_file_keeps_the_same_layers(wide: Case, kept: FloatLayers) -> None:
    import onnxruntime

    model = float_onnx_of(wide.model)
    nodes = float_nodes(model, kept.layers)
    assert sum(node.op_type == "Conv" for node in model.graph.node if node.name in nodes) == 2

    def agreement(choice: FloatLayers) -> float:
        made = to_onnx.with_scheme(model, SCHEMES["onnx-mixed"], lambda: [items(0)], None, float_layers=choice)
        session = onnxruntime.InferenceSession(made.SerializeToString())
        name = session.get_inputs()[0].name
        found = np.concatenate([session.run(None, {name: item[np.newaxis]})[0] for item in items(2)])
        return float((found.argmax(1) == Program(wide.model).answers(items(2)).argmax(1)).mean())

    assert agreement(NOTHING) < 0.7
    assert agreement(kept) > 0.92


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        ("net/re_lu/Relu;net/bn/batchnorm/add_1;net/conv/convolution1", "net/conv"),
        ("net/block/bn/batchnorm/mul_1;net/block/dw/depthwise;net/bn/batchnorm/sub", "net/block/dw"),
        ("net/act/Sigmoid", "net/act"),
        ("net/bn/batchnorm/add_1", "net/bn"),
        ("scores", "scores"),
        ("", ""),
    ],
)
def test_layers_have_the_names_of_the_source(tensor: str, name: str) -> None:
    assert layer_name(tensor) == name


def test_layers_of_a_keras_model_have_its_names(run: Any) -> None:
    from edgepress.converters.adapter import InputAdapter
    from edgepress.converters.contract.hints import Hints
    from edgepress.converters.sources.open import open_source

    source = open_source(run.model, Hints())
    assert source.facts.contract is not None
    program = Program(source.tflite(InputAdapter.of(source.facts.contract)))
    names = [layer.name for layer in layers_of(program) if layer.weights]
    assert names == ["conv2d", "conv2d_1", "dense", "dense_1", "predictions"]


@pytest.mark.slow
def test_named_layers_of_a_keras_model_in_both_formats(run: Any, tmp_path: Path) -> None:
    said: list[str] = []
    made = convert(
        run.model, "tflite-mixed,onnx-mixed", out=tmp_path, keep_float="conv2d_1|^dense$", on_note=said.append
    )
    assert [v.error for v in made] == ["", ""]
    for variant in made:
        assert variant.path is not None
        contract = load(variant.path).contract
        assert contract is not None
        record = contract.compression["mixed"]
        assert {"conv2d_1", "dense"} <= {layer["name"] for layer in record["layers"]}
        assert dict(variant.compression) == dict(contract.compression)
        assert any(note.startswith("kept in float, ") for note in variant.notes)
        assert not any("does not support" in note for note in variant.notes)
        assert float_weights(variant.path) == 2
        assert variant.size_bytes is not None
        assert variant.size_bytes > run.variants[variant.scheme].stat().st_size


def float_weights(path: Path) -> int:
    """Number of operations with weights that are stored as float32."""
    if path.suffix == ".tflite":
        graph = Graph(path.read_bytes())
        weighted = [op for op in graph.operators if graph.kind(op) in ("CONV_2D", "FULLY_CONNECTED")]
        return sum(graph.dtype(int(op.inputs[1])) == np.float32 for op in weighted)
    import onnx

    model = onnx.load(path)
    stored = {t.name: t.data_type for t in model.graph.initializer}
    weighted = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    return sum(stored.get(node.input[1]) == onnx.TensorProto.FLOAT for node in weighted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "tflite-int8", "keep_float": "conv"}, "for schemes of mixed precision"),
        ({"to": "tflite-mixed", "keep_float": "conv("}, "not a valid regular expression"),
        ({"to": "tflite-mixed", "max_drop": -1.0}, "max_drop is -1; accepted: at least 0 and at most 100"),
        ({"to": "tflite-mixed", "target": "integer-only"}, "does not support float files: tflite-mixed"),
    ],
)
def test_options_that_can_not_be_used(options: dict[str, Any], message: str, run: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        convert(run.model, out=tmp_path, **options)
    assert "tflite-mixed" not in schemes_for("integer-only")


def test_what_has_no_weights_is_kept_without_them() -> None:
    layer = FloatLayer("pool", ("a",))
    assert FloatLayers((layer, FloatLayer("conv", ("b",), (), "int8"))).in_bytes == (
        FloatLayer("conv", ("b",), (), "int8"),
    )
