"""Every operation of ONNX that is imported: the table, functions of the standard, and steps that are joined first.

What an operation computes in each opset: https://onnx.ai/onnx/operators/. Each function takes the `Node` and its inputs
as `Value`s, and returns a `Value` or several. To add one, write such a function in the file of its kind, and a row in
that file's table; `tests/integration/test_onnx_cases.py` then runs ONNX's own cases of it.

Functions of the standard: what it makes a node of, for the types and shapes of its inputs.

`onnx.inliner` does the same, but ends the process where an optional input is left out, and does not know the shapes.

Operations that exporters write out in steps, joined again: GELU and layer normalization.

TFLite has a kernel for GELU alone, no operation for the error function inside it, and quantized step by step, a cube
leaves nothing of what is small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from edgepress.converters.importers.activations import ACTIVATIONS, NORMALIZATIONS
from edgepress.converters.importers.convolutions import CONVOLUTIONS
from edgepress.converters.importers.elementwise import ELEMENTWISE
from edgepress.converters.importers.indexing import INDEXING
from edgepress.converters.importers.node import Operation, Value
from edgepress.converters.importers.pools import POOLS, SAMPLING
from edgepress.converters.importers.products import PRODUCTS, SPECTRA
from edgepress.converters.importers.recurrent import RECURRENT
from edgepress.converters.importers.reductions import ALONG_AXES
from edgepress.converters.importers.resizes import RESIZES
from edgepress.converters.importers.shapes import SHAPES
from edgepress.converters.to_onnx.gelus import find_gelus
from edgepress.converters.to_onnx.graph import OnnxGraph
from edgepress.converters.to_onnx.layer_norms import write_layer_norms

OPERATIONS: dict[str, Operation] = {
    **ACTIVATIONS,
    **ALONG_AXES,
    **CONVOLUTIONS,
    **ELEMENTWISE,
    **INDEXING,
    **NORMALIZATIONS,
    **POOLS,
    **PRODUCTS,
    **RECURRENT,
    **RESIZES,
    **SAMPLING,
    **SHAPES,
    **SPECTRA,
}
"""Of the standard domain; others are computed beforehand if all that they read is constant."""


def function_body(each: onnx.NodeProto, opset: int, inputs: Sequence[Value | None]) -> onnx.FunctionProto | None:
    """What the standard makes a node of, for the types and shapes of its inputs; None if it is no function."""
    if not onnx.defs.has(each.op_type, opset, each.domain):
        return None
    schema = onnx.defs.get_schema(each.op_type, opset, each.domain)
    body = onnx.FunctionProto()
    if schema.has_context_dependent_function:
        types = [_type_of(value).SerializeToString() for value in inputs]
        made = schema.get_context_dependent_function(each.SerializeToString(), types)
        body.ParseFromString(made)
        return body
    if schema.has_function:
        body.CopyFrom(schema.function_body)
        defaults = [a.default_value for a in schema.attributes.values() if a.default_value.name]
        body.attribute_proto.extend(defaults)
        return body
    return None


def _type_of(value: Value | None) -> onnx.TypeProto:
    if value is None:
        return onnx.TypeProto()
    return onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype)), value.shape)


def with_attributes(node: onnx.NodeProto, given: Mapping[str, onnx.AttributeProto]) -> onnx.NodeProto:
    """A node of a function with the attributes of the node that calls it, in graphs inside it, too."""
    made = onnx.NodeProto()
    made.CopyFrom(node)
    del made.attribute[:]
    for attribute in node.attribute:
        source = given.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
        if source is None:
            continue
        copied = made.attribute.add()
        copied.CopyFrom(source)
        copied.name = attribute.name
        for graph in (copied.g, *copied.graphs) if copied.type == onnx.AttributeProto.GRAPH else ():
            nodes = [with_attributes(inner, given) for inner in graph.node]
            del graph.node[:]
            graph.node.extend(nodes)
    return made


def join_steps(model: onnx.ModelProto) -> onnx.ModelProto:
    """Join them in a model of one item, in place; it may have operations of later opsets then."""
    graph = OnnxGraph(model)
    write_layer_norms(graph)
    for gelu in find_gelus(graph):
        way = "tanh" if gelu.is_approximate else "none"
        graph.replace(gelu.result, "Gelu", [gelu.value], approximate=way)
    graph.finish()
    return model
