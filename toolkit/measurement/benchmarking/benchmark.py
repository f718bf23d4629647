"""Measure converted files side by side: accuracy, drop, agreement, size, memory and latency, on each engine.

    edgepress benchmark runs/a/variants --data digits

The baseline is the float32 TFLite file on LiteRT, or the float32 ONNX file where there is none, unless another one is
named; it is measured even if `engines` does not include its engine. Without a baseline, drop and speed-up stay unknown
and the result says so.

Files without labels (task none) are compared by the error of their outputs instead of by accuracy.

A benchmark has four steps, each in its own module: `plan` decides what to measure, `collect` lets every file answer
the test split on all cores, `timing` times the files that answered, one at a time, and `assemble` makes one result of
it. `explain` measures limits and profiles between the last two, if wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from edgepress.converters.contract.hints import Hints
from edgepress.converters.files import write_csv, write_json
from edgepress.toolkit.arguments import OnProgress
from edgepress.toolkit.data.objects import Data, source_of
from edgepress.toolkit.machine.host import describe_host
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.measurement.benchmarking.assemble import assemble
from edgepress.toolkit.measurement.benchmarking.collect import collect_answers
from edgepress.toolkit.measurement.benchmarking.explain import explain
from edgepress.toolkit.measurement.benchmarking.more import Further, More, open_more, write_differences
from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.measurement.benchmarking.plan import BenchmarkPlan, make_plan
from edgepress.toolkit.measurement.benchmarking.timing import ITEMS, Timing, is_timed, time_plan
from edgepress.toolkit.results.records import Benchmark, Measurement
from edgepress.toolkit.stats.choice import Rule
from edgepress.toolkit.text import plural

__all__ = ["BenchmarkOptions", "benchmark", "write_benchmark"]


def benchmark(
    files: str | Path | Sequence[str | Path],
    *,
    data: Data | None = None,
    engine: str | None = None,
    hints: Hints | None = None,
    options: BenchmarkOptions = BenchmarkOptions(),  # noqa: B008 - frozen
    on_progress: OnProgress | None = None,
) -> Benchmark:
    """Measure files on engines over the test split, on this host.

    What is measured (files and data) are arguments; how it is measured is one frozen object, so that each step takes
    the settings as they are and none of them is listed twice.

    Args:
        files: `.tflite` and `.onnx` files, or one folder of them.
        data: The data set, as for training; None opens the one that the files' contracts name.
        engine: As in `options`, which it replaces there; None leaves it.
        hints: What you know of files that edgepress did not make, the same of all of them.
        options: How to measure.
        on_progress: Called with a phase ("accuracy", "latency", "profile") and the share of it that is done, 0-1.

    Returns:
        All measurements and the advice. A file that can't be measured has a measurement with the status "failed: ...".

    Raises:
        EdgepressError: No file can be used, the data do not fit, or an option is wrong.

    Example:
        >>> from edgepress.toolkit import benchmark
        >>> folder = "edgepress-demo/variants/"
        >>> result = benchmark([folder + "model-float32.tflite", folder + "model-int8.tflite"])
        >>> print(result)
    """
    data = source_of(data)
    options = options if engine is None else replace(options, engine=engine)
    Rule.of(options.confidence, options.prefer)  # first: a wrong one fails before any work
    plan = make_plan(files, data, options, hints)
    further = (
        None
        if options.more is None
        else open_more(options.more, plan.data, labelled=options.differences, reading=options)
    )
    host = describe_host()  # before the measurement: the load that it records is that of other processes
    collected = collect_answers(
        plan.pairs,
        plan.data,
        cap_s=options.time_cap,
        cache=options.cache,
        estimated=[pair for pair in plan.pairs if pair != plan.baseline],
        on_progress=on_progress,
    )
    answers = dict(zip(plan.pairs, collected, strict=True))
    more = None if further is None else _further(further, plan, options, on_progress)
    items = plan.data.test.read(np.arange(min(ITEMS, len(plan.data.test))))
    answered = [pair for pair in plan.pairs if isinstance(answers[pair], Answers) and is_timed(pair)]
    timings, noise = time_plan(plan, answered, items, options, on_progress=on_progress)
    timed = [candidate for candidate, timing in timings.items() if isinstance(timing, Timing)]
    explained = explain(timed, items, options, on_progress)
    result = assemble(plan, answers, timings, explained, noise=noise, host=host, options=options, more=more)
    return result if more is None else _to_label(result, more, plan, options.differences)


def _further(items: More, plan: BenchmarkPlan, options: BenchmarkOptions, on_progress: OnProgress | None) -> Further:
    """The answers to the items of `--more`."""
    more_answers = collect_answers(
        plan.pairs, items.data, cap_s=options.time_cap, cache=options.cache, on_progress=on_progress
    )
    return Further(items, dict(zip(plan.pairs, more_answers, strict=True)))


def _to_label(result: Benchmark, more: Further, plan: BenchmarkPlan, folder: Path | None) -> Benchmark:
    """Write the images whose labels would make the choice surer, and say so."""
    advice = result.advice
    unsure_pair = (advice.unsure_file, advice.unsure_engine)
    unsure = next((c for c in plan.pairs if (str(c.file), c.engine or "") == unsure_pair), None)
    predicted = more.predicted(unsure)
    reference = more.predicted(plan.baseline)
    if folder is None or predicted is None or reference is None or not plan.data.input.is_image:
        return result
    count = write_differences(more.items, reference, predicted, folder)
    if not count:
        return result
    next_step = (
        f"{plural(count, 'image')} on which {Path(advice.unsure_file or '').name} differs from the baseline, without a "
        f"label, {'is' if count == 1 else 'are'} in {folder}: move each into the folder of its class, in the order of "
        "their names, and run the same command again."
    )
    about = {**(result.more or {}), "folder": str(folder), "to_label": count}
    return replace(result, advice=replace(advice, why=f"{advice.why} {next_step}"), more=about)


def write_benchmark(result: Benchmark, out: Path) -> list[Path]:
    """Write `benchmark.json`, `benchmark.csv` and `accuracy_size_latency.png` into a folder; returns their paths.

    Files without labels have no accuracy, and so no plot. The table holds a measurement's single figures; lists
    (rounds, classes, profile) are in the JSON document only.
    """
    from edgepress.toolkit.measurement.benchmarking.plots import plot_benchmark

    paths = [out / "benchmark.json", out / "benchmark.csv"]
    document = result.to_dict()
    write_json(paths[0], document)
    columns = [f.name for f in fields(Measurement) if f.default != () and f.name != "correct"]
    write_csv(paths[1], columns, document["results"])
    if not result.by_error:
        paths.append(out / "accuracy_size_latency.png")
        plot_benchmark(result, paths[-1])
    return paths
