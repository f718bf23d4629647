"""Events: a label becomes the state when it has lasted, means decide, and what drifts or is averaged has no promise."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.runtime.answers import UNKNOWN, Answer, Prediction
from edgepress.runtime.document_text import text_lines
from edgepress.runtime.errors import InputError
from edgepress.runtime.events import MAX_LABEL_CHARACTERS, EventMaker, HeldLabel, MeanScores
from edgepress.runtime.text import json_text

PROMISE = "At most 1 % of accepted answers are wrong."
frames = st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 30)), max_size=60)
"""Labels, and tenths of a second since the frame before."""


class Stub:
    """A model of the labels a and b, whose answers are accepted from 0.6 on; one with a promise, if `promised`."""

    def __init__(self, *, promised: bool = True, task: str = "softmax", labels: tuple[str, str] = ("a", "b")) -> None:
        self.path, self.engine, self.promised, self.labels = Path("m.tflite"), "litert", promised, labels
        self.contract = SimpleNamespace(task=task)
        self.limits = SimpleNamespace(promise=lambda engine: PROMISE)

    def answer_to(self, scores: np.ndarray, top: int, drift: Any) -> Answer:
        rows = np.argsort(-scores[0])[:top]
        classes = [Prediction(self.labels[row], float(scores[0, row])) for row in rows]
        if not self.promised:
            return Answer(classes, None, drift)
        return Answer(classes, bool(scores.max() >= 0.6), drift, not (drift or {}).get("alarm"))

    def decision(self, scores: np.ndarray) -> list[Prediction]:
        answer = self.answer_to(scores, 1, None)
        return [answer.classes[0] if answer.accepted in (None, True) else Prediction(UNKNOWN, answer.classes[0].score)]


def look(maker: EventMaker, model: Stub, first: float, drift: Any = None) -> Answer:
    """The answer to a frame whose score of the first label is `first`."""
    scores = np.array([[first, 1 - first]], np.float32)
    return maker.look(model.answer_to(scores, 2, drift), scores, 2)


def made(model: Stub, **options: Any) -> EventMaker:
    return EventMaker(model, **options)  # type: ignore[arg-type]


@given(frames, st.integers(0, 50))
def test_the_state_is_the_last_label_that_lasted(shown: list[tuple[str, int]], hold: int) -> None:
    """Against a search, frame by frame, for how long its label has been the answer."""
    held = HeldLabel(hold / 10)
    now = 0
    seen: list[tuple[str, int]] = []
    expected = None
    for label, later in shown:
        now += later
        seen.append((label, now))
        before = expected
        begin = now
        for other, at in reversed(seen):
            if other != label:
                break
            begin = at
        if now - begin >= hold:
            expected = label
        assert held.take(label, now / 10) == (expected != before) or abs(now - begin - hold) < 1e-6
        assert held.label == expected or abs(now - begin - hold) < 1e-6
        expected = held.label


def test_a_label_that_flickers_never_becomes_the_state() -> None:
    held = HeldLabel(2.0)
    assert [held.take(label, second) for second, label in enumerate("aaabababab")] == [False, False, True, *[False] * 7]
    assert held.label == "a"


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40), st.integers(1, 12))
def test_a_mean_is_that_of_the_last_frames(values: list[float], count: int) -> None:
    mean = MeanScores(count)
    found = [float(mean.take(np.array([[value, 1 - value]], np.float32))[0, 0]) for value in values]
    expected = [np.mean(values[max(0, end - count) : end]) for end in range(1, len(values) + 1)]
    assert found == pytest.approx(expected, abs=1e-6)


def test_an_event_is_a_change_and_not_a_frame() -> None:
    sent: list[dict[str, Any]] = []
    model = Stub()
    maker = made(model, send=lambda event: not sent.append(event))
    states = [look(maker, model, first).to_dict() for first in (0.9, 0.8, 0.1, 0.5, 0.2)]
    assert [state["state"] for state in states] == ["a", "a", "b", UNKNOWN, "b"]
    assert [state.get("event", {}).get("label") for state in states] == ["a", None, "b", UNKNOWN, "b"]
    assert [event["before"] for event in sent] == [None, "a", "b", UNKNOWN]
    assert len({event["id"] for event in sent}) == 4
    assert states[0]["event"] == sent[0] | {"queued": True}
    assert sent[0] | {"id": "", "at": ""} == {
        "id": "",
        "at": "",
        "label": "a",
        "what": "label",
        "before": None,
        "score": 0.9,
        "drift": False,
        "accepted": True,
        "promised": True,
        "promise": PROMISE,
    }
    assert [event["accepted"] for event in sent] == [True, True, False, True]


def test_an_alarm_of_drift_withdraws_the_promise_in_an_event() -> None:
    sent: list[dict[str, Any]] = []
    model = Stub()
    maker = made(model, send=lambda event: not sent.append(event))
    alarm = {"alarm": True, "meaning": "Drift: nothing is promised."}
    for drift in ({"alarm": False}, {"alarm": False}, alarm, alarm):
        answer = look(maker, model, 0.9, drift)
    assert [(event["what"], event.get("promised"), event["drift"]) for event in sent] == [
        ("label", True, False),
        ("drift", None, True),
    ]
    assert sent[1]["promise"] == "Drift: nothing is promised."
    assert (answer.accepted, answer.promised) == (True, False)
    assert answer.to_dict()["promised"] is False


def test_an_alarm_is_an_event_of_its_own() -> None:
    """Of the state that lasts, not of the frame, also before the first state and together with a change of it."""
    alarm = {"alarm": True, "meaning": "Drift: nothing is promised."}
    now = [0.0]
    model = Stub()
    maker = made(model, hold_s=2.0, clock=lambda: now[0])
    found = look(maker, model, 0.9, alarm).to_dict()
    assert "event" not in found
    fields = {"label": None, "what": "drift", "drift": True, "promise": "Drift: nothing is promised."}
    assert found["drift_event"] | {"id": "", "at": ""} == {"id": "", "at": "", **fields}
    now[0] = 2.0
    found = look(maker, model, 0.9, alarm).to_dict()
    assert (found["event"]["label"], found["event"]["promised"], found["event"]["promise"]) == (
        "a",
        False,
        "Drift: nothing is promised.",
    )
    assert "drift_event" not in found, "it is told once"
    model = Stub()
    maker = made(model)
    look(maker, model, 0.9)
    found = look(maker, model, 0.1, alarm).to_dict()
    assert (found["event"]["what"], found["event"]["label"]) == ("label", "b")
    assert (found["drift_event"]["what"], found["drift_event"]["label"]) == ("drift", "b")


def test_an_alarm_says_nothing_of_the_frame() -> None:
    now = [0.0]
    model = Stub()
    maker = made(model, hold_s=2.0, clock=lambda: now[0])
    look(maker, model, 0.9)
    now[0] = 2.0
    look(maker, model, 0.9)
    event = look(maker, model, 0.02, {"alarm": True, "meaning": "Drift."}).to_dict()["drift_event"]
    assert event["label"] == "a"
    assert not {"score", "accepted", "promised", "before"} & event.keys()


def test_scores_that_are_no_numbers_are_unknown_and_in_no_mean() -> None:
    model = Stub(promised=False)
    maker = made(model, average=5, send=lambda event: bool(json_text(event)))
    found = [look(maker, model, first).to_dict() for first in (0.9, np.nan, 0.9)]
    assert [answer["state"] for answer in found] == ["a", UNKNOWN, "a"]
    assert found[1]["event"]["score"] is None
    assert found[2]["classes"][0]["score"] == pytest.approx(0.9)


def test_nothing_is_promised_of_means() -> None:
    model = Stub()
    maker = made(model, average=3)
    answers = [look(maker, model, first) for first in (0.9, 0.9, 0.0)]
    assert answers[0].promised is False
    assert answers[2].classes[0] == ("a", pytest.approx(0.6, abs=1e-6))
    assert "means over 3 images" in answers[0].to_dict()["event"]["promise"]


def test_answers_of_a_server_stay_those_of_their_image() -> None:
    model = Stub()
    maker = made(model, average=3, replaces=False)
    look(maker, model, 0.9)
    answer = look(maker, model, 0.2)
    assert answer.classes[0].label == "b"
    assert answer.promised
    assert answer.to_dict()["state"] == UNKNOWN, "the mean is 0.55"


def test_files_without_a_promise_have_events_without_one() -> None:
    model = Stub(promised=False)
    answer = look(made(model), model, 0.7).to_dict()
    assert not {"accepted", "promised", "promise", "queued"} & answer["event"].keys()


def test_labels_of_others_are_bounded_in_events() -> None:
    model = Stub(labels=("x" * 10_000, "b"))
    assert len(look(made(model), model, 0.9).to_dict()["event"]["label"]) == MAX_LABEL_CHARACTERS


def test_what_can_not_be_held_is_an_error() -> None:
    with pytest.raises(InputError, match="any number of labels"):
        made(Stub(task="multilabel"))
    with pytest.raises(InputError, match="The mean is over 0 frames; accepted: 1 to 1000"):
        made(Stub(), average=0)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_null_in_json(score: float) -> None:
    answer = Answer([Prediction("cat", 0.5), Prediction("dog", score)], None)
    assert json.loads(json_text(answer.to_dict()))["classes"][1] == {"label": "dog", "score": None}
    assert text_lines({"image": "a.png", **answer.to_dict()}) == ["a.png: cat 0.500, dog not a number"]
