"""Events of a stream: as `listen` hears them, counted against what there is to hear."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import wav_bytes

from edgepress.runtime import Contract, InputSpec
from edgepress.runtime.acceptance import AnswerLimits
from edgepress.runtime.errors import ModelFileError
from edgepress.runtime.sound.event_rule import EventRule
from edgepress.runtime.sound.features import SoundFeatures
from edgepress.runtime.sound.listen import Listener
from edgepress.runtime.sound.listen_options import ListenOptions
from edgepress.toolkit.data.event_tables import AFTER_S, Event, find_recordings, match, read_events
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.calibrating.streams import AVERAGES, alarms_per_hour, choose_rule
from edgepress.toolkit.measurement.streams import (
    THRESHOLDS,
    HeardRecording,
    StreamEvaluation,
    events_of,
)
from edgepress.toolkit.stats.rates import rate_interval

RATE = 16000
LABELS = ("background", "yes", "no")
WINDOW = 20
USUAL = SoundFeatures()


def drawn_answers(seed: int, count: int) -> np.ndarray:
    """Probabilities that stay high or low for a while, and lie on the thresholds themselves now and then."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.choice([0.0, 0.3, 0.5, 0.7, 1.0], (count // 3 + 1, 3)), 3, axis=0)[:count]
    return np.clip(level + rng.choice([0.0, 0.0, -0.1, 0.1], level.shape), 0, 1).astype(np.float32)


def recording_of(probabilities: np.ndarray, events: tuple[Event, ...] = (), step: int = 5) -> HeardRecording:
    ends = np.array([USUAL.samples_of(WINDOW + step * row) for row in range(len(probabilities))], np.int64)
    seconds = float(ends[-1]) / RATE if len(ends) else 1.0
    return HeardRecording(Path("a.wav"), seconds, ends, probabilities, events)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 60),
    threshold=st.sampled_from([0.2, 0.5, 0.7, 0.95, 1.0]),
    average=st.integers(1, 6),
    pause_s=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
)
def test_events_of_a_recording_are_those_that_listen_reports(
    seed: int, count: int, threshold: float, average: int, pause_s: float
) -> None:
    answers = drawn_answers(seed, count)
    options = ListenOptions(threshold=threshold, average=average, pause_s=pause_s, step=5)
    queue = iter(answers)
    spec = InputSpec(shape=(WINDOW, 40), dtype="float32", value_range=(0.0, 26.0))
    model: Any = SimpleNamespace(
        path=Path("m.tflite"),
        contract=Contract(task="softmax", labels=LABELS, input=spec, scheme="x", sound=USUAL),
        labels=LABELS,
        shape=spec.shape,
        scores=lambda item: next(queue)[np.newaxis],
        limits=AnswerLimits(),
        drift=None,
        require_labels=lambda: None,
    )
    samples = np.zeros(USUAL.samples_of(WINDOW + 5 * (count - 1)) if count else 100, np.int16)
    expected = Listener(model, options).push(samples)
    assert next(queue, None) is None
    assert events_of(recording_of(answers), LABELS, options, RATE) == expected


def test_a_step_longer_than_a_window_is_refused() -> None:
    spec = InputSpec(shape=(WINDOW, 40), dtype="float32", value_range=(0.0, 26.0))
    contract = Contract(task="softmax", labels=LABELS, input=spec, scheme="x", sound=USUAL)
    model: Any = SimpleNamespace(
        path=Path("m.tflite"), contract=contract, labels=LABELS, shape=spec.shape, require_labels=lambda: None
    )
    assert Listener(model, ListenOptions(step=WINDOW)).labels == LABELS
    with pytest.raises(InputError, match=f"every {WINDOW + 1} frames leaves sound out"):
        Listener(model, ListenOptions(step=WINDOW + 1))


def test_each_event_is_heard_once_and_the_rest_are_false_alarms() -> None:
    expected = [Event(1.0, 2.0, "yes"), Event(5.0, 5.5, "yes"), Event(5.2, 6.0, "yes")]
    assert match(expected, [1.5, 1.9, 4.0, 5.3, 5.4, 9.0]) == ({0: 1.5, 1: 5.3, 2: 5.4}, [4.0, 9.0])
    assert match(expected, [2.0 + AFTER_S]) == ({0: 2.0 + AFTER_S}, [])
    assert match(expected, [2.01 + AFTER_S, 0.99]) == ({}, [2.01 + AFTER_S, 0.99])
    assert match([], [1.0]) == ({}, [1.0])


def test_an_event_counts_from_its_start_to_a_second_after_its_end() -> None:
    for time, missed in ((1.0, 0), (3.0, 0), (0.999, 1), (3.001, 1)):
        heard, alarms = match([Event(1.0, 2.0, "yes")], [time])
        assert (len(heard), len(alarms)) == (1 - missed, missed)


