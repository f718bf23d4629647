"""What travels between `tune` or `prune` and its child process: the job of a run, and its plan."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.calibration import Batches
from edgepress.converters.errors import ConversionError
from edgepress.converters.files import write_text
from edgepress.converters.numeric.statistics import Ranges
from edgepress.converters.ptq.calibration import Validation
from edgepress.runtime.contract import Contract
from edgepress.toolkit.data.types import Split
from edgepress.toolkit.documents import parse_json, read_json, read_limited
from edgepress.toolkit.results.file import first_wrong
from edgepress.toolkit.training.graphs.options import GraphOptions, PruneOptions, TuneOptions


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
        options: The options of the run, with the augmentation that the data chose.
        began_with: What must be equal for a run to be resumed.
    """

    target: Path
    contract: Contract
    adapter: InputAdapter
    calibration: Batches
    validation: Validation
    train: Split
    labelled: bool
    options: GraphOptions
    began_with: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TuneJob(GraphJob):
    """Tune the model that is open."""

    options: TuneOptions


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


@dataclass(frozen=True, kw_only=True)
class PruneJob(GraphJob):
    """Prune the model that is open."""

    options: PruneOptions


@dataclass
class PrunePlan:
    """What a run does, which a resumed one does not decide again.

    Attributes:
        shares: Share of the multiply-accumulates that is left after each part.
        block: What wide layers are cut to multiples of.
        steps: Steps of the training of each part; 0 of the last one, until that is measured.
        rate: Learning rate at the beginning of each part but the last; 0 until it is found.
        last_rate: That of the last part.
    """

    shares: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)]
    block: Annotated[int, Field(ge=1)]
    steps: list[Annotated[int, Field(ge=0, lt=1 << 31)]]
    rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    last_rate: Annotated[float, Field(ge=0, le=1)] = 0.0


def read_plan(path: Path) -> PrunePlan:
    """The plan of a run that is resumed.

    Raises:
        ConversionError: It can't be read.
    """
    try:
        plan = TypeAdapter(PrunePlan).validate_json(json.dumps(read_json(path)), strict=True)
        if len(plan.steps) != len(plan.shares):
            raise ValueError(f"it has {len(plan.shares)} parts and steps of {len(plan.steps)}")
        if not all(plan.steps[:-1]):
            raise ValueError("a part before the last one has no steps")
    except (OSError, ValueError) as e:
        raise ConversionError(
            f"The plan {path} can't be read: {first_wrong(e)}.", "Start again with --overwrite."
        ) from e
    return plan


def save_plan(plan: PrunePlan, path: Path) -> None:
    """Write the plan of a run."""
    write_text(path, json.dumps(dataclasses.asdict(plan)))
