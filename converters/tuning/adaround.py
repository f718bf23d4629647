"""AdaRound of one layer: which of its weights are rounded down and which up.

Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization", arXiv:2004.10568. A layer is a
product of samples and weights, with a bias and an activation, so NumPy does: its gradient is two products.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
CLIPS = np.linspace(0.4, 1.0, 25, dtype=np.float32)
"""Ends of the grid that are tried, as shares of a channel's largest weight."""
LOW, HIGH = -0.1, 1.1
"""Values between which the sigmoid of a rounding moves before it is cut to 0-1, so that it can reach both."""
BATCH, RATE, WARM = 256, 0.03, 0.2
"""Samples of a step, its size, and the share of steps before roundings are pushed to 0 or 1."""
SHARPNESS = (20.0, 2.0)
"""The exponent that pushes them, at first and in the end."""
PUSH, DAMPING = 0.02, 0.03
"""Weights of that push, and of the error of the weights themselves, which few samples leave undecided; beside the error
of the outputs, which is 1 a weight if each is rounded to the nearest step."""
ON_GRID = 1e-4
"""Weights this near to a step, in steps, stay there."""
BOUNDS: dict[str, tuple[float, float]] = {
    "": (-np.inf, np.inf),
    "relu": (0, np.inf),
    "relu6": (0, 6),
    "relu_n1_to_1": (-1, 1),
}
"""The least and the largest value of a layer's output, by its activation; others are taken for none."""


def best_steps(weights: Array, power: Array, levels: int) -> Array:
    """The step of each output with the smallest error, shape (outputs, 1).

    Args:
        weights: Shape (outputs, values).
        power: Mean square of each value, (values,): what an error of a weight costs.
        levels: Steps of the largest weight.
    """
    largest = np.abs(weights).max(axis=1, keepdims=True)
    largest = np.where(largest > 0, largest, 1).astype(np.float32)
    best, least = largest / levels, np.full(largest.shape, np.inf, np.float32)
    for clip in CLIPS:
        step = clip * largest / levels
        error = ((nearest(weights, step, levels) - weights) ** 2 @ power)[:, np.newaxis]
        best, least = np.where(error < least, step, best), np.minimum(error, least)
    return np.asarray(best, np.float32)


def nearest(weights: Array, step: Array, levels: int) -> Array:
    """Weights rounded to the nearest step."""
    return np.asarray(np.clip(np.rint(weights / step), -levels, levels) * step, np.float32)


def adaround(
    weights: Array,
    bias: Array,
    step: Array,
    samples: Array,
    targets: Array,
    bounds: tuple[float, float],
    *,
    levels: int,
    steps: int,
    seed: int = 0,
) -> Array:
    """Weights on the grid whose outputs are nearest to the targets, shape (outputs, values).

    Args:
        weights: Shape (outputs, values).
        bias: Shape (outputs,).
        step: Step of each output, (outputs, 1).
        samples: What is multiplied, (samples, values).
        targets: The right outputs, (samples, outputs).
        bounds: The least and the largest output (`BOUNDS`).
        levels: Steps of the largest weight.
        steps: Steps of optimization.
        seed: Decides the order of the samples.
    """
    scaled = np.clip(weights / step, -levels, levels)
    floor = np.floor(scaled)
    part = scaled - floor
    free = (part > ON_GRID) & (part < 1 - ON_GRID)
    at_first = nearest(weights, step, levels)
    first = float(np.mean(_errors(at_first, bias, samples, targets, bounds)[0] ** 2))
    if not steps or not free.any() or first <= 0:
        return at_first
    share = np.clip((part - LOW) / (HIGH - LOW), 1e-6, 1 - 1e-6)
    state = np.log(share / (1 - share)).astype(np.float32)
    mean, square = np.zeros_like(state), np.zeros_like(state)
    power = (samples**2).mean(axis=0)
    damping = 2 * DAMPING * power * weights.size / (first * len(bias))  # the error of outputs is 1 a weight at first
    random, order = np.random.default_rng(seed), np.zeros(0, np.int64)
    for n in range(steps):
        if len(order) < BATCH:
            order = random.permutation(len(samples))
        batch, order = order[:BATCH], order[BATCH:]
        sigmoid = 1 / (1 + np.exp(-state))
        up = np.clip(sigmoid * (HIGH - LOW) + LOW, 0, 1)
        now = (floor + up) * step
        error, inside = _errors(now, bias, samples[batch], targets[batch], bounds)
        error *= inside
        gradient = (2 * weights.size / (first * error.size)) * (error.T @ samples[batch]) + damping * (now - weights)
        gradient *= step
        progress = n / steps
        if progress > WARM:
            beta = SHARPNESS[1] + 0.5 * (SHARPNESS[0] - SHARPNESS[1]) * (
                1 + np.cos(np.pi * (progress - WARM) / (1 - WARM))
            )
            side = 2 * up - 1
            gradient -= 2 * PUSH * beta * np.sign(side) * np.abs(side) ** (beta - 1)
        moves = (up > 0) & (up < 1) & free
        gradient *= moves * (HIGH - LOW) * sigmoid * (1 - sigmoid)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        state -= RATE * (mean / (1 - 0.9 ** (n + 1))) / (np.sqrt(square / (1 - 0.999 ** (n + 1))) + 1e-8)
    up = np.where(free, state > _HALF, part > 0.5)
    found = np.asarray((floor + up) * step, np.float32)
    last = float(np.mean(_errors(found, bias, samples, targets, bounds)[0] ** 2))
    return found if last < first else at_first


_HALF = np.float32(0.0)
"""The state of a rounding of one half: its sigmoid is one half, too."""


def _errors(
    weights: Array, bias: Array, samples: Array, targets: Array, bounds: tuple[float, float]
) -> tuple[Array, Any]:
    """Outputs less their targets, and where they are within their bounds."""
    outputs = samples @ weights.T + bias
    inside = (outputs > bounds[0]) & (outputs < bounds[1])
    return np.clip(outputs, *bounds) - targets, inside
