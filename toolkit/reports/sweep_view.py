"""What the reports of a sweep show: winners, figures as text, what each dimension brings, and all of it as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from edgepress.toolkit import columns, text
from edgepress.toolkit.columns import LATENCY, SIZE, TEST, VALIDATION
from edgepress.toolkit.escaping import markdown as escaped
from edgepress.toolkit.escaping import markdown_table, shell_line
from edgepress.toolkit.reports import view
from edgepress.toolkit.search.sweeping.result import Configuration, Row, Sweep
from edgepress.toolkit.search.sweeping.space import title

CONFIDENCE = 0.95
"""Confidence of the intervals of effects, 0-1."""
SEEDS = 3
"""Number of seeds from which on there is an interval: that of two is wider than anything that could be found."""
MOST_PP = 100.0
"""The largest difference of two accuracies."""


@dataclass(frozen=True)
class Effect:
    """A value of a dimension beside the dimension's first one.

    Attributes:
        dimension: Name of the dimension.
        value: The value.
        reference: The value that it is compared with.
        pairs: Number of pairs of files that differ in this dimension only.
        accuracy_pp: Mean difference of validation accuracy, percentage points.
        low_pp, high_pp: Its 95 % interval over the seeds; None for fewer than `SEEDS`.
        latency: Geometric mean of the ratios of latency; None if nothing was timed.
        size: The same of the sizes.
    """

    dimension: str
    value: Any
    reference: Any
    pairs: int
    accuracy_pp: float
    low_pp: float | None
    high_pp: float | None
    latency: float | None
    size: float


def effects_of(sweep: Sweep) -> list[Effect]:
    """The effects of all dimensions with several values, but the seed, whose values are the repetitions.

    A dimension that some architectures do not have, such as the width, is no condition of the comparison of others:
    there, means over its values are compared.
    """
    rows = [row for row in sweep.rows if row.status == "ok" and row.val_accuracy is not None and row.size_bytes]
    names = [name for name in sweep.plan.get("dimensions", {}) if name != "seed"]
    partial = {name for name in names if any(row.point.get(name) is None for row in rows)}
    effects = []
    for name in names:
        values = _values(name, rows)
        others = [other for other in names if other != name and (other not in partial or name in partial)]
        for value in values[1:]:
            if (effect := _effect(rows, name, values[0], value, others=others)) is not None:
                effects.append(effect)
    return effects


def _values(name: str, rows: Sequence[Row]) -> list[Any]:
    known = {json.dumps(row.point.get(name)): row.point.get(name) for row in rows}
    return [value for value in known.values() if value is not None]


def _effect(rows: Sequence[Row], name: str, reference: Any, value: Any, *, others: Sequence[str]) -> Effect | None:
    groups: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in rows:
        place = json.dumps([row.point.get(other) for other in others]), str(row.point.get("seed"))
        groups.setdefault(place, {}).setdefault(json.dumps(row.point.get(name)), []).append(row)
    by_seed: dict[str, list[float]] = {}
    latency = list[float]()
    size = list[float]()
    for (_, seed), group in groups.items():
        one, other = (group.get(json.dumps(each), []) for each in (reference, value))
        if one and other:
            by_seed.setdefault(seed, []).append(100 * (_mean(other, "val_accuracy") - _mean(one, "val_accuracy")))
            size += [_log(b, "size_bytes") - _log(a, "size_bytes") for a, b in product(one, other)]
            timed = [(a, b) for a, b in product(one, other) if a.latency_us and b.latency_us]
            latency += [_log(b, "latency_us") - _log(a, "latency_us") for a, b in timed]
    if not by_seed:
        return None
    means = np.array([np.mean(each) for each in by_seed.values()])
    half = _half_width(means)
    middle = float(means.mean())
    low, high = (None, None) if half is None else (max(middle - half, -MOST_PP), min(middle + half, MOST_PP))
    ratio = float(np.exp(np.mean(latency))) if latency else None
    pairs = sum(map(len, by_seed.values()))
    return Effect(name, value, reference, pairs, middle, low, high, ratio, float(np.exp(np.mean(size))))


def _mean(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([getattr(row, name) for row in rows]))


def _log(row: Row, name: str) -> float:
    return float(np.log(getattr(row, name)))


def _half_width(means: Any) -> float | None:
    """Half of Student's interval of a mean; None for too few values."""
    from scipy import stats

    if len(means) < SEEDS:
        return None
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, len(means) - 1) * np.std(means, ddof=1) / np.sqrt(len(means)))


def seed_spread_pp(sweep: Sweep) -> float | None:
    """Standard deviation of validation accuracy between seeds, pooled over configurations, percentage points."""
    known = [c.val_accuracy_std for c in sweep.configurations if c.val_accuracy_std is not None]
    return 100 * float(np.sqrt(np.mean(np.square(known)))) if known else None


WINNERS = {
    "accurate": "The most accurate",
    "fast": "The fastest less than 1 pp below it",
    "small": "The smallest less than 1 pp below it",
    "recommended": "The recommended one",
}
_FLAGS = ("freeze", "class_weights", "skip_unreadable")


@dataclass(frozen=True)
class Winner:
    """A winner: why it is one, its configuration and its best seed's row, and the commands that make it again."""

    why: str
    configuration: Configuration
    row: Row
    commands: tuple[str, ...]


def winners(sweep: Sweep) -> list[Winner]:
    """The winners, each once, with all that it is best in."""
    reasons: dict[int, list[str]] = {}
    for name, number in sweep.winners.items():
        reasons.setdefault(number, []).append(WINNERS.get(name, name))
    every = []
    for number, why in reasons.items():
        configuration = sweep.configurations[number]
        row = sweep.rows[configuration.best]
        words = " and ".join([why[0], *(other[0].lower() + other[1:] for other in why[1:])])
        every.append(Winner(words, configuration, row, commands(sweep, row)))
    return every


