"""The plot of a benchmark: accuracy against size and against latency, with the Pareto front of each.

A point is a file on an engine. The dashed line joins the points that no other point beats in both figures. Rings mark
the files from which the rule of `edgepress.toolkit.stats.choice` chooses, two rings the file to ship. The bars are the
95 % confidence interval of the accuracy drop against the baseline.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters.files import whole_file
from edgepress.runtime import ENGINES
from edgepress.runtime.text import one_line
from edgepress.toolkit.documents import plain_texts
from edgepress.toolkit.machine.host import host_title
from edgepress.toolkit.measurement.benchmarking.advice import front_of
from edgepress.toolkit.results.records import Benchmark, Measurement

MARKER = 6.0
"""Radius of a point, pixels."""
INK = "#333333"
"""Color of texts, rings and the front."""
FAINT = "#9a9a9a"
"""Color of the lines from labels to points."""


@plain_texts()
def plot_benchmark(result: Benchmark, path: Path) -> None:
    """Draw a benchmark as a PNG file with two panels: its own host, the first number of threads and batch size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    points = [r for r in result.leading() if r.accuracy is not None and r.host in ("", result.host["name"])]
    quality = "Exact match" if any(r.exact_match is not None for r in points) else "Accuracy"
    left, right = figure.subplots(1, 2, sharey=True)
    sizes = [r.size_bytes / 1000 for r in points]
    ringed = {id(r): (r.file, r.engine) == (result.advice.ship, result.advice.engine) for r in front_of(result)}
    _panel(left, points, sizes, ringed, label="File size, kB (log)", title=f"{quality} against size")
    timed = [r for r in points if r.p50_us is not None]
    latencies = [r.p50_us or 0.0 for r in timed]
    what = f"Latency of {_call(timed)}, p50, µs (log)"
    _panel(right, timed, latencies, ringed, label=what, title=f"{quality} against latency")
    left.set_ylabel(
        f"{quality} on {result.data['count']} test items of {one_line(Path(result.data['source']).name, 60)}, %"
    )
    figure.suptitle(
        f"{one_line(host_title(dict(result.host)), 100)}; bars: 95 % interval of the drop", fontsize=10, color=INK
    )
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    figure.canvas.draw()
    figure.set_layout_engine("none")
    for axes, rows, costs in ((left, points, sizes), (right, timed, latencies)):
        _label(axes, rows, costs)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png")


def pareto_front(costs: Sequence[float], accuracies: Sequence[float]) -> list[int]:
    """Indices of the points that no other point beats in both cost and accuracy, by increasing cost."""
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda i: (costs[i], -accuracies[i])):
        if not front or accuracies[index] > accuracies[front[-1]]:
            front.append(index)
    return front


def _panel(
    axes: Any,
    points: Sequence[Measurement],
    costs: Sequence[float],
    ringed: Mapping[int, bool],
    *,
    label: str,
    title: str,
) -> None:
    """Draw one panel; `ringed` has the identities of rows with a ring, and whether that row is to ship."""
    accuracies = [100 * (r.accuracy or 0.0) for r in points]
    x = np.array(costs)
    y = np.array(accuracies)
    bars = np.array([(_below(r), _above(r)) for r in points])
    engines = np.array([r.engine for r in points])
    for engine in dict.fromkeys(engines.tolist()):
        rows = engines == engine
        style = {"fmt": "o", "elinewidth": 0.8, "alpha": 0.85}
        axes.errorbar(x[rows], y[rows], yerr=bars[rows].T, color=_color(engine), label=engine, **style)
    front = pareto_front(costs, accuracies)
    axes.plot(x[front], y[front], label="none beats", drawstyle="steps-post", linestyle="--", linewidth=1.0, color=INK)
    circle = {"marker": "o", "linestyle": "none", "markerfacecolor": "none", "color": INK}
    kept = [n for n, r in enumerate(points) if id(r) in ringed]
    ship = [n for n in kept if ringed[id(points[n])]]
    for rows, diameter, name in ((kept, 11, "sure, small and fast"), (ship, 15, "to ship")):
        if rows:
            axes.plot(x[rows], y[rows], markersize=diameter, label=name, **circle)
    axes.set(xscale="log", xlabel=label)
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.25)
    axes.margins(x=0.18, y=0.15)
    plain_ticks(axes.xaxis)


def _color(engine: str) -> str:
    return ENGINES[engine].color if engine in ENGINES else INK


def _call(points: Sequence[Measurement]) -> str:
    """Batch size and threads of a latency, in words."""
    batch, threads = (points[0].batch, points[0].threads) if points else (1, 1)
    return ("one item" if batch == 1 else f"{batch} items") + (f" on {threads} threads" if threads > 1 else "")


