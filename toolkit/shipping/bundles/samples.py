"""What a bundle proves itself with: samples with the model's answers, and a run of its self-test before it is packed.

There is one item per class, or per set of labels, the first that the model answers correctly. Images are PNG (decoded
identically everywhere); every second one is enlarged by half, so that the board's resizing is tested as well. Items are
prepared already, so for a model whose images are cropped ("crop:F") a margin is put around them, which the board cuts
off again. Tensors are `.npy`, and items of several inputs `.npz`.
The answers are computed from the written files. Format: `runtime.selftest`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.arrays import save_arrays
from edgepress.converters.process.worker import Emit
from edgepress.runtime import Model, load
from edgepress.runtime.decisions import decide, same_answers
from edgepress.runtime.resize import resize_rule
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import BundleError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.truth import numbered_sets

CANDIDATES = 20
"""Number of test items per class to try until one is classified correctly."""


@dataclass(frozen=True)
class SampleJob:
    """Arguments of `write_samples`.

    Attributes:
        model: The model file.
        engine: The engine; None: the first that opens the file.
        folder: Folder of the bundle.
        classes: For each sample, its true class, or 0 and 1 for each label, and the items to choose from, shape
            (N, *item shape).
    """

    model: Path
    engine: str | None
    folder: Path
    classes: tuple[tuple[npt.NDArray[np.int64], npt.NDArray[Any]], ...]


def choose_samples(data: DataSet, count: int) -> tuple[tuple[npt.NDArray[np.int64], npt.NDArray[Any]], ...]:
    """Choose up to `count` evenly spread classes, or sets of labels, with a few test items each."""
    numbers = numbered_sets(data.test.y)
    present = np.unique(numbers)
    chosen = present[np.linspace(0, len(present) - 1, min(count, len(present))).round().astype(int)]
    rows_of = (np.flatnonzero(numbers == number)[:CANDIDATES] for number in chosen)
    return tuple((np.asarray(data.test.y[rows[0]]), data.test.read(rows)) for rows in rows_of)


def write_samples(job: SampleJob, emit: Emit) -> None:
    """Write the samples and their manifest; runs in a child process and emits the engine's name after each step."""
    model = load(job.model, job.engine)
    emit(model.engine)
    manifest = job.folder / "samples" / "manifest.json"
    manifest.parent.mkdir()
    samples = []
    for i, (y, items) in enumerate(job.classes):
        contract = model.contract if y.ndim else None  # of classes, the best one, whatever the threshold
        decided, _ = decide(model.scores(items), contract, multilabel=y.ndim > 0)
        right = np.flatnonzero(same_answers(decided, y))
        item = items[right[0] if len(right) else 0]
        file = _write(model, item, manifest.parent / f"{i}", enlarged=i % 2 == 1)
        scores = model.scores(model.prepare(file)[np.newaxis])[0]
        label = model.labels[int(scores.argmax())]
        samples.append(
            {"file": file.name, "label": label, "scores": [float(str(s)) for s in scores]}
        )  # shortest decimals
        emit(model.engine)
    text = json.dumps({"schema_version": 1, "samples": samples}, indent=1) + "\n"
    manifest.write_text(text, encoding="utf-8")
    emit(model.engine)


def _write(model: Model, item: npt.NDArray[Any], path: Path, *, enlarged: bool) -> Path:
    if item.dtype.names is not None:
        path = path.with_suffix(".npz")
        with path.open("wb") as file:
            save_arrays(file, {name: item[name] for name in item.dtype.names})
        return path
    if model.contract is None or not model.contract.input.is_image:
        path = path.with_suffix(".npy")
        np.save(path, item)
        return path
    from PIL import Image

    item = with_margin(item, resize_rule(model.contract.input.resize)[1])
    image = Image.fromarray(item[:, :, 0] if item.shape[2] == 1 else item)
    if enlarged:
        image = image.resize((image.width * 3 // 2, image.height * 3 // 2), Image.Resampling.BICUBIC)
    path = path.with_suffix(".png")
    image.save(path)
    return path


def with_margin(item: npt.NDArray[Any], share: float) -> npt.NDArray[Any]:
    """Pixels in the middle of a larger image, with their share of each side; the edges are repeated to fill it.

    The margins of two sides are equal, so the center keeps its place, and whole numbers: reading the larger image gives
    the same pixels where they need no rounding, such as 16 of 224 and 0.875, and else is off by less than a pixel at
    the edges.
    """
    margins = [round((side / share - side) / 2) for side in item.shape[:2]]
    return np.pad(item, [*((width, width) for width in margins), (0, 0)], mode="edge")


PROOF_S = 600
"""Time limit of the self-test in seconds."""


def prove(folder: Path, engine: str | None) -> dict[str, Any]:
    """Run the self-test with the sources in the folder, and return its report."""
    chosen = ["--engine", engine] if engine is not None else []
    command = [sys.executable, "-B", "-m", "edgepress.runtime", "selftest", str(folder), "--json", *chosen]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"} | {"PYTHONPATH": str(folder)}
    try:
        process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PROOF_S)
        report: dict[str, Any] = json.loads(process.stdout)
    except (subprocess.TimeoutExpired, ValueError) as e:
        raise BundleError(f"The self-test ended without a result: {e}.", "Convert the model again.") from e
    if process.returncode:
        reason = report.get("error", {}).get("message") or "its answers differ from the stored ones"
        hint = f"Try: {shell_line('edgepress', 'predict', folder.name)} IMAGE"
        raise BundleError(f"The self-test fails on this machine: {reason}", hint)
    return report
