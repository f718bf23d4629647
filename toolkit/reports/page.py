"""The report as one self-contained HTML page.

`page.html` (Jinja) holds the texts and tables, `head.html` the beginning that the page of a sweep has, too, and
`report.css` their style; `plots.js` and `closer.js` draw plots from the data embedded in the page, with D3's scales and
axes from `vendor/`. A hostile label, file name or note stays text: Jinja escapes what it inserts, the data are JSON
without "<", and the content security policy allows only these scripts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress import __version__
from edgepress.runtime.text import json_text, one_line
from edgepress.toolkit import columns, text
from edgepress.toolkit.machine.host import host_title
from edgepress.toolkit.reports import view
from edgepress.toolkit.reports.view import COLORS, chart_data, color_of, shape_of
from edgepress.toolkit.results.records import DROP, LARGE_ERROR, UNPROVEN, USABLE, Benchmark, Disagreement, Measurement
from edgepress.toolkit.text import is_sure

if TYPE_CHECKING:
    from jinja2 import Template

HERE = Path(__file__).parent
MOST = 2000
"""Characters of a text in a page."""
SCRIPTS = ("vendor/d3.min.js", "plots.js", "closer.js", "report.js")


def page(result: Benchmark, search: Mapping[str, Any] | None = None) -> str:
    """The report of a benchmark as HTML, with a search of `compress_search_of` if there is one."""
    from markupsafe import Markup

    style = style_sheet()
    scripts = [(HERE / name).read_text(encoding="utf-8") for name in SCRIPTS]
    return template("page.html").render(
        **_context(result, search),
        policy=_policy(style, scripts),
        style=Markup(style),  # ours, not the results'
        scripts=[Markup(script) for script in scripts],
        data=Markup(embedded_json(chart_data(result))),
    )


def template(name: str) -> Template:
    """A template, in which each text is one line of characters that are seen, and HTML only if it is `Markup`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return one_line(value, MOST) if isinstance(value, str) and not isinstance(value, Markup) else value

    how: dict[str, Any] = {"autoescape": True, "undefined": StrictUndefined, "finalize": shown}
    environment = Environment(loader=FileSystemLoader(HERE), trim_blocks=True, lstrip_blocks=True, **how)
    return environment.get_template(name)


def style_sheet() -> str:
    """The style sheet, with the colours of the schemes under the numbers of `color_of`."""
    light, dark = ("\n".join(f".c{n} {{ color: {c[ground]}; }}" for n, c in enumerate(COLORS)) for ground in (0, 1))
    style = (HERE / "report.css").read_text(encoding="utf-8")
    return f"{style}{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


