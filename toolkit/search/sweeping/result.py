"""The result of a sweep, `sweep.json`: one row a file, one configuration for all seeds of a point, and the winners.

    python -m edgepress.toolkit.search.sweeping.result > docs/schema/sweep.schema.json

The schema is generated from the dataclasses here, as that of `benchmark.json` is.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgepress.toolkit.documents import parse_json, read_limited, with_halves_as_words
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.reports.notebooks.printed import Printed
from edgepress.toolkit.reports.notebooks.views import sweep_html
from edgepress.toolkit.results.file import first_wrong, out_of_range
from edgepress.toolkit.results.schema import schema_of
from edgepress.toolkit.text import short_repr

SCHEMA_VERSION = 1
NAME = "sweep.json"
WINNERS = ("accurate", "fast", "small", "recommended")
"""What configurations win by; see `Sweep.winners`."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One file: a point of the sweep. What is not known is None or empty.

    Attributes:
        point: Its value of each dimension; null where a dimension does not apply.
        status: "ok"; "failed", if one of its jobs did; "stopped", if a search ended its training early; "missing", if
            a job was not done.
        error: Why it failed.
        keys: The keys of its jobs in the store, by kind: "train", "convert", "time".
        model: The trained model, relative to the folder of `sweep.json`.
        file: The converted file, relative to the folder of `sweep.json`.
        float_val_accuracy: Accuracy of the trained model on validation items, 0-1.
        float_accuracy: Accuracy of the trained model on test items, 0-1.
        val_accuracy: Accuracy of the file on validation items, 0-1; what is chosen by.
        val_correct: Base64 of `numpy.packbits` of which validation items it classifies correctly.
        accuracy: Accuracy of the file on test items, 0-1; no choice depends on it.
        size_bytes: Size of the file.
        latency_us: Median latency of the file, microseconds.
        noisy: Whether the machine was busy while the file was timed.
        engine: Engine that the file was tested and timed on.
        parameters: Number of weights of the trained model.
        epochs: Epochs that it was trained for.
        training_seconds: Time of its training.
    """

    point: Mapping[str, Any]
    status: str
    error: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    file: str | None = None
    float_val_accuracy: float | None = None
    float_accuracy: float | None = None
    val_accuracy: float | None = None
    val_correct: str = ""
    accuracy: float | None = None
    size_bytes: int | None = None
    latency_us: float | None = None
    noisy: bool | None = None
    engine: str | None = None
    parameters: int | None = None
    epochs: int | None = None
    training_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The rows that differ only in the seed.

    Attributes:
        point: The value of each dimension but the seed.
        rows: Numbers of its rows that are ok, from 0.
        best: Number of the row with the highest validation accuracy.
        val_accuracy: Mean over its seeds, 0-1.
        val_accuracy_std: Standard deviation over its seeds (n - 1); null for one seed.
        accuracy: Mean of the test accuracy over its seeds, 0-1.
        accuracy_std: Its standard deviation; null for one seed, and in a file of an older edgepress.
        size_bytes: Mean over its seeds; in a file of an older edgepress that of the row `best`.
        latency_us: Mean over its seeds, microseconds; null if nothing was timed.
        on_front: Whether no other configuration is at least as good in validation accuracy, latency and size, and
            better in one.
    """

    point: Mapping[str, Any]
    rows: tuple[int, ...]
    best: int
    val_accuracy: float
    val_accuracy_std: float | None
    accuracy: float
    size_bytes: int
    latency_us: float | None
    on_front: bool = False
    accuracy_std: float | None = None


