"""Judge pairs of measurements by gates: verdicts, and what would prove those that are unproven."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgepress.toolkit.measurement.comparison import match
from edgepress.toolkit.measurement.comparison.figures import Figure
from edgepress.toolkit.measurement.comparison.gates import FAILED, METRICS, OPEN, Gate
from edgepress.toolkit.measurement.comparison.match import MatchedPair
from edgepress.toolkit.measurement.comparison.stream_figures import StreamChange
from edgepress.toolkit.reports.notebooks.printed import Printed
from edgepress.toolkit.reports.notebooks.views import comparison_html
from edgepress.toolkit.results.records import Advice
from edgepress.toolkit.text import short_repr

SCHEMA_VERSION = 1


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
        stream: What two models heard in the same recordings; None of benchmarks.
    """

    old: str
    new: str
    strict: bool
    pairs: tuple[MatchedPair, ...]
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()
    advice: Advice | None = None
    stream: StreamChange | None = None

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
