"""The commands: each parses its options, calls the public function of its name, and prints what that gives.

Nothing heavy is imported here: `edgepress --help` must answer at once. What they share is in `command`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepress.toolkit import console
from edgepress.toolkit.command import app, command, run
from edgepress.toolkit.errors import InputError, unknown

__all__ = ["app", "run"]

if TYPE_CHECKING:
    from edgepress.toolkit.measurement import Benchmark
    from edgepress.toolkit.predict import ImageResult


DATA_HELP = (
    "digits, mnist, fashion_mnist, cifar10, cifar100, a folder of class folders, a folder of IDX files, or an .npz."
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Data = Annotated[str | None, typer.Option(help=DATA_HELP, show_default="what the model was trained on")]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="List images that can't be read and leave them out.")
]
Threads = Annotated[int, typer.Option(min=1, max=256, help="Threads that an engine may use.")]


IMAGES, NET, FIT, THEIRS = "Images", "Network", "Fitting", "Of a model that edgepress did not train"
ARCH_HELP = "dense, lenet, alexnet, vgg, resnet8, ds-cnn, mobilenet-v1, mobilenet-v2 or mobilenet-v3-small."
AUGMENTATION_HELP = "auto, none, affine or photo (images), noise (tensors)."
MAX_CONFUSION = 20
"""Classes up to which the confusion matrix is printed; it is in the JSON in any case."""
PHASES = {"accuracy": "Checking accuracy", "latency": "Timing"}


@app.command()
@command
def train(
    data: Annotated[str, typer.Option(help=DATA_HELP)] = "digits",
    arch: Annotated[str, typer.Option(help=ARCH_HELP)] = "lenet",
    out: Annotated[Path | None, typer.Option(help="Folder of the run.", show_default="runs/DATA-ARCH")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that the folder holds.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew whatever the folder holds.")] = False,
    size: Annotated[
        str | None,
        typer.Option(
            help="Bring images to SIDE or HEIGHTxWIDTH.", show_default="the data's own", rich_help_panel=IMAGES
        ),
    ] = None,
    color: Annotated[
        str | None, typer.Option(help="grey or rgb.", show_default="the data's own", rich_help_panel=IMAGES)
    ] = None,
    resize: Annotated[
        str, typer.Option(help="stretch, crop or pad an image of another shape.", rich_help_panel=IMAGES)
    ] = "stretch",
    augmentation: Annotated[str, typer.Option(help=AUGMENTATION_HELP, rich_help_panel=IMAGES)] = "auto",
    skip_unreadable: SkipUnreadable = False,
    width: Annotated[
        float | None,
        typer.Option(
            help="Factor on the channels, where the net has one.", show_default="the net's own", rich_help_panel=NET
        ),
    ] = None,
    depth: Annotated[int | None, typer.Option(help="11 or 16 for vgg.", rich_help_panel=NET)] = None,
    dropout: Annotated[
        float | None,
        typer.Option(
            help="Share of features dropped before the classifier.", show_default="the net's own", rich_help_panel=NET
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Begin with imagenet or a .keras file's weights.", rich_help_panel=NET)
    ] = None,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Train the classifier alone, on the weights given.", rich_help_panel=NET)
    ] = False,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the training items.", show_default="the net's own", rich_help_panel=FIT),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Items in a step.", show_default="the net's own", rich_help_panel=FIT)
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Adam's, at first; it decays as a cosine.", show_default="the net's own", rich_help_panel=FIT
        ),
    ] = None,
    patience: Annotated[
        int,
        typer.Option(min=0, help="Stop after so many epochs without improvement; 0 never does.", rich_help_panel=FIT),
    ] = 15,
    class_weights: Annotated[
        bool, typer.Option("--class-weights", help="Weigh rare classes more.", rich_help_panel=FIT)
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, help="Same seed, same machine: the same weights.", rich_help_panel=FIT)
    ] = 0,
    json_output: Json = False,
) -> None:
    """Train a classifier and leave model.keras, its figures and plots in a folder."""
    from edgepress.toolkit.data import open_data
    from edgepress.toolkit.tables import evaluation_table
    from edgepress.toolkit.training import train as work

    if color not in (None, "grey", "rgb"):
        raise unknown("color", color, ("grey", "rgb"))
    if resize not in ("stretch", "crop", "pad"):
        raise unknown("resize rule", resize, ("stretch", "crop", "pad"))
    opened = open_data(
        data,
        size=_size(size),
        color=color,  # type: ignore[arg-type]  # mypy does not narrow str to a Literal
        resize=resize,  # type: ignore[arg-type]
        skip_unreadable=skip_unreadable,
    )
    for name, reason in opened.skipped:
        console.note(f"Left out as unreadable: {name} ({reason})")
    folder = out or Path("runs") / f"{Path(data).stem}-{arch}"
    result = work(
        opened,
        arch,
        out=folder,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience or None,
        class_weights=class_weights,
        augmentation=augmentation,
        width=width,
        depth=depth,
        dropout=dropout,
        weights=weights,
        freeze=freeze,
        seed=seed,
        resume=resume,
        overwrite=overwrite,
    )
    if json_output:
        console.document({"model": str(result.model), **result.metrics})
        return
    console.show(evaluation_table(result.metrics))
    console.say(f"Test accuracy {100 * result.metrics['accuracy']:.2f} %: {result.model}", style="bold")
    console.say(f"Next: edgepress convert {result.model}")


@app.command()
@command
def evaluate(
    file: Annotated[Path, typer.Argument(help="A .keras, .tflite or .onnx file made by edgepress.")],
    data: Data = None,
    engine: Annotated[
        str | None,
        typer.Option(help="litert, tflite-runtime or onnxruntime.", show_default="the first that opens the file"),
    ] = None,
    threads: Threads = 1,
    skip_unreadable: SkipUnreadable = False,
    json_output: Json = False,
) -> None:
    """Accuracy, precision, recall, F1 and confusion of one file on the test split."""
    from edgepress.toolkit.evaluate import evaluate as work
    from edgepress.toolkit.tables import confusion_table, evaluation_table

    with console.progress(PHASES) as on_progress:
        result = work(
            file, data=data, engine=engine, threads=threads, skip_unreadable=skip_unreadable, on_progress=on_progress
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
        f"{result['data']['source']}.",
        style="bold",
    )


@app.command()
@command
def convert(
    model: Annotated[Path, typer.Argument(help="A .keras, .h5, .tflite or .onnx file, or a SavedModel's folder.")],
    to: Annotated[str, typer.Option(help="all, tflite, onnx, or schemes such as tflite-int8,onnx-int8.")] = "all",
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files.", show_default="variants, beside MODEL")
    ] = None,
    calibration_images: Annotated[
        int, typer.Option(min=1, help="Training images that the ranges of activations are taken from.")
    ] = 200,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Refuse files that answer too unlike the model.")
    ] = True,
    skip_unreadable: SkipUnreadable = False,
    labels: Annotated[
        Path | None,
        typer.Option(help="File with one label a line, in the order of the outputs.", rich_help_panel=THEIRS),
    ] = None,
    input_range: Annotated[
        str | None,
        typer.Option(help="What the model takes for pixels 0 and 255: 0,1 or -1,1.", rich_help_panel=THEIRS),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Subtracted from pixels; one number or one a channel.", rich_help_panel=THEIRS)
    ] = None,
    std: Annotated[str | None, typer.Option(help="What is divided by then.", rich_help_panel=THEIRS)] = None,
    color: Annotated[
        str | None, typer.Option(help="grey, rgb or bgr; says that inputs are images.", rich_help_panel=THEIRS)
    ] = None,
    resize: Annotated[
        str | None, typer.Option(help="stretch, crop or pad images of another shape.", rich_help_panel=THEIRS)
    ] = None,
    channels_first: Annotated[
        bool | None,
        typer.Option("--channels-first/--channels-last", help="Order of the model's input.", rich_help_panel=THEIRS),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="softmax, logits, sigmoid or multilabel.", rich_help_panel=THEIRS)
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Probability from which a label counts.", rich_help_panel=THEIRS),
    ] = None,
    softmax: Annotated[
        bool, typer.Option("--softmax", help="Put softmax behind a model that ends in logits.", rich_help_panel=THEIRS)
    ] = False,
    custom: Annotated[
        list[str] | None, typer.Option(help="MODULE:CLASS of a custom Keras layer.", rich_help_panel=THEIRS)
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run Lambda layers, which are code in the file.", rich_help_panel=THEIRS)
    ] = False,
    json_output: Json = False,
) -> int:
    """Convert a model, one's own or anybody's, to quantized TFLite and ONNX files, each compared with it."""
    from edgepress.toolkit.convert import Foreign, convert_model, summary
    from edgepress.toolkit.tables import variants_table

    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        console.note(text)

    variants = convert_model(
        model,
        to,
        data=data,
        out=out,
        foreign=Foreign(
            labels=labels,
            task=task,
            threshold=threshold,
            input_range=input_range,
            mean=mean,
            std=std,
            color=color,
            resize=resize,
            channels_first=channels_first,
            softmax=softmax,
            custom=tuple(custom or ()),
            trust=trust,
        ),
        calibration_images=calibration_images,
        verify=verify,
        skip_unreadable=skip_unreadable,
        on_note=note,
        on_start=lambda scheme: console.step(f"Converting to {scheme}"),
    )
    if json_output:
        console.document(summary(variants, notes))
    else:
        console.show(variants_table(variants))
        if done := [v.path for v in variants if v.path is not None]:
            console.say(f"In {done[0].parent}. Next: edgepress benchmark {done[0].parent}")
    return int(any(v.path is None for v in variants))


@app.command()
@command
def benchmark(
    files: Annotated[list[Path], typer.Argument(help=".tflite and .onnx files, or one folder of them.")],
    data: Data = None,
    engine: Annotated[str, typer.Option(help="all, or names separated by commas.")] = "all",
    threads: Threads = 1,
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
    out: Annotated[Path | None, typer.Option(help="Folder for the results.", show_default="the files' own")] = None,
    skip_unreadable: SkipUnreadable = False,
    json_output: Json = False,
) -> int:
    """Measure size, speed and accuracy of files side by side, and say which to ship."""
    from edgepress.toolkit.advice import MAX_DROP_PP
    from edgepress.toolkit.benchmark import benchmark as work
    from edgepress.toolkit.benchmark import write_benchmark

    with console.progress(PHASES) as on_progress:
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
        _show_benchmark(result)
        console.say(f"Written: {', '.join(str(p) for p in paths)}")
    if any(r.failed for r in result.results):
        return 1
    return 3 if max_drop is not None and result.advice.ship is None else 0


@app.command()
@command
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
    from edgepress.toolkit.tables import benchmark_table

    console.say(
        f"{result.data['count']} test items of {result.data['source']}, {result.results[0].threads} thread(s), "
        f"{host_title(result.host)}"
    )
    console.show(benchmark_table(result))
    console.say("Drop: against the baseline; ≤ is the upper end of its 95 % interval. Speed-up: p50, paired by round.")
    for r in result.results:
        if r.failed:
            console.say(f"{r.file}{f' on {r.engine}' if r.engine else ''} {r.status}", style="red")
    if result.keras_accuracy is not None:
        console.say(f"The Keras model itself: {100 * result.keras_accuracy:.2f} % of its own test split.")
    console.say()
    console.say(f"Ship: {result.advice.ship or 'none'}", style="bold green" if result.advice.ship else "bold red")
    console.say(result.advice.why)


def _show_predictions(results: Sequence[ImageResult]) -> None:
    from edgepress.toolkit.tables import predictions_table

    if any(r.classes for r in results):
        console.show(predictions_table(results))
    for r in results:
        if r.error is not None:
            console.error(r.error, as_json=False)


def _size(text: str | None) -> int | tuple[int, int] | None:
    """The option --size: "64" or "48x64"."""
    try:
        sides = [int(part) for part in text.lower().split("x")] if text is not None else None
    except ValueError:
        sides = []
    if sides is None:
        return None
    if len(sides) not in (1, 2):
        raise InputError(f"--size is {text!r}; accepted: SIDE or HEIGHTxWIDTH in pixels, such as 64 or 48x64.")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])
