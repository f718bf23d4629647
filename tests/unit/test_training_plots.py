"""The plots of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgepress.toolkit.training import plots


@pytest.mark.parametrize("epochs", [[0], [1], [0, 1], [0, 1, 2, 3], [*range(1, 61)]])
def test_ticks_are_whole_epochs(epochs: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
    values = dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy"), 0.5)
    history = [{"epoch": epoch, **values} for epoch in epochs]
    plots.plot_learning_curves(history, Path("curves.png"), best_epoch=epochs[-1])
    for axes in figures[0].axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == round(tick) for tick in ticks), ticks
        assert low < epochs[0] <= epochs[-1] < high
