"""An ONNX file that others made, opened in the form that is converted: one output, what it needs, sorted, float32."""

from __future__ import annotations

import copy
import graphlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import TensorProto, numpy_helper

from edgepress.converters.adapter import chosen_note, chosen_output
from edgepress.converters.errors import ConversionError
from edgepress.converters.files import weight_files
from edgepress.converters.to_onnx.forms import with_layers, with_plain_forms
from edgepress.converters.to_onnx.graph import OnnxGraph, read_names, sort_nodes
from edgepress.converters.to_onnx.interface import STANDARD
from edgepress.converters.to_onnx.upgrade import upgrade_model
from edgepress.runtime.errors import EdgepressError, InputError, ModelFileError, first_line
from edgepress.runtime.protobuf import check_functions

LABELS = "labels"
"""The entry of `metadata_props` that class names found in the graph are written to."""
_OTHER_FLOATS = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
"""Types of numbers that become float32, from which every scheme is derived."""
_FLOATS = (TensorProto.FLOAT, *_OTHER_FLOATS)


def tidy_model(model: onnx.ModelProto, where: str, output: str = "") -> list[str]:
    """Change a model in place; returns remarks for the user.

    Of several outputs, that of `output` is kept, or the only one of numbers if the others are labels, as scikit-learn's
    converters write them; a ZipMap behind it is removed, and gives the labels.

    Args:
        model: The model, which may be invalid where nodes are not sorted.
        where: The file, for messages.
        output: Name of the output to keep; "" if there is one, or the choice is left to the types.

    Raises:
        InputError: There is no output of that name.
        ModelFileError: Nodes need each other.
    """
    graph = model.graph
    remarks = []
    _refuse_circles(graph, where)
    names = [value.name for value in graph.output]
    labels = _without_zip_maps(graph)
    floats = [value.type.tensor_type.elem_type in _FLOATS for value in graph.output]
    inner = {name for node in graph.node for name in node.output if name} - {*names}
    if (chosen := chosen_output(where, dict(zip(names, floats, strict=True)), output, inner)) is not None:
        labels = labels or _class_names(graph)
        sink = _inner_value(model, chosen) if chosen in inner else _copy_value(graph.output[names.index(chosen)])
        del graph.output[:]
        graph.output.append(sink)
        remarks.append(chosen_note(chosen, names, output))
    if labels and not any(entry.key.lower() == LABELS for entry in model.metadata_props):
        model.metadata_props.add(key=LABELS, value=json.dumps(labels))
    remarks += _without_rounded_output(model)
    OnnxGraph(model).finish()
    _without_unused_inputs(graph)
    _list_domains_once(model)
    if changed := _in_float32(graph):
        remarks.append(f"numbers: {', '.join(changed)} became float32")
    return remarks


def _list_domains_once(model: onnx.ModelProto) -> None:
    """Leave out entries of opsets that repeat others, as skl2onnx writes them; ONNX Runtime's quantizer wants one."""
    entries = {(entry.domain, entry.version): entry for entry in model.opset_import}
    once = [copy.deepcopy(entry) for entry in entries.values()]
    del model.opset_import[:]
    model.opset_import.extend(once)


def _refuse_circles(graph: onnx.GraphProto, where: str) -> None:
    makers = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    needs = {place: {makers[n] for n in read_names(node) if n in makers} for place, node in enumerate(graph.node)}
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as e:
        raise ModelFileError(
            f"{where} is not a valid ONNX model: {len(e.args[1]) - 1} of its nodes need each other."
        ) from e


def _without_zip_maps(graph: onnx.GraphProto) -> list[str]:
    """Replace outputs that are lists of dictionaries by the numbers in them; returns their keys as labels."""
    makers = {name: node for node in graph.node for name in node.output}
    labels: list[str] = []
    for value in graph.output:
        node = makers.get(value.name)
        if node is None or node.op_type != "ZipMap":
            continue
        names = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        labels = [name.decode(errors="replace") for name in names.get("classlabels_strings", [])]
        labels = labels or [str(number) for number in names.get("classlabels_int64s", [])]
        sink = onnx.helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, [None, len(labels)])
        value.CopyFrom(sink)
    return labels


