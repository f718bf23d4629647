"""The results of a benchmark as frozen dataclasses, ready for JSON and CSV."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgepress.toolkit.reports.notebooks.printed import Printed
from edgepress.toolkit.reports.notebooks.views import benchmark_html
from edgepress.toolkit.results.figures import (
    AccuracyFigures,
    ErrorFigures,
    ExplainingFigures,
    FileFigures,
    LatencyFigures,
)
from edgepress.toolkit.results.remarks.facts import Remark
from edgepress.toolkit.text import short_repr

SCHEMA_VERSION = 2
"""Version of `benchmark.json`. Version 2 added fields; files of version 1 still load."""
USABLE = "usable"
"""Status of a file whose drop, measured on its engine, is within the limit. A file that could not be measured has the
status "failed: REASON"."""
DROP = "accuracy drop"
"""Status of a file whose drop is above the limit."""
UNPROVEN = "unproven"
"""Status of a file whose drop is within the limit, but not with 95 % confidence."""
NO_BASELINE = "no baseline"
"""Status of a file whose drop is unknown."""
LARGE_ERROR = "large error"
"""Status of a file without labels whose outputs are too far from the baseline's; USABLE, if they are near enough."""
PROVEN = "self-test passed"
"""Status on a board on which no accuracy was measured."""
NOT_COMPARABLE = "not comparable"
"""Status on a board that was throttled or busy, followed by a colon and the reason."""


@dataclass(frozen=True, kw_only=True)
class Measurement(ExplainingFigures, LatencyFigures, ErrorFigures, AccuracyFigures, FileFigures):
    """One file on one engine on one host. What was not measured is None or empty.

    Attributes:
        status: One of the constants of this module, or "failed: REASON".
    """

    status: str = ""

    @property
    def failed(self) -> bool:
        """Whether it could not be measured."""
        return self.status.startswith("failed")


