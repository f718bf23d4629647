"""The options of a benchmark, declared once for the public function, the command line and every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from edgepress.converters.options.records import Setting, record
from edgepress.runtime.engines import PACKAGED
from edgepress.toolkit.data.reading import Reading
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.stats.choice import CONFIDENCE, Prefer

MAX_THREADS = 256
"""Largest number of threads of a candidate."""
MAX_BATCH = 4096
"""Largest number of items that a candidate answers in one call."""
ROUNDS = 20
"""Rounds of a benchmark; in each, every candidate is timed once."""
MAX_DROP_PP = 1.0
"""Largest accuracy drop that is usable unless another one is given, percentage points."""
MANY_ENGINES = Setting(
    f"Engines, separated by commas: all, {', '.join(PACKAGED)}",
    more="all: every usable engine that opens a file; recommended for are those that bundles install",
    several=True,
    choices=("all", *PACKAGED),
)
BASELINE = Setting("File or scheme that the others are compared with", show_default="tflite-float32, else onnx-float32")
TURNS = Setting("Rounds of timing over all files; 6 or more give confidence intervals", min=1)
LIMIT = Setting("Largest acceptable accuracy drop, in percentage points", min=0, show_default=f"{MAX_DROP_PP:g}")
SURE = Setting(
    "Probability of a drop within the limit from which a file may be chosen",
    more='Such as 0.9 or "90%"',
    metavar="SHARE",
    typed=str,
    usual="90%",
)
PREFERENCE = Setting(
    "What to choose of files that are sure enough; balanced: least product of size and latency", typed=Prefer
)


def parse_counts(text: str, option: str) -> tuple[int, ...]:
    """Whole numbers from "1" or "1,8".

    Raises:
        InputError: A word is not one.
    """
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError as e:
        raise InputError(f"{option} is {text!r}.", "Accepted: whole numbers separated by commas.") from e


def _counts_of(option: str) -> Callable[[str], tuple[int, ...]]:
    return lambda text: parse_counts(text, option)


def _cpus(text: str | None) -> Any:
    from edgepress.toolkit.machine.host import parse_cpus

    return None if text is None else parse_cpus(text)


def many_numbers(option: str, what: str, most: int) -> Setting:
    """An option that takes several whole numbers, each from 1 to `most`."""
    text = f"{what} to time, separated by commas"
    more = f"In Python a number or several, each 1 to {most}; all are timed"
    return Setting(text, several=True, typed=str, usual="1", read=_counts_of(option), more=more)


THREADS = many_numbers("--threads", "Numbers of threads", MAX_THREADS)


@record()
@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(Reading):
    """How files are measured."""

    engine: Annotated[str, MANY_ENGINES] = "all"
    threads: Annotated[int | Sequence[int], THREADS] = 1
    batch: Annotated[int | Sequence[int], many_numbers("--batch", "Batch sizes", MAX_BATCH)] = 1
    cpus: Annotated[
        Sequence[int] | None,
        Setting(
            "CPUs to time on, separated by commas",
            more="Only where the system can pin processes",
            show_default="one per thread, the same for all",
            several=True,
            typed=str | None,
            read=_cpus,
        ),
    ] = None
    max_drop: Annotated[float | None, LIMIT] = None
    confidence: Annotated[str | float, SURE] = CONFIDENCE
    prefer: Annotated[str, PREFERENCE] = "balanced"
    more: Annotated[
        str | None,
        Setting(
            "More items, labelled or not, that took no part in training, calibration or choosing: how often a file and "
            "the baseline differ on them counts",
            metavar="DATA",
            show_default="none",
        ),
    ] = None
    differences: Annotated[
        Path | None,
        Setting(
            "Folder for images of --more to label, where labels would make the choice surer, and of those labels",
            more="In Python, none is written then",
            show_default="to-label, beside the results",
        ),
    ] = None
    baseline: Annotated[str | None, BASELINE] = None
    rounds: Annotated[int, TURNS] = ROUNDS
    time_cap: Annotated[float, Setting("Seconds that one file may take to classify the test split", min=0.001)] = 120.0
    limits: Annotated[bool, Setting("Measure the compute and memory limits of this CPU", usual=True)] = False
    profile: Annotated[
        bool,
        Setting(
            "Also measure the time of each operation, and say what makes files slow",
            more="Some seconds per file and engine, where the engine reports it",
            words=("--profile",),
        ),
    ] = False
    timing_s: Annotated[
        float, Setting("Seconds of timing after which a file on an engine takes no more turns", command_line=False)
    ] = 10.0
    cache: Annotated[
        Path | None,
        Setting(
            "Folder that keeps answers, so that an interrupted benchmark can resume; None keeps none. See "
            "`edgepress.toolkit.documents.default_cache`",
            command_line=False,
        ),
    ] = None
    command: Annotated[str, Setting("Command line to record in the result", command_line=False)] = ""

    @property
    def max_drop_pp(self) -> float:
        """The largest drop that is usable, percentage points."""
        return MAX_DROP_PP if self.max_drop is None else self.max_drop


AS_USUAL = BenchmarkOptions()
"""The options of a benchmark of which none is given."""