def _below(row: Measurement) -> float:
    """Length of the bar below a point, percentage points."""
    return max(0.0, (row.drop_high_pp or 0.0) - (row.drop_pp or 0.0)) if row.drop_high_pp is not None else 0.0


def _above(row: Measurement) -> float:
    """Length of the bar above a point, percentage points; it ends at 100 %."""
    if row.drop_low_pp is None:
        return 0.0
    return min(max(0.0, (row.drop_pp or 0.0) - row.drop_low_pp), 100 * (1 - (row.accuracy or 0.0)))


def plain_ticks(axis: Any) -> None:
    """Label a logarithmic axis, whose limits are final, with plain numbers: 1, 2 and 5, or more of a short range."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)) if high > 5 * low else MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _label(axes: Any, points: Sequence[Measurement], costs: Sequence[float]) -> None:
    """Place the scheme's name near each point where it covers as little as possible, joined by a thin line.

    The layout must be final, because positions are in pixels. Coinciding points of one scheme share a name.
    """
    from matplotlib.transforms import Bbox

    def pixels(x: float, y: float) -> tuple[float, float]:
        px, py = axes.transData.transform((x, y))
        return float(px), float(py)

    frame = axes.get_window_extent()
    named: dict[tuple[str, float, float], Measurement] = {}
    taken: list[tuple[Any, float]] = []  # boxes with the cost of covering them
    points_at: list[tuple[float, float]] = []
    for row, cost in zip(points, costs, strict=True):
        accuracy = 100 * (row.accuracy or 0.0)
        x, y = pixels(cost, accuracy)
        low = pixels(cost, accuracy - _below(row))[1]
        high = pixels(cost, accuracy + _above(row))[1]
        taken += [(Bbox([[x - 9, y - 9], [x + 9, y + 9]]), 6.0), (Bbox([[x - 2, low], [x + 2, high]]), 1.0)]
        named[row.scheme, round(x), round(y)] = row
        points_at.append((x, y))
    for (scheme, x, y), row in sorted(named.items(), key=lambda item: item[0][1:]):
        text = axes.annotate(
            one_line(scheme, 40),
            (x, y),
            xytext=(x, y),
            xycoords="figure pixels",
            textcoords="figure pixels",
            ha="center",
            va="center",
            fontsize=8,
            color=_color(row.engine),
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.7},
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.6, "shrinkB": 4},
        )
        center = _find_center((x, y), text.get_window_extent(), frame, taken, points_at=points_at)
        if center is not None:
            text.set_position(center)
            taken.append((text.get_window_extent().padded(3), 20.0))


def _find_center(
    point: tuple[float, float],
    size: Any,
    frame: Any,
    taken: Sequence[tuple[Any, float]],
    *,
    points_at: Sequence[tuple[float, float]],
) -> tuple[float, float] | None:
    """The center for a name beside its point at the least cost; None if the frame has no room.

    Args:
        point: The point, pixels.
        size: A box of the name's width and height.
        frame: The box to stay within.
        taken: Boxes with the cost of covering a pixel of them.
        points_at: All points; a line from the point to the name should pass none.
    """
    from matplotlib.transforms import Bbox

    prices: dict[tuple[float, float], float] = {}
    for radius, turn in itertools.product(range(14, 320, 12), range(24)):
        angle = 2 * math.pi * turn / 24
        x = point[0] + (size.width / 2 + radius) * math.cos(angle)
        y = point[1] + (size.height / 2 + radius) * math.sin(angle)
        box = Bbox.from_bounds(x - size.width / 2 - 3, y - size.height / 2 - 2, size.width + 6, size.height + 4)
        if box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1:
            continue
        covered = [(Bbox.intersection(box, other), cost) for other, cost in taken]
        price = radius * 3.0 + sum(cost * both.width * both.height for both, cost in covered if both)
        prices[x, y] = price + 400.0 * sum(_crosses(point, (x, y), other) for other in points_at)
    return min(prices, key=prices.__getitem__, default=None)


def _crosses(start: tuple[float, float], end: tuple[float, float], point: tuple[float, float]) -> bool:
    """Whether the line from a point to its name passes another point, and so would seem to name that one."""
    if math.dist(start, point) < MARKER:
        return False
    along = [(e - s, p - s) for s, e, p in zip(start, end, point, strict=True)]
    place = sum(line * way for line, way in along) / (sum(line * line for line, _ in along) or 1.0)
    nearest = [s + min(1.0, max(0.0, place)) * line for s, (line, _) in zip(start, along, strict=True)]
    return math.dist(nearest, point) < MARKER
