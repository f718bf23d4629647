"""What `tune` and `prune`, which train a float graph, share: --data, a progress bar, and what they print."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from edgepress.toolkit import text
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.data.reading import Reading
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.terminal import BarColumn, Description, Progress, SpinnerColumn, TimeRemainingColumn, console

if TYPE_CHECKING:
    from edgepress.toolkit.training.graphs.run import GraphResult


Data = Annotated[
    str | None,
    Option(help=f"{options.DATA_HELP}; labels are used where there are some", show_default=options.TRAINED_ON),
]
FIGURES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "macs": ("multiply-accumulates", "{:,}".format),
    "parameters": ("parameters", "{:,}".format),
    "size_bytes": ("size of the int8 file", text.size),
    "latency_ms": ("latency of the int8 file", "{:.3f} ms".format),
    "accuracy": ("accuracy", "{:.2%}".format),
    "agreement": ("agreement", "{:.2%}".format),
    "snr_db": ("signal to noise", "{:.1f} dB".format),
}
"""The figures before and after: the title and the format of each."""


def carry_out(work: Callable[..., GraphResult], given: Mapping[str, Any], title: str) -> None:
    """Call `tune` or `prune` with what a command was given, and print the result."""
    with training_bar() as advance:
        result = call_with(work, given, on_note=screen.note, on_progress=advance)
    if given["json_output"]:
        screen.document(result.summary())
    else:
        show(result, title, given["data"], given["how"])


def show(result: GraphResult, title: str, data: str | None, reading: Reading) -> None:
    """Print the figures before and after, and the next command.

    Args:
        result: The result.
        title: What the figures are those of.
        data: The user's --data.
        reading: How the user has the data read.
    """
    from edgepress.toolkit.cli.convert import data_words

    facts = result.facts
    rows = [
        [name, *(form(facts[when][key]) if key in facts[when] else "" for when in ("before", "after"))]
        for key, (name, form) in FIGURES.items()
        if key in facts["before"]
    ]
    screen.show(screen.table([(title, "left"), ("before", "right"), ("after", "right")], rows))
    if facts.get("kept") == "start":
        screen.say("Training found nothing better on validation items; the result is the repaired graph.")
    words = ["edgepress", "convert", str(result.model), *data_words(result.model, data)]
    words += reading.words
    screen.say(f"Written to {result.model}", style="bold")
    screen.next_command(shell_line(*words))


@contextmanager
def training_bar() -> Iterator[Callable[[float, str], None]]:
    """A progress bar on standard error with figures and the time left; the steps, if that is not a terminal."""
    columns = (SpinnerColumn(), Description(), BarColumn(), TimeRemainingColumn(compact=True))
    shown = console(stderr=True)
    if not shown.is_terminal:
        yield _Steps()
        return
    with Progress(*columns, console=shown) as progress:
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
