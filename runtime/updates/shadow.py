"""The shadow run: before a switch, the new release answers what the release in use answers, without effect.

Two child processes, one a release, answer the same frames in turn, so that heat and other load affect both alike. The
frames are those that the running service has answered meanwhile (`frames`); agreement and latency are judged. Where no
service runs, or no frame comes, the items of the self-test are answered instead, and only the latency is judged: how
often two files agree on made-up items says nothing of frames.

The limits are in the new release, `updates/settings.json`:

    "shadow": {"frames": 200, "max_slowdown": 1.2, "min_agreement": null, "measured": {"SHA-256 OF A MODEL": 0.957}}

`measured` holds the agreement with other models that the workstation measured, the lower end of its interval. If the
model in use is not among them, and there is no `min_agreement`, agreement is shown and not judged.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from edgepress.runtime.errors import parsing
from edgepress.runtime.system import temperature_c
from edgepress.runtime.updates.frames import MAX_FRAMES, REQUEST, frames_folder, keeps_no_frames, wait_for_frames
from edgepress.runtime.updates.installer import VerdictError
from edgepress.runtime.updates.place import SETTINGS, Place
from edgepress.runtime.updates.shadow_process import Child, OldError, OtherError, model_in

WARM_UP = 3
"""Answers of each release that are not timed."""
CHANCE = 0.01
"""Chance of refusing a release whose agreement is just at the limit."""
MIN_SCENES = 30
"""Scenes from which the agreement is judged."""
RUN_S = 600.0
"""Time after which no more frames are answered, in seconds; there may be two such runs."""


@dataclass(frozen=True)
class RunLimits:
    """The limits of a release.

    Attributes:
        frames: Number of frames to answer; 0: no shadow run.
        max_slowdown: Largest ratio of the median latencies, new to old.
        min_agreement: Least share of frames with the same answer, 0-1; None: as in `measured`.
        measured: The same by the SHA-256 of the model in use.
    """

    frames: int = 0
    max_slowdown: float = 1.2
    min_agreement: float | None = None
    measured: dict[str, float] = field(default_factory=dict)

    def agreement_with(self, sha256: str) -> float | None:
        """The least agreement with a model; None if nothing is known."""
        return self.min_agreement if self.min_agreement is not None else self.measured.get(sha256)


def read_limits(release_folder: Path) -> RunLimits:
    """The limits in the folder of a release; without any, there is no shadow run.

    Raises:
        VerdictError: They are not what `edgepress bundle` writes.
    """
    path = release_folder / SETTINGS
    if not path.exists():  # a bundle without updates that a user gives
        return RunLimits()
    with parsing(path, "The release in use goes on.", failed="is damaged", error=VerdictError):
        settings = dict(json.loads(path.read_bytes()).get("shadow", {}))
        known = {each.name for each in fields(RunLimits)}  # a newer edgepress may write more
        limits = RunLimits(**{name: value for name, value in settings.items() if name in known})
        shares = [*limits.measured.values(), *([] if limits.min_agreement is None else [limits.min_agreement])]
        if type(limits.frames) is not int or not 0 <= limits.frames <= MAX_FRAMES or limits.max_slowdown <= 0:
            raise ValueError("a number is out of range")
        if not all(0 <= share <= 1 for share in shares):
            raise ValueError("a share is out of range")
    return limits


def shadow_run(place: Place, folder: Path, count: int | None = None, *, say: Callable[[str], object]) -> dict[str, Any]:
    """Compare a release with the one in use.

    Args:
        place: The installation.
        folder: The folder of the new release.
        count: Number of frames; None: as the new release says.
        say: Called with a sentence when a step begins.

    Returns:
        The figures, as `run status --json` shows them; "why" says why the release must not be used, "" if it may. They
        are empty if there is no shadow run.

    Raises:
        VerdictError: The new release did not answer.
        UnsureError: A release was killed.
    """
    limits = read_limits(folder)
    count = limits.frames if count is None else count
    if not count:
        return {}
    frames = wait_for_frames(frames_folder(place.name), place.updates / REQUEST, count, say=say)
    source = f"{len(frames)} frames of the service" if frames else f"{count} items of the self-test, for want of frames"
    say(f"Answering {source} with both releases")
    try:
        with Child(folder, "The new release", VerdictError) as new, Child(place.release_folder, "It", OldError) as old:
            figures = compare(old, new, frames, count)
            if figures["slowdown"] > limits.max_slowdown:  # once more, because something else may have slowed it down
                figures = min(figures, compare(old, new, frames, count), key=lambda each: float(each["slowdown"]))
    except (OldError, OtherError) as e:  # a new release may be the fix, or of another kind
        say(f"Nothing is compared. {e.message}")
        return {"source": "none", "frames": 0, "why": "", "note": e.message}
    if note := "" if frames else keeps_no_frames(place):
        say(note)
    figures["note"] = note
    figures["min_agreement"] = limits.agreement_with(model_in(place.release_folder)[1]) if frames else None
    return figures | {"max_slowdown": limits.max_slowdown, "why": reason(figures, limits)}


def compare(old: Child, new: Child, frames: Sequence[bytes], count: int) -> dict[str, Any]:
    """Let two releases answer frames, or `count` items of the self-test if there are none."""
    until = time.monotonic() + RUN_S
    sides: tuple[list[dict[str, Any]], ...] = ([], [])
    for number in range(-WARM_UP, count):
        frame = frames[number % len(frames)] if frames else None
        turn = [0, 1] if number % 2 else [1, 0]
        for side in turn:
            answer = (old, new)[side].ask(number % count, frame)
            if number >= 0:
                sides[side].append(answer)
        if number >= 0 and time.monotonic() > until:
            break
    pairs = [(a["label"], b["label"]) for a, b in zip(*sides, strict=True)][: len(frames)]
    same = sum(a == b for a, b in pairs)
    scenes = [pair for pair, _ in itertools.groupby(pairs)]
    figures = [_side(answers) for answers in sides]
    return {
        "source": "service" if frames else "self-test",
        "frames": len(pairs) or len(sides[0]),
        "same": same if frames else None,
        "agreement": same / len(pairs) if frames else None,
        "scenes": len(scenes) if frames else None,
        "same_scenes": sum(a == b for a, b in scenes) if frames else None,
        "slowdown": figures[1]["p50_us"] / figures[0]["p50_us"],
        "old": figures[0],
        "new": figures[1],
        "temperature_c": temperature_c(),
    }


def reason(figures: dict[str, Any], limits: RunLimits) -> str:
    """Why a release must not be used; "" if it may."""
    if figures["slowdown"] > limits.max_slowdown:
        return (
            f"it takes {figures['slowdown']:.2f} times as long as the release in use; accepted: {limits.max_slowdown:g}"
        )
    least = figures["min_agreement"]
    if least is None or figures["scenes"] < MIN_SCENES:
        return ""
    # A scene that lasts is one observation; but frames of several scenes that agree are one scene if they look alike.
    counted = [(figures["same"], figures["frames"]), (figures["same_scenes"], figures["scenes"])]
    if all(is_below(same, count, least) for same, count in counted):
        return (
            f"it agrees with the release in use on {figures['same']} of {figures['frames']} frames "
            f"({figures['agreement']:.1%}); accepted: at least {least:.1%}"
        )
    return ""


def is_below(same: int, count: int, least: float) -> bool:
    """Whether a share is below a limit, by the exact binomial test: at the limit, this is said by `CHANCE` at most."""
    if same >= least * count:
        return False
    return sum(_binomial(k, count, least) for k in range(same + 1)) < CHANCE


def _binomial(k: int, n: int, p: float) -> float:
    if p >= 1:
        return float(k == n)
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))


def _side(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of one release."""
    times = sorted(float(answer["us"]) for answer in answers)
    return {
        "p50_us": statistics.median(times),
        "p99_us": times[math.ceil(0.99 * len(times)) - 1],
        "memory_bytes": max(int(answer["memory_bytes"]) for answer in answers),
    }
