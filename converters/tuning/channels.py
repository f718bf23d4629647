"""Which input and which output channel each weight of a convolution or dense layer belongs to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.graph.step import WEIGHTED, Step

Indices = npt.NDArray[np.intp]


def input_channels(step: Step, channels: int) -> Indices | None:
    """The input channel of every weight, in a shape that broadcasts to that of the weights; None if there is none.

    Args:
        step: A step with constant weights.
        channels: Size of the last axis of its input.
    """
    shape: tuple[int, ...] = step.constants[1].shape
    match step.kind:
        case "CONV_2D" if channels % shape[-1] == 0 and shape[0] % (channels // shape[-1]) == 0:
            groups = channels // shape[-1]
            group = np.arange(shape[0]) // (shape[0] // groups)
            return (group[:, np.newaxis] * shape[-1] + np.arange(shape[-1])).reshape(shape[0], 1, 1, shape[-1])
        case "DEPTHWISE_CONV_2D" if shape[-1] % channels == 0:
            return (np.arange(shape[-1]) // (shape[-1] // channels)).reshape(1, 1, 1, -1)
        case "FULLY_CONNECTED" if shape[-1] % channels == 0:  # an image is read as one row, pixel by pixel
            return np.arange(shape[-1])[np.newaxis] % channels
    return None


def output_channels(step: Step) -> Indices:
    """The output channel of every weight, in a shape that broadcasts to that of the weights."""
    shape, axis = step.constants[1].shape, WEIGHTED[step.kind]
    return np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])


def largest_by_input(values: npt.NDArray[Any], step: Step, channels: int) -> npt.NDArray[Any]:
    """The largest of numbers, one for each weight, of every input channel, shape (channels,)."""
    found = np.zeros(channels, values.dtype)
    index = input_channels(step, channels)
    assert index is not None
    spatial = tuple(axis for axis in range(1, values.ndim - 1))  # those that no channel depends on
    np.maximum.at(found, np.broadcast_to(index, values.shape).max(axis=spatial), values.max(axis=spatial))
    return found
