"""What an improved run must prove: a gain on held-out items, no loss on old ones, and the promises of its former files.

Which new items may prove a gain: those whose scenes no model of the comparison has learned.

A board may keep a scene again that has left its folder before, and pictures of one scene are alike. Splits are by
content, so that such pictures can be training and test items at once. Content also moves between the splits when
pictures are added, so that what an earlier improvement learned may be held out now; a run remembers what it learned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.converters.files import write_json
from edgepress.converters.schemes import SCHEMES, schemes_from
from edgepress.runtime.acceptance import Acceptance
from edgepress.runtime.contract import Contract
from edgepress.runtime.filetypes import VARIANTS
from edgepress.runtime.scenes import other_scene, thumbnail
from edgepress.toolkit.data.for_model import contract_of
from edgepress.toolkit.data.readers.sound import SoundSource
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.improvement.improving.shared_sound import marks_of, share_sound
from edgepress.toolkit.measurement.calibrating.calibrate import FOLDER as CALIBRATED
from edgepress.toolkit.measurement.calibrating.calibrate import Calibrated, answers_to, calibrate
from edgepress.toolkit.results.run_files import METRICS
from edgepress.toolkit.stats.acceptance import upper_bound
from edgepress.toolkit.stats.intervals import Interval, paired_drop
from edgepress.toolkit.stats.samples import items_to_prove_gain, items_to_rule_out
from edgepress.toolkit.text import plural
from edgepress.toolkit.training.run_folder import load_result

Verdict = Literal["proven", "open", "worse"]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Proof:
    """What held-out items say of a change.

    Attributes:
        items: Number of items.
        before: Accuracy of the old model, 0-1.
        after: Accuracy of the new model, 0-1.
        gain: After minus before, in percentage points, with its 95 % interval.
        verdict: "proven" if the interval shows what was to be shown, "worse" if it shows the contrary, else "open".
        needed: If it is open, the number of items that would show it with a chance of 80 %; None if more items would
            not, as the observed change is on the other side.
    """

    items: int
    before: float
    after: float
    gain: Interval
    verdict: Verdict
    needed: int | None

    def to_dict(self) -> dict[str, Any]:
        """The document of `improve --json`."""
        return asdict(self)


def prove_better(before: Flags, after: Flags) -> Proof:
    """Whether the new model is better.

    Args:
        before: Whether the old model is right on each item, bool, shape (N,), N > 0.
        after: The same of the new model.
    """
    drop = paired_drop(before, after)
    assert drop.low is not None
    assert drop.high is not None
    verdict: Verdict = "proven" if drop.high < 0 else "worse" if drop.low > 0 else "open"
    lost = int((before & ~after).sum())
    gained = int((~before & after).sum())
    needed = items_to_prove_gain(lost, gained, len(before)) if verdict == "open" else None
    return _proof(before, after, drop, verdict, needed=needed)


def prove_not_worse(before: Flags, after: Flags, max_drop: float) -> Proof:
    """Whether the new model loses at most `max_drop` percentage points; the arguments are those of `prove_better`."""
    drop = paired_drop(before, after)
    assert drop.low is not None
    assert drop.high is not None
    verdict: Verdict = "proven" if drop.high <= max_drop else "worse" if drop.low > max_drop else "open"
    lost = int((before & ~after).sum())
    gained = int((~before & after).sum())
    needed = None
    if verdict == "open" and max_drop == 0:  # no drop at all is shown by a gain
        needed = items_to_prove_gain(lost, gained, len(before))
    elif verdict == "open" and max_drop < 100:
        needed = items_to_rule_out(lost, gained, len(before), drop=max_drop / 100)
    return _proof(before, after, drop, verdict, needed=needed)


def _proof(before: Flags, after: Flags, drop: Interval, verdict: Verdict, *, needed: int | None) -> Proof:
    assert drop.low is not None
    assert drop.high is not None
    gain = Interval(-drop.estimate, -drop.high, -drop.low)
    return Proof(len(before), float(before.mean()), float(after.mean()), gain, verdict, needed)


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
        fresh: The new data, images or sound: recordings that share samples are one scene.
        learned: Digests of the items that the model was trained or validated on before (`learned_by`).

    Raises:
        InputError: No test item is left.
    """
    parts = {name: _scenes_and_digests(fresh, name) for name in ("train", "val", "test")}
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
        raise InputError(problem, "Label more, of other scenes or recordings.")
    return replace(fresh, val=_some(fresh.val, val), test=_some(fresh.test, test)), notes


def learned_by(metrics: dict[str, Any]) -> list[str]:
    """Digests of the new items that a run was trained or validated on; none of a run of `train`."""
    digests = metrics.get(LEARNED)
    return [one for one in digests if isinstance(one, str)] if isinstance(digests, list) else []


def remember(folder: Path, fresh: DataSet, learned: Sequence[str]) -> None:
    """Write into the metrics of a new run what it has learned, beside what its parent had."""
    digests = [digest for name in ("train", "val") for digest in _scenes_and_digests(fresh, name)[1].tolist()]
    write_json(folder / METRICS, load_result(folder).metrics | {LEARNED: sorted({*learned, *digests})})


