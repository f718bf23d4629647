"""What a board says of itself and of its measurements, checked before it is used: it may be damaged, or a stranger's.

Each function takes the bytes that a program on the board has written. Anything else is a `BoardError`, so that a run
goes on with other files and other boards.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.engines import ENGINES
from edgepress.runtime.errors import parsing
from edgepress.toolkit.documents import parse_json
from edgepress.toolkit.errors import BoardError

MOST_TEXT = 4096
"""Characters of a text at most: the flags of /proc/cpuinfo take about a thousand."""
MOST_FLAGS = 1000
"""Most texts of a list or a table."""
Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MOST_TEXT


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MOST_FLAGS and all(map(_is_text, value))


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and _is_list([*value, *value.values()])


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


STATE: Mapping[str, Check] = {
    "temperature_c": _or_none(_is_number),
    "frequency_mhz": _or_none(_is_number),
    "throttled": _or_none(_is_count),
    "cooling": _is_list,
    "load_1min": _or_none(_is_number),
}
"""The fields of `remote_probe.state`."""
DESCRIPTION: Mapping[str, Check] = {
    **dict.fromkeys(("node", "home", "model", "cpu", "cpu_implementer", "cpu_part", "machine", "os"), _is_text),
    **dict.fromkeys(("kernel", "governor"), _is_text),
    "flags": _is_list,
    "bits": lambda value: value in (32, 64),
    "cores": _or_none(_is_count),
    "memory_bytes": _or_none(_is_count),
    "libc": lambda value: _is_list(value) and len(value) == 2,
    "python": lambda value: _is_text(value) and re.match(r"\d{1,3}\.\d{1,3}\b", value, re.ASCII) is not None,
    "engines": _is_table,
    "frequency_limit_mhz": _or_none(_is_number),
    "state": lambda value: isinstance(value, dict) and not _wrong_field(value, STATE),
}
"""The fields of `remote_probe.info`, and the state in it."""
TIMES = ("load_ms", "first_us", "min_us", "p50_us", "p90_us", "p99_us")
TIMING: Mapping[str, Check] = {"threads": _is_count, "count": _is_count, **dict.fromkeys(TIMES, _is_positive)}
"""The fields of a result of `run bench` that are used."""


def read_description(host: str, content: bytes) -> dict[str, Any]:
    """What `remote_probe.info` has written, with the state."""
    with _damaged(f"{host}: its description"):
        return _checked(parse_json(content), DESCRIPTION)


def read_state(host: str, content: bytes) -> dict[str, Any]:
    """What `remote_probe.state` has written."""
    with _damaged(f"{host}: its state"):
        return _checked(parse_json(content), STATE)


def read_selftest(host: str, content: bytes) -> dict[str, Any]:
    """The report of a self-test, with the name of the engine."""
    with _damaged(f"{host}: its self-test"):
        return _checked(parse_json(content), {"engine": lambda value: _is_text(value) and value in ENGINES})


def read_scores(host: str, content: bytes) -> npt.NDArray[np.float32]:
    """The scores of items: float32, shape (N, labels)."""
    with _damaged(f"{host}: its answers"):
        scores: npt.NDArray[np.float32] = np.load(io.BytesIO(content), allow_pickle=False)
        if not isinstance(scores, np.ndarray) or scores.dtype != np.float32 or scores.ndim != 2:
            raise ValueError("they are not scores of items")
        return scores


def read_timing(host: str, content: bytes, threads: Sequence[int]) -> dict[str, Any]:
    """What `run bench --json` has written for these numbers of threads, in their order."""
    with _damaged(f"{host}: its times"):
        document = parse_json(content)
        results = document.get("results")
        if not isinstance(results, list) or len(results) != len(threads):
            raise ValueError("there are not as many results as numbers of threads")
        for result, count in zip(results, threads, strict=True):
            if _checked(result, TIMING)["threads"] != count:
                raise ValueError("they are of other numbers of threads")
        return document


@contextmanager
def _damaged(what: str) -> Iterator[None]:
    with parsing(
        what,
        "Run it again; if the error stays, another program answers on this board.",
        failed="can't be used",
        error=BoardError,
    ):
        yield


def _checked(value: Any, fields: Mapping[str, Check]) -> dict[str, Any]:
    """The object itself; ValueError if a field is missing or of another kind."""
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    if wrong := _wrong_field(value, fields):
        found = f"is {str(value[wrong])[:100]!r}" if wrong in value else "is missing"
        raise ValueError(f"{wrong} {found}")
    return value


def _wrong_field(value: Mapping[str, Any], fields: Mapping[str, Check]) -> str:
    """The first field that is missing or of another kind; "" if there is none."""
    return next((name for name, check in fields.items() if name not in value or not check(value[name])), "")
