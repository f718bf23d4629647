"""Quantized TFLite files as float ones: what their integers, scales and ranges stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")

from edgepress.converters.graph.program import litert_answers
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.passes import input_storage, operations, quantized_tensors
from edgepress.converters.to_tflite.plain_forms import dequantized

INPUT = (0.5, 3)
WEIGHT = 0.25
RANDOM = np.random.default_rng(4)
WEIGHTS = RANDOM.integers(-127, 128, (3, 4), np.int8)
BIAS = RANDOM.integers(-900, 900, 3, np.int32)


def dense(output: tuple[float, int], *, bias_scale: bool, integers: bool = False) -> bytes:
    """A dense layer of int8, with an output of a scale and zero point; `integers` has the input requantized first."""
    from ai_edge_litert import schema_py_generated as fb

    graph = fb.SubGraphT(tensors=[], operators=[])
    root = fb.ModelT(version=3, operatorCodes=[], subgraphs=[graph], buffers=[fb.BufferT()])

    def stored(shape: list[int], name: str, scale: float, zero: int, kind: int = fb.TensorType.INT8) -> int:
        index = flat.tensor(graph, shape, name, type=kind)
        graph.tensors[index].quantization = flat.quantization([scale], [zero])
        return index

    source = taken = stored([1, 4], "in", *INPUT)
    if integers:
        source = stored([1, 4], "pixels", INPUT[0], INPUT[1] + 128, fb.TensorType.UINT8)
        graph.operators.append(flat.operator(root, "QUANTIZE", [source], taken))
    weights = flat.constant(root, graph, WEIGHTS, "weights")
    graph.tensors[weights].quantization = flat.quantization([WEIGHT], [0])
    bias = flat.constant(root, graph, BIAS, "bias")
    if bias_scale:
        graph.tensors[bias].quantization = flat.quantization([INPUT[0] * WEIGHT], [0])
    sink = stored([1, 3], "out", *output)
    graph.operators.append(flat.operator(root, "FULLY_CONNECTED", [taken, weights, bias], sink))
    graph.inputs, graph.outputs = [source], [sink]
    return flat.write(root)


def answers(model: bytes, items: Any) -> Any:
    return litert_answers(model, items).reshape(len(items), -1)


@pytest.mark.parametrize("bias_scale", [True, False])
@pytest.mark.parametrize(
    ("output", "low", "high"), [((4.0, 0), -512, 508), ((4.0, -128), 0, 1020), ((6 / 255, -128), 0, 6)]
)
def test_a_range_that_begins_at_zero_stands_for_a_relu(
    output: tuple[float, int], low: float, high: float, bias_scale: bool
) -> None:
    """Of a range to 6, a ReLU6; other ends of ranges only follow from calibration."""
    model = dense(output, bias_scale=bias_scale)
    x = RANDOM.normal(0, 30, (40, 4)).astype(np.float32)
    exact = x @ (WEIGHTS * WEIGHT).T.astype(np.float32) + BIAS * np.float32(INPUT[0] * WEIGHT)
    bound = {6: 6.0}.get(int(high), np.inf)
    assert exact.min() < 0
    truth = exact if low else np.clip(exact, 0, bound)
    float_model = dequantized(model)
    assert not quantized_tensors(float_model)
    assert answers(float_model, x) == pytest.approx(truth, abs=1e-2)


def test_real_numbers_of_the_input_are_those_that_its_integers_stand_for() -> None:
    codes = RANDOM.integers(-128, 128, (30, 4), np.int8)
    model = dense((4.0, 0), bias_scale=True)
    assert input_storage(model) == ("int8", INPUT)
    stored = answers(model, codes).astype(np.float32) * 4
    real = answers(dequantized(model), (codes.astype(np.float32) - INPUT[1]) * INPUT[0])
    inside = np.abs(real) < 500
    assert inside.any()
    assert np.abs(stored - real)[inside].max() <= 4.01  # a step: kernels round, too


def test_requantizing_is_dropped() -> None:
    model = dense((4.0, 0), bias_scale=True, integers=True)
    plain = dense((4.0, 0), bias_scale=True)
    assert operations(model) == ["QUANTIZE", "FULLY_CONNECTED"]
    assert operations(dequantized(model)) == ["FULLY_CONNECTED"]
    x = RANDOM.normal(0, 30, (9, 4)).astype(np.float32)
    np.testing.assert_array_equal(answers(dequantized(model), x), answers(dequantized(plain), x))


def test_four_bits_are_unpacked() -> None:
    """Also of an odd number: the first is in the lower half of a byte."""
    codes = RANDOM.integers(-8, 8, (3, 5)).astype(np.int8)
    graph = Graph(dense((4.0, 0), bias_scale=True))
    nibbles = np.append(codes.ravel(), 0).astype(np.uint8) & 15
    packed = (nibbles[0::2] | nibbles[1::2] << 4).astype(np.uint8)
    index = flat.tensor(graph.table, [3, 5], "four", buffer=flat.add_buffer(graph.root, packed), type=flat.INT4)
    graph.table.tensors[index].quantization = flat.quantization([0.5, 1.0, 2.0], [0, 0, 0], 0)
    np.testing.assert_array_equal(graph.stored(index), codes)
    np.testing.assert_array_equal(graph.real_values(index), codes * np.array([[0.5], [1.0], [2.0]], np.float32))
