"""Measure converted files side by side: accuracy, drop, agreement, size, load time and latency, on each engine.

    edgepress benchmark runs/a/variants --data digits

The baseline is the float32 TFLite file on LiteRT unless another is named; it is measured even if its engine was not
asked for. Without a float baseline the figures of each file are still measured, but no drop or speed-up is known, and
the result says so. The interpreter process, the rounds and the caps are described in `edgepress.toolkit.measure`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from edgepress.converters import SCHEMES
from edgepress.converters.files import write_json, write_text
from edgepress.runtime import ENGINES, Contract, available_engines
from edgepress.toolkit.advice import MAX_DROP_PP, choose, engine_notes
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import EdgepressError, InputError, MissingExtraError, ModelFileError, unknown
from edgepress.toolkit.evaluate import contract_of, data_for, data_record
from edgepress.toolkit.host import describe_host
from edgepress.toolkit.intervals import Interval, paired_drop, paired_ratio
from edgepress.toolkit.measure import Candidate, OnProgress, Outcome, Plan, run_plan
from edgepress.toolkit.measurement import DROP, NO_BASELINE, UNPROVEN, USABLE, Benchmark, Measurement
from edgepress.toolkit.metrics import classification_metrics

BASELINE = "tflite-float32"
SUFFIXES = (".tflite", ".onnx")


def benchmark(
    files: str | Path | Sequence[str | Path],
    *,
    data: str | None = None,
    engines: str = "all",
    threads: int = 1,
    rounds: int = 20,
    time_cap_s: float = 120.0,
    timing_s: float = 10.0,
    baseline: str | None = None,
    max_drop_pp: float = MAX_DROP_PP,
    skip_unreadable: bool = False,
    on_progress: OnProgress | None = None,
) -> Benchmark:
    """Measure files on engines over the test split, on this host.

    Args:
        files: `.tflite` and `.onnx` files, or one folder of them.
        data: The data, as for training; None opens what the files' contract names.
        engines: "all" installed ones that open a file, or names separated by commas.
        threads: Threads that an engine may use.
        rounds: Rounds of timing over all files; each opens them anew. At least 6 give an interval.
        time_cap_s: Seconds that one file on one engine may take to classify the test split; beyond them it has failed.
        timing_s: Seconds of timing after which a file on an engine takes part in no further round.
        baseline: A file or a scheme among `files` that the others are held against.
        max_drop_pp: Accuracy drop that is still usable, percentage points.
        skip_unreadable: Leave out images that can't be read instead of failing.
        on_progress: Called with a phase and the share of it that is done, 0-1.

    Returns:
        All measurements and the advice. A file that can't be measured has a measurement with the status "failed: ...".

    Raises:
        EdgepressError: No file can be used, the data do not fit, or an option is wrong.
    """
    chosen = _engines(engines)
    contracts, broken = _contracts(find_files(files))
    reference = _reference(contracts, baseline)
    candidates = [Candidate(p, e) for p in contracts for e in available_engines(p.suffix[1:]) if e in chosen]
    if not candidates:
        raise InputError(f"No engine of {', '.join(chosen)} opens any of the files.", "Name other files or engines.")
    left_out = [p.name for p in contracts if p not in {c.file for c in candidates}]
    if reference is not None and reference not in candidates:
        candidates.insert(0, reference)

    first = next(iter(contracts))
    opened, notes = data_for(contracts[first], data, where=first, skip_unreadable=skip_unreadable)
    host = describe_host()  # before the measurement, so that the load it records is that of others
    plan = Plan(tuple(candidates), opened.test, opened.labels, opened.input, threads, rounds, time_cap_s, timing_s)
    outcomes = dict(zip(candidates, run_plan(plan, on_progress=on_progress), strict=True))
    against = outcomes[reference] if reference is not None else None
    results = [
        _measured(_row(c, contracts[c.file].scheme, threads), outcome, against, data=opened, max_drop_pp=max_drop_pp)
        for c, outcome in outcomes.items()
    ]
    results += [
        replace(_row(Candidate(path, None), "", threads), status=f"failed: {error.message}")
        for path, error in broken.items()
    ]
    if reference is not None:
        size = reference.file.stat().st_size
        results = [replace(r, size_ratio=r.size_bytes / size) for r in results]

    if reference is None:
        notes.append(f"There is no {BASELINE} file, so no drop or speed-up is known. Name another with --baseline.")
    elif against is not None and against.predicted is None:
        notes.append(f"The baseline {reference.file.name} failed, so no drop or speed-up is known.")
    if left_out:
        notes.append(f"Left out, as no engine of {', '.join(chosen)} opens them: {', '.join(left_out)}.")
    return Benchmark(
        host=host,
        data=data_record(opened),
        baseline=reference and _about(reference, contracts[reference.file]),
        keras_accuracy=contracts[first].test_accuracy,
        max_drop_pp=max_drop_pp,
        results=tuple(results),
        advice=choose(results, host=host, count=len(opened.test), max_drop_pp=max_drop_pp),
        notes=(*notes, *engine_notes(results, host)),
    )


def find_files(files: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files named, or the `.tflite` and `.onnx` files in the one folder named, without repeats.

    Raises:
        InputError: A path does not exist, or the folder holds no such file.
    """
    paths = [Path(f) for f in ([files] if isinstance(files, (str, Path)) else files)]
    if len(paths) == 1 and paths[0].is_dir():
        folder = paths[0]
        found = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES)
        if not found:
            hint = f"Name {folder / 'variants'}." if (folder / "variants").is_dir() else "Make some: edgepress convert."
            raise InputError(f"{folder} holds no .tflite or .onnx file.", hint)
        return found
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist.", "Check the path.")
        if path.suffix not in SUFFIXES:
            raise InputError(f"{path} is not a .tflite or .onnx file.", "Name such files, or one folder of them.")
    return list(dict.fromkeys(paths))


