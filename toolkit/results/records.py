"""What was measured of a file on an engine, and of all of them together: plain frozen data, ready for JSON and CSV."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 2
"""Of `benchmark.json`. 2 added fields; files of version 1 still load."""
USABLE, DROP, UNPROVEN, NO_BASELINE = "usable", "accuracy drop", "unproven", "no baseline"
"""Status of a pair whose accuracy was checked on its engine: the drop is within the limit, beyond it, within it but
not with 95 % confidence, or can't be known. A pair that could not be measured has the status "failed: REASON"."""
PROVEN, NOT_COMPARABLE = "self-test passed", "not comparable"
"""Status on a board where no accuracy was checked; and, before a colon and the reason, of one that was held back."""


@dataclass(frozen=True, kw_only=True)
class ClassChange:
    """One class on one file.

    Attributes:
        label: Its name.
        support: Number of test items of this class.
        precision, recall, f1: Of this class, 0-1; recall is the share of its items that are recognized.
        drop_pp, drop_low_pp, drop_high_pp: Recall of the baseline less this one's, percentage points, with its 95 %
            interval (paired).
    """

    label: str
    support: int
    precision: float
    recall: float
    f1: float
    drop_pp: float | None = None
    drop_low_pp: float | None = None
    drop_high_pp: float | None = None


@dataclass(frozen=True, kw_only=True)
class OperationTime:
    """Time of one kind of operation in a profile.

    Attributes:
        operation: Its name in the file's format, or the delegate that runs a part of the graph.
        count: How many there are in one inference.
        time_us: What they take in one inference together, microseconds.
        share: Share of the time of all operations, 0-1.
        delegated: Whether a delegate (XNNPACK) runs them.
    """

    operation: str
    count: int
    time_us: float
    share: float
    delegated: bool = False


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One file on one engine on one host. What was not measured is None or empty.

    Attributes:
        file: Path of the file.
        scheme: Format and precision, by the file's contract.
        engine: What ran it.
        threads: Threads that the engine might use.
        size_bytes: Size of the file.
        batch: Items in one timed call.
        host: Name of the host, as in the benchmark's `host` or `boards`; empty: that of `host`.
        sha256: Of the file.
        compressed_bytes: Size of the file deflated, as it travels.
        size_ratio: Its size over the baseline's.
        accuracy: Share of the test items classified rightly, 0-1.
        macro_precision, macro_recall, macro_f1: Averages over the classes, 0-1.
        drop_pp, drop_low_pp, drop_high_pp: Accuracy of the baseline less this one's, percentage points, with its 95 %
            interval (paired).
        mcnemar_p: Exact McNemar probability that a difference like this comes by chance.
        verdict: What the drop's interval allows to say, in words.
        ece: Expected calibration error, 0-1, 15 bins of equal width (Guo et al. 2017, arXiv:1706.04599).
        agreement: Share of the test items that it puts in the same class as the baseline, 0-1.
        per_class: The classes in the order of the labels.
        confusion_matrix: Rows of counts, true class down; empty above 100 classes.
        correct: Base64 of `numpy.packbits` of which test items were classified rightly, in the order of the split: two
            results over the same data (equal sha256) can be compared item by item.
        load_ms: Time to open the file, milliseconds (engine imported, file in the page cache).
        first_us: Latency of the first inference after opening, median over rounds, microseconds.
        warmup: Calls until the latency was stable, median over rounds.
        min_us, p50_us, p90_us, p99_us: Smallest latency of a call, median, 90th and 99th percentile, microseconds.
        count: Number of calls timed.
        rounds: Number of rounds.
        round_medians_us: Median latency of each round, microseconds; those of one round belong together.
        round_p90s_us, round_p99s_us: 90th and 99th percentile of each round, microseconds.
        latency_quantiles_us: 0th, 2nd, ... 100th percentile: 51 figures.
        speedup, speedup_low, speedup_high: Median over rounds of baseline latency / this latency, with its 95 %
            interval (paired by round).
        memory_bytes: Peak resident memory of its process over one that has imported the same engine and nothing else.
        macs: Multiply-accumulates of one inference.
        macs_per_s: Those reached at the median latency.
        compute_share: That over what this CPU reached in a calibrating kernel of the same data type, 0-1.
        memory_share: Bytes of weights per second over the memory bandwidth of this CPU, 0-1.
        profile: Time by operation, most expensive first.
        delegated_share: Share of the operations' time that a delegate takes, 0-1.
        status: See the constants above.
    """

    file: str
    scheme: str
    engine: str
    threads: int
    size_bytes: int
    batch: int = 1
    host: str = ""
    sha256: str = ""
    compressed_bytes: int | None = None
    size_ratio: float | None = None
    accuracy: float | None = None
    macro_precision: float | None = None
    macro_recall: float | None = None
    macro_f1: float | None = None
    drop_pp: float | None = None
    drop_low_pp: float | None = None
    drop_high_pp: float | None = None
    mcnemar_p: float | None = None
    verdict: str = ""
    ece: float | None = None
    agreement: float | None = None
    per_class: tuple[ClassChange, ...] = ()
    confusion_matrix: tuple[tuple[int, ...], ...] = ()
    correct: str = ""
    load_ms: float | None = None
    first_us: float | None = None
    warmup: float | None = None
    min_us: float | None = None
    p50_us: float | None = None
    p90_us: float | None = None
    p99_us: float | None = None
    count: int = 0
    rounds: int = 0
    round_medians_us: tuple[float, ...] = ()
    round_p90s_us: tuple[float, ...] = ()
    round_p99s_us: tuple[float, ...] = ()
    latency_quantiles_us: tuple[float, ...] = ()
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    memory_bytes: int | None = None
    macs: int | None = None
    macs_per_s: float | None = None
    compute_share: float | None = None
    memory_share: float | None = None
    profile: tuple[OperationTime, ...] = ()
    delegated_share: float | None = None
    status: str = ""

    @property
    def failed(self) -> bool:
        """Whether it could not be measured."""
        return self.status.startswith("failed")


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Which file to ship.

    Attributes:
        ship: Path of the file, None if none qualifies.
        engine: The engine that it was checked on.
        why: The reason in a few sentences, or why there is none and what would help.
    """

    ship: str | None
    engine: str | None
    why: str


