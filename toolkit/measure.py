"""Accuracy and latency of several (file, engine) pairs; in a child process that loads no TensorFlow.

Accuracy: the test split is streamed once, and every pair answers each batch, so images are decoded once and memory is
flat. Latency: every round opens all files anew, warms them up, and goes over them a few times in shuffled order, so
that a slow moment of the machine hits all alike. Opened anew, because where a model happens to lie in memory changes
its speed by some percent for as long as it is open: with one opening, a file differs "significantly" from its own copy.
In a pass, a pair answers one untimed item (the caches are full of another file's weights) and then a few timed ones.
The clock is around `Model.scores` of a ready item, which is what a program on a board would wait for.

Limits: one item at a time, no other load is made or controlled; what runs beside it is in the figures.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.converters.child import ChildDied, Emit, run_in_child
from edgepress.runtime import EngineError, InputSpec, Model, load
from edgepress.toolkit.data.types import Split
from edgepress.toolkit.errors import EdgepressError, InputError, ModelFileError

BATCH = 64
ITEMS = 16
"""Different items that a timing loop takes in turn."""
PASSES = 5
"""Times that a round goes over all pairs."""
WARM_CALLS = 3
BLOCK_NS = 2_000_000
MAX_CALLS = 10
"""A pair's block in a pass lasts about `BLOCK_NS` nanoseconds, but 1 to `MAX_CALLS` calls."""


OnProgress = Callable[[str, float], None]


class Candidate(NamedTuple):
    """A file on an engine."""

    file: Path
    engine: str | None
    """None: the first installed engine that opens the file."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        candidates: Files and engines.
        split: Items to classify.
        labels: Class names that a file must have.
        input: What an item looks like; a file that takes another shape can't be measured.
        threads: Threads that an engine may use.
        rounds: Timing rounds; 0 measures accuracy alone.
        cap_s: Seconds that one pair may take to classify the split; beyond them it has failed.
        timing_s: Seconds of timing after which a pair takes part in no further round.
    """

    candidates: tuple[Candidate, ...]
    split: Split
    labels: tuple[str, ...]
    input: InputSpec
    threads: int | None = None
    rounds: int = 0
    cap_s: float = 120.0
    timing_s: float = 10.0


@dataclass(frozen=True)
class At:
    """This pair is worked on now; whoever is told so last when the process dies has caused it."""

    index: int


@dataclass(frozen=True)
class Opened:
    """A pair was opened, by which engine."""

    index: int
    engine: str


@dataclass(frozen=True)
class Failed:
    """A pair can't be measured."""

    index: int
    error: EdgepressError


@dataclass(frozen=True)
class Answered:
    """The classes that a pair predicted, int64, shape (N,), in the order of the split."""

    index: int
    predicted: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Timed:
    """A pair's latencies in nanoseconds, one array a round, and its median time to open in milliseconds.

    The engine is imported and the file in the page cache when it is opened.
    """

    index: int
    rounds: list[npt.NDArray[np.int64]]
    load_ms: float


@dataclass(frozen=True)
class Progress:
    """Share of a phase that is done, 0-1."""

    phase: str
    share: float


@dataclass
class Outcome:
    """What came of one candidate; `error` is None if all of it could be measured."""

    engine: str = ""
    load_ms: float | None = None
    predicted: npt.NDArray[np.int64] | None = None
    rounds: list[npt.NDArray[np.int64]] = field(default_factory=list)
    error: EdgepressError | None = None


def run_plan(plan: Plan, *, on_progress: OnProgress | None = None) -> list[Outcome]:
    """Measure all candidates of a plan in one fresh process, which loads no TensorFlow.

    If a candidate crashes that process, it has failed, and the others are measured again without it in another one.

    Args:
        plan: What to measure.
        on_progress: Called with a phase ("accuracy", "latency") and its share that is done, 0-1.

    Returns:
        One outcome a candidate, in their order.
    """
    crashed: dict[int, EdgepressError] = {}
    while True:
        indices = [i for i in range(len(plan.candidates)) if i not in crashed]
        outcomes = {i: Outcome(error=error) for i, error in crashed.items()} | {i: Outcome() for i in indices}
        now: int | None = None
        try:
            running = replace(plan, candidates=tuple(plan.candidates[i] for i in indices))
            for report in run_in_child(measure, running, silence_s=plan.cap_s + 60) if indices else ():
                match report:
                    case At(index):
                        now = indices[index]
                    case Opened(index, engine):
                        outcomes[indices[index]].engine = engine
                    case Failed(index, error):
                        outcomes[indices[index]].error = error
                    case Answered(index, predicted):
                        outcomes[indices[index]].predicted = predicted
                    case Timed(index, rounds, load_ms):
                        outcomes[indices[index]].rounds, outcomes[indices[index]].load_ms = rounds, load_ms
                    case Progress(phase, share):
                        if on_progress is not None:
                            on_progress(phase, share)
            return [outcomes[i] for i in range(len(plan.candidates))]
        except ChildDied as e:
            if now is None:
                raise EdgepressError(f"The measuring process ended before it began: {e}.") from e
            file, runner = plan.candidates[now]
            where = f" on {runner}" if runner else ""
            crashed[now] = ModelFileError(f"{file}{where} crashed the process that ran it ({e}).", "Convert it again.")


def measure(plan: Plan, emit: Emit) -> None:
    """The child's part: emit `Opened`, `Failed`, `Answered` and `Timed`, and `At` and `Progress` meanwhile."""
    pairs = _Pairs(emit)
    for index, candidate in enumerate(plan.candidates):
        if model := pairs.attempt(index, _open, candidate, plan):
            pairs.models[index] = model
            emit(Opened(index, model.engine))
    _answer(plan, pairs)
    if plan.rounds and pairs.models:
        _time(plan, pairs)


