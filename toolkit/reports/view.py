"""What the report shows in every format: names of rows, columns, figures as text, and what the page's scripts plot.

A figure that was not measured is an empty text, and a column without figures is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

from edgepress.converters.schemes import SCHEMES
from edgepress.runtime import ENGINES
from edgepress.toolkit import text
from edgepress.toolkit.columns import FILES, SHORT, STATUS, Column, filled_columns, size, varying
from edgepress.toolkit.measurement.benchmarking.advice import front_of
from edgepress.toolkit.measurement.benchmarking.plots import pareto_front
from edgepress.toolkit.results.records import Benchmark, Measurement

QUOTED = "Sentences, remarks and notes are quoted from benchmark.json, whoever wrote it."
"""What a report says of the texts of its result."""


def file_name(path: str) -> str:
    """The last part of a POSIX or Windows path."""
    return PureWindowsPath(path).name or path


def row_names(results: Sequence[Measurement]) -> list[str]:
    """A name for each row: its scheme if only one file has it, else the file's name, else its path."""
    schemes = Counter(scheme for _, scheme in {(r.file, r.scheme) for r in results})
    files = Counter(file_name(file) for file in {r.file for r in results})

    def name(r: Measurement) -> str:
        if r.scheme and schemes[r.scheme] == 1:
            return r.scheme
        return file_name(r.file) if files[file_name(r.file)] == 1 else r.file

    return [name(r) for r in results]


def host_of(row: Measurement, result: Benchmark) -> str:
    """The name of the host a row was measured on."""
    return row.host or str(result.host["name"])


def hosts_of(result: Benchmark) -> list[str]:
    """The names of the hosts that have rows, the benchmark's own first."""
    names = dict.fromkeys(host_of(r, result) for r in result.results)
    return sorted(names, key=lambda name: name != result.host["name"])


def is_baseline(row: Measurement, result: Benchmark) -> bool:
    """Whether drops and speed-ups refer to this row."""
    base = result.baseline
    here = row.host in ("", result.host["name"])
    return base is not None and here and (row.file, row.engine) == (base["file"], base["engine"])


def baseline_row(result: Benchmark) -> Measurement | None:
    """The row that drops and speed-ups refer to."""
    return next((r for r in result.results if is_baseline(r, result)), None)


def shipped_row(result: Benchmark) -> Measurement | None:
    """The row of the recommended file and engine, on the benchmark's own host if it was measured there."""
    fit = [r for r in result.results if (r.file, r.engine) == (result.advice.ship, result.advice.engine)]
    return min(fit, key=lambda r: r.host not in ("", result.host["name"]), default=None)


def settings(result: Benchmark) -> list[tuple[int, int]]:
    """The different pairs of threads and batch size, in the order of the results."""
    return list(dict.fromkeys((r.threads, r.batch) for r in result.results))


def setting(threads: int, batch: int) -> str:
    """Threads and batch in words: "2 threads, 8 items"."""
    return f"{text.plural(threads, 'thread')}{f', {batch} items' if batch != 1 else ''}"


def beside(row: Measurement, result: Benchmark) -> str:
    """What distinguishes a row from others of its file and engine: host, threads and batch, if they differ."""
    parts = [host_of(row, result)] if len(hosts_of(result)) > 1 else []
    parts += [setting(row.threads, row.batch)] if len(settings(result)) > 1 else []
    return ", ".join(parts)


def about(row: Measurement, name: str, beside: str = "") -> str:
    """A row in words: "tflite-int8 on litert", with what distinguishes it from others of its file and engine."""
    return f"{name}{f' on {row.engine}' if row.engine else ''}{f', {beside}' if beside else ''}"


def origin(result: Benchmark) -> dict[str, str]:
    """The known provenance of the results as name and text, without the contract."""
    known = result.provenance
    facts = {name: str(value) for name, value in known.items() if name not in ("tools", "contract") and value}
    tools = ", ".join(f"{name} {number}" for name, number in mapping(known.get("tools")).items())
    return facts | ({"tools": tools} if tools else {})


def contract_of(result: Benchmark) -> Mapping[str, Any]:
    """The contract of the baseline; empty if the results do not hold it."""
    return mapping(result.provenance.get("contract"))


