"""Compare two results or two model files: accuracy, latency, size and memory, each with a 95 % confidence interval.

    edgepress compare main/benchmark.json runs/new/variants --fail-if 'drop>0.5' --fail-if 'latency>1.1x'
    edgepress compare old.tflite new.tflite --fail-if 'latency>1.1x'

Two results come from two runs, in which a machine may be faster or slower. Latencies are therefore compared relative to
the baseline file if both runs contain the same one, so that common drift cancels. Otherwise, or if another engine ran
the baseline, the interval is widened to allow for drift (`how` says so). Two model files are measured in the same
rounds, which needs no allowance.

Accuracies over the same test items are compared item by item, others as two independent proportions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Unpack

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.data.objects import Data, source_of
from edgepress.toolkit.data.reading import ReadingArguments
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.benchmarking.advice import advice_of
from edgepress.toolkit.measurement.comparison.gates import Gate, parse_gate, require_metrics
from edgepress.toolkit.measurement.comparison.judging import Comparison, judge
from edgepress.toolkit.measurement.comparison.match import match_models, match_results
from edgepress.toolkit.measurement.comparison.streams import compare_streams
from edgepress.toolkit.results.file import load_benchmark
from edgepress.toolkit.results.records import Benchmark
from edgepress.toolkit.results.streams import is_stream_result, load_stream
from edgepress.toolkit.stats.choice import CONFIDENCE, Rule

MODEL_SUFFIXES = (".tflite", ".onnx")


def compare(
    old: str | Path,
    new: str | Path,
    *,
    fail_if: Iterable[str] = (),
    strict: bool = False,
    scheme: str = "all",
    engine: str = "all",
    data: Data | None = None,
    threads: int = 1,
    rounds: int = 20,
    confidence: str | float = CONFIDENCE,
    prefer: str = "balanced",
    hints: Hints | None = None,
    on_progress: Callable[[str, float], None] | None = None,
    **reading: Unpack[ReadingArguments],
) -> Comparison:
    """Compare two results of `edgepress benchmark` or `evaluate --stream`, or measure two model files side by side.

    Args:
        old: A `benchmark.json`, a folder that contains one, a document of `evaluate --stream --json`, or a `.tflite` or
            `.onnx` file.
        new: The same kind of file.
        fail_if: Limits; see `edgepress.toolkit.measurement.comparison.gates`.
        strict: Decide by estimates instead of intervals; unknown figures fail.
        scheme: Results only: "all", or names separated by commas.
        engine: "all", or names separated by commas; model files are measured on these.
        data: Model files only, as are the options below: the data; None opens those named in the files' contract.
        threads: Number of threads of an engine.
        rounds: Rounds of timing.
        confidence: The probability of a drop within the limit from which a file may be recommended, such as 0.9 or
            "90%"; of results, also: whatever they were made with.
        prefer: What is recommended of those: "balanced", the least product of size and latency, "size" or "latency".
        hints: What you know of files that edgepress did not make, the same of both.
        on_progress: Called with the current phase and the completed share of it, 0-1.

    Raises:
        EdgepressError: A file can't be read or measured, a limit is invalid, or nothing is left to compare.

    Example:
        >>> from edgepress.toolkit import compare
        >>> files = "edgepress-demo/variants/model-float32.tflite", "edgepress-demo/variants/model-int8.tflite"
        >>> compare(*files, fail_if=["drop>5"], rounds=6).failed
        False
    """
    data = source_of(data)
    gates = [parse_gate(text) for text in fail_if]
    rule = Rule.of(confidence, prefer)
    old = Path(old)
    new = Path(new)
    names = str(old), str(new)
    if not _are_models(old, new):
        if hints is not None and hints.describes:
            raise InputError("Options that describe models made elsewhere do not apply to results.", "Leave them out.")
        if _are_of_streams(old, new):
            if (scheme, engine) != ("all", "all"):
                raise InputError("--scheme and --engine select rows of benchmarks.", "Leave them out.")
            return compare_streams(load_stream(old), load_stream(new), gates, strict=strict, names=names)
        require_metrics(gates, of_streams=False)
        runs = load_benchmark(old), load_benchmark(new)
        comparison = compare_results(*runs, gates, strict=strict, schemes=scheme, engines=engine, names=names)
        return dataclasses.replace(comparison, advice=advice_of(runs[1], rule))
    from edgepress.toolkit.measurement.benchmarking.benchmark import BenchmarkOptions, benchmark

    require_metrics(gates, of_streams=False)
    options = call_with(BenchmarkOptions, locals() | reading, baseline=str(old))
    run = benchmark([old, new], data=data, hints=hints, options=options, on_progress=on_progress)
    pairs = match_models(run, old, new)
    notes = (*run.notes, *_errors(run, old, new))
    judged = judge(pairs, gates, strict=strict, names=names, notes=notes, same_run=True)
    return dataclasses.replace(judged, advice=run.advice)


def _errors(run: Benchmark, old: Path, new: Path) -> list[str]:
    """Of files without labels, which have no accuracy: how far the outputs of the new one are from the old one's."""
    notes = []
    for row in run.results:
        if Path(row.file) == new and row.max_error is not None:
            noise = f"SQNR {row.sqnr_db:.1f} dB, " if row.sqnr_db is not None else ""
            errors = f"{noise}largest error {row.max_error:.3g}, mean error {row.mean_error:.3g}"
            notes.append(
                f"{new.name} on {row.engine} has no labels; its outputs against those of {old.name}: {errors}."
            )
    return notes


