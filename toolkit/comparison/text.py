"""Format a comparison: tables for the terminal, Markdown for a pull request, annotations for GitHub Actions.

Names in a result come from untrusted files, so each is shown as one line of printable, escaped text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from edgepress.toolkit.cli.screen import table, width
from edgepress.toolkit.comparison.compare import Comparison, Verdict
from edgepress.toolkit.comparison.gates import FAILED, OPEN, PASSED
from edgepress.toolkit.comparison.match import BOTH, Pair

STYLES = {FAILED: "red", PASSED: "green", OPEN: "yellow"}
MARKS = {FAILED: "❌", PASSED: "✅", OPEN: "❔"}
NARROW = 120
"""Width of the terminal below which the table omits p99 and memory."""
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


def pairs_table(result: Comparison) -> Table:
    """One row per file and engine, with the changes of its figures."""
    few = {"p99_us", "memory_bytes"} if width() < NARROW else set()
    shown = [name for name in COLUMNS if name not in few and any(_cell(p, name) for p in result.pairs)]
    states = any(_state(p) for p in result.pairs)
    rows = [
        [_plain(p.name), *(_unbroken(_cell(p, name)) for name in shown), *([_state(p)] if states else [])]
        for p in result.pairs
    ]
    last = [("In OLD and NEW", "left")] if states else []
    return table("", [("", "left"), *((COLUMNS[n], "right") for n in shown), *last], rows)


def verdicts_table(result: Comparison) -> Table:
    """One row per gate and file, failed ones first."""
    rows: list[list[str | Text]] = [
        [Text(v.outcome, style=STYLES[v.outcome]), v.gate, _plain(v.pair), _plain(_found(v))] for v in _sorted(result)
    ]
    return table("", [("Outcome", "left"), ("Fail if", "left"), ("On", "left"), ("Found", "left")], rows)


def summary(result: Comparison) -> str:
    """The outcome in one sentence."""
    if not result.verdicts:
        return "No limit was given."
    counts = Counter(v.outcome for v in result.verdicts)
    found = ", ".join(f"{counts[outcome]} {outcome}" for outcome in STYLES if counts[outcome])
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
        for v in _sorted(result):
            found = _escaped(_found(v))
            lines.append(f"| {MARKS[v.outcome]} {v.outcome} | {_escaped(v.gate)} | {_escaped(v.pair)} | {found} |")
        lines.append("")
    shown = [name for name in COLUMNS if any(_cell(p, name) for p in result.pairs)]
    lines += [f"| | {' | '.join([*(COLUMNS[n] for n in shown), 'in OLD and NEW'])} |", "|---" * (len(shown) + 2) + "|"]
    for p in result.pairs:
        lines.append(
            "| " + " | ".join([_escaped(p.name), *(_cell(p, name) for name in shown), _escaped(_state(p))]) + " |"
        )
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


def _unbroken(text: str) -> str:
    """A figure with a no-break space before its unit."""
    figure, space, unit = text.rpartition(" ")
    return f"{figure}\N{NO-BREAK SPACE}{unit}" if space else text


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
