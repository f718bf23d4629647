"""The table of checks, and those of the classes, the labels, the images and the number of test items.

A check is a function from `Facts` to a `Remark`, or None where nothing stands out or its figures were not measured.
The rule for all: a remark follows from counts, and where chance could make the difference, it follows from the end of
a 95 % interval or from a test, so that healthy models stay without remarks (`tests/integration/test_remarks.py`,
`benchmarks/diagnosis/remarks.py`). Limits of the checks: they see the labels as they are, and equal content only;
wrong labels of different items look like a hard problem.

    >>> from edgepress.toolkit.results.remarks.checks import remarks
    >>> remarks(facts)                                                   # doctest: +SKIP
    ()
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import numpy as np

from edgepress.toolkit import text
from edgepress.toolkit.results.remarks.facts import Facts, FloatPair, Remark
from edgepress.toolkit.results.remarks.gap import (
    far_above_validation,
    few_epochs,
    is_short,
    may_gain,
    more_epochs,
    still_improving,
)
from edgepress.toolkit.stats.intervals import Z95, score_interval
from edgepress.toolkit.stats.metrics import near_largest
from edgepress.toolkit.stats.samples import items_to_rule_out, items_without_labels, least_items, share_interval

FEW = "few test items"
WIDE = 0.05
"""Half the width of the accuracy's interval from which on the items are few, where no quantized file was measured."""
LEAST_GROUPS = 5
"""Number of groups of test items below which they are few, however many items these have."""
RULED_OUT = 0.01
"""The default of the largest drop that files are allowed."""
MOST = 1_000_000
"""Larger numbers of items are no advice."""
WORTH = 10
"""How many times as many items without labels are still worth a word."""
NEAR_LARGEST = "near the largest class"
NEVER = "never predicted"
OF_CLASSES = (NEAR_LARGEST, NEVER)
"""What is asked only of classes that exclude each other."""
CONTRADICTION = "contradictory labels"
IMPROVING = "still improving"
FROM_NOTHING = "no pre-trained weights"
FROZEN = "classifier alone"
FIRST = (FROM_NOTHING, FROZEN, CONTRADICTION, "few epochs", IMPROVING)
"""What comes before other advice about a training of very few epochs."""
IMBALANCED = 1.5
"""How many times its equal share the largest class has, from which on weights of the classes are tried first."""
UNLIKELY = 0.05
"""Largest chance, for all classes together, that a class as easy as the others is never predicted by accident."""
RARE = 0.5
"""Share of the mean class from which on a class that is never predicted is not rare."""
CONTRADICTED = 0.001
"""Share of all items that must be wrong, whatever a model answers, from which on that is said: a tenth of the drop
that files are allowed. Large published data sets have fewer (`cifar100`: some in 60,000)."""
FAR = 4.0
"""How many times larger or smaller an image's sides are than the net's if they are far from them."""
ROOM = 0.95
"""The accuracy below which that is said: a net that answers nearly all items correctly sees enough."""
MIN_SIDE = 28
"""The smallest side that is recommended, pixels; every network accepts it."""
MAX_SIDE = 224
"""The largest side that is recommended, pixels."""
ASPECT = 2.0
"""How many times wider an image is than its stretched copy."""
NAMED = 3
"""Number of classes or items that a text names."""


def few_items(facts: Facts) -> Remark | None:
    """Too few test items to tell a quantized file from the float one, or to know the accuracy itself."""
    return _of_accuracy(facts) if facts.pair is None else _of_pair(facts, facts.pair)


def _of_pair(facts: Facts, pair: FloatPair) -> Remark | None:
    n = facts.count
    limit = facts.max_drop_pp / 100
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
    interval = share_interval(facts.right, facts.count)
    assert interval.low is not None
    assert interval.high is not None
    half = (interval.high - interval.low) / 2
    few_groups = facts.groups is not None and facts.groups < LEAST_GROUPS
    if half <= WIDE and not few_groups:
        return None
    if facts.groups is not None:
        return Remark(
            kind=FEW,
            text=f"{facts.count} test items of {text.plural(facts.groups, 'group')} tell little of other groups, "
            "because items of one group are right or wrong together: test on more groups, not on more items of these.",
            command=facts.more,
            figures={"items": facts.count, "groups": facts.groups, "low": interval.low, "high": interval.high},
        )
    needed = max(
        ceil(facts.count * (half / WIDE) ** 2), ceil(interval.estimate * (1 - interval.estimate) * (Z95 / WIDE) ** 2)
    )
    between = f"{text.percent(interval.low, '.0f')} and {text.percent(interval.high, '.0f')}"
    return Remark(
        kind=FEW,
        text=f"{facts.count} test items only show that the accuracy is between {between} (95 % "
        f"interval): about {text.estimate(needed)} would show it to within 5 pp, and fewer than "
        f"{least_items(RULED_OUT)} can't prove that a file with the same accuracy loses less than a percent.",
        command=facts.more,
        figures={"items": facts.count, "low": interval.low, "high": interval.high, "items_needed": needed},
    )


