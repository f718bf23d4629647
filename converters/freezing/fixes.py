"""Parts of a frozen graph that the converters can't take as they are, written in another way.

What is computed stays the same. The ONNX route gets the same graph as TFLite's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.freezing.forms import (
    add_constant,
    value_of,
    write_counts,
    write_largest_of_images,
    write_out_patches,
    write_pools,
)
from edgepress.converters.freezing.lacking import write_lacking
from edgepress.converters.freezing.spectra import write_spectra

UNCHANGED = (1, [0, 0], [0, 0])
"""Block size, padding and crop of a dimension that SpaceToBatchND and BatchToSpaceND leave alone."""


def fix(definition: Any) -> None:
    """Replace such parts of a `GraphDef`, in place."""
    write_counts(definition)
    write_out_patches(definition)
    write_pools(definition)
    write_largest_of_images(definition)
    write_spectra(definition)
    write_lacking(definition)
    _join_dilated_convolutions(definition)
    _fill_dilated_filters(definition)
    _bound_before_roots(definition)
    _bound_exponents(definition)
    _replace_channels_first(definition)


def _replace_channels_first(definition: Any) -> None:
    """Replace what TFLite's converter can't bring to the order channels last, in place; what is computed is the same.

    TensorFlow 2.21 fails at BiasAdd over axis 1 of anything but images, which Keras 3.15 makes of each sum with a
    constant of shape (N, 1) whose N is that of axis 1, such as the bias of an `EinsumDense` in the middle; and at the
    Squeeze behind a `Conv1D` with channels first.
    """
    import tensorflow as tf

    # Reading a missing attribute would add it.
    first = {n.name: n for n in definition.node if "data_format" in n.attr and n.attr["data_format"].s == b"NCHW"}
    biases = [node for node in first.values() if node.op == "BiasAdd"]
    squeezes = [n for n in definition.node if n.op == "Squeeze" and n.input[0] in first]
    if not biases and not squeezes:
        return
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    shapes = {node.name: graph.get_tensor_by_name(f"{node.name}:0").shape for node in (*biases, *squeezes)}
    for node in biases:
        rank = shapes[node.name].rank
        if rank not in (None, 4):
            column = definition.node.add(name=f"{node.name}/column", input=[node.input[1]])
            column.attr["T"].CopyFrom(node.attr["T"])
            column.op = "Reshape"
            add_constant(definition, column, "Tshape", [-1, *[1] * (rank - 2)])
            node.op = "AddV2"
            node.input[1] = column.name
            del node.attr["data_format"]
    for node in squeezes:
        shape = shapes[node.name]
        sizes = [] if shape.rank is None else [-1 if size is None else size for size in shape.as_list()]
        if shape.rank is not None and sizes.count(-1) <= 1:
            del node.attr["squeeze_dims"]
            node.op = "Reshape"
            add_constant(definition, node, "Tshape", sizes)


def _bound_before_roots(definition: Any) -> None:
    """Bound the operand of an inverse root, in place, instead of the root: min(1/sqrt(x), b) is 1/sqrt(max(x, b^-2)).

    Keras' UnitNormalization bounds the root. XNNPACK computes NaN of 1/sqrt(0), which a bound does not change.
    """
    import tensorflow as tf

    nodes = {node.name: node for node in definition.node}
    for node in [each for each in definition.node if each.op == "Minimum"]:
        makers = [nodes.get(name.partition(":")[0]) for name in node.input[:2]]
        for root, bound in (makers, makers[::-1]):
            if root is None or bound is None or root.op != "Rsqrt" or bound.op != "Const":
                continue
            value = tf.make_ndarray(bound.attr["value"].tensor)
            least_value = value.astype("float64") ** -2 if value.size == 1 and value.item() > 0 else None
            if least_value is None or not np.finfo(value.dtype).tiny <= least_value.item() <= np.finfo(value.dtype).max:
                continue
            least = definition.node.add(name=f"{node.name}/least", op="Const")
            least.attr["dtype"].CopyFrom(node.attr["T"])
            least.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(least_value, node.attr["T"].type))
            largest = definition.node.add(name=f"{node.name}/bounded", op="Maximum", input=[root.input[0], least.name])
            largest.attr["T"].CopyFrom(node.attr["T"])
            node.op = "Rsqrt"
            node.input[:2] = [largest.name]


def _bound_exponents(definition: Any) -> None:
    """Write softplus, in place, so that exp is at most 1: log(1 + exp(x)) is max(x, 0) + log(1 + exp(-|x|)).

    TFLite's converter writes the former, which is infinite from 89 on, and nets of pixels reach that.
    """
    import tensorflow as tf

    for node in [each for each in definition.node if each.op == "Softplus"]:
        source = node.input[0]
        parts = {
            "positive": "Relu",
            "size": "Abs",
            "falling": "Neg",
            "exponential": "Exp",
            "sum": "AddV2",
            "log": "Log",
        }
        one = definition.node.add(name=f"{node.name}/one", op="Const")
        one.attr["dtype"].CopyFrom(node.attr["T"])
        one.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(1, node.attr["T"].type))
        before = source
        for name, kind in parts.items():
            part = definition.node.add(name=f"{node.name}/{name}", op=kind, input=[before])
            part.attr["T"].CopyFrom(node.attr["T"])
            before = source if kind == "Relu" else part.name
            if kind == "AddV2":
                part.input.append(one.name)
        node.op = "AddV2"
        node.input[:1] = [f"{node.name}/positive", f"{node.name}/log"]


def _join_dilated_convolutions(definition: Any) -> None:
    """Give convolutions of series, and of images with channels first, their dilation, in place.

    TensorFlow 2.21 computes dilated convolutions as others, of every Nth value: SpaceToBatchND in front of them and
    BatchToSpaceND behind. Both converters put it together again for images with channels last, but not for what
    `Conv1D` makes of series; with channels first, TFLite's converter makes files that can't run.
    """
    nodes = {node.name: node for node in definition.node}
    for last in [node for node in definition.node if node.op == "BatchToSpaceND"]:
        for kinds in (("Squeeze", "Conv2D", "ExpandDims", "SpaceToBatchND"), ("Conv2D", "SpaceToBatchND")):
            chain = [last]
            for kind in kinds:
                maker = nodes.get(chain[-1].input[0].partition(":")[0])
                if maker is not None and maker.op == kind:
                    chain.append(maker)
            if len(chain) == 1 + len(kinds) and _is_plain(chain[len(kinds) // 2]):
                _join(definition, nodes, chain)


def _fill_dilated_filters(definition: Any) -> None:
    """Give dilated transposed convolutions filters with zeros in between, in place: TFLite's have no dilation."""
    import tensorflow as tf

    nodes = {node.name: node for node in definition.node}
    for node in [each for each in nodes.values() if each.op in ("Conv2DBackpropInput", "Conv3DBackpropInputV2")]:
        all_dilations = node.attr["dilations"].list.i
        first = node.attr["data_format"].s in (b"NCHW", b"NCDHW")
        dilations = all_dilations[2:] if first else all_dilations[1:-1]
        maker = nodes[node.input[1].partition(":")[0]]
        is_series = maker.op == "ExpandDims"  # of a filter of shape (L, C, C)
        filters = value_of(nodes, maker.input[0] if is_series else node.input[1])
        axis = value_of(nodes, maker.input[1]) if is_series else ()
        if filters is None or axis is None or {*dilations} <= {1}:
            continue
        filters = np.expand_dims(filters, tuple(np.ravel(axis).astype(int)))
        sizes = [(size - 1) * by + 1 for size, by in zip(filters.shape, dilations, strict=False)]
        dilated = np.zeros((*sizes, *filters.shape[-2:]), filters.dtype)
        dilated[tuple(slice(None, None, by) for by in dilations)] = filters
        constant = definition.node.add(name=f"{node.name}/filled", op="Const")
        constant.attr["dtype"].CopyFrom(node.attr["T"])
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(dilated))
        node.input[1] = constant.name
        all_dilations[:] = [1] * len(all_dilations)


