"""The command `profile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.terminal import Table
from edgepress.toolkit.text import duration, plural
from edgepress.toolkit.workers.trace import TRACERS

if TYPE_CHECKING:
    from edgepress.toolkit.diagnosis.profiling.profile import Profile

SLOWDOWN = 1.1
"""Slowdown by tracing from which a warning is printed."""


def profile(
    file: Annotated[Path, Argument(help="A .tflite file without state, or an .onnx file")],
    engine: Annotated[options.Tracer | None, options.engine_option("Engine that runs the file", TRACERS)] = None,
    threads: options.Threads = 1,
    runs: Annotated[int, Option(min=1, help="Inferences to trace; fewer if they take longer than 2 s")] = 200,
    nodes: Annotated[bool, Option("--nodes", help="Also print every kernel in execution order")] = False,
    plot: Annotated[Path | None, Option(help="Draw the time of each layer to this .png or .svg file")] = None,
    json_output: options.Json = False,
) -> None:
    """Show where the time of one inference goes: by operation, by layer, and how much the delegate takes."""
    from edgepress.toolkit.diagnosis.profiling.plot import plot_profile
    from edgepress.toolkit.diagnosis.profiling.profile import profile as work
    from edgepress.toolkit.documents import checked_suffix

    if plot is not None:
        checked_suffix(plot)
    result = work(file, engine, threads=threads, runs=runs)
    if plot is not None:
        plot_profile(result, plot)
    if json_output:
        screen.document(result.to_dict())
        return
    screen.show(_operations_table(result))
    if nodes:
        screen.say()
        screen.show(_nodes_table(result))
    screen.say()
    for line in _summary(result):
        screen.say(line)
    if plot is not None:
        screen.say(f"Written: {plot}")


def _operations_table(result: Profile) -> Table:
    columns = [("Operation", "left"), ("Count", "right"), ("µs", "right"), ("Share", "right")]
    rows = [[o.operation, str(o.count), f"{o.time_us:.1f}", f"{100 * o.share:.1f} %"] for o in result.operations]
    if result.delegated_share is not None:
        columns.append(("Delegated", "left"))
        rows = [[*row, "yes" if o.delegated else "no"] for row, o in zip(rows, result.operations, strict=True)]
    return screen.table(columns, rows)


def _nodes_table(result: Profile) -> Table:
    columns = (("Name", "left"), ("Operation", "left"), ("Kernel", "left"), ("µs", "right"), ("Share", "right"))
    rows = [
        (n.name, n.operation, n.kernel if n.kernel != n.operation else "", f"{n.time_us:.1f}", f"{100 * n.share:.1f} %")
        for n in result.nodes
    ]
    return screen.table(columns, rows)


def _summary(result: Profile) -> list[str]:
    lines = [
        f"{result.file} on {result.engine}, {plural(result.threads, 'thread')}: {duration(result.total_us)} per "
        f"inference, of which {duration(result.rest_us)} outside its {plural(len(result.nodes), 'kernel')}."
    ]
    if result.delegated_share is not None:
        lines.append(
            f"XNNPACK runs {result.delegated_operations} of {result.file_operations} operations, which take "
            f"{100 * result.delegated_share:.1f} % of the kernels' time."
        )
    if result.tracing_slowdown > SLOWDOWN:
        lines.append(
            f"Tracing slowed the model down {result.tracing_slowdown:.1f} times: the shares are more reliable than the "
            "times, and least reliable for cheap kernels."
        )
    lines.append(f"Times: {result.method}; mean over the faster half of {plural(result.runs, 'inference')}.")
    return lines