def _are_models(old: Path, new: Path) -> bool:
    """Whether both paths are model files instead of results; an error if only one is, or both are the same file."""
    models = [path.suffix in MODEL_SUFFIXES and not path.is_dir() for path in (old, new)]
    if models[0] != models[1]:
        hint = "Give two model files, which are then measured, or two results of edgepress benchmark."
        raise InputError(f"{old} and {new} can't be compared: one is a model file, the other a result.", hint)
    if models[0] and old.exists() and new.exists() and old.samefile(new):
        raise InputError(f"{old} and {new} are the same file.", "Give two files.")
    return models[0]


def _are_of_streams(old: Path, new: Path) -> bool:
    """Whether both results are about recordings; an error if only one is."""
    streams = [is_stream_result(path) for path in (old, new)]
    if streams[0] != streams[1]:
        load_benchmark(old if streams[1] else new)  # what is no result at all is an error of its own
        what = "one is a result about recordings, the other of a benchmark"
        hint = "Give two results of edgepress evaluate --stream --json, or two of edgepress benchmark."
        raise InputError(f"{old} and {new} can't be compared: {what}.", hint)
    return streams[0]


def compare_results(
    old: Benchmark,
    new: Benchmark,
    gates: Sequence[Gate] = (),
    *,
    strict: bool = False,
    schemes: str = "all",
    engines: str = "all",
    names: tuple[str, str] = ("OLD", "NEW"),
) -> Comparison:
    """Compare two results; see `compare`.

    Raises:
        InputError: Neither result contains a requested scheme or engine.
    """
    pairs = list(match_results(old, new, schemes, engines))
    return judge(pairs, gates, strict=strict, names=names, notes=_notes(old, new))


def _notes(old: Benchmark, new: Benchmark) -> list[str]:
    """Warnings: different data, noisy hosts, other ways of timing, changed engine versions."""
    notes = []
    if old.data["sha256"] != new.data["sha256"]:
        counts = [f"{run.data['count']} items of {run.data['source']}" for run in (old, new)]
        notes.append(f"Accuracy was measured on different data: {counts[0]}, then {counts[1]}.")
    for what, run in (("OLD", old), ("NEW", new)):
        if run.noise is not None and run.noise.noisy:
            notes.append(f"{what} was measured on a host under load: {'; '.join(run.noise.reasons)}")
    ways = [run.noise.turns for run in (old, new) if run.noise is not None]
    if len(set(ways)) == 2:
        notes.append(f"Timing turns started by {ways[0]} in OLD, by {ways[1]} in NEW: that alone changes latencies.")
    before, after = (run.host.get("engines") or {} for run in (old, new))
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        changed = [f"{e} {before[e]} -> {after[e]}" for e in before if e in after and before[e] != after[e]]
        notes += [f"Engines changed: {', '.join(changed)}."] if changed else []
    return notes
