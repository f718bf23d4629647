"""Read an `.onnx` file without an engine: its graph, constants and metadata.

Free dimensions are set to 1, then ONNX's shape inference adds the other shapes. In a QDQ file, float operations stand
between DequantizeLinear and QuantizeLinear, and the engine computes them in integers. They are shown as integer
operations. The bodies of If, Loop and Scan, and functions in the file, are not inspected.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.converters.contract.hints import Size, fixed_shapes
from edgepress.converters.contract.metadata import onnx_metadata
from edgepress.converters.inspection import graph as g
from edgepress.converters.inspection.describe import describe
from edgepress.converters.inspection.onnx_steps import (
    BUILT_IN,
    CONVERSIONS,
    STANDARD,
    as_run,
    dtype_of,
    dynamic_steps,
    graph_of,
)
from edgepress.converters.inspection.report import Inspection, Port, Runtime, Weight, metadata_dict
from edgepress.converters.inspection.versions import CAST_OF_FOUR_BITS, OLDEST_OPSET, RELEASES, oldest_onnxruntime
from edgepress.runtime.contract import MEMBER, Contract
from edgepress.runtime.errors import ModelFileError, first_line
from edgepress.runtime.protobuf import check_functions

if TYPE_CHECKING:
    import onnx

RECURRENT = ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")
"""Operations whose first axis is time unless their attribute `layout` is 1."""


def read(path: Path, size: Size | None = None) -> Inspection:
    """Describe an `.onnx` file, for inputs of `size` if they leave sizes free.

    `inspection.read` turns other errors, which damaged files cause, into `ModelFileError`.

    Raises:
        ModelFileError: It holds no ONNX graph, or its contract is damaged.
        InputError: `size` does not fit its inputs.
    """
    import onnx

    content = path.read_bytes()
    check_functions(content)
    model = onnx.ModelProto()
    model.ParseFromString(content)
    if not model.graph.node or not model.graph.output:
        raise ModelFileError(f"{path} holds no ONNX graph.", "It is damaged or of another kind.")
    _check_text(model)
    inspection = _inspect(path, model, len(content), size)
    props = {p.key: p.value for p in model.metadata_props}
    if MEMBER in props:
        return inspection.replace(contract=Contract.from_json(props[MEMBER], where=str(path)))
    return inspection.replace(metadata=metadata_dict(onnx_metadata(props)))


def _inspect(path: Path, model: onnx.ModelProto, size_bytes: int, size: Size | None) -> Inspection:
    """Describe a parsed model, which is changed, without its metadata and contract."""
    inputs = [v for v in model.graph.input if v.name not in {t.name for t in model.graph.initializer}]
    if size is not None:
        _set_free_sizes(inputs, size, str(path))
    ports = [tuple(_port(v) for v in values) for values in (inputs, model.graph.output)]
    constants = {t.name: t for t in model.graph.initializer}
    constants |= {
        n.output[0]: a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"
    }
    _set_free_dimensions_to_one(model, inputs)
    shaped, notes = _with_shapes(model)
    graph = graph_of(shaped, constants)
    items = 1 if _is_time_major(shaped, graph) else g.fixed_batch(graph)
    if items > 1 and (single := _graph_of_one_item(model, graph, items, constants)):
        notes += (f"It takes {items} items at a time, by the first dimension: figures are for one.",)
        graph = single
        items = 1
    figures = describe(graph, conversions=CONVERSIONS, as_run=as_run(graph), dynamic=dynamic_steps(graph), items=items)
    weights = [
        Weight(name=name, shape=tuple(t.dims), dtype=dtype_of(t.data_type), size_bytes=_stored_bytes(t))
        for name, t in constants.items()
    ]
    domains = {n.domain for n in model.graph.node}
    local = {(f.domain, f.name) for f in model.functions}
    custom = [
        f"{n.domain}.{n.op_type}"
        for n in model.graph.node
        if n.domain not in BUILT_IN and (n.domain, n.op_type) not in local
    ]
    notes += tuple(f"Not inspected: {part}." for part in _not_inspected(model))
    if any(t.data_location == t.EXTERNAL for t in constants.values()):
        notes += ("Weights are in files beside it, which are not counted.",)
    figures["notes"] += notes
    return Inspection(
        file=str(path),
        format="onnx",
        size_bytes=size_bytes,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        inputs=ports[0],
        outputs=ports[1],
        metadata_bytes=sum(len(p.key.encode()) + len(p.value.encode()) for p in model.metadata_props),
        weights=tuple(sorted(weights, key=lambda w: -w.size_bytes)),
        custom_operations=tuple(dict.fromkeys(custom)),
        runtime=_runtime(model, domains),
        **figures,
    )


def _check_text(model: onnx.ModelProto) -> None:
    """Refuse text that is not UTF-8, which protobuf returns as bytes."""
    graph = model.graph
    texts = [model.producer_name, model.producer_version, *(o.domain for o in model.opset_import)]
    texts += [text for n in graph.node for text in (n.name, n.op_type, n.domain, *n.input, *n.output)]
    texts += [v.name for v in (*graph.input, *graph.output, *graph.value_info, *graph.initializer)]
    texts += [text for p in model.metadata_props for text in (p.key, p.value)]
    if bad := [text for text in texts if isinstance(text, bytes)]:
        raise ValueError(f"{bad[0]!r} is not UTF-8")


def _set_free_sizes(inputs: Iterable[Any], size: Size, where: str) -> None:
    """Set the free sizes of inputs, but not their batch."""
    dims = [value.type.tensor_type.shape.dim[1:] for value in inputs]
    sizes = [[dim.dim_value if dim.dim_value > 0 else None for dim in dims_of_input] for dims_of_input in dims]
    shapes = fixed_shapes(sizes, size, where)
    for dims_of_input, shape in zip(dims, shapes, strict=True):
        for dim, length in zip(dims_of_input, shape, strict=True):
            dim.dim_value = length


def _set_free_dimensions_to_one(model: onnx.ModelProto, inputs: Iterable[Any]) -> None:
    """Set free dimensions of inputs to 1, and delete shapes that depend on them."""
    for value in inputs:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.dim_value > 0:
                dim.dim_value = 1
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    known = [v for v in model.graph.value_info if all(d.dim_value > 0 for d in v.type.tensor_type.shape.dim)]
    del model.graph.value_info[:]
    model.graph.value_info.extend(known)


def _with_shapes(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A model with inferred shapes, and no notes; if ONNX can't infer them, the model itself and a note."""
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True), ()
    except Exception as e:  # InferenceError, and ValueError over 2 GB
        return model, (f"Shapes could not be inferred: {first_line(e)}",)


