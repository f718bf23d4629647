"""Match the measurements of two results.

Rows are matched by scheme, engine, threads, batch and host, not by path: the folder of a file and the name of a CI
runner differ from run to run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edgepress.toolkit.errors import InputError, ModelFileError, unknown
from edgepress.toolkit.measurement.comparison.figures import Figure, figures_of
from edgepress.toolkit.measurement.comparison.latency import Side
from edgepress.toolkit.results.records import Benchmark, Measurement

BOTH = "both"
VANISHED = "vanished"
APPEARED = "appeared"
NOW_FAILS = "fails now"
FAILED_BEFORE = "failed before"
FAILS_IN_BOTH = "fails in both"


@dataclass(frozen=True, kw_only=True)
class MatchedPair:
    """A file on an engine in OLD, and its counterpart in NEW.

    Attributes:
        name: A name for people: "tflite-int8 on litert".
        scheme, engine, threads, batch, host: What it was matched by; the scheme is NEW's if there is one.
        old_file, new_file: Their paths; None if missing.
        state: "both" if both were measured, else "vanished", "appeared", "fails now", "failed before" or
            "fails in both".
        reason: Why one failed.
        figures: The figures of both, and how they changed.
    """

    name: str
    scheme: str
    engine: str
    threads: int
    batch: int
    host: str
    old_file: str | None
    new_file: str | None
    state: str
    reason: str = ""
    figures: tuple[Figure, ...] = ()


def match_results(old: Benchmark, new: Benchmark, schemes: str = "all", engines: str = "all") -> Iterator[MatchedPair]:
    """Match the rows of two results; rows with the same key are matched by file name.

    Args:
        old: The older result.
        new: The newer result.
        schemes: "all", or names separated by commas.
        engines: "all", or names separated by commas.

    Raises:
        InputError: Neither result contains a requested scheme or engine.
    """
    groups: tuple[dict[_Key, list[Measurement]], ...] = ({}, {})
    for run, group in zip((old, new), groups, strict=True):
        for row in run.results:
            host = "" if row.host == run.host["name"] else row.host  # the name of a CI runner differs from run to run
            group.setdefault(_Key(row.scheme, row.engine, row.threads, row.batch, host), []).append(row)
    keys = list(dict.fromkeys((*groups[1], *groups[0])))
    for what, wanted in (("scheme", _words(schemes)), ("engine", _words(engines))):
        present = dict.fromkeys(getattr(key, what) for key in keys)
        for name in wanted or ():
            if name not in present:
                raise unknown(f"{what} of these results", name, filter(None, present))
        keys = [key for key in keys if wanted is None or getattr(key, what) in wanted]
    if not keys:
        raise InputError("No row has both this scheme and this engine.", "Leave out --scheme or --engine.")
    for key in keys:
        rows = groups[0].get(key, []), groups[1].get(key, [])
        if len(rows[0]) == len(rows[1]) == 1:
            yield _pair(key, Side(old, rows[0][0]), Side(new, rows[1][0]))
            continue
        unique = all(len({Path(row.file).name for row in side}) == len(side) for side in rows)
        by_name = [{Path(row.file).name if unique else row.file: row for row in side} for side in rows]
        for name in dict.fromkeys((*by_name[1], *by_name[0])):
            sides = [
                Side(run, side[name]) if name in side else None for run, side in zip((old, new), by_name, strict=True)
            ]
            yield _pair(key, *sides, name=f"{key}, {name}" if max(map(len, rows)) > 1 else "")


def _pair(key: _Key, old: Side | None, new: Side | None, *, name: str = "", same_run: bool = False) -> MatchedPair:
    figures: tuple[Figure, ...] = ()
    reasons = [side.row.status for side in (new, old) if side is not None and side.row.failed]
    if new is None:
        state = VANISHED
    elif new.row.failed:
        state = FAILS_IN_BOTH if old is not None and old.row.failed else NOW_FAILS
    else:
        usable = old if old is not None and not old.row.failed else None
        state = BOTH if usable else FAILED_BEFORE if old else APPEARED
        figures = figures_of(usable, new, same_run=same_run)
    return MatchedPair(
        name=name or str(key),
        **key._asdict(),
        old_file=old.row.file if old else None,
        new_file=new.row.file if new else None,
        state=state,
        reason=reasons[0].removeprefix("failed: ") if reasons else "",
        figures=figures,
    )


def match_models(run: Benchmark, old: Path, new: Path) -> list[MatchedPair]:
    """Match the rows of two model files in one result by engine.

    Raises:
        InputError: No engine ran both.
        ModelFileError: One can't be read, or was not made by edgepress.
    """
    rows = [{(r.engine, r.threads, r.batch): r for r in run.results if Path(r.file) == path} for path in (old, new)]
    for row in (row for side in rows for row in side.values() if row.failed and not row.engine):
        raise ModelFileError(row.status.removeprefix("failed: "), "Convert it again.")
    common = [place for place in rows[1] if place in rows[0]]
    if not common:
        tried = [", ".join(sorted({engine for engine, _, _ in side})) or "none" for side in rows]
        hint = "Install OpenVINO, which runs both formats: pip install 'edgepress[openvino]'."
        raise InputError(f"No engine ran both: {old} was run by {tried[0]}, {new} by {tried[1]}.", hint)
    return [
        _pair(
            _Key(rows[1][place].scheme, *place, ""), Side(run, rows[0][place]), Side(run, rows[1][place]), same_run=True
        )
        for place in common
    ]


def _words(text: str) -> list[str] | None:
    """The names in a list, or None for all of them."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    return None if words == ["all"] else words


class _Key(NamedTuple):
    scheme: str
    engine: str
    threads: int
    batch: int
    host: str

    def __str__(self) -> str:
        extra = [f"{self.threads} threads"] * (self.threads != 1) + [f"batch {self.batch}"] * (self.batch != 1)
        place = f"{self.scheme or 'a file without a scheme'} on {self.engine or 'no engine'}"
        return ", ".join([place, *extra, *([self.host] if self.host else [])])
