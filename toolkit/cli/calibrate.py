"""The command `calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from edgepress.runtime.engines import PACKAGED
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.options import Data, Json, PackagedEngine, SkipUnreadable, engine_option, skip_words
from edgepress.toolkit.escaping import shell_line

NOT_PROMISED = 4
"""Exit code if a file can't promise what was asked for."""


def calibrate(
    files: Annotated[list[Path], Argument(help=".tflite or .onnx classifiers")],
    max_error: Annotated[
        str | None, Option(metavar="SHARE", help="Promise that at most this share of accepted answers is wrong")
    ] = None,
    max_rejected: Annotated[
        str | None, Option(metavar="SHARE", help="Promise that at most this share of known items is rejected")
    ] = None,
    data: Data = None,
    unknown: Annotated[
        Path | None, Option(help="Folder or data set of items of none of the labels", show_default="none")
    ] = None,
    confidence: Annotated[str, Option(metavar="SHARE", help="Probability that the promise holds")] = "95%",
    engine: Annotated[PackagedEngine | None, engine_option("Engine that runs the files", PACKAGED)] = None,
    out: Annotated[
        Path | None, Option(help="Folder for the copies", show_default="calibrated/ beside the first file")
    ] = None,
    skip_unreadable: SkipUnreadable = False,
    json_output: Json = False,
) -> int:
    """Calibrate probabilities, and reject uncertain answers, with a promise that is measured on the test split."""
    from edgepress.toolkit.calibrating.calibrate import calibrate as work
    from edgepress.toolkit.cli.calibrate_view import calibration_table, sentences
    from edgepress.toolkit.cli.convert import data_words

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
            skip_unreadable=skip_unreadable,
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
            words = [*data_words(written[0], data), *skip_words(skip_unreadable)]
            screen.next_command(shell_line("edgepress", "bundle", written[0], *words))
    return NOT_PROMISED if any(result.path is None for result in results) else 0
