"""The rounding of one layer's weights, down or up, that keeps its outputs.

AdaRound (Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization", arXiv:2004.10568) chooses
for each weight one of the two nearest steps, so that the mean squared error of the layer's outputs, after its
activation, is least. It relaxes the choice and follows gradients. Here single choices are changed as long as that
helps, which in trials left half the error after a fiftieth of the time (docs/decisions.md): first by the exact
quadratic form of outputs without activation, then with it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
CLIPS = np.linspace(0.4, 1.0, 25, dtype=np.float32)
"""Ends of the grid that are tried, as shares of a channel's largest weight."""
SWEEPS, LAST_SWEEPS = 8, 2
"""Most passes over the weights of a layer, without its activation and with it; a pass that changes nothing is the
last."""
AFFORDABLE = 2e9
"""Products of a pass with the activation that are worth it, some seconds."""
DAMPING = 0.1
"""Weight of an error of the weights themselves, as of uncorrelated values, beside that of the outputs: few samples
leave it undecided."""
ON_GRID = 1e-4
"""Weights this near to the end of the grid, in steps, stay there: quantizers take the scale from the largest weight."""
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
        step = np.asarray(clip * largest / levels, np.float32)
        error = ((nearest(weights, step, levels) - weights) ** 2 @ power)[:, np.newaxis]
        best, least = np.where(error < least, step, best), np.minimum(error, least)
    return np.asarray(best, np.float32)


def nearest(weights: Array, step: Array, levels: int) -> Array:
    """Weights rounded to the nearest step."""
    return np.asarray(np.clip(np.rint(weights / step), -levels, levels) * step, np.float32)


def rounded_for_outputs(
    weights: Array,
    bias: Array,
    step: Array,
    samples: Array,
    targets: Array,
    bounds: tuple[float, float],
    levels: int,
) -> Array:
    """Weights on the grid whose outputs are near to the targets, shape (outputs, values).

    Args:
        weights: Shape (outputs, values).
        bias: Shape (outputs,).
        step: Step of each output, (outputs, 1).
        samples: What is multiplied, (samples, values).
        targets: The right outputs, (samples, outputs).
        bounds: The least and the largest output (`BOUNDS`).
        levels: Steps of the largest weight.
    """
    scaled = np.clip(weights / step, -levels, levels)
    other = _Choice(scaled, step, np.abs(scaled) < levels - ON_GRID)
    start = nearest(weights, step, levels)
    linear = _without_activation(weights, start, other, samples)
    found = _with_activation(weights, bias, linear, other, samples, targets, bounds)
    plain, best = (_error(w, bias, samples, targets, bounds) for w in (start, found))
    return np.asarray(found if best < plain else start, np.float32)


class _Choice:
    """The two steps next to each weight.

    Args:
        scaled: Weights in steps, (outputs, values).
        step: Step of each output, (outputs, 1).
        free: Which of them may be changed.
    """

    def __init__(self, scaled: Array, step: Array, free: npt.NDArray[np.bool_]) -> None:
        self._low, self._high = np.floor(scaled) * step, np.ceil(scaled) * step
        self._middle = (self._low + self._high) / 2
        self._free = free

    def change(self, column: int, now: Array) -> Array:
        """What a column of weights changes by, (outputs,), if each takes its other step."""
        one = np.where(now > self._middle[:, column], self._low[:, column], self._high[:, column])
        return np.asarray(np.where(self._free[:, column], one - now, 0), np.float32)


def _without_activation(weights: Array, start: Array, other: _Choice, samples: Array) -> Array:
    """Sweep over the weights, exactly: the error of an output is a quadratic form of those of its weights."""
    form = samples.T @ samples / len(samples)
    form[np.diag_indices_from(form)] *= 1 + DAMPING
    found, slope = start.copy(), (start - weights) @ form
    for _ in range(SWEEPS):
        changes = 0
        for column in range(weights.shape[1]):
            delta = other.change(column, found[:, column])
            taken = delta * (2 * slope[:, column] + delta * form[column, column]) < 0
            if taken.any():
                found[taken, column] += delta[taken]
                slope[taken] += delta[taken, np.newaxis] * form[column]
                changes += 1
        if not changes:
            break
    return found


def _with_activation(
    weights: Array,
    bias: Array,
    start: Array,
    other: _Choice,
    samples: Array,
    targets: Array,
    bounds: tuple[float, float],
) -> Array:
    """Sweep over the weights with all samples: where an output is beyond a bound, its error does not count."""
    if bounds == BOUNDS[""] or len(samples) * start.size > AFFORDABLE:
        return start
    found, outputs = start.copy(), np.ascontiguousarray((samples @ start.T + bias).T)
    wanted, columns = np.ascontiguousarray(targets.T), np.ascontiguousarray(samples.T)
    error = ((np.clip(outputs, *bounds) - wanted) ** 2).sum(axis=1)
    power = DAMPING * (samples**2).sum(axis=0)
    for _ in range(LAST_SWEEPS):
        changes = 0
        for column in range(weights.shape[1]):
            delta = other.change(column, found[:, column])
            changed = outputs + delta[:, np.newaxis] * columns[column]
            after = ((np.clip(changed, *bounds) - wanted) ** 2).sum(axis=1)
            own = delta * (2 * (found[:, column] - weights[:, column]) + delta)
            taken = after - error + power[column] * own < 0
            if taken.any():
                found[taken, column] += delta[taken]
                outputs[taken], error[taken] = changed[taken], after[taken]
                changes += 1
        if not changes:
            break
    return found


def _error(weights: Array, bias: Array, samples: Array, targets: Array, bounds: tuple[float, float]) -> float:
    """Mean squared error of the outputs."""
    return float(np.mean((np.clip(samples @ weights.T + bias, *bounds) - targets) ** 2))
