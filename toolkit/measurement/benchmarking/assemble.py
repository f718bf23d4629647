"""The last step of a benchmark: from answers, timings and explanations to one `Benchmark`."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgepress import __version__
from edgepress.converters.schemes import BASELINES
from edgepress.toolkit import text
from edgepress.toolkit.data.for_model import data_record
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.machine.environments import engine_version
from edgepress.toolkit.measurement.benchmarking.accuracy import (
    accuracy_figures,
    accuracy_status,
    disagreements,
    error_figures,
    error_status,
    evidence_of,
    with_probability,
    without_promise,
)
from edgepress.toolkit.measurement.benchmarking.advice import choose, shipping_engines
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.measurement.benchmarking.expected import Odds
from edgepress.toolkit.measurement.benchmarking.explain import Explained
from edgepress.toolkit.measurement.benchmarking.more import Further
from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.measurement.benchmarking.plan import BenchmarkPlan
from edgepress.toolkit.measurement.benchmarking.remarks import best_engines, engine_notes, remarks_on
from edgepress.toolkit.measurement.benchmarking.timing import SEED, Timing, is_timed, latency_figures
from edgepress.toolkit.results.figures import AccuracyFigures, ErrorFigures, FileFigures
from edgepress.toolkit.results.records import Benchmark, Measurement, Noise, measurement
from edgepress.toolkit.stats.choice import Rule
from edgepress.toolkit.workers.opening import Candidate

MAX_LABELS = 1000
"""Most labels that results keep."""


def assemble(
    plan: BenchmarkPlan,
    answers: Mapping[Candidate, Answers | EdgepressError],
    timings: Mapping[Candidate, Timing | EdgepressError],
    explained: Explained,
    *,
    noise: Noise | None,
    host: Mapping[str, Any],
    options: BenchmarkOptions,
    more: Further | None = None,
) -> Benchmark:
    """All measurements of a benchmark, with the advice that follows from them.

    Args:
        plan: The plan.
        answers: The answers of each of its pairs, or why it failed.
        timings: Timings of the pairs that answered, by number of threads and batch size, or why they failed.
        explained: Limits and profiles.
        noise: How quiet the host was.
        host: The host (`describe_host`).
        options: The benchmark's settings.
        more: The items of `--more`, and the answers to them.
    """
    answers_of_baseline = answers[plan.baseline] if plan.baseline else None
    baseline = answers_of_baseline if isinstance(answers_of_baseline, Answers) else None
    odds = Odds.of(baseline, plan.data.test.y) if baseline is not None and plan.data.labels else None
    judged = {
        c: _judge(c, a, baseline, plan, odds=odds, max_drop_pp=options.max_drop_pp, more=more)
        for c, a in answers.items()
        if isinstance(a, Answers)
    }
    results = [*_assemble_measurements(plan, answers, judged, timings, explained=explained), *_broken(plan)]
    named: dict[str, Answers] = {}
    for pair, answered in answers.items():
        if isinstance(answered, Answers) and answered is not baseline and answered.rows is None:
            # Of two files with one scheme, the first is named.
            named.setdefault(f"{plan.contracts[pair.file].scheme} on {pair.engine}", answered)
    advised = [r for r in results if (r.threads, r.batch) == plan.shapes[0]]
    timed = {pair.engine for pair in plan.pairs if is_timed(pair)}
    advised = [r for r in advised if not timed or r.engine in {"", *timed}]
    advice = choose(
        advised,
        host=host,
        count=len(plan.data.test),
        max_drop_pp=options.max_drop_pp,
        rule=Rule.of(options.confidence, options.prefer),
        more=0 if more is None else len(more.items.labels),
        engines=shipping_engines(advised) if options.engine == "all" else (),
    )
    first = plan.contracts[plan.baseline.file if plan.baseline else next(iter(plan.contracts))]
    return Benchmark(
        host=host,
        data=data_record(plan.data) | {"labels": list(plan.data.labels[:MAX_LABELS])},
        baseline=plan.baseline
        and {"file": str(plan.baseline.file), "scheme": first.scheme, "engine": plan.baseline.engine or ""},
        keras_accuracy=next(iter(plan.contracts.values())).test_accuracy,
        max_drop_pp=options.max_drop_pp,
        results=tuple(results),
        advice=advice,
        notes=(
            *plan.notes,
            *(more.items.notes if more else ()),
            *explained.notes,
            *_estimates(answers, len(plan.data.test)),
            *_notes(plan, baseline, noise),
            *_without_promise(plan),
            *engine_notes(advised, host),
        ),
        best_engines=best_engines(advised),
        noise=noise,
        ceiling=next(iter(explained.ceilings.values()), None),
        disagreements=disagreements(named, baseline, data=plan.data) if baseline and plan.data.labels else (),
        remarks=remarks_on(plan, answers, advised, advice, options=options) if baseline and plan.data.labels else (),
        more=None if more is None else more.items.record,
        provenance={
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": options.command,
            "edgepress": __version__,
            "seed": SEED,
            "tools": {"numpy": np.__version__} | {c.engine: engine_version(c.engine) for c in plan.pairs if c.engine},
            "contract": dataclasses.asdict(first),
        },
    )


def _assemble_measurements(
    plan: BenchmarkPlan,
    answers: Mapping[Candidate, Answers | EdgepressError],
    judged: Mapping[Candidate, tuple[AccuracyFigures | ErrorFigures, str]],
    timings: Mapping[Candidate, Timing | EdgepressError],
    *,
    explained: Explained,
) -> list[Measurement]:
    """One measurement per pair, number of threads and batch size."""
    files = {path: _file_facts(plan, path) for path in plan.contracts}
    rows = []
    for threads, batch in plan.shapes:
        rival = timings.get(plan.baseline._replace(threads=threads, batch=batch)) if plan.baseline else None
        for pair in plan.pairs:
            candidate = pair._replace(threads=threads, batch=batch)
            scheme = plan.contracts[pair.file].scheme
            facts = files[pair.file]
            file = FileFigures(scheme=scheme, engine=pair.engine or "", threads=threads, batch=batch, **facts)
            answer = answers[pair]
            timing = timings.get(candidate)
            if isinstance(answer, EdgepressError):
                rows.append(measurement(file, status=f"failed: {answer}"))
            elif isinstance(timing, Timing):
                latency = latency_figures(timing, rival if isinstance(rival, Timing) else None)
                why = explained.of(candidate, file, latency.p50_us)
                figures, status = judged[pair]
                rows.append(measurement(file, figures, latency, why, status=status))
            elif not is_timed(pair):
                rows.append(measurement(file, judged[pair][0], status=judged[pair][1]))
            else:
                rows.append(measurement(file, judged[pair][0], status=f"failed: {timing}"))
    return rows


def _judge(
    pair: Candidate,
    answers: Answers,
    baseline: Answers | None,
    plan: BenchmarkPlan,
    *,
    odds: Odds | None,
    max_drop_pp: float,
    more: Further | None,
) -> tuple[AccuracyFigures | ErrorFigures, str]:
    """A file's accuracy, or if it has no labels its error, and whether it is usable."""
    if not plan.data.labels:
        error = error_figures(answers, baseline)
        return error, error_status(error)
    data = plan.data
    if answers.rows is not None:  # a slow file, which answered some items alone
        data = dataclasses.replace(data, test=data.test.take(answers.rows))
        baseline = None if baseline is None else baseline.at(answers.rows)
    accuracy = accuracy_figures(answers, baseline, data=data)
    if answers.rows is not None:
        # Which were right can't be compared with the items of other results.
        accuracy = dataclasses.replace(accuracy, correct="", items=len(answers.rows))
    if baseline is not None:
        evidence = evidence_of(answers, baseline, data)
        if more is not None:
            evidence = more.added(evidence, pair, plan.baseline)
        if odds is not None:
            sets = [(baseline, answers), *_answers_to_more(more, pair, plan.baseline)]
            evidence = dataclasses.replace(evidence, expected_lost=odds.expected_lost(sets))
        accuracy = with_probability(accuracy, evidence, max_drop_pp)
    return accuracy, accuracy_status(accuracy, max_drop_pp)