def labels_of(result: Benchmark) -> list[str]:
    """The classes in order; empty if the results do not name them."""
    base = baseline_row(result)
    if base is not None and base.per_class:
        return [c.label for c in base.per_class]
    labels = result.data.get("labels")
    return [str(label) for label in labels] if isinstance(labels, Sequence) and not isinstance(labels, str) else []


def host_facts(host: Mapping[str, Any]) -> list[str]:
    """The known properties of a host, each in a few words."""
    memory = host.get("memory_bytes")
    known = [
        host.get("cpu"),
        host.get("machine"),
        f"{host['cores']} cores" if host.get("cores") else "",
        f"{size(memory)} of memory" if isinstance(memory, int) else "",
        host.get("os"),
        f"Python {host['python']}" if host.get("python") else "",
        *(f"{name} {number}" for name, number in mapping(host.get("engines")).items()),
    ]
    return [str(text) for text in known if text]


def mapping(value: object) -> Mapping[str, Any]:
    """A value of the results that should be a mapping; empty if it is not."""
    return value if isinstance(value, Mapping) else {}


def short_status(row: Measurement) -> str:
    """A status without its reason; of one within the limit, how sure that is."""
    return text.status_words(row.status, row.probability)


def reasons(result: Benchmark) -> list[tuple[str, str]]:
    """Rows whose status has a reason, as (row in words, status); a failure shared by all settings appears once."""
    several = len(hosts_of(result)) > 1
    leading = {(r.file, r.engine, r.host): r for r in result.leading()}
    failures = []
    for r, name in zip(result.results, row_names(result.results), strict=True):
        first = leading.get((r.file, r.engine, r.host), r)
        if ": " in r.status and (r is first or r.status != first.status):
            place = beside(r, result) if r is not first else host_of(r, result) if several else ""
            failures.append((about(r, name, place), r.status))
    return failures


def notices(result: Benchmark) -> list[tuple[bool, str]]:
    """Notes for the reader: whether each makes the figures unreliable, and its text."""
    noise = result.noise
    notes = [(False, note) for note in result.notes]
    if noise is None or not noise.noisy:
        return notes
    warnings = [note for note in result.notes if noise.reasons and all(reason in note for reason in noise.reasons)]
    warning = " ".join(["The host was under load during timing, so the latencies are unreliable.", *noise.reasons])
    return [(True, warnings[0] if warnings else warning), *(note for note in notes if note[1] not in warnings)]


def columns(result: Benchmark) -> list[Column]:
    """The columns with at least one figure, and the host if there are several."""
    host = Column("Host", "host it was measured on", ("host",), lambda name: name or result.host["name"], numeric=False)
    chosen = [host] if len(hosts_of(result)) > 1 else []
    return [*chosen, *varying(result.results), *filled_columns((*SHORT, STATUS, *FILES[len(SHORT) :]), result.results)]


def drop(row: Measurement) -> str:
    """The accuracy drop with its interval, percentage points."""
    return text.interval(row.drop_pp, row.drop_low_pp, row.drop_high_pp)


def facts(row: Measurement) -> list[tuple[str, str]]:
    """The main figures as (name, text), without those that were not measured."""
    return [(c.title, shown) for c in (*SHORT, STATUS) if (shown := c.text(row))]


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
    names = row_names(result.results)
    hosts = hosts_of(result)
    base = baseline_row(result)
    ship = shipped_row(result)
    leading = {id(r) for r in result.leading()}
    drawn = [r for r in result.results if r.accuracy is not None and id(r) in leading]
    looked_at = {(host_of(r, result), r.file, r.engine, r.threads): id(r) for r in reversed(result.results)}.values()
    limit = base.accuracy - result.max_drop_pp / 100 if base is not None and base.accuracy is not None else None
    index = {id(r): n for n, r in enumerate(result.results)}
    fronts = {"": _front(drawn, "size_bytes", index)} | {
        host: _front([r for r in drawn if host_of(r, result) == host], "p50_us", index) for host in hosts
    }
    rings = {host: [index[id(r)] for r in front_of(result, host) if r.accuracy is not None] for host in hosts}
    rows = [
        _describe_row(r, name, result, leading=id(r) in leading, closer=id(r) in looked_at)
        for r, name in zip(result.results, names, strict=True)
    ]
    labels = labels_of(result)
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
        "name": about(r, name, beside(r, result)),
        "leading": leading,
        "closer": closer,
        "label": name,
        "engine": r.engine,
        "host": host_of(r, result),
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
        "facts": facts(r),
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
