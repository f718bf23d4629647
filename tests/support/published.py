"""Small files as others publish them, and a bare loop that answers with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters.to_tflite import flatbuffer as flat

RGB, CLASSES = (6, 6, 3), 4
PIXELS = np.random.default_rng(0).integers(0, 256, (12, *RGB), dtype=np.uint8)
Array = np.typing.NDArray[Any]


def tflite_of(
    path: Path,
    shape: tuple[int, ...] = RGB,
    outputs: int = CLASSES,
    *,
    end: str = "SOFTMAX",
    stored: tuple[str, float, int] | None = None,
) -> Path:
    """A file of one fully connected layer; `stored`: type, scale and zero point of its input instead of float32."""
    from ai_edge_litert import schema_py_generated as fb

    size = int(np.prod(shape))
    weights = np.random.default_rng(1).normal(0, size**-0.5, (outputs, size)).astype(np.float32)
    graph = fb.SubGraphT(tensors=[], operators=[])
    root = fb.ModelT(version=3, operatorCodes=[], subgraphs=[graph], buffers=[fb.BufferT()])
    taken = real = flat.tensor(graph, [1, *shape], "input")
    if stored:
        kind, scale, zero = stored
        taken = flat.tensor(graph, [1, *shape], "stored", type=getattr(fb.TensorType, kind.upper()))
        graph.tensors[taken].quantization = fb.QuantizationParametersT(scale=[scale], zeroPoint=[zero])
        graph.operators.append(flat.operator(root, "DEQUANTIZE", [taken], real))
    row, out = flat.tensor(graph, [1, size], "row"), flat.tensor(graph, [1, outputs], "out")
    form = flat.constant(root, graph, np.array([1, size], np.int32), "form")
    graph.operators.append(flat.operator(root, "RESHAPE", [real, form], row, newShape=[1, size]))
    layer = fb.OperatorT(
        opcodeIndex=flat.opcode(root, fb.BuiltinOperator.FULLY_CONNECTED),
        inputs=[row, flat.constant(root, graph, weights, "weights"), -1],
        outputs=[out],
        builtinOptionsType=fb.BuiltinOptions.FullyConnectedOptions,
        builtinOptions=fb.FullyConnectedOptionsT(),
    )
    graph.operators.append(layer)
    if end:
        scores = flat.tensor(graph, [1, outputs], "scores")
        options = {"beta": 1.0} if end == "SOFTMAX" else {}
        graph.operators.append(flat.operator(root, end, [out], scores, **options))
        out = scores
    graph.inputs, graph.outputs = [taken], [out]
    path.write_bytes(flat.write(root))
    return path


def onnx_of(path: Path, size: tuple[int | str, int | str] = (6, 6)) -> Path:
    """A file with channels first that returns logits; names for its size leave it free, but only 6x6 works."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(1).normal(0, 0.1, (3 * 6 * 6, CLASSES)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["image"], ["row"]), helper.make_node("MatMul", ["row", "weights"], ["out"])],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, *size])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="others")
    onnx.helper.set_model_props(model, {"names": '["a", "b", "c", "d"]'})
    onnx.save(model, path)
    return path


def bare(path: Path, items: Array) -> Array:
    """The outputs for items in the file's own type and shape, by a loop around the bare engine."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        return np.concatenate([session.run(None, {session.get_inputs()[0].name: x[np.newaxis]})[0] for x in items])
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    answers = []
    for item in items:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], item[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).copy())
    return np.concatenate(answers)