def _class_names(graph: onnx.GraphProto) -> list[str]:
    """The class names of a LinearClassifier, or among the constants, if there is one list of texts."""
    attributes = [a for node in graph.node if node.op_type == "LinearClassifier" for a in node.attribute]
    for names in (a.strings for a in attributes if a.name == "classlabels_strings"):
        return [name.decode(errors="replace") for name in names]
    texts = [tensor for tensor in graph.initializer if tensor.data_type == TensorProto.STRING and len(tensor.dims) == 1]
    return [text.decode(errors="replace") for text in texts[0].string_data] if len(texts) == 1 else []


def _inner_value(model: onnx.ModelProto, name: str) -> Any:
    """A value inside the graph as an output of it, of float32 if its type is not known."""
    return _known_value(model, name) or onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def _known_value(model: onnx.ModelProto, name: str) -> Any:
    """A value inside the graph with its type and shape; None if these are not known."""
    sort_nodes(model.graph)
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    return next((value for value in inferred if value.name == name), None)


def _without_rounded_output(model: onnx.ModelProto) -> list[str]:
    """Return what an only output is truncated from, if a Cast makes integers of real numbers; remarks on it."""
    ends = model.graph.output
    cast = next((node for node in model.graph.node if len(ends) == 1 and ends[0].name in node.output), None)
    if cast is None or cast.op_type != "Cast" or ends[0].type.tensor_type.elem_type in (*_FLOATS, TensorProto.BOOL):
        return []
    before = _known_value(model, cast.input[0])
    if before is None or before.type.tensor_type.elem_type not in _FLOATS:
        return []
    kind = TensorProto.DataType.Name(ends[0].type.tensor_type.elem_type).lower()
    before.type.tensor_type.shape.CopyFrom(ends[0].type.tensor_type.shape)
    del ends[:]
    ends.append(before)
    return [f"outputs: the real numbers that the model truncates to {kind}"]


def _copy_value(value: Any) -> Any:
    copy = type(value)()
    copy.CopyFrom(value)
    return copy


def _without_unused_inputs(graph: onnx.GraphProto) -> None:
    """Remove inputs that nothing reads, unless none would be left."""
    read = {name for node in graph.node for name in read_names(node)} | {value.name for value in graph.output}
    used = [_copy_value(value) for value in graph.input if value.name in read]
    if used:
        del graph.input[:]
        graph.input.extend(used)


def _in_float32(graph: onnx.GraphProto) -> list[str]:
    """Let a graph, and those inside its nodes, compute in float32; returns the names of the types that it had."""
    replaced: set[int] = set()

    def changed(kind: int) -> int:
        if kind not in _OTHER_FLOATS:
            return kind
        replaced.add(kind)
        return int(TensorProto.FLOAT)

    for inner in _graphs(graph):
        for value in (*inner.input, *inner.output, *inner.value_info):
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.elem_type = changed(value.type.tensor_type.elem_type)
        tensors = [*inner.initializer, *(a.t for node in inner.node for a in node.attribute if a.HasField("t"))]
        for tensor in tensors:
            if changed(tensor.data_type) != tensor.data_type:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
        for node in inner.node:
            for a in node.attribute:
                if a.name in ("to", "dtype") and a.type == onnx.AttributeProto.INT:
                    a.i = changed(a.i)
    return sorted(TensorProto.DataType.Name(kind).lower() for kind in replaced)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for a in node.attribute:
            for inner in (*([a.g] if a.HasField("g") else []), *a.graphs):
                yield from _graphs(inner)


NAMED = 3
"""Files that an error names."""


