"""Collect what the page's scripts plot: figures of `benchmark.json`, and the Pareto fronts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepress.converters.schemes import SCHEMES
from edgepress.runtime import ENGINES
from edgepress.toolkit.benchmarking.advice import front_of
from edgepress.toolkit.benchmarking.plots import pareto_front
from edgepress.toolkit.reports import view
from edgepress.toolkit.results.records import Benchmark, Measurement

MAX_MATRIX = 30
"""Number of classes up to which confusion matrices are shown."""
MAX_CLASSES = 40
"""How many classes are listed by their drop."""
COLORS = (*(scheme.colors for scheme in SCHEMES.values()), ("#6b7280", "#9aa3ad"))
"""Colours on a light and a dark ground; the last pair is for what is not in the table of schemes."""
SHAPES = 5
"""Number of shapes in the page; the last is for what is not in the table of engines."""


def chart_data(result: Benchmark) -> dict[str, Any]:
    """What the scripts draw: rows by index, fronts, and what the closer look shows of each row; ready for JSON."""
    names = view.row_names(result.results)
    hosts = view.hosts_of(result)
    base = view.baseline_row(result)
    ship = view.shipped_row(result)
    leading = {id(r) for r in result.leading()}
    drawn = [r for r in result.results if r.accuracy is not None and id(r) in leading]
    looked_at = {
        (view.host_of(r, result), r.file, r.engine, r.threads): id(r) for r in reversed(result.results)
    }.values()
    limit = base.accuracy - result.max_drop_pp / 100 if base is not None and base.accuracy is not None else None
    index = {id(r): n for n, r in enumerate(result.results)}
    fronts = {"": _front(drawn, "size_bytes", index)} | {
        host: _front([r for r in drawn if view.host_of(r, result) == host], "p50_us", index) for host in hosts
    }
    rings = {host: [index[id(r)] for r in front_of(result, host) if r.accuracy is not None] for host in hosts}
    rows = [
        _describe_row(r, name, result, leading=id(r) in leading, closer=id(r) in looked_at)
        for r, name in zip(result.results, names, strict=True)
    ]
    labels = view.labels_of(result)
    return {
        "rows": rows,
        "hosts": hosts,
        "fronts": fronts,
        "rings": rings | {"": rings[hosts[0]]},
        "limit": limit,
        "maxDrop": result.max_drop_pp,
        "labels": labels if len(labels) <= MAX_MATRIX else [],
        "base": None if base is None else index[id(base)],
        "ship": None if ship is None else index[id(ship)],
    }


def _describe_row(r: Measurement, name: str, result: Benchmark, *, leading: bool, closer: bool) -> dict[str, Any]:
    """What the scripts draw of a row."""
    return {
        "name": view.about(r, name, view.beside(r, result)),
        "leading": leading,
        "closer": closer,
        "label": name,
        "engine": r.engine,
        "host": view.host_of(r, result),
        "scheme": r.scheme,
        "color": color_of(r.scheme),
        "shape": shape_of(r.engine),
        "size": r.size_bytes,
        "accuracy": r.accuracy,
        "accuracyRange": _accuracy_range(r),
        "p50": r.p50_us,
        "p50Range": _latency_range(r),
        "drop": [r.drop_pp, r.drop_low_pp, r.drop_high_pp],
        "quantiles": [_short(q) for q in r.latency_quantiles_us],
        "shares": [r.compute_share, r.memory_share],
        "facts": view.facts(r),
        "curve": [[_short(c), _short(e)] for c, e in zip(r.coverage, r.risk, strict=True)],
        "accepted": [r.accepted_share, r.accepted_error],
        "classes": _classes(r),
        "matrix": r.confusion_matrix if 0 < len(r.confusion_matrix) <= MAX_MATRIX else [],
        "profile": [[o.operation, o.count, _short(o.time_us), _short(o.share), o.delegated] for o in r.profile],
        "delegated": r.delegated_share,
    }


def color_of(scheme: str) -> int:
    """The number of a scheme's colour in `COLORS` and in the style sheet."""
    return [*SCHEMES, scheme].index(scheme)


def shape_of(engine: str) -> int:
    """The number of an engine's shape in the page."""
    return min([*ENGINES, engine].index(engine), SHAPES - 1)


def _front(rows: list[Measurement], cost: str, index: Mapping[int, int]) -> list[int]:
    """Indices of the rows that no other beats in both cost and accuracy."""
    rows = [r for r in rows if getattr(r, cost) is not None]
    front = pareto_front([getattr(r, cost) for r in rows], [r.accuracy or 0.0 for r in rows])
    return [index[id(rows[n])] for n in front]


def _accuracy_range(row: Measurement) -> list[float] | None:
    """The interval of the drop as accuracies, 0-1, around the row's own."""
    if row.accuracy is None or row.drop_pp is None or row.drop_low_pp is None or row.drop_high_pp is None:
        return None
    ends = (row.accuracy + (row.drop_pp - end) / 100 for end in (row.drop_high_pp, row.drop_low_pp))
    return [min(1.0, max(0.0, end)) for end in ends]


def _latency_range(row: Measurement) -> list[float] | None:
    """The interval of the speed-up as latencies, microseconds, around the row's own."""
    if row.p50_us is None or not row.speedup or not row.speedup_low or not row.speedup_high:
        return None
    return [row.p50_us * row.speedup / end for end in (row.speedup_high, row.speedup_low)]


def _classes(row: Measurement) -> list[list[Any]]:
    """The classes that lost most first: label, items, recall, drop with its interval; as many as a page can list."""
    known = [c for c in row.per_class if c.drop_pp is not None]
    if len(known) > MAX_CLASSES:
        known = sorted(known, key=lambda c: -abs(c.drop_pp or 0.0))[:MAX_CLASSES]
    known = sorted(known, key=lambda c: -(c.drop_pp or 0.0))
    return [[c.label, c.support, _short(c.recall), c.drop_pp, c.drop_low_pp, c.drop_high_pp] for c in known]


def _short(value: float) -> float:
    return float(f"{value:.4g}")
