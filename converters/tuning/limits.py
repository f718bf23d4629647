"""Keep equalized graphs within what integer kernels can compute (`to_tflite.requantization`)."""

from __future__ import annotations

import numpy as np

from edgepress.converters.statistics import Ranges
from edgepress.converters.to_tflite.requantization import LARGEST, requantization
from edgepress.converters.tuning.channels import output_channels
from edgepress.converters.tuning.groups import Factors, Groups
from edgepress.converters.tuning.links import PINNED

ROOM = 4.0
"""Ratio of the largest factor to what is left to it: ranges that clip make scales of outputs smaller."""
ROUNDS = 20


def limited(groups: Groups, factors: Factors, ranges: Ranges) -> Factors:
    """Factors that let no sum of products be multiplied by too much, shape (count,).

    A channel that is nearly always 0 would be scaled up beside its neighbours, and with it the weights that make it.

    Args:
        groups: The scale groups.
        factors: Factors for `Groups.scaled`.
        ranges: Ranges of the tensors with these factors.
    """
    found = factors.copy()
    for _ in range(ROUNDS):
        constants, excess = groups.scaled(found), np.ones(groups.count)
        for step in groups.program.weighted():
            if step.inputs[0] not in ranges or step.output not in ranges:
                continue
            weights = np.abs(constants.get(step.weights, step.constants[1]))
            places = output_channels(step)
            axes = tuple(axis for axis in range(weights.ndim) if places.shape[axis] == 1)
            largest = weights.max(axis=axes).ravel()
            source, output = (np.ptp((0.0, *ranges[name])) / 255 for name in (step.inputs[0], step.output))
            ids = groups.of[step.output]
            if not output or len(largest) != len(ids):
                continue
            np.maximum.at(excess, ids, requantization(float(source), largest / 127, float(output)) * ROOM / LARGEST)
        excess[PINNED] = 1
        if not (excess > 1).any():
            break
        found = found * excess
    return found
