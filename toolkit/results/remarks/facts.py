"""What the checks take and make: the measured figures, of which some may lack, and the record of a remark."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.data.types import Conflicts

Counts = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSizes:
    """The images as they are stored, and as the net sees them.

    Attributes:
        stored: Median height and width of the images that were looked at, pixels.
        seen: Height and width of the net's input, pixels.
        count: Number of images that were looked at.
        resize: How they are resized.
    """

    stored: tuple[int, int]
    seen: tuple[int, int]
    count: int
    resize: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class FloatPair:
    """A float file and a quantized one on the same test items.

    Attributes:
        reference, candidate: Their names.
        lost, gained: Numbers of items that only the first, and only the second, classifies correctly.
        differing: Number of items that they put in different classes.
    """

    reference: str
    candidate: str
    lost: int
    gained: int
    differing: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What was measured of a float model and its data.

    Attributes:
        labels: The classes in order.
        confusion: Of the test items: rows of counts, true class down, predicted class across, shape (C, C).
        again: Makes the command of a new training, with the changes given as options of `train`; "" if the training
            is not known.
        look: The command that shows the confusion of classes; "" if there is none.
        more: The command that measures again on more items.
        val_confusion: The same of the validation items.
        train_counts: Number of training items of each class, shape (C,); of multi-label data, all of them first.
        history: One row per epoch; see `edgepress.toolkit.training.checkpoint.State`.
        arguments: The arguments of the training, defaults filled in.
        is_image: Whether items are images.
        images: Their sizes.
        transfer: The command of a training with pre-trained weights; "" if it has some, or none suit the items.
        all_layers: The command of the same training without --freeze; "" if it had none, or has too few items for more.
        conflicts: Items of the same content in different classes, in all data.
        pair: The quantized file that too few items leave unproven.
        max_drop_pp: Largest drop that counts as usable, percentage points.
        multilabel: Whether items have any number of labels; `confusion` and `val_confusion` then hold the number of
            right answers and that of wrong ones in their first row, shape (2, 2).
        foreign: Whether edgepress did not train the model, so that the user said how items are prepared.
        groups: Number of groups of the test items; None if they do not come in groups.
    """

    labels: tuple[str, ...]
    confusion: Counts
    again: Callable[[Mapping[str, Any]], str] = lambda changes: ""
    look: str = ""
    more: str = ""
    val_confusion: Counts | None = None
    train_counts: Counts | None = None
    history: Sequence[Mapping[str, float]] = ()
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    is_image: bool = False
    images: ImageSizes | None = None
    transfer: str = ""
    all_layers: str = ""
    conflicts: Conflicts | None = None
    pair: FloatPair | None = None
    max_drop_pp: float = 1.0
    multilabel: bool = False
    foreign: bool = False
    groups: int | None = None

    @property
    def count(self) -> int:
        """Number of test items."""
        return int(self.confusion.sum())

    @property
    def right(self) -> int:
        """Number of test items that are classified correctly."""
        return int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        """Share of them, 0-1."""
        return self.right / self.count

    @property
    def held_out(self) -> Counts:
        """The confusion of all items that were not trained on, validation and test."""
        return self.confusion if self.val_confusion is None else self.confusion + self.val_confusion

    @property
    def trained_on(self) -> int:
        """Number of training items; 0 if it is not known."""
        return 0 if self.train_counts is None else int(self.train_counts.sum())

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps of the optimizer in an epoch; 0 if it is not known."""
        batch = self.arguments.get("batch_size")
        return -(-self.trained_on // batch) if batch else 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remark:
    """Something else than quantization that limits the accuracy.

    Attributes:
        kind: Name of the check; see docs/advice.md.
        text: What was found, with its figures, in one sentence.
        command: The next command; empty if there is none to give.
        figures: The measured figures by name; shares are 0-1.
    """

    kind: str
    text: str
    command: str = ""
    figures: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The remark for JSON, rounded to six significant digits."""
        rounded = {name: float(f"{value:.6g}") for name, value in self.figures.items()}
        return {"kind": self.kind, "text": self.text, "command": self.command, "figures": rounded}
