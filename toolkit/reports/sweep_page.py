"""The report of a sweep as one HTML page, which needs neither a network nor JavaScript: its plots are SVG.

`sweep.html` (Jinja) holds the texts and tables; the style sheet is that of the other report.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress import __version__
from edgepress.toolkit import columns
from edgepress.toolkit.columns import VALIDATION
from edgepress.toolkit.reports import sweep_view, view
from edgepress.toolkit.reports.page import style_sheet, template
from edgepress.toolkit.reports.sweep_view import effects_of
from edgepress.toolkit.reports.view import SHAPES, color_of
from edgepress.toolkit.search.sweeping.result import Configuration, Sweep

WIDTH = 480
"""Width of a plot, in units of its view box."""
HEIGHT = 300
"""Height of a plot."""
LEFT = 52
"""Margin of a plot on the left."""
RIGHT = 14
"""Margin on the right."""
TOP = 12
"""Margin above."""
BOTTOM = 40
"""Margin below."""
TABLED = 400
"""Most configurations in the table."""


@dataclass(frozen=True)
class Plot:
    """A plot of validation accuracy against a cost, ready for the template: coordinates in its view box."""

    title: str
    points: Sequence[dict[str, Any]]
    front: str
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]


def sweep_page(sweep: Sweep) -> str:
    """The report of a sweep as HTML."""
    from markupsafe import Markup

    style = style_sheet()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    archs = list(dict.fromkeys(str(c.point["arch"]) for c in sweep.configurations))
    shapes = {arch: min(n, SHAPES - 1) for n, arch in enumerate(archs)}
    effects = effects_of(sweep)
    shown = sweep.configurations[:TABLED]
    return template("sweep.html").render(
        sweep=sweep,
        v=view,
        fig=columns,
        s=sweep_view,
        winners=sweep_view.winners(sweep),
        plots=_plots(sweep, shapes),
        schemes={c.point["to"]: color_of(c.point["to"]) for c in sweep.configurations},
        shapes=shapes,
        rows=[(c, color_of(c.point["to"]), shapes[str(c.point["arch"])]) for c in shown],
        more=len(sweep.configurations) - len(shown),
        timed=any(c.latency_us is not None for c in sweep.configurations),
        effects=[(e, _bar(e, effects)) for e in effects],
        failures=list(dict.fromkeys(row.error for row in sweep.rows if row.error)),
        version=__version__,
        policy=policy,
        style=Markup(style),  # ours, not the results'
    )


def _plots(sweep: Sweep, shapes: dict[str, int]) -> list[Plot]:
    costs: list[tuple[str, Callable[[Configuration], float | None], Callable[[Any], str]]] = [
        ("latency", lambda c: c.latency_us, columns.duration),
        ("size", lambda c: float(c.size_bytes), lambda n: columns.size(round(n))),
    ]
    plots = []
    for name, cost, text in costs:
        known = [(c, value) for c in sweep.configurations if (value := cost(c)) is not None]
        if known:
            plots.append(_plot(f"Accuracy against {name}", known, text, shapes, sweep=sweep))
    return plots


def _plot(
    title: str,
    known: Sequence[tuple[Configuration, float]],
    text: Callable[[Any], str],
    shapes: dict[str, int],
    *,
    sweep: Sweep,
) -> Plot:
    logs = [math.log(cost) for _, cost in known]
    accuracies = [c.val_accuracy for c, _ in known]
    low_x, high_x = _pad(min(logs), max(logs), 0.05)
    low_y, high_y = _pad(min(accuracies), max(accuracies), 0.005)

    def x(cost: float) -> float:
        return round(LEFT + (math.log(cost) - low_x) / (high_x - low_x) * (WIDTH - LEFT - RIGHT), 1)

    def y(accuracy: float) -> float:
        return round(HEIGHT - BOTTOM - (accuracy - low_y) / (high_y - low_y) * (HEIGHT - TOP - BOTTOM), 1)

    best = -1.0
    front = list[tuple[float, float]]()
    for accuracy, cost in sorted(((c.val_accuracy, cost) for c, cost in known), key=lambda pair: (pair[1], -pair[0])):
        if accuracy > best:
            best = accuracy
            front.append((x(cost), y(accuracy)))
    points = [
        {
            "x": x(cost),
            "y": y(c.val_accuracy),
            "color": color_of(c.point["to"]),
            "shape": shapes[str(c.point["arch"])],
            "ring": (x(cost), y(c.val_accuracy)) in front,
            "text": f"{sweep_view.name_of(c.point, sweep)}: {VALIDATION.text(c)}, {text(cost)}",
        }
        for c, cost in reversed(known)
    ]
    ticks_x = [(x(math.exp(value)), text(math.exp(value))) for value in np.linspace(low_x, high_x, 6)[1:-1]]
    ticks_y = [(y(value), f"{100 * value:.1f} %") for value in np.linspace(low_y, high_y, 6)[1:-1]]
    return Plot(title, points, " ".join(f"{a},{b}" for a, b in front), ticks_x, ticks_y)


def _pad(low: float, high: float, least: float) -> tuple[float, float]:
    """A range with room at its ends."""
    room = max(least, 0.07 * (high - low))
    return low - room, high + room


def _bar(effect: Any, effects: Sequence[Any]) -> dict[str, float]:
    """The places of a bar from zero, of its interval and of zero, 0-100 along the largest of all."""
    ends = [v for e in effects for v in (e.accuracy_pp, e.low_pp, e.high_pp, 0.0) if v is not None]
    low = min(ends)
    high = max(ends)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return round(4 + 92 * (value - low) / span, 1)

    at = place(effect.accuracy_pp)
    zero = place(0.0)
    places = {"zero": zero, "at": at, "from": min(at, zero), "width": abs(at - zero)}
    if effect.low_pp is not None and effect.high_pp is not None:
        places |= {"low": place(effect.low_pp), "high": place(effect.high_pp)}
    return places
