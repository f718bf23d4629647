"""How `--help` looks: flags have no type, and `--help-all` unfolds the options for models made elsewhere."""

from __future__ import annotations

import functools
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
WORDS = frozenset(("--help", UNFOLD))
"""Options that print help, for which no file of options is read."""


def foreign(command: Any) -> list[Any]:
    """A command's options about models that edgepress did not train."""
    return [p for p in command.params if getattr(p, "rich_help_panel", None) == FOREIGN and not p.hidden]


class HelpfulCommand(TyperCommand):
    """A command whose help folds the options that few users need."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, folded unless `--help-all` was given."""
        with _hide_options(self.get_params(ctx), hidden=[] if ctx.meta.get(UNFOLD) else foreign(self)):
            super().format_help(ctx, formatter)


class HelpfulGroup(TyperGroup):
    """A group whose help shows flags without a type."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        with _hide_options(self.get_params(ctx)):
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


def with_help_all(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that has options for models made elsewhere the option that explains them."""
    signature = inspect.signature(function, eval_str=True)
    infos = {p.name: next(iter(get_args(p.annotation)[1:]), None) for p in signature.parameters.values()}
    names = [name for name, info in infos.items() if getattr(info, "rich_help_panel", None) == FOREIGN]
    if not names:
        return function
    more = f"Show {len(names)} more options, for models that edgepress did not train, such as {_option(names[0])}"
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


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _show_all(ctx: typer.Context, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        ctx.meta[UNFOLD] = True
        typer.echo(ctx.get_help(), color=ctx.color)
        raise typer.Exit
