"""Make files, each step once: conversions, trained, pruned and narrower nets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from edgepress.converters.files import sha256_of
from edgepress.converters.options.conversion import ConversionArguments, ConversionOptions
from edgepress.converters.schemes import Target, schemes_for
from edgepress.converters.variant import Variant
from edgepress.toolkit import text
from edgepress.toolkit.conversion.convert import ConvertArguments, convert
from edgepress.toolkit.data import calibration_rows
from edgepress.toolkit.data.types import SPLITS, Split
from edgepress.toolkit.search.compression.step_cache import Files, StepCache
from edgepress.toolkit.search.compression.trial import Trial
from edgepress.toolkit.training.graphs.prune import prune
from edgepress.toolkit.training.graphs.trainer import BATCH, LEAST_STEPS
from edgepress.toolkit.training.graphs.tune import tune
from edgepress.toolkit.training.loop import train

TUNE_STEPS = 1600
"""Steps of training for quantization at most: a number, not a time, so that every run makes the same file."""
PRUNE_EPOCHS = 60
"""Passes over the training items that a pruned net is trained for, likewise."""
PRUNE_STEPS = 12000
"""Most steps of that training."""
PROBED = 64
"""Items of each split that a net is trained on of which only size, latency and memory are asked."""


class FloatModel(NamedTuple):
    """A model to convert.

    Attributes:
        path: The model.
        facts: For `Trial.facts`.
        seconds: Time that it took to make.
    """

    path: Path
    facts: Mapping[str, Any]
    seconds: float


class Builder:
    """Makes files and the models that they are converted from; see `StepCache` for how often."""

    def __init__(self, cache: StepCache) -> None:
        self.cache = cache
        self.subject = cache.subject

    def convert(
        self,
        source: Path,
        schemes: Sequence[str],
        **how: Unpack[ConversionArguments],
    ) -> list[Trial]:
        """The files of a model, by the names of their schemes, as `edgepress convert` makes them."""
        subject = self.subject
        own = source != self.subject.model
        by_target = _by_target(schemes, subject.target)

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            variants: list[Variant] = []
            for target, names in by_target.items():
                arguments: ConvertArguments = {**subject.options.arguments, **how, "target": target}
                variants += convert(
                    source,
                    ",".join(names),
                    data=subject.data,
                    out=folder,
                    hints=None if own else subject.hints,
                    on_note=lambda text: self.cache.notes.setdefault(text),
                    **arguments,
                )
            errors = {v.scheme: f"{v.error} {v.hint}".strip() for v in variants if v.path is None}
            return {"errors": errors}, {v.scheme: v.path for v in variants if v.path is not None}

        key = asdict(replace(ConversionOptions(**how), target=subject.target))
        key |= {"source": sha256_of(source), "schemes": [*schemes]}
        entry = self.cache.step("convert", f"converting to {', '.join(schemes)}", key, work)
        seconds = entry.made["seconds"] / len(schemes)
        errors = entry.result["errors"]
        trials = []
        for name in schemes:
            trial = Trial(scheme=name, seconds=seconds, error=errors.get(name, ""))
            if (file := entry.files.get(name)) is not None:
                trial = replace(trial, file=file, sha256=sha256_of(file), size_bytes=file.stat().st_size)
            trials.append(trial)
        return trials

    def tune(self, bits: int) -> FloatModel:
        """The model trained for quantization, as `edgepress tune` does."""

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            result = tune(self.subject.model, self.subject.data, bits=bits, steps=TUNE_STEPS, **self._training(folder))
            return {"facts": {"bits": bits, "steps": result.facts["steps"]}}, {"model": result.model}

        return self._source("tune", f"training for {bits}-bit weights", {"bits": bits, "steps": TUNE_STEPS}, work)

    def prune(self, *, briefly: bool = False, **target: float) -> FloatModel:
        """The model pruned to `macs` or `max_size`, as `edgepress prune` does; `briefly`: with the least training."""
        subject = self.subject
        steps = min(PRUNE_STEPS, PRUNE_EPOCHS * -(-len(subject.opened.train) // BATCH))
        steps = LEAST_STEPS if briefly else steps

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            result = prune(subject.model, subject.data, steps=steps, **self._training(folder) | target)
            before = result.facts["before"]
            after = result.facts["after"]
            shares = {name: after[name] / before[name] for name in ("macs", "parameters")}
            return {"facts": shares}, {"model": result.model}

        words = f"pruning to {describe_target(target)}" + (", training briefly" if briefly else "")
        return self._source("prune", words, {**target, "steps": steps}, work)

    def distil(self, arch: str, width: float) -> FloatModel:
        """The model distilled into an architecture, a `.keras` file; of multi-label data, learned from labels alone."""
        subject = self.subject
        teacher = None if subject.opened.multilabel else subject.model

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            training: dict[str, Any] = {"width": width, "teacher": teacher, "seed": subject.options.seed}
            result = train(subject.opened, arch, out=folder, **training, resume=True, progress=False)
            return {"facts": {"arch": arch, "width": width, "epochs": len(result.history)}}, {"model": result.model}

        words = f"{'distilling into' if teacher else 'training'} {arch} of width {width:g}"
        return self._source("distil", words, {"arch": arch, "width": width}, work)

    def untrained(self, arch: str, width: float) -> FloatModel:
        """A net of an architecture that has seen a few items only."""
        opened = self.subject.opened
        parts = [_take_items(getattr(opened, name), PROBED) for name in SPLITS]
        few = replace(opened, train=parts[0], val=parts[1], test=parts[2])

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            result = train(few, arch, out=folder, width=width, epochs=1, resume=True, progress=False)
            return {}, {"model": result.model}

        return self._source("probe", f"{arch} of width {width:g}, untrained", {"arch": arch, "width": width}, work)

    def _source(
        self, kind: str, words: str, arguments: Mapping[str, Any], work: Callable[[Path], tuple[dict[str, Any], Files]]
    ) -> FloatModel:
        entry = self.cache.step(kind, words, {**arguments, "seed": self.subject.options.seed}, work)
        return FloatModel(entry.files["model"], entry.result.get("facts", {}), entry.made["seconds"])

    def _training(self, folder: Path) -> dict[str, Any]:
        """Options that `tune` and `prune` share."""
        subject = self.subject
        shared = {"hints": subject.hints, **subject.options.arguments}
        return {**shared, "out": folder, "seed": subject.options.seed, "resume": True}


def _by_target(schemes: Sequence[str], target: Target) -> dict[Target, list[str]]:
    """The schemes by the target that they are converted for: those that it can't run are converted for CPUs."""
    groups: dict[Target, list[str]] = {}
    for name in schemes:
        groups.setdefault(target if name in schemes_for(target) else "cpu", []).append(name)
    return groups


def describe_target(target: Mapping[str, float]) -> str:
    """A target of `prune` in words."""
    (name, value), *_ = target.items()
    return f"{text.percent(value, '.0f')} of the MACs" if name == "macs" else text.size(round(value))


def _take_items(split: Split, count: int) -> Split:
    """Items of a split, spread over its classes."""
    rows = calibration_rows(split, count)
    return Split(split.source, split.indices[rows], split.y[rows])
