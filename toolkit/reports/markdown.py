"""The report as Markdown, for a README or a pull request: the advice, a table and the notes."""

from __future__ import annotations

import re
from collections.abc import Callable

from edgepress.toolkit.host.describe import host_title
from edgepress.toolkit.reports import view
from edgepress.toolkit.results.records import Benchmark, Measurement

_COLUMNS: tuple[tuple[str, Callable[[Measurement], str]], ...] = (
    ("size", lambda r: view.size(r.size_bytes)),
    ("accuracy", lambda r: view.percent(r.accuracy)),
    ("drop, pp", view.drop),
    ("SQNR", view.sqnr),
    ("max. error", lambda r: view.number(r.max_error)),
    ("mean error", lambda r: view.number(r.mean_error)),
    ("p50", lambda r: view.duration(r.p50_us)),
    ("speed-up", lambda r: view.times(r.speedup)),
    ("memory", lambda r: view.size(r.memory_bytes)),
)


def markdown(result: Benchmark) -> str:
    """A benchmark as Markdown."""
    parts = [
        f"**Ship: {escaped(ship_name(result))}**" if result.advice.ship else "**No file to ship.**",
        escaped(result.advice.why),
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
    columns = [(title, text) for title, text in _COLUMNS if any(text(r) for r in result.results)]
    several = len(view.hosts_of(result)) > 1
    same = [c for c in view.SETTING if len({c.value(r) for r in result.results}) > 1]
    heads = ["file", "engine", *(["host"] if several else [])]
    columns = [*((c.title.lower(), c.text) for c in same), *columns]
    lines = [
        f"| {' | '.join([*heads, *(title for title, _ in columns), 'status'])} |",
        f"|{'---|' * len(heads)}{'--:|' * len(columns)}---|",
    ]
    ship = view.shipped_row(result)
    for r, name in zip(result.results, view.row_names(result.results), strict=True):
        file = f"**{escaped(name)}**" if r is ship else escaped(name)
        cells = [file, escaped(r.engine), *([escaped(view.host_of(r, result))] if several else [])]
        lines.append(f"| {' | '.join([*cells, *(text(r) for _, text in columns), escaped(view.short_status(r))])} |")
    return "\n".join(lines)


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
        f"> **Remark:** {escaped(r.text)}" + (f" Next: <code>{escaped(r.command)}</code>" if r.command else "")
        for r in result.remarks
    ]


def diagnoses(result: Benchmark) -> list[str]:
    """What takes the time of each file that was profiled, as a list; empty if none was."""
    names = zip(result.results, view.row_names(result.results), strict=True)
    told = [f"- {escaped(view.about(r, name))}: {escaped(r.diagnosis)}" for r, name in names if r.diagnosis]
    return ["What takes the time:", "\n".join(told)] if told else []


def escaped(text: str) -> str:
    """A text on one line with all Markdown and HTML escaped."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", text)
