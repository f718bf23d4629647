"""Measure converted files side by side: accuracy, drop, agreement, size, memory and latency, on each engine.

    edgepress benchmark runs/a/variants --data digits

The baseline is the float32 TFLite file on LiteRT unless another is named; it is measured even if its engine was not
asked for. Without a float baseline the figures of each file are still measured, but no drop or speed-up is known, and
the result says so. Accuracy comes first and from all cores (`collect`), because nothing is timed that does not answer;
then candidates are timed, one at a time (`timing`).
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import hashlib
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgepress import __version__
from edgepress.converters.files import write_json, write_text
from edgepress.runtime import Contract
from edgepress.toolkit.benchmarking.accuracy import disagreements, with_accuracy
from edgepress.toolkit.benchmarking.advice import MAX_DROP_PP, choose, engine_notes
from edgepress.toolkit.benchmarking.best_engine import best_engines
from edgepress.toolkit.benchmarking.collect import Answers, OnProgress, collect_answers
from edgepress.toolkit.benchmarking.explain import with_ceilings, with_profiles
from edgepress.toolkit.benchmarking.plan import (
    BASELINE,
    counts,
    find_baseline,
    find_engines,
    find_files,
    read_contracts,
)
from edgepress.toolkit.benchmarking.quiet import Watch
from edgepress.toolkit.benchmarking.timing import ITEMS, ROUNDS, SEED, Timing, time_candidates, with_timing
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.engines.environments import engine_version, usable_engines
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.evaluation import data_for, data_record
from edgepress.toolkit.host.cpus import choose_cpus
from edgepress.toolkit.host.describe import describe_host
from edgepress.toolkit.results.records import Benchmark, Disagreement, Measurement
from edgepress.toolkit.workers.opening import Candidate, Opening

MAX_THREADS, MAX_BATCH = 256, 4096
MAX_LABELS = 1000


def benchmark(
    files: str | Path | Sequence[str | Path],
    *,
    data: str | None = None,
    engines: str = "all",
    threads: int | Sequence[int] = 1,
    batch: int | Sequence[int] = 1,
    rounds: int = ROUNDS,
    cpus: Sequence[int] | None = None,
    time_cap_s: float = 120.0,
    timing_s: float = 10.0,
    baseline: str | None = None,
    max_drop_pp: float = MAX_DROP_PP,
    skip_unreadable: bool = False,
    limits: bool = False,
    profile: bool = False,
    cache: Path | None = None,
    command: str = "",
    on_progress: OnProgress | None = None,
) -> Benchmark:
    """Measure files on engines over the test split, on this host.

    Args:
        files: `.tflite` and `.onnx` files, or one folder of them.
        data: The data, as for training; None opens what the files' contract names.
        engines: "all" usable ones that open a file, or names separated by commas.
        threads: Threads that an engine may use, 1 to 256; with several numbers, all are timed.
        batch: Items in one timed call, 1 to 4096; with several numbers, all are timed.
        rounds: Rounds of timing over all candidates. At least 6 give an interval.
        cpus: CPUs to time on; None: as many as a candidate has threads, where the system can pin processes.
        time_cap_s: Seconds that one file on one engine may take to classify the test split; beyond them it has failed.
        timing_s: Seconds of its own turns after which a candidate takes no more.
        baseline: A file or a scheme among `files` that the others are held against.
        max_drop_pp: Accuracy drop that is still usable, percentage points.
        skip_unreadable: Leave out images that can't be read instead of failing.
        limits: Also measure what this CPU can do at most, and the share of it that each file reaches; some seconds.
        profile: Also measure the time of each operation, where the engine tells it; some seconds a file and engine.
        cache: Folder that keeps answers, so that a run that was stopped goes on; see `answers_cache.default_cache`.
        command: The command line to note in the result.
        on_progress: Called with a phase and the share of it that is done, 0-1.

    Returns:
        All measurements and the advice. A file that can't be measured has a measurement with the status "failed: ...".

    Raises:
        EdgepressError: No file can be used, the data do not fit, or an option is wrong.

    Example:
        >>> from edgepress.toolkit import benchmark
        >>> folder = "edgepress-demo/variants/"
        >>> result = benchmark([folder + "model-float32.tflite", folder + "model-int8.tflite"])
        >>> print(result.advice.ship, result.advice.why)
    """
    shapes = [
        (t, b)
        for t in counts(threads, "The number of threads", most=MAX_THREADS)
        for b in counts(batch, "The batch size", most=MAX_BATCH)
    ]
    chosen = find_engines(engines)
    contracts, broken = read_contracts(find_files(files))
    reference = find_baseline(contracts, broken, baseline)
    pairs = [Candidate(p, e) for p in contracts for e in usable_engines(p.suffix[1:]) if e in chosen]
    if not pairs:
        raise InputError(f"No engine of {', '.join(chosen)} opens any of the files.", "Name other files or engines.")
    left_out = [p.name for p in contracts if p not in {c.file for c in pairs}]
    if reference is not None and reference not in pairs:
        pairs.insert(0, reference)

    first = next(iter(contracts))
    opened, notes = data_for(contracts[first], data, where=first, skip_unreadable=skip_unreadable)
    host = describe_host()  # before the measurement, so that the load it records is that of others
    given = collect_answers(pairs, opened, cap_s=time_cap_s, cache=cache, on_progress=on_progress)
    answers = dict(zip(pairs, given, strict=True))
    right = [c for c in pairs if isinstance(answers[c], Answers)]
    candidates = [c._replace(threads=t, batch=b) for t, b in shapes for c in right]
    watch = Watch(tuple(cpus) if cpus is not None else choose_cpus(max(t for t, _ in shapes)))
    openings = [Opening(c, opened.labels, opened.input, _cpus(c, cpus)) for c in candidates]
    items = opened.test.read(np.arange(min(ITEMS, len(opened.test))))
    timed = (
        time_candidates(
            openings, items, watch, rounds=rounds, timing_s=timing_s, cap_s=time_cap_s, on_progress=on_progress
        )
        if openings
        else []
    )
    timings = dict(zip(candidates, timed, strict=True))

    against = answers[reference] if reference is not None else None
    rows: dict[Candidate, Measurement] = {}
    for pair in pairs:
        row = _about_file(pair.file, contracts[pair.file].scheme, pair.engine or "")
        found = answers[pair]
        if isinstance(found, EdgepressError):
            row = replace(row, status=f"failed: {found}")
        else:
            held_against = against if isinstance(against, Answers) else None
            row = with_accuracy(row, found, held_against, data=opened, max_drop_pp=max_drop_pp)
        for t, b in shapes:
            rival = timings.get(reference._replace(threads=t, batch=b)) if reference is not None else None
            candidate = pair._replace(threads=t, batch=b)
            shaped = replace(row, threads=t, batch=b)
            rows[candidate] = _with_timing(shaped, timings.get(candidate), rival)
    results = [rows[c._replace(threads=t, batch=b)] for t, b in shapes for c in pairs]
    results += [
        replace(_about_file(p, "", ""), threads=shapes[0][0], batch=shapes[0][1], status=f"failed: {e.message}")
        for p, e in broken.items()
    ]
    if reference is not None:
        size = reference.file.stat().st_size
        results = [replace(r, size_ratio=r.size_bytes / size) for r in results]

    ceiling = None
    if limits:
        results, ceiling, failed = with_ceilings(results)
        notes += failed
    if profile:
        results, failed = with_profiles(results, items, on_progress=on_progress)
        notes += failed

    noise = watch.noise(_medians(timings, reference)) if openings else None
    if reference is None:
        notes.append(f"There is no {BASELINE} file, so no drop or speed-up is known. Name another with --baseline.")
    elif not isinstance(against, Answers):
        notes.append(f"The baseline {reference.file.name} failed, so no drop or speed-up is known.")
    if left_out:
        notes.append(f"Left out, as no engine of {', '.join(chosen)} opens them: {', '.join(left_out)}.")
    if noise is not None and noise.noisy:
        notes.append(" ".join(["The host was not quiet, so latencies are to be doubted.", *noise.reasons]))
    advised = [r for r in results if (r.threads, r.batch) == shapes[0]]
    return Benchmark(
        host=host,
        data=data_record(opened) | {"labels": list(opened.labels[:MAX_LABELS])},
        baseline=reference and _about(reference, contracts[reference.file]),
        keras_accuracy=contracts[first].test_accuracy,
        max_drop_pp=max_drop_pp,
        results=tuple(results),
        advice=choose(advised, host=host, count=len(opened.test), max_drop_pp=max_drop_pp),
        notes=(*notes, *engine_notes(advised, host)),
        best_engines=best_engines(advised),
        noise=noise,
        ceiling=ceiling,
        disagreements=_disagreements(rows, answers, against, opened),
        provenance=_provenance(command, pairs, contracts[reference.file if reference is not None else first]),
    )


def write_benchmark(result: Benchmark, out: Path) -> list[Path]:
    """Write `benchmark.json`, `benchmark.csv` and `accuracy_size_latency.png` into a folder; returns their paths.

    The table holds a measurement's single figures; lists (rounds, classes, profile) are in the JSON document alone.
    """
    from edgepress.toolkit.benchmarking.plots import plot_benchmark

    paths = [out / "benchmark.json", out / "benchmark.csv", out / "accuracy_size_latency.png"]
    document = result.to_dict()
    write_json(paths[0], document)
    columns = [f.name for f in fields(Measurement) if f.default != () and f.name != "correct"]
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(document["results"])
    write_text(paths[1], table.getvalue())
    plot_benchmark(result, paths[2])
    return paths


def _cpus(candidate: Candidate, given: Sequence[int] | None) -> tuple[int, ...]:
    return choose_cpus(candidate.threads) if given is None else tuple(given)


def _about(candidate: Candidate, contract: Contract) -> dict[str, str]:
    return {"file": str(candidate.file), "scheme": contract.scheme, "engine": candidate.engine or ""}


def _about_file(path: Path, scheme: str, engine: str) -> Measurement:
    """What a file's bytes tell."""
    content = path.read_bytes()
    return Measurement(
        file=str(path),
        scheme=scheme,
        engine=engine,
        threads=1,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        compressed_bytes=len(zlib.compress(content)),
    )


