"""What the options of commands are: their names, types and words, read from the commands themselves."""

from __future__ import annotations

import difflib
import functools
import inspect
import itertools
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from edgepress.toolkit.cli.help import UNFOLD


class CommaList(str):
    """Values separated by commas: the parser of options that take several in one text."""


VECTORS = ("input_range", "mean", "std")
"""Options whose values are one vector: if such an option is repeated, the last one counts, as of a single value."""


def normal(name: str) -> str:
    """A name as functions write it: options may be written with - or with _."""
    return name.replace("-", "_")


def show_name(name: str) -> str:
    """A name as the command line writes it."""
    return name.replace("_", "-")


def nearest(name: str, accepted: Iterable[str]) -> str:
    """A hint with the accepted name that is most like another; "" if none is."""
    near = difflib.get_close_matches(show_name(name), list(accepted), n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else ""


def options_of(command: Any) -> list[Any]:
    """A command's options that a file may hold; --json and --help-all are about one call."""
    return [p for p in command.params if p.param_type_name == "option" and not {"--json", UNFOLD} & {*p.opts}]


def option_names(command: Any) -> dict[str, tuple[Any, bool]]:
    """A command's options by every name without dashes, with what the name stands for: "no_x" stands for False."""
    named: dict[str, tuple[Any, bool]] = {}
    for option in options_of(command):
        named |= {normal(word.lstrip("-")): (option, True) for word in option.opts}
        named |= {normal(word.lstrip("-")): (option, False) for word in option.secondary_opts}
    return named


def option_type(command: Any, name: str) -> Any:
    """The type of a parameter, without `| None`: bool, int, float, str, Path, CommaList, list[str] or a Literal."""
    return _kinds(command.callback)[name]


@functools.cache
def _kinds(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    return {p.name: _plain(p.annotation) for p in parameters}


def _plain(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        annotation, info, *_ = get_args(annotation)
        if getattr(info, "parser", None) is CommaList:
            return CommaList
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (each for each in get_args(annotation) if each is not type(None))
    return annotation


def takes_list(kind: Any) -> bool:
    """Whether an option of a type takes several values: separated by commas, or by being repeated."""
    return kind is CommaList or get_origin(kind) is list


def accepted_type(kind: Any) -> str:
    """What a file may hold for an option of a type, in the words of TOML."""
    names = {bool: "true or false", int: "a whole number", float: "a number"}
    return names.get(kind) or ("a text or a list of texts" if takes_list(kind) else "a text")


def words_of(option: Any, value: Any) -> tuple[str, ...]:
    """An option with its value as on the command line; nothing for a flag that is not set."""
    word = max(option.opts, key=len)
    if isinstance(value, bool):
        return (word,) if value else tuple(option.secondary_opts[:1])
    values = value if isinstance(value, list) else [value]
    return tuple(text for each in values for text in (word, str(each)))


def join_lists(command: Any, arguments: Sequence[str]) -> list[str]:
    """Arguments in which each option that takes several values stands once, with the values of all places.

    Of an option that is given twice, the last value counts; the values of a list would be lost without a word.
    An option of `VECTORS` has a single value.
    """
    options = [p for p in command.params if p.param_type_name == "option" and not p.is_flag]
    named = {word: option for option in options for word in option.opts}
    joined: dict[str, str] = {}
    others: list[str] = []
    left = iter(arguments)
    for word in left:
        name, has_value, value = word.partition("=")
        if word == "--" or name not in named:
            others += [word, *(left if word == "--" else ())]
            continue
        values = [value] if has_value else [*itertools.islice(left, 1)]
        if values and named[name].name not in VECTORS and option_type(command, named[name].name) is CommaList:
            joined[name] = ",".join([*([joined[name]] if name in joined else []), *values])
        else:
            others += [word] if has_value else [word, *values]
    return [*(f"{name}={value}" for name, value in joined.items()), *others]


def list_of(names: Iterable[str]) -> Callable[[str], list[str]]:
    """A completion callback for names separated by commas: it completes the last one."""

    def complete(incomplete: str) -> list[str]:
        before, comma, word = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in names if name.startswith(word)]

    return complete


def expand_groups(
    function: Callable[..., Any],
    groups: Mapping[str, Callable[..., Any]],
    shared: Mapping[str, Mapping[str, inspect.Parameter]],
) -> Callable[..., Any]:
    """A command with the parameters of groups in place of those named after the groups."""
    keyword: list[inspect.Parameter] = []
    for own in inspect.signature(function, eval_str=True).parameters.values():
        keyword += [p.replace(kind=p.KEYWORD_ONLY) for p in shared.get(own.name, {own.name: own}).values()]

    @functools.wraps(function)
    def expanded(**options: Any) -> Any:
        grouped = {name: groups[name](**{each: options.pop(each) for each in shared[name]}) for name in groups}
        return function(**grouped, **options)

    expanded.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    expanded.__annotations__ = {p.name: p.annotation for p in keyword}
    return expanded
