"""What a sweep tries: a TOML file or options, checked.

[data]
source = "digits"

[dimensions]
arch = ["lenet", "resnet8"]
size = [28, 32]
seed = [0, 1, 2]
to = ["tflite-int8", "onnx-int8"]

[training]
epochs = 5
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

from edgepress.converters.contract.hints import parse_size
from edgepress.converters.schemes import parse_schemes
from edgepress.runtime.input_spec import Color
from edgepress.runtime.resize import resize_rule
from edgepress.toolkit.documents import parse_toml, read_limited
from edgepress.toolkit.errors import InputError, unknown
from edgepress.toolkit.training import batches
from edgepress.toolkit.training.nets import architectures

LARGEST = 1 << 20
"""Most bytes of a file."""
MOST = 100_000
"""Combinations of a grid at most: more are a mistake."""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text")
    return value


def _number(value: Any, *, low: float, whole: bool) -> Any:
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if isinstance(value, str):
        try:
            number = int(value) if whole else float(value)
        except ValueError:
            number = None
    if number is None or not math.isfinite(number) or number < low or (whole and number != int(number)):
        raise ValueError(f"{'a whole number' if whole else 'a number'}, {low:g} or more")
    return int(number) if whole else float(number)


def _size(value: Any) -> tuple[int, int]:
    sides = parse_size(str(value)) if isinstance(value, (str, int)) and not isinstance(value, bool) else value
    if isinstance(sides, (list, tuple)) and len(sides) in (1, 2) and all(type(n) is int and n > 0 for n in sides):
        return int(sides[0]), int(sides[-1])
    raise ValueError("SIDE or HEIGHTxWIDTH, such as 32 or 48x64")


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _resize(value: Any) -> str:
    resize_rule(_text(value))
    return str(value)


def _color(value: Any) -> str:
    if value not in get_args(Color):
        raise ValueError(" or ".join(get_args(Color)))
    return str(value)


Parse = Callable[[Any], Any]
_count = partial(_number, low=1, whole=True)
_share = partial(_number, low=0, whole=False)
DIMENSIONS: dict[str, Parse] = {
    "arch": _text,
    "width": _share,
    "depth": _count,
    "size": _size,
    "augmentation": _text,
    "dropout": _share,
    "batch_size": _count,
    "learning_rate": _share,
    "seed": partial(_number, low=0, whole=True),
    "to": _text,
}
"""The dimensions and what reads a value of each; the order is that of the loops, the last one changes first."""
TABLES: dict[str, dict[str, Parse]] = {
    "data": {
        "source": _text,
        "color": _color,
        "resize": _resize,
        "skip_unreadable": _flag,
        "group": _text,
        "window": _count,
        "step": _count,
        "label_column": _text,
    },
    "dimensions": DIMENSIONS,
    "training": {"epochs": _count, "patience": _count, "class_weights": _flag, "weights": _text, "freeze": _flag},
    "timing": {"rounds": partial(_number, low=0, whole=True), "threads": _count},
}
"""The tables of a plan, and what reads each of their keys."""


@dataclass(frozen=True)
class SweepPlan:
    """What is tried.

    Attributes:
        data: "source", and how the data are opened: "color", "resize", "skip_unreadable", "group",
            "window", "step", "label_column".
        dimensions: The values of each dimension that was given; the others have their defaults.
        training: Arguments of `train` that are the same for all.
        timing: "threads" and "rounds"; 0 rounds: nothing is timed.
    """

    data: Mapping[str, Any]
    dimensions: Mapping[str, tuple[Any, ...]]
    training: Mapping[str, Any] = field(default_factory=dict)
    timing: Mapping[str, Any] = field(default_factory=dict)


def read_plan(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, not checked yet.

    Raises:
        InputError: It can't be read, or is not valid TOML.
    """
    try:
        return parse_toml(read_limited(path, LARGEST).decode("utf-8-sig"))
    except OSError as e:
        raise InputError(f"{path} can't be read: {e.strerror or e}.", "Check the path.") from e
    except ValueError as e:
        raise InputError(f"{path} is not valid TOML ({e}).", "docs/sweep.md has an example.") from e


def plan_of(tables: Mapping[str, Any], where: str = "The plan") -> SweepPlan:
    """Check the tables of a plan, as TOML returns them.

    Args:
        tables: The tables; a dimension has a list of values, or one value. "seeds = 3" means the seeds 0, 1, 2.
        where: What they are from, for messages.

    Raises:
        InputError: A table, a dimension or a key is unknown, or a value can't be used.
    """
    by_table: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
    for name, table in tables.items():
        if name not in TABLES:
            raise unknown("table of a plan:", name, TABLES)
        if not isinstance(table, Mapping):
            raise InputError(f"{where}: {name} must be a table.", f"Write [{name}], and its keys below it.")
        by_table[name] = _check_dimensions(table, where) if name == "dimensions" else _check_table(name, table, where)
    if "source" not in by_table["data"]:
        raise InputError(f"{where} names no data.", 'Add source = "PATH" to [data], or --data PATH.')
    return SweepPlan(**by_table)


def _check_table(name: str, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values of a table other than the dimensions."""
    for key in table:
        if key not in TABLES[name]:
            raise unknown(f"key of [{name}]:", str(key), TABLES[name])
    return {key: _parse(TABLES[name][key], value, f"{where}: {key} of [{name}]") for key, value in table.items()}


def _check_dimensions(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values of each dimension; "seeds" becomes "seed"."""
    dimensions: dict[str, Any] = {}
    for key, value in table.items():
        if key == "seeds":
            seeds = _parse(_count, value, f"{where}: seeds")
            if seeds > MOST:
                raise InputError(f"{where} has {seeds} seeds; more than {MOST} combinations.", "Give fewer.")
            dimensions["seed"] = tuple(range(seeds))
        elif key in DIMENSIONS:
            dimensions[key] = _values(key, value, where)
        else:
            raise unknown("dimension", str(key), {**DIMENSIONS, "seeds": None})
    return dimensions


def _values(name: str, value: Any, where: str) -> tuple[Any, ...]:
    """The different values of a dimension, in their order."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    if not listed:
        raise InputError(f"{where}: the dimension {name} has no value.", "Give one, or leave the dimension out.")
    if name == "to":
        return parse_schemes(",".join(_parse(_text, each, f"{where}: to") for each in listed))
    values = tuple(dict.fromkeys(_parse(DIMENSIONS[name], each, f"{where}: {name}") for each in listed))
    known = {"arch": [*architectures.ARCHITECTURES], "augmentation": [*batches.AUGMENTATIONS]}.get(name)
    if known and (wrong := [each for each in values if each not in known]):
        raise unknown("architecture" if name == "arch" else name, wrong[0], known)
    return values


def _parse(parse: Parse, value: Any, what: str) -> Any:
    try:
        return parse(value)
    except ValueError as e:
        raise InputError(f"{what} is {value!r}; accepted: {e}.") from None
