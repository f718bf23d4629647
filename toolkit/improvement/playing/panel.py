"""Let every file answer one item, each in its own process; a file that crashes fails alone, with one message."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.process.worker import ChildDied, Emit, Worker
from edgepress.runtime import Contract
from edgepress.runtime.answers import UNKNOWN
from edgepress.runtime.board import usable_cores
from edgepress.runtime.decisions import decided_rows
from edgepress.toolkit.data.decoding import CHILD_BYTES, EncodedPicture, decode
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.improvement.playing.choice import Choice, Shown
from edgepress.toolkit.improvement.playing.drawing import draw_item, png_url
from edgepress.toolkit.machine.environments import python_for
from edgepress.toolkit.measurement.benchmarking.answers import crash_error
from edgepress.toolkit.text import duration, percent, plural, size
from edgepress.toolkit.workers.answer import Look, Seen, look
from edgepress.toolkit.workers.opening import Opening, open_candidate

Array = npt.NDArray[Any]

OPEN_S = 120.0
"""Longest time that a file may take to open before its process is ended, seconds."""
ANSWER_S = 30.0
"""Longest time that it may take to answer, seconds."""
CRASHES = 3
"""A file that has crashed so often is not opened again."""
QUICK = (10_000_000, 5)
"""How long calls of a webcam's frame are timed, nanoseconds, and how many at most."""
CAREFUL = (40_000_000, 15)
"""The same of a photo."""
NAMED = 4
"""Number of differing files that the sentence about an item names."""


class Player:
    """One file's process, which is started when it is needed; `error` says why it answers no more."""

    def __init__(self, shown: Shown) -> None:
        self.shown = shown
        self.size = size(shown.candidate.file.stat().st_size)  # the file may be gone later
        self.error: EdgepressError | None = None
        self._worker: Worker | None = None
        self._crashes = 0
        self._closed = False
        self._lock = threading.Lock()

    def open(self) -> None:
        """Start the process and open the file; a failure is kept in `error`."""
        candidate = self.shown.candidate
        contract = self.shown.contract
        with self._lock:
            if self._closed:
                return
            python = python_for(candidate.engine) if candidate.engine else None
            self._worker = Worker(silence_s=ANSWER_S, python=python)
        try:
            opening = Opening(candidate, contract.labels, contract.input)
            list(self._worker.call(open_candidate, opening, silence_s=OPEN_S))
        except ChildDied as e:
            self._worker.close()
            self.error = crash_error(candidate, e)
        except EdgepressError as e:
            self._worker.close()
            self.error = e

    def ask(self, function: Callable[[Any, Emit], None], job: Any) -> Any:
        """What a function of `toolkit.workers`, which the file's process runs, emits for a job.

        Raises:
            EdgepressError: It did not answer, or its process crashed, now or earlier.
        """
        if self._worker is None:
            self.open()
        if self.error is not None:
            raise self.error
        assert self._worker is not None
        try:
            (result,) = self._worker.call(function, job)
        except ChildDied as e:
            with self._lock:  # `close` may run
                self._worker.close()
                self._worker = None
            self._crashes += 1
            error = crash_error(self.shown.candidate, e)
            again = "It is opened again for the next item."
            if self._crashes == CRASHES:
                again = f"It has crashed {CRASHES} times and is not opened again."
            error = type(error)(error.message, again)
            self.error = error if self._crashes == CRASHES else None
            raise error from e
        return result

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._closed = True
            if self._worker is not None:
                self._worker.close()


