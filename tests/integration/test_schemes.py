"""Every row of the scheme table: what the file takes and gives, what it says of itself, how near its parent it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st

from edgepress.converters.files import sha256_of
from edgepress.converters.schemes import ALL, SCHEMES, parse_schemes
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.passes import operations
from edgepress.runtime import InputError, load, read_contract

# Largest error of a probability, and smallest share of equal top labels, against the Keras parent on 360 test images.
BOUNDS = {
    "float32": (1e-5, 1.0),
    "float16": (5e-3, 0.997),
    "dynamic": (0.15, 0.98),
    "int8": (0.25, 0.98),
    "int16x8": (0.10, 0.99),
    "int4": (0.4, 0.97),
    "weights8": (0.1, 0.99),
    "mixed": (0.25, 0.98),
}
# Largest size against the float32 file of the same format, contract included.
SIZES = {
    "float32": 1.0,
    "float16": 0.54,
    "dynamic": 0.32,
    "int8": 0.32,
    "int16x8": 0.32,
    "int4": 0.22,
    "weights8": 0.32,
    "mixed": 0.32,
}

scheme_table = pytest.mark.parametrize("name", list(SCHEMES))


@pytest.fixture(scope="session")
def parent_scores(run: Any, digits: Any) -> Any:
    from edgepress.converters.sources.keras import load_keras

    x = digits.test.read(slice(None)).astype(np.float32)
    return load_keras(run.model).predict(x, verbose=0, batch_size=360)


@scheme_table
def test_answers_like_its_parent(name: str, run: Any, digits: Any, parent_scores: Any) -> None:
    scores = load(run.variants[name]).scores(digits.test.read(slice(None)))
    error, agreement = BOUNDS[SCHEMES[name].precision]
    assert scores.dtype == np.float32
    assert scores.shape == (360, 10)
    assert np.abs(scores - parent_scores).max() <= error
    assert (scores.argmax(1) == parent_scores.argmax(1)).mean() >= agreement
    np.testing.assert_allclose(scores.sum(1), 1, atol=0.03)


@scheme_table
def test_is_as_small_as_promised(name: str, run: Any) -> None:
    whole = run.variants[f"{SCHEMES[name].format}-float32"].stat().st_size
    # ONNX keeps nine QuantizeLinear pairs by name, which weighs in a file of 60 kB.
    allowance = 0.04 if SCHEMES[name].format == "onnx" else 0.0
    assert run.variants[name].stat().st_size <= (SIZES[SCHEMES[name].precision] + allowance) * whole


@scheme_table
def test_carries_its_contract(name: str, run: Any, digits: Any) -> None:
    contract = load(run.variants[name]).contract
    assert contract is not None
    assert contract.scheme == name
    assert contract.labels == digits.labels
    assert contract.input == digits.input
    assert contract.data == digits.record
    assert contract.parent_sha256 == sha256_of(run.model)
    assert contract.test_accuracy == pytest.approx(read_contract(run.model).test_accuracy)
    assert contract.tools["tensorflow"]


@pytest.mark.parametrize("name", [n for n in SCHEMES if n.startswith("tflite")])
def test_tflite_interface(name: str, run: Any) -> None:
    interpreter = Interpreter(model_path=str(run.variants[name]))
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (source["dtype"], tuple(source["shape"])) == (np.uint8, (1, 28, 28, 1))
    assert sink["dtype"] == (np.uint8 if SCHEMES[name].output_dtype == "uint8" else np.float32)
    names = operations(run.variants[name].read_bytes())
    assert not [n for n in names if n.startswith(("CUSTOM", "Flex"))]
    assert not {"SHAPE", "PACK", "STRIDED_SLICE"} & set(names), "a free batch dimension was left in"
    first = {"int8": ["DEQUANTIZE", "QUANTIZE"], "mixed": ["DEQUANTIZE", "QUANTIZE"], "int16x8": ["CAST", "QUANTIZE"]}
    expected = {**first, "int4": first["int8"]}.get(SCHEMES[name].precision, ["CAST"])
    assert names[: len(expected)] == expected


def test_int8_is_integer_between_its_ends(run: Any) -> None:
    path = run.variants["tflite-int8"]
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    floats = {d["index"] for d in interpreter.get_tensor_details() if np.dtype(d["dtype"]).kind == "f"}
    graph = Graph(path.read_bytes())
    weighted = [op for op in graph.operators if graph.kind(op) in ("CONV_2D", "FULLY_CONNECTED")]
    assert weighted
    assert not floats & {int(i) for op in weighted for i in (*op.inputs, *op.outputs)}
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert source["quantization"] == (1.0, 0)
    assert sink["quantization"] == (1 / 256, 0)


@pytest.mark.parametrize("name", [n for n in SCHEMES if n.startswith("onnx")])
def test_onnx_interface(name: str, run: Any) -> None:
    import onnx

    model = onnx.load(run.variants[name])
    onnx.checker.check_model(model, full_check=True)
    (source,), (sink,) = model.graph.input, model.graph.output
    assert source.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert sink.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert source.type.tensor_type.shape.dim[0].dim_param == sink.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [d.dim_value for d in source.type.tensor_type.shape.dim[1:]] == [28, 28, 1]
    assert {o.domain for o in model.opset_import} == {""}, "an operation that only some runtimes have"
    assert {p.key for p in model.metadata_props} >= {"edgepress.json", "labels.txt"}


def test_parse_schemes() -> None:
    assert parse_schemes("all") == ALL
    assert {*SCHEMES} - {*ALL} == {"tflite-int4", "tflite-weights8", "onnx-int4", "tflite-mixed", "onnx-mixed"}
    assert parse_schemes("onnx-int4,all") == ("onnx-int4", *ALL)
    assert parse_schemes("onnx-int8, tflite-int8,onnx-int8") == ("onnx-int8", "tflite-int8")
    assert parse_schemes("onnx") == tuple(n for n in ALL if n.startswith("onnx"))
    with pytest.raises(InputError, match="'tflite-int8'"):
        parse_schemes("tflite-in8")
    with pytest.raises(InputError, match="No scheme"):
        parse_schemes(" , ")


@given(st.lists(st.sampled_from(sorted(SCHEMES)), min_size=1, max_size=4), st.sampled_from([",", " , ", ", "]))
def test_a_list_of_schemes_is_read_in_any_spacing(names: list[str], comma: str) -> None:
    found = parse_schemes(comma.join(names))
    assert set(found) == set(names)


@given(st.text(max_size=20))
def test_any_text_is_a_list_of_schemes_or_one_error(text: str) -> None:
    try:
        found = parse_schemes(text)
    except InputError:
        return
    assert found
    assert set(found) <= set(SCHEMES)
