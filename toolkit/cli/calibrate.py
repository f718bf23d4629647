"""The command `calibrate`, and what it prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from edgepress.runtime.engines import PACKAGED
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.options import (
    Data,
    Json,
    PackagedEngine,
    engine_option,
    refuse_of_items,
    with_stream_options,
)
from edgepress.toolkit.cli.screen import table
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.measurement.calibrating.calibrate import Calibrated
from edgepress.toolkit.measurement.calibrating.fit import LIMITS
from edgepress.toolkit.terminal import Table

COUNTED = (
    "The confidence is the share of calibrations that break no promise, those that promise nothing included; the "
    "smaller the limit, the fewer promise something."
)
"""What the confidence of a promise counts."""


def calibration_table(results: Sequence[Calibrated]) -> Table:
    """The calibrated files, one a row; the calibration error before and after, and what is accepted."""
    columns = [("File", "left"), ("Engine", "left"), ("Items", "right"), ("Acc. %", "right"), ("ECE pp", "right")]
    columns += [("Accepted %", "right"), ("Wrong of these", "right"), ("Promised %", "right")]
    rows = []
    for result in results:
        fit = result.fit
        accept = result.fit.limits.accept
        about = [result.file.name, result.engine, str(fit.items), f"{100 * fit.accuracy:.1f}"]
        about.append(f"{100 * fit.ece[0]:.1f} → {100 * fit.ece[1]:.1f}")
        if accept is None:
            rows.append([*about, "-", "-", "-"])
        else:
            share = accept.accepted / accept.items
            wrong = f"{accept.errors} of {accept.accepted}"
            rows.append([*about, f"{100 * share:.1f}", wrong, f"{100 * accept.limit:.3g}"])
    return table(columns, rows)


def sentences(results: Sequence[Calibrated]) -> Iterator[str]:
    """Each promise with its condition, or what could be promised; and what unknown items do."""
    for result in results:
        accept = result.fit.limits.accept
        yield f"{result.file.name}: {accept.words() if accept else _missing(result)}"
        if result.fit.auroc is not None:
            yield _unknown(result)
    if any(result.fit.limits.accept is not None for result in results):
        yield COUNTED


def _missing(result: Calibrated) -> str:
    fit = result.fit
    wish = result.wish
    assert fit.reachable is not None
    limit = f"{100 * wish.limit:g} %"
    reachable = f"{100 * fit.reachable:.3g} %"
    if wish.promise == "error":
        what = f"an error of at most {limit} can't be promised"
        tried = f"no limit up to {100 * LIMITS[-1]:g} % can, either." if wish.limit < LIMITS[-1] else ""
        nearest = f"{reachable} can." if fit.reachable < 1 else tried
        enough = fit.missing is not None and fit.missing <= fit.items
        needed = f"Even if all accepted answers are right, {limit} needs {fit.missing} of them."
        needed = "Too many of the surest answers are wrong." if enough else needed
    else:
        what = f"that at most {limit} of known items are rejected can't be promised"
        nearest = f"{reachable} can."
        needed = f"{limit} needs {fit.missing} more items."
    if fit.tied is not None:
        needed = f"{needed} {_describe_ties(result)}"
    left = f" {result.earlier} is of an earlier calibration." if result.earlier is not None else ""
    nearest = f"; {nearest}" if nearest else "."
    return f"{what} with these {fit.items} items{nearest} {needed} No copy was written.{left}"


def _describe_ties(result: Calibrated) -> str:
    """A note that many answers share the highest certainty, with what to do."""
    fit = result.fit
    text = f"{fit.tied} answers share the highest certainty, and {fit.tied_wrong} of these are wrong."
    if not result.ends:
        return text
    return f"{text} Files of logits tell such answers apart: convert the model with --output logits."


def _unknown(result: Calibrated) -> str:
    fit = result.fit
    assert fit.auroc is not None
    certainty, similarity = fit.auroc
    kept = "is used, too" if fit.limits.unknown is not None else "is not used"
    text = (
        f"{result.file.name}: certainty tells unknown items from known ones with an AUROC of {certainty:.2f}, "
        f"similarity to known answers with {similarity:.2f}, which {kept}"
    )
    return text + (
        "." if fit.unknown_accepted is None else f"; {fit.unknown_accepted:.1%} of unknown items are accepted."
    )


def averaged(answers: int) -> str:
    """How many answers decide whether a label is heard, as a sentence."""
    return "Each answer decides by itself." if answers == 1 else f"The mean of {answers} answers decides."


CONFIDENCE = "95%"
NOT_PROMISED = 4
"""Exit code if a file can't promise what was asked for."""


