"""The limits that a file must keep: accuracy drop, size, latency, memory, and RAM and flash of a microcontroller.

>>> limits = Limits.of(max_drop=0.5, max_size="200kB", max_latency="5ms")
>>> limits.values
{'drop': 0.5, 'size': 200000.0, 'latency': 5000.0}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from edgepress.toolkit import text
from edgepress.toolkit.quantities import DROP, SIZE, TIME, Quantity, parse

MAX_DROP_PP = 0.5
"""Largest drop, percentage points, unless the user sets it."""


class Kind(NamedTuple):
    """One kind of limit.

    Attributes:
        option: The option that sets it.
        noun: What it limits, in words.
        figure: The field of a `Trial` that it limits.
        quantity: What it is given in.
    """

    option: str
    noun: str
    figure: str
    quantity: Quantity

    def show(self, value: float | None) -> str:
        """A value of this kind for people."""
        if value is None:
            return "unknown"
        if self.figure == "drop_pp":
            return f"{text.with_sign(value)} pp"
        return text.duration(value) if self.figure == "latency_us" else text.size(round(value))


KINDS: Mapping[str, Kind] = {
    "drop": Kind("--max-drop", "accuracy drop", "drop_pp", DROP),
    "size": Kind("--max-size", "size", "size_bytes", SIZE),
    "latency": Kind("--max-latency", "latency", "latency_us", TIME),
    "memory": Kind("--max-memory", "memory", "memory_bytes", SIZE),
    "ram": Kind("--max-ram", "RAM", "ram_bytes", SIZE),
    "flash": Kind("--max-flash", "flash", "flash_bytes", SIZE),
}
"""Every kind of limit, in the order in which they are shown."""
EXPORTED = ("ram", "flash")
"""The limits on the C that `edgepress export` writes, which integer-only int8 files alone can keep."""


@dataclass(frozen=True)
class Limits:
    """Largest accepted values.

    Attributes:
        values: By the names in `KINDS`: percentage points, microseconds, else bytes. "drop" is always there.
    """

    values: Mapping[str, float]

    @classmethod
    def of(
        cls,
        max_drop: float = MAX_DROP_PP,
        max_size: str | float | None = None,
        max_latency: str | float | None = None,
        max_memory: str | float | None = None,
        *,
        max_ram: str | float | None = None,
        max_flash: str | float | None = None,
    ) -> Limits:
        """Limits as a user gives them: numbers (percentage points, bytes, milliseconds), or text with a unit.

        Raises:
            InputError: One is not a positive number with an accepted unit.
        """
        limits = {"drop": max_drop, "size": max_size, "latency": max_latency, "memory": max_memory}
        limits |= {"ram": max_ram, "flash": max_flash}
        values = {name: parse(KINDS[name].option, value, KINDS[name].quantity) for name, value in limits.items()}
        return cls({name: value for name, value in values.items() if value is not None})

    @property
    def exported(self) -> bool:
        """Whether one is about the exported C."""
        return any(name in self.values for name in EXPORTED)

    def excess(self, figures: Mapping[str, float | None]) -> dict[str, float | None]:
        """The limits that a file misses, each with how far it is beyond it.

        Args:
            figures: The file's values, by the names in `KINDS`.

        Returns:
            The distance of a drop in percentage points, other values divided by their limits; None of a value that is
            not known, which counts as missed.
        """
        missed: dict[str, float | None] = {}
        for name, limit in self.values.items():
            value = figures.get(name)
            if value is None:
                missed[name] = None
            elif value > limit:
                missed[name] = value - limit if name == "drop" else value / limit
        return missed

    def in_words(self) -> str:
        """The limits in one line: "drop at most 0.50 pp, size at most 200 kB"."""
        return ", ".join(f"{KINDS[name].noun} at most {KINDS[name].show(value)}" for name, value in self.values.items())
