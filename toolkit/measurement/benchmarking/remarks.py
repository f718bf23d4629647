"""What to know beside a benchmark's figures: what else limits its files, and which engine is the best for each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.hints import Hints
from edgepress.converters.files import sha256_of
from edgepress.converters.schemes import BASELINES, SCHEMES
from edgepress.runtime import ENGINES, Contract
from edgepress.runtime.decisions import same_answers
from edgepress.runtime.filetypes import MODEL
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.documents import read_json
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.machine.host import X86
from edgepress.toolkit.measurement.benchmarking.advice import MAX_DROP_PP
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.measurement.benchmarking.plan import SUFFIXES, BenchmarkPlan
from edgepress.toolkit.results.records import DROP, LARGE_ERROR, UNPROVEN, Advice, BestEngine, Measurement
from edgepress.toolkit.results.remarks.checks import remarks
from edgepress.toolkit.results.remarks.facts import Facts, FloatPair, Remark
from edgepress.toolkit.results.run_files import METRICS, run_model
from edgepress.toolkit.stats.choice import CONFIDENCE, Rule
from edgepress.toolkit.stats.intervals import paired_ratio
from edgepress.toolkit.training import run_folder
from edgepress.toolkit.training.facts import MORE, confusion_of, facts_of, right_and_wrong
from edgepress.toolkit.workers.opening import Candidate


def facts_of_file(
    file: Path,
    contract: Contract,
    data: DataSet,
    predicted: npt.NDArray[np.int64],
    *,
    command: Sequence[str | Path],
    hints: Hints | None = None,
    pair: FloatPair | None = None,
    max_drop_pp: float = 1.0,
) -> Facts:
    """The figures of a file: those of its answers, and if its run is beside it and had the same data, of the training.

    Args:
        file: The file.
        contract: Its contract.
        data: The data, opened as the file takes them.
        predicted: The answer that it gives to each test item, of the shape of its labels.
        command: The command that measures it again, without data and hints.
        hints: What the user said of a file that others made, which commands repeat.
        pair: The quantized file that too few items leave unproven.
        max_drop_pp: Largest drop that counts as usable, percentage points.
    """
    same = contract.data is not None and contract.data.sha256 == data.sha256
    run = _run_of(file, contract) if same else None
    # A training on data that a file is only measured on is no advice: it might be the user's test set.
    own = same or (contract.data is not None and contract.data.source == data.source)
    known = {"arch": contract.arch} if own else {}
    described = (hints or Hints()).words
    named = [] if same else ["--data", data.source]
    if own and contract.data is not None:  # opened by the rule of its training, "none" if that named and found none
        data = replace(data, group=contract.data.group)
    return facts_of(
        data,
        _confusion(data, predicted),
        arguments=run.metrics["arguments"] if run else known,
        val_confusion=confusion_of(run.metrics["val"]) if run else None,
        history=[row for row in run.history if row.get("epoch", 1)] if run else (),
        look=shell_line("edgepress", "evaluate", file, *named, *described),
        more=shell_line(*command, "--data", MORE, *described),
        pair=pair,
        max_drop_pp=max_drop_pp,
        foreign=not contract.arch,
    )


def _confusion(data: DataSet, predicted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Of the test items: true class down, predicted class across; of multi-label data, right and wrong answers."""
    if data.multilabel:
        return right_and_wrong(int(same_answers(predicted, data.test.y).sum()), len(data.test))
    classes = len(data.labels)
    codes = data.test.y * classes + predicted
    return np.bincount(codes, minlength=classes**2).reshape(classes, classes)


def _run_of(file: Path, contract: Contract) -> run_folder.TrainResult | None:
    """The finished run that a file came from, if it is in its folder or the folder above."""
    for folder in (file.parent, file.parent.parent):
        model = run_model(folder) or folder / MODEL
        try:
            if not model.samefile(file) and sha256_of(model) != contract.parent_sha256:
                continue
            result = run_folder.load_result(folder)
            classes = len(contract.labels) if contract.task != "multilabel" else 2
            matrix = confusion_of(result.metrics["val"])
            if matrix.shape == (classes, classes) and (matrix >= 0).all() and _is_whole(result):
                return result
        except (OSError, EdgepressError, LookupError, TypeError, ValueError):
            continue  # a remark less; whatever lies there is not ours, or damaged
    return None


def _is_whole(run: run_folder.TrainResult) -> bool:
    """Whether the figures that checks read are there, and can be what they stand for."""
    arguments = run.metrics["arguments"]
    shares = np.array([[row[name] for name in ("accuracy", "val_accuracy")] for row in run.history])
    losses = np.array([row["val_loss"] for row in run.history])
    return bool(
        isinstance(arguments["arch"], str)
        and isinstance(arguments["epochs"], int)
        and arguments["learning_rate"] > 0
        and arguments["dropout"] >= 0
        and ((shares >= 0) & (shares <= 1)).all()
        and np.isfinite(losses).all()
    )


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


INTEGER = [name for name, scheme in SCHEMES.items() if scheme.calibrated and scheme.arithmetic == "int8"]
AMX = (
    "LiteRT's int8 kernels use this CPU's AMX tiles, which make small nets slower, and which no board has. "
    "EDGEPRESS_AMX=0 before the command measures without them."
)


def engine_notes(results: Sequence[Measurement], host: Mapping[str, Any]) -> list[str]:
    """Facts about engines that prevent wrong conclusions from the figures."""
    if host["machine"] not in X86:
        return []
    slow = dict.fromkeys(r.engine for r in results if r.scheme in INTEGER and r.speedup is not None and r.speedup < 1)
    notes = [
        f"{name} has fast int8 kernels for ARM, but not for x86."
        for name in slow
        if name in ENGINES and ENGINES[name].slow_int8_on_x86
    ]
    return [*notes, AMX] if host.get("amx") and "litert" in slow else notes


def best_engines(results: Sequence[Measurement]) -> tuple[BestEngine, ...]:
    """The best engine for each file that several engines were timed on, in the order of the results.

    Engines that failed, or on which the accuracy drop or the error exceeds the limit, are excluded. The others are
    compared by median latency, paired by round; `beyond_doubt` says whether all confidence intervals confirm it. All
    measurements are of one host, with the same threads and batch.
    """
    timed: dict[str, list[Measurement]] = {}
    for row in results:
        if row.round_medians_us and not row.failed and row.status not in (DROP, LARGE_ERROR):
            timed.setdefault(row.file, []).append(row)
    best = []
    for file, rows in timed.items():
        if len({r.engine for r in rows}) > 1:
            first, *others = sorted(rows, key=lambda r: r.p50_us or 0.0)
            ratios = [paired_ratio(r.round_medians_us, first.round_medians_us) for r in others]
            sure = all(ratio.low is not None and ratio.low > 1 for ratio in ratios)
            against = {r.engine: ratio.estimate for r, ratio in zip(others, ratios, strict=True)}
            best.append(BestEngine(file=file, engine=first.engine, beyond_doubt=sure, slower=against))
    return tuple(best)
