"""The options of `compress`, declared once for the public function, the command line and every step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from edgepress.converters.options.records import Setting, record
from edgepress.runtime.engines import PACKAGED
from edgepress.toolkit.data.reading import Reading, ReadingArguments
from edgepress.toolkit.measurement.benchmarking.options import PREFERENCE, SURE
from edgepress.toolkit.search.compression.trial import MAX_DROP_PP, Limits
from edgepress.toolkit.shipping.boards.options import PYTHON, SSH_CONFIG
from edgepress.toolkit.stats.choice import CONFIDENCE, Rule
from edgepress.toolkit.training.graphs.options import MINUTES
from edgepress.toolkit.training.graphs.options import OUT as BESIDE

Bound = partial(Setting, typed=str | None)
MAX_DROP = Setting("Largest accuracy drop from the float file, percentage points", min=0, max=100)
MAX_SIZE = Bound("Largest file, such as 200kB", more="A number is bytes", metavar="SIZE")
MAX_LATENCY = Bound(
    "Largest median latency of one item, such as 5ms", more="On one thread; a number is milliseconds", metavar="TIME"
)
MAX_MEMORY = Bound(
    "Maximum memory, excluding the engine, measured here, such as 64MB", more="A number is bytes", metavar="SIZE"
)
MAX_RAM = Bound(
    "Most memory that the file takes as exported C, such as 32kB",
    more="Arena and stack, computed; with it or `max_flash`, only integer-only int8 files count",
    metavar="SIZE",
)
MAX_FLASH = Bound(
    "Most flash that the file takes as exported C, such as 128kB", more="Constants and code", metavar="SIZE"
)
ENGINE = Setting(
    f"Engine that runs the file: {', '.join(PACKAGED)}",
    metavar="NAME",
    show_default="the first installed one that opens the file",
    typed=Literal[tuple(PACKAGED)] | None,
)
FORMAT = Setting(
    "Format of the file", show_default="what the engine opens, tflite", typed=Literal["tflite", "onnx"] | None
)
BOARD = Setting("Board to measure latency on, as for ssh", metavar="HOST", show_default="this machine")
OUT = replace(BESIDE, show_default="compressed, next to the model")


class CompressArguments(ReadingArguments, total=False):
    """The arguments of `compress` that make `CompressOptions`."""

    max_drop: float
    confidence: str | float
    prefer: str
    max_size: str | float | None
    max_latency: str | float | None
    max_memory: str | float | None
    max_ram: str | float | None
    max_flash: str | float | None
    engine: str | None
    format: str | None
    board: str | None
    python: str | None
    ssh_config: Path | None
    minutes: float
    out: str | Path | None
    seed: int


@record(CompressArguments)
@dataclass(frozen=True, kw_only=True)
class CompressOptions(Reading):
    """What a file must keep, and how it is searched for."""

    max_drop: Annotated[float, MAX_DROP] = MAX_DROP_PP
    confidence: Annotated[str | float, SURE] = CONFIDENCE
    prefer: Annotated[str, PREFERENCE] = "balanced"
    max_size: Annotated[str | float | None, MAX_SIZE] = None
    max_latency: Annotated[str | float | None, MAX_LATENCY] = None
    max_memory: Annotated[str | float | None, MAX_MEMORY] = None
    max_ram: Annotated[str | float | None, MAX_RAM] = None
    max_flash: Annotated[str | float | None, MAX_FLASH] = None
    engine: Annotated[str | None, ENGINE] = None
    format: Annotated[str | None, FORMAT] = None
    board: Annotated[str | None, BOARD] = None
    python: Annotated[str | None, PYTHON] = None
    ssh_config: Annotated[Path | None, SSH_CONFIG] = None
    minutes: Annotated[float, replace(MINUTES, help="Start no training after this time")] = 60.0
    out: Annotated[str | Path | None, OUT] = None
    seed: Annotated[int, Setting("Seed of trainings", min=0)] = 0

    @property
    def limits(self) -> Limits:
        """The limits as numbers.

        Raises:
            InputError: One is not a positive number with an accepted unit.
        """
        return Limits.of(**{name: value for name, value in vars(self).items() if name.startswith("max_")})

    @property
    def rule(self) -> Rule:
        """How a file is chosen of those that keep all limits.

        Raises:
            InputError: `confidence` or `prefer` is not accepted.
        """
        return Rule.of(self.confidence, self.prefer)


AS_USUAL = CompressOptions()
"""The options of which none is given."""
