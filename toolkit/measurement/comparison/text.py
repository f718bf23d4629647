"""A comparison for readers: tables, Markdown, annotations of GitHub Actions, and the JSON Schema of its document.

Names in a result come from untrusted files, so each is shown as one line of printable, escaped text.

The JSON Schema (draft 2020-12) of the document that `compare --json` prints; see `results.schema`.

python -m edgepress.toolkit.measurement.comparison.text > docs/schema/compare.schema.json
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

from edgepress.runtime.text import one_line
from edgepress.toolkit.escaping import annotation, markdown_table
from edgepress.toolkit.escaping import markdown as escaped
from edgepress.toolkit.measurement.comparison.gates import FAILED, OPEN, PASSED
from edgepress.toolkit.measurement.comparison.judging import SCHEMA_VERSION, Comparison, Verdict
from edgepress.toolkit.measurement.comparison.match import BOTH, MatchedPair
from edgepress.toolkit.measurement.comparison.stream_text import HEADS, stream_lines, stream_rows
from edgepress.toolkit.results.schema import schema_of

MARKS = {FAILED: "❌", PASSED: "✅", OPEN: "❔"}
COLORS = {FAILED: "red", PASSED: "green", OPEN: "yellow"}
COLUMNS = {
    "accuracy": "Accuracy drop",
    "macro_f1": "F1 drop",
    "mean_average_precision": "mAP drop",
    "accepted_share": "Accepted",
    "accepted_error": "Wrong of these",
    "p50_us": "Latency (p50)",
    "p99_us": "p99",
    "size_bytes": "Size",
    "memory_bytes": "Memory",
}
"""Figures shown in tables; the others are only in the JSON document."""
REASON = 60
"""Maximum length of a failure's reason in a table."""


def pair_rows(result: Comparison, hidden: Collection[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table of changes: one file on one engine a row, columns without a figure left out.

    Of results about recordings, a row is a figure.
    """
    if result.stream is not None:
        return HEADS, stream_rows(result.stream, result.pairs[0].figures)
    shown = _shown(result, hidden)
    rows = [[one_line(p.name), *(_cell(p, name) for name in shown), _state(p)] for p in result.pairs]
    return ["", *(COLUMNS[name] for name in shown), "In OLD and NEW"], rows


def _shown(result: Comparison, hidden: Collection[str]) -> list[str]:
    """The figures that the table of changes has."""
    known = [name for name in COLUMNS if name not in hidden and any(_cell(p, name) for p in result.pairs)]
    return [name for name in known if name != "macro_f1" or _shows_f1(result)]


def _shows_f1(result: Comparison) -> bool:
    """Whether F1 is a figure to look at: of multi-label data, which alone have an mAP, and where a limit is on it."""
    limited = any(v.gate.lower().startswith("f1") for v in result.verdicts)
    return limited or any(f.name == "mean_average_precision" for p in result.pairs for f in p.figures)


def verdict_rows(result: Comparison) -> list[tuple[str, str, str, str]]:
    """Outcome, gate, pair and finding of each verdict, those that failed first."""
    return [
        (v.outcome, one_line(v.gate), one_line(v.pair), one_line(_describe_verdict(v))) for v in _sort_verdicts(result)
    ]


def summary(result: Comparison) -> str:
    """The outcome in one sentence."""
    if not result.verdicts:
        return "No limit was given."
    counts = Counter(v.outcome for v in result.verdicts)
    outcomes = ", ".join(f"{counts[outcome]} {outcome}" for outcome in MARKS if counts[outcome])
    return f"{outcomes}{' (strict: estimates decide)' if result.strict else ''}."


def methods(result: Comparison, hidden: Collection[str] = ()) -> list[str]:
    """The methods by which changes in the table were computed, each once; why a figure has no change, too."""
    if result.stream is not None:
        return stream_lines(result.stream, result.pairs[0].figures)
    ways: dict[tuple[str, str], None] = {}
    shown = [name for name in COLUMNS if name not in hidden and (name != "macro_f1" or _shows_f1(result))]
    for figure in (f for p in result.pairs for f in p.figures if f.how and f.name in shown):
        allowed = f", {100 * (figure.drift - 1):.0f} % allowed for drift" if figure.drift else ""
        ways[COLUMNS[figure.name], f"{figure.how}{allowed}"] = None
    return [f"{name}: {way}." for name, way in ways if way != "exact"]


def markdown(result: Comparison) -> str:
    """The comparison in Markdown, for a pull request."""
    mark = MARKS[FAILED] if result.failed else MARKS[OPEN] if any(v.outcome == OPEN for v in result.verdicts) else ""
    lines = [f"### {mark or MARKS[PASSED]} edgepress compare: {summary(result)}", ""]
    if result.verdicts:
        verdicts = [[f"{MARKS[v]} {v}", *map(escaped, cells)] for v, *cells in verdict_rows(result)]
        lines += [markdown_table(["", "fail if", "on", "found"], verdicts), ""]
    heads, rows = pair_rows(result)
    lines.append(markdown_table(heads, [[escaped(name), *cells, escaped(state)] for name, *cells, state in rows]))
    notes = [*methods(result), *result.notes]
    lines += ["", *(f"- {escaped(text)}" for text in notes)]
    return "\n".join(lines) + "\n"


def github_annotations(result: Comparison, *, unproven_fails: bool = True) -> Iterator[str]:
    """Workflow commands for GitHub Actions: an error for each gate that fails the run, a warning for other unproven."""
    for v in _sort_verdicts(result):
        if v.outcome != PASSED:
            kind = "error" if unproven_fails or v.outcome == FAILED else "warning"
            yield annotation(kind, f"edgepress {v.gate} {v.outcome}", f"{v.pair}: {_describe_verdict(v)}")


def _sort_verdicts(result: Comparison) -> list[Verdict]:
    return sorted(result.verdicts, key=lambda v: (FAILED, OPEN, PASSED).index(v.outcome))


def _describe_verdict(verdict: Verdict) -> str:
    return f"{verdict.text}. {verdict.fix}" if verdict.fix else verdict.text


def _cell(pair: MatchedPair, name: str) -> str:
    return next((f.show(of_change=True) for f in pair.figures if f.name == name), "")


def _state(pair: MatchedPair) -> str:
    short = one_line(pair.reason, REASON)
    return "" if pair.state == BOTH else f"{pair.state}{f': {short}' if short else ''}"


def compare_schema() -> dict[str, Any]:
    """The schema of the document that `compare --json` prints."""
    schema = schema_of(Comparison, "edgepress compare --json", SCHEMA_VERSION)
    schema["properties"]["failed"] = {"description": "Whether a gate failed.", "type": "boolean"}
    schema["properties"]["unproven"] = {
        "description": "Whether no gate failed, and one is neither proven to be kept nor to be exceeded.",
        "type": "boolean",
    }
    schema["required"] += ["failed", "unproven"]
    return schema


if __name__ == "__main__":
    sys.stdout.write(json.dumps(compare_schema(), indent=2, ensure_ascii=False) + "\n")
