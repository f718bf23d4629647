"""Rounding of one layer to four bits: what its weights are rounded to, so that its outputs stay.

Rounded are not single weights but the layer: an error of one is made up for by those behind it (`round_by_covariance`).
That replaced AdaRound (Nagel et al. 2020, arXiv:2004.10568), whose choice between the two nearest steps of each weight
took longer and was better on one net and worse on another (docs/decisions.md). `sampler` draws what a layer multiplies:
for some places of its outputs, all values that are multiplied there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgepress.converters.arrays import Floats
from edgepress.converters.graph.step import Step
from edgepress.converters.to_tflite.grids import LEVELS

CLIPS = np.linspace(0.4, 1.0, 25, dtype=np.float32)
"""Ends of the grid that are tried, as shares of a channel's largest weight."""
ON_GRID = 1e-4
"""Weights this near to the end of the grid, in steps, stay there: quantizers take the scale from the largest weight."""
RIDGE = 0.01
"""What is added to the variance of each value, as a share of their mean: few samples leave it undecided."""
FEWEST_SAMPLES = 256
"""Samples of a layer in any case, if it has as many."""
MOST_SAMPLES = 1 << 14
"""Most samples of a layer."""
SAMPLE_BYTES = 1 << 28
"""Memory that the samples of a layer may take."""


def best_steps(weights: Floats, power: Floats, levels: int) -> Floats:
    """The step of each output with the smallest error, shape (outputs, 1).

    Args:
        weights: Shape (outputs, values).
        power: Mean square of each value, (values,): what an error of a weight costs.
        levels: Steps of the largest weight.
    """
    largest = np.abs(weights).max(axis=1, keepdims=True)
    largest = np.where(largest > 0, largest, 1).astype(np.float32)
    steps = [np.asarray(clip * largest / levels, np.float32) for clip in CLIPS]
    errors = [(nearest(weights, step, levels) - weights) ** 2 @ power for step in steps]
    return np.asarray(np.stack(steps)[np.argmin(errors, axis=0), np.arange(len(weights))], np.float32)


def nearest(weights: Floats, step: Floats, levels: int) -> Floats:
    """Weights rounded to the nearest step."""
    return np.asarray(np.clip(np.rint(weights / step), -levels, levels) * step, np.float32)


