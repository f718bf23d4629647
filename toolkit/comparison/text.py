"""Format a comparison: tables for the terminal, Markdown for a pull request, annotations for GitHub Actions.

Names in a result come from untrusted files, so each is shown as one line of printable, escaped text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from edgepress.toolkit.comparison.compare import Comparison, Verdict
from edgepress.toolkit.comparison.gates import FAILED, OPEN, PASSED
from edgepress.toolkit.comparison.match import BOTH, Pair

MARKS = {FAILED: "❌", PASSED: "✅", OPEN: "❔"}
COLORS = {FAILED: "red", PASSED: "green", OPEN: "yellow"}
COLUMNS = {
    "accuracy": "Accuracy drop",
    "p50_us": "Latency (p50)",
    "p99_us": "p99",
    "size_bytes": "Size",
    "memory_bytes": "Memory",
}
"""Figures shown in tables; the others are only in the JSON document."""
REASON = 60
"""Maximum length of a failure's reason in a table."""


def pair_rows(result: Comparison, hidden: Collection[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table of changes: one file on one engine a row, columns without a figure left out."""
    shown = [name for name in COLUMNS if name not in hidden and any(_cell(p, name) for p in result.pairs)]
    rows = [[_plain(p.name), *(_cell(p, name) for name in shown), _state(p)] for p in result.pairs]
    return ["", *(COLUMNS[name] for name in shown), "In OLD and NEW"], rows


def verdict_rows(result: Comparison) -> list[tuple[str, str, str, str]]:
    """Outcome, gate, pair and finding of each verdict, those that failed first."""
    return [(v.outcome, _plain(v.gate), _plain(v.pair), _plain(_found(v))) for v in _sorted(result)]


def summary(result: Comparison) -> str:
    """The outcome in one sentence."""
    if not result.verdicts:
        return "No limit was given."
    counts = Counter(v.outcome for v in result.verdicts)
    found = ", ".join(f"{counts[outcome]} {outcome}" for outcome in MARKS if counts[outcome])
    return f"{found}{' (strict: estimates decide)' if result.strict else ''}."


def methods(result: Comparison) -> list[str]:
    """The methods by which changes were computed, each once."""
    ways: dict[tuple[str, str], None] = {}
    for figure in (f for p in result.pairs for f in p.figures if f.how and f.name in COLUMNS):
        allowed = f", {100 * (figure.drift - 1):.0f} % allowed for drift" if figure.drift else ""
        ways[COLUMNS[figure.name], f"{figure.how}{allowed}"] = None
    return [f"{name}: {way}." for name, way in ways if way != "exact"]


def markdown(result: Comparison) -> str:
    """The comparison in Markdown, for a pull request."""
    mark = MARKS[FAILED] if result.failed else MARKS[OPEN] if any(v.outcome == OPEN for v in result.verdicts) else ""
    lines = [f"### {mark or MARKS[PASSED]} edgepress compare: {summary(result)}", ""]
    if result.verdicts:
        lines += ["| | fail if | on | found |", "|---|---|---|---|"]
        for outcome, *cells in verdict_rows(result):
            lines.append(f"| {' | '.join([f'{MARKS[outcome]} {outcome}', *map(_escaped, cells)])} |")
        lines.append("")
    heads, rows = pair_rows(result)
    lines += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [f"| {' | '.join([_escaped(name), *cells, _escaped(state)])} |" for name, *cells, state in rows]
    notes = [*methods(result), *result.notes]
    lines += ["", *(f"- {_escaped(text)}" for text in notes)]
    return "\n".join(lines) + "\n"


def github_annotations(result: Comparison) -> Iterator[str]:
    """Workflow commands for GitHub Actions: an error per failed gate, a warning per gate that is not established.

    Format: docs.github.com, "Workflow commands for GitHub Actions".
    """
    for v in _sorted(result):
        if v.outcome != PASSED:
            text = f"{v.pair}: {_found(v)}"
            for plain, code in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A")):
                text = text.replace(plain, code)
            title = "".join(c for c in v.gate if c not in "%\r\n:,")
            yield f"::{'error' if v.outcome == FAILED else 'warning'} title=edgepress {title} {v.outcome}::{text}"


def _sorted(result: Comparison) -> list[Verdict]:
    return sorted(result.verdicts, key=lambda v: (FAILED, OPEN, PASSED).index(v.outcome))


def _found(verdict: Verdict) -> str:
    return f"{verdict.text}. {verdict.remedy}" if verdict.remedy else verdict.text


def _cell(pair: Pair, name: str) -> str:
    return next((f.show(of_change=True) for f in pair.figures if f.name == name), "")


def _state(pair: Pair) -> str:
    reason = _plain(pair.reason)
    short = reason if len(reason) <= REASON else f"{reason[: REASON - 3]}..."
    return "" if pair.state == BOTH else f"{pair.state}{f': {short}' if short else ''}"


def _plain(text: str) -> str:
    """Reduce to one line of printable characters."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def _escaped(text: str) -> str:
    """Escape Markdown, HTML and mentions."""
    return _plain(text).translate(_MARKDOWN)


_MARKDOWN = {ord(c): f"\\{c}" for c in "\\`*_[]|~#"} | {ord("&"): "&amp;", ord("<"): "&lt;", ord("@"): "@&#8203;"}
