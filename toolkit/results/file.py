"""`benchmark.json` read, which anybody may have written: of its commands, those that edgepress advises are shown.

A file may come from an older edgepress, from another machine, or from a stranger, so nothing in it is trusted: its size
is limited, pydantic checks every field's type against the dataclasses of `records`, ranges are checked here, and damage
is reported as one error that names the field. Unknown fields are ignored; fields that an older edgepress did not write
have their defaults.

    >>> load_benchmark("runs/a/variants").advice.ship     # doctest: +SKIP
    'runs/a/variants/model-int8.tflite'

Which commands of a result's file are shown as advice: those of a form that edgepress advises, written anew.

Anybody may have written the file, and readers copy what a report advises. So a stored command is taken apart, and only
what it holds of known commands, safe options and names is put together again; another one is not shown. No option here
runs code of a model, sends work elsewhere, installs, signs or replaces anything.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.documents import parse_json, read_limited, with_halves_as_words
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.results.figures import Finding, unpack
from edgepress.toolkit.results.records import SCHEMA_VERSION, Benchmark, Measurement
from edgepress.toolkit.results.remarks.facts import Remark
from edgepress.toolkit.results.run_files import command_to_benchmark, folder_with
from edgepress.toolkit.stats.resampled import unpack_means

READING = "--data --labels --input-range --mean --std --input --color --resize --channels-first --channels-last --size"
MEANING = "--task --threshold --softmax --output --skip-unreadable"
TRAINING = "--arch --width --depth --dropout --freeze --epochs --batch-size --learning-rate --patience --class-weights"
OPTIONS = {
    "train": f"{READING} {MEANING} {TRAINING} --augmentation --seed --weights --teacher --group --minutes --out",
    "evaluate": f"{READING} {MEANING} --engine --threads",
    "benchmark": f"{READING} {MEANING} --engine --baseline --max-drop --confidence --prefer --threads --more",
    "convert": f"{READING} {MEANING} --to --target --calibration --samples --keep-float",
}
"""The options that advice has, by command."""
NEW_FOLDER = re.compile(r"runs/(?!\.)[^/]+")
"""Where a training that is advised writes: it replaces nothing, as `train` refuses a folder that holds something."""
DROPPED = " (The file names a command here that edgepress does not advise; it is not shown.)"
"""What stands behind a text whose command is left out."""
_Advised = TypeVar("_Advised", Remark, Finding)


def advised(command: str) -> str:
    """The command as `shell_line` writes it, "" if it is none that edgepress advises."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    if words[:1] != ["edgepress"] or len(words) < 2 or words[1] not in OPTIONS or shell_line(*words) != command:
        return ""
    options = [word for word in words if word.startswith("-") and not re.fullmatch(r"-[\d.].*", word)]
    places = [place for option, place in itertools.pairwise(words) if option == "--out"]
    known = {*options} <= {*OPTIONS[words[1]].split()} and all(NEW_FOLDER.fullmatch(place) for place in places)
    return command if known else ""


def with_own_commands(result: Benchmark) -> Benchmark:
    """A result without the commands that are not of edgepress."""
    rows = tuple(dataclasses.replace(row, findings=tuple(map(_checked, row.findings))) for row in result.results)
    return dataclasses.replace(result, results=rows, remarks=tuple(map(_checked, result.remarks)))


def _checked(part: _Advised) -> _Advised:
    if not part.command or advised(part.command):
        return part
    return dataclasses.replace(part, command="", text=part.text + DROPPED)


NAME = "benchmark.json"
KEYS: Mapping[str, Mapping[str, type]] = {
    "host": {"name": str, "cpu": str, "machine": str, "cores": int},
    "boards": {"name": str},
    "data": {"source": str, "sha256": str, "count": int},
    "baseline": {"file": str, "scheme": str, "engine": str},
}
"""Required keys of the benchmark's free-form objects, with their types."""
SHARES = (
    *("accuracy", "precision", "recall", "f1", "ece", "agreement", "mcnemar_p", "probability", "confidence"),
    *(f"accepted_{name}{end}" for name in ("share", "error") for end in ("", "_low", "_high")),
    *("coverage", "risk"),
    *(f"{name}{end}" for name in ("exact_match", "macro_f1", "average_precision") for end in ("", "_low", "_high")),
)
"""Suffixes of the names of figures from 0 to 1."""
RESAMPLED = ("macro_f1", "mean_average_precision")
"""Means over the classes or labels whose values on resamples of the test items results keep."""
QUANTILES = 51
"""Number of quantiles of a latency that results keep."""


class Bounds(NamedTuple):
    """Range of a number: `high` is included, `low` is included unless `above`."""

    low: float
    high: float
    above: bool

    def hold(self, value: float) -> bool:
        """Whether a value is in the range."""
        return self.low < value <= self.high or (value == self.low and not self.above)

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"{self.low:g} to {self.high:g}"
        return f"{'over' if self.above else 'at least'} {self.low:g}"


def bounds_of(field: str) -> Bounds | None:
    """The range of a numeric field by its name; None for drops and decibels, which may be negative."""
    if ("drop" in field and field != "max_drop_pp") or field.endswith("_db"):
        return None
    return Bounds(0.0, 1.0 if field.endswith(SHARES) else math.inf, above=field.endswith("_us") and field != "time_us")


