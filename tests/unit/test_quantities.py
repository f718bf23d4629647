"""Sizes, times and shares as users write them."""

from __future__ import annotations

import pytest

from edgepress.toolkit.errors import InputError
from edgepress.toolkit.text import DROP, SHARE, SIZE, TIME, parse


@pytest.mark.parametrize(
    ("quantity", "value", "number"),
    [
        (SHARE, "50%", 0.5),
        (SHARE, "0.5", 0.5),
        (SIZE, "100kB", 1e5),
        (SIZE, " 1.5 mb ", 1.5e6),
        (SIZE, 1000, 1000),
        (SIZE, "2KiB", 2048),
        (SIZE, "1e3", 1000),
        (TIME, "2ms", 2000),
        (TIME, 2, 2000),
        (TIME, ".5s", 5e5),
        (TIME, "80µs", 80),
        (DROP, 0, 0),
        (DROP, "0.5pp", 0.5),
    ],
)
def test_numbers_with_and_without_units(quantity, value, number):
    assert parse("--x", value, quantity) == pytest.approx(number)


@pytest.mark.parametrize(
    ("quantity", "value", "accepted"),
    [
        (SHARE, "half", r"a number above 0 with a unit \(%\), such as 50%"),
        (SIZE, "100kg", r"\(B, kB, MB, GB, KiB, MiB, GiB\), such as 200kB"),
        (SIZE, "", "a number above 0"),
        (SIZE, "0B", "a number above 0"),
        (SIZE, "1e999kB", "a number above 0"),
        (SIZE, "nan", "a number above 0"),
        (TIME, "-2ms", r"\(us, µs, ms, s\), such as 5ms"),
        (DROP, 101, "0 to 100 percentage points, such as 0.5"),
        (DROP, float("nan"), "0 to 100 percentage points"),
    ],
)
def test_other_words_are_refused(quantity, value, accepted):
    with pytest.raises(InputError, match=f"--x is {value!r}; accepted: .*{accepted}"):
        parse("--x", value, quantity)


def test_what_is_not_given_stays_so():
    assert parse("--x", None, SIZE) is None
