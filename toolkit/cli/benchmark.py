"""The command `benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.cli import screen, settings
from edgepress.toolkit.cli.options import (
    MANY_ENGINES,
    Data,
    Json,
    MaxDrop,
    SkipUnreadable,
    ThreadCounts,
    with_model_hints,
)

if TYPE_CHECKING:
    from edgepress.toolkit.results.records import Benchmark

PHASES = {"accuracy": "Checking accuracy", "latency": "Timing", "profile": "Profiling"}


@with_model_hints
def benchmark(
    files: Annotated[list[Path], Argument(help=".tflite and .onnx files, or one folder of them")],
    hints: Hints,
    data: Data = None,
    engine: Annotated[str, MANY_ENGINES] = "all",
    threads: ThreadCounts = "1",
    batch: Annotated[str, Option(help="Batch sizes to time, separated by commas")] = "1",
    cpus: Annotated[
        str | None, Option(help="CPUs to time on, separated by commas", show_default="one per thread, the same for all")
    ] = None,
    max_drop: MaxDrop = None,
    baseline: Annotated[
        str | None,
        Option(
            help="File or scheme that the others are compared with", show_default="tflite-float32, else onnx-float32"
        ),
    ] = None,
    rounds: Annotated[
        int, Option(min=1, help="Rounds of timing over all files; 6 or more give confidence intervals")
    ] = 20,
    time_cap: Annotated[float, Option(min=1, help="Seconds that one file may take to classify the test split")] = 120.0,
    limits: Annotated[bool, Option(help="Measure the compute and memory limits of this CPU")] = True,
    profile: Annotated[
        bool, Option("--profile", help="Also measure the time of each operation, and say what makes files slow")
    ] = False,
    out: Annotated[Path | None, Option(help="Folder for the results", show_default="the folder of the files")] = None,
    skip_unreadable: SkipUnreadable = False,
    json_output: Json = False,
) -> int:
    """Measure size, latency and accuracy of files side by side, and recommend which one to ship.

    Files without labels (task none) are compared by the error of their outputs; their data need no labels.
    """
    from edgepress.toolkit.benchmarking.advice import MAX_DROP_PP
    from edgepress.toolkit.benchmarking.benchmark import BenchmarkOptions, write_benchmark
    from edgepress.toolkit.benchmarking.benchmark import benchmark as work
    from edgepress.toolkit.benchmarking.plan import parse_counts
    from edgepress.toolkit.caches import default_cache
    from edgepress.toolkit.host.cpus import parse_cpus

    with screen.progress(PHASES) as on_progress:
        options = BenchmarkOptions(
            engines=engine,
            threads=parse_counts(threads, "--threads"),
            batch=parse_counts(batch, "--batch"),
            cpus=None if cpus is None else parse_cpus(cpus),
            rounds=rounds,
            time_cap_s=time_cap,
            baseline=baseline,
            max_drop_pp=MAX_DROP_PP if max_drop is None else max_drop,
            skip_unreadable=skip_unreadable,
            limits=limits,
            profile=profile,
            cache=default_cache(),
            command=settings.command_line(),
        )
        result = work(files, data=data, hints=hints, options=options, on_progress=on_progress)
    folder = out or (files[0] if files[0].is_dir() else files[0].parent)
    paths = write_benchmark(result, folder)
    screen.note(*result.notes)
    if json_output:
        screen.document(result.to_dict())
    else:
        show_benchmark(result)
        screen.say(f"Written: {', '.join(str(p) for p in paths)}. Next: edgepress report {folder}")
    if any(r.failed for r in result.results):
        return 1
    return 3 if max_drop is not None and result.advice.ship is None else 0


def show_benchmark(result: Benchmark) -> None:
    """Print a benchmark: its table, failures, the advice, and the best engine of each file."""
    from edgepress.toolkit.cli.tables import benchmark_table, best_engine_lines
    from edgepress.toolkit.host.describe import host_title

    items = "items" if result.by_error else "test items"
    about = [f"{result.data['count']} {items} of {result.data['source']}", host_title(result.host)]
    for name in ("threads", "batch"):
        numbers = {getattr(r, name) for r in result.results}
        about += [f"{name} {n}" for n in numbers if len(numbers) == 1]
    screen.say(", ".join(about))
    screen.show(benchmark_table(result))
    if result.by_error:
        screen.say("Errors and SQNR: of the outputs, relative to those of the baseline.")
    else:
        screen.say("Drop: relative to the baseline, with the upper end (≤) of its 95 % confidence interval.")
    screen.say("Speed-up: relative to the baseline, ± half of its 95 % confidence interval.")
    if result.noise is not None and not result.noise.noisy:
        screen.say("The host was quiet during timing.")
    for r in result.results:
        if r.failed:
            screen.say(f"{r.file}{f' on {r.engine}' if r.engine else ''} {r.status}", style="red")
    if result.keras_accuracy is not None:
        screen.say(f"The source model itself: {100 * result.keras_accuracy:.2f} % on its own test split.")
    screen.say()
    screen.say(f"Ship: {result.advice.ship or 'none'}", style="bold green" if result.advice.ship else "bold red")
    screen.say(result.advice.why)
    screen.remarks(remark.to_dict() for remark in result.remarks)
    if result.best_engines:
        screen.say()
        screen.say("Best engine for each file on this host:", style="bold")
        for text in best_engine_lines(result):
            screen.say(f"  {text}")
