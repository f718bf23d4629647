"""The command `tune`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.options import (
    DATA_HELP,
    TRAINED_ON,
    Augmentation,
    Custom,
    Json,
    Offline,
    SkipUnreadable,
    Trust,
    with_model_hints,
)


@with_model_hints
def tune(
    model: Annotated[Path, Argument(help="A .keras, .h5, .tflite or .onnx file, or a SavedModel folder")],
    hints: Hints,
    data: Annotated[
        str | None,
        Option(help=f"{DATA_HELP}; labels are used where there are some", show_default=TRAINED_ON),
    ] = None,
    bits: Annotated[int, Option(help="Bits of the weights, 8 or 4")] = 8,
    minutes: Annotated[float, Option(help="Time for training; preparing takes a minute more")] = 10.0,
    out: Annotated[Path | None, Option(help="Folder for the result", show_default="tuned, next to the model")] = None,
    resume: Annotated[bool, Option("--resume", help="Resume an interrupted run")] = False,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace a run that the folder holds")] = False,
    augmentation: Annotated[
        Augmentation, Option(help="Augmentation of the training items; auto chooses by the kind of data")
    ] = "auto",
    seed: Annotated[int, Option(min=0, help="Seed of the order and augmentation of the items")] = 0,
    skip_unreadable: SkipUnreadable = False,
    custom: Custom = None,
    trust: Trust = False,
    offline: Offline = False,
    json_output: Json = False,
) -> None:
    """Train a model of any format so that its quantized files answer as it does; convert then makes them."""
    from edgepress.toolkit.tuning.tune import tune as work

    with _bar() as advance:
        result = work(
            model,
            data,
            bits=bits,
            minutes=minutes,
            out=out,
            hints=replace(hints, custom=tuple(custom or ()), trust=trust),
            augmentation=augmentation,
            seed=seed,
            skip_unreadable=skip_unreadable,
            install=not offline,
            resume=resume,
            overwrite=overwrite,
            on_note=screen.note,
            on_progress=advance,
        )
    if json_output:
        screen.document(result.summary())
        return
    rows = [
        [title, *(_figure(result.facts[when], name) for when in ("before", "after"))]
        for name, (title, _) in _FIGURES.items()
    ]
    known = [row for row in rows if row[1]]
    screen.show(screen.table([(f"{bits}-bit file", "left"), ("before", "right"), ("after", "right")], known))
    if result.facts["kept"] == "start":
        screen.say("Training found nothing better on validation items; the result is the repaired graph.")
    words = ["edgepress", "convert", str(result.model), *(["--data", data] if data else [])]
    screen.say(f"Written to {result.model}. Next: {shlex.join(words)}", style="bold")


_FIGURES = {
    "accuracy": ("accuracy", "{:.2%}"),
    "agreement": ("agreement", "{:.2%}"),
    "noise_db": ("signal to noise", "{:.1f} dB"),
}
"""The figures of a quantized file on validation items: the title and the format of each."""


def _figure(facts: dict[str, float], name: str) -> str:
    return _FIGURES[name][1].format(facts[name]) if name in facts else ""


@contextmanager
def _bar() -> Iterator[Callable[[float, str], None]]:
    """A progress bar on standard error with figures and the time left; the steps, if that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(compact=True))
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Steps()
        return
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("opening", total=1.0)
        yield lambda share, text: progress.update(task, completed=share, description=text)


class _Steps:
    """Prints what begins, and the figures each time another tenth of the training is done."""

    def __init__(self) -> None:
        self._tenth = 0
        screen.step("Opening the model")

    def __call__(self, share: float, text: str) -> None:
        tenth = int(10 * share)
        if not share or tenth > self._tenth:
            screen.step(f"{text[:1].upper()}{text[1:]}" if share in (0, 1) else f"{share:.0%}: {text}")
        self._tenth = tenth
