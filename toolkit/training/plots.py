"""Plot a training run: learning curves, the confusion matrix, and the most confident mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.files import whole_file
from edgepress.runtime.decisions import decide, same_answers
from edgepress.runtime.text import one_line
from edgepress.toolkit.data.types import Split
from edgepress.toolkit.documents import plain_texts
from edgepress.toolkit.truth import is_multilabel, label_text

MISTAKES = 25
"""Most wrong answers in the plot."""


@plain_texts()
def plot_learning_curves(history: Sequence[Mapping[str, float]], path: Path, *, best_epoch: int) -> None:
    """Plot training and validation loss and accuracy by epoch as a PNG.

    Args:
        history: One row per epoch, with "epoch" (0 is the classifier on frozen features), "loss", "accuracy",
            "val_loss" and "val_accuracy".
        path: The PNG.
        best_epoch: The epoch whose weights were kept, marked by a line.
    """
    figure = _figure(9, 3.6)
    epochs = [row["epoch"] for row in history]
    for axes, key, title in zip(figure.subplots(1, 2), ("loss", "accuracy"), ("Loss", "Accuracy"), strict=True):
        marker = "." if len(epochs) < 40 else ""
        axes.plot(epochs, [row[key] for row in history], marker=marker, label="training")
        axes.plot(epochs, [row[f"val_{key}"] for row in history], marker=marker, label="validation")
        axes.axvline(best_epoch, color="grey", linestyle=":", label=f"kept: epoch {best_epoch}")
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(epochs) == 1:
            axes.set_xlim(epochs[0] - 1, epochs[0] + 1)  # matplotlib's own are so near that no epoch but this is inside
        axes.grid(alpha=0.3)
        axes.legend()
    _save(figure, path)


@plain_texts()
def plot_confusion_matrix(matrix: Sequence[Sequence[int]], labels: Sequence[str], path: Path) -> None:
    """Plot true classes (rows) against predicted classes (columns) as a PNG, shaded by share of the true class."""
    counts = np.array(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(1.5 + 0.5 * len(labels), 4, 20))
    figure = _figure(side + 1, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= 30:
        for (i, j), count in np.ndenumerate(counts):
            if count:
                axes.text(j, i, str(count), ha="center", va="center", color="white" if shares[i, j] > 0.5 else "black")
    names = [one_line(label, 18) for label in labels]
    ticks = range(len(labels)) if len(labels) <= 60 else []
    axes.set_xticks(ticks, names if ticks else [], rotation=90 if max(map(len, names)) > 3 else 0)
    axes.set_yticks(ticks, names if ticks else [])
    accuracy = np.trace(counts) / max(counts.sum(), 1)
    axes.set(xlabel="predicted", ylabel="true", title=f"Test: {accuracy:.2%} of {counts.sum()}")
    figure.colorbar(image, ax=axes, fraction=0.046, label="share of the true class")
    _save(figure, path)


@plain_texts()
def plot_mistakes(split: Split, scores: npt.NDArray[np.float32], labels: Sequence[str], path: Path) -> None:
    """Plot the misclassified images with the highest scores as a PNG.

    Args:
        split: The images, uint8, (height, width, 1 or 3).
        scores: The model's outputs for them, shape (len(split), classes).
        labels: Class names.
        path: The PNG; without mistakes it contains only a sentence.
    """
    guess, each = decide(scores, multilabel=is_multilabel(split.y))
    confidence = each if each.ndim == 1 else each.min(axis=1)  # of its least sure label
    wrong = np.flatnonzero(~same_answers(guess, split.y))
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    columns = min(5, max(1, len(wrong)))
    lines = max(1, -(-len(wrong) // columns))
    figure = _figure(max(4.0, 1.9 * columns), 0.5 + 2.2 * lines)
    if not len(wrong):
        figure.text(0.5, 0.5, f"No mistakes in {len(split)} test images", ha="center", va="center")
    for position, row in enumerate(wrong.tolist(), start=1):
        axes = figure.add_subplot(lines, columns, position)
        axes.imshow(split.read([row])[0].squeeze(), cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
        predicted = one_line(label_text(guess[row], labels), 16)
        true = one_line(label_text(split.y[row], labels), 16)
        name = one_line(Path(split.name(row)).name, 20)
        axes.set_title(f"predicted {predicted} ({confidence[row]:.0%})\ntrue {true}\n{name}", fontsize=8)
    if len(wrong):
        figure.suptitle("Most confident mistakes in the test split", fontsize=10)
    _save(figure, path)


def _figure(width: float, height: float) -> Any:
    """A figure created without pyplot, which needs no display and keeps no global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=110)


def _save(figure: Any, path: Path) -> None:
    with whole_file(path) as temporary:
        figure.savefig(temporary)
