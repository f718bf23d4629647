"""Products with constant matrices in float TFLite files, which converters write as BATCH_MATMUL."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from other_files import tensor, tflite

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.passes import operations
from edgepress.converters.to_tflite.plain_forms import as_dense

INSIDE, UNITS = 6, 3
RANDOM = np.random.default_rng(0)


def product(left: list[int], matrix: Any, *, turned: bool = False) -> bytes:
    """A file that multiplies its input by a constant."""
    tensors = [tensor(left), tensor([*left[:-1], UNITS]), tensor(list(matrix.shape), 1)]
    for name, each in zip(("x", "y", "matrix"), tensors, strict=True):
        each.name = name
    root, graph = flat.read(tflite("BATCH_MATMUL", tensors, [0, 2], data=(matrix.astype(np.float32).tobytes(),)))
    graph.operators[0] = flat.operator(root, "BATCH_MATMUL", [0, 2], 1, adjY=turned)
    return flat.write(root)


def answers(model: bytes, items: Any) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    found = []
    for item in items:
        scale, zero = source["quantization"]
        stored = item if not scale else np.clip(np.rint(item / scale + zero), 0, 255)
        interpreter.set_tensor(source["index"], stored[np.newaxis].astype(source["dtype"]))
        interpreter.invoke()
        scale, zero = sink["quantization"]
        value = interpreter.get_tensor(sink["index"])[0]
        found.append((value.astype(np.float32) - zero) * scale if scale else value)
    return np.array(found)


@pytest.mark.parametrize("left", [[1, INSIDE], [1, 5, INSIDE]])
@pytest.mark.parametrize("turned", [False, True])
def test_a_constant_matrix_is_a_dense_layer(left: list[int], turned: bool) -> None:
    matrix = RANDOM.normal(size=(INSIDE, UNITS))
    made = as_dense(product(left, matrix.T if turned else matrix, turned=turned))
    assert operations(made) == ["FULLY_CONNECTED"]
    items = RANDOM.normal(size=(4, *left[1:])).astype(np.float32)
    np.testing.assert_allclose(answers(made, items), items @ matrix, atol=1e-5)


def test_a_product_without_options_turns_nothing() -> None:
    matrix = RANDOM.normal(size=(INSIDE, UNITS))
    root, graph = flat.read(product([1, INSIDE], matrix))
    graph.operators[0].builtinOptions, graph.operators[0].builtinOptionsType = None, 0
    made = as_dense(flat.write(root))
    assert operations(made) == ["FULLY_CONNECTED"]
    items = RANDOM.normal(size=(4, INSIDE)).astype(np.float32)
    np.testing.assert_allclose(answers(made, items), items @ matrix, atol=1e-5)


def test_a_product_of_the_turned_values_stays() -> None:
    root, graph = flat.read(product([1, INSIDE], RANDOM.normal(size=(1, UNITS))))
    graph.operators[0] = flat.operator(root, "BATCH_MATMUL", [0, 2], 1, adjX=True)
    model = flat.write(root)
    assert as_dense(model) == model


@pytest.mark.parametrize("scheme", ["tflite-int8", "tflite-int16x8"])
@pytest.mark.parametrize("axes", [2, 3])
def test_quantized_products_answer_like_float_ones(scheme: str, axes: int) -> None:
    matrix = RANDOM.normal(size=(1,) * (axes - 2) + (INSIDE, UNITS))
    model = as_dense(product([1, 5, INSIDE], matrix))
    assert operations(model) == ["FULLY_CONNECTED" if axes == 2 else "BATCH_MATMUL"]
    items = RANDOM.uniform(-1, 1, size=(32, 5, INSIDE)).astype(np.float32)
    made = with_scheme(model, SCHEMES[scheme], tflite_statistics(model, lambda: [items], None).ranges(), uint8=False)
    true = items @ matrix
    assert np.abs(answers(made, items) - true).max() < 0.05 * np.abs(true).max()


@pytest.mark.parametrize("scheme", ["tflite-dynamic", "tflite-int8", "tflite-int16x8", "tflite-weights8"])
def test_quantized_products_whose_first_matrix_is_constant_answer_like_float_ones(scheme: str) -> None:
    """Learned queries: LiteRT opened no dynamic or int16x8 file of such a product."""
    matrix = RANDOM.normal(size=(1, UNITS, 64)).astype(np.float32)  # large enough that weights are quantized
    tensors = [tensor([1, 64, INSIDE]), tensor([1, UNITS, INSIDE]), tensor([1, UNITS, 64], 1)]
    for name, each in zip(("x", "y", "matrix"), tensors, strict=True):
        each.name = name
    root, graph = flat.read(tflite("BATCH_MATMUL", tensors, [2, 0], data=(matrix.tobytes(),)))
    graph.operators[0] = flat.operator(root, "BATCH_MATMUL", [2, 0], 1)
    model = flat.write(root)
    items = RANDOM.uniform(-1, 1, size=(32, 64, INSIDE)).astype(np.float32)
    ranges = tflite_statistics(model, lambda: [items], None).ranges()
    true = matrix @ items
    made = with_scheme(model, SCHEMES[scheme], ranges, uint8=False)
    assert np.abs(answers(made, items) - true).max() < 0.05 * np.abs(true).max()
