"""The commands: each parses its options, calls the public function of its name, and prints what that gives.

Nothing heavy is imported here: `edgepress --help` must answer at once. What they share is in `command`.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepress.toolkit.cli import board as commands_board
from edgepress.toolkit.cli import bundle as commands_bundle
from edgepress.toolkit.cli import compare as commands_compare
from edgepress.toolkit.cli import doctor as commands_doctor
from edgepress.toolkit.cli import make as commands_make
from edgepress.toolkit.cli import profile as commands_profile
from edgepress.toolkit.cli import report as commands_report
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.app import Data, Json, SkipUnreadable, Threads, app, command, run

__all__ = [
    "app",
    "commands_board",
    "commands_bundle",
    "commands_compare",
    "commands_doctor",
    "commands_make",
    "commands_profile",
    "commands_report",
    "run",
]

if TYPE_CHECKING:
    from edgepress.toolkit.prediction import ImageResult
    from edgepress.toolkit.results.records import Benchmark


MAX_CONFUSION = 20
"""Classes up to which the confusion matrix is printed; it is in the JSON in any case."""
PHASES = {"accuracy": "Checking accuracy", "latency": "Timing", "profile": "Profiling"}


@app.command()
@command
def evaluate(
    file: Annotated[Path, typer.Argument(help="A .keras, .tflite or .onnx file made by edgepress.")],
    data: Data = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="litert, tflite-runtime, onnxruntime or openvino.", show_default="the first that opens the file"
        ),
    ] = None,
    threads: Threads = 1,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that answer side by side.", show_default="the CPUs over --threads"),
    ] = None,
    cache: Annotated[
        bool, typer.Option(help="Keep answers, so that an evaluation that was stopped goes on where it was.")
    ] = True,
    skip_unreadable: SkipUnreadable = False,
    json_output: Json = False,
) -> None:
    """Accuracy, precision, recall, F1, calibration error and confusion of one file on the test split."""
    from edgepress.toolkit.benchmarking.cache import default_cache
    from edgepress.toolkit.cli.tables import confusion_table, evaluation_table
    from edgepress.toolkit.evaluation import evaluate as work

    with screen.progress(PHASES) as on_progress:
        result = work(
            file,
            data=data,
            engine=engine,
            threads=threads,
            jobs=jobs,
            skip_unreadable=skip_unreadable,
            cache=default_cache() if cache else None,
            on_progress=on_progress,
        )
    for text in result["notes"]:
        screen.note(text)
    if json_output:
        screen.document(result)
        return
    screen.show(evaluation_table(result))
    screen.say()
    if len(result["per_class"]) <= MAX_CONFUSION:
        screen.show(confusion_table(result))
        screen.say()
    screen.say(
        f"{file} on {result['engine']}: accuracy {100 * result['accuracy']:.2f} % on {result['count']} test items of "
        f"{result['data']['source']}; its scores are {100 * result['ece']:.1f} pp off on average (ECE).",
        style="bold",
    )


@app.command()
@command
def benchmark(
    files: Annotated[list[Path], typer.Argument(help=".tflite and .onnx files, or one folder of them.")],
    data: Data = None,
    engine: Annotated[str, typer.Option(help="all, or names separated by commas.")] = "all",
    threads: Annotated[str, typer.Option(help="Threads that an engine may use; several, as 1,2, are all timed.")] = "1",
    batch: Annotated[str, typer.Option(help="Items in one timed call; several, as 1,8, are all timed.")] = "1",
    cpus: Annotated[
        str | None, typer.Option(help="CPUs to time on, as 1 or 0,1.", show_default="one a thread, always the same")
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(min=0, help="Accuracy drop that is still usable, percentage points.", show_default="1"),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="File or scheme that others are held against.", show_default="tflite-float32")
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="Rounds of timing over all files; 6 or more give an interval.")
    ] = 20,
    time_cap: Annotated[
        float, typer.Option(min=1, help="Seconds that one file may take to classify the test split.")
    ] = 120.0,
    limits: Annotated[bool, typer.Option(help="Measure what this CPU can do at most, too.")] = True,
    profile: Annotated[bool, typer.Option("--profile", help="Measure the time of each operation, too.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the results.", show_default="the files' own")] = None,
    skip_unreadable: SkipUnreadable = False,
    json_output: Json = False,
) -> int:
    """Measure size, speed and accuracy of files side by side, and say which to ship."""
    from edgepress.toolkit.benchmarking.advice import MAX_DROP_PP
    from edgepress.toolkit.benchmarking.benchmark import BenchmarkOptions, write_benchmark
    from edgepress.toolkit.benchmarking.benchmark import benchmark as work
    from edgepress.toolkit.benchmarking.cache import default_cache
    from edgepress.toolkit.benchmarking.plan import parse_counts
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
            command=shlex.join(["edgepress", *sys.argv[1:]]),
        )
        result = work(files, data=data, options=options, on_progress=on_progress)
    folder = out or (files[0] if files[0].is_dir() else files[0].parent)
    paths = write_benchmark(result, folder)
    for text in result.notes:
        screen.note(text)
    if json_output:
        screen.document(result.to_dict())
    else:
        _show_benchmark(result)
        screen.say(f"Written: {', '.join(str(p) for p in paths)}. Next: edgepress report {folder}")
    if any(r.failed for r in result.results):
        return 1
    return 3 if max_drop is not None and result.advice.ship is None else 0


@app.command()
@command
def predict(
    file: Annotated[Path, typer.Argument(help="A .tflite or .onnx file.")],
    images: Annotated[list[Path], typer.Argument(help="Images, .npy arrays, or folders of them.")],
    engine: Annotated[str | None, typer.Option(help="litert, tflite-runtime, onnxruntime or openvino.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to print of each image.")] = 3,
    json_output: Json = False,
) -> int:
    """Classify images with one file and print the classes with their scores."""
    from edgepress.toolkit.prediction import as_dicts
    from edgepress.toolkit.prediction import predict as work

    results = work(file, images, engine=engine, top=top)
    if json_output:
        screen.document(as_dicts(results))
    else:
        _show_predictions(results)
    return int(any(r.error for r in results))


@app.command()
@command
def inspect(
    file: Annotated[Path, typer.Argument(help="A .tflite, .onnx, .keras, .h5 or .hdf5 file, or a SavedModel folder.")],
    nodes: Annotated[bool, typer.Option("--nodes", help="Print every operation in its order.")] = False,
    json_output: Json = False,
) -> None:
    """What is in a model file: interface, operations, memory, sizes, and the oldest engines that run it."""
    from edgepress.toolkit.cli import inspect_table as tables
    from edgepress.toolkit.inspection import inspect as work

    found = work(file)
    if json_output:
        screen.document(found.as_dict())
        return
    parts = [tables.summary_table(found), tables.operations_table(found), tables.weights_table(found)]
    for part in [*parts, *([tables.nodes_table(found)] if nodes else [])]:
        screen.show(part)
        screen.say()
    for text in found.notes:
        screen.note(text)


@app.command()
@command
def demo(
    out: Annotated[Path, typer.Option(help="Folder to leave everything in.")] = Path("edgepress-demo"),
    json_output: Json = False,
) -> int:
    """Train, convert, benchmark and predict on an embedded data set: offline, in under a minute."""
    from edgepress.toolkit.demonstration import demo as work

    with screen.progress(PHASES) as on_progress:
        result = work(out, on_step=screen.step, on_progress=on_progress, training_bar=True)
    for text in result.benchmark.notes:
        screen.note(text)
    if json_output:
        screen.document(result.to_dict())
    else:
        _show_benchmark(result.benchmark)
        if result.predictions:
            screen.say()
            _show_predictions(result.predictions)
        screen.say()
        screen.say(f"Done in {result.seconds:.0f} s; everything is in {out}. Try next:")
        screen.say(f"  edgepress predict {result.benchmark.advice.ship or 'FILE'} {out / 'images'}")
        screen.say(f"  edgepress evaluate {out / 'model.keras'}")
        screen.say("  edgepress train --data FOLDER --arch mobilenet-v2 --out runs/mine")
    failed = any(v.path is None for v in result.variants) or any(r.failed for r in result.benchmark.results)
    return int(failed or not result.predictions or any(r.error for r in result.predictions))


def _show_benchmark(result: Benchmark) -> None:
    from edgepress.toolkit.cli.tables import benchmark_table, best_engine_lines
    from edgepress.toolkit.host.describe import host_title

    about = [f"{result.data['count']} test items of {result.data['source']}", host_title(result.host)]
    for name in ("threads", "batch"):
        numbers = {getattr(r, name) for r in result.results}
        about += [f"{name} {n}" for n in numbers if len(numbers) == 1]
    screen.say(", ".join(about))
    screen.show(benchmark_table(result))
    screen.say("Drop: against the baseline; ≤ is the upper end of its 95 % interval. Speed-up: ± half of its own.")
    if result.noise is not None and not result.noise.noisy:
        screen.say("The host was quiet while files were timed.")
    for r in result.results:
        if r.failed:
            screen.say(f"{r.file}{f' on {r.engine}' if r.engine else ''} {r.status}", style="red")
    if result.keras_accuracy is not None:
        screen.say(f"The Keras model itself: {100 * result.keras_accuracy:.2f} % of its own test split.")
    screen.say()
    screen.say(f"Ship: {result.advice.ship or 'none'}", style="bold green" if result.advice.ship else "bold red")
    screen.say(result.advice.why)
    if result.best_engines:
        screen.say()
        screen.say("Best engine for each file on this host:", style="bold")
        for text in best_engine_lines(result):
            screen.say(f"  {text}")


def _show_predictions(results: Sequence[ImageResult]) -> None:
    from edgepress.toolkit.cli.tables import predictions_table

    if any(r.classes for r in results):
        screen.show(predictions_table(results))
    for r in results:
        if r.error is not None:
            screen.error(r.error, as_json=False)