def remarks(facts: Facts) -> tuple[Remark, ...]:
    """What else than quantization limits the accuracy, in the order of the table; of a short training, epochs first."""
    checks = {kind: check for kind, check in CHECKS.items() if not (facts.multilabel and kind in OF_CLASSES)}
    by_kind = {kind: remark for kind, check in checks.items() if (remark := check(facts)) is not None}
    if NEAR_LARGEST in by_kind:
        by_kind.pop(FEW, None)  # how well a net is measured that has learned little does not matter
    if is_short(facts):
        by_kind = {kind: by_kind[kind] for kind in sorted(by_kind, key=lambda kind: kind not in FIRST)}
    return tuple(by_kind.values())


def near_largest_class(facts: Facts) -> Remark | None:
    """Test accuracy is hardly above the share of the largest class, paired over the items."""
    near = near_largest(facts.confusion.sum(axis=1), np.diagonal(facts.confusion))
    if near is None:
        return None
    than = "worse than" if near.high < 0 else "hardly better than"
    gain = text.interval(100 * (near.accuracy - near.share), 100 * near.low, 100 * near.high)
    name = facts.labels[near.largest]
    return Remark(
        kind=NEAR_LARGEST,
        text=f"Test accuracy is {_percent(near.accuracy)}, and {_percent(near.share)} of the {facts.count} test items "
        f"are of the class {name}: that is {than} answering {name} always ({gain} pp), {_why_little(facts)}.",
        command=_to_learn(facts, near.share),
        figures={
            "accuracy": near.accuracy,
            "largest_share": near.share,
            "gain_low": near.low,
            "gain_high": near.high,
        },
    )


def _why_little(facts: Facts) -> str:
    """What such an accuracy means; of a model made elsewhere, the user's description may be what is wrong."""
    if not facts.foreign:
        return "so the net has learned little, and no conversion can fix that"
    options = "--input-range (or --mean and --std), --color and --labels" if facts.is_image else "--labels"
    return f"so the net has learned little, or gets other input or labels than in its training: check {options}"


def _to_learn(facts: Facts, share: float) -> str:
    """What is tried first with a net that learned little: epochs if few, weights of the classes, smaller steps."""
    arguments = facts.arguments
    if not arguments:
        return facts.look
    weigh = share >= IMBALANCED / len(facts.labels) and not arguments.get("class_weights")
    if weigh and not is_short(facts):
        return facts.again({"class_weights": True})
    if still_improving(facts) is not None or is_short(facts):
        return facts.again({"epochs": more_epochs(facts)})
    return facts.again({"learning_rate": float(f"{arguments['learning_rate'] / 10:.3g}")})


def never_predicted(facts: Facts) -> Remark | None:
    """Classes with items that the model answers for none, more than chance explains.

    With the accuracy a on the classes that are predicted (half an item added to either side), a class of s items is
    never predicted by accident with a chance of (1 - a)^s or less; times the number of classes, as any could be it
    (Bonferroni). Validation items count, too: neither was trained on.
    """
    confusion = facts.held_out
    support = confusion.sum(axis=1)
    answered = confusion.sum(axis=0)
    missing = (support > 0) & (answered == 0)
    seen = int(support[~missing].sum())
    wrong = (seen - int(np.trace(confusion)) + 0.5) / (seen + 1)
    never = np.flatnonzero(missing & (wrong**support * len(support) < UNLIKELY)).tolist()
    if not never:
        return None
    items = int(support[never].sum())
    instead = int(np.argmax(confusion[never].sum(axis=0)))
    one = len(never) == 1
    which = (
        f"the class {facts.labels[never[0]]}"
        if one
        else f"{len(never)} of {len(support)} classes ({_list(facts, never)})"
    )
    return Remark(
        kind=NEVER,
        text=f"The float model never answers {which}, to which {items} of {confusion.sum()} held-out items belong; it "
        f"takes them most often for {facts.labels[instead]}.",
        command=_for_rare(facts, never),
        figures={"classes": len(never), "items": items},
    )


def _for_rare(facts: Facts, never: list[int]) -> str:
    """Weights of the classes if those are rare in training; a longer training if that helps; else a look at them."""
    counts = facts.train_counts
    longer = still_improving(facts)
    unweighted = counts is not None and facts.arguments and not facts.arguments.get("class_weights")
    if counts is not None and unweighted and not is_short(facts) and counts[never].mean() < RARE * counts.mean():
        return facts.again({"class_weights": True})
    longer = longer or few_epochs(facts)
    return longer.command if longer is not None else facts.look


