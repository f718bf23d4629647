"""Options of commands, made from records of options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args

from typer import BadParameter, Option

from edgepress.converters.options.records import AS_IN_PYTHON, OptionError, Setting, is_record, settings_of
from edgepress.toolkit.cli.option_table import CommaList, expand_groups, list_of
from edgepress.toolkit.errors import InputError


def with_records(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of its parameters that are records of options, in place of these.

    The annotation of such a parameter is the record, or `Annotated[record, "panel of --help"]`.
    """
    records = {}
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        kind, panel = (*get_args(parameter.annotation), parameter.annotation, None)[:2]
        if is_record(kind):
            records[name] = (kind, panel)
    shared = {name: record_parameters(options, panel) for name, (options, panel) in records.items()}
    readers = {name: functools.partial(_read, options) for name, (options, _) in records.items()}
    return expand_groups(function, readers, shared) if records else function


def record_parameters(options: type, panel: str | None = None) -> dict[str, inspect.Parameter]:
    """The parameters of a command with the options of a record."""
    parameters = {}
    for name, (field, kind, setting) in settings_of(options).items():
        if not setting.command_line:
            continue
        parameters[name] = inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default if setting.usual is AS_IN_PYTHON else setting.usual,
            annotation=Annotated[kind if setting.typed is None else setting.typed, option_of(setting, panel)],
        )
    return parameters


def option_of(setting: Setting, panel: str | None = None) -> Any:
    """An option as Typer takes it."""
    info: dict[str, Any] = {"help": setting.help, "show_default": setting.show_default, "metavar": setting.metavar}
    info |= {"min": setting.min, "max": setting.max, "rich_help_panel": panel or setting.panel}
    info |= {"autocompletion": list_of(setting.choices)} if setting.choices else {}
    info |= {"parser": functools.partial(_checked, setting.check)} if setting.check else {}
    info |= {"parser": CommaList, "metavar": setting.metavar or "<text>"} if setting.several else {}
    return Option(*setting.words, **info)


def _checked(check: Callable[[str], Any], text: str) -> str:
    try:
        check(text)
    except ValueError as e:
        raise BadParameter(f"{e}.") from e
    return text


def _read(options: type, **values: Any) -> Any:
    """A record, made from what the command line gave; an error names an option as it is written there."""
    settings = {name: setting for name, (_, _, setting) in settings_of(options).items()}
    readers = {name: setting.read for name, setting in settings.items()}
    try:
        return options(
            **{name: value if (read := readers[name]) is None else read(value) for name, value in values.items()}
        )
    except OptionError as e:
        words = settings[e.name].words
        raise InputError(f"{words[0] if words else '--' + e.name.replace('_', '-')} {e.problem}") from e
