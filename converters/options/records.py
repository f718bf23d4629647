"""Records of options: each option is declared once, as a field of a frozen dataclass.

A field is `Annotated[type, Setting("help", ...)] = default`. The command line (`edgepress.toolkit.cli.options`), what
edgepress.toml may hold, docs/commands.md, and the signature and docstring of public functions are made from it:

    @record(ReadingArguments)
    @dataclass(frozen=True, kw_only=True)
    class Reading: ...

    def evaluate(file: Path, **reading: Unpack[ReadingArguments]) -> Evaluation:
        how = Reading(**reading)

A `TypedDict` repeats the names and types for editors and type checkers, which read no decorators (PEP 692); a test
fails where both differ.
"""

from __future__ import annotations

import functools
import inspect
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, fields
from operator import ge, gt, le, lt
from typing import Any, TypeVar, Unpack, get_args, get_origin, get_type_hints

from edgepress.runtime.errors import InputError

Record = TypeVar("Record", bound=type)
RECORDS: dict[Any, Any] = {}
"""The record of each `TypedDict` of arguments; of other records, of itself."""
AS_IN_PYTHON = object()
"""The default on the command line is that of the field."""
WIDTH = 120
"""Longest line of a docstring."""


@dataclass(frozen=True)
class Setting:
    """What an option says beside its name, type and default.

    Attributes:
        help: The text of --help, docs/commands.md and help(), without a full stop.
        more: A sentence for Python alone.
        min: Smallest number.
        max: Largest number.
        above: What numbers are above.
        below: What numbers are below.
        panel: Title of the panel of --help.
        words: Words of the command line, if they do not follow from the name, such as a flag without --no-.
        metavar: What stands for the value in --help.
        several: Whether a text holds values separated by commas.
        show_default: What holds where no value is given.
        choices: What is completed.
        check: Raises ValueError for a text that is not accepted.
        command_line: Whether commands have it; otherwise, Python alone.
        typed: The type on the command line; None: that of the field.
        usual: The default on the command line.
        read: Makes the field's value of the command line's.
    """

    help: str
    more: str = ""
    min: float | None = None
    max: float | None = None
    above: float | None = None
    below: float | None = None
    panel: str | None = None
    words: tuple[str, ...] = ()
    metavar: str | None = None
    several: bool = False
    show_default: str | bool = True
    choices: tuple[str, ...] = ()
    check: Callable[[str], Any] | None = None
    command_line: bool = True
    typed: Any = None
    usual: Any = AS_IN_PYTHON
    read: Callable[[Any], Any] | None = None

    @property
    def range(self) -> str:
        """The accepted numbers in words; "" if all are."""
        ends = {"at least": self.min, "at most": self.max, "above": self.above, "below": self.below}
        parts = {
            word: "finite" if math.isinf(end) else f"{word} {end:g}" for word, end in ends.items() if end is not None
        }
        return " and ".join(parts.values())

    @property
    def sentences(self) -> str:
        """What help() says."""
        absent = f"None: {self.show_default}" if isinstance(self.show_default, str) else ""
        parts = (self.help, self.range[:1].upper() + self.range[1:], absent, self.more)
        return " ".join(f"{part.rstrip('.')}." for part in parts if part)


def record(arguments: Any = None) -> Callable[[Record], Record]:
    """Mark a frozen dataclass of options, whose docstring gets what its settings say.

    Args:
        arguments: The `TypedDict` with the same names and types, if functions take these as arguments of their own.
    """

    def mark(options: Record) -> Record:
        RECORDS[arguments or options] = options
        options.__doc__ = _with_section(inspect.cleandoc(options.__doc__ or ""), "Attributes:", _lines(options))
        return options

    return mark


