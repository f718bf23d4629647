"""The steps and tensors of an ONNX graph whose shapes are known, and how ONNX Runtime runs them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from edgepress.converters.inspection import graph as g
from edgepress.converters.numeric import macs

if TYPE_CHECKING:
    import onnx

CONVERSIONS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "CastLike")
STANDARD = ("", "ai.onnx")
BUILT_IN = (*STANDARD, "ai.onnx.ml", "com.microsoft")
"""Operator sets that ONNX Runtime's releases contain."""
DYNAMIC = ("ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
VALUES_AT = {
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Clip", "Resize", "Pad"), (0,)),
    **dict.fromkeys(("QLinearAdd", "QLinearMul", "QLinearMatMul"), (0, 3)),
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), (0, 1)),
    **dict.fromkeys(("QLinearSoftmax", "QLinearSigmoid", "QLinearAveragePool", "QLinearGlobalAveragePool"), (0,)),
    "QLinearConv": (0, 3, 8),
    "QGemm": (0, 3, 6),
    "MatMulIntegerToFloat": (0, 1, 6),
    "DynamicQuantizeMatMul": (0, 1, 4),
}
"""Inputs with values, as opposed to scales, zero points or limits; of other operations, all inputs."""
NAMES = {"float": "float32", "double": "float64"}


def graph_of(model: onnx.ModelProto, constants: dict[str, onnx.TensorProto]) -> g.InspectedGraph:
    """A model's main graph.

    Args:
        model: With the shapes that could be inferred.
        constants: Its tensors by name, those of Constant nodes too.
    """
    quantized = set()
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear", *DYNAMIC) or node.op_type.startswith("QLinear"):
            quantized.update(node.output[:1])
        if node.op_type in ("DequantizeLinear", *DYNAMIC) or node.op_type.startswith(("QLinear", "QGemm")):
            quantized.update(node.input[i] for i in VALUES_AT.get(node.op_type, ()) if i < len(node.input))
    values = {}
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        tensor = value.type.tensor_type
        known = tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim)
        shape = tuple(d.dim_value for d in tensor.shape.dim) if known else None
        values[value.name] = g.Value(shape, dtype_of(tensor.elem_type), quantized=value.name in quantized)
    for name, t in constants.items():
        values[name] = g.Value(tuple(t.dims), dtype_of(t.data_type), constant=True, quantized=name in quantized)
    steps = []
    for index, node in enumerate(model.graph.node):
        if node.op_type == "Constant":
            continue
        output = values.get(node.output[0]) if node.output else None
        unknown = g.Value(None, "")
        shapes = [g.shape_of(values.get(name, unknown) if name else None) for name in node.input]
        flags = {a.name for a in node.attribute if a.i}
        if shapes and flags & {"transA", "transBatchA"}:  # the latter moves an axis of the batch, too: not counted
            shapes[0] = None if "transBatchA" in flags else macs.transpose_shape(shapes[0])
        hidden = node.domain not in BUILT_IN or any(a.HasField("g") for a in node.attribute)
        steps.append(
            g.InspectedStep(
                operation=node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}",
                name=node.name or (node.output[0] if node.output else ""),
                inputs=tuple(node.input),
                outputs=tuple(node.output),
                weights=VALUES_AT.get(node.op_type),
                macs=None if hidden else macs.count(macs.ONNX, node.op_type, shapes, output.shape if output else None),
                index=index,
            )
        )
    held = {t.name for t in model.graph.initializer}
    return g.InspectedGraph(
        tuple(steps),
        values,
        tuple(v.name for v in model.graph.input if v.name not in held),
        tuple(v.name for v in model.graph.output),
    )


def as_run(graph: g.InspectedGraph) -> dict[int, g.InspectedStep | None]:
    """Steps that ONNX Runtime runs differently from the file, by place; None if it skips them.

    A step between DequantizeLinear and QuantizeLinear reads and makes the stored integers, and the conversions around
    it go.
    """
    known = g.known_beforehand(graph)
    maker = {name: step for step in graph.steps for name in step.outputs}
    readers: dict[str, list[g.InspectedStep]] = {}
    for step in graph.steps:
        for name in step.inputs:
            readers.setdefault(name, []).append(step)
    stored = {s.outputs[0]: s.inputs[0] for s in graph.steps if s.operation == "DequantizeLinear" and s.outputs}
    run: dict[int, g.InspectedStep | None] = {}
    for place, step in enumerate(graph.steps):
        data = [n for n in step.inputs if n and n not in known]
        after = [readers.get(n, []) for n in step.outputs]
        if (
            step.operation not in CONVERSIONS
            and data
            and stored.keys() >= {*data}
            and all(after)
            and all(r.operation == "QuantizeLinear" for rs in after for r in rs)
            and not {*step.outputs} & {*graph.outputs}
        ):
            run[place] = dataclasses.replace(
                step,
                inputs=tuple(stored.get(n, n) for n in step.inputs),
                outputs=tuple(r.outputs[0] for rs in after for r in rs),
            )
    integer = {graph.steps[place].name for place in run}
    for place, step in enumerate(graph.steps):
        around = [r.name for n in step.outputs for r in readers.get(n, [])] or [""]
        if step.operation == "QuantizeLinear":
            around = [maker[step.inputs[0]].name if step.inputs[0] in maker else ""]
        if step.operation in ("QuantizeLinear", "DequantizeLinear") and integer.issuperset(around):
            run[place] = None
    return run


def dynamic_steps(graph: g.InspectedGraph) -> set[int]:
    """Places of steps whose data are quantized while the model runs."""
    quantized = {name for step in graph.steps if step.operation == "DynamicQuantizeLinear" for name in step.outputs}
    return {
        place
        for place, step in enumerate(graph.steps)
        if step.operation in DYNAMIC and (step.operation.startswith("Dynamic") or quantized & {*step.inputs})
    }


def dtype_of(number: int) -> str:
    """NumPy's name of an ONNX element type."""
    import onnx

    try:
        name = str(onnx.TensorProto.DataType.Name(number)).lower()
    except ValueError:
        return f"type {number}"
    return NAMES.get(name, name)
