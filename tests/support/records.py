"""Results made up for tests of what compares, reads and shows them, and a check that records are frozen."""

from __future__ import annotations

import base64
import dataclasses
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgepress.toolkit.results.records import Advice, Benchmark, Measurement, Noise


def packed(right: Any) -> str:
    """Which items were right, as a measurement holds them."""
    return base64.b64encode(np.packbits(np.asarray(right, bool))).decode()


def row(scheme: str = "tflite-int8", engine: str = "litert", *, rounds: Any = (50.0,) * 20, **more: Any) -> Measurement:
    """A file on an engine, whose rounds are all alike unless they are given."""
    right = more.pop("right", None)
    if right is not None:
        more |= {"accuracy": float(np.mean(right)), "correct": packed(right)}
    plain: dict[str, Any] = {
        "file": f"{scheme}.tflite",
        "size_bytes": 1000,
        "threads": 1,
        "p50_us": float(np.median(rounds)),
        "p90_us": 1.1 * float(np.median(rounds)),
        "p99_us": 1.3 * float(np.median(rounds)),
        "round_medians_us": tuple(rounds),
        "round_p90s_us": tuple(1.1 * v for v in rounds),
        "round_p99s_us": tuple(1.3 * v for v in rounds),
    }
    return Measurement(scheme=scheme, engine=engine, **plain | more)


def float_row(us: float = 100.0, engine: str = "litert", **more: Any) -> Measurement:
    """The baseline's row."""
    return row("tflite-float32", engine, rounds=(us,) * 20, **{"sha256": "base", "file": "base.tflite"} | more)


def result(
    *rows: Measurement, count: int = 1000, data: str = "data", noisy: bool = False, boards: Any = (), **host: Any
) -> Benchmark:
    """A benchmark's result that holds these rows."""
    engines = {"litert": "2.3.0", "onnxruntime": "1.20"}
    return Benchmark(
        host={"name": "box", "cpu": "CPU", "machine": "x86_64", "cores": 2, "engines": engines} | host,
        boards=tuple(boards),
        data={"source": "digits", "sha256": data, "split": "test", "count": count},
        baseline={"file": "base.tflite", "scheme": "tflite-float32", "engine": "litert"},
        keras_accuracy=None,
        max_drop_pp=1.0,
        results=rows,
        advice=Advice(ship=None, engine=None, why=""),
        noise=Noise(noisy=noisy, reasons=("load",)),
    )


def records_of(module: ModuleType) -> Iterator[type]:
    """The dataclasses that a module defines."""
    for _, found in inspect.getmembers(module, inspect.isclass):
        if found.__module__ == module.__name__ and dataclasses.is_dataclass(found):
            yield found


def assert_frozen(module: ModuleType, *, by_position: frozenset[str] = frozenset()) -> None:
    """No record of a module can be changed, and none but these can be made by position."""
    for record in records_of(module):
        one = object.__new__(record)
        name = dataclasses.fields(record)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, name, None)
        keywords_only = all(field.kw_only for field in dataclasses.fields(record))
        assert keywords_only == (record.__name__ not in by_position), record
