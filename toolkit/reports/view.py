"""What all forms of a report show, and how a figure is written: names, columns, one sentence of a file's gain.

A figure that was not measured is an empty text, and a column without a figure is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Any, ParamSpec

from edgepress.toolkit import text
from edgepress.toolkit.results.records import Benchmark, Measurement

Value = float | str | None
_P = ParamSpec("_P")


@dataclass(frozen=True)
class Column:
    """A column of the table of all files.

    Attributes:
        title: Its heading.
        meaning: What the figure is, in a few words.
        value: What to sort by; None if it was not measured.
        text: What to show.
        numeric: Whether it is a figure.
    """

    title: str
    meaning: str
    value: Callable[[Measurement], Value]
    text: Callable[[Measurement], str]
    numeric: bool = True


def _unbroken(form: Callable[_P, str]) -> Callable[_P, str]:
    """The same text with no-break spaces, so that a figure keeps its unit on its line."""
    return lambda *args, **options: form(*args, **options).replace(" ", "\N{NO-BREAK SPACE}")


percent, duration, rate, size = (
    _unbroken(text.percent),
    _unbroken(text.duration),
    _unbroken(text.rate),
    _unbroken(text.size),
)
interval, times = text.interval, text.times


def file_name(path: str) -> str:
    """The last part of a path of any system."""
    return PureWindowsPath(path).name or path


def row_names(results: Sequence[Measurement]) -> list[str]:
    """What to call each file: its scheme where it is the only file of that scheme, else its name, else its path."""
    schemes = Counter(scheme for _, scheme in {(r.file, r.scheme) for r in results})
    files = Counter(file_name(file) for file in {r.file for r in results})

    def name(r: Measurement) -> str:
        if r.scheme and schemes[r.scheme] == 1:
            return r.scheme
        return file_name(r.file) if files[file_name(r.file)] == 1 else r.file

    return [name(r) for r in results]


def host_of(row: Measurement, result: Benchmark) -> str:
    """Name of the host that a row was measured on."""
    return row.host or str(result.host["name"])


def hosts_of(result: Benchmark) -> list[str]:
    """Names of the hosts that have a row, the benchmark's own first."""
    found = dict.fromkeys(host_of(r, result) for r in result.results)
    return sorted(found, key=lambda name: name != result.host["name"])


def is_baseline(row: Measurement, result: Benchmark) -> bool:
    """Whether a row is the one that drops and speed-ups refer to."""
    base = result.baseline
    return (
        base is not None
        and row.host in ("", result.host["name"])
        and (row.file, row.engine)
        == (
            base["file"],
            base["engine"],
        )
    )


def baseline_row(result: Benchmark) -> Measurement | None:
    """The row that drops and speed-ups refer to."""
    return next((r for r in result.results if is_baseline(r, result)), None)


def shipped_row(result: Benchmark) -> Measurement | None:
    """The row of the file that is advised, on its engine and on the benchmark's own host if it was measured there."""
    fit = [r for r in result.results if (r.file, r.engine) == (result.advice.ship, result.advice.engine)]
    return min(fit, key=lambda r: r.host not in ("", result.host["name"]), default=None)


def settings(result: Benchmark) -> list[tuple[int, int]]:
    """The numbers of threads and batch sizes that rows differ in, in the order of the results."""
    return list(dict.fromkeys((r.threads, r.batch) for r in result.results))


def setting(threads: int, batch: int) -> str:
    """Threads and batch in words: "2 threads, 8 items"."""
    return f"{text.plural(threads, 'thread')}{f', {batch} items' if batch != 1 else ''}"


def beside(row: Measurement, result: Benchmark) -> str:
    """What tells a row from others of the same file and engine: its host, threads and batch, where results differ."""
    parts = [host_of(row, result)] if len(hosts_of(result)) > 1 else []
    parts += [setting(row.threads, row.batch)] if len(settings(result)) > 1 else []
    return ", ".join(parts)


def about(row: Measurement, name: str, beside: str = "") -> str:
    """A row in words: "tflite-int8 on litert", with what tells it from others of the same file and engine."""
    return f"{name}{f' on {row.engine}' if row.engine else ''}{f', {beside}' if beside else ''}"


def origin(result: Benchmark) -> dict[str, str]:
    """What is known of where the results come from: name and text, without the contract."""
    known = result.provenance
    found = {name: str(value) for name, value in known.items() if name not in ("tools", "contract") and value}
    tools = ", ".join(f"{name} {number}" for name, number in mapping(known.get("tools")).items())
    return found | ({"tools": tools} if tools else {})


def contract_of(result: Benchmark) -> Mapping[str, Any]:
    """The contract of the baseline; empty if the results do not hold it."""
    return mapping(result.provenance.get("contract"))


def labels_of(result: Benchmark) -> list[str]:
    """The classes in their order, as far as the results name them."""
    base = baseline_row(result)
    if base is not None and base.per_class:
        return [c.label for c in base.per_class]
    labels = result.data.get("labels")
    return [str(label) for label in labels] if isinstance(labels, Sequence) and not isinstance(labels, str) else []


