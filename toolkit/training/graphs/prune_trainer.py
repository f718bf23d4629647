"""The part of `prune` that runs in a child process: channels leave in parts, with a distillation behind each.

The state is saved after every part, so that a killed run goes on where it was. What is kept is the best on validation
items of the last and longest part, in which the graph is as small as asked.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.conversion.float_graph import get_open_model
from edgepress.converters.errors import ConversionError
from edgepress.converters.files import write_bytes
from edgepress.converters.graph.distill import Distillation, Trainee
from edgepress.converters.graph.program import Program
from edgepress.converters.mixed_precision.sensitivity import layers_of
from edgepress.converters.process.worker import Emit
from edgepress.converters.pruning.importance import Importance, Measure, Moments, channel_moments, importance_of
from edgepress.converters.pruning.plan import PruningCosts, normalize, planned_units, weights
from edgepress.converters.pruning.remove import without_channels
from edgepress.converters.pruning.units import Units, removable_units
from edgepress.converters.ptq.score import macs
from edgepress.toolkit.data import calibration_rows
from edgepress.toolkit.training import checkpoint
from edgepress.toolkit.training.checkpoint import TrainingState
from edgepress.toolkit.training.graphs.job import Progress, PruneJob, PrunePlan, Trained, read_plan, save_plan
from edgepress.toolkit.training.graphs.sizes import Sizes, largest_share, shares
from edgepress.toolkit.training.graphs.trainer import (
    FACTOR,
    LEAST_STEPS,
    Segment,
    Trainer,
    figures_of,
    has_risen,
    row_of,
    since,
    warmed_up,
)

PART = 0.85
"""What the multiply-accumulates are multiplied by in a part."""
MOST_PARTS = 8
"""Most parts."""
TIME_OF_PARTS = 0.35
"""Share of the time that training between the parts takes; the rest is for the last one."""
RATE = 1e-2
"""Highest learning rate at the beginning of each part; small nets bear it."""
LABELS = 0.2
"""Share of labels in the loss."""
SEGMENTS = 8
"""Checkpoints of the last part."""
MOST_LOSS = 1e9
"""What stands for a loss that is not finite."""
TIGHTER = 0.95
"""What the multiply-accumulates of the last part are multiplied by while a size or latency is above its target."""
TRIES = 40
"""Most times that they are multiplied by it."""
MIN_ITEMS = 64
"""Fewest items on which channels are measured."""
MAX_ITEMS = 512
"""Most items on which channels are measured."""
ITEM_BYTES = 128 << 20
"""Memory in bytes that they may take beyond the least."""
PLAN = "plan.json"
"""File of an unfinished run: its parts."""
GRAPH = "part-{}.tflite"
"""File of an unfinished run: the graph that a part ends with or, if it is the last, begins with."""
AUTO: Measure = "taylor"


def prune_here(job: PruneJob, emit: Emit) -> None:
    """Do a `PruneJob`: `Progress` reports, then `Trained`.

    Raises:
        ConversionError: The model has no float TFLite graph, or one that can't be pruned as asked.
    """
    emit(Progress(0.0, "planning"))
    emit(PruneTrainer(job, get_open_model().tflite(job.adapter), emit).run())


class PruneTrainer(Trainer[PruneJob]):
    """Removes channels of a graph and trains what is left."""

    verb = "pruned"
    most_epochs = 120
    after_collapse = "Keep more of the model, give more --minutes, or more items like those that it was trained on."

    def __init__(self, job: PruneJob, model: bytes, emit: Emit) -> None:
        super().__init__(job, model, emit)
        ranges = tflite_statistics(model, job.calibration, self.input_range).ranges()
        self.sizes = Sizes(ranges, job.contract, uint8=bool(self.judge.uint8))
        self.measure: Measure = AUTO if job.options.importance == "auto" else job.options.importance  # type: ignore[assignment]

    @cached_property
    def sample(self) -> npt.NDArray[Any]:
        """Training items on which channels are measured."""
        train = self.job.train
        most = max(
            MIN_ITEMS, min(MAX_ITEMS, ITEM_BYTES // (4 * int(np.prod(self.teacher.shapes[self.teacher.source]))))
        )
        return train.read(calibration_rows(train, most))

    def run(self) -> Trained:
        """Prune and train, resuming where the run was, and write the best."""
        state = checkpoint.load(self.folder)
        plan = self._plan() if state is None else read_plan(self.folder / PLAN)
        state = state or TrainingState(dict(self.job.began_with))
        checkpoint.save(state, self.folder)
        parts = int(state.history[-1]["part"]) if state.history else 0
        model = (self.folder / GRAPH.format(parts)).read_bytes() if parts else self.model
        for part in range(parts + 1, len(plan.shares)):
            model = self._part(model, part, plan, state)
        model = self._last(model, plan, state)
        self.emit(Progress(1.0, "writing"))
        facts = self._facts(model) | {"learning_rate": plan.last_rate}
        self.write(model, model, compression={"pruning": facts})
        return Trained(facts, state.history)

    def _plan(self) -> PrunePlan:
        moments = channel_moments(self.teacher, self.sample)
        units, importance = self._important(self.teacher, moments)
        last, block = largest_share(self.model, units, importance, targets=self.job.options.targets, sizes=self.sizes)
        parts = list(shares(last, PART, MOST_PARTS))
        steps = self.count_steps(self.distillation(Trainee(self.teacher, moments), LABELS))
        between = max(LEAST_STEPS, int(steps * TIME_OF_PARTS / max(len(parts) - 1, 1)))
        plan = PrunePlan(parts, block, [between] * (len(parts) - 1) + [0])
        save_plan(plan, self.folder / PLAN)
        return plan

    def _important(self, program: Program, moments: Moments) -> tuple[Units, Importance]:
        """The units of a program, and how important each is."""
        units = removable_units(program)
        return units, normalize(
            importance_of(self.measure, units, moments, items=self.sample, kind=self.kind, seed=self.job.options.seed)
        )

    def _smaller(self, model: bytes, plan: PrunePlan, part: int) -> bytes:
        """The graph with as many channels as a part leaves; of the last one, as many as the targets allow."""
        program = Program(model)
        moments = channel_moments(program, self.sample)
        units, importance = self._important(program, moments)
        cost = self.job.options.targets.cost
        costs = PruningCosts(model, units, cost)
        means = {name: mean for name, (mean, _) in moments.items()}
        whole = macs(self.model) if cost == "macs" else weights(self.teacher)
        bound = plan.shares[part - 1] * whole
        for _ in range(TRIES):
            keep = planned_units(units, importance, costs, bound, block=plan.block)
            if keep is None:
                raise ConversionError(
                    "The targets can't be reached: each layer has one channel left.",
                    "Raise --macs, --max-size or --max-latency.",
                )
            pruned = without_channels(model, units, keep, means)
            if part < len(plan.shares) or not self.sizes.missed(pruned, self.job.options.targets):
                return pruned
            bound = TIGHTER * min(bound, costs.total(costs.sizes(keep)))
        raise ConversionError(
            "No graph was found that keeps the targets.", "Raise --macs, --max-size or --max-latency."
        )

    def _begin(self, model: bytes) -> tuple[Trainee, Distillation]:
        """What trains a graph."""
        program = Program(model)
        trainee = Trainee(program, channel_moments(program, self.sample[:MIN_ITEMS]))
        return trainee, self.distillation(trainee, LABELS)

    def _part(self, model: bytes, part: int, plan: PrunePlan, state: TrainingState) -> bytes:
        """Prune and train for a moment; the trained graph."""
        started = time.monotonic()
        smaller = self._smaller(model, plan, part)
        trainee, distillation = self._begin(smaller)
        if not plan.rate:
            plan.rate = self.find_rate(distillation, RATE)
            save_plan(plan, self.folder / PLAN)
        rate = _rate_after(plan.rate, state.history)
        steps = plan.steps[part - 1]
        before = sum(plan.steps[: part - 1])
        text = f"part {part} of {len(plan.shares)}, {plan.shares[part - 1]:.0%} of the {self.job.options.targets.cost}"

        def tell(step: int, loss: float) -> None:
            self.emit(Progress(TIME_OF_PARTS * (before + step) / sum(plan.steps[:-1]), f"{text}, loss {loss:.4f}"))

        (segment,) = self.train(
            distillation,
            range(steps),
            each=steps,
            rate=lambda step: warmed_up(rate, step, steps),
            tell=tell,
            before=before,
        )
        kept = not has_risen(segment.loss, segment.first)
        segment = segment._replace(started=started)
        return self._save_part(trainee.model() if kept else smaller, part, state, segment, kept=kept)

    def _save_part(
        self, model: bytes, part: int, state: TrainingState, segment: Segment, *, kept: bool = True
    ) -> bytes:
        write_bytes(self.folder / GRAPH.format(part), model)
        state.history.append(self._row(part, model, segment, kept=kept))
        state.variables = []
        state.optimizer = []
        state.best = []
        state.best_epoch = 0
        checkpoint.save(state, self.folder)
        return model

    def _row(self, part: int, model: bytes, segment: Segment, *, kept: bool) -> dict[str, float]:
        """A row of the history; "kept" is 0 where training went back to an earlier state."""
        loss = min(segment.loss, MOST_LOSS) if segment.loss == segment.loss else MOST_LOSS
        row = {"part": part, "macs": macs(model), "step": segment.step, "loss": loss, "kept": float(kept)}
        return row | row_of(self.judge.score_file(model)) | {"seconds": since(segment.started)}

    def _last(self, model: bytes, plan: PrunePlan, state: TrainingState) -> bytes:
        """Prune to the targets and train; the best graph."""
        part = len(plan.shares)
        started = time.monotonic()
        if not state.history or int(state.history[-1]["part"]) < part:
            model = self._save_part(self._smaller(model, plan, part), part, state, Segment(0, 0.0, started))
        trainee, distillation = self._begin(model)
        if not plan.last_rate:  # its own: by now the net has more to learn than after the first cut, and bears more
            borne = _rate_after(plan.rate, state.history)
            plan.last_rate = max(borne, self.find_rate(distillation, RATE))
            save_plan(plan, self.folder / PLAN)
        fresh = checkpoint.values(distillation.optimizer.variables)
        begun = TIME_OF_PARTS * (part > 1)
        if not plan.steps[-1]:
            plan.steps[-1] = max(LEAST_STEPS, int(self.count_steps(distillation) * (1 - begun)))
            save_plan(plan, self.folder / PLAN)
        if not state.best_epoch:
            state.best = checkpoint.values(trainee.variables)
            state.best_epoch = len(state.history)
        if state.variables:
            self.restore(state, distillation)
        total = plan.steps[-1]
        steps = range(int(state.history[-1]["step"]), total)

        def tell(step: int, loss: float) -> None:
            figures = figures_of(state.history[-1])
            self.emit(Progress(begun + (1 - begun) * step / total, f"loss {loss:.4f}, validation {figures}"))

        segments = self.train(
            distillation,
            steps,
            each=-(-total // SEGMENTS),
            rate=lambda step: warmed_up(_rate_after(plan.last_rate, _rows_of(part, state)), step, total),
            tell=tell,
            before=sum(plan.steps[:-1]),
        )
        for segment in segments:
            rows = [row for row in _rows_of(part, state) if row["step"]]
            losses = [row["loss"] for row in rows if row.get("kept", True)]  # runs of before have no "kept"
            kept = not has_risen(segment.loss, min(losses, default=segment.first))
            if not kept:
                checkpoint.assign(trainee.variables, state.best)
                checkpoint.assign(distillation.optimizer.variables, fresh)
            row = self._row(part, trainee.model(), segment, kept=kept)
            state.history.append(row)
            if kept and _goodness(row) >= _goodness(state.history[state.best_epoch - 1]):
                state.best = checkpoint.values(trainee.variables)
                state.best_epoch = len(state.history)
            self.save(state, distillation)
        checkpoint.assign(trainee.variables, state.best)
        return trainee.model()

    def _facts(self, model: bytes) -> dict[str, Any]:
        """The figures of the run, with the channels of each layer that lost some."""
        targets = self.job.options.targets
        pruned = Program(model)
        layers = {}
        for layer in layers_of(self.teacher):
            for step in layer.steps:
                if step.weights and pruned.shapes[step.output] != step.shape:
                    layers[layer.name] = [step.shape[-1], pruned.shapes[step.output][-1]]
        facts: dict[str, Any] = {"importance": self.measure, "layers": layers}
        for when, graph, program in (("before", self.model, self.teacher), ("after", model, pruned)):
            figures: dict[str, Any] = {"macs": macs(graph), "parameters": _parameters(program)}
            figures["size_bytes"] = len(self.sizes.file(graph))
            if targets.latency_ms is not None:
                figures["latency_ms"] = round(self.sizes.latency_ms(graph), 4)
            facts[when] = figures | self.judge.score_file(graph).facts()
        return facts


def _rows_of(part: int, state: TrainingState) -> list[dict[str, float]]:
    return [row for row in state.history if row["part"] == part]


def _rate_after(rate: float, history: Sequence[Mapping[str, float]]) -> float:
    """The learning rate that a training begins with: half as high for each time that it went back."""
    return rate * FACTOR ** sum(not row.get("kept", True) for row in history)


def _parameters(program: Program) -> int:
    names = {step.inputs[place] for step in program.steps for place in step.constants}
    return sum(program.constants[name].size for name in names if program.constants[name].dtype == np.float32)


def _goodness(row: Mapping[str, float]) -> tuple[float, float]:
    """What makes a state the best: more right items, then less noise."""
    return row.get("accuracy", row.get("agreement", 0.0)), row["snr_db"]