def commands(sweep: Sweep, row: Row) -> tuple[str, ...]:
    """The commands that train and convert a row again; the training of several winners runs once."""
    folder = f"runs/winner-{row.keys.get('train', '')[:8]}"
    about = {name: value for name, value in sweep.plan.get("data", {}).items() if name != "source"}
    point = {name: value for name, value in row.point.items() if name != "to"}
    words = ["edgepress", "train", "--data", str(sweep.data["source"]), "--out", folder, "--resume"]
    for name, value in (about | point | dict(sweep.plan.get("training", {}))).items():
        option = f"--{name.replace('_', '-')}"
        if name in _FLAGS:
            words += [option] if value else []
        elif value is not None:
            words += [option, "x".join(map(str, value)) if isinstance(value, list) else f"{value}"]
    return shell_line(*words), shell_line("edgepress", "convert", f"{folder}/model.keras", "--to", row.point["to"])


def headline(sweep: Sweep) -> tuple[str, str]:
    """The configuration that a page names first, in words, and what it is: the recommended one, if there is one."""
    name = "recommended" if "recommended" in sweep.winners else next(iter(sweep.winners))
    words = WINNERS[name].removeprefix("The ").removesuffix(" one")
    return words[0].upper() + words[1:], name_of(sweep.configurations[sweep.winners[name]].point, sweep)


def file_of(winner: Winner, sweep: Sweep) -> str:
    """Which seed's file a winner's is, with the figures of that file."""
    row = winner.row
    figures = [f"validation {columns.percent(row.val_accuracy)}", f"test {columns.percent(row.accuracy)}"]
    figures += [
        columns.size(row.size_bytes),
        *([columns.duration(row.latency_us)] if row.latency_us is not None else []),
    ]
    return f"Its file is that of the best seed on validation items, {row.point.get('seed')}: {', '.join(figures)}."


def name_of(point: Mapping[str, Any], sweep: Sweep) -> str:
    """A configuration in words: its values of the dimensions that were swept."""
    names = [name for name in point if name in {"arch", "to", *sweep.plan.get("dimensions", {})} and name != "seed"]
    return title(point, names)


def value_of(value: Any) -> str:
    """A value of a dimension as text."""
    if isinstance(value, (list, tuple)):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def about_seeds(sweep: Sweep) -> str:
    """What the figures of configurations are, and how much chance there is in them."""
    counts = {len(c.rows) for c in sweep.configurations}
    if not counts or max(counts) == 1:
        return "Figures are those of one seed each, so how far they differ by chance is not known: --seeds 3 tells."
    seeds = "-".join(str(n) for n in sorted({min(counts), max(counts)}))
    spread = seed_spread_pp(sweep)
    noise = "" if spread is None else f" Between seeds, validation accuracy differs by {spread:.2f} pp (SD)."
    return f"All figures are means over {seeds} seeds, those of accuracy with the standard deviation (SD).{noise}"


def effect_of(effect: Effect) -> str:
    """A difference of accuracy with its interval, in which more than 100 pp cannot be."""
    if effect.low_pp is None or effect.high_pp is None:
        return f"{text.with_sign(effect.accuracy_pp)} (too few seeds for an interval)"
    return text.interval(effect.accuracy_pp, effect.low_pp, effect.high_pp)


def summary(sweep: Sweep) -> str:
    """How much was tried, in a sentence."""
    counts = {
        status: sum(row.status == status for row in sweep.rows) for status in ("ok", "stopped", "failed", "missing")
    }
    trained = len({row.keys.get("train") for row in sweep.rows if row.model is not None})
    parts = [f"{counts['ok']} files of {trained} trainings"]
    words = {"stopped": "stopped early", "failed": "failed", "missing": "not done"}
    parts += [f"{counts[status]} {what}" for status, what in words.items() if counts[status]]
    return ", ".join(parts)


def sweep_markdown(sweep: Sweep) -> str:
    """A sweep as Markdown."""
    data = sweep.data
    parts = [f"**Sweep of {escaped(view.file_name(str(data['source'])))}**: {summary(sweep)}."]
    for winner in winners(sweep):
        c = winner.configuration
        figures = ", ".join(filter(None, (f"validation {VALIDATION.text(c)}, test {TEST.text(c)}", *_costs(c))))
        block = "\n".join(winner.commands)
        file = file_of(winner, sweep)
        name = escaped(name_of(c.point, sweep))
        parts.append(f"{escaped(winner.why)}: **{name}** ({figures}). {file}\n\n```shell\n{block}\n```")
    front = [c for c in sweep.configurations if c.on_front]
    rows = [[escaped(name_of(c.point, sweep)), VALIDATION.text(c), *_costs(c)] for c in front]
    parts.append(markdown_table(["On the front", ">Validation", ">Size", ">Latency"], rows))
    if effects := effects_of(sweep):
        heads = ["Dimension", "Value", "Instead of", ">Validation, pp", ">Size", ">Latency"]
        words = [[escaped(value_of(v)) for v in (e.dimension, e.value, e.reference)] for e in effects]
        costs = [[effect_of(e), text.times(e.size), text.times(e.latency)] for e in effects]
        parts.append(markdown_table(heads, [a + b for a, b in zip(words, costs, strict=True)]))
    parts += [about_seeds(sweep)] if sweep.configurations else []
    parts += [f"> {escaped(note)}" for note in sweep.notes]
    parts.append(
        f"Timed on {escaped(sweep.machine)}. All choices are by validation items; test figures are of the winners."
    )
    return "\n\n".join(parts) + "\n"


def _costs(configuration: Configuration) -> list[str]:
    return [SIZE.text(configuration), LATENCY.text(configuration)]
