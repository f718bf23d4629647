"""Let every file hear one recording: its answer, as `classify` gives it, and its events, as `listen` reports them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime import Contract
from edgepress.runtime.sound.doubt import wav_bytes
from edgepress.runtime.sound.features import FrameFeatures
from edgepress.runtime.sound.frames import frames_of, net_input
from edgepress.runtime.sound.wav import Samples, read_wav
from edgepress.runtime.sound.windows import is_recording
from edgepress.toolkit.data.sound_files import at_rate, require_length
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.improvement.playing.drawing import draw_item, png_url
from edgepress.toolkit.improvement.playing.panel import Panel
from edgepress.toolkit.workers.listening import hear_recording

MOST_SECONDS = 60
"""Longest recording."""


def hear(panel: Panel, content: bytes, *, top: int, live: bool = False) -> dict[str, Any]:
    """What all files answer to a recording, and which events each hears in it.

    Args:
        panel: Files, at least one of them a model of sound.
        content: The bytes of a WAV file; everything else is answered by `Panel.classify`.
        top: Number of classes, best first.
        live: Whether it is the sound up to now: answered is the last window, and few calls are timed. Otherwise the
            answer is that of `classify` to the recording.

    Returns:
        As `Panel.answers`, and for each file that answers "events": those of `listen`, or an error; "seconds", the
        length of the recording; "seen" is what the front end of the first file makes of it.

    Raises:
        InputError: The recording is damaged or too long, or fits none of the files.
    """
    if not is_recording(content):
        return panel.classify(content, top=top, quick=live)
    samples, rate = read_wav(content)
    require_length(samples, rate, MOST_SECONDS, "The recording")
    resampled = cache(lambda wanted: at_rate(samples, rate, wanted))
    contracts = [player.shown.contract for player in panel.players]
    items = [_item(contract, resampled, content, live=live) for contract in contracts]
    result = panel.answers(items, top=top, quick=live)
    for player, answer in zip(panel.players, result["answers"], strict=True):
        sound = player.shown.contract.sound
        if "error" not in answer and sound is not None:
            try:
                answer["events"] = player.ask(hear_recording, resampled(sound.rate))
            except EdgepressError as e:
                answer["events_error"] = e.to_dict()
    result["summary"] += _other_events(panel, result["answers"])
    first = next(contract.sound for contract in contracts if contract.sound is not None)
    frames = net_input(frames_of(resampled(first.rate), first), first)
    seen = png_url(draw_item(frames, sound=True)) if len(frames) else ""
    return result | {"seconds": len(samples) / rate, "seen": seen}


def _other_events(panel: Panel, answers: list[dict[str, Any]]) -> str:
    """A sentence on the files that hear other labels, or in another order, than the first; "" if there are none."""
    heard = {answer["file"]: [event["label"] for event in answer["events"]] for answer in answers if "events" in answer}
    if 0 not in heard:
        return ""
    names = [panel.choice.shown[number].name for number, labels in heard.items() if labels != heard[0]]
    verb = "hears" if len(names) == 1 else "hear"
    return f" {', '.join(names)} {verb} other events than {panel.choice.reference.name}." if names else ""


def _item(
    contract: Contract, resampled: Callable[[int], Samples], content: bytes, *, live: bool
) -> npt.NDArray[Any] | bytes:
    """What a file is asked: the recording at its rate, or its last window."""
    sound = contract.sound
    if sound is None:  # its own message says what it takes
        return content
    samples = resampled(sound.rate)
    return _last_window(samples, sound, contract.input.shape) if live else wav_bytes(samples, sound.rate)


def _last_window(samples: Samples, sound: FrameFeatures, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The last window as a net takes it, float32 of this shape, after silence in front if there is less sound."""
    missing = max(sound.samples_of(shape[0]) - len(samples), 0)
    frames = frames_of(np.pad(samples, (missing, 0)), sound)
    return net_input(frames[-shape[0] :], sound).reshape(shape)
