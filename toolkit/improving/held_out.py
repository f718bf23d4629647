"""Which new items may prove a gain: those whose scenes no model of the comparison has learned.

A board may keep a scene again that has left its folder before, and pictures of one scene are alike. Splits are by
content, so that such pictures can be training and test items at once. Content also moves between the splits when
pictures are added, so that what an earlier improvement learned may be held out now; a run remembers what it learned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.files import write_json
from edgepress.runtime.scenes import other_scene, thumbnail
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.results.run_files import METRICS
from edgepress.toolkit.text import plural
from edgepress.toolkit.training.run_folder import load_result

LEARNED = "learned"
"""Key of the metrics of an improved run: digests of the new items that it was trained or validated on."""
BATCH = 256
"""Items that are read at once."""
DIGITS = 16
"""Hexadecimal digits of a digest."""

Rows = npt.NDArray[np.bool_]


def without_learned_scenes(fresh: DataSet, learned: Sequence[str]) -> tuple[DataSet, list[str]]:
    """New data without test and validation items of scenes that are learned, with notes.

    Args:
        fresh: The new data, images.
        learned: Digests of the items that the model was trained or validated on before (`learned_by`).

    Raises:
        InputError: No test item is left.
    """
    parts = {name: _thumbnails_and_digests(fresh, name) for name in ("train", "val", "test")}
    known = {name: np.isin(digests, [*learned]) for name, (_, digests) in parts.items()}
    val = ~_of_scenes(parts["val"][0], parts["train"][0])
    scenes = [parts["train"][0], parts["val"][0], parts["test"][0][known["test"]]]
    test = ~(known["test"] | _of_scenes(parts["test"][0], np.concatenate(scenes)))
    notes = []
    if dropped := len(test) - int(test.sum()):
        notes.append(
            f"{dropped} of {plural(len(test), 'new test item')} left out: they show scenes that are trained or "
            "validated on, now or before."
        )
    if dropped := len(val) - int(val.sum()):
        notes.append(f"{dropped} of {plural(len(val), 'new validation item')} left out: they show scenes of training.")
    if not test.any():
        items = plural(len(test), "new test item")
        problem = f"None of {items} shows a scene that is not trained on, so none can prove a gain."
        raise InputError(problem, "Label pictures of more scenes.")
    return replace(fresh, val=_some(fresh.val, val), test=_some(fresh.test, test)), notes


def learned_by(metrics: dict[str, Any]) -> list[str]:
    """Digests of the new items that a run was trained or validated on; none of a run of `train`."""
    digests = metrics.get(LEARNED)
    return [one for one in digests if isinstance(one, str)] if isinstance(digests, list) else []


def remember(folder: Path, fresh: DataSet, learned: Sequence[str]) -> None:
    """Write into the metrics of a new run what it has learned, beside what its parent had."""
    digests = [digest for name in ("train", "val") for digest in _thumbnails_and_digests(fresh, name)[1].tolist()]
    write_json(folder / METRICS, load_result(folder).metrics | {LEARNED: sorted({*learned, *digests})})


def _thumbnails_and_digests(data: DataSet, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.str_]]:
    """The thumbnail, float64, shape (N, parts), and the digest of each item of a split."""
    small = []
    digests = []
    for x, _ in getattr(data, name).batches(BATCH):
        small += [thumbnail(item).ravel() for item in x]
        digests += [hashlib.sha256(item.tobytes()).hexdigest()[:DIGITS] for item in x]
    parts = thumbnail(np.zeros(data.input.shape)).size
    return np.array(small).reshape(len(digests), parts), np.array(digests, f"<U{DIGITS}")


def _of_scenes(small: npt.NDArray[Any], scenes: npt.NDArray[Any]) -> Rows:
    """Whether each thumbnail is of one of these scenes."""
    return np.array([not other_scene(scenes, one).all() for one in small], np.bool_)


def _some(split: Split, rows: Rows) -> Split:
    return split.take(rows)
