"""Two results about the same recordings: what is paired, what is refused, and gates."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from comparing import outcomes
from hypothesis import given
from hypothesis import strategies as st

from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.comparison.compare import compare
from edgepress.toolkit.measurement.comparison.gates import FAILED, OPEN, PASSED, parse_gate
from edgepress.toolkit.measurement.comparison.judging import Comparison
from edgepress.toolkit.measurement.comparison.stream_figures import SAME_S, alarms_alone
from edgepress.toolkit.measurement.comparison.streams import compare_streams
from edgepress.toolkit.measurement.comparison.text import markdown, methods, pair_rows
from edgepress.toolkit.reports.notebooks.views import comparison_html
from edgepress.toolkit.results.streams import FalseAlarm, HeardEvent, HeardFile, StreamResult, load_stream
from edgepress.toolkit.stats.rates import rate_interval

V1 = Path(__file__).parents[1] / "support" / "benchmark_v1.json"
times = st.lists(st.floats(0, 60), max_size=12).map(sorted)


def stream(
    missed: str = "", alarms: tuple[float, ...] = (), *, hours: float = 1.0, name: str = "a.wav", **more: Any
) -> StreamResult:
    """A recording whose events are missed where a letter is "x", and heard half a second late where it is "."."""
    events = tuple(
        HeardEvent(10.0 * n, 10.0 * n + 1, "go", None if letter == "x" else 10 * n + 1.5)
        for n, letter in enumerate(missed)
    )
    file = HeardFile(name, name, 3600 * hours, events, tuple(FalseAlarm(time, "go") for time in alarms))
    fields = {"file": "m.tflite", "sha256": "", "engine": "litert", "rule": {"threshold": 0.7}, "labels": ("go",)}
    return StreamResult(**(fields | {"hours": hours, "heard": (file,)} | more))


def judged(old: StreamResult, new: StreamResult, *limits: str, strict: bool = False) -> Comparison:
    return compare_streams(old, new, [parse_gate(limit) for limit in limits], strict=strict)


def figure(found: Comparison, name: str) -> Any:
    return next(each for each in found.pairs[0].figures if each.name == name)


def document(result: StreamResult) -> dict[str, Any]:
    return {"schema_version": 1, "alarms_per_hour": {}} | asdict(result)


def written(path: Path, result: StreamResult, **more: Any) -> Path:
    path.write_text(json.dumps(document(result) | more))
    return path


def test_events_are_paired_and_named() -> None:
    found = judged(stream("xx..x..."), stream("x.x.xx.."))
    change = found.stream
    assert change is not None
    assert [(place.time_s, place.file) for place in change.missed_by_old] == [(10, "a.wav")]
    assert [place.time_s for place in change.missed_by_new] == [20, 50]
    assert change.mcnemar_p == pytest.approx(1.0)
    missed = figure(found, "missed_share")
    assert (missed.old, missed.new, missed.change.estimate) == (3 / 8, 4 / 8, pytest.approx(100 / 8))
    assert missed.change.low < 0 < missed.change.high


def test_what_both_miss_cancels() -> None:
    few, many = judged(stream("x...." * 20), stream("x...." * 20)), judged(stream("....." * 20), stream("....." * 20))
    assert figure(few, "missed_share").change == figure(many, "missed_share").change


def test_false_alarms_of_the_same_sound_cancel() -> None:
    old, new = tuple(float(n) for n in range(0, 3000, 10)), tuple(n + 0.5 for n in range(0, 3000, 10))
    apart = tuple(n + 5.0 for n in range(0, 3000, 10))
    same, other = (figure(judged(stream("", old), stream("", each)), "alarms_per_hour") for each in (new, apart))
    assert same.change.estimate == other.change.estimate == 0
    assert same.change.high == pytest.approx(rate_interval(0, 1.0).high)
    assert other.change.high > 30


@given(times, times)
def test_each_false_alarm_has_one_partner_at_most(old: list[float], new: list[float]) -> None:
    files = [stream("", tuple(side)).heard[0] for side in (old, new)]
    alone = [[place.time_s for place in side] for side in alarms_alone(files[0], files[1])]
    assert len(alone[1]) - len(alone[0]) == len(new) - len(old)
    assert all(abs(a - b) > SAME_S for a in alone[0] for b in alone[1]), "two that are near would have been partners"
    turned = [[place.time_s for place in side] for side in alarms_alone(files[1], files[0])]
    assert [len(side) for side in turned] == [len(alone[1]), len(alone[0])]


def test_delays_are_those_of_events_that_both_heard() -> None:
    old, new = stream("x........"), stream(".x.......")
    (file,) = new.heard
    late = tuple(replace(e, heard_s=e.heard_s and e.heard_s + 0.25) for e in file.events)
    delay = figure(judged(old, replace(new, heard=(replace(file, events=late),))), "delay_s")
    assert (delay.old, delay.new, delay.count) == (0.5, 0.75, 7)
    assert (delay.change.estimate, delay.change.low, delay.change.high) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("limit", "old", "new", "outcome"),
    [
        ("alarms>1/h", 0, 0, OPEN),
        ("alarms>4/h", 0, 0, PASSED),
        ("alarms>96/d", 0, 0, PASSED),
        ("alarms>1/h", 0, 9, FAILED),
        ("alarms_rise>4/h", 0, 0, PASSED),
        ("alarms_rise>0.5/h", 0, 0, OPEN),
        ("alarms_rise>0.5/h", 5, 20, FAILED),
        ("alarms_rise>0.5/h", 40, 10, PASSED),
    ],
)
def test_limits_on_false_alarms(limit: str, old: int, new: int, outcome: str) -> None:
    sides = [stream("", tuple(10.0 * n + 5 * side for n in range(count))) for side, count in enumerate((old, new))]
    assert outcomes(judged(*sides, limit)) == [outcome]


@pytest.mark.parametrize(
    ("limit", "old", "new", "outcome"),
    [
        ("missed>5%", "." * 100, "." * 100, PASSED),
        ("missed>5%", "." * 20, "." * 20, OPEN),
        ("missed>0.05", "." * 100, "x" * 15 + "." * 85, FAILED),
        ("missed_rise>2", "." * 300, "." * 300, PASSED),
        ("missed_rise>2", "." * 40, "." * 40, OPEN),
        ("missed_rise>2pp", "." * 100, "x" * 15 + "." * 85, FAILED),
        ("missed_rise>2", "x" * 15 + "." * 85, "." * 100, PASSED),
    ],
)
def test_limits_on_missed_events(limit: str, old: str, new: str, outcome: str) -> None:
    assert outcomes(judged(stream(old), stream(new), limit)) == [outcome]


def test_the_hours_and_events_that_are_named_decide_and_two_thirds_do_not() -> None:
    verdict = judged(stream(), stream(), "alarms>1/h").verdicts[0]
    assert verdict.fix == "About 3.7 hours (there are 1) would settle it at the same estimate."
    for hours, outcome in ((3.7, PASSED), (2.5, OPEN)):
        assert outcomes(judged(stream(hours=hours), stream(hours=hours), "alarms>1/h")) == [outcome]
    fix = judged(stream("." * 20), stream("." * 20), "missed>5%").verdicts[0].fix
    needed = int(fix.split()[1])
    assert fix == f"About {needed} events (there are 20) would settle it at the same estimate."
    for count, outcome in ((needed, PASSED), (2 * needed // 3, OPEN)):
        assert outcomes(judged(stream("." * count), stream("." * count), "missed>5%")) == [outcome]
    fix = judged(stream(), stream("", (5.0,)), "alarms>1/h").verdicts[0].fix
    assert fix.startswith("No number of hours would settle it"), "no length settles its own limit"


@pytest.mark.parametrize(("minutes", "limit"), [(1, "alarms>1/h"), (2, "alarms>1/d"), (10, "alarms>0.5/d")])
def test_the_hours_that_are_needed_are_named_although_they_are_many_times_those_that_there_are(
    minutes: int, limit: str
) -> None:
    short = stream(hours=minutes / 60)
    fix = judged(short, short, limit).verdicts[0].fix
    hours = float(fix.split()[1].replace(",", ""))
    assert 100 * minutes / 60 < hours < 1000
    for length, outcome in ((hours, PASSED), (0.9 * hours, OPEN)):
        assert outcomes(judged(stream(hours=length), stream(hours=length), limit)) == [outcome]


def test_no_number_of_events_settles_a_share_that_is_its_limit() -> None:
    sides = stream("." * 20), stream("x" + "." * 19)
    assert judged(*sides, "missed>5%").verdicts[0].fix.startswith("No number of events would settle it")


def test_without_events_a_limit_on_them_is_unproven_and_fails_if_strict() -> None:
    found = judged(stream(), stream(), "missed>5%", "missed_rise>2")
    assert outcomes(found) == [OPEN, OPEN]
    assert "no event is labelled" in found.verdicts[0].text
    assert "--events" in found.verdicts[0].fix
    assert outcomes(judged(stream(), stream(), "missed>5%", strict=True)) == [FAILED]


def test_the_same_file_with_the_same_rule_has_no_change() -> None:
    same = stream("x...", (5.0,), sha256="f")
    assert outcomes(judged(same, same, "missed_rise>0", "alarms_rise>0/h")) == [PASSED, PASSED]
    stricter = replace(same, rule={"threshold": 0.9})
    found = judged(same, stricter, "alarms_rise>0/h")
    assert outcomes(found) == [OPEN]
    assert found.notes == ("The rules differ: threshold 0.7 -> 0.9.",)


def test_recordings_are_found_by_content_in_any_order() -> None:
    a, b = (stream(letters, name=name).heard[0] for letters, name in ((".x", "a.wav"), ("..", "b.wav")))
    found = judged(stream(heard=(a, b)), stream(heard=(replace(b, file="other/b.wav"), a)))
    assert found.stream is not None
    assert (found.stream.missed_by_old, found.stream.missed_by_new) == ((), ())


@pytest.mark.parametrize(
    ("new", "says"),
    [
        (stream("..", name="b.wav"), "a.wav of OLD is none of the recordings of NEW"),
        (stream("..", heard=()), "a.wav of OLD is none"),
        (stream("..", heard=stream("..").heard * 2), "a.wav of NEW is none"),
        (stream("..."), "only NEW has the event 'go' from 20 to 21 s"),
        (stream("."), "only OLD has the event 'go' from 10 to 11 s"),
    ],
)
def test_other_recordings_and_events_are_refused(new: StreamResult, says: str) -> None:
    with pytest.raises(InputError, match=says):
        judged(stream(".."), new)


def test_models_of_other_labels_get_a_note() -> None:
    assert judged(stream(".."), stream("..", labels=("go", "stop"))).notes == ("OLD hears go; NEW hears go, stop.",)


def test_texts_of_strangers_are_one_line() -> None:
    name = "a\x1b[31m\n::error::.wav"
    found = judged(stream("..", (5.0,), name=name), stream("x.", name=name))
    texts = "".join([*methods(found), *(cell for row in pair_rows(found)[1] for cell in row)])
    assert texts.isprintable()


def test_hours_that_differ_are_not_paired() -> None:
    alarms = figure(judged(stream("", (5.0,), hours=2.0), stream("", (5.0,))), "alarms_per_hour")
    assert "not paired" in alarms.how
    assert alarms.change.estimate == pytest.approx(0.5)


def test_what_readers_see(tmp_path: Path) -> None:
    paths = written(tmp_path / "a.json", stream("x.....", (5.0,))), written(tmp_path / "b.json", stream("..x.xx"))
    found = compare(*paths, fail_if=["alarms>1/h"])
    heads, rows = pair_rows(found)
    assert heads[1:3] == ["OLD", "NEW"]
    assert [row[0] for row in rows] == ["Threshold", "Missed events", "False alarms", "Delay (median)"]
    assert rows[1][1].startswith("1 of 6: 16.67 [")
    assert rows[2][1].startswith("1 in 1.00 h: 1.00 [0.03, 5.57]")
    lines = "\n".join(methods(found))
    assert "Missed by NEW alone (3): a.wav at 20.00 s (go), a.wav at 40.00 s (go), a.wav at 50.00 s (go)." in lines
    assert "False alarms of OLD alone (1): a.wav at 5.00 s (go)." in lines
    assert "p = 0.625" in lines
    shown = markdown(found)
    assert all(name in shown for name in ("Missed events", "alarms&gt;1/h", "unproven"))
    page = comparison_html(json.loads(json.dumps(found.to_dict())))
    assert "False alarms an hour" in page
    assert "16.67" in page


def test_results_of_two_kinds_and_limits_of_the_other_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", stream(".."))
    for pair in ((path, V1), (V1, path)):
        with pytest.raises(InputError, match="one is a result about recordings, the other of a benchmark"):
            compare(*pair)
    with pytest.raises(InputError, match=r"'drop>1' is a limit on benchmarks") as caught:
        compare(path, path, fail_if=["drop>1"])
    assert "missed_rise" in caught.value.hint
    with pytest.raises(InputError, match="'alarms>1/h' is a limit on results of edgepress evaluate --stream"):
        compare(V1, V1, fail_if=["alarms>1/h"])
    with pytest.raises(InputError, match="--scheme and --engine"):
        compare(path, path, engine="litert")
    with pytest.raises(InputError, match=r"none\.json can't be read"):
        compare(path, tmp_path / "none.json")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"hours": 0}, "hours is 0"),
        ({"hours": 99}, "hours is 99"),
        ({"rule": {}}, "threshold is None"),
        ({"rule": {"threshold": "x"}}, "threshold is 'x'"),
        ({"schema_version": 2}, "version 2"),
        ({"schema_version": None}, "its edgepress was older"),
        ({"heard": [{"file": "a"}]}, "sha256"),
        ({"heard": [{"file": "a", "sha256": "", "seconds": 3600, "events": [], "alarms": []}]}, "sha256 is empty"),
        ({"labels": 3}, "labels"),
    ],
)
def test_damaged_results_are_one_error(tmp_path: Path, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        load_stream(written(tmp_path / "a.json", stream(".."), **wrong))
    assert says in caught.value.message
