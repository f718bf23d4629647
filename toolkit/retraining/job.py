"""What travels between a run that trains a float graph, `tune` or `prune`, and its child process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.calibration import Batches
from edgepress.converters.errors import ConversionError
from edgepress.converters.ptq.calibration import Validation
from edgepress.converters.statistics import Ranges
from edgepress.runtime.contract import Contract
from edgepress.toolkit.data.types import Split
from edgepress.toolkit.documents import parse_json, read_limited
from edgepress.toolkit.results.file import first_wrong

Bits = Literal[8, 4]


@dataclass(frozen=True, kw_only=True)
class GraphJob:
    """Train the float graph of the model that is open.

    Attributes:
        target: Path of the trained file, in the folder of the run.
        contract: That of the trained file.
        adapter: The operations before and after the model.
        calibration: Returns the calibration items.
        validation: Returns up to a number of validation items and their labels, or None.
        train: The items that it is trained on.
        labelled: Whether the labels of these are those of the model.
        augmentation: The result of `augment.resolve`.
        minutes: Time for training.
        steps: Largest number of steps instead; None: as many as the time allows.
        seed: Seed of order and augmentation.
        began_with: What must be equal for a run to be resumed.
    """

    target: Path
    contract: Contract
    adapter: InputAdapter
    calibration: Batches
    validation: Validation
    train: Split
    labelled: bool
    augmentation: str
    minutes: float
    steps: int | None
    seed: int
    began_with: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TuneJob(GraphJob):
    """Tune the model that is open.

    Attributes:
        bits: Bits of the weights.
    """

    bits: Bits


@dataclass(frozen=True)
class Progress:
    """How far the training is: share of it that is done, 0-1, and figures."""

    share: float
    text: str


@dataclass(frozen=True)
class Trained:
    """What came out: figures for JSON, and one row for each part of the training."""

    facts: dict[str, Any]
    history: list[dict[str, float]]


def read_ranges(path: Path) -> Ranges:
    """The ranges of the tensors of a run that is resumed.

    Raises:
        ConversionError: They can't be read.
    """
    from pydantic import TypeAdapter

    try:
        ranges: Ranges = TypeAdapter(Ranges).validate_json(
            json.dumps(parse_json(read_limited(path), finite=False)), strict=True
        )
    except (OSError, ValueError) as e:
        raise ConversionError(
            f"The ranges in {path} can't be read: {first_wrong(e)}.", "Start again with --overwrite."
        ) from e
    return ranges
