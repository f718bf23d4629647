"""The command `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.benchmark import PHASES, show_benchmark
from edgepress.toolkit.cli.frame import code_of
from edgepress.toolkit.cli.options import Confidence, Json, Preference
from edgepress.toolkit.cli.predict import show_predictions
from edgepress.toolkit.escaping import shell_line


def demo(
    out: Annotated[Path, Option(help="Folder for all files")] = Path("edgepress-demo"),
    confidence: Confidence = "90%",
    prefer: Preference = "balanced",
    json_output: Json = False,
) -> int:
    """Train, convert, benchmark and predict on a built-in data set: offline, in under a minute."""
    from edgepress.toolkit.demonstration import demo as work

    with screen.progress(PHASES) as on_progress:
        result = work(
            out, confidence=confidence, prefer=prefer, on_step=screen.step, on_progress=on_progress, training_bar=True
        )
    screen.note(*result.benchmark.notes)
    if json_output:
        screen.document(result.to_dict())
    else:
        show_benchmark(result.benchmark)
        if result.predictions:
            screen.say()
            show_predictions(result.predictions)
        screen.say()
        screen.say(f"Done in {result.seconds:.0f} s; all files are in {out}. Try next:")
        file = result.benchmark.advice.ship or "FILE"
        screen.shell_command(f"  {shell_line('edgepress', 'predict', file, out / 'images')}")
        screen.shell_command(f"  {shell_line('edgepress', 'evaluate', out / 'model.keras')}")
        screen.say("  edgepress train --data FOLDER --out runs/mine")
    succeeded = [v.path is not None for v in result.variants] + [not r.failed for r in result.benchmark.results]
    return code_of([*succeeded, bool(result.predictions), *(r.error is None for r in result.predictions)])
