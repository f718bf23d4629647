"""Numbers, sizes and durations as text: written for people, "18.3 kB", and read as users write them, "200kB".

Everything that shows a figure (the screen, reports, plots, comparisons) takes it from here, so that one figure looks
the same everywhere. A figure that was not measured (None) is an empty text.
"""

from __future__ import annotations

import dataclasses
import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from edgepress.toolkit.errors import InputError

if TYPE_CHECKING:
    from edgepress.runtime.input_spec import InputSpec

MINUS = "\N{MINUS SIGN}"
REPR_CHARACTERS = 60
"""Characters that `short_repr` shows of one value."""
_Units = Sequence[tuple[str, float]]


def number(value: float | None, form: str = ".1f") -> str:
    """A figure in the given format."""
    return "" if value is None else format(value, form)


def with_sign(value: float | None, form: str = ".2f") -> str:
    """A figure with a true minus sign; zero has no sign."""
    text = number(value, form)
    return MINUS + text[1:] if text.startswith("-") and text.strip("-0.") else text.lstrip("-")


def percent(share: float | None, form: str = ".2f") -> str:
    """A share as "98.89 %"."""
    return "" if share is None else f"{with_sign(100 * share, form)} %"


def sure(probability: float | None) -> str:
    """A probability as "97 %", rounded down, so that it never seems to reach a bound that it misses."""
    if probability is None:
        return "?"
    if probability >= 0.995:
        return "over 99 %"
    return f"{math.floor(100 * probability + 1e-9)} %"


def is_sure(probability: float | None, confidence: float | None) -> bool:
    """Whether a probability is known and reaches the one that was wanted, which older results do not name."""
    return probability is not None and confidence is not None and probability >= confidence


def status_words(status: str, probability: float | None) -> str:
    """A file's status as tables show it: without its reason, and with how sure it is.

    Args:
        status: A status of `edgepress.toolkit.results.records`.
        probability: As `AccuracyFigures.probability`; None of a file without labels, and in older results.
    """
    words = status.partition(":")[0]
    if probability is None:
        return words
    return {"usable": "proven", "unproven": f"{sure(probability)} sure"}.get(words, words)


def times(ratio: float | None) -> str:
    """A ratio as "2.31×"."""
    return "" if ratio is None else f"{ratio:.3g}×"


def interval(value: float | None, low: float | None, high: float | None, unit: str = "") -> str:
    """An estimate with its 95 % interval: "0.12 [−0.31, 0.55]"."""
    text = with_sign(value) + (unit if value is not None else "")
    if value is None or low is None or high is None or low == high:
        return text
    return f"{text} [{with_sign(low)}, {with_sign(high)}]"


def first_sentence(text: str) -> str:
    """The first sentence of a text: up to a full stop before a capital."""
    return re.split(r"(?<=[.!?])\s+(?=[A-Z])", text.strip(), maxsplit=1)[0]


def size(n: int | None) -> str:
    """A number of bytes in decimal units: "18.3 kB", "2.5 MB"."""
    return _scale(n, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1)), zeros=False)


def count(n: int | None) -> str:
    """A large count such as parameters or operations: "4.2 M"; empty for 0, "?" if it is not known."""
    return "?" if n is None else _scale(n or None, (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1)), zeros=False).strip()


def duration(us: float | None, digits: int = 3) -> str:
    """Microseconds in the unit that fits: "19.4 µs", "8.98 ms", "1.20 s"."""
    return _scale(us, (("s", 1e6), ("ms", 1e3), ("µs", 1)), digits=digits)


def rate(per_second: float | None, unit: str) -> str:
    """A figure per second: "51.0 GMAC/s"."""
    return _scale(per_second, ((f"G{unit}/s", 1e9), (f"M{unit}/s", 1e6), (f"{unit}/s", 1)))


def plural(n: int, noun: str) -> str:
    """A count with its noun: "1 thread", "2 threads"."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def estimate(n: int) -> str:
    """A count that is an estimate, rounded up to two digits: "1,800"."""
    unit = int(10 ** max(0, math.floor(math.log10(max(n, 1))) - 1))
    return f"{math.ceil(n / unit) * unit:,}"


def _scale(value: float | None, units: _Units, *, digits: int = 3, zeros: bool = True) -> str:
    """A figure of so many digits in the largest unit in which it is at least 1, with or without trailing zeros."""
    if value is None:
        return ""
    least = 1 - 0.5 / 10**digits  # is rounded up to 1
    unit, factor = next((row for row in units if value >= least * row[1]), units[-1])
    scaled = value / factor
    zeros = zeros and scaled >= least
    form = ".0f" if scaled >= least * 10**digits else f"{'#' if zeros else ''}.{digits}g"
    return f"{format(scaled, form).rstrip('.')} {unit}"


def short_repr(record: Any) -> str:
    """What Python shows of a result: the fields of a dataclass, each shortened; empty ones are left out.

    Dataclasses whose fields hold arrays or hundreds of rows have it as their `__repr__`.
    """
    shorten = reprlib.Repr()
    shorten.maxlevel = 2
    shorten.maxtuple = shorten.maxlist = shorten.maxdict = 4
    shorten.maxstring = shorten.maxother = REPR_CHARACTERS
    values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record) if field.repr}
    parts = [
        f"{name}={shorten.repr(value)}"
        for name, value in values.items()
        if value is not None and not (hasattr(value, "__len__") and len(value) == 0)
    ]
    return f"{type(record).__name__}({', '.join(parts)})"


def input_text(spec: InputSpec) -> str:
    """What one item looks like: "28 x 28 x 1 pixels", or of several inputs, "photo 28 x 28 x 1 pixels, size 2"."""
    from edgepress.runtime.input_record import inputs_of  # it imports NumPy, which `--help` does not need

    if inputs := inputs_of(spec):
        return ", ".join(f"{each.name} {input_text(each)}" for each in inputs)
    return " x ".join(map(str, spec.shape)) + (" pixels" if spec.is_image else "")


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
