"""The child processes of a conversion, one per format: their jobs, and the reports and errors if one dies."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.converters.contract.outputs import Looks
from edgepress.converters.conversion.encode import FilesJob
from edgepress.converters.conversion.float_graph import FloatGraph, FloatGraphJob, OpenJob, make_float_graph, open_model
from edgepress.converters.conversion.make import Began, Done, make_files
from edgepress.converters.errors import ConversionError
from edgepress.converters.files import temporary_path
from edgepress.converters.inspection.report import file_size
from edgepress.converters.process.worker import ChildDied, Emit, Worker, merge
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.variant import Variant
from edgepress.runtime.errors import ModelFileError

COPIES = 16
"""Copies of a large model's weights that a process may hold at its peak, not counting TensorFlow itself
(benchmarks/memory/conversion_memory.py measures it)."""
Report = Began | Done


class Processes:
    """The child processes of a conversion, one per format.

    Each is started when it is first needed, opens the model and keeps it open.

    Args:
        path: The model.
        hints: How to open it.
        worker_options: `silence_s` and `memory_bytes` of each `worker.Worker`.
    """

    def __init__(self, path: Path, hints: Hints, **worker_options: Any) -> None:
        self.path = path
        self._hints = hints
        self._worker_options = worker_options
        self._workers: dict[str, Worker] = {}
        self._looks: Looks | None = None
        self._closed = False

    def close(self) -> None:
        """End all processes."""
        self._closed = True
        for worker in list(self._workers.values()):
            worker.close()

    def abandon(self, targets: Iterable[Path]) -> None:
        """End all processes, and delete the incomplete files that they have written."""
        workers = list(self._workers.values())  # before they close: a thread removes its own when it dies
        self.close()
        for worker in workers:
            _remove_partial(targets, worker)

    def float_graph(self, schemes: Sequence[str], job: FloatGraphJob) -> FloatGraph:
        """Make the float graph in the TFLite process.

        If ONNX files are wanted and memory suffices, the ONNX process opens the model at the same time.
        """
        parts: list[Iterator[Any]] = [self._float_graph_reports(job)]
        if self._room_for_two() and any(SCHEMES[name].format == "onnx" for name in schemes):
            parts.append(self._open_onnx_for_later())
        (float_graph,) = merge(parts)
        assert isinstance(float_graph, FloatGraph)
        return float_graph

    def call(self, function: Callable[[Any, Emit], None], job: Any) -> Iterator[Any]:
        """Call another function with a job in the TFLite process, and yield its reports.

        Raises:
            ModelFileError: The process died.
        """
        try:
            yield from self._opened("tflite").call(function, job)
        except ChildDied as e:
            self._workers.pop("tflite").close()
            raise ModelFileError(f"The process that worked on {self.path} died: {_cause_and_log(e)}") from e

    def _float_graph_reports(self, job: FloatGraphJob) -> Iterator[FloatGraph]:
        try:
            yield from self._opened("tflite").call(make_float_graph, job)
        except ChildDied as e:
            self._workers.pop("tflite").close()
            if self._closed:
                raise self.crash_error(e) from e
            if job.model.exists():
                note = f"nothing was repaired: the process that did it died: {_cause_and_log(e)}"
                yield FloatGraph(job.model, methods=job.how.methods, notes=(note,))
            else:
                yield FloatGraph(
                    ConversionError(f"The process that made the float TFLite file died: {_cause_and_log(e)}")
                )

    def _open_onnx_for_later(self) -> Iterator[Any]:
        """Open the model in the ONNX process; an iterator without items, for `merge`.

        If the process dies, it is started again when it is next needed.
        """
        try:
            self._opened("onnx")
        except ChildDied:
            self._workers.pop("onnx").close()
        yield from ()

    def make_all_files(self, job: FilesJob) -> Iterator[Report]:
        """Make the files of all formats, at the same time or, if memory is short, one format after the other."""
        groups: dict[str, list[str]] = {}
        for name in job.targets:
            groups.setdefault(SCHEMES[name].format, []).append(name)
        formats = sorted(groups, key=lambda format: format not in self._workers)  # an open process comes first
        parts = {format: self._format_reports(format, groups[format], job) for format in formats}
        if self._room_for_two():
            yield from merge(list(parts.values()))
            return
        for format, part in parts.items():
            for other in self._workers.keys() - {format}:
                self._workers.pop(other).close()  # this format needs the memory that it holds
            yield from part

    def _format_reports(self, format: str, schemes: Sequence[str], job: FilesJob) -> Iterator[Report]:
        """Make the files of one format, in a new process whenever one dies."""
        remaining = list(schemes)
        current = ""
        while remaining and not self._closed:
            try:
                worker = self._opened(format)
                part = dataclasses.replace(job, targets={name: job.targets[name] for name in remaining})
                for report in worker.call(make_files, part):
                    current = report.scheme if isinstance(report, Began) else ""
                    if isinstance(report, Done):
                        remaining.remove(report.variant.scheme)
                    yield report
            except ChildDied as e:
                worker = self._workers.pop(format)  # also if it died while it opened the model
                worker.close()
                _remove_partial(job.targets.values(), worker)
                if self._closed or (not current and len(remaining) == len(schemes)):
                    raise self.crash_error(e) from e
                # Between two files, or while the model is opened again, no scheme is to blame, and none can continue.
                for name in [current] if current else list(remaining):
                    remaining.remove(name)
                    error = f"The process that made it died: {_cause_and_log(e)}"
                    yield Done(Variant(name, None, None, 0.0, error=error))
                current = ""

    def _room_for_two(self) -> bool:
        """Whether two processes of this model fit into memory at the same time."""
        import psutil

        return bool(2 * COPIES * file_size(self.path) < psutil.virtual_memory().available)

    def _opened(self, format: str) -> Worker:
        """The process of a format, with the model open."""
        if format not in self._workers:
            self.open(format)
        return self._workers[format]

    def open(self, format: str) -> ModelFacts:
        """Start the process of a format and let it open the model.

        Raises:
            ChildDied: The process died.
        """
        worker = self._workers[format] = Worker(**self._worker_options)
        if self._closed:  # meanwhile, by Ctrl-C
            worker.close()
        (facts,) = worker.call(open_model, OpenJob(self.path, self._hints, self._looks))
        assert isinstance(facts, ModelFacts)
        self._looks = facts.looks
        return facts

    def crash_error(self, death: ChildDied) -> ModelFileError:
        """The error that says that a model crashed the process that opened it."""
        return ModelFileError(
            f"{self.path} crashed the process that opened it: {_cause_and_log(death)}",
            "The file is damaged, or its suffix is wrong.",
        )


def _cause_and_log(death: ChildDied) -> str:
    """Why a process died, and the end of its log, for messages."""
    return f"{death}." + (f" Its log ends: {death.log}" if death.log else "")


def _remove_partial(targets: Iterable[Path], worker: Worker) -> None:
    """Delete the temporary files of a killed process, but not those of another conversion."""
    for target in targets:
        with contextlib.suppress(OSError):
            temporary_path(target, worker.pid).unlink()
