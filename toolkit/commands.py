"""The commands: each parses its options, calls the public function of its name, and prints what that gives.

Nothing heavy is imported here: `edgepress --help` must answer at once. What all commands share - errors, `--json`, the
libraries' noise - is in `_command`.

Exit codes: 0 done; 1 failed, or with several items one of them; 2 wrong usage; 3 a limit that the user gave is not met.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edgepress import __version__
from edgepress.toolkit import console, noise
from edgepress.toolkit.errors import EdgepressError

app = typer.Typer(
    name="edgepress",
    help="Turn an image classifier into the file that a small board should run, and prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None if False else "rich",
    epilog="Start with: edgepress demo",
)

DATA_HELP = (
    "digits, mnist, fashion_mnist, cifar10, cifar100, a folder of class folders, a folder of IDX files, or an .npz."
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Data = Annotated[str | None, typer.Option(help=f"{DATA_HELP} [default: what the model was trained on]")]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="List images that can't be read and leave them out.")
]
Threads = Annotated[int, typer.Option(min=1, max=256, help="Threads that an engine may use.")]


class Interrupted(EdgepressError):
    """Ctrl-C."""

    kind = "interrupted"


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    if "--json" not in arguments:
        app(list(arguments), prog_name="edgepress")
    try:
        return int(app(list(arguments), prog_name="edgepress", standalone_mode=False) or 0)
    except Exception as e:  # Typer's usage errors, which are click's own or Typer's copies of them
        if not hasattr(e, "format_message"):
            raise
        console.error(_Usage(e.format_message(), "See --help."), as_json=True)
        return 2


class _Usage(EdgepressError):
    kind = "usage"


def _command(function: Callable[..., int | None]) -> Callable[..., None]:
    """Run a command's function as every command runs: noise off the screen, one error, an exit code."""

    @functools.wraps(function)
    def command(**options: Any) -> None:
        as_json = bool(options.get("json_output"))
        code: int | None = 1
        with noise.off_screen() as log:
            try:
                code = function(**options)
            except EdgepressError as e:
                console.error(e, as_json=as_json, log=log)
            except KeyboardInterrupt:
                console.error(Interrupted("Interrupted.", "What was finished is kept; run it again."), as_json=as_json)
                code = 130
            except OSError as e:
                if e.errno != errno.ENOSPC:
                    raise
                where = f" for {e.filename}" if e.filename else ""
                problem = EdgepressError(f"There is no disk space left{where}.", "Free some and run it again.")
                console.error(problem, as_json=as_json)
            except Exception as e:
                problem = EdgepressError(f"edgepress failed unexpectedly: {type(e).__name__}: {e}", "This is a bug.")
                console.error(problem, as_json=as_json, log=log)
                raise
        raise typer.Exit(code or 0)

    return command


