"""Prepare what the reports of a sweep show: winners with their commands, and figures as text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgepress.toolkit.reports import view
from edgepress.toolkit.sweeping.result import Configuration, Row, Sweep
from edgepress.toolkit.sweeping.space import title

WINNERS = {
    "accurate": "The most accurate",
    "fast": "The fastest less than 1 pp below it",
    "small": "The smallest less than 1 pp below it",
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
    found = []
    for number, why in reasons.items():
        configuration = sweep.configurations[number]
        row = sweep.rows[configuration.best]
        words = " and ".join([why[0], *(text[0].lower() + text[1:] for text in why[1:])])
        found.append(Winner(words, configuration, row, commands(sweep, row)))
    return found


def commands(sweep: Sweep, row: Row) -> tuple[str, ...]:
    """The commands that train and convert a row again."""
    folder = f"runs/winner-{row.keys.get('train', '')[:8]}"
    about = {name: value for name, value in sweep.plan.get("data", {}).items() if name != "source"}
    point = {name: value for name, value in row.point.items() if name != "to"}
    words = ["edgepress", "train", "--data", str(sweep.data["source"]), "--out", folder]
    for name, value in (about | point | dict(sweep.plan.get("training", {}))).items():
        option = f"--{name.replace('_', '-')}"
        if name in _FLAGS:
            words += [option] if value else []
        elif value is not None:
            words += [option, "x".join(map(str, value)) if isinstance(value, list) else f"{value}"]
    return shlex.join(words), shlex.join(["edgepress", "convert", f"{folder}/model.keras", "--to", row.point["to"]])


def name_of(point: Mapping[str, Any], sweep: Sweep) -> str:
    """A configuration in words: its values of the dimensions that were swept."""
    names = [name for name in point if name in {"arch", "to", *sweep.plan.get("dimensions", {})} and name != "seed"]
    return title(point, names)


def value_of(value: Any) -> str:
    """A value of a dimension as text."""
    if isinstance(value, (list, tuple)):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def accuracy(c: Configuration) -> str:
    """Validation accuracy with its standard deviation over seeds."""
    spread = "" if c.val_accuracy_std is None else f" ± {100 * c.val_accuracy_std:.2f}"
    return f"{view.percent(c.val_accuracy)}{spread}"


def summary(sweep: Sweep) -> str:
    """How much was tried, in a sentence."""
    counts = {
        status: sum(row.status == status for row in sweep.rows) for status in ("ok", "stopped", "failed", "missing")
    }
    trained = len({row.keys.get("train") for row in sweep.rows if row.model is not None})
    parts = [f"{counts['ok']} files of {trained} trainings"]
    words = {"stopped": "stopped early", "failed": "failed", "missing": "not done"}
    parts += [f"{counts[status]} {text}" for status, text in words.items() if counts[status]]
    return ", ".join(parts)
