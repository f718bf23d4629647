"""The report of recordings: figures are those of the document, bands hold all intervals, foreign text stays text."""

from __future__ import annotations

import dataclasses
import html
import re
from pathlib import Path
from typing import Any

import pytest
from hearing import drawn_stream, write_stream
from hypothesis import given
from hypothesis import strategies as st

from edgepress.toolkit import report
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.comparison.stream_figures import side_of
from edgepress.toolkit.reports.stream_page import stream_markdown, stream_page
from edgepress.toolkit.reports.stream_picture import (
    BOTTOM,
    HEIGHT,
    LEFT,
    NAME_HEIGHT,
    RIGHT,
    TOP,
    WIDTH,
    curve_of,
    hull_of,
    pictures_of,
)
from edgepress.toolkit.results.streams import FalseAlarm, HeardCount, HeardEvent, HeardFile, StreamResult, load_stream

HOSTILE = (
    '</style><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">{{ 7 * 7 }}\'"&lt;`|\n#\x1b[2J'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two models in one recording, and of one where nothing is labelled."""
    made = tmp_path_factory.mktemp("streams")
    write_stream(made / "old.json", drawn_stream(1, noise=0.6, file="old.tflite"))
    write_stream(made / "new.json", drawn_stream(2, noise=0.3, file="new.tflite"))
    write_stream(made / "alone.json", drawn_stream(3, events=0, hours=0.5))
    return made


def result_of(counts: list[tuple[float, int, int]], *, events: int, hours: float, threshold: float) -> StreamResult:
    """A result with such a curve: threshold, missed and false alarms."""
    heard = [HeardEvent(9.0 * n, 9.0 * n + 1, "go", None if n % 2 else 9.0 * n + 1) for n in range(events)]
    file = HeardFile("a.wav", "5", 3600 * hours, tuple(heard), (FalseAlarm(3.0, "go"),))
    curve = [
        HeardCount(label="", threshold=t, events=events, missed=missed, alarms=alarms, delay_s=None)
        for t, missed, alarms in counts
    ]
    fields: dict[str, Any] = {"file": "m.tflite", "sha256": "", "engine": "litert", "labels": ("go",)}
    return StreamResult(**fields, hours=hours, rule={"threshold": threshold}, heard=(file,), curve=tuple(curve))


def points_of(band: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([-\d.]+),([-\d.]+)", band)]


drawn = st.integers(0, 12).flatmap(
    lambda events: st.builds(
        lambda counts, hours, threshold: result_of(
            [(t, min(missed, events), alarms) for t, missed, alarms in counts],
            events=events,
            hours=hours,
            threshold=threshold,
        ),
        st.lists(
            st.tuples(st.floats(0.01, 1), st.integers(0, 12), st.integers(0, 10**6)),
            min_size=1,
            max_size=12,
            unique_by=lambda row: row[0],
        ),
        st.floats(1e-4, 1e5),
        st.floats(0.01, 1),
    )
)


@given(drawn)
def test_pictures_of_any_result_lie_in_their_frame_and_bands_hold_their_marks(result: StreamResult) -> None:
    curve = curve_of(result.curve, side_of(result))
    pictures = pictures_of([curve])
    assert len(pictures) == (2 if result.curve[0].events else 1)
    for picture in pictures:
        (line,) = picture.lines
        points = points_of(line.band)
        for x, y in [*points, *((m.x, m.y) for m in (*line.marks, line.own))]:
            assert LEFT - 0.1 <= x <= WIDTH - RIGHT + 0.1
            assert TOP - 0.1 <= y <= HEIGHT - BOTTOM + 0.1
        assert (line.own.x, line.own.y) in {(m.x, m.y) for m in line.marks}
        assert 2 <= len(picture.y_ticks) <= 8
        assert len({text for _, text in picture.x_ticks}) == len(picture.x_ticks)


@given(st.lists(st.tuples(*[st.integers(-9, 9)] * 4), min_size=1, max_size=4))
def test_a_hull_holds_every_corner_and_turns_one_way(rows: list[tuple[int, int, int, int]]) -> None:
    boxes = [((float(a), float(b)), (float(c), float(d))) for a, b, c, d in rows]
    hull = hull_of(boxes)
    corners = {(box[i][0], box[j][1]) for box in boxes for i in (0, 1) for j in (0, 1)}
    assert set(hull) <= corners
    for here, there in zip(hull, hull[1:] + hull[:1], strict=True):
        for x, y in corners:
            assert (there[0] - here[0]) * (y - here[1]) - (there[1] - here[1]) * (x - here[0]) >= 0


def test_the_axes_are_those_of_the_figures() -> None:
    """In two hours: no false alarm is at the left, one is .5 an hour, and more are further right."""
    counts = [(0.2, 0, 200), (0.5, 2, 20), (0.7, 5, 1), (0.9, 10, 0)]
    result = result_of(counts, events=10, hours=2.0, threshold=0.7)
    first, second = pictures_of([curve_of(result.curve, side_of(result))])
    x = [mark.x for mark in first.lines[0].marks]
    y = [mark.y for mark in first.lines[0].marks]
    assert x[3] == LEFT
    assert x[3] < x[2] < x[1] < x[0] <= WIDTH - RIGHT
    assert y[0] == pytest.approx(HEIGHT - BOTTOM)
    assert y[3] < y[2] < y[1] < y[0]
    assert x[1] - x[2] > x[0] - x[1], "20 times as many, then 10 times: the scale is logarithmic"
    ticks = {text: place for place, text in first.x_ticks}
    assert ticks["10"] == pytest.approx(x[1])
    assert ticks["100"] == pytest.approx(x[0])
    shares = {text: place for place, text in first.y_ticks}
    assert shares["20 %"] == pytest.approx(y[1])
    along = {text: place for place, text in second.x_ticks}
    assert along["0.2"] == pytest.approx(second.lines[0].marks[0].x)
    assert "From 0.5: 2 of 10 missed, 10.00 false alarms an hour" in {m.text for m in first.lines[0].marks}
    assert first.lines[0].name == "0.7"
    band = points_of(first.lines[0].band)
    assert min(b for _, b in band) == pytest.approx(TOP, abs=0.1), "10 of 10 missed may be all"


def test_a_page_of_one_result_and_of_two(folder: Path) -> None:
    written = report(folder / "new.json")
    assert written.out == folder / "new.html"
    page = written.out.read_text()
    assert page.count("<figure>") == 2
    assert page.count("<polyline") == 2
    document = load_stream(folder / "new.json")
    missed = sum(event.heard_s is None for event in document.heard[0].events)
    assert f"<b>{missed} of {len(document.heard[0].events)}</b>" in page
    assert f"<b>{document.alarms}</b>" in page
    both = report(folder / "new.json", folder / "both.html", old=folder / "old.json").text
    assert both.count("<polyline") == 4
    assert "Missed by OLD alone" in both
    assert both.count('class="curve old"') == 2
    alone = report(folder / "alone.json").text
    assert alone.count("<figure>") == 1
    assert "Missed, %" not in alone
    for text in (page, both, alone):
        assert not re.search(r"\bNone\b|\bnan\b|\binf\b|undefined", text)
        assert "<script" not in text
        assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", text)


def test_the_table_has_the_thresholds_where_something_changes(folder: Path) -> None:
    result = load_stream(folder / "new.json")
    text = stream_markdown(result)
    rows = [line.split("|")[1].strip() for line in text.splitlines() if re.match(r"\| [\d.]+ \|", line)]
    kept, before = [], None
    for count in result.curve:
        if (count.missed, count.alarms) != before:
            kept.append(f"{count.threshold:g}")
        before = (count.missed, count.alarms)
    assert rows == kept
    compared = stream_markdown(result, load_stream(folder / "old.json"))
    assert compared.count("| From threshold |") == 2
    assert "Exact McNemar test" in compared


def test_foreign_text_stays_text(folder: Path) -> None:
    result = load_stream(folder / "new.json")
    (file,) = result.heard
    events = tuple(dataclasses.replace(event, label=HOSTILE) for event in file.events)
    alarms = tuple(dataclasses.replace(alarm, label=HOSTILE) for alarm in file.alarms)
    heard = (dataclasses.replace(file, file=HOSTILE, events=events, alarms=alarms),)
    labels = tuple(dataclasses.replace(count, label=HOSTILE) for count in result.per_label)
    rule = {"threshold": 0.7, "ignore": [HOSTILE], HOSTILE: HOSTILE}
    evil = dataclasses.replace(
        result, file=HOSTILE, engine=HOSTILE, sha256=HOSTILE, heard=heard, per_label=labels, rule=rule
    )
    for page in (stream_page(evil), stream_page(evil, evil)):
        assert "<script" not in page
        assert "<img" not in page
        assert "{{ 7 * 7 }}" in html.unescape(page)
        assert "\x1b" not in page
    text = stream_markdown(evil, evil)
    assert "<script" not in text
    assert "\x1b" not in text
    assert "\n#" not in text


def test_what_can_not_be_shown_is_one_error(folder: Path, tmp_path: Path) -> None:
    old, new = (drawn_stream(seed) for seed in (1, 2))
    for damage in (
        {"curve": []},
        {"curve": [new["curve"][0] | {"missed": 61}]},
        {"curve": [new["curve"][0] | {"alarms": -1}]},
        {"curve": [new["curve"][0] | {"threshold": 1.5}]},
        {"curve": new["curve"] * 50},
        {"hours": 1e-9},
        {"hours": 1e30},
    ):
        with pytest.raises(InputError):
            report(write_stream(tmp_path / "new.json", new | damage))
    assert not (tmp_path / "new.html").exists()
    with pytest.raises(InputError, match="model card"):
        report(folder / "new.json", format="card")
    with pytest.raises(InputError, match="--old"):
        report(Path(__file__).parents[1] / "support" / "benchmark_v1.json", old=folder / "old.json")
    other = write_stream(tmp_path / "other.json", old | {"heard": [old["heard"][0] | {"sha256": "6" * 64}]})
    with pytest.raises(InputError, match="by its content"):
        report(folder / "new.json", old=other)


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    old, new = (
        load_stream(write_stream(tmp_path / f"{n}.json", drawn_stream(n, file=f"{place}/model.tflite")))
        for n, place in enumerate(("before", "after"))
    )
    page, text = stream_page(new, old), stream_markdown(new, old)
    for words in ("OLD: before/model.tflite on litert", "NEW: after/model.tflite on litert"):
        assert words in page
        assert words in text
    assert "before/" not in stream_markdown(old)


@given(drawn, st.booleans())
def test_the_name_of_a_threshold_stays_inside_the_axes(result: StreamResult, wish: bool) -> None:
    for picture in pictures_of([curve_of(result.curve, side_of(result))]):
        for line in picture.lines:
            below = line.is_name_below(wish)
            assert TOP <= line.own.y + (NAME_HEIGHT if below else -NAME_HEIGHT) <= HEIGHT - BOTTOM
            if TOP + NAME_HEIGHT <= line.own.y < HEIGHT - BOTTOM - NAME_HEIGHT:
                assert below is wish


def test_a_delay_of_zero_has_no_sign() -> None:
    result = result_of([(0.5, 1, 2)], events=4, hours=1.0, threshold=0.5)
    count = dataclasses.replace(result.curve[0], delay_s=-0.004)
    assert "| 0.00 |" in stream_markdown(dataclasses.replace(result, curve=(count,)))
