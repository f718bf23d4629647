"""Make files, each step once: conversions, trained, pruned and narrower nets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgepress.converters.sources.keras import sha256_of
from edgepress.toolkit import text
from edgepress.toolkit.compressing.measuring import Measuring
from edgepress.toolkit.compressing.steps import FATAL, Files
from edgepress.toolkit.compressing.trial import Trial
from edgepress.toolkit.conversion import SAMPLES, convert
from edgepress.toolkit.data import calibration_rows
from edgepress.toolkit.data.types import SPLITS, Split
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.pruning.prune import prune
from edgepress.toolkit.pruning.work import BATCH, LEAST_STEPS
from edgepress.toolkit.training.loop import train
from edgepress.toolkit.tuning.tune import tune

TUNE_STEPS = 1600
"""Steps of training for quantization at most: a number, not a time, so that every run makes the same file."""
PRUNE_EPOCHS, PRUNE_STEPS = 60, 12000
"""Passes over the training items that a pruned net is trained for, and steps at most, likewise."""
SKETCHED = 64
"""Items of each split that a net is trained on of which only size, latency and memory are asked."""


@dataclass(frozen=True)
class Made:
    """A file that a step made; `file` is None and `error` says why if it failed."""

    scheme: str
    file: Path | None
    seconds: float
    error: str = ""


class Workshop(Measuring):
    """The steps that make files, and those that measure them."""

    def convert(
        self,
        source: Path,
        schemes: Sequence[str],
        *,
        calibration: str = "auto",
        samples: int = SAMPLES,
        max_drop: float | None = None,
        verify: bool = True,
    ) -> list[Made]:
        """Convert a model to schemes by their names, as `edgepress convert` does."""
        order, own = self.order, source != self.order.model
        names = ", ".join(schemes)

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            made = convert(
                source,
                ",".join(schemes),
                data=order.data,
                out=folder,
                hints=None if own else order.hints,
                calibration=calibration,
                samples=samples,
                max_drop=max_drop,
                verify=verify,
                skip_unreadable=order.skip_unreadable,
                install=order.install,
                on_note=lambda text: self.notes.setdefault(text),
            )
            errors = {v.scheme: f"{v.error} {v.hint}".strip() for v in made if v.path is None}
            return {"errors": errors}, {v.scheme: v.path for v in made if v.path is not None}

        arguments = {"schemes": [*schemes], "calibration": calibration, "samples": samples, "max_drop": max_drop}
        arguments["verify"] = verify
        entry = self.step("convert", f"converting to {names}", {"source": sha256_of(source), **arguments}, work)
        each = entry.made["seconds"] / len(schemes)
        files = {scheme: entry.files.get(scheme) for scheme in schemes}
        return [Made(name, file, each, entry.result["errors"].get(name, "")) for name, file in files.items()]

    def tune(self, bits: int) -> tuple[Path, dict[str, Any], float]:
        """Train the model for quantization, as `edgepress tune` does: the float file, facts, and seconds."""
        order = self.order

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            result = tune(order.model, order.data, bits=bits, steps=TUNE_STEPS, **self._training(folder))
            return {"facts": {"bits": bits, "steps": result.facts["steps"]}}, {"model": result.model}

        arguments = {"bits": bits, "steps": TUNE_STEPS, "seed": order.seed}
        entry = self.step("tune", f"training for {bits}-bit weights", arguments, work)
        return entry.files["model"], dict(entry.result["facts"]), entry.made["seconds"]

    def prune(self, *, steps: int | None = None, **target: float) -> tuple[Path, dict[str, Any], float]:
        """Prune the model to `macs` or `size_bytes`, as `edgepress prune` does: the float file, facts, and seconds."""
        order = self.order
        steps = steps or min(PRUNE_STEPS, PRUNE_EPOCHS * -(-len(order.opened.train) // BATCH))

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            result = prune(order.model, order.data, steps=steps, **self._training(folder) | target)
            before, after = result.facts["before"], result.facts["after"]
            return {"facts": {name: after[name] / before[name] for name in ("macs", "parameters")}}, {
                "model": result.model
            }

        arguments = {**target, "steps": steps, "seed": order.seed}
        words = f"pruning to {_words(target)}" + (", hardly training" if steps == LEAST_STEPS else "")
        entry = self.step("prune", words, arguments, work)
        return entry.files["model"], dict(entry.result["facts"]), entry.made["seconds"]

    def distil(self, arch: str, width: float) -> tuple[Path, dict[str, Any], float]:
        """Distil the model into an architecture: the `.keras` file, facts, and seconds."""
        order = self.order

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            options: dict[str, Any] = {"width": width, "teacher": order.model, "seed": order.seed}
            result = train(order.opened, arch, out=folder, **options, resume=True, progress=False)
            return {"facts": {"arch": arch, "width": width, "epochs": len(result.history)}}, {"model": result.model}

        arguments = {"arch": arch, "width": width, "seed": order.seed}
        entry = self.step("distil", f"distilling into {arch} of width {width:g}", arguments, work)
        return entry.files["model"], dict(entry.result["facts"]), entry.made["seconds"]

    def _training(self, folder: Path) -> dict[str, Any]:
        """Options that `tune` and `prune` share."""
        order = self.order
        shared = {"hints": order.hints, "skip_unreadable": order.skip_unreadable, "install": order.install}
        return {**shared, "out": folder, "seed": order.seed, "resume": True}

    def sketch_width(self, arch: str, width: float, scheme: str, reference: Trial) -> Trial | None:
        """Size, latency and memory of a net before it is trained; None if it can't be made."""
        opened = self.order.opened
        parts = [_first(getattr(opened, name), SKETCHED) for name in SPLITS]
        few = replace(opened, train=parts[0], val=parts[1], test=parts[2])

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            trained = train(few, arch, out=folder, width=width, epochs=1, resume=True, progress=False)
            return {}, {"model": trained.model}

        how = f"{arch} of width {width:g}, untrained"
        return self._sketched(
            how,
            lambda: self.step("sketch", how, {"arch": arch, "width": width}, work).files["model"],
            scheme,
            reference,
        )

    def sketch_pruned(self, scheme: str, reference: Trial, **target: float) -> Trial | None:
        """Size, latency and memory of a net pruned to a target that is hardly trained; None if it can't be made."""
        how = f"pruned to {_words(target)}, hardly trained"
        return self._sketched(how, lambda: self.prune(steps=LEAST_STEPS, **target)[0], scheme, reference)

    def _sketched(self, how: str, source: Callable[[], Path], scheme: str, reference: Trial) -> Trial | None:
        try:
            (made,) = self.convert(source(), [scheme], verify=False)
        except FATAL:
            raise
        except EdgepressError:
            return None
        if made.file is None:
            return None
        trial = Trial(rung="", cost=0, how=how, scheme=scheme, file=made.file, sha256=sha256_of(made.file))
        return self.timed(replace(trial, size_bytes=made.file.stat().st_size), reference)


def _words(target: Mapping[str, float]) -> str:
    """A target of `prune`."""
    (name, value), *_ = target.items()
    return f"{text.percent(value, '.0f')} of the MACs" if name == "macs" else text.size(round(value))


def _first(split: Split, count: int) -> Split:
    """Items of a split, spread over its classes."""
    rows = calibration_rows(split, count)
    return Split(split.source, split.indices[rows], split.y[rows])
