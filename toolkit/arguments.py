"""What public functions take: arguments, of which a wrong type is named, and callbacks that show progress."""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import functools
import inspect
import numbers
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from edgepress.converters.options.records import doc_of, signature_of, takes_record, with_fields

Result = TypeVar("Result")
NUMBERS = {int: numbers.Integral, float: numbers.Real}
"""The types of numbers, NumPy's included, that stand for a number of Python."""
WORDS: dict[Any, str] = {bool: "True or False", int: "a whole number", float: "a number", str: "a text", Path: "a Path"}
WORDS |= {type(None): "None", tuple[Any, ...]: "a pair (x, y) of arrays", Mapping[str, Any]: "a dictionary of arrays"}
"""What messages call a type."""
OBJECTS = {
    "numpy": "Give arrays as a pair: (x, y).",
    "keras": "Convert the model first: convert(model, data=(x, y)).",
    "torch": "Save the model first: torch.onnx.export(model, (item,), 'model.onnx').",
}
"""What to do about objects of other packages, by the package: files are what can be read again on a board."""
SHOWN = 60
"""Letters of a value in a message."""


def check_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that looks at its arguments before it does anything.

    Raises:
        TypeError: By the function: an argument is missing, unknown, or of a type that its annotation does not name.
    """

    @functools.wraps(function)
    def call(*values: Any, **named: Any) -> Any:
        signature = _signature(function)
        try:
            arguments = signature.bind(*values, **named).arguments
        except TypeError as e:
            raise TypeError(f"{function.__name__}(): {e}.{_nearest(named, signature)}") from None
        for name, value in arguments.items():
            parameter = signature.parameters[name]
            each = value if parameter.kind is inspect.Parameter.VAR_POSITIONAL else [value]
            for one in each:
                _require_fit(f"{function.__name__}(): {name}", one, parameter.annotation)
        return function(*values, **named)

    if takes_record(function):
        call.__signature__ = _signature(function)  # type: ignore[attr-defined]
        call.__doc__ = doc_of(function)
    return call


def _require_fit(place: str, value: Any, kind: Any) -> None:
    """Check a value and, where it holds options, such as `Hints`, each of them."""
    if not fits(value, kind):
        raise TypeError(f"{place} is {_show_value(value)}; accepted: {in_words(kind)}.{_how_saved(value, kind)}")
    for options in _options_in(kind):
        for name, each in _fields_of(options).items() if isinstance(value, options) else ():
            _require_fit(f"{place}.{name}", getattr(value, name), each)


def _options_in(kind: Any) -> list[type]:
    """The classes of options in the type of an annotation: those whose objects need no values."""
    classes = [each for each in (kind, *get_args(kind)) if isinstance(each, type) and dataclasses.is_dataclass(each)]
    return [each for each in classes if all(_has_default(field) for field in dataclasses.fields(each))]


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


@functools.cache
def _fields_of(options: type) -> dict[str, Any]:
    """The types of a class of options by the names of its fields."""
    kinds = get_type_hints(options)
    return {field.name: kinds[field.name] for field in dataclasses.fields(options) if field.init}


def call_with(function: Callable[..., Result], given: Mapping[str, Any], **more: Any) -> Result:
    """Call a function, or make an object of a class of options, with those of the given arguments that it has.

    So options that go through several functions are named once. tests/integration/test_arguments.py checks that public
    functions have arguments for all options of their commands.

    Args:
        function: The function or class.
        given: Arguments by name, and others: the `locals()` of a function that has the same options. The fields of a
            record of options are among them.
        more: Arguments that are not among these, or have another value.
    """
    accepted = (_signature(function) if takes_record(function) else inspect.signature(function)).parameters
    held = with_fields(given)
    return function(**{name: held[name] for name in accepted if name in held} | more)


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return signature_of(function)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of the type of an annotation; the words of a Literal are checked where they are used."""
    origin = get_origin(kind)
    inner = get_args(kind)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return isinstance(value, str)
    if kind in (Any, inspect.Parameter.empty):
        return True
    if kind in NUMBERS:
        return isinstance(value, NUMBERS[kind]) and not isinstance(value, bool)
    if origin in (collections.abc.Sequence, collections.abc.Iterable):
        items = value if isinstance(value, (list, tuple, set)) else ()
        return (
            isinstance(value, origin)
            and not isinstance(value, (str, bytes))
            and all(fits(one, inner[0]) for one in items)
        )
    return isinstance(value, origin or kind)


def in_words(kind: Any) -> str:
    """A type as a message names it."""
    origin = get_origin(kind)
    inner = get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(in_words, inner)))
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin in (collections.abc.Sequence, collections.abc.Iterable):
        return f"a list, each item {in_words(inner[0])}"
    if origin is collections.abc.Callable:
        return "a function"
    return WORDS.get(kind) or str(getattr(origin or kind, "__name__", kind))


def _how_saved(value: Any, kind: Any) -> str:
    """A sentence on how an object of another package, or a pair of such, becomes a file, where a file is accepted."""
    one = value[0] if isinstance(value, (list, tuple)) and value else value
    if isinstance(one, numbers.Number) or not {str, Path} & {kind, *get_args(kind)}:
        return ""
    packages = [base.__module__.partition(".")[0] for base in type(one).__mro__]
    return next((f" {OBJECTS[package]}" for package in packages if package in OBJECTS), "")


def _show_value(value: Any) -> str:
    text = " ".join(repr(value).split())
    return f"{text[:SHOWN]}{'...' if len(text) > SHOWN else ''} ({type(value).__name__})"


def _nearest(named: dict[str, Any], signature: inspect.Signature) -> str:
    """A sentence on what the unknown argument may be: an argument, or one of an argument's options."""
    unknown = next((name for name in named if name not in signature.parameters), "")
    options = {
        name: f"{parameter.name}={each.__name__}({name}=...)"
        for parameter in signature.parameters.values()
        for each in _options_in(parameter.annotation)
        for name in _fields_of(each)
    }
    words = options | {name: repr(name) for name in signature.parameters}
    near = difflib.get_close_matches(unknown, words, n=1, cutoff=0.6)
    return f" Did you mean {words[near[0]]}?" if near else ""


OnProgress = Callable[[str, float], None]
"""Called with the name of a phase ("accuracy", "latency", ...) and the share of it that is done, 0-1."""