def _answers_to_more(
    more: Further | None, pair: Candidate, baseline: Candidate | None
) -> list[tuple[Answers, Answers]]:
    """The baseline's answers and a pair's to the items of `--more`; empty unless both answered them."""
    if more is None:
        return []
    reference = more.answered(baseline)
    answers = more.answered(pair)
    return [] if reference is None or answers is None else [(reference, answers)]


def _broken(plan: BenchmarkPlan) -> list[Measurement]:
    """One measurement per file without a contract."""
    threads, batch = plan.shapes[0]
    return [
        measurement(
            FileFigures(scheme="", engine="", threads=threads, batch=batch, **_file_facts(plan, path)),
            status=f"failed: {error.message}",
        )
        for path, error in plan.broken.items()
    ]


def _file_facts(plan: BenchmarkPlan, path: Path) -> dict[str, Any]:
    """The `FileFigures` that a file's bytes show."""
    content = path.read_bytes()
    return {
        "file": str(path),
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "compressed_bytes": len(zlib.compress(content)),
        "size_ratio": len(content) / plan.baseline.file.stat().st_size if plan.baseline else None,
    }


def _without_promise(plan: BenchmarkPlan) -> list[str]:
    """A sentence for each calibrated file on an engine other than that of its promise."""
    pairs = [(pair.file, pair.engine) for pair in plan.pairs if pair.engine is not None]
    withdrawn = [(file.name, without_promise(plan.contracts[file], engine)) for file, engine in pairs]
    return list(dict.fromkeys(f"{name}: {text}" for name, texts in withdrawn for text in texts))


def _estimates(answers: Mapping[Candidate, Answers | EdgepressError], count: int) -> list[str]:
    """A sentence for each slow file that answered some of the `count` items alone."""
    notes = []
    for pair, answered in answers.items():
        if isinstance(answered, Answers) and answered.rows is not None:
            items = len(answered.rows)
            item_s = text.duration(1e6 * answered.seconds / items)
            notes.append(
                f"{pair.file.name} on {pair.engine} takes {item_s} an item, so its accuracy, drop and agreement are "
                f"estimated from {items} of the {count} test items, evenly chosen. edgepress evaluate uses all."
            )
    return notes


def _notes(plan: BenchmarkPlan, baseline: Answers | None, noise: Noise | None) -> list[str]:
    notes = []
    differences = "drop" if plan.data.labels else "error"
    if plan.baseline is None:
        none = " and ".join(f"no {scheme} file" for scheme in BASELINES)
        notes.append(f"There is {none}, so {differences} and speed-up are unknown. Name a baseline with --baseline.")
    elif baseline is None:
        notes.append(f"The baseline {plan.baseline.file.name} failed, so {differences} and speed-up are unknown.")
    if noise is not None and noise.noisy:
        reasons = " ".join(noise.reasons)
        notes.append(f"The host was under load during timing, so the latencies are unreliable. {reasons}")
    if noise is not None and noise.turns == "spawn":
        pinned = "" if noise.cpus else ", which was not pinned to CPUs, so small differences are seen less surely"
        notes.append(f"Each turn of timing was a new process of Python{pinned}.")
    return notes
