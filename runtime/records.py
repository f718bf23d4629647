"""Make dataclasses of the JSON objects in a contract, which another version of edgepress may have written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


def record(cls: type[Any], raw: Any, **parse: Callable[[Any], Any]) -> Any:
    """A dataclass made of a JSON object. Unknown fields are ignored, and missing ones have their defaults.

    Args:
        cls: The dataclass.
        raw: The object.
        parse: By field, a function that makes its value of the one in the object. Null stays None where that is the
            default.

    Raises:
        ValueError: It is not an object, or has no value for a field without a default.
        Exception: Whatever `parse` or `cls` raises on values that do not fit.
    """
    if not isinstance(raw, dict):
        raise ValueError(f"{cls.__name__} is not an object")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    needed = [n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING]
    if missing := [name for name in needed if name not in raw]:
        raise ValueError(f"{cls.__name__} has no {', '.join(missing)}")
    values = {name: value for name, value in raw.items() if name in fields}
    names = {name for name, value in values.items() if value is not None or fields[name].default is not None}
    return cls(**values | {name: parse[name](values[name]) for name in names & parse.keys()})
