"""Hard negatives: windows of recordings of background in which a net hears a label, learned as background.

Windows of a recording are half a window apart, and a device answers many times a second. After a part of its epochs,
the net hears the whole recordings of the training split as a device does, and what it hears there is added to the
items of the rest (bootstrapping: Sung and Poggio 1998, doi:10.1109/34.655648).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepress.runtime.sound.listen_options import IGNORED
from edgepress.toolkit.data.readers.sound import SoundSource
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.errors import TrainingError

ROUNDS = 2
"""How often the net hears the background; the parts of the epochs before, between and after are equal."""
LEAST_PROBABILITY = 0.2
"""Probability of all labels that are events from which on a window is learned."""
STEP = 1 / 32
"""Time from one answer to the next, as a share of a window."""
MOST_HEARD = 200_000
"""Windows that are answered in a round at most; more background is heard with larger steps."""
MOST_LEARNED = 2_000
"""Windows that a round adds at most."""
AT_ONCE = 256
"""Windows that the net answers at once."""
Window = tuple[int, int]
"""A window: the number of its recording and its first frame there."""


def can_hear(split: Split, labels: Sequence[str]) -> bool:
    """Whether a training split has windows of background, and labels that are events."""
    return (
        isinstance(split.source, SoundSource)
        and any(label not in IGNORED for label in labels)
        and bool(len(split.source.noises(split.indices)))
    )


def ends_of_rounds(epochs: int) -> list[int]:
    """The epochs after which the net hears the background, and the last one, of so many, ascending."""
    return [end for end in (epochs * number // (ROUNDS + 1) for number in range(1, ROUNDS + 2)) if end]


def hear_background(model: Any, data: DataSet) -> list[Window]:
    """The windows of background in which a net hears a label.

    Args:
        model: The Keras model.
        data: Data whose training split has background (`can_hear`).
    """
    source = data.train.source
    assert isinstance(source, SoundSource)
    events = [place for place, label in enumerate(data.labels) if label not in IGNORED]
    each = {number: source.frames_of(number) for number in source.noises(data.train.indices).tolist()}
    step = max(round(STEP * source.window), -(-sum(map(len, each.values())) // MOST_HEARD), 1)
    windows: list[Window] = []
    for number, frames in each.items():
        begins = np.arange(0, len(frames) - source.window + 1, step)
        for start in range(0, len(begins), AT_ONCE):
            part = begins[start : start + AT_ONCE]
            answers = np.asarray(model.predict_on_batch(source.items_at(frames, part)))
            alarms = part[answers[:, events].sum(axis=1) >= LEAST_PROBABILITY]
            windows += [(number, begin) for begin in alarms.tolist()]
    kept = np.linspace(0, len(windows) - 1, min(len(windows), MOST_LEARNED)).astype(np.int64)
    return [windows[place] for place in kept]


def with_background(data: DataSet, windows: Sequence[Window]) -> Split:
    """The training split of some data with these windows of its background, too.

    Raises:
        TrainingError: It has no such windows: they are from a damaged checkpoint.
    """
    split = data.train
    source = split.source
    assert isinstance(source, SoundSource)
    if not windows:
        return split
    background = set(source.noises(split.indices).tolist())
    labels = {int(source.of[item]): label for item, label in zip(split.indices, split.y.tolist(), strict=True)}
    try:
        extended = source.extended(windows)
        y = np.array([labels[number] for number, _ in windows if number in background], split.y.dtype)
    except (TypeError, ValueError, IndexError) as e:
        raise _damaged() from e
    if len(y) != len(windows):
        raise _damaged()
    added = np.arange(len(source), len(source) + len(windows))
    return Split(extended, np.concatenate([split.indices, added]), np.concatenate([split.y, y]))


def _damaged() -> TrainingError:
    problem = "The checkpoint names windows that the training split's background does not have."
    return TrainingError(problem, "It is damaged, or the recordings were changed: start again with --overwrite.")