def _join(definition: Any, nodes: dict[str, Any], chain: list[Any]) -> None:
    """Let the last node of a chain become a dilated convolution of what the first one reads, in place.

    Args:
        definition: The graph.
        nodes: Its nodes by name.
        chain: BatchToSpaceND, Conv2D and SpaceToBatchND, each of which reads the next one; with series, Squeeze in
            front of Conv2D and ExpandDims behind it.
    """
    last, first, conv = chain[0], chain[-1], chain[len(chain) // 2]
    is_series = len(chain) == 5
    channels_first = int(conv.attr["data_format"].s == b"NCHW")
    block, pads = (_constant(nodes, name) for name in first.input[1:3])
    block_behind, crops = (_constant(nodes, name) for name in last.input[1:3])
    if None in (block, pads, crops) or block != block_behind:
        return
    spatial = 1 if is_series else 2
    trailing = 1 - channels_first
    if not (is_series or channels_first) or len(block) != channels_first + spatial:
        return
    if channels_first and (block[0], pads[0], crops[0]) != UNCHANGED:
        return
    if is_series and not _makes_one_row(nodes, squeeze=chain[1], expand=chain[3], channels_first=channels_first):
        return
    dilations, pads, crops = ([*values[channels_first:]] for values in (block, pads, crops))
    if any(left or right > after for (_, after), (left, right) in zip(pads, crops, strict=True)):
        return
    margins = [[before, after - right] for (before, after), (_, right) in zip(pads, crops, strict=True)]
    source = first.input[0]
    if any(map(any, margins)):
        pad = definition.node.add(name=f"{last.name}/pad", op="Pad", input=[source])
        pad.attr["T"].CopyFrom(conv.attr["T"])
        amounts = [*[[0, 0]] * (1 + channels_first), *margins, *[[0, 0]] * trailing]
        add_constant(definition, pad, "Tpaddings", amounts)
        source = pad.name
    name = last.name
    if is_series:
        source = _copy(chain[3], definition.node.add(), name=f"{name}/image", source=source)
        _copy(chain[1], last, name=name, source=f"{name}/dilated")
    dilated = definition.node.add() if is_series else last
    _copy(conv, dilated, name=f"{name}/dilated" if is_series else name, source=source)
    dilated.attr["dilations"].list.i[:] = [*[1] * (4 - spatial - trailing), *dilations, *[1] * trailing]


def _copy(node: Any, to: Any, *, name: str, source: str) -> str:
    """Make a node the copy of another one, with another name, that reads another node first; returns the name."""
    to.CopyFrom(node)
    to.name, to.input[0] = name, source
    return name


def _makes_one_row(nodes: dict[str, Any], *, squeeze: Any, expand: Any, channels_first: int) -> bool:
    """Whether two nodes make an image of one row of a series, shape (N, 1, L, C) or (N, C, 1, L), and undo that."""
    axes = (-2, 2) if channels_first else (-3, 1)
    return _constant(nodes, expand.input[1]) in axes and [*squeeze.attr["squeeze_dims"].list.i] in ([i] for i in axes)


def _is_plain(conv: Any) -> bool:
    """Whether a convolution has no padding, strides and dilation."""
    ones = {*conv.attr["strides"].list.i, *conv.attr["dilations"].list.i}
    return bool(conv.attr["padding"].s == b"VALID" and ones == {1})


def _constant(nodes: dict[str, Any], name: str) -> Any:
    """The value of a constant, as lists; None if a node is none."""
    import tensorflow as tf

    node = nodes.get(name)
    return tf.make_ndarray(node.attr["value"].tensor).tolist() if node is not None and node.op == "Const" else None
