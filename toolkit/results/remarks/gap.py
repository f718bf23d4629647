"""The checks of a training: whether it ended too early, and whether it is overfit."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.toolkit import text
from edgepress.toolkit.results.remarks.facts import Facts, Remark
from edgepress.toolkit.stats.samples import difference_interval, share_interval

GAIN = 0.01
"""What validation accuracy must have gained in the second half of the epochs for a remark: the drop that files are
allowed, so that waiting gains as much as the best conversion can."""
PACE = 0.005
"""What training accuracy must have gained there in each epoch: half a percent. Long trainings gain less, and that by
the falling learning rate, whatever their length: the digits 0.1 to 0.4 % with LeNet, the dense net and ResNet8, the
same nets in 2 to 10 epochs 0.7 % and more (seeds 0 to 4, on which this was chosen)."""
LOSS = 0.9
"""What validation loss must have fallen to there, as a share."""
MUCH = 0.1
"""What training accuracy may have gained there instead, at whatever pace, if validation loss fell at all: a long
training with far too small a learning rate gains that, while its loss is still near that of guesses."""
ERRORS = 0.02
"""Share of held-out items that must be wrong, with 97.5 % confidence: with fewer, a longer training can't gain much."""
LEARNED = 0.98
"""Training accuracy from which the second step of a transfer has ended: what is left to learn is a few items."""
GAP = 0.05
"""How far training accuracy must be above that of held-out items, with 97.5 % confidence: five times that drop."""
MOST_DROPOUT = 0.8
"""Dropout beyond which more would harm."""
SHORT = 5
"""Epochs below which a training is short, whatever its figures."""
ENOUGH = 10
"""Fewest epochs to try next."""
SHORT_STEPS = 200
"""Steps of the optimizer below which a training is short: the moving averages of batch normalization, of momentum 0.99,
still hold 0.99^200 = 13 % of what they began with."""
ENOUGH_STEPS = 500
"""Fewest steps to try next."""
PART = 5
"""Means are taken over one of so many parts of the epochs, the last, and the one before the middle."""


def still_improving(facts: Facts) -> Remark | None:
    """Accuracy still rose in the second half of the planned epochs, at a pace and beyond chance.

    The means of the last fifth of the epochs and of the fifth before the middle are compared. The learning rate falls
    to zero over the planned epochs, so the last ones gain little in any training, too short ones included; and a
    well-trained net gains some in the second half because the rate falls. What tells them apart is the gain of training
    accuracy in an epoch. It must be beyond chance (of training items, taken as different ones in the two halves, which
    is too careful), and validation must have gained, too. A training that stopped by its patience did not improve for
    many epochs. Of a single epoch, the accuracy while it trained is compared with that after it. The first epochs of a
    pre-trained net undo a part of what its classifier had learned, so it gains at any length: it has ended when nearly
    all training items are right.
    """
    history = facts.history
    planned = facts.arguments.get("epochs")
    if not history or facts.val_confusion is None or len(history) != planned or not may_gain(facts):
        return None
    if facts.arguments.get("two_steps") and history[-1]["accuracy"] >= LEARNED:
        return None
    held = facts.held_out
    errors = share_interval(int(held.sum() - np.trace(held)), int(held.sum()))
    gap = _in_second_half(facts) if len(history) > 1 else _in_only_epoch(facts)
    if not gap:
        return None
    return Remark(
        kind="still improving",
        text=f"{gap}, so a longer training may gain more than a good conversion loses.",
        command=facts.again({"epochs": more_epochs(facts)}),
        figures={
            "epochs": planned,
            "errors": errors.estimate,
            **{k: history[-1][k] for k in ("accuracy", "val_accuracy")},
        },
    )


def is_short(facts: Facts) -> bool:
    """Whether so few epochs or steps were planned and done that more of them come before any other advice."""
    epochs = len(facts.history)
    return epochs == facts.arguments.get("epochs") and (0 < epochs < SHORT or _has_few_steps(facts))


