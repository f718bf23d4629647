"""The report as one HTML page that needs nothing but a browser.

`page.html` (Jinja) holds the texts and tables, `report.css` how they look, `plots.js` and `closer.js` draw the pictures
from the data that the page carries; D3's scales and axes are in `vendor/`. Jinja escapes whatever it inserts, the data
are JSON without a "<", and the page forbids itself by its content security policy to load anything or to run any
script but these, so that a hostile label, file name or note stays a text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgepress import __version__
from edgepress.toolkit.host.describe import host_title
from edgepress.toolkit.reports import view
from edgepress.toolkit.reports.chart_data import chart_data, color_of, shape_of
from edgepress.toolkit.results.records import DROP, USABLE, Benchmark, Disagreement, Measurement

HERE = Path(__file__).parent
SCRIPTS = ("vendor/d3.min.js", "plots.js", "closer.js", "report.js")


def page(result: Benchmark) -> str:
    """The report of a benchmark as HTML."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (HERE / "report.css").read_text()
    scripts = [(HERE / name).read_text() for name in SCRIPTS]
    return environment.get_template("page.html").render(
        **_context(result),
        policy=_policy(style, scripts),
        style=Markup(style),  # ours, not the results'
        scripts=[Markup(script) for script in scripts],
        data=Markup(embedded_json(chart_data(result))),
    )


