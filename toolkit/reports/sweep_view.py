"""What the reports of a sweep show: winners with their commands, figures as text, and all of it as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgepress.toolkit import columns, text
from edgepress.toolkit.columns import LATENCY, SIZE, TEST, VALIDATION
from edgepress.toolkit.escaping import markdown as escaped
from edgepress.toolkit.escaping import markdown_table, shell_line
from edgepress.toolkit.reports import view
from edgepress.toolkit.reports.sweep_effects import Effect, effects_of, seed_spread_pp
from edgepress.toolkit.sweeping.result import Configuration, Row, Sweep
from edgepress.toolkit.sweeping.space import title

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
