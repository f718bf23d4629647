"""Functions of the standard: what it makes a node of, for the types and shapes of its inputs.

`onnx.inliner` does the same, but ends the process where an optional input is left out, and does not know the shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from edgepress.converters.importers.values import Value


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