class _Pairs:
    """The models that are open and have not failed, by the index of their candidate."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.models: dict[int, Model] = {}

    def attempt(self, index: int, work: Callable[..., Any], *arguments: Any) -> Any:
        """Do some work for one pair; if it fails, report that, leave the pair out from then on and return None."""
        self.emit(At(index))
        try:
            return work(*arguments)
        except EdgepressError as e:
            self.emit(Failed(index, e))
        except Exception as e:  # engines raise what they like: one that fails must not stop the others
            self.emit(Failed(index, EngineError(f"{type(e).__name__}: {e}")))
        self.models.pop(index, None)
        return None


def _open(candidate: Candidate, plan: Plan) -> Model:
    model = load(candidate.file, candidate.engine, plan.threads)
    contract = model.contract
    if contract is None:
        raise InputError("The file has no contract, so how to prepare its input is not known.")
    if contract.labels != plan.labels:
        raise InputError(f"Its labels ({_some(contract.labels)}) are not those of the data ({_some(plan.labels)}).")
    if contract.input != plan.input:
        raise InputError(f"It takes {list(contract.input.shape)}; the data were opened as {list(plan.input.shape)}.")
    return model


def _some(labels: tuple[str, ...]) -> str:
    return f"{len(labels)}: {', '.join(labels[:5])}{', ...' if len(labels) > 5 else ''}"


def _answer(plan: Plan, pairs: _Pairs) -> None:
    predicted: dict[int, list[npt.NDArray[np.int64]]] = {index: [] for index in pairs.models}
    spent = dict.fromkeys(pairs.models, 0.0)
    done, total = 0, len(plan.split)

    def answer(index: int, x: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        start = time.perf_counter()
        scores = pairs.models[index].scores(x)
        spent[index] += time.perf_counter() - start
        if not np.isfinite(scores).all():
            raise InputError("It answers NaN or infinite scores.")
        if spent[index] > plan.cap_s:
            took = f"{done + len(x)} of {total} images took {spent[index]:.0f} s"
            raise InputError(f"{took}; the cap is {plan.cap_s:g} s.", "Raise it with --time-cap.")
        contract, threshold = pairs.models[index].contract, pairs.models[index].threshold
        if threshold is not None and contract is not None and contract.task == "sigmoid":  # as `Model.decide` does
            return (scores[:, 1] >= threshold).astype(np.int64)
        classes: npt.NDArray[np.int64] = np.argmax(scores, axis=1)
        return classes

    for x, _ in plan.split.batches(BATCH):
        for index in list(pairs.models):
            part = pairs.attempt(index, answer, index, x)
            if part is not None:
                predicted[index].append(part)
        done += len(x)
        pairs.emit(Progress("accuracy", done / total))
    for index in pairs.models:
        pairs.emit(Answered(index, np.concatenate(predicted[index])))


def _time(plan: Plan, pairs: _Pairs) -> None:
    models = pairs.models
    items = [x[np.newaxis] for x in plan.split.read(np.arange(min(ITEMS, len(plan.split))))]
    taken: dict[int, list[npt.NDArray[np.int64]]] = {index: [] for index in models}
    loads: dict[int, list[float]] = {index: [] for index in models}
    spent = dict.fromkeys(models, 0.0)
    shuffled = random.Random(0)
    gc.collect()
    gc.disable()  # a collection would land in some pair's figures by chance
    for done in range(plan.rounds):
        in_round = [index for index in models if spent[index] < plan.timing_s]
        calls: dict[int, int] = {}
        blocks: dict[int, list[npt.NDArray[np.int64]]] = {index: [] for index in in_round}
        for step in range(1 + PASSES):
            shuffled.shuffle(in_round)
            for index in [i for i in in_round if i in models]:
                start = time.perf_counter()
                if step == 0 and (opened := pairs.attempt(index, _reopen, plan, pairs, index, items)):
                    calls[index], load_ms = opened
                    loads[index].append(load_ms)
                elif step > 0:
                    blocks[index].append(pairs.attempt(index, _block, models[index], items, calls[index]))
                spent[index] += time.perf_counter() - start
        for index in set(in_round) & set(models):
            taken[index].append(np.concatenate(blocks[index]))
        pairs.emit(Progress("latency", (done + 1) / plan.rounds))
    gc.enable()
    for index in models:
        pairs.emit(Timed(index, taken[index], float(np.median(loads[index]))))


def _reopen(plan: Plan, pairs: _Pairs, index: int, items: list[npt.NDArray[Any]]) -> tuple[int, float]:
    """Open a pair's file anew and warm it up; gives the calls that fill a block, and the milliseconds of opening."""
    candidate, start = plan.candidates[index], time.perf_counter()
    model = pairs.models[index] = load(candidate.file, candidate.engine, plan.threads)
    load_ms = 1000 * (time.perf_counter() - start)
    warm = _block(model, items, WARM_CALLS)
    return int(np.clip(BLOCK_NS / warm[-1], 1, MAX_CALLS)), load_ms


def _block(model: Model, items: list[npt.NDArray[Any]], calls: int) -> npt.NDArray[np.int64]:
    """One untimed call and `calls` timed ones, int64 nanoseconds, shape (calls,)."""
    scores, clock = model.scores, time.perf_counter_ns
    times = np.empty(calls, np.int64)
    scores(items[-1])
    for n in range(calls):
        item = items[n % len(items)]
        start = clock()
        scores(item)
        times[n] = clock() - start
    return times
