"""How `--help` looks: options of every day, in two columns that cut nothing; `--help-all` unfolds the others."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, get_args

import typer
from typer import Option
from typer.core import TyperCommand, TyperGroup

FOREIGN = "Models that edgepress did not train"
"""The panel of the options that `--help` folds."""
UNFOLD = "--help-all"
DAILY = {
    "convert": ("to", "data", "out", "target", "samples", "skip_unreadable", "verbose", "json_output"),
    "benchmark": ("data", "engine", "threads", "max_drop", "prefer", "more", "out", "skip_unreadable", "json_output"),
}
"""Commands with many options: those that `--help` shows, by their parameters."""
DESCRIBING = ("annotate",)
"""Commands that are about models made elsewhere, so that `--help` shows all of their options."""
NAMES = 0.4
"""Largest share of the width that names and types of options take."""
OF_TYPER = 6
"""Cells of a row about an option."""
TYPES = {"<str>": "<text>", "<list[str]>": "<text>", "<list[Path]>": "<path>"}
"""What types are called whose names are those of Python."""
WORDS = frozenset(("--help", UNFOLD))
"""Options that print help, for which no file of options is read."""


def folded(command: Any) -> list[Any]:
    """A command's options that `--help` leaves to `--help-all`."""
    if command.name in DESCRIBING:
        return []
    shown = DAILY.get(command.name)
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    return [p for p in options if _is_folded(p.name, getattr(p, "rich_help_panel", None), shown)]


def _is_folded(name: str, panel: str | None, shown: tuple[str, ...] | None) -> bool:
    return panel == FOREIGN or (shown is not None and name not in (*shown, "help", "help_all"))


class HelpfulCommand(TyperCommand):
    """A command whose help folds the options that few users need."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, folded unless `--help-all` was given."""
        hidden = [] if ctx.meta.get(UNFOLD) else folded(self)
        with _hide_options(self.get_params(ctx), hidden=hidden), _two_columns(), _example_first(self):
            super().format_help(ctx, formatter)


class HelpfulGroup(TyperGroup):
    """A group whose help shows flags without a type."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        with _hide_options(self.get_params(ctx)), _two_columns(), _example_first(self):
            super().format_help(ctx, formatter)


@contextmanager
def _hide_options(options: Sequence[Any], *, hidden: Sequence[Any] = ()) -> Iterator[None]:
    """Let flags have no type, and leave out options, while help is printed."""
    flags = [option for option in options if getattr(option, "is_flag", False)]
    before = [option.metavar for option in flags]
    for flag in flags:
        flag.metavar = ""
    for option in hidden:
        option.hidden = True
    try:
        yield
    finally:
        for flag, metavar in zip(flags, before, strict=True):
            flag.metavar = metavar
        for option in hidden:
            option.hidden = False


@contextmanager
def _example_first(command: Any) -> Iterator[None]:
    """Let the example stand in front of the options, where the first screen of every terminal shows it."""
    before = command.help, command.epilog
    if command.epilog:
        command.help, command.epilog = f"{command.help}\n\n{command.epilog}", None
    try:
        yield
    finally:
        command.help, command.epilog = before


@contextmanager
def _two_columns() -> Iterator[None]:
    """Let Typer print options in two columns: it has six, which leave the explanations a third of a small screen.

    The name, the type and what negates an option come first; nothing is cut on any screen.
    """
    from edgepress.toolkit.terminal import Table, Text, console

    rich_utils: Any = importlib.import_module("typer.rich_utils")

    class Options(Table):
        def add_row(self, *cells: Any, **more: Any) -> None:
            if len(cells) < OF_TYPER:  # of commands
                super().add_row(*cells, **more)
                return
            if not self.columns:
                self.add_column(overflow="fold", max_width=int(NAMES * console(stderr=False).width))
                self.add_column(overflow="fold", ratio=1)
            *names, explanation = cells
            texts = [Text(name) if isinstance(name, str) else name for name in names]
            shown = [
                Text(TYPES[text.plain], str(text.style)) if text.plain in TYPES else text
                for text in texts
                if text.plain
            ]
            super().add_row(Text(" ").join(shown), explanation, **more)

    before = rich_utils.Table
    rich_utils.Table = Options
    try:
        yield
    finally:
        rich_utils.Table = before


def with_help_all(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that has options for models made elsewhere the option that explains them."""
    signature = inspect.signature(function, eval_str=True)
    infos = {p.name: next(iter(get_args(p.annotation)[1:]), None) for p in signature.parameters.values()}
    shown = DAILY.get(function.__name__)
    panels = {name: getattr(info, "rich_help_panel", None) for name, info in infos.items() if _is_option(info)}
    names = [name for name, panel in panels.items() if _is_folded(name, panel, shown)]
    made_elsewhere = next((name for name in names if panels[name] == FOREIGN), None)
    if not names or function.__name__ in DESCRIBING:
        return function
    those = f"for models that edgepress did not train, such as {_option(made_elsewhere)}" if made_elsewhere else ""
    kind = f", also {those}" if shown else f", {those}"
    more = f"Show {len(names)} more options{kind if those else ''}"
    unfold = Option(UNFOLD, is_eager=True, callback=_show_all, help=more)
    parameter = inspect.Parameter(
        "help_all", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, unfold]
    )

    @functools.wraps(function)
    def unfolding(**options: Any) -> Any:
        options.pop("help_all")  # done by then
        return function(**options)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()]
    unfolding.__signature__ = signature.replace(parameters=[*parameters, parameter])  # type: ignore[attr-defined]
    unfolding.__annotations__ = {p.name: p.annotation for p in (*parameters, parameter)}
    return unfolding


def _is_option(info: Any) -> bool:
    return getattr(info, "param_decls", None) is not None and type(info).__name__ == "OptionInfo"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _show_all(ctx: typer.Context, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        ctx.meta[UNFOLD] = True
        typer.echo(ctx.get_help(), color=ctx.color)
        raise typer.Exit
