"""Diagnose files on engines: profile each, compare its kernels with what this CPU reaches, report what stands out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from edgepress.converters.inspection import read
from edgepress.runtime.board import usable_cores
from edgepress.runtime.engines import ENGINES
from edgepress.runtime.errors import parsing
from edgepress.runtime.sessions import file_format
from edgepress.toolkit.diagnosing.about import about
from edgepress.toolkit.diagnosing.diagnosis import Diagnosis, parts
from edgepress.toolkit.diagnosing.finding import Case, findings
from edgepress.toolkit.diagnosing.instructions import missing
from edgepress.toolkit.diagnosing.sentences import summary
from edgepress.toolkit.diagnosing.sorting import DEPTHWISE, PRODUCT, sort
from edgepress.toolkit.engines.environments import usable_engines
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.host.system import load_average
from edgepress.toolkit.profiling.ceiling import measure_ceiling
from edgepress.toolkit.profiling.profile import RUNS, Profile, profile
from edgepress.toolkit.results.records import Ceiling
from edgepress.toolkit.text import duration

OnError: TypeAlias = Callable[[str, str, EdgepressError], None]
SLOWDOWN = 1.3
"""Slowdown by tracing from which a note says that shares of cheap kernels are too large."""

SLOW_TRACING = ("onnxruntime",)
"""Engines whose tracing takes time of its own; kernels of others that seem slowed down were disturbed."""
RETRIES = 2
DISTURBANCE = 0.1
"""Share of the latency taken by other programs from which a note says so."""


def diagnose(
    *files: str | Path,
    engines: str | Sequence[str] | None = None,
    threads: int = 1,
    runs: int = RUNS,
    on_start: Callable[[str], None] | None = None,
    on_error: OnError | None = None,
) -> list[Diagnosis]:
    """Say why files are slow, and what would mend it; takes about five seconds, and five more for each file and engine.

    Args:
        files: `.tflite` or `.onnx` classifiers, whoever made them.
        engines: Engines with a profiler, each used for the files that it opens; "all" takes all usable ones, None for
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
    reach: tuple[Ceiling | None, tuple[str, ...]] | None = None
    found: list[Diagnosis] = []
    for file in map(Path, files):
        chosen: Sequence[str | None] = ()
        with _reported(file, None, on_error):
            chosen = _engines(file, [engines] if isinstance(engines, str) else engines)
        for engine in chosen:
            say(f"Profiling {file}{f' on {engine}' if engine else ''}")
            with _reported(file, engine, on_error):
                made = _quiet_profile(file, engine, threads, runs)
                if reach is None:  # only now, because it takes seconds, and no file may be usable
                    say("Measuring what this CPU reaches")
                    reach = _reach(threads)
                found.append(diagnosis(made, reach[0], notes=reach[1]))
    return found


def _reach(threads: int) -> tuple[Ceiling | None, tuple[str, ...]]:
    """What this CPU reaches, or None and a note that says why that is not known."""
    try:
        return measure_ceiling(threads), ()
    except EdgepressError as e:  # everything else can still be reported
        return None, (f"What this CPU reaches is not known: {e.message}",)


def diagnosis(made: Profile, ceiling: Ceiling | None, *, notes: Sequence[str] = ()) -> Diagnosis:
    """The diagnosis of a profile that was made on this machine.

    Args:
        made: The profile.
        ceiling: What this CPU reaches with as many threads; None if that is not known.
        notes: Notes to begin with.

    Raises:
        ModelFileError: The file can't be read.
    """
    path = Path(made.file)
    found = read(path)
    with parsing(path):
        known = about(path, found)
    kernels = sort(made, ceiling, known.grouped)
    case = Case(made, kernels, known, missing())
    looked = findings(case)
    shares = parts(kernels, case.rest_us, case.whole_us, delegates=made.delegated_share is not None)
    products = [k for k in kernels if k.sort in (PRODUCT, DEPTHWISE)]
    taken = sum(k.time_us for k in products)
    mapped = sum(k.time_us for k in products if k.node.macs) / taken if taken else 1.0
    notes = list(notes)
    if mapped < 1 - 1e-9:
        notes.append(
            f"{made.engine} does not report which operations of the file some of its kernels compute: these, "
            f"{1 - mapped:.0%} of the products' time, are not compared with what this CPU reaches."
        )
    if made.tracing_slowdown > SLOWDOWN:
        slower = f"The kernels took {made.tracing_slowdown:.1f} times as long as the inference without tracing: "
        if made.engine in SLOW_TRACING:
            taken_off = (
                f"{kernels[0].tracing_us:.1f} µs were taken off each for it, and shares of cheap ones are uncertain."
            )
            notes.append(slower + taken_off)
        else:
            notes.append(f"{slower}they were disturbed, and their shares are not reliable.")
    disturbed = case.disturbed_us > DISTURBANCE * made.total_us
    load = load_average() or 0.0
    if load > usable_cores() or disturbed:
        part = f", and took {duration(case.disturbed_us)} of this latency" if disturbed else ""
        average = f" (load average {load:.1f})" if load else ""
        notes.append(f"Other programs were busy{average}{part}: repeat this on a quiet machine.")
    return Diagnosis(
        file=made.file,
        engine=made.engine,
        threads=made.threads,
        scheme=known.scheme,
        total_us=made.total_us,
        text=summary(looked, shares, kernels),
        parts=shares,
        findings=tuple(looked),
        mapped_share=mapped,
        ceiling=ceiling,
        notes=tuple(notes),
    )


@contextmanager
def _reported(file: Path, engine: str | None, on_error: OnError | None) -> Iterator[None]:
    """Report an error of a file on an engine, and go on; without `on_error`, raise it."""
    try:
        yield
    except EdgepressError as e:
        if on_error is None:
            raise
        on_error(str(file), engine or "", e)


def _quiet_profile(file: Path, engine: str | None, threads: int, runs: int) -> Profile:
    """A profile whose kernels take not much longer than the inference, if one of a few is such."""
    made = profile(file, engine, threads=threads, runs=runs)
    for _ in range(RETRIES if made.engine not in SLOW_TRACING else 0):
        if made.tracing_slowdown < SLOWDOWN:
            break
        made = min(made, profile(file, engine, threads=threads, runs=runs), key=lambda p: p.tracing_slowdown)
    return made


def _engines(file: Path, engines: Sequence[str] | None) -> Sequence[str | None]:
    """The engines to profile a file on; None stands for the first that is usable."""
    if engines is None:
        return [None]
    format = file_format(file)
    if list(engines) == ["all"]:
        return [e for e in usable_engines(format) if ENGINES[e].profiler] or [None]
    fitting = [e for e in engines if e not in ENGINES or format in ENGINES[e].formats]
    return fitting or list(engines)
