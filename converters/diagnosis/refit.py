"""The float graph of a file that was repaired with other data: the factors of its channels, found from its weights.

Equalization divides a channel by a factor, the weights that make it and its bias, too, and multiplies the weights that
read it (`ptq.channel_scales`). So a file's weights show each factor several times: what makes a channel, its bias, and
each layer that reads it. The median of these is right even where one of them is damaged, and stands out then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.diagnosis.matched import Matched
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import WEIGHTED, Step
from edgepress.converters.ptq.channel_links import PINNED, input_channels, output_channels
from edgepress.converters.ptq.channel_scales import ScaleGroups, scale_groups

LARGE = 8.0
"""Steps from which on a rounded weight tells a ratio, to a sixteenth at worst."""
SWEEPS = 4
"""Passes over all layers, each of which takes the medians of the factors that their weights show."""
NEAR = 2.0
"""Steps between a weight and what factors make of the float graph's, up to which it refines a factor."""


@dataclass(frozen=True)
class _StepRatios:
    """What the weights of one step show: for each, the groups of its channels, both values, and the file's scale."""

    source: Array
    output: Array
    plain: Array
    stored: Array
    scale: Array
    output_ids: Array
    bias: Array
    """Logarithms of its biases' factors by channel of the output; NaN where they show none."""

    @property
    def ratios(self) -> Array:
        """Logarithms of the file's weights to the float graph's; NaN where rounding hides them."""
        clear = (np.abs(self.stored) >= LARGE * self.scale) & (self.stored * self.plain > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(clear, np.log(np.abs(self.stored)) - np.log(np.abs(self.plain)), np.nan)


def refit_factors(program: Program, held: Matched) -> bytes | None:
    """The float graph with the factors that a file's weights show; None if it has no channels that take factors."""
    groups = scale_groups(program)
    shown = [each for step in program.weighted() if (each := _step_ratios(step, held, groups)) is not None]
    if groups.count < 2 or not shown:
        return None
    factors = np.full(groups.count, np.nan)
    factors[PINNED] = 0.0
    for each in shown:  # each channel by what makes it
        votes = _medians(each.output, factors[each.source] - each.ratios, groups.count)
        factors = np.where(np.isnan(factors), votes, factors)
    factors = np.nan_to_num(factors)
    for _ in range(SWEEPS):
        votes_of_steps = []
        for each in shown:
            votes_of_steps.append(_medians(each.output, factors[each.source] - each.ratios, groups.count))
            votes_of_steps.append(_medians(each.source, factors[each.output] + each.ratios, groups.count))
            votes_of_steps.append(_medians(each.output_ids, each.bias, groups.count))
        factors = _median_vote(votes_of_steps, factors)
    for each in shown:
        factors = _refine(each, factors)
    return program.with_constants(groups.scale_constants(np.exp(factors)))


def _step_ratios(step: Step, held: Matched, groups: ScaleGroups) -> _StepRatios | None:
    """What a step's weights show; None if the file's are unknown or not integers."""
    if step.weights not in held.constants or step.weights not in held.scales or step.inputs[0] not in groups.of:
        return None
    source = groups.of[step.inputs[0]]
    output = groups.of[step.output]
    index = input_channels(step, len(source))
    if index is None:
        return None
    own = step.constants[1]
    stored = held.constants[step.weights]
    scale = held.scales[step.weights]
    wide = [1] * own.ndim
    wide[WEIGHTED[step.kind]] = scale.size
    bias = np.full(len(output), np.nan)
    if step.bias in held.constants:
        plain = step.constants[2]
        file = held.constants[step.bias]
        same_sign = plain * file > 0
        bias[same_sign] = np.log(np.abs(plain[same_sign])) - np.log(np.abs(file[same_sign]))
    ids, outputs, scales = (
        np.broadcast_to(part, own.shape).ravel()
        for part in (source[index], output[output_channels(step)], scale.reshape(wide))
    )
    return _StepRatios(ids, outputs, own.ravel(), stored.ravel(), scales, output, bias)


def _medians(ids: Array, values: Array, count: int) -> Array:
    """The median of the values of each group that are known; NaN where none is."""
    known = ~np.isnan(values)
    order = np.lexsort((values[known], ids[known]))
    ids = ids[known][order]
    values = values[known][order]
    first = np.searchsorted(ids, np.arange(count))
    last = np.searchsorted(ids, np.arange(count), "right")
    medians = np.full(count, np.nan)
    some = last > first
    medians[some] = values[(first[some] + last[some] - 1) // 2]
    return medians


def _median_vote(votes: list[Array], before: Array) -> Array:
    """The median of several votes for each group, or what it was before if there are none."""
    every = np.stack(votes)
    groups = np.broadcast_to(np.arange(every.shape[1]), every.shape)
    medians = _medians(groups.ravel(), every.ravel(), every.shape[1])
    medians[PINNED] = 0.0
    return np.where(np.isnan(medians), before, medians)


def _refine(shown: _StepRatios, factors: Array) -> Array:
    """The same with the factors of what a step makes fitted to all its weights that agree with them, if most do."""
    scaled = shown.plain * np.exp(factors[shown.source])
    output_factors = np.exp(-factors[shown.output])
    near = np.abs(shown.stored - scaled * output_factors) <= NEAR * shown.scale
    count = len(factors)
    both = np.bincount(shown.output, scaled * shown.stored * near, count)
    size = np.bincount(shown.output, scaled * scaled * near, count)
    agree = np.bincount(shown.output, near, count) > np.bincount(shown.output, minlength=count) / 2
    fitted = (both > 0) & (size > 0) & agree
    fitted[PINNED] = False
    return np.where(fitted, -np.log(np.where(fitted, both, 1) / np.where(fitted, size, 1)), factors)
