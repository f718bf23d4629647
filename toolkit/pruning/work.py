"""The part of `prune` that runs in a child process: channels leave in parts, with a distillation behind each.

The state is saved after every part, so that a killed run goes on where it was. What is kept is the best on validation
items of the last and longest part, in which the graph is as small as asked.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.contract.write import tflite_with_contract
from edgepress.converters.errors import ConversionError
from edgepress.converters.files import whole_file
from edgepress.converters.graph.program import Program, UnknownOperationError
from edgepress.converters.opening import opened
from edgepress.converters.pruning.importance import Importance, Measure, importance_of
from edgepress.converters.pruning.moments import Moments, channel_moments
from edgepress.converters.pruning.plan import Costs, normalized, planned_units, weights
from edgepress.converters.pruning.remove import without_channels
from edgepress.converters.pruning.trainee import Trainee
from edgepress.converters.pruning.units import removable_units
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.tuning.distill import (
    Distillation,
    Teaching,
    before_end,
    kind_of_answers,
    largest_batch,
)
from edgepress.converters.tuning.judge import Judge, Score, enough, macs
from edgepress.converters.tuning.layers import layers_of
from edgepress.converters.worker import Emit
from edgepress.toolkit.data import calibration_rows
from edgepress.toolkit.pruning.job import Plan, PruneJob, read_plan, save_plan
from edgepress.toolkit.pruning.sizes import Sizes, largest_share, shares
from edgepress.toolkit.training import batches, checkpoint
from edgepress.toolkit.training.checkpoint import State
from edgepress.toolkit.tuning.job import Progress, Trained

FACTOR, MOST_PARTS, TIME_OF_PARTS = 0.85, 8, 0.35
"""What the multiply-accumulates are multiplied by in a part, the number of parts at most, and the share of the time
that training between them takes; the rest is for the last one."""
RATE, LABELS = 1e-2, 0.2
"""Learning rate at the beginning of each part, and the share of labels in the loss."""
SEGMENTS, MOST_EPOCHS, LEAST_STEPS, TIMED = 8, 120, 24, 6
"""Checkpoints of the last part; limits of the length of the training, and the steps that measure it."""
TIGHTER, TRIES = 0.95, 40
"""What the multiply-accumulates of the last part are multiplied by while a size or latency is above its target."""
BATCH, MEMORY = 32, 1 << 30
"""Items of a step at most, and memory in bytes that their activations may take."""
LEAST, IMPORTANT, ITEM_BYTES = 64, 512, 128 << 20
"""Items on which channels are measured, and their size in memory."""
PLAN, GRAPH = "plan.json", "part-{}.tflite"
"""Files of an unfinished run: its parts, and the graph that each ends with or, if it is the last, begins with."""
AUTO: Measure = "taylor"


def prune_here(job: PruneJob, emit: Emit) -> None:
    """Do a `PruneJob`: `Progress` reports, then `Trained`.

    Raises:
        ConversionError: The model has no float TFLite graph, or one that can't be pruned as asked.
    """
    emit(Progress(0.0, "planning"))
    emit(_Pruning(job, opened().tflite(job.adapter, job.onnx2tf)).run(emit))


class _Pruning:
    def __init__(self, job: PruneJob, model: bytes) -> None:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        tf.keras.utils.set_random_seed(job.seed)
        self.job, self.folder, self.model = job, job.target.parent, model
        item = job.adapter.item
        try:
            self.teacher = Program(model)
        except UnknownOperationError as e:
            raise ConversionError(f"The model can't be pruned: {e}.", "Convert it without pruning.") from e
        if not self.teacher.batched:
            raise ConversionError("The model can't be pruned: its graph takes one item at a time.")
        ranges = tflite_statistics(model, job.calibration, None if item.is_integer else item.value_range).ranges()
        self.sizes = Sizes(ranges, job.contract, uint8=item.is_image)
        items, labels = job.validation(enough(model))
        self.judge = Judge(model, items, labels, labelled=job.contract.task != "none", uint8=item.is_image)
        self.items = self._some_items()
        self.kind = kind_of_answers(self.teacher, labelled=job.contract.task != "none")
        values = self.teacher.run(self.items[:BATCH].astype(self.teacher.dtype))
        self.spread = max(float(np.std(before_end(self.teacher, values))), 1e-6)
        self.size = min(BATCH, len(job.train), largest_batch(self.teacher, MEMORY))
        self.measure: Measure = AUTO if job.importance == "auto" else job.importance  # type: ignore[assignment]

    def run(self, emit: Emit) -> Trained:
        """Prune and train, resuming where the run was, and write the best."""
        state = checkpoint.load(self.folder)
        plan = self._plan() if state is None else read_plan(self.folder / PLAN)
        state = state or State(dict(self.job.began_with))
        checkpoint.save(state, self.folder)
        done = int(state.history[-1]["part"]) if state.history else 0
        model = (self.folder / GRAPH.format(done)).read_bytes() if done else self.model
        for part in range(done + 1, len(plan.shares)):
            model = self._part(model, part, plan, state, emit)
        model = self._last(model, plan, state, emit)
        emit(Progress(1.0, "writing"))
        facts = self._facts(model)
        self._write(model, facts)
        return Trained(facts, state.history)

    def _plan(self) -> Plan:
        moments = channel_moments(self.teacher, self.items)
        units, importance = self._important(self.teacher, moments)
        last, block = largest_share(self.model, units, importance, self.job.targets, self.sizes)
        parts = list(shares(last, FACTOR, MOST_PARTS))
        each = self._length(Distillation(self.teacher, Trainee(self.teacher, moments), self._teaching, self.spread))
        between = max(LEAST_STEPS, int(each * TIME_OF_PARTS / max(len(parts) - 1, 1)))
        plan = Plan(parts, block, [between] * (len(parts) - 1) + [0])
        save_plan(plan, self.folder / PLAN)
        return plan

    @property
    def _teaching(self) -> Teaching:
        return Teaching(self.kind, LABELS if self.job.labelled and self.kind == "softmax" else 0.0)

    def _important(self, program: Program, moments: Moments) -> tuple[Any, Importance]:
        """The units of a program, and how important each is."""
        units = removable_units(program)
        return units, normalized(importance_of(self.measure, units, moments, self.items, self.kind, self.job.seed))

    def _smaller(self, model: bytes, plan: Plan, part: int) -> bytes:
        """The graph with as many channels as a part leaves; of the last one, as many as the targets allow."""
        program = Program(model)
        moments = channel_moments(program, self.items)
        units, importance = self._important(program, moments)
        cost = self.job.targets.cost
        costs, means = Costs(model, units, cost), {name: mean for name, (mean, _) in moments.items()}
        whole = macs(self.model) if cost == "macs" else weights(self.teacher)
        bound, found = plan.shares[part - 1] * whole, model
        for _ in range(TRIES):
            keep = planned_units(units, importance, costs, bound, plan.block)
            if keep is None:
                raise ConversionError(
                    "The targets can't be reached: each layer has one channel left.", "Raise the targets."
                )
            found = without_channels(model, units, keep, means)
            if part < len(plan.shares) or not self.sizes.missed(found, self.job.targets):
                break
            bound = TIGHTER * min(bound, costs.total(costs.sizes(keep)))
        else:
            raise ConversionError("No graph was found that keeps the targets.", "Raise the targets.")
        return found

    def _part(self, model: bytes, part: int, plan: Plan, state: State, emit: Emit) -> bytes:
        """Prune and train for a moment; the trained graph."""
        program, started = Program(self._smaller(model, plan, part)), time.monotonic()
        trainee = Trainee(program, channel_moments(program, self.items))
        work = Distillation(self.teacher, trainee, self._teaching, self.spread)
        steps, losses = plan.steps[part - 1], list[float]()
        first = sum(plan.steps[: part - 1])
        text = f"part {part} of {len(plan.shares)}, {plan.shares[part - 1]:.0%} of the {self.job.targets.cost}"
        for step, (x, y) in zip(range(steps), self._batches(first), strict=False):
            losses.append(work.step(x, y, _rate(step, steps)))
            share = TIME_OF_PARTS * (first + step + 1) / sum(plan.steps[:-1])
            emit(Progress(share, f"{text}, loss {losses[-1]:.4f}"))
        found = self._sound(trainee.model(), losses)
        return self._save_part(found, part, state, losses, steps, started)

    def _save_part(
        self, model: bytes, part: int, state: State, losses: list[float], steps: int, started: float
    ) -> bytes:
        with whole_file(self.folder / GRAPH.format(part)) as temporary:
            temporary.write_bytes(model)
        row = {"part": part, "macs": macs(model), "step": steps, "loss": float(np.mean(losses)) if losses else 0.0}
        state.history.append(row | _row(self.judge.score_file(model)) | {"seconds": _since(started)})
        state.variables, state.optimizer, state.best, state.best_epoch = [], [], [], 0
        checkpoint.save(state, self.folder)
        return model

    def _last(self, model: bytes, plan: Plan, state: State, emit: Emit) -> bytes:
        """Prune to the targets and train; the best graph."""
        part, started = len(plan.shares), time.monotonic()
        if not state.history or int(state.history[-1]["part"]) < part:
            model = self._save_part(self._smaller(model, plan, part), part, state, [], 0, started)
        program = Program(model)
        trainee = Trainee(program, channel_moments(program, self.items))
        work = Distillation(self.teacher, trainee, self._teaching, self.spread)
        if not plan.steps[-1]:
            plan.steps[-1] = max(LEAST_STEPS, int(self._length(work) * (1 - TIME_OF_PARTS * (part > 1))))
            save_plan(plan, self.folder / PLAN)
        if state.variables:
            checkpoint.assign(trainee.variables, state.variables)
            checkpoint.assign(work.optimizer.variables, state.optimizer)
        total, done = plan.steps[-1], int(state.history[-1]["step"])
        before, each = sum(plan.steps[:-1]), -(-plan.steps[-1] // SEGMENTS)
        best = self._best(state)
        begun, text, losses = TIME_OF_PARTS * (part > 1), _figures(state.history[-1]), list[float]()
        for step, (x, y) in zip(range(done, total), self._batches(before + done), strict=False):
            losses.append(work.step(x, y, _rate(step, total)))
            emit(Progress(begun + (1 - begun) * (step + 1) / total, f"loss {losses[-1]:.4f}, validation {text}"))
            if (step + 1) % each and step + 1 < total:
                continue
            found = self._sound(trainee.model(), losses)
            row = {"part": part, "macs": macs(found), "step": step + 1, "loss": float(np.mean(losses))}
            row |= _row(self.judge.score_file(found)) | {"seconds": _since(started)}
            state.history.append(row)
            if best is None or _goodness(row) >= best:
                best, state.best, state.best_epoch = (
                    _goodness(row),
                    checkpoint.values(trainee.variables),
                    len(state.history),
                )
            state.variables = checkpoint.values(trainee.variables)
            state.optimizer = checkpoint.values(work.optimizer.variables)
            checkpoint.save(state, self.folder)
            text, losses, started = _figures(row), [], time.monotonic()
        checkpoint.assign(trainee.variables, state.best)
        return trainee.model()

    def _some_items(self) -> npt.NDArray[Any]:
        """Training items on which channels are measured."""
        train = self.job.train
        most = max(LEAST, min(IMPORTANT, ITEM_BYTES // (4 * int(np.prod(self.teacher.shapes[self.teacher.source])))))
        return train.read(calibration_rows(train, most))

    def _best(self, state: State) -> tuple[float, float] | None:
        return _goodness(state.history[state.best_epoch - 1]) if state.best_epoch else None

    def _sound(self, model: bytes, losses: list[float]) -> bytes:
        if not np.isfinite(losses).all():
            raise ConversionError(
                "The training diverged: its loss is not finite.", "Keep more of the model, or give more minutes."
            )
        return model

    def _length(self, work: Distillation) -> int:
        """Number of steps: the given one, or what the time allows, measured by a few, which change nothing."""
        most = MOST_EPOCHS * batches.steps(len(self.job.train), self.size)
        if self.job.steps is not None:
            return max(LEAST_STEPS, min(most, self.job.steps))
        variables = (work.student.variables, work.optimizer.variables)
        before, times = [checkpoint.values(v) for v in variables], list[float]()
        for (x, y), _ in zip(self._batches(0), range(TIMED), strict=False):
            started = time.monotonic()
            work.step(x, y, 0.0)
            times.append(time.monotonic() - started)
        seconds = float(np.median(times[1:] or times))  # the first one compiles
        for found, values in zip(variables, before, strict=True):
            checkpoint.assign(found, values)
        return max(LEAST_STEPS, min(most, int(60 * self.job.minutes / max(seconds, 1e-6))))

    def _batches(self, done: int) -> Iterator[batches.Batch]:
        job = self.job
        return batches.endless(job.train, batch_size=self.size, augmentation=job.augmentation, seed=job.seed, done=done)

    def _facts(self, model: bytes) -> dict[str, Any]:
        """The figures of the run, with the channels of each layer that lost some."""
        targets, pruned = self.job.targets, Program(model)
        layers = {}
        for layer in layers_of(self.teacher):
            for step in layer.steps:
                if step.weights and pruned.shapes[step.output] != step.shape:
                    layers[layer.name] = [step.shape[-1], pruned.shapes[step.output][-1]]
        found: dict[str, Any] = {"importance": self.measure, "layers": layers}
        for when, graph, program in (("before", self.model, self.teacher), ("after", model, pruned)):
            figures: dict[str, Any] = {"macs": macs(graph), "parameters": _parameters(program)}
            figures["size_bytes"] = len(self.sizes.file(graph))
            if targets.latency_ms is not None:
                figures["latency_ms"] = round(self.sizes.latency_ms(graph), 4)
            found[when] = figures | self.judge.score_file(graph).facts()
        return found

    def _write(self, model: bytes, facts: Mapping[str, Any]) -> None:
        contract, adapter = self.job.contract, self.job.adapter
        task = "softmax" if adapter.end and contract.task == "logits" else contract.task
        whole = with_scheme(model, SCHEMES["tflite-float32"], None, uint8=self.judge.uint8)
        pruned = contract.replace(scheme="tflite-float32", task=task, tuning={"pruning": facts})
        with whole_file(self.job.target) as temporary:
            temporary.write_bytes(tflite_with_contract(whole, pruned))


def _rate(step: int, steps: int) -> float:
    """The learning rate falls as a cosine."""
    return RATE * (1 + math.cos(math.pi * step / steps)) / 2


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)


def _parameters(program: Program) -> int:
    names = {step.inputs[place] for step in program.steps for place in step.constants}
    return sum(program.constants[name].size for name in names if program.constants[name].dtype == np.float32)


def _row(score: Score) -> dict[str, float]:
    return {name: float(value) for name, value in score.facts().items() if value is not None}


def _goodness(row: Mapping[str, float]) -> tuple[float, float]:
    """What makes a state the best: more right items, then less noise."""
    return row.get("accuracy", row.get("agreement", 0.0)), row["noise_db"]


def _figures(row: Mapping[str, float]) -> str:
    """The figures of a row in words."""
    found = [f"{name} {row[name]:.2%}" for name in ("agreement", "accuracy") if name in row]
    return ", ".join(found or [f"{row['noise_db']:.1f} dB"])