class OptionError(InputError):
    """A value of an option that is not accepted, by the option's name in Python.

    Args:
        name: The name.
        problem: What follows the name, such as "is 0; accepted: above 0.".
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}")
        self.args = (name, problem)  # so that the error survives pickling between processes
        self.name = name
        self.problem = problem


def check_ranges(options: Any) -> None:
    """Refuse numbers of a record that are out of range; records call it when they are made.

    Raises:
        OptionError: One is.
    """
    kind: Any = type(options)
    for name, (_, _, setting) in settings_of(kind).items():
        value = getattr(options, name)
        ends = ((setting.min, ge), (setting.max, le), (setting.above, gt), (setting.below, lt))
        is_number = isinstance(value, (int, float))
        if is_number and not all(end is None or is_within(value, end) for end, is_within in ends):
            raise OptionError(name, f"is {value:g}; accepted: {setting.range}.")


def is_record(kind: Any) -> bool:
    """Whether a class is a record of options."""
    return isinstance(kind, type) and kind in RECORDS.values()


@functools.cache
def settings_of(options: type) -> dict[str, tuple[Field[Any], Any, Setting]]:
    """The fields, types and settings of a record, by name; those that it has from another record are the last."""
    kinds = get_type_hints(options, include_extras=True)
    owners = [inspect.get_annotations(owner) for owner in options.__mro__]
    settings = {}
    for field in sorted(fields(options), key=lambda each: [each.name in own for own in owners].index(True)):
        kind, setting = get_args(kinds[field.name])
        settings[field.name] = (field, kind, setting)
    return settings


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The signature of a function, in which the fields of a record stand for `**name: Unpack[...]`."""
    signature = inspect.signature(function, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        options = _record_in(parameter)
        if options is None:
            parameters.append(parameter)
            continue
        for name, (field, kind, _) in settings_of(options).items():
            each = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=kind)
            parameters.append(each)
    return signature.replace(parameters=parameters)


def doc_of(function: Callable[..., Any]) -> str | None:
    """The docstring of a function, with the options of its record among the arguments."""
    text = function.__doc__
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if (options := _record_in(parameter)) is not None:
            text = _with_section(inspect.cleandoc(text or ""), "Args:", _lines(options))
    return text


def takes_record(function: Callable[..., Any]) -> bool:
    """Whether a function has the options of a record as arguments; its annotations are not evaluated for that."""
    parameters = inspect.signature(function).parameters.values()
    return any(p.kind is p.VAR_KEYWORD and "Unpack[" in str(p.annotation) for p in parameters)


def with_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, and the fields of those that are records."""
    held: dict[str, Any] = {}
    for value in given.values():
        options: Any = type(value)
        if is_record(options):
            held |= {name: getattr(value, name) for name in settings_of(options)}
    return held | dict(given)


def changed_words(options: Any, record: type | None = None) -> list[str]:
    """The options of an object as on the command line, without those that are as usual.

    Args:
        options: An object of a record.
        record: The record whose options are wanted, one that the object's extends; None: all.
    """
    words: list[str] = []
    for name, (field, _, setting) in settings_of(record or type(options)).items():
        value = getattr(options, name)
        if value == field.default or not setting.command_line:
            continue
        plain = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(max(setting.words, key=len) if setting.words else f"--{'' if value else 'no-'}{plain}")
        else:
            several = isinstance(value, (list, tuple))
            words += [f"--{plain}", ",".join(map(str, value)) if several else str(value)]
    return words


def _record_in(parameter: inspect.Parameter) -> Any:
    if parameter.kind is parameter.VAR_KEYWORD and get_origin(parameter.annotation) is Unpack:
        return RECORDS[get_args(parameter.annotation)[0]]
    return None


def _lines(options: type) -> Iterator[str]:
    for name, (_, _, setting) in settings_of(options).items():
        text = f"{name}: {setting.sentences}"
        yield textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="        ", break_on_hyphens=False)


def _with_section(text: str, title: str, lines: Iterator[str]) -> str:
    """A docstring with lines at the end of a section, which follows the first paragraphs if there is none."""
    before, heading, after = text.partition(f"\n{title}\n")
    if not heading:
        return "\n".join([text, "", title, *lines])
    section, gap, rest = after.partition("\n\n")
    return before + heading + "\n".join([section.rstrip(), *lines]) + gap + rest
