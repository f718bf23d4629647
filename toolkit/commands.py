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

from edgepress.toolkit import (
    commands_board,
    commands_bundle,
    commands_compare,
    commands_doctor,
    commands_make,
    commands_profile,
    commands_report,
    console,
)
from edgepress.toolkit.command import Data, Json, SkipUnreadable, Threads, app, command, run

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
    from edgepress.toolkit.measurement import Benchmark
    from edgepress.toolkit.predict import ImageResult


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
    from edgepress.toolkit.answers_cache import default_cache
    from edgepress.toolkit.evaluate import evaluate as work
    from edgepress.toolkit.tables import confusion_table, evaluation_table

    with console.progress(PHASES) as on_progress:
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
        console.note(text)
    if json_output:
        console.document(result)
        return
    console.show(evaluation_table(result))
    console.say()
    if len(result["per_class"]) <= MAX_CONFUSION:
        console.show(confusion_table(result))
        console.say()
    console.say(
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
    from edgepress.toolkit.advice import MAX_DROP_PP
    from edgepress.toolkit.answers_cache import default_cache
    from edgepress.toolkit.benchmark import benchmark as work
    from edgepress.toolkit.benchmark import write_benchmark
    from edgepress.toolkit.benchmark_plan import parse_counts
    from edgepress.toolkit.pinning import parse_cpus

    with console.progress(PHASES) as on_progress:
        result = work(
            files,
            data=data,
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
            on_progress=on_progress,
        )
    folder = out or (files[0] if files[0].is_dir() else files[0].parent)
    paths = write_benchmark(result, folder)
    for text in result.notes:
        console.note(text)
    if json_output:
        console.document(result.to_dict())
    else:
        _show_benchmark(result)
        console.say(f"Written: {', '.join(str(p) for p in paths)}. Next: edgepress report {folder}")
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
    from edgepress.toolkit.predict import as_dicts
    from edgepress.toolkit.predict import predict as work

    results = work(file, images, engine=engine, top=top)
    if json_output:
        console.document(as_dicts(results))
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
    from edgepress.toolkit import inspect_table as tables
    from edgepress.toolkit.inspect import inspect as work

    found = work(file)
    if json_output:
        console.document(found.as_dict())
        return
    parts = [tables.summary_table(found), tables.operations_table(found), tables.weights_table(found)]
    for part in [*parts, *([tables.nodes_table(found)] if nodes else [])]:
        console.show(part)
        console.say()
    for text in found.notes:
        console.note(text)


@app.command()
@command
def demo(
    out: Annotated[Path, typer.Option(help="Folder to leave everything in.")] = Path("edgepress-demo"),
    json_output: Json = False,
) -> int:
    """Train, convert, benchmark and predict on an embedded data set: offline, in under a minute."""
    from edgepress.toolkit.demo import demo as work

    with console.progress(PHASES) as on_progress:
        result = work(out, on_step=console.step, on_progress=on_progress, training_bar=True)
    for text in result.benchmark.notes:
        console.note(text)
    if json_output:
        console.document(result.to_dict())
    else:
        _show_benchmark(result.benchmark)
        if result.predictions:
            console.say()
            _show_predictions(result.predictions)
        console.say()
        console.say(f"Done in {result.seconds:.0f} s; everything is in {out}. Try next:")
        console.say(f"  edgepress predict {result.benchmark.advice.ship or 'FILE'} {out / 'images'}")
        console.say(f"  edgepress evaluate {out / 'model.keras'}")
        console.say("  edgepress train --data FOLDER --arch mobilenet-v2 --out runs/mine")
    failed = any(v.path is None for v in result.variants) or any(r.failed for r in result.benchmark.results)
    return int(failed or not result.predictions or any(r.error for r in result.predictions))


def _show_benchmark(result: Benchmark) -> None:
    from edgepress.toolkit.host import host_title
    from edgepress.toolkit.tables import benchmark_table, best_engine_lines

    about = [f"{result.data['count']} test items of {result.data['source']}", host_title(result.host)]
    for name in ("threads", "batch"):
        numbers = {getattr(r, name) for r in result.results}
        about += [f"{name} {n}" for n in numbers if len(numbers) == 1]
    console.say(", ".join(about))
    console.show(benchmark_table(result))
    console.say("Drop: against the baseline; ≤ is the upper end of its 95 % interval. Speed-up: ± half of its own.")
    if result.noise is not None and not result.noise.noisy:
        console.say("The host was quiet while files were timed.")
    for r in result.results:
        if r.failed:
            console.say(f"{r.file}{f' on {r.engine}' if r.engine else ''} {r.status}", style="red")
    if result.keras_accuracy is not None:
        console.say(f"The Keras model itself: {100 * result.keras_accuracy:.2f} % of its own test split.")
    console.say()
    console.say(f"Ship: {result.advice.ship or 'none'}", style="bold green" if result.advice.ship else "bold red")
    console.say(result.advice.why)
    if result.best_engines:
        console.say()
        console.say("Best engine for each file on this host:", style="bold")
        for text in best_engine_lines(result):
            console.say(f"  {text}")


def _show_predictions(results: Sequence[ImageResult]) -> None:
    from edgepress.toolkit.tables import predictions_table

    if any(r.classes for r in results):
        console.show(predictions_table(results))
    for r in results:
        if r.error is not None:
            console.error(r.error, as_json=False)
