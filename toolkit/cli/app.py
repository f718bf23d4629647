"""What all commands share: the Typer application, errors, `--json`, exit codes, and the libraries' noise.

Exit codes: 0 done; 1 failed or interrupted, or with several items one failed; 2 wrong usage; 3 a limit that the user
gave is not met.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edgepress import __version__
from edgepress.toolkit.cli import interrupts, logs, screen
from edgepress.toolkit.errors import EdgepressError, InputError, missing_extra

ORDER = (
    *("demo", "train", "evaluate", "convert", "benchmark", "profile", "report", "compare", "predict", "inspect"),
    *("bundle", "verify", "board", "engine", "doctor"),
)
"""The commands in the order in which one comes to need them."""


class InOrder(TyperGroup):
    """Lists the commands as in `ORDER`, whichever module was imported first."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands."""
        return sorted(super().list_commands(ctx), key=ORDER.index)


app = typer.Typer(
    name="edgepress",
    cls=InOrder,
    help="Turn an image classifier into the file that a small board should run, and prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Start with: edgepress demo",
)

LOGGED = ("error", "engine", "model_file", "conversion")
"""Kinds of errors about which the libraries may have more to say; the others are not their business."""


class UsageError(EdgepressError):
    """Options that make no command."""

    kind = "usage"


class BugError(EdgepressError):
    """What should not have happened; its traceback is printed, too."""

    kind = "bug"


class InterruptError(EdgepressError):
    """Ctrl-C."""

    kind = "interrupted"


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    if "--json" not in arguments:
        app(list(arguments), prog_name="edgepress")
    try:
        return int(app(list(arguments), prog_name="edgepress", standalone_mode=False) or 0)
    except Exception as e:  # Typer's usage errors, which are click's own or Typer's copies of them
        if not hasattr(e, "format_message"):
            raise
        screen.error(UsageError(e.format_message(), "See --help."), as_json=True)
        return 2


def command(function: Callable[..., int | None]) -> Callable[..., None]:
    """Run a command's function as every command runs: noise off the screen, one error, an exit code."""

    @functools.wraps(function)
    def framed(**options: Any) -> None:
        as_json = bool(options.get("json_output"))
        with logs.off_screen() as log, interrupts.not_swallowed():
            try:
                code = function(**options) or 0
            except EdgepressError as e:
                code = _fail(e, as_json, log if e.kind in LOGGED else None)
            except KeyboardInterrupt as e:
                hint = str(e) or "Files that were finished are kept; none is half-written."
                code = _fail(InterruptError("Interrupted.", hint), as_json)
            except BrokenPipeError:  # whoever read our output has left: `edgepress ... | head`
                code = 1
            except OSError as e:
                what = f"{e.filename}: {e.strerror}." if e.filename else f"{e.strerror or e}."
                hint = "Free some disk space." if e.errno == errno.ENOSPC else "Check the path and its permissions."
                code = _fail(InputError(what, hint), as_json, log)
            except Exception as e:
                if isinstance(e, ModuleNotFoundError) and (error := missing_extra("This command", e)):
                    raise typer.Exit(_fail(error, as_json)) from e
                _fail(BugError(f"{type(e).__name__}: {e}", "This is a bug in edgepress."), as_json, log)
                raise
        raise typer.Exit(code)

    return framed


def _fail(error: EdgepressError, as_json: bool, log: Path | None = None) -> int:
    screen.error(error, as_json=as_json, log=log)
    return 1


def _version(wanted: bool) -> None:
    if wanted:
        screen.say(f"edgepress {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


# Options that several commands have.
DATA_HELP = (
    "digits, mnist, fashion_mnist, cifar10, cifar100, a folder of class folders, a folder of IDX files, or an .npz."
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Data = Annotated[str | None, typer.Option(help=DATA_HELP, show_default="what the model was trained on")]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="List images that can't be read and leave them out.")
]
Threads = Annotated[int, typer.Option(min=1, max=256, help="Threads that an engine may use.")]
