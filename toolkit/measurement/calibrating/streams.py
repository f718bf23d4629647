"""Choose when a model of sound hears a label, by a wish for false alarms, and write a copy that says so."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgepress.runtime.sound.listen_options import ListenOptions
from edgepress.toolkit.arguments import OnProgress, check_arguments
from edgepress.toolkit.conversion.inspection import write_annotated
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.calibrating.calibrate import FOLDER, targets_of
from edgepress.toolkit.measurement.streams import Count, StreamEvaluation, evaluate_stream
from edgepress.toolkit.stats.rates import rate_interval

AVERAGES = (1, 2, 3, 4, 6, 8, 12)
"""Numbers of answers in the mean that are tried."""
TRIED = (*(round(0.01 * n, 2) for n in range(51, 100)), 0.995, 0.999)
"""Thresholds that are tried: above a half, so that at most one label is heard at a time, as firmware needs."""
HOURS = {"h": 1.0, "d": 24.0}


@dataclass(frozen=True)
class StreamCalibration:
    """A file whose rule was chosen.

    Attributes:
        path: The copy that carries the rule; None if none keeps the wish.
        evaluation: What the file hears with that rule, or with the one of fewest false alarms.
        max_alarms: The wish, false alarms an hour.
        earlier: Without `path`, the copy of an earlier calibration that is still there; None if there is none.
    """

    path: Path | None
    evaluation: StreamEvaluation
    max_alarms: float
    earlier: Path | None = None

    @property
    def needed_hours(self) -> float | None:
        """Hours without a false alarm whose 95 % interval ends at the wish; None if that is 0, which none show."""
        most = rate_interval(0, 1.0).high
        return most / self.max_alarms if most is not None and self.max_alarms else None

    def to_dict(self) -> dict[str, Any]:
        """The document that `calibrate --max-alarms --json` prints."""
        path = None if self.path is None else str(self.path)
        earlier = None if self.earlier is None else str(self.earlier)
        document: dict[str, Any] = {"calibrated": path, "earlier": earlier, "max_alarms_per_hour": self.max_alarms}
        document["needed_hours"] = self.needed_hours
        return document | self.evaluation.to_dict()


@check_arguments
def calibrate_stream(
    file: str | Path,
    *recordings: str | Path,
    max_alarms: str | float,
    events: str | Path | None = None,
    step: int | None = None,
    engine: str | None = None,
    out: str | Path | None = None,
    on_progress: OnProgress | None = None,
) -> StreamCalibration:
    """Choose threshold and mean so that a model of sound misses least at so many false alarms an hour.

    The recordings choose, so they promise nothing: other ones measure what the rule is worth (`evaluate_stream`).

    Args:
        file: A `.tflite` or `.onnx` model of sound.
        recordings: WAV or FLAC files, or folders of them: hours of what the device will hear.
        max_alarms: False alarms an hour at most, as a number or such as "1/h" or "2/d".
        events: A CSV table of what there is to hear, as for `evaluate_stream`.
        step: Frames from one answer to the next, which the copy records; firmware of `export --stream ROWS` has ROWS.
        engine: Engine that runs the file.
        out: Folder for the copy; None: `calibrated` beside the file.
        on_progress: Called with "sound" and the share that is done, 0-1.

    Raises:
        EdgepressError: The file, a recording or an option can't be used.
    """
    wish = alarms_per_hour(max_alarms)
    path = Path(file)
    (target,) = targets_of([path], path.parent / FOLDER if out is None else Path(out))
    heard = evaluate_stream(path, *recordings, events=events, step=step, engine=engine, on_progress=on_progress)
    options, keeps = choose_rule(heard, wish)
    heard = replace(heard, options=options)
    if keeps:
        write_annotated(path, heard.contract.replace(listen=options), target)
    earlier = target if not keeps and target.exists() else None
    return StreamCalibration(target if keeps else None, heard, wish, earlier)


def choose_rule(heard: StreamEvaluation, wish: float) -> tuple[ListenOptions, bool]:
    """The rule that misses least within the wish, and whether there is one; else the one of fewest false alarms.

    Of rules that miss and alarm alike, the threshold in the middle is taken, because it is
    farthest from those that do worse. Without events to miss, the least threshold hears most.
    """
    rules = [replace(heard.options, average=average) for average in AVERAGES]
    counts = [
        (rule, heard.count(average=rule.average, threshold=threshold)[0]) for rule in rules for threshold in TRIED
    ]
    kept = [(rule, count) for rule, count in counts if count.alarms <= wish * heard.hours]
    if not kept:
        rule, count = min(counts, key=lambda pair: (pair[1].alarms, pair[1].missed))
        return replace(rule, threshold=count.threshold), False
    if not kept[0][1].events:
        usual = [(rule, count) for rule, count in kept if rule.average == heard.options.average]
        rule, count = min(usual or kept, key=lambda pair: pair[1].threshold)
        return replace(rule, threshold=count.threshold), True
    best = min(_rank(count) for _, count in kept)
    ties = [(rule, count) for rule, count in kept if _rank(count) == best]
    average = ties[len(ties) // 2][0].average
    ties = [(rule, count) for rule, count in ties if rule.average == average]
    rule, count = ties[len(ties) // 2]
    return replace(rule, threshold=count.threshold), True


def _rank(count: Count) -> tuple[int, int]:
    return count.missed, count.alarms


def alarms_per_hour(wish: str | float) -> float:
    """A wish such as 1, "1/h" or "2/d" as false alarms an hour.

    Raises:
        InputError: It is none.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(?:/([hd]))?", str(wish).strip())
    if match is None:
        raise InputError(f"--max-alarms is {str(wish)[:40]!r}.", "Accepted: 1/h, 0.5/h, 2/d.")
    return float(match[1]) / HOURS[match[2] or "h"]
