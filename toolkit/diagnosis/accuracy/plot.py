"""Plot a diagnosis of accuracy: the error that each layer makes, in the order of the graph, and what classes lose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgepress.converters.diagnosis.layer import QuantizedLayer
from edgepress.converters.files import whole_file
from edgepress.runtime.text import one_line
from edgepress.toolkit.diagnosis.accuracy.result import AccuracyDiagnosis, short
from edgepress.toolkit.documents import checked_suffix, plain_texts
from edgepress.toolkit.text import percent, plural

FAULTS = {
    "range": ("#c93a41", "range too wide"),
    "clipped": ("#e0833a", "values beyond the range"),
    "outlier": ("#7c4fc4", "a channel far larger than the others"),
    "weights": ("#1e7f78", "wrong weights"),
    "": ("#9aa5b1", "no fault"),
}
MOST = 24
"""Layers and classes that are drawn; the worst ones."""


@plain_texts()
def plot_accuracy(diagnosis: AccuracyDiagnosis, path: Path) -> Path:
    """Draw a diagnosis of accuracy.

    Args:
        diagnosis: The diagnosis.
        path: The file to write, ending in `.png` or `.svg`.

    Raises:
        InputError: The file has another suffix, or cannot be written.
    """
    checked_suffix(path)
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    layers = diagnosis.layers[:MOST]
    classes = [c for c in diagnosis.classes if c.drop_low_pp is not None][:MOST]
    rows = max(len(layers), len(classes), 4)
    columns = [3, 1.4, 1.4] if classes else [3, 1.4]
    figure = Figure(figsize=(13, 1.6 + 0.26 * rows), layout="constrained")
    axes = figure.subplots(1, len(columns), width_ratios=columns)
    places = list(range(len(layers)))
    colors = [FAULTS[layer.fault][0] for layer in layers]
    names = [one_line(f"{short(layer.name)}  {layer.kind}", 52) for layer in layers]
    costs = axes[0].barh(places, [100 * layer.cost for layer in layers], color=colors, height=0.7)
    axes[0].bar_label(costs, [percent(layer.cost, ".1f") for layer in layers], padding=3, fontsize=7)
    axes[0].set_yticks(places, names, fontsize=7)
    axes[0].set(xlabel="share of the error, %", xlim=(0, 112 * max((layer.cost for layer in layers), default=1.0)))
    _decibels(axes[1], layers)
    for one in axes[:2]:
        one.set_ylim(len(layers) - 0.5, -0.5)
    if classes:
        _classes(axes[2], classes)
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    agreed = "" if diagnosis.agreement is None else f": the model's label for {percent(diagnosis.agreement, '.1f')}"
    name = one_line(Path(diagnosis.file).name, 60)
    title = f"{name}{agreed} of {plural(diagnosis.items, 'item')}; layers measured on {diagnosis.layer_items}"
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    used = dict.fromkeys(layer.fault for layer in layers)
    handles = [Patch(color=FAULTS[fault][0], label=FAULTS[fault][1]) for fault in used]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=130, format=path.suffix[1:])
    return path


def _decibels(axes: Any, layers: tuple[QuantizedLayer, ...]) -> None:
    places = range(len(layers))
    for values, marker in (([layer.channel_db for layer in layers], "o"), ([layer.sqnr_db for layer in layers], "x")):
        known = [(v, p) for v, p in zip(values, places, strict=True) if v is not None]
        if known:
            axes.plot(*zip(*known, strict=True), marker, markersize=4, color="#33415c")
    axes.set_yticks([])
    axes.set(xlabel="signal to noise, dB")
    axes.grid(axis="x", alpha=0.3)
    axes.set_title("● its own error, median channel\n× with what it inherits", fontsize=7, loc="left")


def _classes(axes: Any, classes: list[Any]) -> None:
    places = list(range(len(classes)))
    drops = [c.drop_pp for c in classes]
    ends = [[c.drop_pp - c.drop_low_pp for c in classes], [c.drop_high_pp - c.drop_pp for c in classes]]
    axes.errorbar(drops, places, xerr=ends, fmt="o", markersize=4, color="#33415c", elinewidth=1)
    axes.axvline(0, color="#9aa5b1", linewidth=1)
    axes.set_yticks(places, [one_line(f"{c.label} ({c.support})", 28) for c in classes], fontsize=7)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set(xlabel="loss of a class, pp, 95 % interval")