def measurement(
    file: FileFigures, *figures: AccuracyFigures | ErrorFigures | LatencyFigures | ExplainingFigures, status: str
) -> Measurement:
    """Merge groups of figures into one measurement."""
    groups = (file, *figures)
    return Measurement(**{name: value for group in groups for name, value in vars(group).items()}, status=status)


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Which file to ship.

    Attributes:
        ship: Path of the file, None if none qualifies.
        engine: Engine on which the file's accuracy, or error, was measured.
        why: The reason in a few sentences; if no file qualifies, the reason and what would help.
        probability: That its drop is within the limit, 0-1; None if no file qualifies, or files have no labels.
        confidence: The probability from which a file qualifies, 0-1; None if an older edgepress chose.
        prefer: What of those that qualify was chosen by: "balanced", "size" or "latency"; empty likewise.
        unsure_file, unsure_engine: The file that more labels are wanted for: one that would be chosen if it were sure
            enough, else the chosen one until it is proven; None if there is none.
        engines: The engines that it was chosen for; empty: for all that were measured.
    """

    ship: str | None
    engine: str | None
    why: str
    probability: float | None = None
    confidence: float | None = None
    prefer: str = ""
    unsure_file: str | None = None
    unsure_engine: str | None = None
    engines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BestEngine:
    """The fastest engine for a file on this host, among those that keep its accuracy.

    Attributes:
        file: Path of the file.
        engine: Name of the engine.
        beyond_doubt: Whether the 95 % confidence intervals against all other engines confirm it.
        slower: By the name of each other engine, its latency divided by that of `engine`.
    """

    file: str
    engine: str
    beyond_doubt: bool
    slower: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How quiet the host was during the timing.

    Attributes:
        noisy: Whether the latencies are unreliable.
        reasons: Why, in words.
        load_1min: Largest load average seen; the benchmark's own processes count.
        busy_share: Share of the CPUs' time that other processes took, 0-1.
        steal_share: Share of the CPUs' time that the hypervisor took, 0-1.
        frequency_mhz: Lowest and highest CPU frequency seen; None where the system does not report it.
        spread: Interquartile range of the baseline's round medians divided by their median.
        cpus: CPUs that the processes were pinned to; empty: not pinned.
        turns: How the turns of timing started: "fork", or "spawn" where the system cannot fork and pin processes.
    """

    noisy: bool
    reasons: tuple[str, ...] = ()
    load_1min: float | None = None
    busy_share: float | None = None
    steal_share: float | None = None
    frequency_mhz: tuple[float, float] | None = None
    spread: float | None = None
    cpus: tuple[int, ...] = ()
    turns: str = "fork"


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """What a CPU reached in small calibration kernels, with as many threads as the files used.

    Attributes:
        float32_macs_per_s: Multiply-accumulates per second of a float32 matrix product.
        int8_macs_per_s: Multiply-accumulates per second of an 8-bit integer matrix product.
        memory_bytes_per_s: Bytes per second read from memory beyond the caches.
        kernels: Description of the kernel behind each field.
        depthwise_float32_macs_per_s: Multiply-accumulates per second of a float32 depthwise convolution, which computes
            little per byte read; None if it was not measured.
        depthwise_int8_macs_per_s: The same of an 8-bit integer one.
    """

    float32_macs_per_s: float
    int8_macs_per_s: float
    memory_bytes_per_s: float
    kernels: Mapping[str, str]
    depthwise_float32_macs_per_s: float | None = None
    depthwise_int8_macs_per_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A test item that the baseline and at least one other file classify differently.

    Attributes:
        name: File name of the item, or its number.
        label: True class.
        baseline: Class that the baseline predicts.
        others: By scheme and engine ("tflite-int8 on litert"), the class that each differing file predicts.
        png: Base64 of a PNG thumbnail, at most 64 pixels high; empty for tensors.
    """

    name: str
    label: str
    baseline: str
    others: Mapping[str, str]
    png: str = ""


@dataclass(frozen=True, kw_only=True)
class Benchmark(Printed):
    """The content of `benchmark.json`.

    Attributes:
        host: Where it was measured; see `edgepress.toolkit.machine.host`.
        boards: Other hosts whose results were merged, each like `host`; their rows name them in `host`.
        data: "source", "sha256", "split" ("test"; "all" for models without labels) and "count" of the answered items;
            "labels", up to 1000.
        baseline: "file", "scheme" and "engine" that drops and speed-ups refer to; None if there is none.
        keras_accuracy: Accuracy of the source model on its test split, 0-1, from the contract.
        max_drop_pp: Limit of the accuracy drop, percentage points.
        results: One measurement per file, engine, number of threads and batch size.
        advice: Which file to ship and why.
        notes: What a reader must know beside the figures.
        best_engines: The best engine for each file that was timed on several engines.
        noise: How quiet the host was; None if nothing was timed.
        ceiling: What this CPU can reach at most; None if it was not measured.
        disagreements: Items on which files and baseline disagree, those with most files first, at most 24.
        remarks: What else than quantization limits the accuracy, measured on the float baseline; see docs/advice.md.
        more: The items of `--more`: "source", "sha256", "count", "labelled" (how many have a label by now), "folder"
            and "to_label" (where images are to be labelled, and how many); None if none were given.
        provenance: "created" (ISO 8601, UTC), "command", "edgepress" (version), "seed" (of the order of turns),
            "tools", "contract" (the baseline's).
    """

    host: Mapping[str, Any]
    data: Mapping[str, Any]
    baseline: Mapping[str, str] | None
    keras_accuracy: float | None
    max_drop_pp: float
    results: tuple[Measurement, ...]
    advice: Advice
    notes: tuple[str, ...] = ()
    boards: tuple[Mapping[str, Any], ...] = ()
    best_engines: tuple[BestEngine, ...] = ()
    noise: Noise | None = None
    ceiling: Ceiling | None = None
    disagreements: tuple[Disagreement, ...] = ()
    remarks: tuple[Remark, ...] = ()
    more: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def by_error(self) -> bool:
        """Whether the files have no labels, and are judged by the error of their outputs."""
        return self.data.get("split") == "all"

    def leading(self) -> tuple[Measurement, ...]:
        """One measurement per file, engine and host: the first of several numbers of threads and batch sizes."""
        by_place: dict[tuple[str, str, str], Measurement] = {}
        for row in self.results:
            by_place.setdefault((row.host or self.host["name"], row.file, row.engine), row)
        return tuple(by_place.values())

    def to_dict(self) -> dict[str, Any]:
        """The content of `benchmark.json`, rounded to six significant digits."""
        document = {"schema_version": SCHEMA_VERSION} | dataclasses.asdict(self)
        return {name: round_floats(value) for name, value in document.items()}

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        return benchmark_html(self.to_dict())


def six_digits(value: float) -> float:
    """A number with six significant digits."""
    return float(f"{value:.6g}")


def round_floats(value: Any, to: Callable[[float], float] = six_digits) -> Any:
    """A JSON value with `to` applied to every float in it; tuples become lists."""
    if isinstance(value, float):
        return to(value)
    if isinstance(value, dict):
        return {k: round_floats(v, to) for k, v in value.items()}
    return [round_floats(v, to) for v in value] if isinstance(value, (list, tuple)) else value
