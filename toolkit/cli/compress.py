"""The command `compress`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.text import Text
from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit import text
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.board import Python, SshConfig
from edgepress.toolkit.cli.options import (
    DATA_HELP,
    TRAINED_ON,
    Engine,
    Json,
    Offline,
    SkipUnreadable,
    engine_option,
    with_source_hints,
)

if TYPE_CHECKING:
    from edgepress.toolkit.compressing.trial import Trial


@with_source_hints
def compress(
    model: Annotated[Path, Argument(help="A .keras, .h5, .tflite or .onnx file, or a SavedModel folder")],
    hints: Hints,
    data: Annotated[str | None, Option(help=f"{DATA_HELP}; with labels", show_default=TRAINED_ON)] = None,
    max_drop: Annotated[
        float, Option(min=0, max=100, help="Largest accuracy drop from the float file, percentage points")
    ] = 0.5,
    max_size: Annotated[str | None, Option(metavar="SIZE", help="Largest file, such as 200kB")] = None,
    max_latency: Annotated[
        str | None, Option(metavar="TIME", help="Largest median latency of one item, such as 5ms")
    ] = None,
    max_memory: Annotated[
        str | None, Option(metavar="SIZE", help="Most memory beyond the engine's own, measured here, such as 64MB")
    ] = None,
    engine: Annotated[Engine | None, engine_option("Engine that runs the file")] = None,
    format: Annotated[
        Literal["tflite", "onnx"] | None,
        Option(help="Format of the file", show_default="what the engine opens, tflite"),
    ] = None,
    board: Annotated[
        str | None, Option(metavar="HOST", help="Board to measure latency on, as for ssh", show_default="this machine")
    ] = None,
    python: Python = None,
    ssh_config: SshConfig = None,
    minutes: Annotated[float, Option(help="Time after which no training begins")] = 60.0,
    out: Annotated[
        Path | None, Option(help="Folder for the result", show_default="compressed, next to the model")
    ] = None,
    seed: Annotated[int, Option(min=0, help="Seed of trainings")] = 0,
    skip_unreadable: SkipUnreadable = False,
    offline: Offline = False,
    json_output: Json = False,
) -> int:
    """Make the file that keeps your limits, by the cheapest means that do; exits with 3 if none is found."""
    from edgepress.toolkit.compressing.compress import compress as work

    with _live() as (step, tried):
        result = work(
            model,
            data,
            max_drop=max_drop,
            max_size=max_size,
            max_latency=max_latency,
            max_memory=max_memory,
            engine=engine,
            format=format,
            board=board,
            python=python,
            ssh_config=ssh_config,
            minutes=minutes,
            out=out,
            hints=hints,
            seed=seed,
            skip_unreadable=skip_unreadable,
            install=not offline,
            on_note=screen.note,
            on_step=step,
            on_trial=tried,
        )
    if json_output:
        screen.document(result.summary())
    else:
        _show(result.document)
    return 0 if result.met else 3


def _show(found: Mapping[str, Any]) -> None:
    columns = [("file", "left"), ("made by", "left"), ("size", "right"), ("drop on validation, pp", "right")]
    columns += [("latency", "right"), *([("memory", "right")] if found["memory_on"] else []), ("time", "right")]
    screen.show(screen.table([*columns, ("", "left")], [_row(t, found) for t in found["trials"]]))
    for why in dict.fromkeys(each["why"] for each in found["skipped"]):
        rungs = ", ".join(each["rung"] for each in found["skipped"] if each["why"] == why)
        screen.say(f"Left out: {rungs}, because {why}.", style="dim")
    screen.note(*found["notes"])
    screen.say(f"Latency on {found['latency_on']}, {found['engine']}, one thread, in turns with the float file.")
    screen.say()
    if not found["met"]:
        for miss in found["misses"]:
            screen.say(f"  {miss['text'][:1].upper()}{miss['text'][1:]}")
    screen.say(found["why"], style="bold" if found["met"] else "bold red")
    if found["file"]:
        screen.say(f"Written to {found['file']}", style="bold")


def _row(trial: Mapping[str, Any], found: Mapping[str, Any]) -> list[str | Text]:
    drop = text.interval(trial["drop_pp"], trial["drop_low_pp"], trial["drop_high_pp"])
    row: list[str | Text] = [trial["scheme"], trial["how"], text.size(trial["size_bytes"]), drop]
    row.append(text.duration(trial["latency_us"]))
    if found["memory_on"]:
        row.append(text.size(trial["memory_bytes"]))
    mark = Text("best", style="bold green") if trial["number"] == found["best"] else trial["error"][:60]
    return [*row, text.duration(1e6 * trial["seconds"]), mark]


@contextmanager
def _live() -> Iterator[tuple[Callable[[str], None], Callable[[Trial], None]]]:
    """Show the step under way, and a line for each file when it is measured, on standard error."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)

    def tried(trial: Trial) -> None:
        drop = "" if trial.drop_pp is None else f"drop {text.signed(trial.drop_pp)} pp"
        figures = text.size(trial.size_bytes), drop, text.duration(trial.latency_us), trial.error
        known = ", ".join(filter(None, figures))
        screen.step(f"{trial.scheme} ({trial.how}): {known}")

    if not console.is_terminal:
        yield screen.step, tried
        return
    with console.status("opening the model") as status:
        yield status.update, tried