def _scenes_and_digests(data: DataSet, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.str_]]:
    """What tells the scene of each item of a split, and its digest.

    Of images it is the thumbnail, float64, shape (N, parts); of sound the marks of its recording, objects, shape (N,).
    """
    split = getattr(data, name)
    digests = []
    small = []
    for x, _ in split.batches(BATCH):
        digests += [hashlib.sha256(item.tobytes()).hexdigest()[:DIGITS] for item in x]
        if data.sound is None:
            small += [thumbnail(item).ravel() for item in x]
    if isinstance(split.source, SoundSource):
        numbers = split.source.of[split.indices].tolist()
        marks = {number: marks_of(split.source.recordings.samples(number)) for number in {*numbers}}
        scenes: npt.NDArray[Any] = np.empty(len(numbers), object)
        scenes[:] = [marks[number] for number in numbers]
    else:
        scenes = np.array(small).reshape(len(digests), thumbnail(np.zeros(data.input.shape)).size)
    return scenes, np.array(digests, f"<U{DIGITS}")


def _of_scenes(small: npt.NDArray[Any], scenes: npt.NDArray[Any]) -> Rows:
    """Whether each item, as `_scenes_and_digests` returns it, is of one of these scenes."""
    if small.dtype == object:
        known = np.unique(np.concatenate([np.zeros(0, np.uint64), *scenes]))
        return np.array([share_sound(one, known) for one in small], np.bool_)
    return np.array([not other_scene(scenes, one).all() for one in small], np.bool_)


def _some(split: Split, rows: Rows) -> Split:
    return split.take(rows)


class FormerFile(NamedTuple):
    """What `convert` makes: a scheme, for a target, with the last softmax or without it (`logits`)."""

    scheme: str
    target: str = "cpu"
    logits: bool = False


def kinds_to_make(folder: Path, to: str | None) -> list[FormerFile]:
    """The kinds to convert to: those of the old files, or of the schemes `to`, as the old files of these are."""
    former = [*dict.fromkeys(_kind(contract) for _, contract in _files(folder) if contract.scheme in SCHEMES)]
    if to is None:
        return former or [FormerFile("tflite-int8")]
    kinds = []
    for scheme in schemes_from(to, "cpu"):
        kinds += [kind for kind in former if kind.scheme == scheme] or [FormerFile(scheme)]
    return kinds


def promises(folder: Path) -> dict[FormerFile, Acceptance]:
    """The promise of each old file that has one."""
    return {_kind(contract): contract.accept for _, contract in _files(folder) if contract.accept is not None}


def not_repeated(folder: Path) -> list[str]:
    """What was done to old files and is not done to new ones, in words."""
    notes = []
    for path, contract in _files(folder):
        if contract.unknown is not None:
            notes.append(
                f"{path.name} rejects items of no class; the new file does not: edgepress calibrate --unknown."
            )
        if contract.listen is not None:
            notes.append(
                f"{path.name} has a rule of edgepress calibrate --max-alarms; the new file has not, and needs its own."
            )
        if contract.ranges:
            notes.append(f"{path.name} has ranges of edgepress tune; the new file has not.")
    return notes


def _kind(contract: Contract) -> FormerFile:
    return FormerFile(contract.scheme, contract.target, contract.task == "logits")


def _files(folder: Path) -> Iterator[tuple[Path, Contract]]:
    """The converted files of a run, the calibrated ones last."""
    for place in (folder / VARIANTS, folder / VARIANTS / CALIBRATED):
        for path in sorted(place.glob("*")):
            if path.suffix in (".tflite", ".onnx"):
                yield path, contract_of(path)


@dataclass(frozen=True)
class NewAnswers:
    """The answers of a file with a promise to held-out new items, a part of the items that the promise was measured on.

    Attributes:
        file: The calibrated file.
        items: Number of these items.
        accepted: How many of the answers it accepts.
        wrong: How many of these are wrong.
        at_most: Upper bound of the share of wrong ones among the accepted, 0-1.
        confidence: Confidence of the promise, 0-1.
    """

    file: Path
    items: int
    accepted: int
    wrong: int
    at_most: float
    confidence: float


def promise_again(file: Path, accept: Acceptance, data: DataSet) -> Calibrated:
    """A new file with the promise of an old one, measured anew on old and new items."""
    wish: dict[str, Any] = {"max_error" if accept.promise == "error" else "max_rejected": accept.limit}
    results: list[Calibrated] = calibrate(file, data=data, confidence=accept.confidence, engine=accept.engine, **wish)
    return results[0]


def new_answers(calibrated: Calibrated, fresh: DataSet) -> NewAnswers:
    """What a calibrated file answers to held-out new items."""
    path = calibrated.path
    accept = calibrated.fit.limits.accept
    assert path is not None and accept is not None  # noqa: PT018
    right, accepted = answers_to(path, fresh, engine=calibrated.engine)
    wrong = int((accepted & ~right).sum())
    bound = upper_bound(wrong, int(accepted.sum()), accept.confidence)
    return NewAnswers(path, len(right), int(accepted.sum()), wrong, bound, accept.confidence)
