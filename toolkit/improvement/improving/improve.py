"""Train a model on with new pictures, prove what it brought, convert and calibrate: `improve`.

    edgepress improve runs/photos --new collected/kitchen

The new items are split like all data, so that a fifth of them is held out and measures the gain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from edgepress.converters.contract.hints import Hints
from edgepress.runtime.decisions import decide, same_answers
from edgepress.runtime.filetypes import MODEL, VARIANTS
from edgepress.toolkit.conversion.convert import convert
from edgepress.toolkit.data.collected import follow, join
from edgepress.toolkit.data.for_model import contract_of, data_for
from edgepress.toolkit.data.objects import Data, source_of
from edgepress.toolkit.data.readers.sound import SoundSource
from edgepress.toolkit.data.reading import Reading
from edgepress.toolkit.data.remembered import open_in_groups
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import DataError, EdgepressError, InputError
from edgepress.toolkit.improvement.improving.options import AS_USUAL, ImproveArguments, ImproveOptions
from edgepress.toolkit.improvement.improving.proof import (
    FormerFile,
    NewAnswers,
    Proof,
    Verdict,
    kinds_to_make,
    learned_by,
    new_answers,
    not_repeated,
    promise_again,
    promises,
    prove_better,
    prove_not_worse,
    remember,
    without_learned_scenes,
)
from edgepress.toolkit.measurement.calibrating.calibrate import Calibrated
from edgepress.toolkit.measurement.evaluation import model_scores
from edgepress.toolkit.results.run_files import METRICS, run_model
from edgepress.toolkit.training.loop import train
from edgepress.toolkit.training.run_folder import load_result

SLOWER = 0.3
"""Learning rate, as a share of that of the first training; a run that was improved keeps its own."""
KEPT = ("width", "depth", "dropout", "batch_size", "augmentation")
"""Options of the first training that are kept."""


@dataclass(frozen=True)
class Improved:
    """An improved model.

    Attributes:
        model: The `.keras` file.
        new: What held-out new items say.
        old: What held-out old items say.
        files: The converted files; empty if the model is worse.
        calibrated: The files that keep a promise, in the place of an old file that had one.
        notes: What a user should know.
        promised: What the files that keep a promise answer to new items.
        asked: Whether each file that was to be made, and each promise of an old file, is there now.
        had_promise: Whether an old file had a promise.
    """

    model: Path
    new: Proof
    old: Proof
    files: tuple[Path, ...]
    calibrated: tuple[Calibrated, ...]
    notes: tuple[str, ...]
    promised: tuple[NewAnswers, ...] = ()
    asked: tuple[bool, ...] = ()
    had_promise: bool = False

    @property
    def verdict(self) -> Verdict:
        """Both together: "worse" if one is, "proven" if both are."""
        verdicts = {self.new.verdict, self.old.verdict}
        return "worse" if "worse" in verdicts else "open" if "open" in verdicts else "proven"

    @property
    def ship(self) -> Path | None:
        """The file to bundle next: the only one, or the first with a promise if an old file had one; else None."""
        if self.had_promise:
            return next((one.path for one in self.calibrated if one.path is not None), None)
        return self.files[0] if len(self.files) == 1 else None

    def to_dict(self) -> dict[str, Any]:
        """The document that `improve --json` prints."""
        return {
            "model": str(self.model),
            "verdict": self.verdict,
            "new": self.new.to_dict(),
            "old": self.old.to_dict(),
            "files": [str(path) for path in self.files],
            "calibrated": [one.to_dict() for one in self.calibrated],
            "promised": [asdict(one) | {"file": str(one.file)} for one in self.promised],
            "ship": None if self.ship is None else str(self.ship),
            "notes": list(self.notes),
        }


def improve(
    run: str | Path,
    new: Data,
    *,
    data: Data | None = None,
    progress: bool = True,
    on_step: Callable[[str], None] | None = None,
    **improving: Unpack[ImproveArguments],
) -> Improved:
    """Train a model on with new pictures beside old ones, and prove that it is better and forgot nothing.

    Args:
        run: The folder of a run of `train`, or of this function.
        new: Labelled pictures of its classes, such as the folder of `label`; a class may be missing.
        data: The old data; None opens those that the model names.
        progress: Show a progress bar on standard error.
        on_step: Called with a sentence when a step begins.

    Returns:
        The new model, what held-out items prove, and its files. If it is worse, nothing is converted.

    Raises:
        EdgepressError: The run, the data or an option can't be used.

    Example:
        >>> from edgepress.toolkit import improve
        >>> improve("edgepress-demo", "digits", to="tflite-int8", epochs=1).old.items
        360
    """
    data = source_of(data)
    new = source_of(new)
    options = ImproveOptions(**improving)
    step = on_step or (lambda text: None)
    folder = Path(run)
    target = folder.parent / f"{folder.name}-improved" if options.out is None else Path(options.out)
    if target.resolve() == folder.resolve():
        raise InputError(f"{target} is the run that is to be improved.", "Name another folder with --out.")
    _arguments(folder)  # first, so that a wrong folder is told before any work
    before = run_model(folder) or folder / MODEL
    learned = learned_by(load_result(folder).metrics)
    kinds = kinds_to_make(folder, options.to)
    old, fresh, notes = _open(before, str(new), data, reading=options)
    fresh, left_out = without_learned_scenes(fresh, learned)
    both = join(old, fresh)
    step(f"Training on {len(fresh.train)} new items, beside old ones")
    model = train_on(folder, both, target, options, progress=progress)
    remember(target, fresh, learned)
    step("Comparing both models on held-out items")
    scores = (model_scores(path, both.test) for path in (before, model))
    was, now = (same_answers(decide(each, multilabel=both.multilabel)[0], both.test.y) for each in scores)
    count = len(old.test)  # the old items come first
    better = prove_better(was[count:], now[count:])
    kept = prove_not_worse(was[:count], now[:count], options.max_drop)
    result = Improved(model, better, kept, (), (), (*notes, *left_out))
    if result.verdict == "worse":
        return result
    step("Converting and calibrating")
    named = replace(both, source=f"{old.source} and {fresh.source}")
    return _make_files(result, folder, kinds, data=named, fresh=fresh)


def train_on(run: Path, both: DataSet, out: Path, options: ImproveOptions = AS_USUAL, *, progress: bool = True) -> Path:
    """Train the model of a run on; the new `.keras` file.

    Args:
        run: The folder of the run.
        both: Old and new items (`join`).
        out: Folder for the new run.
        options: How it is trained.
        progress: Show a progress bar on standard error.
    """
    arguments = _arguments(run)
    # Once, because a rate that falls each time learns nothing; that of a net of others is low from the beginning.
    slower = 1.0 if arguments.get("continued") or arguments.get("base") else SLOWER
    rate = slower * arguments["learning_rate"] if options.learning_rate is None else options.learning_rate
    how: dict[str, Any] = {name: getattr(options, name) for name in ("epochs", "seed", "resume", "overwrite")}
    how |= {name: arguments[name] for name in KEPT} | {"learning_rate": rate, "patience": None, "progress": progress}
    if arguments.get("base"):
        return train(both, base=run, out=out, **how).model
    return train(both, arguments["arch"], weights=run / MODEL, continued=True, out=out, **how).model


def _make_files(result: Improved, run: Path, kinds: Sequence[FormerFile], *, data: DataSet, fresh: DataSet) -> Improved:
    """Convert the new model, and calibrate what had a promise before."""
    files, problems = _files(result.model, kinds, data)
    wishes = promises(run)
    calibrated = list[Calibrated]()
    answers = list[NewAnswers]()
    for kind, accept in wishes.items():
        if kind not in files:
            continue
        try:
            one = promise_again(files[kind], accept, data)
            calibrated.append(one)
            if one.path is not None:
                answers.append(new_answers(one, fresh))
        except EdgepressError as e:  # such as an engine that is not installed any more
            problems.append(f"{files[kind]} was not calibrated: {e}")
    succeeded = [one.path is not None for one in calibrated]
    missing = [False] * (sum(kind in kinds for kind in wishes) - len(succeeded))
    changes: dict[str, Any] = {
        "files": tuple(files.values()),
        "calibrated": tuple(calibrated),
        "promised": tuple(answers),
        "asked": (*(kind in files for kind in kinds), *succeeded, *missing),
        "had_promise": bool(wishes),
        "notes": (*result.notes, *problems, *not_repeated(run)),
    }
    return replace(result, **changes)


def _files(model: Path, kinds: Sequence[FormerFile], data: DataSet) -> tuple[dict[FormerFile, Path], list[str]]:
    """The converted files, and what went wrong."""
    files = dict[FormerFile, Path]()
    problems = list[str]()
    for target, logits in dict.fromkeys((kind.target, kind.logits) for kind in kinds):
        schemes = [kind.scheme for kind in kinds if kind[1:] == (target, logits)]
        how: dict[str, Any] = {"target": target, "hints": Hints(output="logits") if logits else None}
        for one in convert(model, schemes, data=data, out=model.parent / VARIANTS, **how):
            if one.path is None:
                problems.append(f"{one.scheme} was not converted: {one.error}")
            else:
                files[FormerFile(one.scheme, target, logits)] = one.path
    return files, problems


def _arguments(folder: Path) -> dict[str, Any]:
    """The options of the run that is to be improved."""
    if not run_model(folder):
        raise InputError(
            f"{folder} is not the folder of a run: {MODEL} is missing.", "Give a folder of edgepress train."
        )
    arguments = load_result(folder).metrics.get("arguments")
    if not isinstance(arguments, dict) or not {"arch", "learning_rate", *KEPT} <= {*arguments}:
        raise InputError(f"{folder / METRICS} does not say how the model was trained.", "Train it again.")
    return arguments


def _open(model: Path, new: str, data: str | None, *, reading: Reading) -> tuple[DataSet, DataSet, tuple[str, ...]]:
    """The old and the new data, as the model takes them, with notes."""
    contract = contract_of(model)
    if not contract.input.is_image and contract.sound is None:
        problem = f"{model} takes tensors; only models of images and of sound can be improved so."
        raise InputError(problem, "Train it again.")
    old, notes = data_for(contract, data, where=model, reading=reading)
    options: dict[str, Any] = {"input": contract.input, "labels": contract.labels, **reading.arguments}
    options |= {"sound": contract.sound} if contract.sound is not None else {}
    fresh, more = open_in_groups(new, contract.data, purpose="evaluation", multilabel=old.multilabel, **options)
    for each in (old, fresh):
        if contract.sound is not None and not isinstance(each.train.source, SoundSource):
            raise InputError(
                f"{each.source} has no recordings, and {model} is a model of sound.", "Name a folder of these."
            )
    if fresh.multilabel != old.multilabel:
        kinds = ["any number of labels" if each.multilabel else "one label each" for each in (old, fresh)]
        raise DataError(f"Items of {old.source} have {kinds[0]}, and those of {new} {kinds[1]}.", "Label them alike.")
    fresh = follow(old, fresh)
    if not len(fresh.train):
        raise InputError(f"{new} has {len(fresh.test)} items, all held out.", "Label more: a fifth is held out.")
    return old, fresh, (*notes, *more)
