"""The groups of figures that a `Measurement` is made of, and which items are classified correctly, as text.

Each step of a benchmark returns its own group, and `Measurement` inherits all of them, so a figure is declared and
documented once. A figure that was not measured is None or empty.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class ClassChange:
    """Figures of one class, measured on one file.

    Attributes:
        label: Name of the class.
        support: Number of test items of this class.
        precision, recall, f1: Of this class, 0-1; recall is the share of its items that are classified correctly.
        drop_pp, drop_low_pp, drop_high_pp: Recall of the baseline minus recall of this file, percentage points, with
            its 95 % confidence interval (paired).
        accepted: Of a calibrated file, the number of this class's test items whose answers are accepted.
        accepted_wrong: How many of these answers are wrong.
        average_precision: Of multi-label data, that of this label, 0-1; None without a test item that has it.
    """

    label: str
    support: int
    precision: float
    recall: float
    f1: float
    drop_pp: float | None = None
    drop_low_pp: float | None = None
    drop_high_pp: float | None = None
    accepted: int | None = None
    accepted_wrong: int | None = None
    average_precision: float | None = None


@dataclass(frozen=True, kw_only=True)
class OperationTime:
    """Time that one kind of operation takes in a profile.

    Attributes:
        operation: Name of the operation in the file's format, or of the delegate that runs part of the graph.
        count: Number of such operations in one inference.
        time_us: Their total time in one inference, microseconds.
        share: Their share of the time of all operations, 0-1.
        delegated: Whether a delegate (XNNPACK) runs them.
    """

    operation: str
    count: int
    time_us: float
    share: float
    delegated: bool = False


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that makes a file slow on an engine.

    Attributes:
        kind: "not delegated", "float", "conversion", "slow kernel", "instructions" or "call".
        text: What was found, one sentence.
        time_us: Time that it takes in one inference, microseconds.
        share: Share of the time of one inference, 0-1.
        count: Number of kernels.
        fix: What fixes it, in words; empty if nothing is known to.
        rewrite: Name of the rewrite that fixes it; empty if none does.
        scheme: Scheme to convert to; empty if that does not help.
        command: Command that does so; empty if there is none.
        ground: Where that is known from: a document, the engine's source, or a script that measures it.
    """

    kind: str
    text: str
    time_us: float
    share: float
    count: int = 1
    fix: str = ""
    rewrite: str = ""
    scheme: str = ""
    command: str = ""
    ground: str = ""