def _is_time_major(model: onnx.ModelProto, graph: g.InspectedGraph) -> bool:
    """Whether the first dimension of the model's inputs is the time axis of a recurrent layer, not the batch."""
    first = g.fixed_batch(graph)
    for node in model.graph.node:
        if node.op_type in RECURRENT and not any(a.name == "layout" and a.i for a in node.attribute):
            sequence = graph.values[node.input[0]].shape if node.input and node.input[0] in graph.values else None
            if sequence and len(sequence) > 1 and sequence[0] == first != sequence[1]:
                return True
    return False


def _graph_of_one_item(
    model: onnx.ModelProto, graph: g.InspectedGraph, items: int, constants: dict[str, onnx.TensorProto]
) -> g.InspectedGraph | None:
    """The graph of a model for a batch of 1; None if something in it, such as a Reshape, fixes the batch to `items`.

    Changes the shapes in `model`.
    """
    import onnx

    for value in model.graph.input:
        if value.name in graph.inputs:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
    try:
        single = graph_of(onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True), constants)
    except Exception:  # InferenceError, ValueError
        return None
    known = g.known_beforehand(graph)
    for name, value in graph.values.items():
        if value.real and value.shape is not None and name not in known:
            elements_of_one = single.values[name].elements if name in single.values else None
            if elements_of_one is None or value.elements != items * elements_of_one:
                return None
    output_shapes = [single.values[name].shape for name in single.outputs]
    return single if all(shape and shape[0] == 1 for shape in output_shapes) else None


def _runtime(model: onnx.ModelProto, domains: set[str]) -> Runtime:
    opset = max((o.version for o in model.opset_import if o.domain in STANDARD), default=1)
    release = oldest_onnxruntime(opset, model.ir_version)
    needed = {f"operator set {opset}": (opset, 0), f"format {model.ir_version}": (0, model.ir_version)}
    if _casts_int4(model):
        needed["Cast int4"] = CAST_OF_FOUR_BITS
        release = oldest_onnxruntime(max(opset, CAST_OF_FOUR_BITS[0]), model.ir_version)
    because = [name for name, (o, ir) in needed.items() if oldest_onnxruntime(o, ir) in (release, None)]
    unknown = [f"operator set {domain}" for domain in sorted(domains - {*STANDARD})]
    if release is None:
        unknown += [f"{name}: newer than {RELEASES[-1][1:]}" for name in because]
    if opset < OLDEST_OPSET:
        unknown.append(f"operator set {opset}: ONNX Runtime promises {OLDEST_OPSET} and newer")
    return Runtime(
        releases={"onnxruntime": None if unknown else release}, because=tuple(because), unknown=tuple(unknown)
    )


def _casts_int4(model: onnx.ModelProto) -> bool:
    """Whether a Cast reads constants of int4 or uint4."""
    packed = {t.name for t in model.graph.initializer if dtype_of(t.data_type) in ("int4", "uint4")}
    return any(n.op_type == "Cast" and n.input[0] in packed for n in model.graph.node)


def _not_inspected(model: onnx.ModelProto) -> list[str]:
    """The bodies of control flow and the functions in the file, in words."""
    kinds = dict.fromkeys(n.op_type for n in model.graph.node for a in n.attribute if a.HasField("g"))
    return [f"the bodies of {kind}" for kind in kinds] + [f"the function {f.name}" for f in model.functions]


def _port(value: Any) -> Port:
    tensor = value.type.tensor_type
    shape = tuple(d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim)
    return Port(name=value.name, shape=shape if tensor.HasField("shape") else None, dtype=dtype_of(tensor.elem_type))


def _stored_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor in the file, without its name and shape; 0 if it is in another file."""
    if tensor.data_location == tensor.EXTERNAL:
        return 0
    return len(tensor.raw_data) or tensor.ByteSize()
