"""Patches of images, pools of volumes and look-ups of whole numbers, in operations that both formats have.

Pools of volumes, which TFLite lacks, as two pools of images: one of each slice, and one of each column of slices.

Windows are boxes, so that the largest value of one is that of its columns, and the mean is the mean of theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edgepress.converters.arrays import Array


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


def write_largest_of_images(definition: Any) -> None:
    """Write the largest values of whole images and series, of a known size, as pools, in place.

    LiteRT's quantizer takes a pool, and leaves the reduction in float.
    """
    nodes = {node.name: node for node in definition.node}
    for node, source, result in nodes_of_known_sizes(definition, {"Max"}):
        axes = value_of(nodes, node.input[1])
        if axes is None or len(source) not in (2, 3):
            continue
        reduced = sorted(int(axis) % (len(source) + 1) for axis in axes.ravel())
        if reduced != list(range(1, len(source))) or np.prod(source[:-1]) == 1:
            continue
        *sides, _ = image = [1, *source][-3:]
        pixels = node.input[0]
        if len(source) == 2:
            pixels = add_node(definition, "Reshape", f"{node.name}/image", pixels, Tshape=[-1, *image]).name
        pool = add_node(definition, "MaxPool", f"{node.name}/pool", pixels)
        for name in ("ksize", "strides"):
            pool.attr[name].list.i[:] = [1, *sides, 1]
        pool.attr["padding"].s = b"VALID"
        pool.attr["data_format"].s = b"NHWC"
        del node.input[1]
        become_reshape(definition, node, pool.name, result)


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
        become(definition, node, "GatherV2", [listed, place, np.array(0, np.int32)],
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
        become(definition, node, kind, [one_hot.name, np.array([-2], np.int32)], T=to, Tidx=tf.int32)


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
    return become(definition, definition.node.add(name=name), kind, inputs, **types)


def add_float_node(definition: Any, kind: str, name: str, inputs: list[Any]) -> Any:
    """Add a node that computes float32, as `_add`."""
    import tensorflow as tf

    return _add(definition, kind, name, inputs, T=tf.float32)


def become(definition: Any, node: Any, kind: str, inputs: list[Any], **types: Any) -> Any:
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


POOLS = {"MaxPool3D": "MaxPool", "AvgPool3D": "AvgPool"}
"""The pool of images by that of volumes."""


def write_pools(definition: Any) -> None:
    """Write pools of volumes, float32 and of a known size with channels last, by those of images, in place."""
    for node, volume, pooled in nodes_of_known_sizes(definition, POOLS):
        if node.attr["data_format"].s != b"NCDHW":
            _write(definition, node, volume, pooled)


def _write(definition: Any, node: Any, volume: list[int], pooled: list[int]) -> None:
    """Write one pool, of a volume of depth x height x width x channels, and leave a Reshape under its name."""
    kind = POOLS[node.op]
    padding = node.attr["padding"].s
    size, strides = ([*node.attr[name].list.i[1:4]] for name in ("ksize", "strides"))
    depth, channels = volume[0], volume[3]
    height, width = pooled[1:3]
    source = node.input[0]
    for part, shape, window, step in (
        ("slices", volume[1:], size[1:], strides[1:]),
        ("columns", [depth, height * width, channels], [size[0], 1], [strides[0], 1]),
    ):
        if {*window, *step} == {1}:
            continue
        images = add_node(definition, "Reshape", f"{node.name}/{part}", source, Tshape=[-1, *shape])
        pool = add_node(definition, kind, f"{node.name}/pooled_{part}", images.name)
        pool.attr["ksize"].list.i[:] = [1, *window, 1]
        pool.attr["strides"].list.i[:] = [1, *step, 1]
        pool.attr["padding"].s = padding
        pool.attr["data_format"].s = b"NHWC"
        source = pool.name
    become_reshape(definition, node, source, pooled)
