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
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.data.objects import Data, source_of
from edgepress.toolkit.data.reading import ReadingArguments
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.benchmarking.advice import advice_of
from edgepress.toolkit.measurement.comparison import match
from edgepress.toolkit.measurement.comparison.figures import Figure
from edgepress.toolkit.measurement.comparison.gates import FAILED, METRICS, OPEN, Gate, parse_gate
from edgepress.toolkit.measurement.comparison.match import MatchedPair, match_models, match_results
from edgepress.toolkit.reports.notebooks.printed import Printed
from edgepress.toolkit.reports.notebooks.views import comparison_html
from edgepress.toolkit.results.file import load_benchmark
from edgepress.toolkit.results.records import Advice, Benchmark
from edgepress.toolkit.stats.choice import CONFIDENCE, Rule
from edgepress.toolkit.text import short_repr

SCHEMA_VERSION = 1
MODEL_SUFFIXES = (".tflite", ".onnx")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of one gate for one pair.

    Attributes:
        gate: The gate as the user wrote it; "all" for a pair without figures, because it vanished or failed.
        pair: The pair's name.
        outcome: "passed", "failed" or "unproven".
        estimate, low, high: The figure compared with the limit, and its 95 % interval: a ratio NEW / OLD, percentage
            points, or NEW's own figure; null if unknown.
        text: The finding in words.
        fix: How to prove an outcome that is unproven, such as the number of items that would decide.
    """

    gate: str
    pair: str
    outcome: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    text: str = ""
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Comparison(Printed):
    """The result of a comparison.

    Attributes:
        old, new: The paths, as the user gave them.
        strict: Whether estimates decided instead of intervals.
        pairs: One per file and engine, in NEW's order; then those that vanished.
        verdicts: One per gate and pair that it applies to.
        notes: Warnings for the reader.
        advice: Which of NEW's files to ship, or which of two model files, by the rule of `benchmark`; None if the
            result is of an edgepress that did not say how sure its files are.
    """

    old: str
    new: str
    strict: bool
    pairs: tuple[MatchedPair, ...]
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()
    advice: Advice | None = None

    @property
    def failed(self) -> bool:
        """Whether a gate failed."""
        return any(v.outcome == FAILED for v in self.verdicts)

    @property
    def unproven(self) -> bool:
        """Whether no gate failed, and one is neither proven to be kept nor to be exceeded."""
        return not self.failed and any(v.outcome == OPEN for v in self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """The document that `compare --json` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "failed": self.failed,
            "unproven": self.unproven,
        } | dataclasses.asdict(self)

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        return comparison_html(self.to_dict())


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
    """Compare two results of `edgepress benchmark`, or measure two model files side by side.

    Args:
        old: A `benchmark.json`, a folder that contains one, or a `.tflite` or `.onnx` file.
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
        runs = load_benchmark(old), load_benchmark(new)
        comparison = compare_results(*runs, gates, strict=strict, schemes=scheme, engines=engine, names=names)
        return dataclasses.replace(comparison, advice=advice_of(runs[1], rule))
    from edgepress.toolkit.measurement.benchmarking.benchmark import BenchmarkOptions, benchmark

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


def judge(
    pairs: Sequence[MatchedPair],
    gates: Sequence[Gate] = (),
    *,
    strict: bool = False,
    names: tuple[str, str] = ("OLD", "NEW"),
    notes: Sequence[str] = (),
    same_run: bool = False,
) -> Comparison:
    """Check pairs against limits.

    Args:
        pairs: The matched files.
        gates: The limits.
        strict: Decide by estimates instead of intervals; unknown figures fail.
        names: Names of OLD and NEW.
        notes: Warnings for the reader.
        same_run: Whether both files of each pair were measured in the same rounds.
    """
    verdicts = [verdict for pair in pairs for verdict in _judge(pair, gates, strict, same_run)]
    return Comparison(
        old=names[0], new=names[1], strict=strict, pairs=tuple(pairs), verdicts=tuple(verdicts), notes=tuple(notes)
    )


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


def _judge(pair: MatchedPair, gates: Sequence[Gate], strict: bool, same_run: bool) -> Iterator[Verdict]:
    """Apply the gates to one pair; a single verdict for all of them if the pair has no figures."""
    missing = {
        match.VANISHED: (OPEN, f"it failed in OLD and is not in NEW: {pair.reason}")
        if pair.reason and not strict
        else (FAILED, "it is not in NEW"),
        match.NOW_FAILS: (FAILED, f"it fails in NEW: {pair.reason}"),
        match.FAILS_IN_BOTH: (FAILED if strict else OPEN, f"it fails in both: {pair.reason}"),
    }
    if pair.state in missing:
        if gates:
            outcome, text = missing[pair.state]
            yield Verdict(gate="all", pair=pair.name, outcome=outcome, text=text)
        return
    for gate in gates:
        if not (pair.state == match.APPEARED and gate.of_change):
            yield _hold(gate, pair, strict, same_run)


def _hold(gate: Gate, pair: MatchedPair, strict: bool, same_run: bool) -> Verdict:
    """Apply one gate to a pair's figure."""
    figure = next((f for f in pair.figures if f.name == METRICS[gate.metric].figure), None)
    change = None if figure is None else figure.change if gate.of_change else figure.own
    outcome = gate.outcome(change, strict=strict)
    if figure is None or change is None:
        failed = pair.state == match.FAILED_BEFORE and gate.of_change
        reason = "it failed in OLD" if failed else "it was not measured in both"
        reason = (figure.how if figure else "") or reason
        return Verdict(gate=gate.text, pair=pair.name, outcome=outcome, text=f"{gate.metric} is not known: {reason}")
    return Verdict(
        gate=gate.text,
        pair=pair.name,
        outcome=outcome,
        estimate=change.estimate,
        low=change.low,
        high=change.high,
        text=f"{gate.metric} {figure.show(of_change=gate.of_change)}",
        fix=_fix(gate, figure, same_run) if outcome == OPEN else "",
    )


def _fix(gate: Gate, figure: Figure, same_run: bool) -> str:
    """How to prove an outcome that is unproven."""
    change = figure.change if gate.of_change else figure.own
    assert change is not None
    if gate.of_change and figure.name.endswith("_us") and not same_run:
        return "Compare the two model files themselves, to measure them side by side."
    factor = gate.factor(change)
    if factor is None or figure.count is None:
        return ""
    needed = math.ceil(factor * figure.count * 1.1 / 10) * 10
    return f"About {needed:,} {figure.counted} (there are {figure.count:,}) would settle it at the same estimate."