def test_a_mean_at_the_threshold_and_the_end_of_a_pause_are_heard() -> None:
    rule = EventRule(LABELS, ListenOptions(threshold=0.75, pause_s=1.0), RATE)
    at = np.array([0.0, 0.75, 0.0])
    assert [event["label"] for event in rule.take(100, at)] == ["yes"]
    assert rule.take(200, np.zeros(3)) == []
    assert rule.take(100 + RATE - 1, at) == []
    assert [event["label"] for event in rule.take(100 + RATE, at)] == ["yes"]


def evaluation_of(*recordings: HeardRecording, **options: Any) -> StreamEvaluation:
    rule = ListenOptions(**{"average": 1, "pause_s": 0.0, "step": 5, **options})
    spec = InputSpec(shape=(WINDOW, 40), dtype="float32", value_range=(0.0, 26.0))
    contract = Contract(task="softmax", labels=LABELS, input=spec, scheme="x", sound=USUAL)
    return StreamEvaluation(Path("m.tflite"), contract, "litert", rule, recordings)


def scene() -> StreamEvaluation:
    """Yes is heard at .92 where it is, at .6 where it is not; no is never heard where it is."""
    answers = np.zeros((200, 3), np.float32)
    answers[:, 0] = 1
    answers[20:24] = (0.08, 0.92, 0)
    answers[100:104] = (0.4, 0.6, 0)
    recording = recording_of(answers)
    at = recording.ends / RATE
    events = (Event(float(at[19]), float(at[21]), "yes"), Event(float(at[150]), float(at[151]), "no"))
    return evaluation_of(replace(recording, events=events))


def test_counts_by_label_and_threshold() -> None:
    result = scene()
    total, yes, no = result.count(threshold=0.5)
    assert (yes.events, yes.missed, yes.alarms) == (1, 0, 1)
    assert (no.events, no.missed, no.alarms) == (1, 1, 0)
    assert (total.label, total.events, total.missed, total.alarms) == ("", 2, 1, 1)
    assert total.delays_s == pytest.approx([-0.05])
    assert result.count(threshold=0.8)[0].alarms == 0
    assert result.count(threshold=0.95)[0].missed == 2
    document = result.to_dict()
    assert document["hours"] == pytest.approx(result.recordings[0].seconds / 3600)
    assert [row["threshold"] for row in document["curve"]] == list(THRESHOLDS)
    assert document["alarms_per_hour"]["estimate"] == pytest.approx(document["alarms"] / document["hours"])


def test_the_rule_is_the_one_that_misses_least_within_the_wish() -> None:
    result = scene()
    rule, keeps = choose_rule(result, 0.0)
    assert keeps
    assert 0.6 < rule.threshold <= 0.92
    assert result.count(threshold=rule.threshold, average=rule.average)[0].alarms == 0
    hourly = 1.01 / result.hours
    rule, keeps = choose_rule(result, hourly)
    assert keeps
    assert rule.threshold > 0.5
    quiet = replace(result, recordings=(replace(result.recordings[0], events=()),))
    rule, keeps = choose_rule(quiet, 0.0)
    assert (rule.threshold, rule.average) == (0.93, 1)  # the least threshold that hears neither
    loud = recording_of(np.tile(np.array([[0.0, 1.0, 0.0]], np.float32), (60, 1)))
    rule, keeps = choose_rule(evaluation_of(loud), 0.0)
    assert not keeps
    assert rule.average in AVERAGES


def test_within_the_wish_words_count_more_than_alarms_and_thresholds_stay_above_half() -> None:
    answers = np.zeros((200, 3), np.float32)
    answers[:, 0] = 1
    answers[20:24] = (0.2, 0.8, 0)
    answers[60:64] = (0.3, 0.7, 0)
    answers[100:104] = (0.55, 0.45, 0)
    recording = recording_of(answers)
    at = recording.ends / RATE
    words = [Event(float(at[place]), float(at[place + 1]), "yes") for place in (20, 60)]
    alarm = replace(recording, events=(words[1],))  # the louder one is nobody's
    rule, keeps = choose_rule(evaluation_of(alarm), 1.01 / evaluation_of(alarm).hours)
    assert keeps
    count = evaluation_of(alarm).count(threshold=rule.threshold, average=rule.average)[0]
    assert (count.missed, count.alarms) == (0, 1)
    quiet = Event(float(at[100]), float(at[101]), "yes")
    below = evaluation_of(replace(recording, events=(*words, quiet)))
    rule, keeps = choose_rule(below, 1.0 / below.hours)
    assert keeps
    assert rule.threshold > 0.5
    assert below.count(threshold=rule.threshold, average=rule.average)[0].missed == 1


@pytest.mark.parametrize(("wish", "hourly"), [("1/h", 1.0), ("0.5", 0.5), (2, 2.0), ("12/d", 0.5), ("0/h", 0.0)])
def test_wishes_for_false_alarms(wish: str | float, hourly: float) -> None:
    assert alarms_per_hour(wish) == hourly


@pytest.mark.parametrize("wish", ["", "1/w", "-1/h", "many", "1/h/h"])
def test_other_wishes_are_refused(wish: str) -> None:
    with pytest.raises(InputError, match="--max-alarms"):
        alarms_per_hour(wish)


