"""The report of a sweep as Markdown: the winners with their commands, the front, and what each dimension brings."""

from __future__ import annotations

from edgepress.toolkit.reports import sweep_view, view
from edgepress.toolkit.reports.markdown import escaped
from edgepress.toolkit.reports.sweep_effects import effects_of, seed_spread_pp
from edgepress.toolkit.sweeping.result import Sweep


def sweep_markdown(sweep: Sweep) -> str:
    """A sweep as Markdown."""
    data = sweep.data
    parts = [f"**Sweep of {escaped(view.file_name(str(data['source'])))}**: {sweep_view.summary(sweep)}."]
    for winner in sweep_view.winners(sweep):
        c = winner.configuration
        figures = (
            f"validation {sweep_view.accuracy(c)}, test {view.percent(winner.row.accuracy)}, {view.size(c.size_bytes)}"
        )
        figures += f", {view.duration(c.latency_us)}" if c.latency_us is not None else ""
        block = "\n".join(winner.commands)
        name = escaped(sweep_view.name_of(c.point, sweep))
        parts.append(f"{winner.why}: **{name}** ({figures})\n\n```shell\n{block}\n```")
    front = [c for c in sweep.configurations if c.on_front]
    lines = ["| on the front | validation | size | latency |", "|---|--:|--:|--:|"]
    for c in front:
        cells = (escaped(sweep_view.name_of(c.point, sweep)), sweep_view.accuracy(c), view.size(c.size_bytes))
        lines.append(f"| {' | '.join(cells)} | {view.duration(c.latency_us)} |")
    parts.append("\n".join(lines))
    if effects := effects_of(sweep):
        lines = ["| dimension | value | instead of | validation, pp | size | latency |", "|---|---|---|--:|--:|--:|"]
        for e in effects:
            words = [escaped(sweep_view.value_of(v)) for v in (e.dimension, e.value, e.reference)]
            figures = view.interval(e.accuracy_pp, e.low_pp, e.high_pp)
            lines.append(f"| {' | '.join(words)} | {figures} | {view.times(e.size)} | {view.times(e.latency)} |")
        parts.append("\n".join(lines))
    spread = seed_spread_pp(sweep)
    if spread is not None:
        parts.append(f"Between seeds, validation accuracy differs by {spread:.2f} pp (standard deviation).")
    parts += [f"> {escaped(note)}" for note in sweep.notes]
    parts.append(
        f"Timed on {escaped(sweep.machine)}. All choices are by validation items; test figures are of the winners."
    )
    return "\n\n".join(parts) + "\n"