class Panel:
    """All files; used by one thread at a time, but for `close`."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.players = [Player(shown) for shown in choice.shown]
        specs = dict.fromkeys(s.contract.input for s in choice.shown if s.contract.input.is_image)
        self._specs = tuple(specs)
        self._decoder: Worker | None = None

    def open(self) -> None:
        """Open all files, as many at a time as there are CPUs, and what decodes images."""
        with ThreadPoolExecutor(usable_cores()) as pool:
            list(pool.map(Player.open, self.players))
        if self._specs:
            self._decode(draw_item(np.zeros((1, 1, 1), np.uint8)))  # the first image need not wait for its start

    def close(self) -> None:
        """End all processes, which takes each a moment."""
        ending = [player.close for player in self.players]
        if (decoder := self._decoder) is not None:
            ending.append(decoder.close)
        with ThreadPoolExecutor(len(ending)) as pool:
            list(pool.map(lambda end: end(), ending))

    def classify(self, content: bytes, *, top: int, quick: bool = False) -> dict[str, Any]:
        """What all files answer to the bytes of an image or of an `.npy` array; see `answers`.

        Raises:
            InputError: It is neither, or damaged, too large, or fits none of the files.
        """
        if content.startswith(b"\x93NUMPY"):  # it needs no decoder
            return self.answers([content] * len(self.players), top=top, quick=quick)
        if not self._specs:
            contract = self.choice.reference.contract
            kind, recording = ("tensors", "") if contract.sound is None else ("sound", "a WAV file, or ")
            raise InputError(
                f"The files take {kind}, not images. Accepted: {recording}an .npy array of shape "
                f"{list(contract.input.shape)}.",
                "Save one with numpy.save.",
            )
        pixels = dict(zip(self._specs, self._decode(content), strict=True))
        items = [pixels.get(shown.contract.input, pixels[self._specs[0]]) for shown in self.choice.shown]
        return self.answers(items, top=top, quick=quick)

    def answers(self, items: Iterable[Array | bytes], *, top: int, quick: bool = False) -> dict[str, Any]:
        """What each file answers to its item, one file after another, so that none slows down another.

        Args:
            items: One for each file, in their order.
            top: Number of classes, best first.
            quick: Whether to time few calls.

        Returns:
            "answers", a list with a dictionary for each file: "file" (its number), and "classes" (label and score),
            "answer" (labels that it decides for), "differs" (from the reference; None if that failed), "latency"
            (text), "latency_us" (median) and "runs", or "error"; "summary", one sentence; "seen", the item as the
            first file took it, a data URL, or "".

        Raises:
            InputError: The item fits none of the files.
        """
        seen: list[Seen | EdgepressError] = []
        for player, item in zip(self.players, items, strict=True):
            try:
                seen.append(player.ask(look, Look(item, *(QUICK if quick else CAREFUL))))
            except EdgepressError as e:
                seen.append(e)
        if isinstance(seen[0], InputError) and all(isinstance(s, EdgepressError) for s in seen):
            raise seen[0]
        decided = [
            [] if isinstance(s, EdgepressError) else decision(s.scores, player.shown.contract)
            for s, player in zip(seen, self.players, strict=True)
        ]
        answers: list[dict[str, Any]] = []
        reference = None if isinstance(seen[0], EdgepressError) else {*decided[0]}
        for number, (one, answer) in enumerate(zip(seen, decided, strict=True)):
            if isinstance(one, EdgepressError):
                answers.append({"file": number, "error": one.to_dict()})
                continue
            contract = self.choice.shown[number].contract
            us = median(one.times) / 1e3
            probabilities = contract.limits.probabilities(one.scores[np.newaxis])[0]
            accepted = contract.limits.accepted(one.scores[np.newaxis])
            best = np.argsort(-one.scores, kind="stable")[:top]
            answers.append(
                {
                    "file": number,
                    "classes": [{"label": contract.labels[i], "score": float(probabilities[i])} for i in best],
                    "accepted": None if accepted is None else bool(accepted[0]),
                    "answer": answer,
                    "differs": None if reference is None else {*answer} != reference,
                    "latency": duration(us),
                    "latency_us": us,
                    "runs": len(one.times),
                }
            )
        first = next((s for s in seen if isinstance(s, Seen)), None)
        is_sound = self.choice.reference.contract.sound is not None
        return {
            "answers": answers,
            "summary": self._summary(answers),
            "seen": "" if first is None else png_url(draw_item(first.item, sound=is_sound)),
        }

    def state(self) -> list[dict[str, Any]]:
        """The files as the page lists them."""
        return [
            {
                "name": player.shown.name,
                "file": str(player.shown.candidate.file),
                "engine": player.shown.candidate.engine,
                "scheme": player.shown.contract.scheme,
                "size": player.size,
                "error": player.error.to_dict() if player.error else None,
            }
            for player in self.players
        ]

    def _decode(self, content: bytes) -> list[Array]:
        if self._decoder is None:
            self._decoder = Worker(silence_s=ANSWER_S, memory_bytes=CHILD_BYTES)
        try:
            (pixels,) = self._decoder.call(decode, EncodedPicture(content, self._specs))
        except ChildDied as e:
            self._decoder.close()
            self._decoder = None
            problem = f"The image of {len(content)} bytes ended the process that decoded it ({e})."
            raise InputError(problem, "Save it again, as PNG or JPEG.") from e
        assert isinstance(pixels, list)
        return pixels

    def _summary(self, answers: list[dict[str, Any]]) -> str:
        """One sentence on who agrees."""
        name = self.choice.reference.name
        failed = sum("error" in a for a in answers)
        failures = f" {plural(failed, 'file')} failed." if failed else ""
        if "error" in answers[0]:
            return f"{name}, the reference, failed, so differences are not shown.{failures}"
        answer = spoken(answers[0]["answer"])
        others = [a for a in answers[1:] if "error" not in a]
        differing = [f"{self.choice.shown[a['file']].name} ({spoken(a['answer'])})" for a in others if a["differs"]]
        if not others:
            best = answers[0]["classes"][0]  # with a threshold, the answer may be another, or several
            score = f" ({percent(best['score'], '.1f')})" if answers[0]["answer"] == [best["label"]] else ""
            return f"{name} answers {answer}{score}.{failures}"
        if not differing:
            both = "Both" if len(others) == 1 else f"All {len(others) + 1}"
            return f"{both} files answer {answer}.{failures}"
        more = f" and {len(differing) - NAMED} more" if len(differing) > NAMED else ""
        verb = "differs" if len(differing) == 1 else "differ"
        return (
            f"{name} answers {answer}; {len(differing)} of {plural(len(others), 'other')} {verb}: "
            f"{', '.join(differing[:NAMED])}{more}.{failures}"
        )


def decision(scores: npt.NDArray[np.float32], contract: Contract) -> list[str]:
    """The labels that a file decides for, as `Model.decide`: one, or for "multilabel" any number."""
    accepted = contract.limits.accepted(scores[np.newaxis])
    if accepted is not None and not accepted[0]:
        return [UNKNOWN]
    return [contract.labels[row] for row in decided_rows(scores, contract)]


def spoken(labels: list[str]) -> str:
    """Labels in a sentence."""
    return " and ".join(labels) or "no label"
