"""The part of `tune` that runs in a child process: repair the float graph, distill its quantized form, keep the best.

The state is saved after every cycle of the training, so that a killed run goes on where it was. What is kept is judged
by real quantized files on validation items (`converters.ptq.score`), and is the start unless something is better.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.conversion.float_graph import get_open_model
from edgepress.converters.files import write_bytes
from edgepress.converters.graph.distill import Student
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.tflite_scales import scales_of_tflite
from edgepress.converters.numeric.statistics import CalibrationMethods, Ranges
from edgepress.converters.process.worker import Emit
from edgepress.converters.ptq.bias import with_own_biases
from edgepress.converters.ptq.repair import repair
from edgepress.converters.ptq.score import Score
from edgepress.converters.schemes import RepairKind
from edgepress.toolkit.training import checkpoint
from edgepress.toolkit.training.checkpoint import TrainingState
from edgepress.toolkit.training.graphs.job import Progress, Trained, TuneJob, read_ranges
from edgepress.toolkit.training.graphs.trainer import Trainer, falling, figures_of, row_of, since

RATES: Mapping[int, float] = {8: 3e-5, 4: 3e-4}
"""Learning rate at the beginning of the first cycle: some hundred steps move weights by a step of their grid."""
LABELS: Mapping[int, float] = {8: 0.0, 4: 0.2}
"""Share of labels in the loss: what eight bits lose is so little that labels would train another model instead."""
CYCLES = 8
"""Cycles of the training: in each, the learning rate falls to 0 as a cosine (Loshchilov & Hutter 2017,
arXiv:1608.03983), and a file is judged. After a cycle without improvement, training goes back to the best, with half
the rate."""
PATIENCE = 3
"""Cycles without improvement after which the training ends."""
SNR_DB = 1.5
"""Decibels of noise, at four bits, that outweigh a gain of items."""
START = "start.tflite"
"""File of an unfinished run: the graph that its training began with."""
RANGES = "start.json"
"""File of an unfinished run: the ranges of the tensors of that graph."""


def tune_here(job: TuneJob, emit: Emit) -> None:
    """Do a `TuneJob`: `Progress` reports, then `Trained`.

    Raises:
        ConversionError: The model has no float TFLite graph, or one that can't be trained.
    """
    emit(Progress(0.0, "repairing"))
    emit(TuneTrainer(job, get_open_model().tflite(job.adapter), emit).run())


class TuneTrainer(Trainer[TuneJob]):
    """Trains the constants and ranges of a simulated quantized graph."""

    verb = "tuned"
    most_epochs = 60
    after_collapse = "Give more --minutes, --bits 8, or more items like those that the model was trained on."

    @property
    def _precision(self) -> RepairKind:
        return "int8" if self.job.options.bits == 8 else "int4"

    def run(self) -> Trained:
        """Train, resuming where the run was, and write the best."""
        model, ranges = self._start()
        file = self.judge.make_file(model, ranges, self._precision)
        first = self.judge.score_file(file)
        program = Program(model)
        student = Student(program, scales_of_tflite(program, file))
        state = checkpoint.load(self.folder) or TrainingState(dict(self.job.began_with))
        if not (self.job.options.bits == 8 and first.sound):
            self._train(student, state, first, ranges)
        self.emit(Progress(1.0, "writing"))
        if state.best_epoch:
            checkpoint.assign(student.variables, state.best)
            model = student.model()
            ranges = ranges | student.ranges()
        file = self.judge.make_file(model, ranges, self._precision)
        facts = {
            "bits": self.job.options.bits,
            "steps": int(state.history[-1]["step"]) if state.history else 0,
            "kept": "distillation" if state.best_epoch else "start",
            "before": first.facts(),
            "after": self.judge.score_file(file).facts(),
        }
        self.write(model, file, compression={"distillation": facts}, ranges=ranges)
        return Trained(facts, state.history)

    def _start(self) -> tuple[bytes, Ranges]:
        """The repaired graph and the ranges of its tensors; of a run that is resumed, what it began with."""
        start = self.folder / START
        known = self.folder / RANGES
        if (self.folder / checkpoint.NAME).exists() and start.exists() and known.exists():
            return start.read_bytes(), read_ranges(known)
        repaired = repair(
            self.model,
            self.job.calibration,
            self.judge,
            input_range=self.input_range,
            wanted=(self._precision,),
            method="auto",
        )
        model = with_own_biases(repaired.models.get(self._precision, self.model))
        choice = repaired.chosen.methods if repaired.chosen else CalibrationMethods()
        ranges = tflite_statistics(model, self.job.calibration, self.input_range).ranges(choice)
        write_bytes(start, model)
        write_bytes(known, json.dumps(ranges).encode())
        return model, ranges

    def _train(self, student: Student, state: TrainingState, first: Score, ranges: Ranges) -> None:
        """Train until the last step, or until it no longer pays; `state.best` is the best, if any is better."""
        if _has_stalled(state.history):  # the run was stopped after its training
            return
        distillation = self.distillation(student, LABELS[self.job.options.bits])
        if not state.best:
            state.best = checkpoint.values(student.variables)
        checkpoint.assign(student.variables, state.best)
        best = self._score(student, ranges) if state.best_epoch else first
        if state.history:
            steps_done, total = (int(state.history[-1][name]) for name in ("step", "steps"))
            self.restore(state, distillation)
        else:
            steps_done = 0
            total = self.count_steps(distillation)
        cycle_steps = -(-total // CYCLES)

        def rate(step: int) -> float:
            failed = sum(not row["kept"] for row in state.history)
            return falling(RATES[self.job.options.bits] * 0.5**failed, step % cycle_steps, cycle_steps)

        def tell(steps: int, loss: float) -> None:
            self.emit(Progress(steps / total, f"loss {loss:.4f}  validation {figures_of(row_of(best))}"))

        for segment in self.train(distillation, range(steps_done, total), each=cycle_steps, rate=rate, tell=tell):
            score = self._score(student, ranges) if math.isfinite(segment.loss) else None
            if improved := score is not None and self._better(score, best):
                best = score
                state.best = checkpoint.values(student.variables)
                state.best_epoch = len(state.history) + 1
            else:
                checkpoint.assign(student.variables, state.best)
            row = {"step": segment.step, "steps": total, "loss": segment.loss, "kept": float(improved)}
            state.history.append(row | row_of(score) | {"seconds": since(segment.started)})
            self.save(state, distillation)
            if _has_stalled(state.history):
                return

    def _better(self, score: Score, best: Score) -> bool:
        """Whether a score is worth keeping: at eight bits, only if it is so beyond chance.

        At four bits, more is to be gained than chance decides, so that any gain of items counts unless noise speaks
        clearly against it.
        """
        if self.job.options.bits == 8 or not best.hits.size:
            return score.better_than(best)
        gained = score.gained(best, 0)
        noise = score.snr_db - best.snr_db
        return noise > (-SNR_DB if gained > 0 else 0) and gained >= 0

    def _score(self, student: Student, ranges: Ranges) -> Score:
        return self.judge.score_file(self.judge.make_file(student.model(), ranges | student.ranges(), self._precision))


def _has_stalled(history: Sequence[Mapping[str, float]]) -> bool:
    """Whether none of the last `PATIENCE` cycles improved the file, which ends the training."""
    return len(history) >= PATIENCE and not any(row["kept"] for row in history[-PATIENCE:])
