"""Graphs of operations that change the size of an image or take its maximum, drawn from a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from c99_graphs import Maker


class Spatial(Maker):
    """A maker with these operations."""

    def maximum(self, axes: list[int], *, keep: bool = False) -> Spatial:
        """REDUCE_MAX over axes of (batch, height, width, channels), which may be counted from the end."""
        at = self.net.constant(np.array(axes, np.int32))
        rank = len(self.shape) + 1
        gone = {axis % rank for axis in axes}
        sizes = [1 if axis in gone else size for axis, size in enumerate(self.shape, 1) if keep or axis not in gone]
        zero = int(self.net.graph.tensors[self.at].quantization.zeroPoint[0])
        self._add("REDUCE_MAX", [self.at, at], tuple(sizes), self.scale, zero, table="Reducer", keepDims=keep)
        return self

    def resize(
        self, height: int, width: int, *, corners: bool = False, centers: bool = False, bilinear: bool = False
    ) -> Spatial:
        """RESIZE_NEAREST_NEIGHBOR or RESIZE_BILINEAR."""
        size = self.net.constant(np.array([height, width], np.int32))
        zero = int(self.net.graph.tensors[self.at].quantization.zeroPoint[0])
        kind, table = "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighbor"
        if bilinear:
            kind, table = "RESIZE_BILINEAR", "ResizeBilinear"
        self._add(
            kind, [self.at, size], (height, width, self.shape[2]), self.scale, zero, table=table,
            alignCorners=corners, halfPixelCenters=centers,
        )  # fmt: skip
        return self

    def transposed(
        self, channels: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1), **more: Any
    ) -> Spatial:
        """TRANSPOSE_CONV, whose output has `extra` rows and columns more than the least; `bias`: whether it has one."""
        same, extra = more.get("same", True), more.get("extra", (0, 0))
        weights, bias, scale = self._weights(
            (channels, *kernel, self.shape[2]), int(np.prod(kernel)) * self.shape[2] // int(np.prod(stride)) + 1,
            channels, 0, more.get("factor", 1.0),
        )  # fmt: skip
        size = [
            max(1, count * step - more_rows) if same else (count - 1) * step + width + more_rows
            for count, width, step, more_rows in zip(self.shape[:2], kernel, stride, extra, strict=True)
        ]
        shape = self.net.constant(np.array([1, *size, channels], np.int32))
        inputs = [shape, weights, self.at, *([bias] if more.get("bias", True) else [])]
        self._add(
            "TRANSPOSE_CONV", inputs, (*size, channels), scale, self.zero(), table="TransposeConv",
            padding=0 if same else 1, strideH=stride[0], strideW=stride[1],
            fusedActivationFunction=more.get("activation", 0),
        )  # fmt: skip
        return self


def _resized(name: str) -> bytes:
    """An image that gets larger or smaller, each side by itself."""
    m = Spatial(name, (0, 0, 0))
    m = Spatial(name, (m.one(1, 3, 5, 8), m.one(1, 4, 7, 10), m.one(1, 3, 4, 8)))
    is_bilinear = name.startswith("bilinear")
    both = [] if is_bilinear else [(True, True)]  # which TFLM refuses
    corners, centers = m.one((False, False), (True, False), (False, True), *both)
    if m.one(True, False):
        sizes = [size * m.one(2, 3) for size in m.shape[:2]]
    else:
        sizes = [int(m.chance.integers(1, 20)) for _ in range(2)]
    return m.resize(*sizes, corners=corners, centers=centers, bilinear=is_bilinear).model()


def _maximum(name: str) -> bytes:
    """The maximum over drawn axes of an image or a series."""
    m = Spatial(name, (0, 0, 0))
    m = Spatial(name, (m.one(1, 3, 6), *m.one((), (5,), (1,)), m.one(1, 4, 7)))
    rank = len(m.shape) + 1
    axes = [int(axis) for axis in m.chance.permutation(rank)[: m.chance.integers(1, rank)]]
    axes = [axis - rank * m.one(0, 1) for axis in axes]
    return m.maximum(axes + axes[: m.one(0, 0, 1)], keep=m.one(True, False)).model()


def _transposed(name: str) -> bytes:
    m = Spatial(name, (0, 0, 0))
    m = Spatial(name, (m.one(1, 2, 5), m.one(3, 4, 6), m.one(1, 2, 3, 4, 8)))
    stride = m.one((1, 1), (2, 2), (2, 2), (1, 2), (3, 2))
    kernel = m.one((1, 1), (2, 2), (3, 3), (4, 4), (2, 5))
    extra = [int(m.chance.integers(0, step)) for step in stride]
    m.transposed(m.one(1, 2, 5, 8), kernel, stride, same=m.one(True, False), bias=m.one(True, True, False), extra=extra)
    return m.model()


def _decoder(name: str) -> bytes:
    """An image that gets smaller and larger again, beside what it was before."""
    m = Spatial(name, (8, 6, 3))
    m.conv(4, (3, 3), activation=1)
    kept, scale = m.at, m.scale
    zero = int(m.net.graph.tensors[kept].quantization.zeroPoint[0])
    m.pool("MAX_POOL_2D", (2, 2), (2, 2), same=False).conv(8, (3, 3), activation=1)
    m.transposed(4, (2, 2), (2, 2))
    m._add("QUANTIZE", [m.at], m.shape, scale, zero)
    m.concatenate([kept], 3).conv(3, (3, 3))
    m.resize(16, 12, centers=True).conv(5, (2, 2))
    return m.maximum([1, 2]).dense(4).model()


def _removal_resized(name: str) -> bytes:
    """Channels that never change and get larger, or smaller, before they are read."""
    m = Spatial(name, (6, 5, 3))
    m.conv(12, (3, 3), activation=1)
    m.constant_biases(m.one(3, 7))
    m.resize(m.one(4, 12), m.one(3, 10), centers=m.one(True, False))
    return m.conv(6, m.one((1, 1), (2, 2)), same=m.one(True, False)).model()


GRAPHS: dict[str, Callable[[str], bytes]] = {
    **{f"resized-{n}": _resized for n in range(16)},
    **{f"bilinear-{n}": _resized for n in range(20)},
    "bilinear-wide": lambda name: Spatial(name, (2, 37, 1)).resize(3, 251, bilinear=True).model(),
    "resized-wide": lambda name: Spatial(name, (2, 37, 1)).resize(3, 251).model(),
    **{f"maximum-{n}": _maximum for n in range(14)},
    "maximum-of-image": lambda name: Spatial(name, (7, 6, 5)).maximum([1, 2]).dense(3).model(),
    "maximum-apart": lambda name: Spatial(name, (7, 6, 5)).maximum([1, 3]).model(),
    **{f"transposed-{n}": _transposed for n in range(20)},
    "transposed-wide": lambda name: Spatial(name, (3, 4, 4)).transposed(4, (3, 3), (2, 2), factor=1e4).model(),
    "transposed-gaps": lambda name: Spatial(name, (3, 4, 5)).transposed(3, (1, 2), (3, 4), same=False).model(),
    "transposed-activation": lambda name: Spatial(name, (3, 4, 5)).transposed(3, (3, 3), (2, 2), activation=1).model(),
    **{f"decoder-{n}": _decoder for n in range(3)},
    **{f"removal-resized-{n}": _removal_resized for n in range(4)},
}
"""What makes each graph, from its name."""