def _version(wanted: bool) -> None:
    if wanted:
        console.say(f"edgepress {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
@_command
def evaluate(
    file: Annotated[Path, typer.Argument(help="A .keras, .tflite or .onnx file made by edgepress.")],
    data: Data = None,
    engine: Annotated[
        str | None, typer.Option(help="litert, tflite-runtime or onnxruntime. [default: the first that opens the file]")
    ] = None,
    threads: Threads = 1,
    skip_unreadable: SkipUnreadable = False,
    json_output: Json = False,
) -> None:
    """Accuracy, precision, recall, F1 and confusion of one file on the test split."""
    from edgepress.toolkit.evaluate import evaluate as work
    from edgepress.toolkit.tables import confusion_table, evaluation_table

    with console.progress({"accuracy": "Classifying"}) as on_progress:
        result = work(
            file, data=data, engine=engine, threads=threads, skip_unreadable=skip_unreadable, on_progress=on_progress
        )
    for text in result["notes"]:
        console.note(text)
    if json_output:
        console.document(result)
        return
    console.show(evaluation_table(result))
    console.show(confusion_table(result))
    console.say(
        f"{file} on {result['engine']}: accuracy {100 * result['accuracy']:.2f} % on {result['count']} test items of "
        f"{result['data']['source']}.",
        style="bold",
    )


@app.command()
@_command
def convert(
    model: Annotated[Path, typer.Argument(help="A .keras file from edgepress train.")],
    to: Annotated[str, typer.Option(help="all, tflite, onnx, or schemes such as tflite-int8,onnx-int8.")] = "all",
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the files. [default: variants, beside MODEL]")] = None,
    calibration_images: Annotated[
        int, typer.Option(min=1, help="Training images that the ranges of activations are taken from.")
    ] = 200,
    skip_unreadable: SkipUnreadable = False,
    json_output: Json = False,
) -> int:
    """Convert a trained model to quantized TFLite and ONNX files, calibrated on its training split."""
    from edgepress.toolkit.convert import convert_model, summary
    from edgepress.toolkit.tables import variants_table

    variants = convert_model(
        model,
        to,
        data=data,
        out=out,
        calibration_images=calibration_images,
        skip_unreadable=skip_unreadable,
        on_note=console.note,
        on_done=lambda v: console.step(f"{v.scheme}: {v.status} after {v.seconds:.1f} s"),
    )
    if json_output:
        console.document(summary(variants))
    else:
        console.show(variants_table(variants))
        if done := [v.path for v in variants if v.path is not None]:
            console.say(f"In {done[0].parent}. Next: edgepress benchmark {done[0].parent}")
    return int(any(v.path is None for v in variants))


@app.command()
@_command
def benchmark(
    files: Annotated[list[Path], typer.Argument(help=".tflite and .onnx files, or one folder of them.")],
    data: Data = None,
    engine: Annotated[str, typer.Option(help="all, or names separated by commas.")] = "all",
    threads: Threads = 1,
    max_drop: Annotated[
        float | None,
        typer.Option(min=0, help="Accuracy drop that is still usable, percentage points. [default: 1]"),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="File or scheme that others are held against. [default: tflite-float32]")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of timing over all files.")] = 50,
    time_cap: Annotated[
        float, typer.Option(min=1, help="Seconds that one file may take to classify the test split.")
    ] = 120.0,
    out: Annotated[Path | None, typer.Option(help="Folder for the results. [default: the files' own]")] = None,
    skip_unreadable: SkipUnreadable = False,
    json_output: Json = False,
) -> int:
    """Measure size, speed and accuracy of files side by side, and say which to ship."""
    from edgepress.toolkit.advice import MAX_DROP_PP
    from edgepress.toolkit.benchmark import benchmark as work
    from edgepress.toolkit.benchmark import write_benchmark

    with console.progress({"accuracy": "Checking accuracy", "latency": "Timing"}) as on_progress:
        result = work(
            files,
            data=data,
            engines=engine,
            threads=threads,
            rounds=rounds,
            time_cap_s=time_cap,
            baseline=baseline,
            max_drop_pp=MAX_DROP_PP if max_drop is None else max_drop,
            skip_unreadable=skip_unreadable,
            on_progress=on_progress,
        )
    folder = out or (files[0] if files[0].is_dir() else files[0].parent)
    paths = write_benchmark(result, folder)
    for text in result.notes:
        console.note(text)
    if json_output:
        console.document(result.to_dict())
    else:
        _print_benchmark(result, paths)
    if any(r.failed for r in result.results):
        return 1
    return 3 if max_drop is not None and result.advice.ship is None else 0


@app.command()
@_command
def predict(
    file: Annotated[Path, typer.Argument(help="A .tflite or .onnx file.")],
    images: Annotated[list[Path], typer.Argument(help="Images, .npy arrays, or folders of them.")],
    engine: Annotated[str | None, typer.Option(help="litert, tflite-runtime or onnxruntime.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to print of each image.")] = 3,
    json_output: Json = False,
) -> int:
    """Classify images with one file and print the classes with their scores."""
    from edgepress.toolkit.predict import as_dicts
    from edgepress.toolkit.predict import predict as work
    from edgepress.toolkit.tables import predictions_table

    results = work(file, images, engine=engine, top=top)
    if json_output:
        console.document(as_dicts(results))
    else:
        console.show(predictions_table(results))
    return int(any(r.error for r in results))


@app.command()
@_command
def demo(
    out: Annotated[Path, typer.Option(help="Folder to leave everything in.")] = Path("edgepress-demo"),
    json_output: Json = False,
) -> int:
    """Train, convert, benchmark and predict on an embedded data set: offline, in under a minute."""
    from edgepress.toolkit.demo import demo as work
    from edgepress.toolkit.tables import predictions_table, variants_table

    raise NotImplementedError