def round_by_covariance(weights: Floats, samples: Floats, true: Floats) -> Floats:
    """Weights on a grid of four bits whose outputs vary as the float outputs do, shape (outputs, values).

    GPTQ (Frantar et al. 2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
    arXiv:2210.17323): one value after the other is rounded, and those that are not rounded yet make up for its error.
    Here the weights that are rounded are those that suit best what the rounded layers before give (a regression), and
    means do not count, because the bias takes them up. One value after the other is no proof of the best: outputs whose
    variance the nearest values keep better have these.

    Args:
        weights: Shape (outputs, values).
        samples: What is multiplied, (samples, values).
        true: The same in the float graph.
    """
    given = samples - samples.mean(axis=0)
    form = (given.T @ given).astype(np.float64) / len(given)
    mixed = ((true - true.mean(axis=0)).T @ given).astype(np.float64) / len(given)
    ridge = RIDGE * float(np.diag(form).mean()) + float(np.finfo(np.float32).tiny)
    form[np.diag_indices_from(form)] += ridge
    mixed[np.diag_indices_from(mixed)] += ridge
    wanted = weights @ mixed @ np.linalg.inv(form)
    step = best_steps(wanted.astype(np.float32), np.diag(form).astype(np.float32), LEVELS)
    order = np.argsort(-np.diag(form), kind="stable")
    form = form[np.ix_(order, order)]
    wanted = wanted[:, order]
    # The largest weight stays at the end of the grid: quantizers take the scale from it.
    at_end = np.abs(wanted) >= (LEVELS - ON_GRID) * step
    ends = np.sign(wanted) * LEVELS

    def rounded_to_steps(values: npt.NDArray[np.float64], columns: slice) -> npt.NDArray[np.float64]:
        whole = np.where(at_end[:, columns], ends[:, columns], np.rint(values / step))
        steps: npt.NDArray[np.float64] = np.clip(whole, -LEVELS, LEVELS) * step
        return steps

    # The rows of this factor tell how the values behind each one make up for its error.
    factor = np.linalg.cholesky(np.linalg.inv(form)).T
    left = wanted.copy()
    rounded = np.empty_like(left)
    for column in range(left.shape[1]):
        here = slice(column, column + 1)
        rounded[:, here] = rounded_to_steps(left[:, here], here)
        error = (left[:, here] - rounded[:, here]) / factor[column, column]
        left[:, column + 1 :] -= error * factor[column, column + 1 :]
    plain = rounded_to_steps(wanted, slice(None))

    def variance_lost(steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        errors = steps - wanted
        lost: npt.NDArray[np.float64] = ((errors @ form) * errors).sum(axis=1)
        return lost

    is_better = variance_lost(plain) < variance_lost(rounded)
    rounded = np.where(is_better[:, np.newaxis], plain, rounded)
    result = np.empty_like(rounded)
    result[:, order] = rounded
    return np.asarray(result, np.float32)


def sampler(step: Step, items: int, seed: int = 0) -> Callable[[Floats], Floats]:
    """A function that draws samples, shape (samples, values), of a layer's input; of each input, at the same places.

    The values are in the order of the layer's weights: samples @ weights.reshape(outputs, -1).T are its outputs.

    Args:
        step: A CONV_2D without groups, or a FULLY_CONNECTED.
        items: Number of items of the inputs.
        seed: Decides which places are drawn.
    """
    _, *kernel = step.constants[1].shape
    size = int(np.prod(kernel))
    if step.kind == "FULLY_CONNECTED":
        places = _draw_rows(items * int(np.prod(step.input_shapes[0])) // size, size, seed)
        return lambda values: values.reshape(-1, size)[places]
    height, width = step.shape[1:3]
    if step.input_shapes[0] == (1, height, width, size):  # each output reads the values of its own place
        places = _draw_rows(items * height * width, size, seed)
        return lambda values: values.reshape(-1, size)[places]
    places = _draw_rows(items * height * width, size, seed)
    item, rest = np.divmod(places, height * width)
    o, (row, column) = step.options, np.divmod(rest, width)
    rows = row[:, np.newaxis] * o.strideH + np.arange(kernel[0]) * o.dilationHFactor
    columns = column[:, np.newaxis] * o.strideW + np.arange(kernel[1]) * o.dilationWFactor
    edges = (
        _edges(step, 1, kernel[0], stride=o.strideH, dilation=o.dilationHFactor),
        _edges(step, 2, kernel[1], stride=o.strideW, dilation=o.dilationWFactor),
    )

    def patches(values: Floats) -> Floats:
        padded = np.pad(values, [(0, 0), *edges, (0, 0)])
        patch = padded[item[:, np.newaxis, np.newaxis], rows[:, :, np.newaxis], columns[:, np.newaxis]]
        return np.ascontiguousarray(patch.reshape(len(places), size))

    return patches


def _draw_rows(count: int, size: int, seed: int) -> npt.NDArray[np.int64]:
    most = max(FEWEST_SAMPLES, min(MOST_SAMPLES, SAMPLE_BYTES // (4 * size)))
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def _edges(step: Step, axis: int, taps: int, *, stride: int, dilation: int) -> tuple[int, int]:
    """Zeros before and behind the input's values along an axis."""
    if step.options.padding:  # VALID
        return 0, 0
    missing = (step.shape[axis] - 1) * stride + (taps - 1) * dilation + 1 - step.input_shapes[0][axis]
    return max(missing, 0) // 2, max(missing, 0) - max(missing, 0) // 2
