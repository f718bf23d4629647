"""Look-ups and counts of whole numbers, as IntegerLookup and CategoryEncoding make them, as lists and one-hot rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array

LARGEST_SPAN = 1 << 20
"""Largest difference of the keys of a table that becomes a list of values, one for each number in between."""


def write_lookups(definition: Any, tables: Mapping[str, Any]) -> None:
    """Write look-ups of whole numbers in tables as Gathers from a list, in place.

    The list has a value for each number from the smallest key to the largest, and the default at both ends.

    Args:
        definition: A `GraphDef`.
        tables: Handles of tables by the names of the placeholders that the look-ups read.
    """
    import tensorflow as tf

    nodes = {node.name: node for node in definition.node}
    for node in [each for each in definition.node if each.op == "LookupTableFindV2"]:
        types = [tf.as_dtype(node.attr[name].type) for name in ("Tin", "Tout")]
        handle = tables.get(_maker(nodes, node.input[0]).name)
        default = value_of(nodes, node.input[2])
        if handle is None or default is None or not all(kind.is_integer for kind in types):
            continue
        exported = tf.raw_ops.LookupTableExportV2(table_handle=handle, Tkeys=types[0], Tvalues=types[1])
        keys, values = (tensor.numpy() for tensor in exported)
        if not len(keys) or values.ndim > 1:
            continue
        limits = np.iinfo(keys.dtype)
        before, behind = int(keys.min()) - 1, int(keys.max()) + 1
        if behind - before > LARGEST_SPAN + 2 or before < limits.min or behind > limits.max:
            continue
        listed = np.full(behind - before + 1, default, values.dtype)
        listed[keys - before] = values
        place = node.input[1]
        for kind, bound in (("Maximum", before), ("Minimum", behind), ("Sub", before)):
            place = _add(definition, kind, f"{node.name}/{kind}", [place, np.array(bound, keys.dtype)], T=types[0]).name
        _become(definition, node, "GatherV2", [listed, place, np.array(0, np.int32)],
                Tparams=types[1], Tindices=types[0], Taxis=tf.int32)  # fmt: skip


def write_counts(definition: Any) -> None:
    """Write counts of whole numbers in rows, and which numbers a row has, as one-hot rows and their sum, in place."""
    import tensorflow as tf

    nodes = {node.name: node for node in definition.node}
    for node in [each for each in definition.node if each.op == "DenseBincount"]:
        depth = _fixed_size(nodes, node.input[1])
        weights = value_of(nodes, node.input[2])
        if depth is None or weights is None or weights.size:
            continue
        of, to = (tf.as_dtype(node.attr[name].type) for name in ("Tidx", "T"))
        ends = [np.array(value, to.as_numpy_dtype) for value in (1, 0)]
        name = f"{node.name}/one_hot"
        one_hot = _add(definition, "OneHot", name, [node.input[0], np.array(depth, np.int32), *ends], T=to, TI=of)
        one_hot.attr["axis"].i = -1
        kind = "Max" if node.attr["binary_output"].b else "Sum"
        _become(definition, node, kind, [one_hot.name, np.array([-2], np.int32)], T=to, Tidx=tf.int32)


def _fixed_size(nodes: Mapping[str, Any], name: str) -> int | None:
    """The value of a scalar, a constant or min(a, max(b, x)) with constants b >= a; None if it is another one."""
    node = _maker(nodes, name)
    if node.op != "Minimum":
        value = value_of(nodes, name)
        return None if value is None else int(value)
    for largest, within in (node.input[:2], node.input[1::-1]):
        value = value_of(nodes, largest)
        bounded = _maker(nodes, within)
        if value is not None and bounded.op == "Maximum":
            least = [each for each in (value_of(nodes, name) for name in bounded.input[:2]) if each is not None]
            if least and max(least) >= value:
                return int(value)
    return None


def _maker(nodes: Mapping[str, Any], name: str) -> Any:
    """The node that makes a tensor, behind those that only pass it on."""
    node = nodes[name.partition(":")[0]]
    while node.op == "Identity":
        node = nodes[node.input[0].partition(":")[0]]
    return node


def value_of(nodes: Mapping[str, Any], name: str) -> Array | None:
    """The value of a constant; None if a tensor is none."""
    import tensorflow as tf

    node = _maker(nodes, name)
    return tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else None


def _add(definition: Any, kind: str, name: str, inputs: list[Any], **types: Any) -> Any:
    """Add a node; inputs are names of nodes, and values that become constants."""
    return _become(definition, definition.node.add(name=name), kind, inputs, **types)


def _become(definition: Any, node: Any, kind: str, inputs: list[Any], **types: Any) -> Any:
    """Make a node one of another kind with these inputs, as in `_add`, under its own name."""
    import tensorflow as tf

    waits = [name for name in node.input if name.startswith("^")]
    node.op = kind
    node.attr.clear()
    del node.input[:]
    for place, each in enumerate(inputs):
        name = each
        if not isinstance(each, str):
            name = f"{node.name}/constant{place}"
            constant = definition.node.add(name=name, op="Const")
            constant.attr["dtype"].type = tf.as_dtype(each.dtype).as_datatype_enum
            constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(each))
        node.input.append(name)
    node.input.extend(waits)
    for name, of in types.items():
        node.attr[name].type = of.as_datatype_enum
    return node
