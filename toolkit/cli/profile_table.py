"""A profile as tables and sentences."""

from __future__ import annotations

from rich.table import Table

from edgepress.toolkit.cli import screen
from edgepress.toolkit.profiling.profile import Profile
from edgepress.toolkit.text import duration, plural

SLOWDOWN = 1.1
"""From which on tracing is said to have slowed the net down."""


def operations_table(profile: Profile) -> Table:
    """Time by kind of operation."""
    columns = [("Operation", "left"), ("Count", "right"), ("µs", "right"), ("Share", "right")]
    rows = [[o.operation, str(o.count), f"{o.time_us:.1f}", f"{100 * o.share:.1f} %"] for o in profile.operations]
    if profile.delegated_share is not None:
        columns.append(("Delegated", "left"))
        rows = [[*row, "yes" if o.delegated else "no"] for row, o in zip(rows, profile.operations, strict=True)]
    return screen.table("", columns, rows)


def nodes_table(profile: Profile) -> Table:
    """Time of every kernel, in order."""
    columns = (("Name", "left"), ("Operation", "left"), ("Kernel", "left"), ("µs", "right"), ("Share", "right"))
    rows = [
        (n.name, n.operation, n.kernel if n.kernel != n.operation else "", f"{n.time_us:.1f}", f"{100 * n.share:.1f} %")
        for n in profile.nodes
    ]
    return screen.table("", columns, rows)


def summary(profile: Profile) -> list[str]:
    """What else to know, one sentence a line."""
    lines = [
        f"{profile.file} on {profile.engine}, {plural(profile.threads, 'thread')}: {duration(profile.total_us)} an "
        f"inference, {duration(profile.rest_us)} of it outside of its {len(profile.nodes)} kernels."
    ]
    if profile.delegated_share is not None:
        lines.append(
            f"XNNPACK took {profile.delegated_operations} of {profile.file_operations} operations and "
            f"{100 * profile.delegated_share:.1f} % of their time."
        )
    if profile.tracing_slowdown > SLOWDOWN:
        lines.append(
            f"Tracing slowed it down {profile.tracing_slowdown:.1f} times: trust the shares more than the times, "
            "and those of cheap kernels least."
        )
    lines.append(f"Times: {profile.method}; mean over the quieter half of {profile.runs} inferences.")
    return lines
