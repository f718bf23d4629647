"""The options of commands that reach boards, declared once for functions and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypedDict

from edgepress.converters.options.records import OptionError, Setting, check_ranges, record
from edgepress.toolkit.data.reading import Reading, ReadingArguments
from edgepress.toolkit.measurement.benchmarking.options import LIMIT, MAX_DROP_PP, PREFERENCE, SURE, THREADS, TURNS
from edgepress.toolkit.stats.choice import CONFIDENCE
from edgepress.toolkit.training.options import RESUME

PYTHON = Setting("Python on the board that has the engines", show_default="python3, with the bundle's packages")
SSH_CONFIG = Setting("Configuration file of ssh, as for ssh -F", show_default="the user's")
PREFIX = Setting(
    "Folder of the installation on the board",
    more="Absolute, or relative to the user's home",
    show_default="that of install.sh, for the user",
)
INSTALL_PYTHON = Setting(
    "Python on the board that has the packages, for a first installation",
    show_default="python3, with the bundle's packages",
)
SHADOW = Setting("Frames that both releases answer before the switch", min=0, show_default="as the bundle says")
KEY = Setting(
    "Public key, or file of allowed signers, that must have signed the bundle",
    show_default="no check",
    typed=Path | None,
)
TRUST_KEYS = Setting(
    "Trust the keys of the bundle instead of those of the board; the board's refusal says the hash",
    metavar="SHA256",
    show_default="the board's",
)
MERGED = Setting(
    "Folder of the benchmark.json to merge with", show_default="the folder of the files", typed=Path | None
)


class BoardBenchArguments(ReadingArguments, total=False):
    """The arguments of `board_bench` that make `BoardBenchOptions`."""

    items: int
    python: str | None
    threads: Sequence[int]
    rounds: int
    seconds: float
    max_drop: float | None
    confidence: str | float
    prefer: str
    out: str | Path | None
    keep: bool
    resume: bool
    ssh_config: Path | None


class InstallArguments(TypedDict, total=False):
    """The arguments that make `InstallOptions`."""

    prefix: str
    sudo: bool
    python: str
    shadow: int | None
    key: str | Path | None
    trust_keys: str
    ssh_config: Path | None


@record(BoardBenchArguments)
@dataclass(frozen=True, kw_only=True)
class BoardBenchOptions(Reading):
    """How files are measured on boards."""

    items: Annotated[int, Setting("Largest number of test items to send", min=1)] = 1000
    python: Annotated[str | None, PYTHON] = None
    threads: Annotated[Sequence[int], THREADS] = (1,)
    rounds: Annotated[int, replace(TURNS, min=0)] = 6
    seconds: Annotated[float, Setting("Seconds of timing for each file and number of threads in a round", min=0.1)] = (
        1.0
    )
    max_drop: Annotated[float | None, LIMIT] = None
    confidence: Annotated[str | float, SURE] = CONFIDENCE
    prefer: Annotated[str, PREFERENCE] = "balanced"
    out: Annotated[str | Path | None, MERGED] = None
    keep: Annotated[bool, Setting("Keep the copied files on the board", words=("--keep",))] = False
    resume: Annotated[bool, RESUME] = False
    ssh_config: Annotated[Path | None, SSH_CONFIG] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.threads or min(self.threads) < 1:
            numbers = ", ".join(map(str, self.threads)) or "empty"
            raise OptionError("threads", f"is {numbers}; accepted: at least one number, each 1 or more.")
        object.__setattr__(self, "threads", tuple(sorted({*self.threads})))

    @property
    def max_drop_pp(self) -> float:
        """Largest acceptable accuracy drop, percentage points."""
        return MAX_DROP_PP if self.max_drop is None else self.max_drop


@record(InstallArguments)
@dataclass(frozen=True, kw_only=True)
class InstallOptions:
    """How bundles are installed on boards."""

    prefix: Annotated[str, PREFIX] = ""
    sudo: Annotated[bool, Setting("Install as root, by sudo -n", words=("--sudo",))] = False
    python: Annotated[str, INSTALL_PYTHON] = ""
    shadow: Annotated[int | None, SHADOW] = None
    key: Annotated[str | Path | None, KEY] = None
    trust_keys: Annotated[str, TRUST_KEYS] = ""
    ssh_config: Annotated[Path | None, SSH_CONFIG] = None

    def __post_init__(self) -> None:
        check_ranges(self)


AS_USUAL = InstallOptions()
"""The options of an installation of which none is given."""
MEASURED = BoardBenchOptions()
"""The options of a measurement of which none is given."""
