"""Parse and evaluate the limits of `compare --fail-if`: METRIC OP VALUE[UNIT].

    drop>0.5        accuracy fell by more than 0.5 percentage points
    f1_drop>1       macro F1 fell by more than 1 percentage point; map_drop>1: mean average precision did
    accuracy<97%    NEW's accuracy is below 97 %
    latency>1.1x    NEW's median latency is more than 1.1 times OLD's; the same as latency>10%
    p99>5ms         NEW's 99th percentile is above 5 ms
    size>5%         NEW is more than 5 % larger; size>200kB: NEW is larger than 200 kB
    alarms>1/h      NEW gives more than one false alarm an hour; alarms_rise>0.5/h: it gives so many more than OLD
    missed>5%       NEW misses more than 5 % of the events; missed_rise>2: by 2 percentage points more than OLD

The unit decides which figure is limited: `x` and `%` limit the change from OLD to NEW, any other unit NEW's own figure.
Accuracy, F1, mAP, agreement and missed events are proportions, so their `%` limits NEW's own figure.

A figure has a 95 % interval, so a gate has three outcomes: failed if the whole interval is beyond the limit, passed if
none of it is, else unproven. A change exactly at the limit thus fails wrongly in at most one of forty cases. In
strict mode the estimate alone decides, and an unknown figure fails.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from edgepress.toolkit.errors import InputError, unknown
from edgepress.toolkit.stats.intervals import Interval
from edgepress.toolkit.text import POINTS, SHARES, SIZES, TIMES

FAILED = "failed"
PASSED = "passed"
OPEN = "unproven"

RATIOS = ("x", "%")
RATES = {"/h": 1.0, "/d": 1 / 24, "": 1.0}
"""Units of false alarms, and their factors: an hour if none is given."""
MOST_ALARMS = 3600.0 * 1000


class Metric(NamedTuple):
    """A metric that a gate can limit.

    Attributes:
        figure: Name of the figure in a comparison, in the unit with factor 1.
        units: Units of NEW's own figure (for a drop: of the change), and their factors.
        ratio: Whether NEW / OLD can be limited as well.
        low, high: Range of valid limits, in the unit with factor 1.
    """

    figure: str
    units: Mapping[str, float]
    ratio: bool
    low: float = 0.0
    high: float = math.inf


METRICS: Mapping[str, Metric] = {
    "drop": Metric("accuracy", POINTS, ratio=False, low=-100.0, high=100.0),
    "accuracy": Metric("accuracy", SHARES, ratio=False, high=1.0),
    "f1_drop": Metric("macro_f1", POINTS, ratio=False, low=-100.0, high=100.0),
    "f1": Metric("macro_f1", SHARES, ratio=False, high=1.0),
    "map_drop": Metric("mean_average_precision", POINTS, ratio=False, low=-100.0, high=100.0),
    "map": Metric("mean_average_precision", SHARES, ratio=False, high=1.0),
    "agreement": Metric("agreement", SHARES, ratio=False, high=1.0),
    "latency": Metric("p50_us", TIMES, ratio=True),
    "p50": Metric("p50_us", TIMES, ratio=True),
    "p90": Metric("p90_us", TIMES, ratio=True),
    "p99": Metric("p99_us", TIMES, ratio=True),
    "size": Metric("size_bytes", SIZES, ratio=True),
    "compressed": Metric("compressed_bytes", SIZES, ratio=True),
    "memory": Metric("memory_bytes", SIZES, ratio=True),
    "missed": Metric("missed_share", SHARES, ratio=False, high=1.0),
    "missed_rise": Metric("missed_share", POINTS, ratio=False, low=-100.0, high=100.0),
    "alarms": Metric("alarms_per_hour", RATES, ratio=False),
    "alarms_rise": Metric("alarms_per_hour", RATES, ratio=False, low=-MOST_ALARMS, high=MOST_ALARMS),
}
OF_STREAMS = ("missed", "missed_rise", "alarms", "alarms_rise")
"""The metrics of results about recordings; the others are of benchmarks."""
OTHER_WORDS = dict.fromkeys(("speed", "time", "duration", "runtime", "p95"), "latency")
OTHER_WORDS |= {
    "loss": "drop",
    "macro_f1": "f1",
    "fscore": "f1",
    "top1": "accuracy",
    "acc": "accuracy",
    "bytes": "size",
    "ram": "memory",
    "misses": "missed",
    "false_alarms": "alarms",
}
"""What others call a metric, in words that are not written like its name."""
OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_FORM = re.compile(r"\s*([A-Za-z0-9_]*)\s*(>=|<=|>|<)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S*)\s*")


@dataclass(frozen=True)
class Gate:
    """One limit.

    Attributes:
        text: The limit as the user wrote it.
        metric: A key of `METRICS`.
        op: A key of `OPERATORS`.
        limit: The value: a ratio NEW / OLD or percentage points for a change, else in the unit with factor 1.
        of_change: Whether it limits the change instead of NEW's own figure.
    """

    text: str
    metric: str
    op: str
    limit: float
    of_change: bool

    def holds(self, value: float) -> bool:
        """Whether a value is beyond the limit, that is, the gate fails."""
        return bool(OPERATORS[self.op](value, self.limit))

    def outcome(self, figure: Interval | None, *, strict: bool = False) -> str:
        """`FAILED`, `PASSED` or `OPEN`.

        Args:
            figure: The figure; None if unknown.
            strict: Decide by the estimate instead of the interval; an unknown figure fails.
        """
        if strict:
            return FAILED if figure is None or self.holds(figure.estimate) else PASSED
        if figure is None or figure.low is None or figure.high is None:
            return OPEN
        beyond = self.holds(figure.low), self.holds(figure.high)
        return OPEN if beyond[0] != beyond[1] else FAILED if beyond[0] else PASSED

    def factor(self, figure: Interval) -> float | None:
        """Factor on the sample size that would establish the outcome; None if over 100 or unknown.

        This assumes the same estimate, and an interval that shrinks with the square root of the sample size.
        """
        if figure.low is None or figure.high is None or figure.estimate == self.limit:
            return None
        nearer = figure.high if figure.estimate < self.limit else figure.low
        factor = ((nearer - figure.estimate) / (self.limit - figure.estimate)) ** 2
        return factor if factor < 100 else None


def parse_gate(text: str) -> Gate:
    """Parse one limit; see the module's docstring.

    Raises:
        InputError: It has another form, an unknown metric, or a unit or value that the metric does not accept.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise InputError(
            f"--fail-if {text!r} is not METRIC OP VALUE[UNIT].",
            f"Quote it, because the shell interprets >: --fail-if 'latency>1.1x'. METRIC: "
            f"{', '.join(METRICS)}. OP: {', '.join(OPERATORS)}.",
        )
    name, op, number, unit = match.groups()
    if meant := OTHER_WORDS.get(name.lower()):
        hint = f"Did you mean {meant!r}?"
        raise InputError(f"Unknown metric of --fail-if {name!r}. Accepted: {', '.join(METRICS)}.", hint)
    if name.lower() not in METRICS:
        raise unknown("metric of --fail-if", name, METRICS)
    metric = METRICS[name.lower()]
    value = float(number)
    own = {known.lower(): factor for known, factor in metric.units.items()}
    if metric.ratio and unit.lower() in RATIOS:
        low = 0.0
        limit = value if unit != "%" else 1 + value / 100
        of_change = True
    elif unit.lower() in own:
        low = metric.low
        limit = value * own[unit.lower()]
        of_change = name.lower().endswith(("drop", "rise"))
    else:
        problem = f"the unit {unit!r} is not accepted" if unit else "the unit is missing"
        units = ", ".join(unit or "none" for unit in metric.units if unit != "μs")
        units += " (NEW's own figure), x or % (the change from OLD)" if metric.ratio else ""
        raise InputError(f"--fail-if {text!r}: {problem}. Accepted for {name.lower()}: {units}.")
    if not low <= limit <= metric.high or limit == math.inf or (metric.high == math.inf and limit == 0):
        example = "missed>0.05 or missed>5%" if name.lower() == "missed" else "accuracy<0.97 or accuracy<97%"
        hint = f"Accepted: 0 to 1, or a number with %: {example}." if metric.high == 1 else ""
        raise InputError(f"--fail-if {text!r}: the limit is {number}{unit}, outside the range of {name.lower()}.", hint)
    return Gate(text.strip(), name.lower(), op, limit, of_change)


def require_metrics(gates: Iterable[Gate], *, of_streams: bool) -> None:
    """Refuse limits on what the results do not have.

    Args:
        gates: The limits.
        of_streams: Whether the results are about recordings.

    Raises:
        InputError: A limit is on a figure of the other kind of results.
    """
    for gate in gates:
        if (gate.metric in OF_STREAMS) != of_streams:
            kinds = "benchmarks and model files", "results of edgepress evaluate --stream"
            names = [name for name in METRICS if (name in OF_STREAMS) == of_streams]
            problem = f"--fail-if {gate.text!r} is a limit on {kinds[not of_streams]}, and these are none."
            raise InputError(problem, f"Accepted here: {', '.join(names)}.")