def _with_timing(
    row: Measurement, timing: Timing | EdgepressError | None, rival: Timing | EdgepressError | None
) -> Measurement:
    if isinstance(timing, EdgepressError):
        return replace(row, status=f"failed: {timing}")
    if timing is None:  # its accuracy could not be measured, which the row says
        return row
    return with_timing(row, timing, rival if isinstance(rival, Timing) else None)


def _medians(timings: Mapping[Candidate, Timing | EdgepressError], reference: Candidate | None) -> list[float]:
    """Round medians of the baseline, or of the first candidate where there is none."""
    known = {c: t for c, t in timings.items() if isinstance(t, Timing)}
    own = [t for c, t in known.items() if reference is not None and c[:2] == reference[:2]]
    return [float(v) for v in (own or [*known.values()])[0].medians] if known else []


def _disagreements(
    rows: Mapping[Candidate, Measurement],
    answers: Mapping[Candidate, Answers | EdgepressError],
    against: Answers | EdgepressError | None,
    data: DataSet,
) -> tuple[Disagreement, ...]:
    if not isinstance(against, Answers):
        return ()
    pairs = {c: a for c, a in answers.items() if isinstance(a, Answers)}
    about = [next(r for c, r in rows.items() if c[:2] == pair[:2]) for pair in pairs]
    return disagreements(about, list(pairs.values()), against, data=data)


def _provenance(command: str, pairs: Sequence[Candidate], contract: Contract) -> dict[str, Any]:
    engines = dict.fromkeys(c.engine for c in pairs if c.engine is not None)
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "edgepress": __version__,
        "seed": SEED,
        "tools": {"numpy": np.__version__} | {name: engine_version(name) for name in engines},
        "contract": dataclasses.asdict(contract),
    }
