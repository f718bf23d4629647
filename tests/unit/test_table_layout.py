"""Tables on narrow screens: figures keep their units, names stay whole, and the titles of lists are known."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgepress.toolkit.cli.screen import table, titles_of

COLUMNS = (("File", "left"), ("Drop", "right"), ("What", "left"))


def lines(shown: Table, room: int) -> list[str]:
    """A table as it is printed on a screen of so many columns."""
    out = io.StringIO()
    Console(file=out, width=room, color_system=None).print(shown)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("unit", ["%", "pp", "x", "kB", "MiB", "dB", "µs", "ms", "GMAC/s", "GB/s"])
@pytest.mark.parametrize("figure", ["42.3", "0.00 [−3.74, 3.74]", "+11.84 [+6.51, +17.43]"])
@pytest.mark.parametrize("room", range(30, 81, 5))
def test_no_line_begins_with_a_unit(figure: str, unit: str, room: int) -> None:
    row = ("model-int8.tflite", f"{figure} {unit}", "the layers that are computed in float take most of the time")
    for line in lines(table(COLUMNS, [row], room=room), room):
        words = line.split()
        assert words[:1] != [unit]
        assert len(line) <= room


@given(st.lists(st.text("ab ", min_size=1, max_size=40), min_size=1, max_size=3), st.integers(24, 90))
def test_all_words_are_printed_in_their_order(texts: list[str], room: int) -> None:
    rows = [("a.tflite", Text("1.0 %", style="red"), text) for text in texts]
    shown = table(COLUMNS, rows, room=room)
    if shown.show_header:
        printed = "".join(line[-shown.columns[2].width - 1 :] for line in lines(shown, room)[2:])  # type: ignore[operator]
        assert printed.split() == "".join(f"{text} " for text in texts).split() or " " not in "".join(texts).strip()


def test_names_of_files_stay_whole_where_other_columns_can_give_way() -> None:
    rows = [("model-int8.tflite", "14.7 % → 10.1 %", "4 of 46")]
    for room in range(40, 60):
        assert any("model-int8.tflite" in line for line in lines(table(COLUMNS, rows, room=room), room))


@pytest.mark.parametrize("room", [20, 200])
def test_the_titles_of_a_list_are_known(room: int) -> None:
    rows = [("model-int8-integer-only.tflite", "0.00 [−3.74, 3.74] pp", "incomprehensibilities")]
    shown = table(COLUMNS, rows, room=room)
    assert shown.show_header == (room == 200)
    assert titles_of(shown) == {"File", "Drop", "What"}
