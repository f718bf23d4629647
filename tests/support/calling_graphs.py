"""TFLite files whose graphs call each other, and ONNX files whose functions do."""

from __future__ import annotations

from typing import Any

import numpy as np

Calls = list[tuple[str, tuple[int, ...]]]
"""A graph: its operations in a row, each with the graphs that it calls."""
FIELDS = {
    "WHILE": ("WhileOptions", ("condSubgraphIndex", "bodySubgraphIndex")),
    "IF": ("IfOptions", ("thenSubgraphIndex", "elseSubgraphIndex")),
    "CALL": ("CallOptions", ("subgraph",)),
    "CALL_ONCE": ("CallOnceOptions", ("initSubgraphIndex",)),
    "STABLEHLO_WHILE": ("StablehloWhileOptions", ("condSubgraphIndex", "bodySubgraphIndex")),
    "STABLEHLO_REDUCE": ("StablehloReduceOptions", ("bodySubgraphIndex",)),
    "STABLEHLO_SCATTER": ("StablehloScatterOptions", ("updateComputationSubgraphIndex",)),
    "STABLEHLO_REDUCE_WINDOW": ("StablehloReduceWindowOptions", ("bodySubgraphIndex",)),
    "STABLEHLO_SORT": ("StablehloSortOptions", ("comparatorSubgraphIndex",)),
    "STABLEHLO_COMPOSITE": ("StableHLOCompositeOptions", ("decompositionSubgraphIndex",)),
    "STABLEHLO_CASE": ("StablehloCaseOptions", ("branchSubgraphIndices",)),
    "STABLEHLO_CUSTOM_CALL": ("StablehloCustomCallOptions", ("calledComputations",)),
}
"""The options of operations that call graphs, and the fields that name these."""


def calling(graphs: list[Calls], *, options: str | None = None) -> bytes:
    """A `.tflite` of these graphs, all from one flag to another; `options` says of which operation, "" of none."""
    from ai_edge_litert import schema_py_generated as fb
    from ai_edge_litert.tools import flatbuffer_utils

    kinds = [*dict.fromkeys(kind for calls in graphs for kind, _ in calls)]
    codes = [getattr(fb.BuiltinOperator, kind) for kind in kinds]
    opcodes = [fb.OperatorCodeT(builtinCode=c, deprecatedBuiltinCode=min(c, 127), version=1) for c in codes]

    def operation(at: int, kind: str, called: tuple[int, ...]) -> Any:
        name, fields = FIELDS[options or kind]
        table = getattr(fb, f"{name}T")()
        table.name = table.callTargetName = "call"  # those that have a name need it
        for field, graph in zip(fields, called, strict=True):
            setattr(table, field, [graph] if field.endswith(("Indices", "ations")) else graph)
        operator = fb.OperatorT(opcodeIndex=kinds.index(kind), inputs=[at], outputs=[at + 1])
        if kind == "IF":
            operator.inputs = [at, at]
        if options == "":
            return operator
        if hasattr(fb.BuiltinOptions2, name):
            operator.builtinOptions2Type, operator.builtinOptions2 = getattr(fb.BuiltinOptions2, name), table
        else:
            operator.builtinOptionsType, operator.builtinOptions = getattr(fb.BuiltinOptions, name), table
        return operator

    subgraphs = []
    for calls in graphs:
        tensors = [
            fb.TensorT(shape=[1], type=fb.TensorType.BOOL, buffer=0, name=f"t{n}") for n in range(len(calls) + 1)
        ]
        operators = [operation(n, *call) for n, call in enumerate(calls)]
        subgraphs.append(fb.SubGraphT(tensors=tensors, inputs=[0], outputs=[len(calls)], operators=operators))
    buffers = [fb.BufferT(data=np.zeros(0, np.uint8))]
    model = fb.ModelT(version=3, operatorCodes=opcodes, subgraphs=subgraphs, buffers=buffers)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def functions(calls: dict[str, list[str]], *, inside: bool = False) -> bytes:
    """An `.onnx` whose graph calls function A, and each function others; `inside`: in the branches of an If."""
    from onnx import TensorProto, helper

    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]

    def function(name: str, called: list[str]) -> Any:
        nodes = [helper.make_node(other, [f"x{n}"], [f"x{n + 1}"], domain="own") for n, other in enumerate(called)]
        nodes = nodes or [helper.make_node("Identity", ["x0"], ["x1"])]
        last = f"x{len(nodes)}"
        if inside and called:
            ends = [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)]
            branches = {f"{way}_branch": helper.make_graph(nodes, way, [], ends) for way in ("then", "else")}
            yes = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("yes", TensorProto.BOOL, [], [1]))
            nodes = [yes, helper.make_node("If", ["yes"], [last], **branches)]
        return helper.make_function("own", name, ["x0"], [last], nodes, opsets)

    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4])] for name in "xy"]
    graph = helper.make_graph([helper.make_node("A", ["x"], ["y"], domain="own")], "g", *ends)
    bodies = [function(*item) for item in calls.items()]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=bodies).SerializeToString()
    return content


def endless() -> bytes:
    """A `.tflite` from (1, 4) to (1, 4) with a loop that does not end."""
    from ai_edge_litert import schema_py_generated as fb
    from ai_edge_litert.tools import flatbuffer_utils

    def numbers(name: str) -> Any:
        return fb.TensorT(shape=[1, 4], type=fb.TensorType.FLOAT32, buffer=0, name=name)

    loop = fb.OperatorT(opcodeIndex=0, inputs=[0], outputs=[1], builtinOptionsType=fb.BuiltinOptions.WhileOptions)
    loop.builtinOptions = fb.WhileOptionsT(condSubgraphIndex=1, bodySubgraphIndex=2)
    step = fb.OperatorT(opcodeIndex=1, inputs=[0], outputs=[1])
    yes = fb.TensorT(shape=[1], type=fb.TensorType.BOOL, buffer=1, name="yes")
    graphs = [
        fb.SubGraphT(tensors=[numbers("x"), numbers("y")], inputs=[0], outputs=[1], operators=[loop]),
        fb.SubGraphT(tensors=[numbers("a"), yes], inputs=[0], outputs=[1], operators=[]),
        fb.SubGraphT(tensors=[numbers("b"), numbers("c")], inputs=[0], outputs=[1], operators=[step]),
    ]
    kinds = [fb.BuiltinOperator.WHILE, fb.BuiltinOperator.RELU]
    codes = [fb.OperatorCodeT(builtinCode=kind, deprecatedBuiltinCode=kind, version=1) for kind in kinds]
    buffers = [fb.BufferT(), fb.BufferT(data=np.array([1], np.uint8))]
    model = fb.ModelT(version=3, operatorCodes=codes, subgraphs=graphs, buffers=buffers)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def endless_onnx() -> bytes:
    """An `.onnx` from (1, 4) to (1, 4) with a loop that does not end."""
    from onnx import TensorProto, helper

    def numbers(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4])

    def flag(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.BOOL, [])

    step = [helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Identity", ["go"], ["on"])]
    count = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    body = helper.make_graph(step, "body", [count, flag("go"), numbers("a")], [flag("on"), numbers("b")])
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    loop = helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body)
    graph = helper.make_graph([loop], "g", [numbers("x")], [numbers("y")], [yes])
    opsets = [helper.make_opsetid("", 17)]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return content