def host_facts(host: Mapping[str, Any]) -> list[str]:
    """What is known of a host beside its name, each in a few words."""
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
    """A free part of the results as what it should be; nothing if it is something else."""
    return value if isinstance(value, Mapping) else {}


def short_status(row: Measurement) -> str:
    """A status without its reason."""
    return row.status.partition(":")[0]


def reasons(result: Benchmark) -> list[tuple[str, str]]:
    """Rows whose status has a reason, as (row in words, status); what fails alike with all threads is told once."""
    several = len(hosts_of(result)) > 1
    leading = {(r.file, r.engine, r.host): r for r in result.leading()}
    found = []
    for r, name in zip(result.results, row_names(result.results), strict=True):
        first = leading.get((r.file, r.engine, r.host), r)
        if ": " in r.status and (r is first or r.status != first.status):
            place = beside(r, result) if r is not first else host_of(r, result) if several else ""
            found.append((about(r, name, place), r.status))
    return found


def notices(result: Benchmark) -> list[tuple[bool, str]]:
    """What a reader must know beside the figures: whether it makes them doubtful, and the text."""
    noise = result.noise
    notes = [(False, note) for note in result.notes]
    if noise is None or not noise.noisy:
        return notes
    said = [note for note in result.notes if noise.reasons and all(reason in note for reason in noise.reasons)]
    warning = " ".join(["The machine was not quiet, so the latencies are to be doubted.", *noise.reasons])
    return [(True, said[0] if said else warning), *(note for note in notes if note[1] not in said)]


def facts(row: Measurement) -> list[tuple[str, str]]:
    """The figures that a reader asks for first, as (name, text), without those that were not measured."""
    drop = interval(row.drop_pp, row.drop_low_pp, row.drop_high_pp)
    latency = duration(row.p50_us) + (f" (p99 {duration(row.p99_us)})" if row.p99_us is not None else "")
    pairs = [
        ("Accuracy", percent(row.accuracy)),
        ("Drop", f"{drop} pp" if drop else ""),
        ("Size", size(row.size_bytes)),
        ("Latency", latency),
        ("Speed-up", interval(row.speedup, row.speedup_low, row.speedup_high)),
        ("Status", short_status(row)),
    ]
    return [(name, text) for name, text in pairs if text]


def columns(result: Benchmark) -> list[Column]:
    """The columns that hold at least one figure; the host is one where there are several."""
    several = len(hosts_of(result)) > 1
    chosen = [Column("Host", "what it was measured on", *_both(lambda r: host_of(r, result)), False)] if several else []
    chosen += [c for c in SETTING if len({c.value(r) for r in result.results}) > 1] + _COLUMNS
    return [c for c in chosen if any(c.value(r) not in (None, "") for r in result.results)]


def _both(
    function: Callable[[Measurement], str],
) -> tuple[Callable[[Measurement], Value], Callable[[Measurement], str]]:
    return function, function


def _plain(
    field: str, form: Callable[[Any], str]
) -> tuple[Callable[[Measurement], Value], Callable[[Measurement], str]]:
    return (lambda r: getattr(r, field)), (lambda r: form(getattr(r, field)))


SETTING = [
    Column("Threads", "threads that the engine might use", *_plain("threads", str)),
    Column("Batch", "items in one timed call", *_plain("batch", str)),
]
"""Columns that are there only if files differ in them."""
_COLUMNS = [
    Column("Size", "size of the file", *_plain("size_bytes", size)),
    Column("Accuracy", "share of the test items classified rightly", *_plain("accuracy", percent)),
    Column(
        "Drop, pp",
        "accuracy of the baseline less this one's, with its 95 % interval",
        lambda r: r.drop_pp,
        lambda r: interval(r.drop_pp, r.drop_low_pp, r.drop_high_pp),
    ),
    Column("Status", "whether its accuracy is proven to be within the limit", lambda r: r.status, short_status, False),
    Column("p50", "median latency of a call", *_plain("p50_us", duration)),
    Column(
        "Speed-up",
        "latency of the baseline over this one's, with its 95 % interval",
        lambda r: r.speedup,
        lambda r: interval(r.speedup, r.speedup_low, r.speedup_high),
    ),
    Column("Memory", "peak resident memory over an empty process with the engine", *_plain("memory_bytes", size)),
    Column("Agrees", "share of the items put in the same class as the baseline", *_plain("agreement", percent)),
    Column("p90", "nine calls in ten are faster", *_plain("p90_us", duration)),
    Column("p99", "99 calls in a hundred are faster", *_plain("p99_us", duration)),
    Column("First", "latency of the first inference after opening", *_plain("first_us", duration)),
    Column("Load", "time to open the file", *_plain("load_ms", lambda v: duration(None if v is None else 1000 * v))),
    Column("Deflated", "size of the file as it travels", *_plain("compressed_bytes", size)),
    Column("F1", "macro average over the classes", *_plain("macro_f1", percent)),
    Column("ECE", "expected calibration error, 15 bins", *_plain("ece", lambda v: percent(v, ".1f"))),
]
"""Those that decide come first: a screen may not hold all."""
