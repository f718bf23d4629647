"""Diagnose files on engines: profile each, compare its kernels with what this CPU reaches, report what stands out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

from edgepress.converters.inspection import read
from edgepress.runtime.board import usable_cores
from edgepress.runtime.engines import ENGINES
from edgepress.runtime.errors import parsing
from edgepress.runtime.sessions import file_format
from edgepress.toolkit.diagnosis.profiling.ceiling import measure_ceiling
from edgepress.toolkit.diagnosis.profiling.profile import RUNS, Profile, profile
from edgepress.toolkit.diagnosis.speed.about import about
from edgepress.toolkit.diagnosis.speed.causes import missing
from edgepress.toolkit.diagnosis.speed.diagnosis import (
    CALL,
    DEPTHWISE,
    PRODUCT,
    Diagnosis,
    SortedKernel,
    WorkTime,
    parts,
    sort,
)
from edgepress.toolkit.diagnosis.speed.finding import Case, findings
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.machine.environments import usable_engines
from edgepress.toolkit.machine.host import load_average
from edgepress.toolkit.results.figures import Finding
from edgepress.toolkit.results.records import Ceiling
from edgepress.toolkit.text import duration, percent

OnError: TypeAlias = Callable[[str, str, EdgepressError], None]
SLOWDOWN = 1.3
"""Slowdown by tracing from which a note says that shares of cheap kernels are too large."""
SLOW_TRACING = ("onnxruntime",)
"""Engines whose tracing takes time of its own; kernels of others that seem slowed down were disturbed."""
RETRIES = 2
"""Further profiles, if tracing slows the inference down too much."""
TOLD = 2
"""Findings that are put into words; all are in the table."""
DISTURBANCE = 0.1
"""Share of the latency taken by other programs from which a note says so."""


def diagnose(
    *files: str | Path,
    engine: str | Sequence[str] | None = None,
    threads: int = 1,
    runs: int = RUNS,
    on_start: Callable[[str], None] | None = None,
    on_error: OnError | None = None,
) -> list[Diagnosis]:
    """Say why files are slow, and how to fix it; takes about five seconds, and five more for each file and engine.

    Args:
        files: `.tflite` or `.onnx` classifiers, whoever made them.
        engine: Engines with a profiler, each used for the files that it opens; "all" takes all usable ones, None for
            each file the first usable one.
        threads: Number of threads that an engine may use, 1 to 256.
        runs: Number of inferences to time and to trace; fewer if they take over two seconds.
        on_start: Called with what begins, in words.
        on_error: Called with file, engine ("" if none was chosen) and error of what could not be profiled; None raises
            the error.

    Raises:
        InputError: No file was given, or a number is out of range.
        EngineError: An engine has no profiler, or does not open a file.
        ModelFileError: A file can't be opened.

    Example:
        >>> from edgepress.toolkit import diagnose
        >>> print(diagnose("edgepress-demo/variants/model-int8.tflite")[0].text)
    """
    if not files:
        raise InputError("No file was given.", "Give one or more .tflite or .onnx files.")
    say = on_start or (lambda text: None)
    wanted = [engine] if isinstance(engine, str) else engine
    reach: tuple[Ceiling | None, tuple[str, ...]] | None = None
    diagnoses: list[Diagnosis] = []
    for file in map(Path, files):
        names: Sequence[str | None] = ()
        with _report_errors(file, None, on_error):
            names = _engines(file, wanted)
        for name in names:
            say(f"Profiling {file}{f' on {name}' if name else ''}")
            with _report_errors(file, name, on_error):
                measured = _quiet_profile(file, name, threads, runs)
                reach = reach or _measure_reach(threads, say)  # takes seconds, and no file may be usable
                diagnoses.append(diagnosis(measured, reach[0], notes=reach[1]))
    return diagnoses


def _measure_reach(threads: int, say: Callable[[str], None]) -> tuple[Ceiling | None, tuple[str, ...]]:
    """What this CPU reaches, or None and a note that says why that is not known."""
    say("Measuring what this CPU reaches")
    try:
        return measure_ceiling(threads), ()
    except EdgepressError as e:  # everything else can still be reported
        return None, (f"What this CPU reaches is not known: {e.message}",)


def diagnosis(measured: Profile, ceiling: Ceiling | None, *, notes: Sequence[str] = ()) -> Diagnosis:
    """The diagnosis of a profile that was made on this machine.

    Args:
        measured: The profile.
        ceiling: What this CPU reaches with as many threads; None if that is not known.
        notes: Notes to begin with.

    Raises:
        ModelFileError: The file can't be read.
    """
    path = Path(measured.file)
    inspection = read(path)
    with parsing(path):
        known = about(path, inspection)
    kernels = sort(measured, ceiling, known.grouped)
    case = Case(measured, kernels, known, missing())
    case_findings = findings(case)
    shares = parts(kernels, case.rest_us, case.whole_us, delegates=measured.delegated_share is not None)
    products = [k for k in kernels if k.sort in (PRODUCT, DEPTHWISE)]
    time_us = sum(k.time_us for k in products)
    mapped = sum(k.time_us for k in products if k.node.macs) / time_us if time_us else 1.0
    notes = list(notes)
    if mapped < 1 - 1e-9:
        notes.append(
            f"{measured.engine} does not report which operations of the file some of its kernels compute: these, "
            f"{1 - mapped:.0%} of the products' time, are not compared with what this CPU reaches."
        )
    if measured.tracing_slowdown > SLOWDOWN:
        slower = f"The kernels took {measured.tracing_slowdown:.1f} times as long as the inference without tracing: "
        if measured.engine in SLOW_TRACING:
            taken_off = f"{kernels[0].tracing_us:.1f} µs were taken off each for it"
            notes.append(f"{slower}{taken_off}, and shares of cheap ones are uncertain.")
        else:
            notes.append(f"{slower}they were disturbed, and their shares are not reliable.")
    disturbed = case.disturbed_us > DISTURBANCE * measured.total_us
    load = load_average() or 0.0
    if load > usable_cores() or disturbed:
        part = f", and took {duration(case.disturbed_us)} of this latency" if disturbed else ""
        average = f" (load average {load:.1f})" if load else ""
        notes.append(f"Other programs were busy{average}{part}: repeat this on a quiet machine.")
    return Diagnosis(
        file=measured.file,
        engine=measured.engine,
        threads=measured.threads,
        scheme=known.scheme,
        total_us=measured.total_us,
        text=summary(case_findings, shares, kernels),
        parts=shares,
        findings=tuple(case_findings),
        mapped_share=mapped,
        ceiling=ceiling,
        notes=tuple(notes),
    )


@contextmanager
def _report_errors(file: Path, engine: str | None, on_error: OnError | None) -> Iterator[None]:
    """Report an error of a file on an engine, and go on; without `on_error`, raise it."""
    try:
        yield
    except EdgepressError as e:
        if on_error is None:
            raise
        on_error(str(file), engine or "", e)


def _quiet_profile(file: Path, engine: str | None, threads: int, runs: int) -> Profile:
    """A profile whose kernels take not much longer than the inference, if one of a few is such."""
    measured = profile(file, engine, threads=threads, runs=runs)
    for _ in range(RETRIES if measured.engine not in SLOW_TRACING else 0):
        if measured.tracing_slowdown < SLOWDOWN:
            break
        measured = min(measured, profile(file, engine, threads=threads, runs=runs), key=lambda p: p.tracing_slowdown)
    return measured


def _engines(file: Path, engines: Sequence[str] | None) -> Sequence[str | None]:
    """The engines to profile a file on; None stands for the first that is usable."""
    if engines is None:
        return [None]
    format = file_format(file)
    if list(engines) == ["all"]:
        return [e for e in usable_engines(format) if ENGINES[e].profiler] or [None]
    fitting = [e for e in engines if e not in ENGINES or format in ENGINES[e].formats]
    return fitting or list(engines)


def summary(findings: Sequence[Finding], parts: Sequence[WorkTime], kernels: Sequence[SortedKernel]) -> str:
    """What was found, in a few sentences: what takes most time, how to fix it, and how the rest does."""
    if not any(k.time_us for k in kernels):
        return "Every kernel takes less than the profiler's microsecond: nothing can be said of where the time goes."
    if not findings:
        return f"Nothing stands out: {_products(parts)}."
    told = list(findings[:TOLD])
    if all(not f.fix for f in told):
        told += [f for f in findings if f.fix][:1]
    sentences = [_sentence(list(alike)) for _, alike in groupby(told, key=lambda f: (f.fix, f.command))]
    if rest := len(findings) - len(told):
        sentences.append(f"{rest} smaller {'finding' if rest == 1 else 'findings'} below.")
    return " ".join(sentences)


def _sentence(alike: Sequence[Finding]) -> str:
    """Findings with the same fix, in one sentence."""
    first, *others = alike
    goes = [f"{_share(first.share)} of the time goes to {first.text}"]
    goes += [f"{_share(one.share)} to {one.text}" for one in others]
    fix = f"{first.fix}: `{first.command}`" if first.fix else "no known fix"
    return f"{', and '.join(goes)}; {fix}."


def _products(parts: Sequence[WorkTime]) -> str:
    """How much of the time goes to products, and how close those that the table compares come to the CPU's reach."""
    products = [p for p in parts if p.work in (PRODUCT, DEPTHWISE)]
    text = f"{_share(sum(p.share for p in products))} of the time is in convolutions and dense layers"
    compared = [p for p in products if p.reach is not None]
    if not compared:
        return f"{text}, whose kernels are too short, or too little known, to be compared with what this CPU reaches"
    time_us = sum(p.time_us for p in compared)
    reach = sum((p.reach or 0.0) * p.time_us for p in compared) / time_us if time_us else 0.0
    part = (
        ""
        if len(compared) == len(products)
        else f", those {_share(sum(p.share for p in compared))} that can be compared"
    )
    other = max((p for p in parts if p.work not in (PRODUCT, DEPTHWISE)), key=lambda p: p.share, default=None)
    also = f", {_share(other.share)} {'is' if other.work == CALL else 'in'} {other.work}" if other else ""
    return f"{text}{part} at {_share(reach)} of what this CPU reaches in such work{also}"


def _share(share: float) -> str:
    return percent(share, ".0f")
