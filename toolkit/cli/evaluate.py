"""The command `evaluate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.cli.settings import is_from_file
from edgepress.toolkit.columns import quality
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.errors import InputError

MAX_CONFUSION = 20
"""Number of classes up to which the confusion matrix is printed; the JSON document always holds it."""


@options.with_options(hints=options.model_hints, sound=options.stream_options)
def evaluate(
    file: Annotated[
        Path, Argument(help="A .keras file of edgepress train, its run's folder, or any .tflite or .onnx classifier")
    ],
    hints: Hints,
    *,
    data: options.Data = None,
    engine: Annotated[options.Engine | None, options.engine_option("Engine that runs the file")] = None,
    threads: options.Threads = 1,
    jobs: Annotated[
        int | None, Option(min=1, help="Worker processes that run side by side", show_default="CPUs / --threads")
    ] = None,
    sound: dict[str, Any],
    cache: Annotated[
        bool, Option(help="Store the file's answers, so that an interrupted evaluation can resume")
    ] = True,
    reading: Reading = STRICT,
    json_output: options.Json = False,
) -> None:
    """Measure accuracy, precision, recall, F1, calibration error and confusion of one file on the test split."""
    if sound["stream"]:
        given = {"--data": data is not None, "--jobs": jobs is not None, "--no-cache": not cache}
        words = [word for word, is_given in given.items() if is_given]
        options.refuse_of_items([*words, *reading.words, *replace(hints, threshold=None).words])
        threshold = None if is_from_file("threshold") else hints.threshold
        how: dict[str, Any] = {"threshold": threshold, "engine": engine, "threads": threads}
        _evaluate_stream(file, **sound, **how, json_output=json_output)
        return
    if sound["events"] is not None or sound["step"] is not None:
        raise InputError("--events and --step need recordings.", "Name them with --stream.")
    from edgepress.toolkit.cli.tables import confusion_table, evaluation_table, group_line
    from edgepress.toolkit.documents import default_cache
    from edgepress.toolkit.measurement.evaluation import evaluate as work

    with screen.progress({"accuracy": "Checking accuracy"}) as on_progress:
        result = call_with(work, locals(), cache=default_cache() if cache else None)
    screen.note(*result["notes"])
    if json_output:
        screen.document(result)
        return
    screen.show(evaluation_table(result))
    screen.say()
    if result["confusion_matrix"] and len(result["per_class"]) <= MAX_CONFUSION:
        screen.show(confusion_table(result))
        screen.say()
    screen.remarks(result["remarks"])
    screen.say(
        f"{file} on {result['engine']}: {quality(result)} on {result['count']} test items of "
        f"{result['data']['source']}; expected calibration error (ECE) {100 * result['ece']:.1f} pp.",
        style="bold",
    )
    if line := group_line(result):
        screen.say(line)
    if (accepted := result["accepted"]) is not None:
        screen.say(
            f"{accepted['count']} answers are accepted{_interval(accepted['share'])}; "
            f"{accepted['errors']} of these are wrong{_interval(accepted['error'])}."
        )


def _evaluate_stream(file: Path, *, stream: list[Path], json_output: bool, **how: Any) -> None:
    """Show what a model of sound hears in recordings."""
    from edgepress.toolkit.cli.stream_tables import curve_table, label_table, sentence
    from edgepress.toolkit.measurement.streams import evaluate_stream as work

    with screen.progress({"sound": "Listening"}) as on_progress:
        result = work(file, *stream, on_progress=on_progress, **how)
    if json_output:
        screen.document(result.to_dict())
        return
    screen.show(curve_table(result))
    screen.say()
    if len(result.labels) > 1:
        screen.show(label_table(result))
        screen.say()
    screen.say(sentence(result), style="bold")


def _interval(share: dict[str, Any] | None) -> str:
    """A share with its interval, in parentheses; empty if there is nothing to take a share of."""
    if share is None:
        return ""
    low = 100 * share["low"]
    high = 100 * share["high"]
    return f" ({100 * share['estimate']:.1f} %, 95 % interval {low:.1f} to {high:.1f} %)"