def open_model(
    path: Path, output: str = "", on_note: Callable[[str], None] = lambda text: None
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Read and tidy a model, and derive the form that quantizers take.

    Args:
        path: The file.
        output: Name of the output to keep, if there are several; see `foreign.tidy_model`.
        on_note: Called with remarks for the user.

    Returns:
        The tidied model, and a form with functions inlined, weights not listed as inputs, and an opset that has QDQ;
        both are one object if nothing of that changes what is computed.

    Raises:
        InputError: There is no output of this name.
        ModelFileError: It is not a valid ONNX model, or the file with its weights is missing.
        ConversionError: It has operations that ONNX Runtime's CPU kernels lack.
    """
    try:
        check_functions(str(path))
        original = model = onnx.load(path)
        for text in tidy_model(model, str(path), output):
            on_note(text)
        model.ir_version = max(model.ir_version, 8)  # up to 3, weights had to be listed as inputs; some files lack them
        onnx.checker.check_model(model)
        if model.functions:  # quantizers do not look into functions
            model = onnx.inliner.inline_local_functions(model, convert_version=True)
        model = with_layers(model)
    except EdgepressError:
        raise
    except Exception as e:  # protobuf, onnx and the file system raise their own
        if missing := _missing_weights(path):
            raise ModelFileError(
                f"{path} keeps its weights in {', '.join(missing)}, which is missing.",
                "Copy it into the same folder, or export the model with its weights inside.",
            ) from e
        raise ModelFileError(f"{path} is not a valid ONNX model: {first_line(e)}", "Export it again.") from e
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    _refuse_other_domains(model, path)
    newer = upgrade_model(model, path)
    try:
        return original, with_plain_forms(newer)
    except Exception as e:  # what Python and NumPy raise for attributes of wrong types, counts and sizes
        raise ModelFileError(f"{path} has an operation that is not valid: {first_line(e)}", "Export it again.") from e


def _missing_weights(path: Path) -> list[str]:
    """The first files with weights of a model that can't be opened whole, if they are not beside it."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # not a model either
        return []
    return [name for name in weight_files(model) if not (path.parent / name).exists()][:NAMED]


def _refuse_other_domains(model: onnx.ModelProto, path: Path) -> None:
    """Refuse operations that are neither ONNX' standard ones nor ONNX Runtime's own."""
    domains = sorted({node.domain for node in model.graph.node} - {*STANDARD, "com.microsoft"})
    if not domains:
        return
    nodes = [node for node in model.graph.node if node.domain in domains]
    kind = "custom operations"
    hint = "Use standard operations only."
    if domains == ["ai.onnx.ml"]:
        kind = "operations of classical machine learning, which are not layers of a network"
        hint = (
            "Scaler, Normalizer (L1, L2), Binarizer, ArrayFeatureExtractor and LinearClassifier with a score for each "
            "class are converted; trees, support vectors and neighbours are not."
        )
    operations = f"{', '.join(sorted({node.op_type for node in nodes}))} of {', '.join(domains)}"
    where = nodes[0].name or nodes[0].output[0]
    raise ConversionError(f"{path} has {kind}: {operations} (in {where}).", hint)


def with_shape(model: onnx.ModelProto, shape: tuple[int, ...], where: str) -> onnx.ModelProto:
    """The model of a file (`where`) with the sizes of its items fixed, and what follows from them; the batch stays.

    Raises:
        InputError: The graph does not take items of this shape.
    """
    whole = copy.deepcopy(model)
    (source,) = whole.graph.input
    for dim, size in zip(source.type.tensor_type.shape.dim[1:], shape, strict=True):
        dim.dim_value = size
    for value in whole.graph.output:  # free sizes of it may be known now
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.Clear()
    del whole.graph.value_info[:]  # inferred again
    try:
        return onnx.shape_inference.infer_shapes(whole, strict_mode=True, data_prop=True)
    except Exception as e:  # InferenceError, and ValueError over 2 GB
        raise InputError(
            f"{where} does not take items of shape {list(shape)}: {first_line(e)}.",
            "Give another size, or export the model with an input of fixed size.",
        ) from e
