"""What the tests of `edgepress inspect` share."""

from __future__ import annotations

from typing import Any

from edgepress.converters.inspection import Inspection

LENET_MACS = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10


LENET_PARAMETERS = 61_706


def row_of(inspection: Inspection, name: str) -> dict[str, Any]:
    return next(row for row in inspection.operations() if row["operation"] == name)


def tflite_model(code: int, version: int, custom: bytes = b"", name: bytes = b"tensor") -> bytes:
    """A `.tflite` of one operation."""
    from ai_edge_litert import schema_py_generated as fb
    from ai_edge_litert.tools import flatbuffer_utils

    tensors = [fb.TensorT(shape=[1, 3], name=name, buffer=0) for _ in range(2)]
    step = fb.OperatorT(opcodeIndex=0, inputs=[0], outputs=[1])
    opcode = fb.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=min(code, 127), version=version)
    if custom:
        opcode.customCode = custom
    graph = fb.SubGraphT(tensors=tensors, inputs=[0], outputs=[1], operators=[step])
    model = fb.ModelT(version=3, operatorCodes=[opcode], subgraphs=[graph], buffers=[fb.BufferT()])
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
