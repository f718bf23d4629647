"""Read `benchmark.json`.

A file may come from an older edgepress, from another machine, or from a stranger, so nothing in it is trusted: its size
is limited, pydantic checks every field's type against the dataclasses of `records`, ranges are checked here, and damage
is reported as one error that names the field. Unknown fields are ignored; fields that an older edgepress did not write
have their defaults.

    >>> load_benchmark("runs/a/variants").advice.ship     # doctest: +SKIP
    'runs/a/variants/model-int8.tflite'
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.errors import InputError
from edgepress.toolkit.results.records import SCHEMA_VERSION, Benchmark, Measurement

NAME = "benchmark.json"
MAX_BYTES = 64 << 20
"""Largest file that is read, about ten times the size for 30 candidates with 1,000 classes each."""
KEYS: Mapping[str, Mapping[str, type]] = {
    "host": {"name": str, "cpu": str, "machine": str, "cores": int},
    "boards": {"name": str},
    "data": {"source": str, "sha256": str, "count": int},
    "baseline": {"file": str, "scheme": str, "engine": str},
}
"""Required keys of the benchmark's free-form objects, with their types."""
SHARES = ("accuracy", "precision", "recall", "f1", "ece", "agreement", "mcnemar_p")
"""Suffixes of the names of figures from 0 to 1."""
QUANTILES = 51


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
        path: A `benchmark.json` of any version up to the current one, or a folder that contains one.

    Raises:
        InputError: The file is missing, damaged, or was written by a newer edgepress.
    """
    path = Path(path)
    if path.is_dir():
        path = path / NAME
        if not path.is_file():
            raise InputError(f"{path.parent} holds no {NAME}.", f"Make one: edgepress benchmark {path.parent}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} has {path.stat().st_size} bytes; a {NAME} has at most {MAX_BYTES}.")
        text = path.read_bytes()
    except OSError as e:
        raise InputError(f"{path} can't be read: {e.strerror or e}.", "Check the path.") from e
    try:
        return _parse(text, path)
    except (ValueError, RecursionError) as e:  # pydantic's error is a ValueError, too
        hint = "Run the benchmark again."
        raise InputError(f"{path} is not a valid result of edgepress benchmark: {_reason(e)}.", hint) from e


def correct_items(row: Measurement, count: int) -> npt.NDArray[np.bool_] | None:
    """Which test items a file classified correctly, bool, shape (count,); None if the row does not say.

    Args:
        row: A measurement.
        count: Number of test items, the benchmark's `data["count"]`.

    Raises:
        ValueError: The row's value is damaged.
    """
    if not row.correct:
        return None
    try:
        packed = np.frombuffer(base64.b64decode(row.correct, validate=True), np.uint8)
    except binascii.Error as e:
        raise ValueError(f"correct is not Base64 ({e})") from e
    if len(packed) != (count + 7) // 8:
        raise ValueError(f"correct holds {len(packed)} bytes; {count} items take {(count + 7) // 8}")
    return np.unpackbits(packed, count=count).astype(bool)


def _parse(text: bytes, path: Path) -> Benchmark:
    raw = json.loads(text, parse_int=_integer, parse_float=_finite, parse_constant=_finite)
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"it has no schema_version (found {version!r})" if isinstance(raw, dict) else "no JSON object")
    if version > SCHEMA_VERSION:
        hint = "Upgrade edgepress on this machine."
        raise InputError(f"{path} has version {version} of {NAME}; this edgepress reads up to {SCHEMA_VERSION}.", hint)
    from pydantic import TypeAdapter

    result = TypeAdapter(Benchmark).validate_json(text, strict=True)
    for where, reason in _wrong(result):
        raise ValueError(f"{where} {reason}")
    return result


def _wrong(result: Benchmark) -> Iterator[tuple[str, str]]:
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
        try:
            correct_items(row, result.data["count"])
        except ValueError as e:
            yield f"results.{n}", str(e)
    yield from _out_of_range(result, "")


def _out_of_range(part: Any, where: str) -> Iterator[tuple[str, str]]:
    """Numbers of a dataclass, including nested ones, that are out of range."""
    for f in dataclasses.fields(part):
        value, bounds = getattr(part, f.name), bounds_of(f.name)
        for n, one in enumerate(value if isinstance(value, tuple) else [value]):
            place = f"{where}{f.name}.{n}" if isinstance(value, tuple) else f"{where}{f.name}"
            if dataclasses.is_dataclass(one):
                yield from _out_of_range(one, f"{place}.")
            elif isinstance(one, (int, float)) and bounds and not bounds.hold(one):
                yield place, f"is {one:g}, accepted: {bounds}"


_KINDS = {str: "a text", int: "a whole number"}


def _integer(text: str) -> int:
    """An integer that fits into 64 bits, so that arithmetic on it cannot fail."""
    if len(text) > 19 or abs(int(text)) >= 1 << 63:
        raise ValueError(f"it holds the number {text[:24]}{'...' if len(text) > 24 else ''}")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds the number {text[:24]}")
    return value


def _reason(error: Exception) -> str:
    """The first error, and where it is."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
