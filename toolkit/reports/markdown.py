"""The report as Markdown, for a README or a pull request: the advice, a table and the notes."""

from __future__ import annotations

from edgepress.toolkit.columns import SHORT, filled_columns, varying
from edgepress.toolkit.escaping import markdown as escaped
from edgepress.toolkit.escaping import markdown_table
from edgepress.toolkit.host.describe import host_title
from edgepress.toolkit.reports import view
from edgepress.toolkit.results.records import Benchmark


def markdown(result: Benchmark) -> str:
    """A benchmark as Markdown."""
    parts = [
        f"**Ship: {escaped(ship_name(result))}**" if result.advice.ship else "**No file to ship.**",
        escaped(result.advice.why),
        f"<sub>{view.QUOTED}</sub>",
        table(result),
        escaped(measured_on(result)),
    ]
    return "\n\n".join([*parts, *warnings(result), *remarks(result), *diagnoses(result)]) + "\n"


def ship_name(result: Benchmark) -> str:
    """The file to ship in words: "tflite-int8 on litert"."""
    names = view.row_names(result.results)
    ship = view.shipped_row(result)
    if ship is None:
        return result.advice.ship or "none"
    return view.about(ship, next(name for r, name in zip(result.results, names, strict=True) if r is ship))


def table(result: Benchmark) -> str:
    """All files as a Markdown table; columns without figures are left out, the shipped file is bold."""
    rows = result.results
    ship = view.shipped_row(result)
    several = len(view.hosts_of(result)) > 1
    columns = [*varying(rows), *filled_columns(SHORT, rows)]
    heads = ["File", "Engine", *(["Host"] if several else []), *(f">{c.title}" for c in columns), "Status"]
    lines = []
    for r, name in zip(rows, view.row_names(rows), strict=True):
        file = f"**{escaped(name)}**" if r is ship else escaped(name)
        place = [file, escaped(r.engine), *([escaped(view.host_of(r, result))] if several else [])]
        lines.append([*place, *(c.text(r) for c in columns), escaped(view.short_status(r))])
    return markdown_table(heads, lines)


def measured_on(result: Benchmark) -> str:
    """The test items and the host."""
    items, difference = ("items", "Error") if result.by_error else ("test items", "Drop")
    text = f"{result.data['count']:,} {items} of {view.file_name(result.data['source'])}, {host_title(result.host)}."
    if result.baseline is not None:
        name = result.baseline["scheme"] or view.file_name(result.baseline["file"])
        text += (
            f" {difference} and speed-up relative to {name} on {result.baseline['engine']}; brackets: 95 % interval."
        )
    return text


def warnings(result: Benchmark) -> list[str]:
    """Notes for the reader as Markdown quotes, and failures as a list."""
    quotes = [f"> {escaped(text)}" for _, text in view.notices(result)]
    failed = [f"- {escaped(name)}: {escaped(text)}" for name, text in view.reasons(result)]
    return [*quotes, *(["\n".join(failed)] if failed else [])]


def remarks(result: Benchmark) -> list[str]:
    """What else than quantization limits the accuracy, as Markdown quotes with the next command."""
    return [
        f"> **Remark:** {escaped(r.text)}" + (f" Fix: <code>{escaped(r.command)}</code>" if r.command else "")
        for r in result.remarks
    ]


def diagnoses(result: Benchmark) -> list[str]:
    """What takes the time of each file that was profiled, as a list; empty if none was."""
    names = zip(result.results, view.row_names(result.results), strict=True)
    lines = [f"- {escaped(view.about(r, name))}: {escaped(r.diagnosis)}" for r, name in names if r.diagnosis]
    return ["What takes the time:", "\n".join(lines)] if lines else []