def embedded_json(value: Any) -> str:
    """JSON for a script element: no text in it can end the element or begin a comment, and all are one line."""
    text = json.dumps(_lines_in(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _lines_in(value: Any) -> Any:
    """The same document with `one_line` of each text."""
    if isinstance(value, str):
        return one_line(value, MOST)
    if isinstance(value, Mapping):
        return {_lines_in(key): _lines_in(each) for key, each in value.items()}  # hosts are keys, too
    return [_lines_in(each) for each in value] if isinstance(value, (list, tuple)) else value


def _policy(style: str, scripts: list[str]) -> str:
    """A content security policy that allows only these texts and embedded images."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, *scripts))
    styled, *allowed = (f"'sha256-{digest}'" for digest in digests)
    rules = f"default-src 'none'; script-src {' '.join(allowed)}; style-src {styled}; img-src data:"
    return f"{rules}; base-uri 'none'; form-action 'none'"


def _context(result: Benchmark, search: Mapping[str, Any] | None) -> dict[str, Any]:
    """The values that the template inserts."""
    rows = _rows(result)
    ship = next((row for row in rows if row["ship"]), None)
    lead, rest = _sentences(result.advice.why)
    leading = {id(r) for r in result.leading()}
    hosts = view.hosts_of(result)
    settings = view.settings(result)
    by_host = [row | {"beside": row["host"] if len(hosts) > 1 else ""} for row in rows]
    first = [row for row in by_host if id(row["m"]) in leading]
    names = {row["m"].file: row["name"] for row in rows}
    return {
        "b": result,
        "v": view,
        "fig": columns,
        "rows": rows,
        "first": first,
        "ship": ship,
        "best": [asdict(best) | {"name": names.get(best.file, best.file)} for best in result.best_engines],
        "lead": lead,
        "rest": rest,
        "tiles": _tiles(ship["m"], view.baseline_row(result)) if ship else [],
        "threads": _only({r.threads for r in result.results}),
        "batch": _only({r.batch for r in result.results}) or 1,
        "hosts": hosts,
        "host_rows": _side_by_side([row | {"beside": ""} for row in first], hosts, lambda row: row["host"]),
        "settings": [view.setting(*place) for place in settings],
        "setting_rows": _side_by_side(by_host, settings, lambda row: (row["m"].threads, row["m"].batch), ("host",)),
        "host_title": host_title,
        "schemes": {r["m"].scheme: r["color"] for r in rows if r["m"].scheme},
        "engines": {r["engine"]: r["shape"] for r in rows if r["engine"]},
        "sha256": {r["m"].file: r["m"].sha256 for r in rows if r["m"].sha256},
        "contract": json_text(view.contract_of(result), indent=2).split("\n"),
        "disagreements": _disagreements(result),
        "search": search,
        "has": _sections(result, search),
        "version": __version__,
    }


def _rows(result: Benchmark) -> list[dict[str, Any]]:
    """The measurements in order, each with its name, marks and host."""
    return [
        {
            "index": n,
            "name": name,
            "engine": r.engine,
            "host": view.host_of(r, result),
            "beside": view.beside(r, result),
            "color": color_of(r.scheme),
            "shape": shape_of(r.engine),
            "m": r,
            "ship": r is view.shipped_row(result),
            "baseline": view.is_baseline(r, result),
            "tone": _tone(r, result.advice.confidence),
        }
        for n, (r, name) in enumerate(zip(result.results, view.row_names(result.results), strict=True))
    ]


def _tone(row: Measurement, confidence: float | None) -> str:
    if row.status == USABLE or (row.status == UNPROVEN and is_sure(row.probability, confidence)):
        return "good"
    return "bad" if row.failed or row.status in (DROP, LARGE_ERROR) else "fair"


def _disagreements(result: Benchmark) -> list[Disagreement]:
    """The items on which files disagree; a picture that is not a PNG is dropped."""
    from markupsafe import Markup

    return [replace(d, png=Markup(d.png) if _is_png(d.png) else "") for d in result.disagreements]  # letters only


def _is_png(text: str) -> bool:
    try:
        return base64.b64decode(text, validate=True).startswith(b"\x89PNG\r\n")
    except ValueError:
        return False


def _only(values: set[int]) -> int | None:
    """The value that all rows share; None if they differ, as there is a column then."""
    return next(iter(values)) if len(values) == 1 else None


def _sections(result: Benchmark, search: Mapping[str, Any] | None) -> dict[str, str]:
    """The sections that have content: anchor and title."""
    rows = result.results
    titles = {
        "trade-off": ("Trade-off", any(r.accuracy is not None for r in rows)),
        "files": ("All files", True),
        "search": ("How it was compressed", search is not None),
        "accuracy": ("Accuracy", any(r.drop_pp is not None for r in rows)),
        "accepted": ("Accepted answers", any(r.accepted_share is not None for r in rows)),
        "closer": ("A closer look", any(r.per_class or r.confusion_matrix or r.profile for r in rows)),
        "disagreements": ("Disagreements", bool(result.disagreements)),
        "diagnosis": ("What takes the time", any(r.diagnosis for r in rows)),
        "latency": ("Latency", any(r.latency_quantiles_us for r in rows)),
        "settings": ("Threads and batch", len(view.settings(result)) > 1),
        "hosts": ("Hosts", len(view.hosts_of(result)) > 1),
        "limits": ("Physical limits", any(r.compute_share is not None or r.memory_share is not None for r in rows)),
        "provenance": ("Provenance", True),
    }
    return {anchor: title for anchor, (title, shown) in titles.items() if shown}


def _tiles(ship: Measurement, base: Measurement | None) -> list[tuple[str, str, str]]:
    """The shipped file in three figures: name, figure, comparison with the baseline."""
    other = base if base is not None and base is not ship else None
    factor = text.times(1 / ship.size_ratio) if ship.size_ratio and ship.size_ratio < 1 else text.times(1)
    smaller = "" if factor == text.times(1) else f"{factor} smaller than the baseline"
    drop = view.drop(ship)
    speed = text.interval(ship.speedup, ship.speedup_low, ship.speedup_high)
    tiles = [
        ("Size", columns.size(ship.size_bytes), smaller if other else ""),
        (
            "Accuracy" if ship.exact_match is None else "Exact match",
            columns.percent(ship.accuracy),
            f"drop {drop} pp" if drop and other else "",
        ),
        ("SQNR", columns.sqnr(ship.max_error, ship.sqnr_db), f"largest error {columns.number(ship.max_error)}"),
        ("Latency, p50", columns.duration(ship.p50_us), f"speed-up {speed}" if speed and other else ""),
    ]
    return [tile for tile in tiles if tile[1]]


def _side_by_side(
    rows: Iterable[dict[str, Any]],
    places: Sequence[Any],
    place_of: Callable[[dict[str, Any]], Any],
    also: tuple[str, ...] = (),
) -> list[dict[str, Any]]:
    """One row per file, engine and what `also` names, with its median latency at each place; none without any."""
    groups: dict[Any, dict[str, Any]] = {}
    for row in rows:
        key = row["m"].file, row["engine"], *(row[name] for name in also)
        line = groups.setdefault(key, row | {"each": [None] * len(places)})
        line["each"][places.index(place_of(row))] = row["m"].p50_us
    return [line for line in groups.values() if any(us is not None for us in line["each"])]


def _sentences(text: str) -> tuple[str, str]:
    """The first sentence of a text, and the others."""
    first, *rest = re.split(r"(?<=[.!?])\s+(?=[A-Z])", text, maxsplit=1)
    return first, rest[0] if rest else ""
