"""A sound result of each kind of job of a sweep and of `compress`, for tests of what checks them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgepress.runtime.contract import Verification
from edgepress.toolkit.search.sweeping.jobs import Job
from edgepress.toolkit.search.sweeping.store import key_of

MADE = {"host": "bench", "seconds": 1.5, "created": "2026-11-28T04:00:00+00:00"}
TAKEN = {"seconds": 1.5}


def epoch(number: int = 1, val_accuracy: float = 0.75) -> dict[str, Any]:
    """A row of a history."""
    row = {"epoch": float(number), "loss": 0.5, "accuracy": 0.8, "val_loss": 0.6}
    return row | {"val_accuracy": val_accuracy, "learning_rate": 0.001}


PROOF = dataclasses.asdict(
    Verification(items=32, on="digits", agreement=1.0, max_error=0.01, mean_error=0.001, largest=1.0, sqnr_db=40.0)
)
WHOLE: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "train": (
        {
            "accuracy": 0.9,
            "val_accuracy": 0.8,
            "parameters": 1000,
            "best_epoch": 1,
            "epochs_run": 2,
            "weights_sha256": "ab" * 32,
            "history": [epoch(1), epoch(2)],
        },
        MADE | {"training_seconds": 1.5},
        ("model.keras", "metrics.json"),
    ),
    "part": ({"history": [epoch(1)]}, MADE, ("checkpoint.npz",)),
    "convert": (
        {
            "scheme": "tflite-int8",
            "file": "model-int8.tflite",
            "size_bytes": 5,
            "proof": PROOF,
            "val_accuracy": 0.8,
            "val_correct": "zA==",
            "accuracy": 0.9,
            "engine": "litert",
            "answers_sha256": "cd" * 32,
            "test_items": 100,
            "notes": ["a note"],
        },
        MADE | {"converting_seconds": 0.5},
        ("model-int8.tflite",),
    ),
    "time": (
        {
            "load_ms": 1.0,
            "min_us": 10.0,
            "p50_us": 11.0,
            "p90_us": 12.0,
            "p99_us": 13.0,
            "rounds": 2,
            "round_medians_us": [11.0, 11.5],
            "memory_bytes": 1000,
            "noisy": False,
            "noise": [],
            "engine": "litert",
        },
        MADE,
        (),
    ),
    "compress-convert": ({"errors": {"onnx-int8": "no"}, "files": {"tflite-int8": "m.tflite"}}, TAKEN, ("m.tflite",)),
    "compress-tune": ({"facts": {"bits": 4, "steps": 100}, "files": {"model": "m.keras"}}, TAKEN, ("m.keras",)),
    "compress-prune": (
        {"facts": {"macs": 0.5, "parameters": 0.5}, "files": {"model": "m.keras"}},
        TAKEN,
        ("m.keras",),
    ),
    "compress-distil": (
        {"facts": {"arch": "lenet", "width": 1.0, "epochs": 2}, "files": {"model": "m.keras"}},
        TAKEN,
        ("m.keras",),
    ),
    "compress-probe": ({"files": {"model": "m.keras"}}, TAKEN, ("m.keras",)),
    "compress-final": (
        {
            "items": 10,
            "accuracy": 0.9,
            "float_accuracy": 0.9,
            "weak_source": None,
            "drop_pp": 0.0,
            "drop_low_pp": -1.0,
            "drop_high_pp": 1.0,
            "lost": 3,
            "gained": 1,
            "expected_lost": None,
            "files": {},
        },
        TAKEN,
        (),
    ),
    "compress-accuracy": ({"correct": "/w==", "expected_lost": 0.5, "files": {}}, TAKEN, ()),
    "compress-latency": ({"files": {}}, TAKEN | {"rounds": [[1.0, 2.0]], "memory": 5, "noisy": False}, ()),
}
"""By kind: the result, what differs between two runs, and the names of the files, each of which holds 5 bytes."""


def whole_job(kind: str) -> Any:
    """A job of a kind: `Job`, or what `compress` has."""
    arguments: dict[str, Any] = {"scheme": "tflite-int8", "data": "x"} if kind == "convert" else {"n": 1}
    if not kind.startswith("compress-"):
        return Job(kind, arguments)
    job = {"kind": kind, "arguments": arguments | ({"files": ["a"]} if kind == "compress-latency" else {})}
    return SimpleNamespace(key=key_of(job), to_dict=lambda: job)


def write_files(folder: Path, names: Iterable[str], size: int = 5) -> Mapping[str, Path]:
    """New files of a size."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).unlink(missing_ok=True)  # the store has a link to the file of before
        (folder / name).write_bytes(b"x" * size)
    return {name: folder / name for name in names}
