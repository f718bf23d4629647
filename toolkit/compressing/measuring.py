"""Measure files: accuracy on validation items, latency and memory; the best one's accuracy on test items.

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

from edgepress.converters.files import write_bytes
from edgepress.toolkit.benchmarking.collect import Answers, collect_answers
from edgepress.toolkit.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.benchmarking.quiet import Watch
from edgepress.toolkit.benchmarking.timing import Timing, time_candidates
from edgepress.toolkit.boards.bench import board_bench
from edgepress.toolkit.caches import default_cache
from edgepress.toolkit.compressing.steps import FATAL, Files, Steps
from edgepress.toolkit.compressing.trial import Trial, packed, unpacked
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.host.cpus import choose_cpus
from edgepress.toolkit.host.describe import describe_host, host_title
from edgepress.toolkit.stats.intervals import paired_drop, paired_ratio
from edgepress.toolkit.workers.opening import Candidate, Opening

ROUNDS, TIMING_S, ITEMS = 12, 3.0, 16
"""Rounds of timing, the seconds that one file is timed at most, and the number of different items."""
BOARD_ROUNDS, BOARD_SECONDS = 6, 0.5
TIME_CAP_S = 3600.0


class Measuring(Steps):
    """The steps that measure files."""

    def reference(self, trial: Trial) -> Trial:
        """The float file with its figures, which those of all others refer to."""
        return self.timed(self.answered(trial), None)

    def measure(self, trials: Sequence[Trial], reference: Trial) -> list[Trial]:
        """Trials with the figures of their files."""
        found = []
        for trial in trials:
            if trial.file is not None:
                started = self.seconds
                trial = self.timed(self.answered(trial), reference)
                trial = replace(trial, seconds=trial.seconds + self.seconds - started)
            found.append(trial)
        return found

    def final(self, best: Trial, reference: Trial) -> dict[str, Any]:
        """Accuracy of the best file on the test items, and its drop with the 95 % interval: the only use of these."""

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            y = self.order.opened.test.y
            right = {t.sha256: self._answers(t, self.order.opened).predicted == y for t in (reference, best)}
            drop = paired_drop(right[reference.sha256], right[best.sha256])
            accuracy = {t.sha256: float(np.mean(right[t.sha256])) for t in (reference, best)}
            return {
                "items": len(y),
                "accuracy": accuracy[best.sha256],
                "float_accuracy": accuracy[reference.sha256],
                "drop_pp": drop.estimate,
                "drop_low_pp": drop.low,
                "drop_high_pp": drop.high,
            }, {}

        files = {"file": best.sha256, "reference": reference.sha256}
        return dict(self.step("final", "measuring the best file on test items", files, work, here=True).result)

    @cached_property
    def place(self) -> str:
        """Where latency is measured, in words."""
        return self.order.board or f"this machine, {host_title(describe_host())}"

    def _answers(self, trial: Trial, data: DataSet) -> Answers:
        assert trial.file is not None
        candidate = Candidate(trial.file, self.order.engine)
        (found,) = collect_answers([candidate], data, cap_s=TIME_CAP_S, cache=default_cache())
        if isinstance(found, EdgepressError):
            raise found
        return found

    def answered(self, trial: Trial) -> Trial:
        """With accuracy on validation items; a file that does not run gets the reason."""
        data = self.order.validation

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            return {"correct": packed(self._answers(trial, data).predicted == data.test.y)}, {}

        words = f"accuracy of {trial.how} on {len(data.test)} validation items"
        try:
            found = self.step("accuracy", words, {"file": trial.sha256}, work, here=True).result
        except FATAL:
            raise
        except EdgepressError as e:
            return replace(trial, error=f"{e.message} {e.hint}".strip())
        accuracy = float(np.mean(unpacked(found["correct"], len(data.test))))
        return replace(trial, correct=found["correct"], accuracy=accuracy)

    def timed(self, trial: Trial, reference: Trial | None) -> Trial:
        """With latency: that of the float file times the ratio of both in the same rounds; and with memory."""
        if trial.error:
            return trial
        assert trial.file is not None
        files = [trial.file] if reference is None else [trial.file, *filter(None, [reference.file])]

        def work(folder: Path) -> tuple[dict[str, Any], Files]:
            rounds = self._on_board(files, folder) if self.order.board else None
            here = self._here(files) if rounds is None or self.order.memory else None
            return {"made": (here or {}) | ({"rounds": rounds} if rounds is not None else {})}, {}

        arguments = {"files": [trial.sha256, *([reference.sha256] if reference else [])], "memory": self.order.memory}
        try:
            entry = self.step("latency", f"latency of {trial.how} on {self.place}", arguments, work, here=True)
        except FATAL:
            raise
        except EdgepressError as e:  # this file's alone, also on a board: the next one may run
            return replace(trial, error=f"{e.message} {e.hint}".strip())
        own, *other = entry.made["rounds"]
        if entry.made.get("noisy"):
            self.notes.setdefault("other processes kept the CPUs busy during some timings, which are less certain")
        if reference is None:
            # A file against its own median: the interval is that of the median over rounds.
            middle, ratio = float(np.median(own)), paired_ratio(np.full(len(own), np.median(own)), own)
        else:
            middle, ratio = reference.latency_us or 0.0, paired_ratio(other[0], own)
        ends = [middle / end for end in (ratio.high, ratio.low) if end]
        low, high = ends if len(ends) == 2 else (None, None)
        return replace(
            trial,
            latency_us=middle / ratio.estimate,
            latency_low_us=low,
            latency_high_us=high,
            memory_bytes=entry.made.get("memory"),
        )

    def _here(self, files: Sequence[Path]) -> dict[str, Any]:
        """Median latency of each file in each round on this machine, microseconds, and memory of the first."""
        data, cpus = self.order.validation, choose_cpus(1)
        openings = [Opening(Candidate(f, self.order.engine), data.labels, data.input, cpus) for f in files]
        watch = Watch(cpus)
        rounds = 1 if self.order.board else ROUNDS
        options = BenchmarkOptions(rounds=rounds, timing_s=TIMING_S)
        items = data.test.read(np.arange(min(ITEMS, len(data.test))))
        timings = time_candidates(openings, items, watch, options)
        for timing in timings:
            if isinstance(timing, EdgepressError):
                raise timing
        taken = [t for t in timings if isinstance(t, Timing)]
        medians = [(t.medians / 1000).tolist() for t in taken]
        noisy = watch.noise(medians[-1]).noisy
        return {"rounds": medians, "memory": taken[0].memory_bytes, "noisy": noisy}

    def _on_board(self, files: Sequence[Path], folder: Path) -> list[list[float]]:
        """Median latency of each file in each round on the board, microseconds."""
        order, host = self.order, self.order.board
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
            python=order.python,
            ssh_config=order.ssh_config,
            on_step=self._on_step,
        )
        if result.failed or result.benchmark is None:
            raise result.failed[host]
        rows = {row.file: row for row in result.benchmark.results}
        for copy in copies:
            if rows[str(copy)].failed:
                raise EdgepressError(f"{copy.name} on {host} {rows[str(copy)].status}")
        return [[*rows[str(copy)].round_medians_us] for copy in copies]
