"""Plot a climb: each file's accuracy drop and what is limited beside it, with the region that keeps the limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepress.converters.files import whole_file
from edgepress.toolkit.benchmarking.plots import plain_ticks
from edgepress.toolkit.compressing.limits import KINDS

SCALES = {"size": (1e-3, "kB"), "latency": (1.0, "µs"), "memory": (1e-6, "MB")}
MARKERS = "osD^vP*Xph<>"


def plot_climb(document: Mapping[str, Any], path: Path) -> None:
    """Plot the trials of a climb as a PNG: drop over size, and over latency and memory where these are limited.

    Args:
        document: The content of `compress.json`.
        path: The PNG.
    """
    from matplotlib.figure import Figure

    limits = document["limits"]
    names = ["size", *(name for name in ("latency", "memory") if name in limits)]
    names += ["latency"] if len(names) == 1 else []
    trials = [t for t in document["trials"] if t["drop_pp"] is not None]
    figure = Figure(figsize=(1 + 5 * len(names), 4.6), layout="constrained", dpi=110)
    rungs = list(dict.fromkeys(t["rung"] for t in trials))
    axes: Sequence[Any] = figure.subplots(1, len(names), sharey=True)
    for number, (name, ax) in enumerate(zip(names, axes, strict=True)):
        _panel(ax, name, trials, rungs, limits, best=document["best"])
        if not number:
            ax.set_ylabel("accuracy drop on validation items, pp")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(7, len(labels)))
    verdict = "met" if document["met"] else "not met"
    figure.suptitle(f"compress: limits {verdict} ({document['model']})", fontsize=11)
    with whole_file(path) as temporary:
        figure.savefig(temporary)


def _panel(
    ax: Any,
    name: str,
    trials: Sequence[Mapping[str, Any]],
    rungs: Sequence[str],
    limits: Mapping[str, float],
    best: int | None,
) -> None:
    field = KINDS[name].figure
    known = [t for t in trials if t[field] is not None]
    factor, unit = SCALES[name]
    if name == "latency" and max((t[field] for t in known), default=0) > 2000:
        factor, unit = 1e-3, "ms"
    for number, rung in enumerate(rungs):
        mine = [t for t in known if t["rung"] == rung]
        x, y = [t[field] * factor for t in mine], [t["drop_pp"] for t in mine]
        spread = [[t["drop_pp"] - t["drop_low_pp"] for t in mine], [t["drop_high_pp"] - t["drop_pp"] for t in mine]]
        marker = MARKERS[number % len(MARKERS)]
        ax.errorbar(x, y, yerr=spread, fmt=marker, color=f"C{number % 10}", alpha=0.85, lw=0.8, capsize=2, label=rung)
    ax.plot([t[field] * factor for t in known], [t["drop_pp"] for t in known], color="grey", lw=0.6, zorder=0)
    for t in known:
        if t["number"] == best:
            ax.plot(t[field] * factor, t["drop_pp"], "o", ms=17, mfc="none", mec="black", mew=1.6)
            ax.annotate("best", (t[field] * factor, t["drop_pp"]), (12, -14), textcoords="offset points")
    ax.axhline(limits["drop"], color="tab:red", ls=":", lw=1.2)
    ax.set_xscale("log")
    if name in limits:
        ax.axvline(limits[name] * factor, color="tab:red", ls=":", lw=1.2)
    low, high = ax.get_xlim()
    bottom, top = ax.get_ylim()
    edge = limits[name] * factor if name in limits else high
    if edge > low:
        ax.fill_between([low, edge], bottom, limits["drop"], color="tab:green", alpha=0.08, zorder=-1)
    ax.set_xlim(low, high)
    ax.set_ylim(bottom, top)
    ax.set(xlabel=f"{KINDS[name].noun}, {unit}")
    plain_ticks(ax.xaxis)
    ax.grid(alpha=0.25)
