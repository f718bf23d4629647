"""Options that several commands share, and the choices that options offer, read from the tables they belong to.

A fixed choice is a `Literal`: Typer lists its values in the help, completes them, and exits with 2 on any other value.
Options that take several values separated by commas are text with a completion callback (`list_of`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from typer import Option

from edgepress.converters.schemes import SCHEMES
from edgepress.runtime.engines import ENGINES
from edgepress.toolkit.data import ACCEPTED
from edgepress.toolkit.training.architectures import ARCHITECTURES
from edgepress.toolkit.training.augment import AUGMENTATIONS
from edgepress.toolkit.workers.trace import TRACERS

if TYPE_CHECKING:
    Architecture: TypeAlias = str
    Augmentation: TypeAlias = str
    Engine: TypeAlias = str
    Tracer: TypeAlias = str
else:  # made from tables, which type checkers can't follow
    Engine, Tracer = Literal[tuple(ENGINES)], Literal[tuple(TRACERS)]
    Architecture, Augmentation = Literal[tuple(ARCHITECTURES)], Literal[tuple(AUGMENTATIONS)]


def list_of(names: Iterable[str]) -> Callable[[str], list[str]]:
    """A completion callback for names separated by commas: it completes the last one."""

    def complete(incomplete: str) -> list[str]:
        before, comma, word = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in names if name.startswith(word)]

    return complete


DATA_HELP = f"Data set: {ACCEPTED}"
SIZE_HELP = "Fix sizes that the model's input leaves free: HEIGHTxWIDTH, or one number for all, such as a length"


def engine_option(help: str, names: Iterable[str] = ENGINES) -> Any:
    """The option that names one engine."""
    return Option(
        metavar="NAME", help=f"{help}: {', '.join(names)}", show_default="the first installed one that opens the file"
    )


MANY_ENGINES = Option(
    help=f"Engines, separated by commas: all, {', '.join(ENGINES)}", autocompletion=list_of(("all", *ENGINES))
)
MANY_SCHEMES = ("all", *dict.fromkeys(s.format for s in SCHEMES.values()), *SCHEMES)

Json = Annotated[bool, Option("--json", help="Print one JSON document instead of text")]
Data = Annotated[str | None, Option(help=DATA_HELP, show_default="the data the model was trained on")]
SkipUnreadable = Annotated[bool, Option("--skip-unreadable", help="Skip unreadable images, and list them")]
ThreadCounts = Annotated[str, Option(help="Numbers of threads to time, separated by commas")]
Threads = Annotated[int, Option(min=1, max=256, help="Threads the engine may use")]
MaxDrop = Annotated[
    float | None, Option(min=0, help="Largest acceptable accuracy drop, in percentage points", show_default="1")
]
