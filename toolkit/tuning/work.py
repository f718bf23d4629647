"""The part of `tune` that runs in a child process: repair the float graph, distill its quantized form, keep the best.

The state is saved after every part of the training, so that a killed run goes on where it was. What is kept is judged
by real quantized files on validation items (`converters.tuning.judge`), and is the start unless something is better.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.contract.write import tflite_with_contract
from edgepress.converters.errors import ConversionError
from edgepress.converters.files import whole_file
from edgepress.converters.graph.program import Program, UnknownOperationError
from edgepress.converters.graph.tflite_scales import scales_of_tflite
from edgepress.converters.opening import opened
from edgepress.converters.schemes import SCHEMES, Tuning
from edgepress.converters.statistics import Choice, Ranges
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.tuning.bias import with_own_biases
from edgepress.converters.tuning.distill import (
    Distillation,
    Student,
    Teaching,
    before_end,
    kind_of_answers,
    largest_batch,
)
from edgepress.converters.tuning.judge import Judge, Score, enough
from edgepress.converters.tuning.repair import repair
from edgepress.converters.worker import Emit
from edgepress.toolkit.training import batches, checkpoint
from edgepress.toolkit.training.checkpoint import State
from edgepress.toolkit.tuning.job import GraphJob, Progress, Trained

Bits = Literal[8, 4]
RATES: Mapping[Bits, float] = {8: 3e-5, 4: 3e-4}
"""Learning rate at the beginning of the first cycle: some hundred steps move weights by a step of their grid."""
LABELS: Mapping[Bits, float] = {8: 0.0, 4: 0.2}
"""Share of labels in the loss: what eight bits lose is so little that labels would train another model instead."""
CYCLES, PATIENCE, MOST_EPOCHS, LEAST_STEPS = 8, 3, 60, 24
"""Cycles of the training: in each, the learning rate falls to 0 as a cosine (Loshchilov & Hutter 2017,
arXiv:1608.03983), and a file is judged. Behind one that brought nothing, training goes back to the best, with half the
rate; after so many in a row, it ends. Limits of its length."""
NOISE_DB = 1.5
"""Decibels of noise, at four bits, that outweigh a gain of items."""
BATCH, MEMORY = 32, 1 << 30
"""Items of a step at most, and memory in bytes that their activations may take."""
START, RANGES = "start.tflite", "start.json"
"""Files of an unfinished run: the graph that its training began with, and the ranges of its tensors."""


@dataclass(frozen=True, kw_only=True)
class TuneJob(GraphJob):
    """Tune the model that is open.

    Attributes:
        bits: Bits of the weights.
    """

    bits: Bits


def tune_here(job: TuneJob, emit: Emit) -> None:
    """Do a `TuneJob`: `Progress` reports, then `Trained`.

    Raises:
        ConversionError: The model has no float TFLite graph, or one that can't be trained.
    """
    emit(Progress(0.0, "repairing"))
    emit(_Tuning(job, opened().tflite(job.adapter, job.onnx2tf)).run(emit))


class _Tuning:
    def __init__(self, job: TuneJob, model: bytes) -> None:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        tf.keras.utils.set_random_seed(job.seed)
        self.job, self.folder, self.model = job, job.target.parent, model
        self.tuning: Tuning = "int8" if job.bits == 8 else "int4"
        self.scheme = SCHEMES[f"tflite-{self.tuning}"]
        item = job.adapter.item
        self.known = None if item.is_integer else item.value_range
        try:
            self.teacher = Program(model)
        except UnknownOperationError as e:
            raise ConversionError(f"The model can't be tuned: {e}.", "Convert it without; repairs may work.") from e
        if not self.teacher.batched:
            raise ConversionError("The model can't be tuned: its graph takes one item at a time.")
        items, labels = job.validation(enough(model))
        uint8 = item.is_image
        self.judge = Judge(model, items, labels, labelled=job.contract.task != "none", uint8=uint8)

    def run(self, emit: Emit) -> Trained:
        """Train, resuming where the run was, and write the best."""
        model, ranges = self._start()
        file = self._file(model, ranges)
        first = self.judge.score_file(file)
        program = Program(model)
        student = Student(program, scales_of_tflite(program, file))
        state = checkpoint.load(self.folder) or State(dict(self.job.began_with))
        if not (self.job.bits == 8 and first.sound):
            self._train(student, state, first, ranges, emit)
        emit(Progress(1.0, "writing"))
        if state.best_epoch:
            checkpoint.assign(student.variables, state.best)
            model, ranges = student.model(), ranges | student.ranges()
        last = self.judge.score_file(self._file(model, ranges))
        facts = {
            "bits": self.job.bits,
            "steps": int(state.history[-1]["step"]) if state.history else 0,
            "kept": "distillation" if state.best_epoch else "start",
            "before": first.facts(),
            "after": last.facts(),
        }
        self._write(model, ranges, facts)
        return Trained(facts, state.history)

    def _start(self) -> tuple[bytes, Ranges]:
        """The repaired graph and the ranges of its tensors; of a run that is resumed, what it began with."""
        start, known = self.folder / START, self.folder / RANGES
        if (self.folder / checkpoint.NAME).exists() and start.exists() and known.exists():
            return start.read_bytes(), {
                name: tuple(pair) for name, pair in json.loads(known.read_text(encoding="utf-8")).items()
            }
        calibration = self.job.calibration
        found = repair(
            self.model, calibration, self.judge, input_range=self.known, wanted=(self.tuning,), ranging="auto"
        )
        model = with_own_biases(found.models.get(self.tuning, self.model))
        choice = found.chosen.choice if found.chosen else Choice()
        ranges = tflite_statistics(model, calibration, self.known).ranges(choice)
        for path, content in ((start, model), (known, json.dumps(ranges).encode())):
            with whole_file(path) as temporary:
                temporary.write_bytes(content)
        return model, ranges

    def _file(self, model: bytes, ranges: Ranges) -> bytes:
        return with_scheme(model, self.scheme, ranges, uint8=self.judge.uint8)

    def _train(self, student: Student, state: State, first: Score, ranges: Ranges, emit: Emit) -> None:
        """Train until the last step, or until it no longer pays; `state.best` is the best, if any is better."""
        job = self.job
        size = min(BATCH, len(job.train), largest_batch(student.program, MEMORY))
        kind = kind_of_answers(self.teacher, labelled=job.contract.task != "none")
        labels = LABELS[job.bits] if job.labelled else 0.0
        values = self.teacher.run(self.judge.items[:BATCH].astype(self.teacher.dtype))
        spread = max(float(np.std(before_end(self.teacher, values))), 1e-6)
        work = Distillation(self.teacher, student, Teaching(kind, labels), spread)
        if not state.best:
            state.best = checkpoint.values(student.variables)
        checkpoint.assign(student.variables, state.best)
        best = self._score(student, ranges) if state.best_epoch else first
        done, total = 0, 0
        if state.history:
            if _brings_nothing(state.history):  # the run was stopped behind its training
                return
            done, total = (int(state.history[-1][name]) for name in ("step", "steps"))
            checkpoint.assign(student.variables, state.variables)
            checkpoint.assign(work.optimizer.variables, state.optimizer)
        total = total or self._length(work, student, size)
        each, losses, started = -(-total // CYCLES), list[float](), time.monotonic()
        text = f"validation {_figures(best)}"
        for step, (x, y) in zip(range(done, total), self._batches(size, done), strict=False):
            failed = sum(not row["kept"] for row in state.history)
            rate = RATES[job.bits] * 0.5**failed * (1 + math.cos(math.pi * (step % each) / each)) / 2
            losses.append(work.step(x, y, rate))
            emit(Progress((step + 1) / total, f"loss {losses[-1]:.4f}  {text}"))
            if (step + 1) % each and step + 1 < total:
                continue
            score = self._score(student, ranges) if np.isfinite(losses).all() else None
            if kept := score is not None and self._better(score, best):
                best, state.best, state.best_epoch = score, checkpoint.values(student.variables), len(state.history) + 1
            else:
                checkpoint.assign(student.variables, state.best)
            text = f"validation {_figures(best)}"
            row = {"step": step + 1, "steps": total, "loss": float(np.mean(losses)), "kept": float(kept)}
            row |= _row(score) if score else {}
            state.history.append(row | {"seconds": round(time.monotonic() - started, 3)})
            state.variables = checkpoint.values(student.variables)
            state.optimizer = checkpoint.values(work.optimizer.variables)
            checkpoint.save(state, self.folder)
            if _brings_nothing(state.history):
                return
            losses, started = [], time.monotonic()

    def _better(self, score: Score, best: Score) -> bool:
        """Whether a score is worth keeping: at eight bits, only if it is so beyond chance.

        At four bits, more is to be gained than chance decides, so that any gain of items counts unless noise speaks
        clearly against it.
        """
        if self.job.bits == 8 or not best.hits.size:
            return score.better_than(best)
        gained, noise = score.gained(best, 0), score.noise_db - best.noise_db
        return noise > (-NOISE_DB if gained > 0 else 0) and gained >= 0

    def _length(self, work: Distillation, student: Student, size: int) -> int:
        """Number of steps: the given one, or what the time allows, measured by two, which change nothing."""
        most = MOST_EPOCHS * batches.steps(len(self.job.train), size)
        if self.job.steps is not None:
            return max(LEAST_STEPS, min(most, self.job.steps))
        before = [checkpoint.values(v) for v in (student.variables, work.optimizer.variables)]
        seconds = 0.0
        for (x, y), _ in zip(self._batches(size, 0), range(3), strict=False):
            started = time.monotonic()
            work.step(x, y, 0.0)
            seconds = time.monotonic() - started
        for variables, values in zip((student.variables, work.optimizer.variables), before, strict=True):
            checkpoint.assign(variables, values)
        return max(LEAST_STEPS, min(most, int(60 * self.job.minutes / max(seconds, 1e-6))))

    def _batches(self, size: int, done: int) -> Iterator[batches.Batch]:
        job = self.job
        return batches.endless(job.train, batch_size=size, augmentation=job.augmentation, seed=job.seed, done=done)

    def _score(self, student: Student, ranges: Ranges) -> Score:
        return self.judge.score_file(self._file(student.model(), ranges | student.ranges()))

    def _write(self, model: bytes, ranges: Ranges, facts: Mapping[str, Any]) -> None:
        contract, adapter = self.job.contract, self.job.adapter
        task = "softmax" if adapter.end and contract.task == "logits" else contract.task
        whole = with_scheme(model, SCHEMES["tflite-float32"], None, uint8=self.judge.uint8)
        tuned = contract.replace(scheme="tflite-float32", task=task, tuning={"distillation": facts}, ranges=ranges)
        with whole_file(self.job.target) as temporary:
            temporary.write_bytes(tflite_with_contract(whole, tuned))


def _row(score: Score) -> dict[str, float]:
    return {name: float(value) for name, value in score.facts().items() if value is not None}


def _brings_nothing(history: Sequence[Mapping[str, float]]) -> bool:
    """Whether none of the last cycles brought anything, so that the training ends."""
    return len(history) >= PATIENCE and not any(row["kept"] for row in history[-PATIENCE:])


def _figures(score: Score) -> str:
    """The score in words."""
    shares = (("agreement", score.agreement), ("accuracy", score.accuracy))
    found = [f"{name} {value:.2%}" for name, value in shares if value is not None]
    return ", ".join(found or [f"{score.noise_db:.1f} dB"])