def load_benchmark(path: str | Path) -> Benchmark:
    """Read the results of `edgepress benchmark`.

    Args:
        path: A `benchmark.json` of any version up to the current one, or a folder that contains one, or a run's
            folder or its `variants` if the other one does.

    Raises:
        InputError: The file is missing, damaged, or was written by a newer edgepress.
    """
    path = Path(path)
    if path.is_dir():
        path = folder_with(path, NAME) / NAME
        if not path.is_file():
            raise InputError(f"{path.parent} holds no {NAME}.", f"Make one: {command_to_benchmark(path.parent)}")
    try:
        return _parse(read_limited(path), path)
    except OSError as e:
        raise InputError(f"{path} can't be read: {e.strerror or e}.", "Check the path.") from e
    except ValueError as e:  # pydantic's error is a ValueError, too
        hint = f"Give a {NAME} or its folder; edgepress benchmark writes it."
        raise InputError(f"{path} is not a valid result of edgepress benchmark: {first_wrong(e)}.", hint) from e


def items_of(result: Benchmark, row: Measurement) -> int:
    """The number of test items that a row's accuracy and accepted answers are of; that of a board may be its own."""
    if row.items is not None:
        return row.items
    board = next((board for board in result.boards if board["name"] == row.host), None)
    count: int = result.data["count"]
    if board is None:
        return count
    # The board's entry is of its last visit, rows of other files may be older.
    items = board.get("items")
    known = 0 if row.exact_match is not None else sum(each.support for each in row.per_class)  # one label an item
    return known or (items if isinstance(items, int) and items > 0 else count)


def correct_items(row: Measurement, count: int) -> npt.NDArray[np.bool_] | None:
    """Which test items a file classified correctly, bool, shape (count,); None if the row does not say.

    Args:
        row: A measurement.
        count: Number of test items (`items_of`).

    Raises:
        ValueError: The row's value is damaged.
    """
    return unpack(row.correct, count) if row.correct else None


def means_on_resamples(row: Measurement, name: str) -> npt.NDArray[np.float64] | None:
    """A mean over the classes or labels on resamples of the test items, 0-1; None if the row does not say.

    Args:
        row: A measurement.
        name: One of `RESAMPLED`.

    Raises:
        ValueError: The row's value is damaged.
    """
    text = getattr(row, f"{name}_resamples")
    return unpack_means(text) if text else None


def _parse(text: bytes, path: Path) -> Benchmark:
    version = parse_json(text).get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"it has no schema_version (found {version!r})")
    if version > SCHEMA_VERSION:
        hint = "Upgrade edgepress on this machine."
        raise InputError(f"{path} has version {version} of {NAME}; this edgepress reads up to {SCHEMA_VERSION}.", hint)
    from pydantic import TypeAdapter

    result = TypeAdapter(Benchmark).validate_json(with_halves_as_words(text), strict=True)
    for where, reason in _find_errors(result):
        raise ValueError(f"{where} {reason}")
    return with_own_commands(result)


def _find_errors(result: Benchmark) -> Iterator[tuple[str, str]]:
    """Errors that types cannot express: the place in the result, and what is wrong there."""
    for field, keys in KEYS.items():
        value = getattr(result, field)
        for one in value if field == "boards" else [value] if value is not None else []:
            for key, kind in keys.items():
                if not isinstance(one.get(key), kind) or (kind is int and one[key] < 0):
                    yield f"{field}.{key}", f"is {one.get(key)!r}, accepted: {_KINDS[kind]}"
    if not result.results:
        yield "results", "is empty"
    hosts = {"", result.host["name"], *(board["name"] for board in result.boards)}
    for n, row in enumerate(result.results):
        if row.host not in hosts:
            yield f"results.{n}.host", f"is {row.host!r}, which neither host nor boards describe"
        if len(row.latency_quantiles_us) not in (0, QUANTILES):
            yield f"results.{n}.latency_quantiles_us", f"has {len(row.latency_quantiles_us)} figures, not {QUANTILES}"
        if len(row.coverage) != len(row.risk):
            yield f"results.{n}.risk", f"has {len(row.risk)} figures, coverage {len(row.coverage)}"
        count = items_of(result, row)
        if (row.accepted or 0) > count or (row.accepted_wrong or 0) > (row.accepted or 0):
            yield f"results.{n}.accepted", f"is {row.accepted} of {count}, {row.accepted_wrong} wrong"
        try:
            correct_items(row, count)
            for name in RESAMPLED:
                means_on_resamples(row, name)
        except ValueError as e:
            yield f"results.{n}", str(e)
    yield from out_of_range(result)


def out_of_range(part: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Numbers of a dataclass, including nested ones, that are out of range: the place below `where`, and why."""
    for f in dataclasses.fields(part):
        value = getattr(part, f.name)
        bounds = bounds_of(f.name)
        for n, one in enumerate(value if isinstance(value, tuple) else [value]):
            place = f"{where}{f.name}.{n}" if isinstance(value, tuple) else f"{where}{f.name}"
            if dataclasses.is_dataclass(one):
                yield from out_of_range(one, f"{place}.")
            elif isinstance(one, (int, float)) and bounds and not bounds.hold(one):
                yield place, f"is {one:g}, accepted: {bounds}"


_KINDS = {str: "a text", int: "a whole number"}


def first_wrong(error: Exception) -> str:
    """An error of pydantic or another one in words: the first thing that is wrong, and where it is."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return str(error)