def from_nothing(facts: Facts) -> Remark | None:
    """A net that learned photos from nothing, and answers too many of them wrongly for a longer training to help."""
    if not facts.transfer or not may_gain(facts):
        return None
    held = facts.held_out
    wrong = int(held.sum() - np.trace(held))
    return Remark(
        kind=FROM_NOTHING,
        text=f"The net learned these photos from nothing, and {wrong} of {held.sum()} held-out items are wrong. "
        "One that begins with ImageNet's weights, which come with edgepress, comes before more epochs and images.",
        command=facts.transfer,
        figures={"errors": wrong / int(held.sum())},
    )


def frozen_body(facts: Facts) -> Remark | None:
    """A pre-trained net of which only the classifier was trained, although there are items enough for all layers."""
    if not facts.all_layers or not may_gain(facts):
        return None
    held = facts.held_out
    wrong = int(held.sum() - np.trace(held))
    return Remark(
        kind=FROZEN,
        text=f"Only the classifier was trained (--freeze), and {wrong} of {held.sum()} held-out items are wrong. "
        "Your photos suffice to train all layers, which takes minutes and usually gains more than anything else.",
        command=facts.all_layers,
        figures={"errors": wrong / int(held.sum())},
    )


def contradictory_labels(facts: Facts) -> Remark | None:
    """Items of equal content in different classes, of which all but one class must be answered wrongly."""
    conflicts = facts.conflicts
    if conflicts is None or conflicts.wrong < CONTRADICTED * conflicts.total:
        return None
    some = "; ".join(" = ".join(f"{name} ({label})" for name, label in group) for group in conflicts.examples[:NAMED])
    more = "; ..." if len(conflicts.examples) > NAMED or conflicts.groups > len(conflicts.examples) else ""
    return Remark(
        kind=CONTRADICTION,
        text=f"{conflicts.items} of {conflicts.total} items have the same content as an item of another class, so at "
        f"least {text.plural(conflicts.wrong, 'answer')} must be wrong, whatever the model, until each is in one class "
        f"only: "
        f"{some}{more}.",
        command=facts.again({}) or facts.look,
        figures={"items": conflicts.items, "wrong": conflicts.wrong, "total": conflicts.total},
    )


def image_sizes(facts: Facts) -> Remark | None:
    """Images that are much larger or smaller than the net's input, or stretched to another shape, at a low accuracy."""
    images = facts.images
    if images is None or facts.accuracy >= ROOM:
        return None
    (height, width), (rows, columns) = images.stored, images.seen
    factor = ((height * width) / (rows * columns)) ** 0.5
    aspect = (width / height) / (columns / rows)
    stored = f"{height} x {width}"
    seen = f"{rows} x {columns}"
    figures = {"factor": factor, "aspect": aspect, "accuracy": facts.accuracy, "images": images.count}
    largest = max(rows, columns)
    if factor >= FAR:
        effect = f"it sees 1 of {factor**2:.0f} pixels, so details may be lost"
        bigger = [round(side * min(2, MAX_SIDE / largest)) for side in (rows, columns)]
        change = {"size": bigger[0] if rows == columns else "x".join(map(str, bigger))}
        if largest >= MAX_SIDE:
            change = {} if images.resize.startswith("crop") else {"resize": "crop:0.875"}
    elif factor <= 1 / FAR and max(height, width, MIN_SIDE) < largest:
        effect = f"{1 - factor**2:.0%} of its pixels are interpolated, which costs time and adds nothing"
        change = {"size": max(height, width, MIN_SIDE)}
    elif images.resize == "stretch" and max(aspect, 1 / aspect) >= ASPECT:
        effect = f"they are stretched {max(aspect, 1 / aspect):.1f} times {'lower' if aspect < 1 else 'narrower'}"
        change = {"resize": "pad"}
    else:
        return None
    return Remark(
        kind="image size",
        text=f"The images have {stored} pixels (median of {images.count}), and the net sees {seen}: {effect}, at "
        f"{_percent(facts.accuracy)} accuracy.",
        command=(facts.again(change) if change else "") or facts.look,
        figures=figures,
    )


def _list(facts: Facts, classes: list[int]) -> str:
    return ", ".join(facts.labels[i] for i in classes[:NAMED]) + (", ..." if len(classes) > NAMED else "")


def _percent(share: float) -> str:
    return text.percent(share, ".1f")


CHECKS: dict[str, Callable[[Facts], Remark | None]] = {
    FROM_NOTHING: from_nothing,
    FROZEN: frozen_body,
    CONTRADICTION: contradictory_labels,
    "few epochs": few_epochs,
    NEAR_LARGEST: near_largest_class,
    NEVER: never_predicted,
    IMPROVING: still_improving,
    "far above validation": far_above_validation,
    "image size": image_sizes,
    FEW: few_items,
}
"""By the kind of remark: what gains most by far, and what concerns the data's correctness, as it falsifies figures."""
