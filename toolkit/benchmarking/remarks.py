"""What else than quantization limits a benchmark's files: remarks on the float baseline and on the test items."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgepress.converters.schemes import BASELINES
from edgepress.runtime.decisions import same_answers
from edgepress.toolkit.benchmarking.advice import MAX_DROP_PP
from edgepress.toolkit.benchmarking.collect import Answers
from edgepress.toolkit.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.benchmarking.plan import SUFFIXES, BenchmarkPlan
from edgepress.toolkit.documents import read_json
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.remarks.checks import remarks
from edgepress.toolkit.remarks.facts import FloatPair
from edgepress.toolkit.remarks.remark import Remark
from edgepress.toolkit.results.records import UNPROVEN, Advice, Measurement
from edgepress.toolkit.results.run_files import METRICS, run_model
from edgepress.toolkit.stats.choice import CONFIDENCE, Rule
from edgepress.toolkit.training.file_facts import facts_of_file
from edgepress.toolkit.workers.opening import Candidate

SMALLER = 0.75
"""A file that too few items leave unproven matters if it has at most this share of the size of the file to ship."""


def remarks_on(
    plan: BenchmarkPlan,
    answers: Mapping[Candidate, Answers | EdgepressError],
    results: Sequence[Measurement],
    advice: Advice,
    *,
    options: BenchmarkOptions,
) -> tuple[Remark, ...]:
    """The remarks on a benchmark; none if its baseline is not a float file, or did not answer.

    Args:
        plan: The plan, with a baseline.
        answers: The answers of each of its pairs, or why it failed.
        results: One measurement a pair.
        advice: Which file to ship.
        options: The benchmark's settings.
    """
    baseline = plan.baseline
    reference = None if baseline is None else answers[baseline]
    if baseline is None or not isinstance(reference, Answers) or plan.contracts[baseline.file].scheme not in BASELINES:
        return ()
    facts = facts_of_file(
        baseline.file,
        plan.contracts[baseline.file],
        plan.data,
        reference.predicted,
        command=("edgepress", "benchmark", *_name_files(plan), *_comparison_options(options)),
        hints=plan.hints,
        pair=_unproven(plan, baseline, reference, answers, results=results, advice=advice),
        max_drop_pp=options.max_drop,
    )
    return remarks(facts)


def remarked_in_training(file: Path) -> tuple[str, ...]:
    """The kinds of the remarks that the training of a file's run made; none if its run is not beside it."""
    folder = next((each for each in (file.parent, file.parent.parent) if run_model(each)), None)
    try:
        rows = read_json(folder / METRICS)["remarks"] if folder else ()
        return tuple(str(row["kind"]) for row in rows)
    except (OSError, ValueError, LookupError, TypeError, EdgepressError):  # damaged, or of an older edgepress
        return ()


def _comparison_options(options: BenchmarkOptions) -> list[str]:
    """The options that decide what is compared with what, and within which limit, unless they are the defaults."""
    options_used = {
        "--engine": options.engine,
        "--baseline": options.baseline or "",
        "--max-drop": f"{options.max_drop:g}",
        "--confidence": f"{100 * Rule.of(options.confidence).confidence:g}%",
        "--prefer": options.prefer,
    }
    usual = {"--engine": "all", "--baseline": "", "--max-drop": f"{MAX_DROP_PP:g}"}
    usual |= {"--confidence": f"{100 * CONFIDENCE:g}%", "--prefer": "balanced"}
    return [word for name, value in options_used.items() if value != usual[name] for word in (name, value)]


def _name_files(plan: BenchmarkPlan) -> list[str]:
    """The files as arguments of a command: their folder, if they are all of its files."""
    files = [*plan.contracts, *plan.broken]
    folder = files[0].parent
    whole = {*files} == {p for p in folder.iterdir() if p.suffix in SUFFIXES}
    return [str(path) for path in ([folder] if whole else files)]


def _unproven(
    plan: BenchmarkPlan,
    baseline: Candidate,
    reference: Answers,
    answers: Mapping[Candidate, Answers | EdgepressError],
    *,
    results: Sequence[Measurement],
    advice: Advice,
) -> FloatPair | None:
    """The smallest file whose drop may well be within the limit, if it is clearly smaller than the one to ship."""
    sizes = [r.size_bytes for r in results if r.file == advice.ship]
    most = SMALLER * min(sizes) if sizes else float("inf")
    rows = [r for r in results if r.status == UNPROVEN and r.size_bytes <= most]
    if not rows:
        return None
    row = min(rows, key=lambda r: (r.size_bytes, r.drop_high_pp or 0.0))
    pair = next(c for c in plan.pairs if (str(c.file), c.engine or "") == (row.file, row.engine))
    candidate = answers[pair]
    assert isinstance(candidate, Answers)
    y = plan.data.test.y if candidate.rows is None else plan.data.test.y[candidate.rows]
    reference = reference.at(candidate.rows)
    before = same_answers(reference.predicted, y)
    after = same_answers(candidate.predicted, y)
    return FloatPair(
        reference=plan.contracts[baseline.file].scheme,
        candidate=row.scheme or os.path.basename(row.file),
        lost=int(np.sum(before & ~after)),
        gained=int(np.sum(~before & after)),
        differing=int(np.sum(~same_answers(reference.predicted, candidate.predicted))),
    )