def more_epochs(facts: Facts) -> int:
    """Number of epochs to try next."""
    epochs = len(facts.history)
    each = facts.steps_per_epoch
    if not is_short(facts):
        return 2 * epochs
    return max(ENOUGH, -(-ENOUGH_STEPS // each)) if each else ENOUGH


def _has_few_steps(facts: Facts) -> bool:
    begins_with_weights = bool(facts.arguments.get("two_steps"))  # whose moving averages are not trained
    return not begins_with_weights and 0 < facts.steps_per_epoch * len(facts.history) < SHORT_STEPS


def few_epochs(facts: Facts) -> Remark | None:
    """A training of very few epochs after which many items are wrong, where its figures do not say that it improved."""
    if not is_short(facts) or not may_gain(facts) or still_improving(facts) is not None:
        return None
    held = facts.held_out
    planned = len(facts.history)
    wrong = int(held.sum() - np.trace(held))
    steps = f" of {text.plural(facts.steps_per_epoch, 'step')}" if _has_few_steps(facts) else ""
    return Remark(
        kind="few epochs",
        text=f"The training had only {text.plural(planned, 'epoch')}{steps}, and {wrong} of {held.sum()} held-out "
        "items are wrong: a longer one comes before anything else.",
        command=facts.again({"epochs": more_epochs(facts)}),
        figures={"epochs": planned, "errors": wrong / int(held.sum())},
    )


def may_gain(facts: Facts) -> bool:
    """Whether so many held-out items are wrong, beyond chance, that another training can gain something."""
    held = facts.held_out
    low = share_interval(int(held.sum() - np.trace(held)), int(held.sum())).low
    return low is not None and low > ERRORS


def _in_second_half(facts: Facts) -> str:
    """What was gained in the second half of the epochs, if that is enough."""
    history = facts.history
    epochs = len(history)
    middle = len(history) // 2
    part = max(1, epochs // PART)
    last = history[-part:]
    before = history[max(0, middle - part) : middle]
    training, validation, loss = (
        (_mean(before, name), _mean(last, name)) for name in ("accuracy", "val_accuracy", "val_loss")
    )
    gain = training[1] - training[0]
    fast = gain >= PACE * (epochs - middle) and loss[1] <= LOSS * loss[0]
    if (
        not (fast or (gain >= MUCH and loss[1] < loss[0]))
        or not _beyond_chance(training[1], training[0], facts.trained_on)
        or validation[1] - validation[0] < GAIN
    ):
        return ""
    rose = (f"from {_percent(one)} to {_percent(other)}" for one, other in (training, validation))
    return f"Accuracy still rose in the second half of {epochs} epochs, {' in training and '.join(rose)} in validation"


def _in_only_epoch(facts: Facts) -> str:
    """What was gained in the only epoch: validation after it against training during it."""
    row = facts.history[0]
    before = row["accuracy"]
    after = row["val_accuracy"]
    items = int(facts.val_confusion.sum()) if facts.val_confusion is not None else 0
    if after - before < GAIN or not _beyond_chance(after, before, items):
        return ""
    return f"Accuracy rose in the only epoch, from {_percent(before)} while it trained to {_percent(after)} after it"


def far_above_validation(facts: Facts) -> Remark | None:
    """Training accuracy of the last epoch is far above that of the best model on held-out items.

    Training accuracy is that of augmented items while the net learned, so the true gap is rather larger. Held-out items
    are those for validation and test, which the best epoch's model answered: the best one for validation, so the gap is
    no accident of one epoch. The lower end of the interval of the difference decides. After few steps, the moving
    averages of batch normalization make the gap, so nothing is said.
    """
    if not facts.history or not facts.trained_on or facts.val_confusion is None or _has_few_steps(facts):
        return None
    training = facts.history[-1]["accuracy"]
    held = facts.held_out
    right = int(np.trace(held))
    items = int(held.sum())
    interval = difference_interval((round(training * facts.trained_on), facts.trained_on), (right, items))
    assert interval.low is not None
    if interval.low <= GAP:
        return None
    return Remark(
        kind="far above validation",
        text=f"Training accuracy is {_percent(training)}, but {_percent(right / items)} on {items} items that the "
        "float model was not trained on: it is overfit, and needs more items, or more varied ones.",
        command=facts.again(change) if (change := _against_learning_by_heart(facts)) else facts.look,
        figures={"training": training, "held_out": right / items, "gap_low": interval.low, "items": items},
    )


def _against_learning_by_heart(facts: Facts) -> dict[str, Any]:
    """Augmentation, if there is none; then dropout, until there is so much that more would harm."""
    arguments = facts.arguments
    if arguments.get("augmentation") == "none":
        return {"augmentation": "auto" if facts.is_image else "noise"}
    if arguments["dropout"] >= MOST_DROPOUT:
        return {}
    return {"dropout": 0.3 if arguments["dropout"] < 0.3 else min(MOST_DROPOUT, round(arguments["dropout"] + 0.2, 2))}


def _mean(rows: Any, name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def _beyond_chance(after: float, before: float, items: int) -> bool:
    """Whether a share of so many items rose, with 97.5 % confidence."""
    if not items:
        return False
    low = difference_interval((round(after * items), items), (round(before * items), items)).low
    assert low is not None
    return low > 0


def _percent(share: float) -> str:
    return text.percent(share, ".1f")
