"""The options of `improve`, declared once for the public function, the command line and every step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from edgepress.converters.options.records import Setting, record
from edgepress.toolkit.data.reading import Reading, ReadingArguments
from edgepress.toolkit.training.options import RunArguments, RunOptions

SCHEMES_TO_MAKE = Setting(
    "Schemes to convert to",
    more="Separated by commas",
    metavar="SCHEMES",
    show_default="those of the run, or tflite-int8",
)
OUT = Setting("Folder for the new run", show_default="RUN-improved", typed=Path | None)
RATE = Setting(
    "Learning rate of the first step",
    above=0,
    below=math.inf,
    show_default="that of the run, times 0.3 after train",
)
MAX_DROP = Setting("Percentage points of accuracy that old items may lose", min=0, below=100)


class ImproveArguments(RunArguments, ReadingArguments, total=False):
    """The arguments of `improve` that make `ImproveOptions`."""

    to: str | None
    out: str | Path | None
    epochs: int
    learning_rate: float | None
    max_drop: float
    seed: int


@record(ImproveArguments)
@dataclass(frozen=True, kw_only=True)
class ImproveOptions(RunOptions, Reading):
    """How a model is trained on, and what it may forget."""

    to: Annotated[str | None, SCHEMES_TO_MAKE] = None
    out: Annotated[str | Path | None, OUT] = None
    epochs: Annotated[int, Setting("Passes over the items", min=1)] = 10
    learning_rate: Annotated[float | None, RATE] = None
    max_drop: Annotated[float, MAX_DROP] = 1.0
    seed: Annotated[int, Setting("Seed of order and augmentation", min=0)] = 0


AS_USUAL = ImproveOptions()
"""The options of which none is given."""