@dataclass(frozen=True, kw_only=True)
class FileFigures:
    """Which file runs how, and what its bytes show.

    Attributes:
        file: Path of the file.
        scheme: Format and precision, from the file's contract.
        engine: Engine that runs the file.
        threads: Number of threads that the engine may use.
        size_bytes: Size of the file.
        batch: Number of items in one timed call.
        host: Name of the host, as in the benchmark's `host` or `boards`; empty: that of `host`.
        sha256: SHA-256 of the file.
        compressed_bytes: Size of the file after deflate, as for a download.
        size_ratio: Size of the file divided by the size of the baseline.
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


@dataclass(frozen=True, kw_only=True)
class AcceptedFigures:
    """What a calibrated file (`edgepress calibrate`) accepts of the test items.

    Attributes:
        accepted: Number of test items whose answers are accepted.
        accepted_wrong: How many of these answers are wrong.
        accepted_share, accepted_share_low, accepted_share_high: Share of the test items whose answers are accepted,
            with its 95 % confidence interval, 0-1.
        accepted_error, accepted_error_low, accepted_error_high: Share of wrong answers among accepted ones, with its
            95 % confidence interval, 0-1; None if nothing is accepted.
        coverage: The risk-coverage curve: shares of answers that thresholds of certainty accept, 0-1, from the
            strictest threshold to the laxest.
        risk: The share of wrong answers among those, 0-1, in the same order.
    """

    accepted: int | None = None
    accepted_wrong: int | None = None
    accepted_share: float | None = None
    accepted_share_low: float | None = None
    accepted_share_high: float | None = None
    accepted_error: float | None = None
    accepted_error_low: float | None = None
    accepted_error_high: float | None = None
    coverage: tuple[float, ...] = ()
    risk: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelFigures:
    """How well a file finds the labels of multi-label data; None of data with one label an item.

    Attributes:
        exact_match, exact_match_low, exact_match_high: Share of the test items whose labels are all answered and no
            others, with its 95 % confidence interval (Wilson), 0-1; `accuracy` is the same share.
        macro_f1_low, macro_f1_high: 95 % confidence interval of `macro_f1` (bootstrap over items), 0-1.
        mean_average_precision, mean_average_precision_low, mean_average_precision_high: Mean of the average precision
            of the labels, with its 95 % confidence interval (bootstrap over items), 0-1.
    """

    exact_match: float | None = None
    exact_match_low: float | None = None
    exact_match_high: float | None = None
    macro_f1_low: float | None = None
    macro_f1_high: float | None = None
    mean_average_precision: float | None = None
    mean_average_precision_low: float | None = None
    mean_average_precision_high: float | None = None


@dataclass(frozen=True, kw_only=True)
class AccuracyFigures(AcceptedFigures, LabelFigures):
    """How well a file classifies the test items, and how that differs from the baseline.

    Attributes:
        accuracy: Share of the test items that are classified correctly, 0-1; of multi-label data, whose labels are all
            answered and no others.
        macro_precision, macro_recall, macro_f1: Averages over the classes that have items or are predicted, 0-1.
        drop_pp, drop_low_pp, drop_high_pp: Accuracy of the baseline minus accuracy of this file, percentage points,
            with its 95 % confidence interval (paired).
        probability: That the true drop is within the limit, 0-1, given the test items and those of `--more`.
        lost, gained: Number of test items that only the baseline, or only this file, classifies correctly.
        differing: Number of test items that the two put in different classes.
        more_differing: The same of the items of `--more`.
        expected_lost: Share of lost items among the lost and gained ones of those, as the baseline's probabilities
            predict it, 0-1; None if they are not known.
        mcnemar_p: P-value of the exact McNemar test: the probability of such a difference by chance.
        verdict: What the interval of the drop shows, in words.
        ece: Expected calibration error, 0-1, 15 bins of equal width (Guo et al. 2017, arXiv:1706.04599).
        agreement: Share of the test items for which the file and the baseline predict the same class, 0-1.
        per_class: Figures of each class, in the order of the labels.
        confusion_matrix: Rows of counts, one row per true class; empty above 100 classes and of multi-label data.
        correct: Base64 of `numpy.packbits` of which test items were classified correctly, in the order of the split:
            two results on the same data (equal sha256) can be compared item by item.
        macro_f1_resamples, mean_average_precision_resamples: Base64 of that mean on resamples of the test items, 0-1,
            little-endian numbers of 32 bits: two results on the same data can be compared resample by resample.
        items: Number of test items that the figures are estimated from, of a file that was too slow for all; else None.
    """

    accuracy: float | None = None
    macro_precision: float | None = None
    macro_recall: float | None = None
    macro_f1: float | None = None
    drop_pp: float | None = None
    drop_low_pp: float | None = None
    drop_high_pp: float | None = None
    probability: float | None = None
    lost: int | None = None
    gained: int | None = None
    differing: int | None = None
    more_differing: int | None = None
    expected_lost: float | None = None
    mcnemar_p: float | None = None
    verdict: str = ""
    ece: float | None = None
    agreement: float | None = None
    per_class: tuple[ClassChange, ...] = ()
    confusion_matrix: tuple[tuple[int, ...], ...] = ()
    correct: str = ""
    macro_f1_resamples: str = ""
    mean_average_precision_resamples: str = ""
    items: int | None = None


@dataclass(frozen=True, kw_only=True)
class ErrorFigures:
    """How far the outputs of a model without labels are from those of the baseline, on the same items.

    Attributes:
        max_error: Largest absolute difference of an output.
        mean_error: Mean absolute difference of the outputs.
        sqnr_db: Power of the baseline's outputs divided by that of the difference, dB; None if either is 0.
    """

    max_error: float | None = None
    mean_error: float | None = None
    sqnr_db: float | None = None


@dataclass(frozen=True, kw_only=True)
class LatencyFigures:
    """How fast a file runs and how much memory it takes.

    Attributes:
        load_ms: Time to open the file, milliseconds (engine imported, file in the page cache).
        first_us: Latency of the first inference after opening, median over rounds, microseconds.
        warmup: Number of calls before the latency was stable, median over rounds.
        min_us, p50_us, p90_us, p99_us: Smallest latency of a call, median, 90th and 99th percentile, microseconds.
        count: Number of timed calls.
        rounds: Number of rounds.
        round_medians_us: Median latency of each round, microseconds; the same position is the same round in all rows.
        round_p90s_us, round_p99s_us: 90th and 99th percentile of each round, microseconds.
        latency_quantiles_us: 0th, 2nd, ... 100th percentile: 51 figures.
        speedup, speedup_low, speedup_high: Median over rounds of baseline latency / this latency, with its 95 %
            confidence interval (paired by round).
        memory_bytes: Peak resident memory of the process minus that of one that has only imported the engine.
    """

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


@dataclass(frozen=True, kw_only=True)
class ExplainingFigures:
    """What explains a latency: the share of the CPU's limits that it reaches, and the operations that take the time.

    Attributes:
        macs: Multiply-accumulates of one inference.
        macs_per_s: Multiply-accumulates per second at the median latency.
        compute_share: `macs_per_s` divided by what a calibration kernel of the same data type reached, 0-1.
        memory_share: Bytes of weights read per second, divided by the CPU's memory bandwidth, 0-1.
        profile: Time by operation, most expensive first.
        delegated_share: Share of the operations' time that a delegate takes, 0-1.
        diagnosis: Why it is slow, or that nothing stands out, in a few sentences; empty if it was not profiled.
        findings: What makes it slow, that with the largest share first.
    """

    macs: int | None = None
    macs_per_s: float | None = None
    compute_share: float | None = None
    memory_share: float | None = None
    profile: tuple[OperationTime, ...] = ()
    delegated_share: float | None = None
    diagnosis: str = ""
    findings: tuple[Finding, ...] = ()


def pack(correct: npt.NDArray[np.bool_]) -> str:
    """Base64 of `numpy.packbits`.

    Args:
        correct: Whether each item is classified correctly, bool, shape (N,).
    """
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def unpack(text: str, count: int) -> npt.NDArray[np.bool_]:
    """The reverse of `pack`, for `count` items.

    Raises:
        ValueError: The text is damaged.
    """
    try:
        bits = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except binascii.Error as e:
        raise ValueError(f"correct is not Base64 ({e})") from e
    if len(bits) != (count + 7) // 8:
        raise ValueError(f"correct holds {len(bits)} bytes; {count} items take {(count + 7) // 8}")
    return np.unpackbits(bits, count=count).astype(bool)
