"""Pools of volumes, which TFLite lacks, as two pools of images: one of each slice, and one of each column of slices.

Windows are boxes, so that the largest value of one is that of its columns, and the mean is the mean of theirs.
"""

from __future__ import annotations

from typing import Any

from edgepress.converters.frozen_patches import add_node, become_reshape, nodes_of_known_sizes

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