def write_benchmark(result: Benchmark, out: Path) -> list[Path]:
    """Write `benchmark.json`, `benchmark.csv` and `accuracy_size_latency.png` into a folder; returns their paths."""
    from edgepress.toolkit.benchmark_plots import plot_benchmark

    paths = [out / "benchmark.json", out / "benchmark.csv", out / "accuracy_size_latency.png"]
    document = result.to_dict()
    write_json(paths[0], document)
    table = io.StringIO()
    writer = csv.DictWriter(table, [f.name for f in fields(Measurement)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(document["results"])
    write_text(paths[1], table.getvalue())
    plot_benchmark(result, paths[2])
    return paths


def _engines(text: str) -> list[str]:
    """Engine names from "all" or a list; every one is known and installed."""
    installed = available_engines()
    names = [w for w in (word.strip() for word in text.split(",")) if w]
    if names == ["all"]:
        return installed
    for name in names:
        if name not in ENGINES:
            raise unknown("engine", name, ("all", *ENGINES))
        if name not in installed:
            raise MissingExtraError(f"The engine {name}", ENGINES[name].package, ENGINES[name].extra)
    if not names:
        raise InputError("No engine was given.", f"Accepted: all, or a list of {', '.join(ENGINES)}.")
    return names


def _contracts(paths: Sequence[Path]) -> tuple[dict[Path, Contract], dict[Path, EdgepressError]]:
    """The files' contracts in the order of the scheme table, and the errors of those that have none."""
    contracts: dict[Path, Contract] = {}
    broken: dict[Path, EdgepressError] = {}
    for path in paths:
        try:
            contracts[path] = contract_of(path)
        except ModelFileError as e:
            broken[path] = e
    if not contracts:
        raise next(iter(broken.values()))
    order = {name: n for n, name in enumerate(SCHEMES)}
    return dict(sorted(contracts.items(), key=lambda item: order.get(item[1].scheme, len(order)))), broken


def _reference(contracts: Mapping[Path, Contract], baseline: str | None) -> Candidate | None:
    """The pair that the others are held against: a file or scheme by name, on the first engine that opens it."""
    for path, contract in contracts.items():
        if baseline is None and contract.scheme != BASELINE:
            continue
        if baseline is not None and baseline not in (contract.scheme, path.name) and Path(baseline) != path:
            continue
        if engines := available_engines(path.suffix[1:]):
            return Candidate(path, engines[0])
    if baseline is not None:
        raise unknown("baseline", baseline, [p.name for p in contracts])
    return None


def _about(candidate: Candidate, contract: Contract) -> dict[str, str]:
    return {"file": str(candidate.file), "scheme": contract.scheme, "engine": candidate.engine or ""}


def _row(candidate: Candidate, scheme: str, threads: int) -> Measurement:
    size = candidate.file.stat().st_size
    engine = candidate.engine or ""
    return Measurement(file=str(candidate.file), scheme=scheme, engine=engine, threads=threads, size_bytes=size)


def _measured(
    row: Measurement, outcome: Outcome, against: Outcome | None, *, data: DataSet, max_drop_pp: float
) -> Measurement:
    """A row filled with what the child reported of its pair, compared with the baseline's outcome."""
    row = replace(row, load_ms=outcome.load_ms)
    if outcome.predicted is None:
        return replace(row, status=f"failed: {outcome.error}")
    y = data.test.y
    metrics = classification_metrics(y, outcome.predicted, labels=data.labels)
    row = replace(row, **{k: metrics[k] for k in ("accuracy", "macro_precision", "macro_recall", "macro_f1")})
    status = NO_BASELINE
    if against is not None and against.predicted is not None:
        drop = paired_drop(against.predicted == y, outcome.predicted == y)
        if outcome is against:
            drop = Interval(0.0, 0.0, 0.0)  # the reference itself: by definition, not by measurement
        row = replace(row, drop_pp=drop.estimate, drop_low_pp=drop.low, drop_high_pp=drop.high)
        row = replace(row, agreement=float(np.mean(outcome.predicted == against.predicted)))
        proven = drop.high is not None and drop.high <= max_drop_pp
        status = USABLE if proven else DROP if drop.estimate > max_drop_pp else UNPROVEN
    if outcome.rounds:
        times = np.concatenate(outcome.rounds) / 1000
        p50, p90, p99 = (float(v) for v in np.percentile(times, (50, 90, 99)))
        row = replace(row, p50_us=p50, p90_us=p90, p99_us=p99, count=len(times))
        if against is not None and against.rounds:
            ratio = paired_ratio(*(np.array([np.median(r) for r in o.rounds]) for o in (against, outcome)))
            row = replace(row, speedup=ratio.estimate, speedup_low=ratio.low, speedup_high=ratio.high)
    return replace(row, status=f"failed: {outcome.error}" if outcome.error else status)
