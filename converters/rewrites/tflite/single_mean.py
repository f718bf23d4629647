"""Pixels lose one mean for all channels, where an integer file would take one for each off.

A SUB with a constant for each of three channels works in rows of three (`fold_normalization`), and takes as long as a
convolution. With one mean it is ten times faster, and pixels stay exact: whole numbers minus a whole number. The
differences go into the bias of the convolution behind it. Only at the borders, where zeros stand for the means, an
answer changes: the pads are off by at most an eighth of the mean, 10 of 255 grey levels for the usual ones of ImageNet.
Of a large image few taps are there; where they are many, the error would exceed the rounding of int8.
"""

from __future__ import annotations

import math

import numpy as np

from edgepress.converters.rewrites.tflite.windows import (
    activation,
    axes_of,
    fold_affine,
    is_image,
    result,
    set_weights,
    spatial_pads,
    takes_channels,
)
from edgepress.converters.to_tflite.graph import Graph, only_reader

LEAST = 8.0
"""Least mean of pixels of 0-255."""
NEAR = 1 / 8
"""Largest difference of two means as a share of their mean."""
ERROR = 1.0
"""Largest mean square, in grey levels, of what that changes over all taps: 36 dB below pixels whose standard deviation
is 60."""


def rewrite(graph: Graph) -> int:
    """Replace the means that are taken off the graph's input; returns 1 if there are any."""
    return sum(_rewrite_behind(graph, int(source)) for source in graph.table.inputs)


def _rewrite_behind(graph: Graph, source: int) -> int:
    """The same behind one input."""
    readers = graph.readers()
    sub = only_reader(readers, source)
    if sub is None or graph.kind(sub) != "SUB" or int(sub.inputs[0]) != source or activation(sub):
        return 0
    means = graph.constant(int(sub.inputs[1]))
    if means is None or not is_image(graph, source):
        return 0
    *_, channels = graph.shape(source)
    if means.size != 1 and (means.size, means.shape[-1]) != (channels, channels):
        return 0
    op = only_reader(readers, result(sub))
    pads = spatial_pads(graph, op)
    if pads is not None:
        op = only_reader(readers, result(op))
    if op is None or not takes_channels(graph, op, channels):
        return 0
    mean = np.rint(means.mean())
    if (means == mean).all() or abs(mean) < LEAST or np.abs(means - mean).max() > NEAR * abs(mean):
        return 0
    inside = math.prod(axis.inside(pad) for axis, pad in zip(axes_of(graph, op), pads or ((0, 0), (0, 0)), strict=True))
    if (1 - inside) * np.square(means - mean).mean() > ERROR:
        return 0
    shift = np.broadcast_to((mean - means).ravel(), channels)
    set_weights(graph, op, *fold_affine(graph, op, np.ones(channels), shift))
    sub.inputs = [source, graph.add_constant(np.array(mean, np.float32))]
    return 1
