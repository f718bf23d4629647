"""The learning rate of a training, found by trial on the net itself.

Nets differ by two orders of magnitude in the rate that they bear: a rate by which a small net learns fastest makes a
wide one forget all it knows in a few steps. So a few steps are tried at falling rates, from the same state and on the
same batches, until a rate does not raise the loss (a range test; Smith 2017, arXiv:1506.01186). Nothing is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

TRIAL_STEPS = 24
"""Steps of a trial, whose rate rises and falls to 0 as that of the training does. With half as many, rates are refused
that are the best ones of a longer training: it makes good what the first steps do."""
WARM_UP = 1 / 8
"""Share of the steps of a training in which its rate rises: the first steps of Adam have the size of the rate, whatever
the gradients are."""
FACTOR = 0.5
"""What a rate is multiplied by if it was too high."""
RATES = 10
"""Most rates that are tried."""
TOLERANCE = 0.05
"""Share by which the loss of the last steps may be above that of the same batches at the start: where channels that
left were hardly missed, there is nothing to be gained in a trial, and noise remains."""
RISEN = 2.0
"""How many times the loss of a moment ago a loss is that has risen beyond what noise explains."""
WINDOW = 4
"""Steps whose mean loss is compared."""


def find_rate(trial: Callable[[float], Iterable[float]], highest: float) -> float:
    """The highest rate by which a training from this state does not raise its loss; the lowest one if all do.

    Args:
        trial: The losses of `TRIAL_STEPS` steps of a training that begins with this rate, from the same state and on
            the same batches each time. A rate of 0 changes nothing. It may not be read to its end.
        highest: The rate that is tried first.
    """
    start = list(trial(0.0))
    rates = [highest * FACTOR**n for n in range(RATES)]
    return next((rate for rate in rates[:-1] if _is_borne(trial(rate), start)), rates[-1])


def _is_borne(losses: Iterable[float], start: Sequence[float]) -> bool:
    """Whether the losses of a trial end no higher than those of the same batches at the start, nor rise on the way."""
    taken = list[float]()
    for loss in losses:
        taken.append(loss)
        before = _mean_of_last(start[: len(taken)])
        if has_risen(loss, before) and (len(taken) >= WINDOW or not math.isfinite(loss)):
            return False
    return _mean_of_last(taken) <= (1 + TOLERANCE) * _mean_of_last(start)


def _mean_of_last(losses: Sequence[float]) -> float:
    return float(np.mean(losses[-WINDOW:]))


def has_risen(loss: float, before: float) -> bool:
    """Whether a loss is far above an earlier one, or not finite."""
    return not math.isfinite(loss) or loss > RISEN * before


def falling(rate: float, step: int, steps: int) -> float:
    """The learning rate of a step of a training, which falls from `rate` to 0 as a cosine."""
    return rate * (1 + math.cos(math.pi * step / steps)) / 2


def warmed_up(rate: float, step: int, steps: int) -> float:
    """The same, after a linear rise in the first steps."""
    return falling(rate, step, steps) * min(1.0, (step + 1) / max(1.0, WARM_UP * steps))
