"""Parts of a frozen graph that the converters can't take as they are, written in another way.

What is computed stays the same. The ONNX route gets the same graph as TFLite's.
"""

from __future__ import annotations

from typing import Any


def fix(definition: Any) -> None:
    """Replace such parts of a `GraphDef`, in place."""
    _replace_channels_first(definition)
    _join_dilated_convolutions(definition)


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
            _add_constant(definition, column, "Tshape", [-1, *[1] * (rank - 2)])
            node.op = "AddV2"
            node.input[1] = column.name
            del node.attr["data_format"]
    for node in squeezes:
        shape = shapes[node.name]
        sizes = [] if shape.rank is None else [-1 if size is None else size for size in shape.as_list()]
        if shape.rank is not None and sizes.count(-1) <= 1:
            del node.attr["squeeze_dims"]
            node.op = "Reshape"
            _add_constant(definition, node, "Tshape", sizes)


def _join_dilated_convolutions(definition: Any) -> None:
    """Give convolutions in one dimension their dilation, in place.

    TensorFlow 2.21 computes dilated convolutions as others, of every Nth value: SpaceToBatchND in front of them and
    BatchToSpaceND behind. Both converters put it together again for images, but not for what `Conv1D` makes of series.
    """
    nodes = {node.name: node for node in definition.node}
    for last in [node for node in definition.node if node.op == "BatchToSpaceND"]:
        chain = [last]
        for kind in ("Squeeze", "Conv2D", "ExpandDims", "SpaceToBatchND"):
            maker = nodes.get(chain[-1].input[0].partition(":")[0])
            if maker is not None and maker.op == kind:
                chain.append(maker)
        if len(chain) == 5 and _is_plain(chain[2]):
            _join(definition, nodes, chain)


def _join(definition: Any, nodes: dict[str, Any], chain: list[Any]) -> None:
    """Let the last node of a chain squeeze a dilated convolution of what the first one reads, in place.

    Args:
        definition: The graph.
        nodes: Its nodes by name.
        chain: BatchToSpaceND, Squeeze, Conv2D, ExpandDims and SpaceToBatchND, each of which reads the next one.
    """
    last, squeeze, conv, expand, first = chain
    axis = _constant(nodes, expand.input[1])
    blocks = [_constant(nodes, node.input[1]) for node in (first, last)]
    pads, crops = (_constant(nodes, node.input[2]) for node in (first, last))
    squeezed = [*squeeze.attr["squeeze_dims"].list.i]
    if axis not in (-3, 1) or squeezed not in ([-3], [1]) or None in (blocks[0], pads, crops) or blocks[0] != blocks[1]:
        return
    if len(blocks[0]) != 1:
        return
    (dilation,), ((before, after),), ((left, right),) = blocks[0], pads, crops
    if left or right > after:
        return
    source = first.input[0]
    if before or after > right:
        pad = definition.node.add(name=f"{last.name}/pad", op="Pad", input=[source])
        pad.attr["T"].CopyFrom(conv.attr["T"])
        _add_constant(definition, pad, "Tpaddings", [[0, 0], [before, after - right], [0, 0]])
        source = pad.name
    image = definition.node.add()
    image.MergeFrom(expand)
    image.name, image.input[0] = f"{last.name}/image", source
    dilated = definition.node.add()
    dilated.MergeFrom(conv)
    dilated.name, dilated.input[0] = f"{last.name}/dilated", image.name
    dilated.attr["dilations"].list.i[:] = [1, 1, dilation, 1]
    name = last.name
    last.CopyFrom(squeeze)
    last.name, last.input[0] = name, dilated.name


def _is_plain(conv: Any) -> bool:
    """Whether a convolution has no padding, strides and dilation, and channels last."""
    ones = {*conv.attr["strides"].list.i, *conv.attr["dilations"].list.i}
    return bool(conv.attr["data_format"].s == b"NHWC" and conv.attr["padding"].s == b"VALID" and ones == {1})


def _constant(nodes: dict[str, Any], name: str) -> Any:
    """The value of a constant, as lists; None if a node is none."""
    import tensorflow as tf

    node = nodes.get(name)
    return tf.make_ndarray(node.attr["value"].tensor).tolist() if node is not None and node.op == "Const" else None


def _add_constant(definition: Any, node: Any, type_name: str, value: list[Any]) -> None:
    """Add a constant of integers, and let a node read it as its second input."""
    import tensorflow as tf

    constant = definition.node.add(name=f"{node.name}/{type_name}", op="Const")
    constant.attr["dtype"].type = tf.int32.as_datatype_enum
    constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.int32))
    node.input.insert(1, constant.name)  # in front of nodes that it only waits for
    node.attr[type_name].type = tf.int32.as_datatype_enum