@dataclass(frozen=True, kw_only=True)
class Sweep(Printed):
    """The content of `sweep.json`.

    Attributes:
        edgepress: Version that wrote it.
        command: Command line, to go on or to do it again; empty if it was not one.
        data: "source", "sha256" and "counts", the items by split.
        plan: The tables of the plan: "data", "dimensions", "training", "timing".
        machine: What the times were measured on.
        jobs: Number of jobs by what became of them: "ok", "failed".
        rows: One a file, in the order of the plan.
        configurations: One for all seeds of a point, those with the highest validation accuracy first.
        winners: Numbers of configurations: "accurate", the highest validation accuracy; "fast" and "small", the fastest
            and the smallest whose validation accuracy is less than a percentage point below that; "recommended", by the
            rule of `edgepress.toolkit.stats.choice`: sure enough to lose less than a percentage point against the most
            accurate one, judged by the best seed of each.
        confidence: How sure that is, 0-1; None in a file of an older edgepress.
        prefer: What was chosen of those that are: "balanced", "size" or "latency"; empty likewise.
        notes: What was left out, and why.
    """

    edgepress: str
    command: str
    data: Mapping[str, Any]
    plan: Mapping[str, Any]
    machine: str
    jobs: Mapping[str, int]
    rows: tuple[Row, ...]
    configurations: tuple[Configuration, ...]
    winners: Mapping[str, int]
    notes: tuple[str, ...] = ()
    confidence: float | None = None
    prefer: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The content of `sweep.json`."""
        document: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), allow_nan=False))
        return {"schema_version": SCHEMA_VERSION} | document

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        return sweep_html(self.to_dict())


def sweep_schema() -> dict[str, Any]:
    """The JSON Schema of all versions of `sweep.json` that this edgepress reads."""
    return schema_of(Sweep, NAME, SCHEMA_VERSION)


def load_sweep(path: str | Path) -> Sweep:
    """Load a `sweep.json`.

    Raises:
        InputError: It can't be read, or is of a newer version or another kind.
    """
    try:
        content = read_limited(path)
        version = parse_json(content)["schema_version"]
        if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
            raise InputError(f"{path} has version {version!r}; accepted: up to {SCHEMA_VERSION}.", "Update edgepress.")
        sweep = _check_types(content)
    except OSError as e:
        raise InputError(f"{path} can't be read: {e.strerror or e}.", "Check the path.") from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(
            f"{path} is not the result of a sweep ({first_wrong(e)}).", "Run edgepress sweep again."
        ) from e
    _require_numbers(sweep, path)
    return sweep


def _check_types(content: bytes) -> Sweep:
    """The sweep if its fields have their types and ranges, without winners and fields that this version does not know.

    Raises:
        ValueError: A field has another type, or a number is out of range.
    """
    from pydantic import TypeAdapter

    checked = TypeAdapter(Sweep).validate_json(with_halves_as_words(content), strict=True)
    if not isinstance(checked.data.get("source"), str):
        raise ValueError("data.source is not a text")
    if wrong := [name for name, table in checked.plan.items() if not isinstance(table, dict)]:
        raise ValueError(f"plan.{wrong[0]} must be a table")
    for place, why in (*out_of_range(checked), *_wrong_points(checked.configurations)):
        raise ValueError(f"{place} {why}")
    winners = {name: number for name, number in checked.winners.items() if name in WINNERS}
    return dataclasses.replace(checked, winners=winners)


def _wrong_points(configurations: Sequence[Configuration]) -> Iterator[tuple[str, str]]:
    """Points that can't be compared with the others: the place, and why."""
    for number, configuration in enumerate(configurations):
        place = f"configurations.{number}.point"
        point = configuration.point
        if point.keys() != configurations[0].point.keys():
            yield place, "has other dimensions than the first one"
        yield from (
            (f"{place}.{name}", "is not a text") for name in ("arch", "to") if not isinstance(point.get(name), str)
        )


def _require_numbers(sweep: Sweep, path: str | Path) -> None:
    numbers = [n for c in sweep.configurations for n in (*c.rows, c.best)]
    good = all(0 <= n < len(sweep.rows) for n in numbers)
    if not good or not all(0 <= n < len(sweep.configurations) for n in sweep.winners.values()):
        raise InputError(f"{path} names rows that it does not have.", "Run edgepress sweep again.")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(sweep_schema(), indent=2, ensure_ascii=False) + "\n")
