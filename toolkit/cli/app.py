"""The Typer application: the group of the commands in `commands.COMMANDS`, and what their usage errors say.

A command is imported when it runs, and nothing heavy before, so that `edgepress --help` answers at once.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from edgepress import __version__
from edgepress.runtime.text import one_line
from edgepress.toolkit.cli import screen, settings
from edgepress.toolkit.cli.commands import COMMANDS, NAME, PARTS
from edgepress.toolkit.cli.frame import command
from edgepress.toolkit.cli.help import WORDS, HelpfulCommand, HelpfulGroup, with_help_all
from edgepress.toolkit.cli.option_table import join_lists, option_type
from edgepress.toolkit.cli.record_options import with_records
from edgepress.toolkit.errors import UsageError


class _LazyCommands(Mapping[str, Any]):
    """The commands as Typer objects, by name; each is built when it is looked up."""

    def __getitem__(self, name: str) -> Any:
        return _build(name)

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _JoiningCommand(HelpfulCommand):
    """A command whose options of several values, separated by commas, may be repeated as well."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments; an empty path would stand for the current folder."""
        joined = join_lists(self, args)
        values, _, _ = self.make_parser(ctx).parse_args([*joined])
        for name, value in values.items():
            paths = value if isinstance(value, list | tuple) else [value]
            if "" in paths and option_type(self, name) in (Path, list[Path]):
                ctx.fail(f"The path '{name}' is empty. Is it a variable of the shell that is not set?")
        rest = list(super().parse_args(ctx, joined))
        if not ctx.resilient_parsing and isinstance(data := ctx.params.get("data"), str):
            ctx.params["data"] = _chosen_data(data)
        return rest


def _chosen_data(text: str) -> str:
    """The data that --data names, of which a name alone is built-in data.

    Raises:
        UsageError: It names built-in data, and a folder or file, too.
    """
    from edgepress.toolkit.data import BUILTIN, NAMES

    if text in NAMES and os.path.exists(text):
        problem = f"--data {text} is the name of built-in data, and of a {'folder' if os.path.isdir(text) else 'file'}."
        raise UsageError(problem, f"Write ./{text} for what is here, or {BUILTIN}{text} for the built-in data.")
    return name if (name := text.removeprefix(BUILTIN)) in NAMES else text


class _SettingsCommand(_JoiningCommand):
    """A command that says which of its options are from edgepress.toml before it runs."""

    def invoke(self, ctx: Any) -> Any:
        line = settings.begin(ctx)
        if line and not ctx.params.get("json_output"):
            screen.step(line)
        try:
            return super().invoke(ctx)
        finally:
            settings.end(ctx)


@functools.cache
def _build(name: str) -> Any:
    """Import a command, and make the Typer object of it.

    Raises:
        KeyError: No command has this name.
    """
    epilog = f"Example: {COMMANDS[name].example}"
    module = importlib.import_module(f"edgepress.toolkit.cli.{name}")
    parent = typer.Typer(pretty_exceptions_enable=False)
    if hasattr(module, "app"):
        for each in module.app.registered_commands:
            each.cls = _JoiningCommand
            each.epilog = f"Example: {PARTS[f'{name} {each.name or each.callback.__name__}']}"
        kind = getattr(module, "group", HelpfulGroup)
        parent.add_typer(module.app, name=name, cls=kind, no_args_is_help=True, epilog=epilog)
    else:
        parent.command(name, cls=_SettingsCommand, epilog=epilog)(
            command(with_help_all(with_records(getattr(module, name))))
        )
    return typer.main.get_group(parent).commands[name]


class _Commands(HelpfulGroup):
    """Imports the command that runs only, and words errors about choices as those about numbers."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": None})
        self.commands = _LazyCommands()  # type: ignore[assignment] # click adds none

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, without building what they name."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, name: str) -> Any:
        """A command for lists, such as those of `--help` and of completion: a name and a line of help."""
        row = COMMANDS.get(name)
        return HelpfulCommand(name, help=row.help, rich_help_panel=row.panel) if row else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that runs, with the options from edgepress.toml as its defaults."""
        name, _, rest = super().resolve_command(ctx, args)
        if not ctx.resilient_parsing and not WORDS & {*rest}:
            settings.apply(ctx, self.commands, str(name), quiet="--json" in rest)
        return name, self.commands[name] if name else None, rest

    def make_context(self, *words: Any, **more: Any) -> Any:
        with _reword_errors():
            return super().make_context(*words, **more)

    def invoke(self, ctx: Any) -> Any:
        with _reword_errors():
            return super().invoke(ctx)


class _StoppedError(Exception):
    """Ctrl-C before a command began: Typer takes a second to read the command line."""


@contextmanager
def _reword_errors() -> Iterator[None]:
    """Let usage errors say what was given as one line, and without pydantic's words, which Typer passes on."""
    try:
        yield
    except Exception as e:
        if hasattr(e, "format_message"):
            e.message = e.message.removeprefix("Value error, ")  # type: ignore[attr-defined]
            if getattr(e, "option_name", "") in ("--config", "--no-config"):
                e.message += f" It stands before the command: edgepress {e.option_name} ..."  # type: ignore[attr-defined]
            message = one_line(e.format_message())
            e.format_message = lambda: message
        raise
    except KeyboardInterrupt as e:  # Typer would exit with 130, without a word
        raise _StoppedError from e


def _version(wanted: bool) -> None:
    if wanted:
        screen.say(f"edgepress {__version__}")
        raise typer.Exit


def _main(
    version: Annotated[
        bool, Option("--version", callback=_version, is_eager=True, help="Print the version and exit")
    ] = False,
    config: Annotated[
        Path | None,
        Option(
            envvar="EDGEPRESS_CONFIG",
            help="File of options",
            show_default=f"{NAME} here, or above it in the repository",
        ),
    ] = None,
    no_config: Annotated[bool, Option("--no-config", help="Read no file of options")] = False,
) -> None:
    """Turn a classifier of images, sensors or sound into the file that a small board should run, and prove it."""


app = typer.Typer(
    name="edgepress",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=f"Start with: {COMMANDS['demo'].example}",
)
"""The application."""
app.callback()(_main)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    as_json = "--json" in arguments
    try:
        return int(app(list(arguments), prog_name="edgepress", standalone_mode=not as_json) or 0)
    except _StoppedError as e:
        raise KeyboardInterrupt from e
    except UsageError as e:  # of edgepress.toml
        screen.error(e, as_json=as_json)
        return 2
    except Exception as e:  # Typer's usage errors, which are click's own or Typer's copies of them
        if not hasattr(e, "format_message"):
            raise
        screen.error(UsageError(e.format_message(), "See --help."), as_json=True)
        return 2