def test_rates_have_exact_intervals() -> None:
    none = rate_interval(0, 2.4)
    assert (none.estimate, none.low) == (0, 0)
    assert none.high == pytest.approx(-np.log(0.025) / 2.4)
    # D. Garwood's table: 10 events lie between 4.795 and 18.39.
    ten = rate_interval(10, 1.0)
    assert (ten.low, ten.high) == (pytest.approx(4.795, abs=5e-4), pytest.approx(18.39, abs=5e-3))


def table(path: Path, *rows: tuple[object, ...], head: tuple[str, ...] = ("file", "start_s", "end_s", "label")) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def test_tables_of_events(tmp_path: Path) -> None:
    files = [tmp_path / "a.wav", tmp_path / "b" / "a.wav"]
    path = table(tmp_path / "e.csv", ("b/a.wav", 2, 3.5, "no"), ("b/a.wav", 1, 1, "yes"))
    assert read_events(path, files, LABELS) == {files[1]: [Event(1, 1, "yes"), Event(2, 3.5, "no")]}
    path = table(tmp_path / "e.csv", (2, 3, "no"), head=("start_s", "end_s", "label"))
    assert read_events(path, files[:1], LABELS) == {files[0]: [Event(2, 3, "no")]}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("c.wav", 1, 2, "yes"), "none of the recordings"),
        (("a.wav", 1, 2, "yes"), "several of the recordings"),
        (("b/a.wav", 2, 1, "yes"), "from 2 to 1"),
        (("b/a.wav", -1, 1, "yes"), "from -1"),
        (("b/a.wav", 1, "inf", "yes"), "inf"),
        (("b/a.wav", 1, "nan", "yes"), "nan"),
        (("b/a.wav", "x", 1, "yes"), "from 'x' to '1'"),
        (("b/a.wav", 1, 2, "maybe"), "no label 'maybe'"),
        (("b/a.wav", 1, 2), "has no label"),
        (("", 1, 2, "yes"), "names no recording"),
        (("b/a.wav", "9" * 100_000 + "x", 2, "yes"), "from '9999"),
        (("b/a\0.wav", 1, 2, "yes"), "none of the recordings"),
    ],
)
def test_damaged_tables_are_one_error(tmp_path: Path, row: tuple[object, ...], says: str) -> None:
    files = [tmp_path / "a.wav", tmp_path / "b" / "a.wav"]
    with pytest.raises(InputError, match=r"e\.csv, line 2") as error:
        read_events(table(tmp_path / "e.csv", row), files, LABELS)
    assert says in error.value.message
    assert len(error.value.message) < 400


def test_tables_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="can't be read"):
        read_events(tmp_path / "e.csv", [tmp_path / "a.wav"], LABELS)
    with pytest.raises(InputError, match=r"none\.csv can't be read: No such file or directory\."):
        read_events(tmp_path / "none.csv", [tmp_path / "a.wav"], LABELS)


@pytest.mark.parametrize("text", ["", "file;start_s;end_s;label\na.wav;1;2;yes\n", "start,end,label\n"])
def test_tables_without_the_columns_are_refused_even_without_rows(tmp_path: Path, text: str) -> None:
    (tmp_path / "e.csv").write_text(text)
    with pytest.raises(InputError, match=r"e.csv has no column start_s"):
        read_events(tmp_path / "e.csv", [tmp_path / "a.wav"], LABELS)


def test_recordings_of_folders(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/x.WAV", "a.flac", "notes.txt", "b/._x.wav"):  # macOS adds hidden ones
        (tmp_path / name).write_bytes(wav_bytes(np.zeros((4, 1)), RATE))
    assert find_recordings([tmp_path]) == [tmp_path / "a.flac", tmp_path / "b" / "x.WAV"]
    with pytest.raises(InputError, match="named twice"):
        find_recordings([tmp_path, tmp_path / "a.flac"])
    with pytest.raises(InputError, match="no recording"):
        find_recordings([])


def test_a_contract_says_when_a_label_is_heard() -> None:
    spec = InputSpec(shape=(WINDOW, 40), dtype="float32", value_range=(0.0, 26.0))
    options = ListenOptions(threshold=0.85, average=3, step=3, ignore=("background",))
    contract = Contract(task="softmax", labels=LABELS, input=spec, scheme="x", sound=USUAL, listen=options)
    assert Contract.from_json(contract.to_json()).listen == options
    with pytest.raises(ValueError, match="takes none"):
        contract.replace(sound=None)
    wrong_ones = (("threshold", 7), ("threshold", "a"), ("average", 0), ("average", 2.5), ("average", True))
    for field, wrong in (*wrong_ones, ("pause_s", -1), ("step", 0), ("step", 1.5)):
        text = contract.to_json().replace(f'"{field}":{getattr(options, field)}', f'"{field}":{json.dumps(wrong)}')
        assert text != contract.to_json()
        with pytest.raises(ModelFileError, match="not a valid edgepress contract"):
            Contract.from_json(text)
