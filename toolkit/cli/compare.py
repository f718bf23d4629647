"""The command `compare`."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.cli.benchmark import PHASES
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.terminal import Text

if TYPE_CHECKING:
    from edgepress.toolkit.measurement.comparison.judging import Comparison

UNPROVEN = 5
"""Exit code if no limit is exceeded, and one is neither proven to be exceeded nor to be kept."""
Models = partial(Option, rich_help_panel="For two model files")
NARROW = 120
"""Columns of the screen below which the table has no room for all figures."""
HIDDEN = ("p99_us", "memory_bytes")
"""The figures that are then left out."""


@options.with_model_hints
def compare(
    old: Annotated[
        Path,
        Argument(help="A benchmark.json, its folder, a result of evaluate --stream --json, or a .tflite or .onnx file"),
    ],
    new: Annotated[Path, Argument(help="The same kind of file; two model files are measured side by side")],
    hints: Hints,
    fail_if: Annotated[
        list[str] | None,
        Option(
            help="Limit such as 'drop>0.5' or 'f1_drop>1' (pp), 'latency>1.1x', 'p99>5ms', 'size>5%', 'size>200kB' or "
            "'accuracy<97%'; of recordings 'alarms>1/h', 'alarms_rise>0.5/h', 'missed>5%' or 'missed_rise>2' (pp); "
            "may be repeated. x and % limit the change. Exit code 3 if a limit is exceeded, "
            f"{UNPROVEN} if that is neither proven nor ruled out"
        ),
    ] = None,
    unproven: Annotated[
        Literal["fail", "pass"],
        Option(help=f"Whether limits that are neither proven to be kept nor exceeded end with {UNPROVEN}, or with 0"),
    ] = "fail",
    strict: Annotated[
        bool, Option("--strict", help="Decide by estimates, not by 95 % confidence intervals; unknown counts as failed")
    ] = False,
    format_: Annotated[Literal["text", "md"], Option("--format", help="md: Markdown for a pull request")] = "text",
    engine: Annotated[str, options.MANY_ENGINES] = "all",
    scheme: Annotated[
        str,
        options.Several(
            rich_help_panel="For two results",
            help="Schemes, separated by commas, such as tflite-int8, or all",
            autocompletion=options.list_of(options.MANY_SCHEMES),
        ),
    ] = "all",
    data: Annotated[
        str | None,
        Models(
            help=options.DATA_HELP,
            show_default="the data the model was trained on",
            autocompletion=options.complete_data,
        ),
    ] = None,
    threads: options.Threads = 1,
    rounds: Annotated[int, Models(min=1, help="Rounds of timing; 6 or more give confidence intervals")] = 20,
    confidence: options.Confidence = "90%",
    prefer: options.Preference = "balanced",
    reading: Reading = STRICT,
    json_output: options.Json = False,
) -> int:
    """Show what changed between two results or two model files, and check limits: a gate for CI."""
    from edgepress.toolkit.measurement.comparison import text as texts
    from edgepress.toolkit.measurement.comparison.compare import MODEL_SUFFIXES
    from edgepress.toolkit.measurement.comparison.compare import compare as work
    from edgepress.toolkit.measurement.comparison.match import APPEARED, BOTH

    with screen.progress(PHASES) as on_progress:
        result = call_with(work, locals(), fail_if=fail_if or ())
    if json_output:
        screen.document(result.to_dict())
    elif format_ == "md":
        sys.stdout.write(texts.markdown(result))
    else:
        _show(result)
    if format_ != "md":
        screen.note(*result.notes)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        lines = texts.github_annotations(result, unproven_fails=unproven == "fail")
        sys.stderr.writelines(f"{line}\n" for line in lines)
    if result.failed:
        return 3
    # Results may hold failures; of model files, which are measured here, a file that can't be measured is one.
    if old.suffix in MODEL_SUFFIXES and any(p.state not in (BOTH, APPEARED) for p in result.pairs):
        return 1
    return UNPROVEN if result.unproven and unproven == "fail" else 0


def _show(result: Comparison) -> None:
    from edgepress.toolkit.measurement.comparison import text as texts

    hidden = HIDDEN if screen.width() < NARROW else ()
    heads, pairs = texts.pair_rows(result, hidden)
    columns = [("", "left"), *((name, "right") for name in heads[1:-1]), (heads[-1], "left")]
    last = None if any(row[-1] for row in pairs) else -1
    screen.show(screen.table(columns[:last], [row[:last] for row in pairs]))
    for text in texts.methods(result, hidden):
        screen.say(text)
    if result.verdicts:
        verdicts: list[list[str | Text]] = [
            [Text(outcome, style=texts.COLORS[outcome]), *cells] for outcome, *cells in texts.verdict_rows(result)
        ]
        screen.say()
        screen.show(screen.table([(name, "left") for name in ("Outcome", "Fail if", "On", "Found")], verdicts))
    screen.say()
    screen.say(texts.summary(result), style="bold red" if result.failed else "bold")
    if result.advice is not None:
        screen.say(f"Ship: {result.advice.ship or 'none'}. {result.advice.why}")
