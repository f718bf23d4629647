"""Measure files: accuracy on validation items, latency and memory; the best one's accuracy on test items.

If RAM or flash is limited, `edgepress.converters.to_c.footprint` computes those of the exported C.

The latency of a file is measured in turns with the float file, so that a change of the machine's speed affects both.
Test items are read by `final` alone; `train` also writes a figure on them, which nothing here reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.files import write_bytes
from edgepress.converters.numeric.metrics import constant_flags, has_collapsed
from edgepress.converters.to_c.footprint import compute_footprint
from edgepress.runtime.decisions import same_answers
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.documents import default_cache
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.machine.host import choose_cpus, describe_host, host_title
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.measurement.benchmarking.collect import collect_answers
from edgepress.toolkit.measurement.benchmarking.expected import expected_lost
from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.measurement.benchmarking.quiet import Watch
from edgepress.toolkit.measurement.benchmarking.timing import Timing, time_candidates
from edgepress.toolkit.results.figures import pack, unpack
from edgepress.toolkit.search.compression.step_cache import FATAL, Files, StepCache
from edgepress.toolkit.search.compression.trial import Trial, evidence_of
from edgepress.toolkit.shipping.boards.bench import board_bench
from edgepress.toolkit.stats.choice import Evidence, probability_within
from edgepress.toolkit.stats.intervals import paired_drop, paired_ratio
from edgepress.toolkit.stats.metrics import NearLargest, near_largest
from edgepress.toolkit.truth import is_multilabel, label_counts, numbered_sets
from edgepress.toolkit.workers.opening import Candidate, Opening

ROUNDS = 12
"""Rounds of timing."""
TIMING_S = 3.0
"""Longest time that one file is timed, seconds."""
ITEMS = 16
"""Different items that are timed."""
BOARD_ROUNDS = 6
"""Rounds of timing on a board."""
BOARD_SECONDS = 0.5
"""Seconds of a round there."""
TIME_CAP_S = 3600.0
"""Seconds that a file may take to answer the items."""


class Measurer:
    """Measures files; see `StepCache` for how often."""

    def __init__(self, cache: StepCache) -> None:
        self.cache = cache
        self.subject = cache.subject
        self._reference_answers: Answers | None = None

    def measure(self, trial: Trial, reference: Trial | None) -> Trial:
        """A trial with the figures of its file; `reference` is the float file, None for that itself."""
        if trial.file is None:
            return trial
        started = self.cache.seconds
        trial = self.with_latency(self._with_accuracy(trial, reference), reference)
        return replace(trial, seconds=trial.seconds + self.cache.seconds - started)

    def final(self, best: Trial, reference: Trial, limit: float) -> dict[str, Any]:
        """Accuracy of the best file on the test items, and its drop; nothing else uses test items.

        Args:
            best: The file.
            reference: The float file.
            limit: Largest drop that is accepted, percentage points; `probability` is that of keeping it.
        """

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            y = self.subject.opened.test.y
            answers = {t.sha256: self._answers(t, self.subject.opened) for t in (reference, best)}
            right = {sha256: same_answers(answer.predicted, y) for sha256, answer in answers.items()}
            drop = paired_drop(right[reference.sha256], right[best.sha256])
            evidence = evidence_of(right[reference.sha256], right[best.sha256])
            accuracy = {t.sha256: float(np.mean(right[t.sha256])) for t in (reference, best)}
            near = None if is_multilabel(y) else self._near_largest(y, right[reference.sha256])
            return {
                "items": len(y),
                "accuracy": accuracy[best.sha256],
                "float_accuracy": accuracy[reference.sha256],
                "drop_pp": drop.estimate,
                "drop_low_pp": drop.low,
                "drop_high_pp": drop.high,
                "lost": evidence.lost,
                "gained": evidence.gained,
                "weak_source": None if near is None else near.in_words(len(y), self.subject.opened.labels),
                "expected_lost": expected_lost(answers[reference.sha256], answers[best.sha256], y),
            }, {}

        files = {"file": best.sha256, "reference": reference.sha256, "figures": "drop, lost, gained, expected, weak"}
        final = dict(self.cache.step("final", "measuring the best file on test items", files, work, here=True).result)
        expected = final.pop("expected_lost")
        evidence = Evidence(final["items"], final["lost"], final["gained"], expected_lost=expected)
        return final | {"probability": probability_within(evidence, limit / 100)}

    @cached_property
    def place(self) -> str:
        """Where latency is measured, in words."""
        return self.subject.options.board or f"this machine, {host_title(describe_host())}"

    def _near_largest(self, y: npt.NDArray[np.int64], right: npt.NDArray[np.bool_]) -> NearLargest | None:
        count = len(self.subject.opened.labels)
        return near_largest(label_counts(y, count), label_counts(y[right], count))

    def _answers(self, trial: Trial, data: DataSet) -> Answers:
        assert trial.file is not None
        candidate = Candidate(trial.file, self.subject.engine)
        (answers,) = collect_answers([candidate], data, cap_s=TIME_CAP_S, cache=default_cache())
        if isinstance(answers, EdgepressError):
            raise answers
        return answers

    def _with_accuracy(self, trial: Trial, reference: Trial | None) -> Trial:
        """The trial with its accuracy on validation items; with the reason if the file does not run."""
        data = self.subject.validation

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            y = data.test.y
            answers = self._answers(trial, data)
            if reference is None:
                self._reference_answers = answers
                return {"correct": pack(same_answers(answers.predicted, y)), "expected_lost": None}, {}
            if self._reference_answers is None:  # a run that goes on
                self._reference_answers = self._answers(reference, data)
            expected = expected_lost(self._reference_answers, answers, y)
            return {"correct": pack(same_answers(answers.predicted, y)), "expected_lost": expected}, {}

        words = f"accuracy of {trial.how} on {len(data.test)} validation items"
        arguments = {"file": trial.sha256, "reference": "" if reference is None else reference.sha256}
        try:
            result = self.cache.step("accuracy", words, arguments, work, here=True).result
        except FATAL:
            raise
        except EdgepressError as e:
            return replace(trial, error=f"{e.message} {e.hint}".strip())
        correct = result["correct"]
        right = unpack(correct, len(data.test))
        expected = result["expected_lost"]
        trial = replace(trial, correct=correct, accuracy=float(np.mean(right)), expected_lost=expected)
        if reference is None:
            return trial
        before = unpack(reference.correct, len(data.test))
        return replace(trial, collapsed=has_collapsed(before, right, constant_flags(numbered_sets(data.test.y))))

    def with_latency(self, trial: Trial, reference: Trial | None) -> Trial:
        """The trial with its latency and memory, and with RAM and flash if these are limited.

        Latency is that of the float file times the ratio of both files in the same rounds. A file that can't be
        exported gets the reason, and is not timed.
        """
        if reference is not None and self.subject.target == "integer-only":
            trial = self._with_footprint(trial)
        if trial.error:
            return trial
        assert trial.file is not None
        files = [trial.file] if reference is None else [trial.file, *filter(None, [reference.file])]

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            host = self.subject.options.board
            rounds = self._time_on_board(host, files, folder) if host else None
            here = self._time_here(files) if rounds is None or self.subject.memory else None
            return {"made": (here or {}) | ({"rounds": rounds} if rounds is not None else {})}, {}

        arguments = {
            "files": [trial.sha256, *([reference.sha256] if reference else [])],
            "memory": self.subject.memory,
        }
        try:
            entry = self.cache.step("latency", f"latency of {trial.how} on {self.place}", arguments, work, here=True)
        except FATAL:
            raise
        except EdgepressError as e:  # this file's alone, also on a board: the next one may run
            return replace(trial, error=f"{e.message} {e.hint}".strip())
        own, *other = entry.made["rounds"]
        if entry.made.get("noisy"):
            self.cache.notes.setdefault(
                "other processes kept the CPUs busy during some timings, which are less certain"
            )
        if reference is None:
            # A file against its own median: the interval is that of the median over rounds.
            median = float(np.median(own))
            ratio = paired_ratio(np.full(len(own), np.median(own)), own)
        else:
            median = reference.latency_us or 0.0
            ratio = paired_ratio(other[0], own)
        ends = [median / end for end in (ratio.high, ratio.low) if end]
        low, high = ends if len(ends) == 2 else (None, None)
        return replace(
            trial,
            latency_us=median / ratio.estimate,
            latency_low_us=low,
            latency_high_us=high,
            memory_bytes=entry.made.get("memory"),
        )

    def _with_footprint(self, trial: Trial) -> Trial:
        """The trial with RAM and flash of its exported C."""
        if trial.error or trial.file is None:
            return trial
        file = trial.file

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            takes = compute_footprint(file)
            return {"ram": takes.ram, "flash": takes.flash}, {}

        words = f"RAM and flash of {trial.how} as C"
        try:
            takes = self.cache.step("footprint", words, {"file": trial.sha256}, work).result
        except FATAL:
            raise
        except EdgepressError as e:
            return replace(trial, error=f"It can't be exported as C: {e.message} {e.hint}".strip())
        return replace(trial, ram_bytes=takes["ram"], flash_bytes=takes["flash"])

    def _time_here(self, files: Sequence[Path]) -> dict[str, Any]:
        """Median latency of each file in each round on this machine, microseconds, and memory of the first."""
        data = self.subject.validation
        cpus = choose_cpus(1)
        openings = [Opening(Candidate(f, self.subject.engine), data.labels, data.input, cpus) for f in files]
        watch = Watch(cpus)
        rounds = 1 if self.subject.options.board else ROUNDS
        options = BenchmarkOptions(rounds=rounds, timing_s=TIMING_S)
        items = data.test.read(np.arange(min(ITEMS, len(data.test))))
        timings = time_candidates(openings, items, watch, options)
        for timing in timings:
            if isinstance(timing, EdgepressError):
                raise timing
        timed = [t for t in timings if isinstance(t, Timing)]
        common = min(len(t.taken) for t in timed)  # a slow file ends before the others: its rounds are the first ones
        medians = [(t.medians[:common] / 1000).tolist() for t in timed]
        noisy = watch.noise(medians[-1]).noisy
        return {"rounds": medians, "memory": timed[0].memory_bytes, "noisy": noisy}

    def _time_on_board(self, host: str, files: Sequence[Path], folder: Path) -> list[list[float]]:
        """Median latency of each file in each round on the board, microseconds."""
        options = self.subject.options
        copies = [folder / f"{i}-{file.name}" for i, file in enumerate(files)]  # names of bundles must differ
        for copy, file in zip(copies, files, strict=True):
            write_bytes(copy, file.read_bytes())
        result = board_bench(
            [host],
            copies,
            rounds=BOARD_ROUNDS,
            seconds=BOARD_SECONDS,
            out=folder,
            resume=True,
            python=options.python,
            ssh_config=options.ssh_config,
            on_step=self.cache.on_step,
        )
        if result.failed or result.benchmark is None:
            raise result.failed[host]
        rows = {row.file: row for row in result.benchmark.results}
        for copy in copies:
            if rows[str(copy)].failed:
                raise EdgepressError(f"{copy.name} on {host} {rows[str(copy)].status}")
        return [[*rows[str(copy)].round_medians_us] for copy in copies]
