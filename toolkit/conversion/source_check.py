"""Measure a source model on labelled items before files are made of it, and say what is wrong with it.

A model that gets its images otherwise than in its training, or whose labels are in another order, answers, converts and
keeps all of its wrong answers: every file is "proven" to be like it. So the source model itself is measured first. If
it answers wrongly, the usual preparations are tried (`edgepress.toolkit.conversion.source_check`) in a race: all on a
few items, the best on all. One is named only if it is far better and that is beyond doubt, so that a sound model gets
no warning.

The usual ways in which images are prepared for a classifier, to be tried where a model answers wrongly.

Nothing in most model files says what was done to pixels before training, and a model that gets them otherwise still
answers, only wrongly. These are the preparations of the frameworks' own examples: Keras' three modes of
`preprocess_input`, torchvision's, TensorFlow's `per_image_standardization`, MNIST's mean and deviation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.converters.proof.compare import ITEMS
from edgepress.runtime import Contract
from edgepress.runtime.decisions import decide, same_answers, two_columns
from edgepress.toolkit.stats.intervals import mcnemar
from edgepress.toolkit.stats.metrics import NearLargest, near_largest
from edgepress.toolkit.text import percent
from edgepress.toolkit.truth import is_multilabel

_SCALINGS: tuple[Mapping[str, str], ...] = (
    {"input_range": "0,1"},
    {"input_range": "-1,1"},
    {"input_range": "0,255"},
    {"input": "standardize"},
    {"input": "minmax"},
)
_OF_GREY: tuple[Mapping[str, str], ...] = ({"mean": "0.1307", "std": "0.3081"},)
"""MNIST's, in PyTorch's examples."""
_OF_COLOR: tuple[Mapping[str, str], ...] = (
    {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"},  # torchvision
    {"mean": "123.68,116.779,103.939"},  # Caffe's, whose nets take blue first; in the order of the model's channels
)
_CLEARED: Mapping[str, Any] = {"input_range": None, "mean": None, "std": None, "input": None}


def other_preparations(facts: ModelFacts, hints: Hints) -> Iterator[tuple[Hints, InputAdapter]]:
    """The usual preparations other than the one that `hints` describe: hints, and the adapter that follows from them.

    There are none if items are not images, or the model scales them itself. Those with the channels in the given order
    come first.
    """
    given = guess_contract(facts, hints).adapter
    if not given.item.is_image or not facts.takes_scaling:
        return
    known = [_effect(given)]
    is_color = given.item.shape[2] == 3
    scalings = ({}, *_SCALINGS, *(_OF_COLOR if is_color else _OF_GREY))
    for bgr, scaling in product((given.bgr, not given.bgr) if is_color else (False,), scalings):
        changes = {**(_CLEARED if scaling else {}), **scaling}
        if bgr:
            changes |= {
                name: ",".join(reversed(scaling[name].split(","))) for name in ("mean", "std") if name in scaling
            }
        if bgr != given.bgr:
            changes["color"] = "bgr" if bgr else "rgb"
        changed = dataclasses.replace(hints, **changes)
        adapter = guess_contract(facts, changed).adapter
        if _effect(adapter) not in known:
            known.append(_effect(adapter))
            yield changed, adapter


def _effect(adapter: InputAdapter) -> tuple[object, ...]:
    """What tells preparations apart: one number for all channels is the same as that number for each."""
    scaling = tuple(
        tuple(round(n, 2) for n in numbers * (3 // len(numbers))) for numbers in (adapter.mean, adapter.std)
    )
    return adapter.bgr, adapter.per_image, scaling


MEASURED = ITEMS
"""Most items that a source model is measured on."""
NEAR = 0.0
"""As `metrics.NEAR`, and lower: a benchmark of all test items must not contradict what is said of these few."""
MIN_ITEMS = 30
"""Items below which an accuracy near that of the largest class says that items are few, not that the model is weak."""
FIRST_ITEMS = 48
"""Items on which all preparations are tried."""
FINALISTS = 2
"""Preparations that are tried on all items."""
RIGHT = 0.97
"""Accuracy from which no other preparation can be far better."""
FAR = 0.03
"""How much more of the items another preparation must answer correctly to be named."""
DOUBT = 0.001
"""Largest p-value of McNemar's exact test at which it is: some ten are tried, so one in a hundred models might be
accused at 0.1 %, if all of them were as good as what was given."""
LEAST_OF_CLASS = 3
"""Items a class from which on the order of the labels can be told."""
MOST_CLASSES = 50
"""Labels that are sorted; of more, too many items would be needed."""
MIXED_UP = 0.3
"""How much more another order of the labels must explain: any order fits by chance a little."""
NAMED = 10
"""Labels that a sentence names."""

Answers = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Ask = Callable[[npt.NDArray[Any], Sequence[InputAdapter]], Iterator[Answers]]
"""Answers items with each of some adapters, float32, (n, outputs)."""


@dataclass(frozen=True, kw_only=True)
class SourceCheck:
    """How a source model answers labelled items as it is to be converted, and what would be better.

    Attributes:
        items: Number of items.
        accuracy: Share that it answers correctly, 0-1.
        near: Set if that is hardly more than the share of the largest class.
        largest: The name of that class.
        foreign: Whether options could say how its items are prepared.
        better: What says how items are prepared, with which it answers far more of them correctly; None if nothing.
        better_accuracy: That share.
        options: The options that say so, in words of the command line.
        order: The labels in the order in which its outputs fit them far better; empty if they fit as they are.
        order_accuracy: The share that is right with these.
    """

    items: int
    accuracy: float
    near: NearLargest | None = None
    largest: str = ""
    foreign: bool = True
    better: Hints | None = None
    better_accuracy: float = 0.0
    options: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    order_accuracy: float = 0.0

    @property
    def is_wrong(self) -> bool:
        """Whether files of it would be worth nothing, or less than they could be."""
        return self.near is not None or self.better is not None or bool(self.order)

    @property
    def text(self) -> str:
        """What is wrong, in one sentence; empty if nothing is."""
        right = f"the source model answers {percent(self.accuracy, '.1f')} of {self.items} labelled items correctly"
        if self.better is not None:
            return f"{right}, and {percent(self.better_accuracy, '.1f')} with {' '.join(self.options)}: convert it so"
        if self.order:
            shown = ", ".join(self.order[:NAMED]) + (", ..." if len(self.order) > NAMED else "")
            would = f"{percent(self.order_accuracy, '.1f')} if its outputs are the labels in the order {shown}"
            return f"{right}, and {would}: write them so into a file, one a line, and give it with --labels"
        if self.near is None:
            return ""
        share = percent(self.near.share, ".1f")
        check = "train it longer"
        if self.foreign:
            check = f"check how its items are prepared, and --labels, or {check}"
        return f"{right}; answering {self.largest} always would be {share}. Files of it can be no better: {check}"

    def to_dict(self) -> dict[str, Any]:
        """The check for JSON."""
        return {
            "items": self.items,
            "accuracy": self.accuracy,
            "near_largest_class": self.near is not None,
            "options": list(self.options),
            "accuracy_with_options": self.better_accuracy if self.better else None,
            "labels_in_order": list(self.order),
            "text": self.text,
        }


def check_source(
    items: npt.NDArray[Any],
    labels: Labels,
    ask: Ask,
    *,
    contract: Contract,
    adapter: InputAdapter,
    facts: ModelFacts,
    hints: Hints,
) -> SourceCheck:
    """Measure a source model, and where it may be wrong, what else would be right.

    Args:
        items: Items as the contract takes them, shape (n, *item shape), in an order that tells nothing of their class.
        labels: Their true labels, numbers of the contract's, shape (n,), or rows of 0 and 1 for each of them.
        ask: Answers items.
        contract: The contract of the files to be made.
        adapter: How items are to be prepared.
        facts: What can be seen of the model.
        hints: What the user said of it.
    """
    race = _Race(items[:MEASURED], labels[:MEASURED], ask, contract)
    (predicted,) = race.predict([adapter])
    right = same_answers(predicted, race.labels)
    near = race.near(right) if len(right) >= MIN_ITEMS else None
    own = facts.contract is not None and facts.contract.data is not None
    check = SourceCheck(
        items=len(right),
        accuracy=float(right.mean()),
        near=near,
        largest=contract.labels[near.largest] if near else "",
        foreign=not own,
    )
    if own or check.accuracy >= RIGHT:
        return check
    better, share = race.best_of([*other_preparations(facts, hints)], right)
    if not race.multilabel:  # the order of labels that do not exclude each other can't be told
        order = _order_of_labels(predicted, race.labels, len(contract.labels))
        fits = order[predicted] == race.labels
        if fits.mean() > max(share, right.mean() + MIXED_UP) and race.near(fits) is None:
            names = tuple(contract.labels[label] for label in order.tolist())
            return dataclasses.replace(check, order=names, order_accuracy=float(fits.mean()))
    if better is None:
        return check
    return dataclasses.replace(check, better=better, better_accuracy=share, options=_changes(hints, better))


@dataclass(frozen=True)
class _Race:
    """The items of a check; see `check_source`."""

    items: npt.NDArray[Any]
    labels: Labels
    ask: Ask
    contract: Contract

    @property
    def multilabel(self) -> bool:
        """Whether an item has any number of labels."""
        return is_multilabel(self.labels)

    def predict(self, adapters: Sequence[InputAdapter], count: int = MEASURED) -> list[Labels]:
        """The labels that the first items get with each adapter."""
        sigmoid = self.contract.task == "sigmoid"
        answers = self.ask(self.items[:count], adapters)
        scores = (two_columns(each) if sigmoid else each for each in answers)
        return [decide(each, self.contract, multilabel=self.multilabel)[0] for each in scores]

    def near(self, right: Flags) -> NearLargest | None:
        """Whether so many right answers are hardly more than the largest class has items; not of several labels."""
        if self.multilabel:
            return None
        support, correct = (
            np.bincount(y, minlength=len(self.contract.labels)) for y in (self.labels, self.labels[right])
        )
        return near_largest(support, correct, NEAR)

    def best_of(self, others: Sequence[tuple[Hints, InputAdapter]], right: Flags) -> tuple[Hints | None, float]:
        """The preparation that is best on all items, and its accuracy; None and 0 if none is far better than given."""
        tried = self.predict([each for _, each in others], FIRST_ITEMS)
        first = [int(same_answers(y, self.labels[:FIRST_ITEMS]).sum()) for y in tried]
        leaders = [others[n] for n in sorted(range(len(others)), key=lambda n: -first[n])[:FINALISTS]]
        finals = [same_answers(y, self.labels) for y in self.predict([each for _, each in leaders])]
        far = [n for n, after in enumerate(finals) if _is_far_better(right, after) and self.near(after) is None]
        best = max(far, key=lambda n: int(finals[n].sum()), default=None)
        return (None, 0.0) if best is None else (leaders[best][0], float(finals[best].mean()))


def _is_far_better(before: Flags, after: Flags) -> bool:
    """Whether far more items are right, beyond doubt."""
    return bool(after.mean() - before.mean() >= FAR) and mcnemar(before, after) <= DOUBT


def _changes(given: Hints, better: Hints) -> tuple[str, ...]:
    """The options by which a description differs from the one that was given."""
    changed = {
        field.name: getattr(better, field.name)
        for field in dataclasses.fields(Hints)
        if getattr(better, field.name) != getattr(given, field.name) and getattr(better, field.name) is not None
    }
    return Hints(**changed).words


def _order_of_labels(predicted: Labels, labels: Labels, count: int) -> Labels:
    """The label that each output seems to stand for, shape (C,), no two the same one; as they are if items are few.

    The assignment that most answers fit (Kuhn, "The Hungarian method for the assignment problem", Naval Research
    Logistics Quarterly 2 (1955), 83-97).
    """
    from scipy.optimize import linear_sum_assignment

    if not 2 < count <= MOST_CLASSES or len(labels) < LEAST_OF_CLASS * count:
        return np.arange(count)
    confusion = np.bincount(predicted * count + labels, minlength=count**2).reshape(count, count)
    return np.asarray(linear_sum_assignment(confusion, maximize=True)[1])