@dataclass(frozen=True, kw_only=True)
class BestEngine:
    """The fastest engine for a file on this host, of those on which its accuracy holds.

    Attributes:
        file: Path of the file.
        engine: Name of the engine.
        beyond_doubt: Whether the 95 % intervals against all other engines say so.
        slower: How many times as long each other engine takes, by its name.
    """

    file: str
    engine: str
    beyond_doubt: bool
    slower: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How quiet the host was during the timing.

    Attributes:
        noisy: Whether latencies are to be doubted.
        reasons: Why, in words.
        load_1min: Largest load average seen, other processes' and our own.
        busy_share: Share of the CPUs' time that others took, 0-1.
        steal_share: Share of the CPUs' time that the hypervisor took, 0-1.
        frequency_mhz: Lowest and highest frequency seen; None where the system does not tell.
        spread: Quartile range of the baseline's round medians over their median.
        cpus: CPUs that the candidates were pinned to; empty: not pinned.
    """

    noisy: bool
    reasons: tuple[str, ...] = ()
    load_1min: float | None = None
    busy_share: float | None = None
    steal_share: float | None = None
    frequency_mhz: tuple[float, float] | None = None
    spread: float | None = None
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """What a CPU reached in small calibrating kernels, with as many threads as the candidates.

    Attributes:
        float32_macs_per_s: Of a float32 matrix product.
        int8_macs_per_s: Of an 8-bit integer matrix product.
        memory_bytes_per_s: Of reading memory beyond the caches.
        kernels: What was run, by field, in words.
    """

    float32_macs_per_s: float
    int8_macs_per_s: float
    memory_bytes_per_s: float
    kernels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A test item that the baseline and at least one other file put in different classes.

    Attributes:
        name: What a user would call it: its file name, or its number.
        label: Its true class.
        baseline: The class that the baseline gives.
        others: By scheme and engine ("tflite-int8 on litert") the class of each file that differs.
        png: Base64 of a PNG thumbnail, at most 64 pixels high; empty for tensors.
    """

    name: str
    label: str
    baseline: str
    others: Mapping[str, str]
    png: str = ""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """All that `benchmark.json` holds.

    Attributes:
        host: What it was measured on; see `edgepress.toolkit.host.describe`.
        boards: Other hosts whose results were merged, each as `host`, by the "name" that their results give as `host`.
        data: "source", "sha256", "split" and "count" of the items that were classified; "labels" up to 1000.
        baseline: "file", "scheme" and "engine" that drops and speed-ups refer to; None if there is none.
        keras_accuracy: Accuracy of the Keras parent on its test split, 0-1, by the contract.
        max_drop_pp: Limit of the accuracy drop, percentage points.
        results: One measurement a file and engine.
        advice: Which file to ship and why.
        notes: What a reader must know beside the figures.
        best_engines: The best engine for each file that several engines were timed on.
        noise: How quiet the host was; None if nothing was timed.
        ceiling: What this CPU can do at most; None if it was not calibrated.
        disagreements: Items on which files and baseline disagree, those with most files first, 24 at most.
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
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def leading(self) -> tuple[Measurement, ...]:
        """One measurement a file, engine and host: of several numbers of threads and batch sizes, the first."""
        found: dict[tuple[str, str, str], Measurement] = {}
        for row in self.results:
            found.setdefault((row.host or self.host["name"], row.file, row.engine), row)
        return tuple(found.values())

    def to_dict(self) -> dict[str, Any]:
        """The content of `benchmark.json`; figures are rounded to what they can mean."""
        document = {"schema_version": SCHEMA_VERSION} | dataclasses.asdict(self)
        return {name: _rounded(value) for name, value in document.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, (list, tuple)) else value
