"""Model files of one matrix product with arbitrary weights, for measuring what a CPU can reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def dense_model(format: str, size: int, classes: int, *, rows: int = 1, int8: bool = False) -> bytes:
    """A fully connected layer: (rows, size) times weights = (rows, classes).

    Args:
        format: "tflite" or "onnx".
        size: Inputs of the layer.
        classes: Outputs of the layer.
        rows: Items in a batch.
        int8: Whether 8-bit integers are multiplied: int8 in and out for TFLite; uint8 in and int32 out for ONNX, the
            types for which ONNX Runtime is fastest. Else all is float32.
    """
    generator = np.random.Generator(np.random.PCG64(0))
    weights = generator.integers(-127, 128, (classes, size)).astype(np.int8 if int8 else np.float32)
    return (_tflite if format == "tflite" else _onnx)(weights, rows)


def _tflite(weights: npt.NDArray[Any], rows: int) -> bytes:
    from ai_edge_litert import schema_py_generated as fb

    from edgepress.converters.to_tflite.flatbuffer import append, opcode, tensor, write

    classes, size = weights.shape
    graph = fb.SubGraphT(tensors=[], operators=[])
    root = fb.ModelT(version=3, operatorCodes=[], subgraphs=[graph], buffers=[fb.BufferT()])
    kind = fb.TensorType.INT8 if weights.dtype == np.int8 else fb.TensorType.FLOAT32
    values = append(root.buffers, fb.BufferT(data=np.frombuffer(weights.tobytes(), np.uint8)))
    taken = tensor(graph, [rows, size], "input", type=kind)
    held = tensor(graph, [classes, size], "weights", values, kind)
    given = tensor(graph, [rows, classes], "scores", type=kind)
    if kind == fb.TensorType.INT8:
        for index, scale in ((taken, 0.01), (held, 0.01), (given, 0.01 * size**0.5)):
            graph.tensors[index].quantization = fb.QuantizationParametersT(scale=[scale], zeroPoint=[0])
    graph.inputs, graph.outputs = [taken], [given]
    layer = fb.OperatorT(
        opcodeIndex=opcode(root, fb.BuiltinOperator.FULLY_CONNECTED),
        inputs=[taken, held, -1],
        outputs=[given],
        builtinOptionsType=fb.BuiltinOptions.FullyConnectedOptions,
        builtinOptions=fb.FullyConnectedOptionsT(),
    )
    append(graph.operators, layer)
    root.operatorCodes[0].version = 4 if kind == fb.TensorType.INT8 else 1  # the first that takes int8
    return write(root)


def _onnx(weights: npt.NDArray[Any], rows: int) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    classes, size = weights.shape
    int8 = weights.dtype == np.int8
    taken = helper.make_tensor_value_info("input", TensorProto.UINT8 if int8 else TensorProto.FLOAT, [rows, size])
    given = helper.make_tensor_value_info("scores", TensorProto.INT32 if int8 else TensorProto.FLOAT, [rows, classes])
    node = helper.make_node("MatMulInteger" if int8 else "MatMul", ["input", "weights"], ["scores"])
    held = numpy_helper.from_array(np.ascontiguousarray(weights.T), "weights")
    graph = helper.make_graph([node], "dense", [taken], [given], [held])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
