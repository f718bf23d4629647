"""Events: from answers to frames to a state that lasts, and its changes.

One frame is no news. `--average N` decides by the mean of the scores of the last N frames, `--hold 2s` waits until a
label has been the answer to every frame for that long, and an event is a change of what is then the state. A label
that is not accepted, and one of scores that are no numbers, counts as the label `unknown`. An alarm of drift is an
event of its own, which says nothing of a frame.

What `calibrate` promises was measured on answers to single images, so nothing is promised of means.
"""

from __future__ import annotations

import datetime
import os
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.runtime.answers import UNKNOWN, Answer, Prediction
from edgepress.runtime.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgepress.runtime.model import Model

    Floats = npt.NDArray[np.float32]

MOST_AVERAGED = 1000
"""Largest number of frames in a mean."""
MAX_LABEL_CHARACTERS = 255
"""Characters of a label in an event at most, which is what Home Assistant takes as a state."""


class HeldLabel:
    """The label that has been the answer to every frame for `hold_s` seconds; None before the first."""

    def __init__(self, hold_s: float) -> None:
        self.label: str | None = None
        self._hold_s = hold_s
        self._candidate: str | None = None
        self._since = 0.0

    def take(self, label: str, now_s: float) -> bool:
        """Take the label of the next frame and its time, seconds of a clock that never goes back.

        Returns:
            Whether the state changed.
        """
        if label != self._candidate:
            self._candidate = label
            self._since = now_s
        if label == self.label or now_s - self._since < self._hold_s:
            return False
        self.label = label
        return True


class MeanScores:
    """The mean of the scores of the last `count` frames, or of as many as there are."""

    def __init__(self, count: int) -> None:
        self._last = deque["Floats"](maxlen=count)

    def take(self, scores: Floats) -> Floats:
        """Take the scores of the next frame, shape (1, labels); the mean, of the same shape."""
        self._last.append(np.asarray(scores, np.float32))
        return np.asarray(np.mean(np.stack(self._last), axis=0, dtype=np.float64), np.float32)


class EventMaker:
    """Makes events of a model's answers.

    Args:
        model: The model, with one label per item.
        hold_s: Seconds that a label must be the answer before it is the state; 0: the next frame's is.
        average: Number of frames whose mean scores decide, 1 to `MOST_AVERAGED`.
        replaces: Whether the answers of a mean replace those of the frames.
        send: Takes each event, and returns whether it will be delivered; None: events are only returned.
        clock: Seconds; for tests.

    Raises:
        InputError: The model may give several labels, or a number is out of range.
    """

    def __init__(
        self,
        model: Model,
        *,
        hold_s: float = 0.0,
        average: int = 1,
        replaces: bool = True,
        send: Callable[[dict[str, Any]], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if model.contract is not None and model.contract.task == "multilabel":
            problem = f"{model.path} gives any number of labels, so it has no state to hold."
            raise InputError(problem, "Leave out --mqtt, --hold and --average.")
        if not 1 <= average <= MOST_AVERAGED:
            raise InputError(f"The mean is over {average} frames; accepted: 1 to {MOST_AVERAGED}.")
        self._model = model
        self._send = send
        self._clock = clock
        self._replaces = replaces
        self._average = average
        self._mean = MeanScores(average)
        self._held = HeldLabel(hold_s)
        self._alarm = False
        self._run = os.urandom(4).hex()
        self._count = 0

    def look(self, answer: Answer, scores: Floats, top: int) -> Answer:
        """Take the answer to a frame and its scores, shape (1, labels).

        Returns:
            The answer, that of the mean if it replaces answers, with `state`: `{"state": LABEL}`, null until a label
            has lasted, at a change `"event"`, and at an alarm of drift `"drift_event"`, the documents that are sent,
            with `"queued"`, whether they will be delivered.
        """
        judged = answer
        mean = scores
        known = bool(np.isfinite(scores).all())
        if self._average > 1 and known:
            mean = self._mean.take(scores)
            judged = self._model.answer_to(mean, top, answer.drift)
            judged = judged._replace(promised=None if judged.promised is None else False)
        best = self._model.decision(mean)[0] if known else Prediction(UNKNOWN, 0.0)
        before = self._held.label
        changed = self._held.take(best.label[:MAX_LABEL_CHARACTERS], self._clock())
        alarm = bool((answer.drift or {}).get("alarm"))
        why = str((answer.drift or {}).get("meaning", ""))
        state: dict[str, Any] = {"state": self._held.label}
        if changed:
            about = {"what": "label", "before": before, "score": round(best.score, 4) if known else None}
            if judged.accepted is not None:
                about |= {"accepted": judged.accepted, "promised": judged.promised, "promise": why or self._promise()}
            elif why:
                about["promise"] = why
            state["event"] = self._event(about, alarm=alarm)
        if alarm != self._alarm:
            self._alarm = alarm
            state["drift_event"] = self._event({"what": "drift"} | ({"promise": why} if why else {}), alarm=alarm)
        return (judged if self._replaces else answer)._replace(state=state)

    def _event(self, about: dict[str, Any], *, alarm: bool) -> dict[str, Any]:
        """An event, sent if there is where to."""
        self._count += 1
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        event = {"id": f"{self._run}-{self._count}", "at": now, "label": self._held.label, **about, "drift": alarm}
        return event if self._send is None else event | {"queued": self._send(event)}

    def _promise(self) -> str:
        """What is promised of accepted answers without drift, or why nothing is, one sentence."""
        if self._average > 1:
            return f"Nothing is promised of means over {self._average} images: acceptance was measured on single ones."
        return self._model.limits.promise(self._model.engine)
