"""What a search found, in words and as a plot, and the result that a folder held before it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.converters.files import sha256_of, whole_file, write_json
from edgepress.runtime.text import one_line
from edgepress.toolkit import text
from edgepress.toolkit.documents import plain_texts, read_json
from edgepress.toolkit.measurement.benchmarking.plots import plain_ticks
from edgepress.toolkit.search.compression.search import OTHERS, StrategySearch
from edgepress.toolkit.search.compression.trial import KINDS, Trial

RANKS = {"balanced": "the one with the least product of size and latency", "size": "the smallest"}
RANKS["latency"] = "the fastest"
"""What was chosen of several files, by the preference."""
SCALES = {"size": (1e-3, "kB"), "latency": (1.0, "µs"), "memory": (1e-6, "MB")}
SCALES |= {"ram": (1e-3, "kB"), "flash": (1e-3, "kB")}
"""Factor and unit of each limit in the plot."""
MARKERS = "osD^vP*Xph<>"
"""Markers of the strategies."""
EVEN = 0.5
"""Probability above which a file is more probably within the limit than beyond it."""


@dataclass(frozen=True)
class Miss:
    """How near the files came to one limit.

    Attributes:
        limit: Its name, a key of `KINDS`.
        value: The limit, in the unit of the figure.
        least: The least value of any file, whatever else it misses.
        least_file: How that file was made.
        beside: The least value of the files that keep all other limits; None if no file keeps them.
        beside_file: How that file was made; "" if there is none.
    """

    limit: str
    value: float
    least: float | None
    least_file: str
    beside: float | None
    beside_file: str

    def in_words(self) -> str:
        """A sentence for people."""
        kind = KINDS[self.limit]
        least = f"least {kind.noun}: {kind.show(self.least)} ({self.least_file}), limit {kind.show(self.value)}"
        if self.beside is None:
            return f"{least}; no file keeps the other limits."
        if self.beside <= self.value:
            return f"{least}."
        if self.beside_file == self.least_file:
            return f"{least}; it keeps the other limits."
        return f"{least}; of files that keep the other limits: {kind.show(self.beside)} ({self.beside_file})."


def misses(search: StrategySearch) -> list[Miss]:
    """How near the files came to each limit, the missed ones."""
    near = []
    for name, value in search.limits.values.items():
        known = [t for t in search.trials if not t.error and t.figures[name] is not None]
        others = [t for t in known if not {*t.missed(search.limits)} - {name}]
        least = _smallest(known, name)
        beside = _smallest(others, name)
        near.append(
            Miss(
                name,
                value,
                least.figures[name] if least else None,
                label(least) if least else "",
                beside.figures[name] if beside else None,
                label(beside) if beside else "",
            )
        )
    return near


def _smallest(trials: list[Trial], name: str) -> Trial | None:
    return min(trials, key=lambda t: (t.figures[name] or 0.0, t.number), default=None)


def label(trial: Trial) -> str:
    """A trial in a few words: its scheme, and how it was made if that says more."""
    short = trial.scheme.partition("-")[2]
    return trial.scheme if trial.how == short else f"{trial.scheme}, {trial.how}"


def why_best(best: Trial, search: StrategySearch, final: Mapping[str, Any]) -> str:
    """Why a file is the result, in one sentence, and what it loses on test items in another."""
    values = _kept(best, search)
    drop = text.interval(best.drop_pp, best.drop_low_pp, best.drop_high_pp)
    fit = sum(bool(t.file and not t.error and not t.missed(search.limits)) for t in search.trials[1:])
    limit = search.limits.values["drop"]
    rule = search.rule
    enough = (best.probability or 0.0) >= rule.confidence
    chosen = RANKS[rule.prefer] if enough else f"the surest, although less than {text.sure(rule.confidence)} sure"
    rank = f"{chosen} of the {fit} that keep" if fit > 1 else "the only one that keeps"
    tried = len(search.trials) - 1
    chosen = f"Of {tried} files tried, {label(best)} is {rank}" if tried > 1 else f"{label(best)} keeps"
    first = (
        f"{chosen} all limits: "
        f"{''.join(f'{each}, ' for each in values)}accuracy drop {drop} pp of {limit:g} pp "
        f"on {search.count} validation items, {text.sure(best.probability)} sure to be within it."
    )
    return f"{of_source(final)}{first} {on_test(final, search.limits.values['drop'])}"


def _kept(trial: Trial, search: StrategySearch) -> list[str]:
    """The limits other than the drop, and what a file that keeps them takes."""
    return [f"{KINDS[n].noun} {KINDS[n].show(trial.figures[n])} of {KINDS[n].show(v)}" for n, v in limits_of(search)]


def of_source(final: Mapping[str, Any]) -> str:
    """A sentence on a float file that answers hardly better than always the largest class; else empty."""
    return f"The float file {final['weak_source']} " if final["weak_source"] else ""


def why_float(best: Trial, search: StrategySearch, final: Mapping[str, Any]) -> str:
    """Why the float file is the result, and what the best of the others takes."""
    reference = search.reference
    kept = _kept(reference, search)
    within = f" ({', '.join(kept)})" if kept else ""
    takes = f"{text.size(best.size_bytes)} and {text.duration(best.latency_us)}"
    own = f"{text.size(reference.size_bytes)} and {text.duration(reference.latency_us)}"
    smaller = (best.size_bytes or 0) < (reference.size_bytes or 0)
    prefer = " (--prefer size takes it)" if smaller else ""
    return (
        f"{of_source(final)}The float file itself keeps all limits{within}. The best of the others, {label(best)}, "
        f"takes {takes} instead of {own}{prefer}. On {final['items']} test items the float file reaches "
        f"{text.percent(final['accuracy'])}."
    )


def on_test(final: Mapping[str, Any], limit: float) -> str:
    """What the file loses on test items, and what that says of the limit."""
    drop = text.interval(final["drop_pp"], final["drop_low_pp"], final["drop_high_pp"])
    reached = f"On {final['items']} test items it reaches {text.percent(final['accuracy'])}, a drop of {drop} pp"
    if final["drop_low_pp"] > limit:
        return f"{reached}, which is beyond the limit of {limit:g} pp."
    if final["drop_high_pp"] <= limit:
        return f"{reached}, which proves that it keeps the limit."
    sure = text.sure(final["probability"])
    if final["drop_pp"] > limit and final["probability"] > EVEN:
        return (
            f"{reached}. Weighing each difference by the float model's own probabilities, it is {sure} sure to be "
            f"within {limit:g} pp on other such items; these items do not prove it."
        )
    return f"{reached}: {sure} sure to be within {limit:g} pp, which these items do not prove."


def why_none(search: StrategySearch, near: list[Miss]) -> str:
    """Why no file is the result, and which limit to relax."""
    gives = [m for m in near if m.beside is not None and m.beside > m.value]
    tried = text.plural(len(search.trials) - 1, "file")
    head = f"None of {tried} keeps all limits ({search.limits.in_words()})."
    more = " More time (--minutes) allows trainings that were left out." if search.cut_short else ""
    if search.trials[1:] and all(trial.error for trial in search.trials[1:]):
        return f"{head} None could be made and measured: {search.trials[1].error}"
    if not gives:
        return f"{head} Every file misses several limits: relax two or more.{more}"
    ways = [f"{KINDS[m.limit].option} {_option(m)} ({m.beside_file})" for m in gives]
    return f"{head} {'This' if len(ways) == 1 else 'One of these'} would have to be relaxed: {'; '.join(ways)}.{more}"


def _option(miss: Miss) -> str:
    """A value for the option that the nearest file would keep, rounded up."""
    assert miss.beside is not None
    if miss.limit == "drop":
        return f"{math.ceil(100 * miss.beside) / 100:g}"
    unit, factor = ("ms", 1e3) if miss.limit == "latency" else ("kB", 1e3)
    scale = 10.0 ** (math.floor(math.log10(miss.beside / factor)) - 2)
    return f"{math.ceil(miss.beside / factor / scale) * scale:.6g}{unit}"


def limits_of(search: StrategySearch) -> list[tuple[str, float]]:
    """The limits other than the drop."""
    return [(name, search.limits.values[name]) for name in OTHERS if name in search.limits.values]


@plain_texts()
def plot_search(document: Mapping[str, Any], path: Path) -> None:
    """Plot the trials of a search as a PNG: drop over size, and over what else is limited.

    Args:
        document: The content of `compress.json`.
        path: The PNG.
    """
    from matplotlib.figure import Figure

    limits = document["limits"]
    names = ["size", *(name for name in OTHERS if name != "size" and name in limits)]
    names += ["latency"] if len(names) == 1 else []
    trials = [t for t in document["trials"] if t["drop_pp"] is not None]
    figure = Figure(figsize=(1 + 5 * len(names), 4.6), layout="constrained", dpi=110)
    strategies = list(dict.fromkeys(t["strategy"] for t in trials))
    axes: Sequence[Any] = figure.subplots(1, len(names), sharey=True)
    for number, (name, ax) in enumerate(zip(names, axes, strict=True)):
        _panel(ax, name, document, strategies)
        if not number:
            ax.set_ylabel("accuracy drop on validation items, pp")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(7, len(labels)))
    verdict = "met" if document["met"] else "not met"
    figure.suptitle(f"compress: limits {verdict} ({one_line(document['model'], 60)})", fontsize=11)
    with whole_file(path) as temporary:
        figure.savefig(temporary)


def _panel(ax: Any, name: str, document: Mapping[str, Any], strategies: Sequence[str]) -> None:
    field = KINDS[name].figure
    limits = document["limits"]
    known = [t for t in document["trials"] if t["drop_pp"] is not None and t[field] is not None]
    factor, unit = SCALES[name]
    if name == "latency" and max((t[field] for t in known), default=0) > 2000:
        factor = 1e-3
        unit = "ms"
    for number, strategy in enumerate(strategies):
        mine = [t for t in known if t["strategy"] == strategy]
        x = [t[field] * factor for t in mine]
        y = [t["drop_pp"] for t in mine]
        spread = [[t["drop_pp"] - t["drop_low_pp"] for t in mine], [t["drop_high_pp"] - t["drop_pp"] for t in mine]]
        marker = MARKERS[number % len(MARKERS)]
        ax.errorbar(
            x, y, yerr=spread, fmt=marker, color=f"C{number % 10}", alpha=0.85, lw=0.8, capsize=2, label=strategy
        )
    ax.plot([t[field] * factor for t in known], [t["drop_pp"] for t in known], color="grey", lw=0.6, zorder=0)
    for t in known:
        if t["number"] == document["best"]:
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


REPORT = "compress.json"
"""File of a result."""
PICTURE = "search.png"
"""Picture of a result."""
EARLIER = "earlier"
"""Folder of results of other limits."""
SETTINGS = ("model", "limits", "confidence", "prefer", "format", "engine", "latency_on", "seed")
"""What makes a result another one than that of the same command."""


def set_aside(folder: Path, model: Path, now: Mapping[str, Any]) -> Path | None:
    """Move the result of other settings, if a folder holds one, below `EARLIER`; where it is then.

    Args:
        folder: The folder that a result is about to be written to.
        model: The source model of that, which stays where it is.
        now: The document of that.
    """
    document = _read(folder / REPORT)
    if document is None or _settings(document) == _settings(now):
        return None
    home = folder / EARLIER / _name(document)
    home.mkdir(parents=True, exist_ok=True)
    file = file_of(document, folder, model)
    known = file or file_of(document, home, model)  # the latter after a kill on the way
    moved = home / known.name if known is not None else None
    write_json(home / REPORT, document | {"file": None if moved is None else str(moved)})
    for path in (file, folder / PICTURE):
        if path is not None and path.exists():
            os.replace(path, home / path.name)
    (folder / REPORT).unlink()
    return home


def file_of(document: Mapping[str, Any], folder: Path, model: Path) -> Path | None:
    """The file of a result, if it is still as its search wrote it and is not the model."""
    try:
        path = folder / Path(document["file"]).name
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        known = document["trials"][document["best"]]["sha256"]
        return path if not path.samefile(model) and sha256_of(path) == known else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):  # there is none, or it is not known
        return None


def _read(path: Path) -> dict[str, Any] | None:
    """The document of a result; None if there is none, or it is not one."""
    try:
        document = read_json(path)
    except (OSError, ValueError):
        return None
    return document if isinstance(document.get("limits"), dict) else None


def _settings(document: Mapping[str, Any]) -> str:
    data = document.get("data")
    digest = data.get("sha256") if isinstance(data, dict) else None
    return json.dumps({name: document.get(name) for name in SETTINGS} | {"data": digest}, sort_keys=True)


def _name(document: Mapping[str, Any]) -> str:
    """The name of a result: its limits, as numbers, and a digest of all settings."""
    limits = document["limits"].items()
    numbers = [f"{name}-{value:.12g}" for name, value in limits if name in KINDS and isinstance(value, (int, float))]
    name = "-".join([*numbers, hashlib.sha256(_settings(document).encode()).hexdigest()[:6]])
    return "".join(c if c.isalnum() or c in "-." else "_" for c in name)
