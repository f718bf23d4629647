"""Prepare what all formats of a report show: names of rows, columns, and figures as text.

A figure that was not measured is an empty text, and a column without figures is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

from edgepress.toolkit import text
from edgepress.toolkit.columns import FILES, SHORT, STATUS, Column, filled_columns, size, varying
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
