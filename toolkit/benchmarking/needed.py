"""Which file more test items would help, and how many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from edgepress.toolkit.results.records import UNPROVEN, Measurement
from edgepress.toolkit.stats.choice import Costs, Rule
from edgepress.toolkit.stats.posterior import Evidence
from edgepress.toolkit.stats.samples import items_to_be_sure, items_to_rule_out
from edgepress.toolkit.text import estimate, sure


def unsure_row(
    results: Sequence[Measurement], costs: Sequence[Costs], rule: Rule, max_drop_pp: float, *, ship: Measurement | None
) -> Measurement | None:
    """The file that more labels are wanted for; see `Advice`."""
    able = [
        costs[n] if r.drop_pp is None or r.failed or r.drop_pp >= max_drop_pp else costs[n]._replace(probability=1.0)
        for n, r in enumerate(results)
    ]
    best = rule.choose(able)
    if best is not None and (costs[best].probability or 0.0) < rule.confidence:
        return results[best]
    return ship if ship is not None and ship.status == UNPROVEN else None


def missing_items(unsure: Measurement, *, chosen: bool, count: int, max_drop_pp: float, rule: Rule, more: int) -> str:
    """How many test items would make a file sure, and how many of them need a label."""
    lost = unsure.lost or 0
    gained = unsure.gained or 0
    differing = unsure.differing or 0
    limit = max_drop_pp / 100
    if chosen:
        needed = items_to_rule_out(lost, gained, count, drop=limit)
        what = "prove it (95 % interval)"
        head = ""
    else:
        evidence = Evidence(count, lost, gained, expected_lost=unsure.expected_lost)
        needed = items_to_be_sure(evidence, drop=limit, confidence=rule.confidence)
        what = f"make it {sure(rule.confidence)} sure"
        drop = f"{unsure.drop_pp:.2f} pp"
        head = f"{row_name(unsure)} would be chosen, but is only {sure(unsure.probability)} sure (drop {drop}). "
    if needed is None:
        return f"{head}Loosen --max-drop."
    needed = max(needed, count + 1)
    label = max(1, math.ceil((differing + 0.5) / (count + 1) * (needed - count)))
    enough = f"{head}About {estimate(needed)} test items (there are {count}) would {what} if it answers them as here"
    if more:
        return f"{enough}."
    few = f"only those need a label that it answers differently from the baseline, about {label}"
    return f"{enough}; of new ones (--more DATA), {few}."


def row_name(row: Measurement) -> str:
    """A file and its engine, for a sentence."""
    return f"{Path(row.file).name} on {row.engine}"
