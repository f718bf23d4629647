"""Sizes, times and shares as users write them: a number and a unit, such as "200kB", "5ms" or "50%"."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from edgepress.toolkit.errors import InputError

TIMES = {"us": 1.0, "µs": 1.0, "μs": 1.0, "ms": 1e3, "s": 1e6}
SIZES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
SHARES = {"": 1.0, "%": 0.01}
POINTS = {"": 1.0, "pp": 1.0}
"""Units and their factors; "" stands for no unit."""
_FORM = re.compile(r"\s*((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\d\s]*)\s*")


class Quantity(NamedTuple):
    """What an option is given in.

    Attributes:
        units: Accepted units, whatever their case, and their factors.
        default: The unit of a plain number.
        example: An example for messages.
        percentage_points: Whether it is a difference of two percentages: 0 to 100. Other quantities are above 0.
    """

    units: Mapping[str, float]
    default: str
    example: str
    percentage_points: bool = False


SIZE = Quantity(SIZES, "B", "200kB")
TIME = Quantity(TIMES, "ms", "5ms")
SHARE = Quantity(SHARES, "", "50%")
DROP = Quantity(POINTS, "", "0.5", percentage_points=True)


def parse(option: str, value: str | float | None, quantity: Quantity) -> float | None:
    """The number that an option's value stands for, in the unit with factor 1; None for None.

    Args:
        option: Name of the option, for messages.
        value: Text, or a number in the default unit.
        quantity: What it is.

    Raises:
        InputError: It is not a number in the range of the quantity, or its unit is not accepted.
    """
    if value is None:
        return None
    match = _FORM.fullmatch(str(value))
    units = {name.lower(): factor for name, factor in quantity.units.items()}
    unit = (match[2] if match else "").lower() or quantity.default.lower()
    number = float(match[1]) * units[unit] if match and unit in units else math.nan
    low, high = (0.0, 100.0) if quantity.percentage_points else (math.ulp(0.0), math.nextafter(math.inf, 0))
    if not low <= number <= high:
        names = ", ".join(name for name in quantity.units if name and name != "μs")
        accepted = (
            "0 to 100 percentage points" if quantity.percentage_points else f"a number above 0 with a unit ({names})"
        )
        raise InputError(f"{option} is {value!r}; accepted: {accepted}, such as {quantity.example}.")
    return number
