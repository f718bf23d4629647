"""Describe a board for a result, and decide whether its latencies are comparable or it was throttled.

A Raspberry Pi slows down silently when its power supply is weak or it is hot. Its firmware reports this in the bits of
`vcgencmd get_throttled` (https://www.raspberrypi.com/documentation/computers/os.html#get_throttled), the upper half of
which is kept since boot; other boards report it as an active cooling device. States are read before the run, after each
round, and at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgepress.runtime.board import EXTENSIONS

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
