"""What a board says of itself and of its measurements, checked first: it may be damaged, throttled, or a stranger's.

A Raspberry Pi slows down silently when its power supply is weak or it is hot. Its firmware reports this in the bits of
`vcgencmd get_throttled` (https://www.raspberrypi.com/documentation/computers/os.html#get_throttled), the upper half of
which is kept since boot; other boards report it as an active cooling device. States are read before the run, after each
round, and at the end.

What a board says of itself and of its measurements, checked before it is used: it may be damaged, or a stranger's.

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

from edgepress.runtime.board import EXTENSIONS
from edgepress.runtime.engines import ENGINES
from edgepress.runtime.errors import parsing
from edgepress.toolkit.documents import parse_json
from edgepress.toolkit.errors import BoardError

THROTTLED = {0: "undervoltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""Meaning of bits 0 to 3 (now) and of bits 16 to 19 (since boot)."""
SINCE_START = 16
"""Distance in bits, in the Raspberry Pi's flags, from a state now to the same state since the start."""
FIXES = {
    "undervoltage": "Use the board's own power supply and a short cable.",
    "throttled": "Add a heat sink or a fan.",
    "soft temperature limit": "Add a heat sink or a fan.",
}
CORES = {
    ("0x41", part): name
    for part, name in (
        *(("0xb76", "ARM1176"), ("0xc07", "Cortex-A7"), ("0xd03", "Cortex-A53"), ("0xd04", "Cortex-A35")),
        *(("0xd05", "Cortex-A55"), ("0xd07", "Cortex-A57"), ("0xd08", "Cortex-A72"), ("0xd09", "Cortex-A73")),
        *(("0xd0a", "Cortex-A75"), ("0xd0b", "Cortex-A76"), ("0xd0c", "Neoverse-N1"), ("0xd41", "Cortex-A78")),
    )
}
"""CPU core names by implementer and part in /proc/cpuinfo."""


def throttled_words(bits: int | None, *, since_start: bool = False) -> list[str]:
    """Names of the bits set in `get_throttled`, for now or since boot."""
    shift = SINCE_START if since_start else 0
    return [] if bits is None else [word for bit, word in THROTTLED.items() if bits >> (bit + shift) & 1]


def doubts(states: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Reasons why a run's latencies are not comparable, and notes.

    Args:
        states: The board's states from the probe, in order of time; the first is from before the run.
    """
    before = set(throttled_words(states[0]["throttled"], since_start=True))
    reasons = [word for state in states for word in throttled_words(state["throttled"])]
    # Throttling between two states shows in the upper bits, if it is the first since boot.
    for state in states[1:]:
        reasons += [w for w in throttled_words(state["throttled"], since_start=True) if w not in before]
    reasons += [f"slowed by {kind}" for state in states for kind in state["cooling"]]
    notes = []
    if before - set(reasons):
        notes.append(
            f"Between boot and the run: {', '.join(sorted(before - set(reasons)))}. "
            "A short recurrence during the run would not be detected; reboot the board to be certain."
        )
    return list(dict.fromkeys(reasons)), notes


def fixes(reasons: Sequence[str]) -> str:
    """Fixes for these reasons, in a sentence or two; may be empty."""
    return " ".join(dict.fromkeys(FIXES[r] for r in reasons if r in FIXES))


def describe_board(host: str, info: Mapping[str, Any], states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A board's entry in a benchmark's `boards`: the fields of `host`, and those specific to boards.

    Args:
        host: The user's name for the board.
        info: The description from the probe.
        states: As for `doubts`.
    """
    reasons, notes = doubts(states)
    temperatures = [s["temperature_c"] for s in states if s["temperature_c"] is not None]
    frequencies = [s["frequency_mhz"] for s in states if s["frequency_mhz"] is not None]
    core = CORES.get((info["cpu_implementer"], info["cpu_part"]), "")
    if info["governor"] == "powersave":
        notes.append("The governor powersave keeps the CPU at its lowest frequency.")
    return {
        "name": host,
        "node": info["node"],
        "cpu": info["model"] or core or info["cpu"] or info["machine"],
        "core": core,
        "extensions": [name for _, name, _ in EXTENSIONS if name in info["flags"]],
        **{key: info[key] for key in ("machine", "bits", "cores", "memory_bytes", "os", "kernel", "python", "engines")},
        "governor": info["governor"] or None,
        "frequency_limit_mhz": info["frequency_limit_mhz"],
        "frequency_mhz": [min(frequencies), max(frequencies)] if frequencies else None,
        "temperature_before_c": states[0]["temperature_c"],
        "temperature_after_c": states[-1]["temperature_c"],
        "temperature_max_c": max(temperatures, default=None),
        "throttled_before": states[0]["throttled"],
        "throttled_after": states[-1]["throttled"],
        "load_1min": None if states[0]["load_1min"] is None else round(states[0]["load_1min"], 2),
        "comparable": not reasons,
        "reasons": reasons,
        "notes": notes,
    }


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
