"""The check of the number of test items: how many a verdict needs, with labels and without."""

from __future__ import annotations

from math import ceil

from edgepress.toolkit import text
from edgepress.toolkit.remarks.facts import Facts, Pair
from edgepress.toolkit.remarks.remark import Remark
from edgepress.toolkit.stats.intervals import Z95, score_interval
from edgepress.toolkit.stats.samples import items_to_rule_out, items_without_labels, least_items, share_interval

FEW = "few test items"
WIDE = 0.05
"""Half the width of the accuracy's interval from which on the items are few, where no quantized file was measured."""
RULED_OUT = 0.01
"""The default of the largest drop that files are allowed."""
MOST = 1_000_000
"""Larger numbers of items are no advice."""
WORTH = 10
"""How many times as many items without labels are still worth a word."""


def few_items(facts: Facts) -> Remark | None:
    """Too few test items to tell a quantized file from the float one, or to know the accuracy itself."""
    return _of_accuracy(facts) if facts.pair is None else _of_pair(facts, facts.pair)


def _of_pair(facts: Facts, pair: Pair) -> Remark | None:
    n, limit = facts.count, facts.max_drop_pp / 100
    if not 0 < limit < 1:
        return None
    low, high = (float(end) for end in score_interval(pair.lost, pair.gained, n))
    needed = items_to_rule_out(pair.lost, pair.gained, n, drop=limit)
    if high <= limit or needed is None or needed > MOST:
        return None
    needed = max(needed, n + 1)
    bare = items_without_labels(pair.differing, n, drop=limit)
    drop = text.interval(100 * (pair.lost - pair.gained) / n, 100 * low, 100 * high)
    marked = max(1, ceil((pair.differing + 0.5) / (n + 1) * needed))
    figures = {"items": n, "items_needed": needed, "differing": pair.differing, "drop_high": high}
    words = (
        f"{n:,} test items can't tell {pair.candidate} from {pair.reference} to within {facts.max_drop_pp:g} pp (drop "
        f"{drop} pp): about {text.estimate(needed)} would, of which you need to label only those "
        f"that the two answer differently, about {marked}"
    )
    if bare is not None and bare <= WORTH * needed:
        figures["items_without_labels"] = bare
        without = text.estimate(max(bare, n + 1))
        words += f"; without any label, about {without} are enough if the two agree on them as often as here"
    return Remark(kind=FEW, text=f"{words}.", command=facts.more, figures=figures)


def _of_accuracy(facts: Facts) -> Remark | None:
    found = share_interval(facts.right, facts.count)
    assert found.low is not None
    assert found.high is not None
    half = (found.high - found.low) / 2
    if half <= WIDE:
        return None
    needed = max(
        ceil(facts.count * (half / WIDE) ** 2), ceil(found.estimate * (1 - found.estimate) * (Z95 / WIDE) ** 2)
    )
    between = f"{text.percent(found.low, '.0f')} and {text.percent(found.high, '.0f')}"
    return Remark(
        kind=FEW,
        text=f"{facts.count} test items only show that the accuracy is between {between} (95 % "
        f"interval): about {text.estimate(needed)} would show it to within 5 pp, and fewer than "
        f"{least_items(RULED_OUT)} can't rule out that quantization costs a percent, whatever the files.",
        command=facts.more,
        figures={"items": facts.count, "low": found.low, "high": found.high, "items_needed": needed},
    )