@with_stream_options
def calibrate(
    files: Annotated[list[Path], Argument(help=".tflite or .onnx classifiers")],
    *,
    max_error: Annotated[
        str | None, Option(metavar="SHARE", help="Promise that at most this share of accepted answers is wrong")
    ] = None,
    max_rejected: Annotated[
        str | None, Option(metavar="SHARE", help="Promise that at most this share of known items is rejected")
    ] = None,
    max_alarms: Annotated[
        str | None, Option(metavar="RATE", help="Of sound: choose when a label is heard, for false alarms such as 1/h")
    ] = None,
    sound: dict[str, Any],
    data: Data = None,
    unknown: Annotated[
        Path | None, Option(help="Folder or data set of items of none of the labels", show_default="none")
    ] = None,
    confidence: Annotated[str, Option(metavar="SHARE", help="Probability that the promise holds")] = CONFIDENCE,
    engine: Annotated[PackagedEngine | None, engine_option("Engine that runs the files", PACKAGED)] = None,
    out: Annotated[
        Path | None, Option(help="Folder for the copies", show_default="calibrated/ beside the first file")
    ] = None,
    reading: Reading = STRICT,
    json_output: Json = False,
) -> int:
    """Calibrate probabilities, and reject uncertain answers, with a promise that is measured on the test split."""
    if max_alarms is not None or sound["stream"]:
        if max_error is not None or max_rejected is not None or unknown is not None:
            hint = "Run calibrate twice: with these first, and then with --max-alarms on the copy that it wrote."
            problem = "--max-alarms and --stream can't stand beside --max-error, --max-rejected or --unknown."
            raise InputError(problem, hint)
        given = {"--data": data is not None, "--confidence": confidence != CONFIDENCE}
        refuse_of_items([*(word for word, is_given in given.items() if is_given), *reading.words])
        return _calibrate_stream(files, max_alarms, **sound, engine=engine, out=out, json_output=json_output)
    if sound["events"] is not None or sound["step"] is not None:
        raise InputError("--events and --step need recordings.", "Name them with --stream, and give --max-alarms.")
    from edgepress.toolkit.cli.convert import data_words
    from edgepress.toolkit.measurement.calibrating.calibrate import calibrate as work

    with screen.progress({"scores": "Answering test items"}) as on_progress:
        results = work(
            *files,
            max_error=max_error,
            max_rejected=max_rejected,
            data=data,
            unknown=unknown,
            confidence=confidence,
            engine=engine,
            out=out,
            **reading.arguments,
            on_progress=on_progress,
        )
    screen.note(*dict.fromkeys(note for result in results for note in result.notes))
    if json_output:
        screen.document({"files": [result.to_dict() for result in results]})
    else:
        screen.show(calibration_table(results))
        screen.say()
        for line in sentences(results):
            screen.say(line)
        if written := [result.path for result in results if result.path is not None]:
            words = [*data_words(written[0], data), *reading.words]
            screen.next_command(shell_line("edgepress", "bundle", written[0], *words))
    return NOT_PROMISED if any(result.path is None for result in results) else 0


def _calibrate_stream(
    files: list[Path],
    max_alarms: str | None,
    *,
    stream: list[Path] | None,
    out: Path | None,
    json_output: bool,
    **how: Any,
) -> int:
    """Choose when each model of sound hears a label."""
    from edgepress.toolkit.cli.stream_tables import curve_table, sentence
    from edgepress.toolkit.measurement.calibrating.calibrate import targets_of
    from edgepress.toolkit.measurement.calibrating.streams import calibrate_stream as work

    if max_alarms is None:
        raise InputError("--stream needs the number of false alarms that you accept.", "Give it: --max-alarms 1/h.")
    if not stream:
        raise InputError("--max-alarms needs recordings to listen to.", "Name them: --stream FOLDER, or FILE.wav.")
    if out is not None:
        targets_of(files, out)  # two files of one name are refused before anything is heard
    with screen.progress({"sound": "Listening"}) as on_progress:
        results = [
            work(file, *stream, max_alarms=max_alarms, out=out, on_progress=on_progress, **how) for file in files
        ]
    if json_output:
        screen.document({"files": [result.to_dict() for result in results]})
    else:
        for result in results:
            screen.show(curve_table(result.evaluation))
            screen.say()
            rule = result.evaluation.options
            screen.say(f"{sentence(result.evaluation)} {averaged(rule.average)}", style="bold")
            heard = result.evaluation.hours
            if result.needed_hours is not None and heard < result.needed_hours:
                needed = f"{result.needed_hours:.3g} hours without a false alarm; these have {heard:.2g}"
                screen.note(f"These recordings are too short to show {max_alarms}: that takes {needed}.")
            if result.path is None:
                left = f" {result.earlier} is of an earlier calibration." if result.earlier is not None else ""
                screen.say(f"No threshold gives {max_alarms} or fewer false alarms, so no copy was written.{left}")
            else:
                screen.say(
                    f"Written: {result.path}. Measure it on other recordings than these, which chose the threshold."
                )
                events = [] if how["events"] is None else ["--events", "OTHER.csv"]
                screen.next_command(shell_line("edgepress", "evaluate", result.path, "--stream", "OTHER", *events))
    return NOT_PROMISED if any(result.path is None for result in results) else 0
