"""The command `compress`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit import text
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.columns import FOOTPRINT, TRIALS, filled_columns
from edgepress.toolkit.search.compression.options import AS_USUAL, CompressOptions
from edgepress.toolkit.terminal import Text, console, status

if TYPE_CHECKING:
    from edgepress.toolkit.search.compression.trial import Trial


@options.with_source_hints
def compress(
    model: options.Model,
    hints: Hints,
    data: Annotated[
        str | None,
        Option(
            help=f"{options.DATA_HELP}; with labels",
            show_default=options.TRAINED_ON,
            autocompletion=options.complete_data,
        ),
    ] = None,
    how: CompressOptions = AS_USUAL,
    json_output: options.Json = False,
) -> int:
    """Find the cheapest way to make a file that meets your limits; exits with 3 if there is none."""
    from edgepress.toolkit.search.compression.compress import compress as work

    with _live() as (step, tried):
        result = call_with(work, locals(), on_note=screen.note, on_step=step, on_trial=tried)
    if json_output:
        screen.document(result.summary())
    else:
        _show(result.document)
    return 0 if result.met else 3


def _show(document: Mapping[str, Any]) -> None:
    figures = [column for column in TRIALS if document["memory_on"] or column.fields != ("memory_bytes",)]
    figures += filled_columns(FOOTPRINT, document["trials"])
    columns = [("File", "left"), ("Made by", "left"), *((column.title, "right") for column in figures)]
    rows: list[list[str | Text]] = []
    for trial in document["trials"]:
        is_best = trial["number"] == document["best"]
        mark = Text("best", style="bold green") if is_best else text.first_sentence(trial["error"])
        shown = [column.text(trial) for column in figures]
        rows.append([trial["scheme"], trial["how"], *shown, text.duration(1e6 * trial["seconds"]), mark])
    screen.show(screen.table([*columns, ("Time", "right"), ("", "left")], rows))
    for why in dict.fromkeys(each["why"] for each in document["skipped"]):
        strategies = ", ".join(each["strategy"] for each in document["skipped"] if each["why"] == why)
        screen.say(f"Left out: {strategies}, because {why}.", style="dim")
    screen.note(*document["notes"])
    screen.say(f"Latency on {document['latency_on']}, {document['engine']}, one thread, in turns with the float file.")
    if document["footprint"]:
        screen.say(f"{document['footprint']}.")
    screen.say()
    if not document["met"]:
        for miss in document["misses"]:
            screen.say(f"  {miss['text'][:1].upper()}{miss['text'][1:]}")
    screen.say(document["why"], style="bold" if document["met"] else "bold red")
    if document["file"]:
        screen.say(f"Written to {document['file']}", style="bold")


@contextmanager
def _live() -> Iterator[tuple[Callable[[str], None], Callable[[Trial], None]]]:
    """Show the step under way, and a line for each file when it is measured, on standard error."""

    def tried(trial: Trial) -> None:
        drop = "" if trial.drop_pp is None else f"drop {text.with_sign(trial.drop_pp)} pp"
        figures = text.size(trial.size_bytes), drop, text.duration(trial.latency_us), trial.error
        known = ", ".join(filter(None, figures))
        screen.step(f"{trial.scheme} ({trial.how}): {known}")

    shown = console(stderr=True)
    if not shown.is_terminal:
        yield screen.step, tried
        return
    with status(shown, "opening the model") as step:
        yield step, tried