def embedded_json(value: Any) -> str:
    """JSON that may stand in a script element: no text in it can end the element or begin a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(style: str, scripts: list[str]) -> str:
    """A content security policy that allows just these texts and embedded images."""
    hashes = " ".join(_hash(script) for script in scripts)
    rules = f"default-src 'none'; script-src {hashes}; style-src {_hash(style)}; img-src data:"
    return f"{rules}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _context(result: Benchmark) -> dict[str, Any]:
    """What the template inserts."""
    names = view.row_names(result.results)
    hosts = view.hosts_of(result)
    several = len(hosts) > 1
    rows: list[dict[str, Any]] = [
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
            "tone": "good" if r.status == USABLE else "bad" if r.failed or r.status == DROP else "fair",
        }
        for n, (r, name) in enumerate(zip(result.results, names, strict=True))
    ]
    ship = next((row for row in rows if row["ship"]), None)
    lead, rest = _sentences(result.advice.why)
    leading = {id(r) for r in result.leading()}
    first = [row | {"beside": row["host"] if several else ""} for row in rows if id(row["m"]) in leading]
    settings = view.settings(result)
    described = [result.host, *result.boards]
    return {
        "b": result,
        "v": view,
        "rows": rows,
        "first": first,
        "ship": ship,
        "best": _best_engines(result, names),
        "lead": lead,
        "rest": rest,
        "tiles": _tiles(ship["m"], view.baseline_row(result)) if ship else [],
        "columns": view.columns(result),
        "verdicts": any(r.verdict for r in result.results),
        "threads": _only({r.threads for r in result.results}),
        "batch": _only({r.batch for r in result.results}) or 1,
        "hosts": hosts,
        "host_rows": _side_by_side([row | {"beside": ""} for row in first], hosts, lambda row: row["host"]),
        "settings": [view.setting(*place) for place in settings],
        "setting_rows": _side_by_side(
            [row | {"beside": row["host"] if several else ""} for row in rows],
            settings,
            lambda row: (row["m"].threads, row["m"].batch),
            key=lambda row: (row["m"].file, row["engine"], row["host"]),
        ),
        "host_title": host_title,
        "described": described,
        "source": view.file_name(result.data["source"]),
        "schemes": {r["m"].scheme: r["color"] for r in rows if r["m"].scheme},
        "engines": {r["engine"]: r["shape"] for r in rows if r["engine"]},
        "sha256": {r["m"].file: r["m"].sha256 for r in rows if r["m"].sha256},
        "contract": json.dumps(view.contract_of(result), indent=2, ensure_ascii=False),
        "origin": view.origin(result),
        "reasons": view.reasons(result),
        "disagreements": _disagreements(result),
        "has": _sections(result, several),
        "version": __version__,
    }


def _disagreements(result: Benchmark) -> list[Disagreement]:
    """The items on which files disagree, without what claims to be a picture and is not."""
    return [d if _is_png(d.png) else replace(d, png="") for d in result.disagreements]


def _is_png(text: str) -> bool:
    try:
        return base64.b64decode(text, validate=True).startswith(b"\x89PNG\r\n")
    except ValueError:
        return False


def _best_engines(result: Benchmark, names: list[str]) -> list[dict[str, Any]]:
    """The best engine of each file, with the name that the file has in the other tables."""
    named = {r.file: name for r, name in zip(result.results, names, strict=True)}
    return [asdict(best) | {"name": named.get(best.file, best.file)} for best in result.best_engines]


def _only(values: set[int]) -> int | None:
    """The one value that all have, else None: there is a column then."""
    return next(iter(values)) if len(values) == 1 else None


def _sections(result: Benchmark, several: bool) -> dict[str, str]:
    """The sections that have something to show: anchor and title."""
    rows = result.results
    titles = {
        "trade-off": ("Trade-off", any(r.accuracy is not None for r in rows)),
        "files": ("All files", True),
        "accuracy": ("Accuracy", any(r.drop_pp is not None for r in rows)),
        "closer": ("A closer look", any(r.per_class or r.confusion_matrix or r.profile for r in rows)),
        "disagreements": ("Disagreements", bool(result.disagreements)),
        "latency": ("Latency", any(r.latency_quantiles_us for r in rows)),
        "settings": ("Threads and batch", len(view.settings(result)) > 1),
        "hosts": ("Hosts", several),
        "limits": ("Physical limits", any(r.compute_share is not None or r.memory_share is not None for r in rows)),
        "provenance": ("Provenance", True),
    }
    return {anchor: title for anchor, (title, shown) in titles.items() if shown}


def _tiles(ship: Measurement, base: Measurement | None) -> list[tuple[str, str, str]]:
    """The shipped file in a few figures: name, figure, what it is held against."""
    other = base if base is not None and base is not ship else None
    smaller = ship.size_ratio and ship.size_ratio < 1 and f"{view.times(1 / ship.size_ratio)} smaller than the baseline"
    drop = view.interval(ship.drop_pp, ship.drop_low_pp, ship.drop_high_pp)
    speed = view.interval(ship.speedup, ship.speedup_low, ship.speedup_high)
    tiles = [
        ("Size", view.size(ship.size_bytes), (other and smaller) or ""),
        ("Accuracy", view.percent(ship.accuracy), f"drop {drop} pp" if drop and other else ""),
        ("Latency, p50", view.duration(ship.p50_us), f"speed-up {speed}" if speed and other else ""),
        (
            "Peak memory",
            view.size(ship.memory_bytes),
            f"baseline {view.size(other.memory_bytes)}" if other and other.memory_bytes is not None else "",
        ),
    ]
    return [tile for tile in tiles if tile[1]]


def _side_by_side(
    rows: Iterable[dict[str, Any]],
    places: Sequence[Any],
    place_of: Callable[[dict[str, Any]], Any],
    key: Callable[[dict[str, Any]], Any] = lambda row: (row["m"].file, row["engine"]),
) -> list[dict[str, Any]]:
    """One row a key, a file on an engine, with its median latency at each place or None; none if it has none at all."""
    found: dict[Any, dict[str, Any]] = {}
    for row in rows:
        line = found.setdefault(key(row), row | {"each": [None] * len(places)})
        line["each"][places.index(place_of(row))] = row["m"].p50_us
    return [line for line in found.values() if any(us is not None for us in line["each"])]


def _sentences(text: str) -> tuple[str, str]:
    """The first sentence of a text, and the others."""
    first, *rest = re.split(r"(?<=[.!?])\s+(?=[A-Z])", text, maxsplit=1)
    return first, rest[0] if rest else ""
