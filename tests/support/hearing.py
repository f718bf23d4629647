"""Results of `evaluate --stream` whose answers are drawn: a model that hears most events, late or never, and alarms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.runtime import Contract, InputSpec
from edgepress.runtime.sound.features import SoundFeatures
from edgepress.runtime.sound.listen_options import ListenOptions
from edgepress.toolkit.data.event_tables import Event
from edgepress.toolkit.measurement.streams import HeardRecording, StreamEvaluation

LABELS = ("background", "go", "stop")
ANSWERS_A_SECOND = 4
RATE = 16000


def drawn_stream(
    seed: int, *, hours: float = 2.0, events: int = 60, noise: float = 0.04, file: str = "model.tflite"
) -> dict[str, Any]:
    """The document of a model that answered a recording; events of a seed are the same for each `noise` and `file`."""
    there = np.random.default_rng(99)
    rng = np.random.default_rng(seed)
    count = int(3600 * hours) * ANSWERS_A_SECOND
    rows = rng.beta(0.5, 12, (count, len(LABELS)))
    starts = np.sort(there.choice(np.arange(4, int(3600 * hours) - 8, 4), events, replace=False))
    marked = []
    for start in starts:
        label = LABELS[1 + int(there.integers(2))]
        marked.append(Event(float(start), float(start) + 1.0, label))
        at = int(start) * ANSWERS_A_SECOND + 2
        rows[at : at + 4, LABELS.index(label)] = np.clip(rng.normal(0.85, 0.2), 0.05, 0.999)
    for at in rng.choice(count - 4, int(noise * 3600 * hours / 10), replace=False):
        rows[at : at + 3, 1 + int(rng.integers(2))] = rng.beta(1.2, 1.5)
    ends = (1 + np.arange(count)) * (RATE // ANSWERS_A_SECOND)
    recording = HeardRecording(
        Path("kitchen.wav"), 3600 * hours, ends, rows.astype(np.float32), tuple(marked), "5" * 64
    )
    window = InputSpec(shape=(20, 40), dtype="float32", color=None)
    contract = Contract(task="softmax", labels=LABELS, input=window, scheme="tflite-int8", sound=SoundFeatures())
    evaluation = StreamEvaluation(Path(file), contract, "litert", ListenOptions(), (recording,))
    return evaluation.to_dict()


def write_stream(path: Path, document: dict[str, Any]) -> Path:
    """The document in a file, as `--json` prints it."""
    path.write_text(json.dumps(document))
    return path
