"""Patches of images, cut by operations that both formats have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np


class _Patches(NamedTuple):
    """How an ExtractImagePatches cuts images of a known size; pairs are of rows and columns."""

    image: tuple[int, int, int]
    places: tuple[int, int]
    size: tuple[int, int]
    strides: tuple[int, int]
    rates: tuple[int, int]

    @property
    def are_side_by_side(self) -> bool:
        """Whether each pixel lies in one patch, but for those that are left over at the end."""
        fits = all(n * size <= whole for n, size, whole in zip(self.places, self.size, self.image, strict=False))
        return self.size == self.strides and self.rates == (1, 1) and fits

    @property
    def are_copied_by_a_kernel(self) -> bool:
        """Whether TensorFlow has a kernel of a depthwise convolution with these strides and rates."""
        down, right = self.strides
        return down == right and (down == 1 or self.rates == (1, 1))


def write_out_patches(definition: Any) -> None:
    """Write ExtractImagePatches, which neither format has, by operations of both, in place.

    Patches side by side are a turned reshape; those that overlap or lie apart are made by a depthwise convolution of
    ones and zeros, which copies.
    """
    for node, image, patches in nodes_of_known_sizes(definition, {"ExtractImagePatches"}):
        pairs = (tuple(node.attr[name].list.i[1:3]) for name in ("ksizes", "strides", "rates"))
        cut = _Patches(tuple(image), tuple(patches[:2]), *pairs)
        if cut.are_side_by_side:
            turned = _turn_patches(definition, node, cut)
        elif cut.are_copied_by_a_kernel:
            turned = _copy_patches(definition, node, cut)
        else:
            continue
        become_reshape(definition, node, turned, patches)


def nodes_of_known_sizes(definition: Any, kinds: Collection[str]) -> Iterator[tuple[Any, Any, Any]]:
    """Nodes of some types that compute float32, with the shapes of their first input and their output for one item."""
    import tensorflow as tf

    nodes = [node for node in definition.node if node.op in kinds]
    if not nodes:
        return
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    for node in nodes:
        ends = [name if ":" in name else f"{name}:0" for name in (node.input[0], node.name)]
        source, result = (graph.get_tensor_by_name(name).shape.as_list()[1:] for name in ends)
        if None not in (*source, *result) and node.attr["T"].type == tf.float32.as_datatype_enum:
            yield node, source, result


def become_reshape(definition: Any, node: Any, source: str, shape: Sequence[int]) -> None:
    """Make a node a Reshape of another one to the shape of an item, under its own name."""
    for name in [*node.attr]:
        if name != "T":
            del node.attr[name]
    node.op = "Reshape"
    node.input[0] = source
    add_constant(definition, node, "Tshape", [-1, *shape])


def _turn_patches(definition: Any, node: Any, cut: _Patches) -> str:
    """Name of patches side by side, each row of them behind the one before."""
    rows, columns = cut.places
    high, wide = cut.size
    whole = add_node(definition, "Slice", f"{node.name}/whole", node.input[0], Index=[0, 0, 0, 0])
    add_constant(definition, whole, "Index", [-1, rows * high, columns * wide, -1], place=2)
    shape = [-1, high, columns, wide * cut.image[2]]
    parts = add_node(definition, "Reshape", f"{node.name}/rows", whole.name, Tshape=shape)
    return str(add_node(definition, "Transpose", f"{node.name}/turned", parts.name, Tperm=[0, 2, 1, 3]).name)


def _copy_patches(definition: Any, node: Any, cut: _Patches) -> str:
    """Name of patches that a convolution copies, the channels of each pixel side by side."""
    import tensorflow as tf

    channels = cut.image[2]
    size = cut.size[0] * cut.size[1]
    taps = np.zeros((*cut.size, channels, size), np.float32)
    for place in range(size):
        taps[place // cut.size[1], place % cut.size[1], :, place] = 1
    copied = add_node(definition, "DepthwiseConv2dNative", f"{node.name}/copied", node.input[0])
    filters = definition.node.add(name=f"{copied.name}/taps", op="Const")
    filters.attr["dtype"].type = tf.float32.as_datatype_enum
    filters.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(taps))
    copied.input.append(filters.name)
    for name, values in (("strides", cut.strides), ("dilations", cut.rates)):
        copied.attr[name].list.i[:] = [1, *values, 1]
    copied.attr["padding"].CopyFrom(node.attr["padding"])
    copied.attr["data_format"].s = b"NHWC"
    shape = [-1, cut.places[0] * cut.places[1], channels, size]
    parts = add_node(definition, "Reshape", f"{node.name}/parts", copied.name, Tshape=shape)
    return str(add_node(definition, "Transpose", f"{node.name}/turned", parts.name, Tperm=[0, 1, 3, 2]).name)


def add_node(definition: Any, kind: str, name: str, source: str, **constants: list[int]) -> Any:
    """Add a node of float32 values with constants as its further inputs, by the names of their types."""
    import tensorflow as tf

    node = definition.node.add(name=name, op=kind, input=[source])
    node.attr["T"].type = tf.float32.as_datatype_enum
    for type_name, value in constants.items():
        add_constant(definition, node, type_name, value)
    return node


def add_constant(definition: Any, node: Any, type_name: str, value: list[Any], *, place: int = 1) -> None:
    """Add a constant of integers, and let a node read it as its second input, or its third (`place` 2)."""
    import tensorflow as tf

    constant = definition.node.add(name=f"{node.name}/{type_name}{place}", op="Const")
    constant.attr["dtype"].type = tf.int32.as_datatype_enum
    constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.int32))
    node.input.insert(place, constant.name)  # in front of nodes that it only waits for
    node.attr[type_name].type = tf.int32.as_datatype_enum
