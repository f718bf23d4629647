"""A TFLite file with variable tensors answers each item as if it were the first, everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepress.converters.calibration import tflite_ranges
from edgepress.converters.errors import ConversionError
from edgepress.converters.sources.tflite import TFLiteSource
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.runtime import load


@pytest.fixture(scope="module")
def stateful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SVDF layer of 3 outputs with a memory of 4 items, in a variable tensor."""
    from ai_edge_litert import schema_py_generated as fb

    from edgepress.converters.to_tflite.flatbuffer import append, opcode, tensor, write

    random = np.random.default_rng(0)
    graph = fb.SubGraphT(tensors=[], operators=[])
    model = fb.ModelT(version=3, operatorCodes=[], subgraphs=[graph], buffers=[fb.BufferT()])

    def weights(name: str, *shape: int) -> int:
        values = random.normal(size=shape).astype(np.float32)
        return tensor(graph, list(shape), name, append(model.buffers, fb.BufferT(data=np.frombuffer(values, np.uint8))))

    taken, feature, time, bias = (
        tensor(graph, [1, 5], "input"),
        weights("feature", 3, 5),
        weights("time", 3, 4),
        weights("bias", 3),
    )
    state, given = tensor(graph, [1, 12], "state"), tensor(graph, [1, 3], "scores")
    graph.tensors[state].isVariable = True
    graph.inputs, graph.outputs = [taken], [given]
    layer = fb.OperatorT(
        opcodeIndex=opcode(model, fb.BuiltinOperator.SVDF),
        inputs=[taken, feature, time, bias, state],
        outputs=[given],
        builtinOptionsType=fb.BuiltinOptions.SVDFOptions,
        builtinOptions=fb.SVDFOptionsT(rank=1),
    )
    append(graph.operators, layer)
    path = tmp_path_factory.mktemp("stateful") / "svdf.tflite"
    path.write_bytes(write(model))
    return path


ITEMS = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)


def test_the_interpreter_alone_keeps_the_state(stateful: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(stateful))
    interpreter.allocate_tensors()
    answers = []
    for _ in range(2):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], ITEMS[:1])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).copy())
    assert not np.array_equal(*answers), "else the tests below prove nothing"


@pytest.mark.parametrize("who", ["runtime", "source"])
def test_an_item_is_answered_the_same_alone_and_after_others(stateful: Path, who: str) -> None:
    def scores(items: np.ndarray) -> np.ndarray:
        return load(stateful).scores(items) if who == "runtime" else TFLiteSource(stateful).answer(items)

    together = scores(ITEMS)
    alone = np.concatenate([scores(item[np.newaxis]) for item in ITEMS])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(scores(ITEMS[::-1])[::-1], together)


def test_ranges_of_calibration_do_not_depend_on_the_order_of_items(stateful: Path) -> None:
    model = stateful.read_bytes()
    forwards = tflite_ranges(model, lambda: [ITEMS], None)
    assert tflite_ranges(model, lambda: [ITEMS[::-1]], None) == forwards


def test_operations_that_onnx_lacks_are_named(stateful: Path) -> None:
    with pytest.raises(ConversionError, match="SVDF"):
        float_onnx_of(stateful.read_bytes())
