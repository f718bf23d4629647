"""What `compare` makes of latencies: relative to a baseline, across machines and ways of timing, and of tails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from comparing import base, figure_of, judged, outcomes, row
from hypothesis import given
from hypothesis import strategies as st
from records import result

from edgepress.toolkit.measurement.comparison.gates import FAILED, OPEN, PASSED
from edgepress.toolkit.measurement.comparison.latency import ratio_interval
from edgepress.toolkit.results.records import Benchmark, Measurement, Noise


def test_a_slower_machine_is_no_slower_file_where_both_runs_hold_the_baseline() -> None:
    old, new = result(base(), row(us=50)), result(base(us=170, seed=3), row(us=85, seed=4))
    found = judged(old, new, "latency>1.1x")
    assert outcomes(found) == [PASSED]
    assert "tflite-float32 on litert" in figure_of(found, "p50_us").how
    assert outcomes(judged(old, result(base(us=170, seed=3), row(us=105, seed=4)), "latency>1.1x")) == [FAILED]


def test_without_a_yardstick_only_much_is_established() -> None:
    old = result(base(sha256="a"), row(us=50))
    found = judged(old, result(base(sha256="b"), row(us=60)), "latency>1.1x", "latency>2x")
    assert outcomes(found) == [OPEN, PASSED]
    assert figure_of(found, "p50_us").drift == 1.5
    assert "model files" in found.verdicts[0].fix
    assert outcomes(judged(old, result(row(us=100)), "latency>1.1x")) == [FAILED]
    assert outcomes(judged(old, result(row(us=100), noisy=True), "latency>1.1x")) == [OPEN]
    engines = {"litert": "2.4.0"}
    found = judged(result(base(), row()), result(base(), row(us=60), engines=engines), "latency>1.1x")
    assert outcomes(found) == [OPEN], "a baseline on another version of its engine is no yardstick"
    (note,) = found.notes
    assert "litert 2.3.0 -> 2.4.0" in note


def test_latencies_of_different_machines_are_not_compared() -> None:
    found = judged(
        result(base(), row()), result(base(), row(us=500), cpu="Cortex-A72"), "latency>1.1x", "latency>0.1ms"
    )
    assert outcomes(found) == [OPEN, FAILED]
    assert "Cortex-A72" in found.verdicts[0].text


def test_turns_that_were_started_in_two_ways_give_no_verdict_but_on_what_a_baseline_shows() -> None:
    def timed_by(turns: str, *rows: Measurement) -> Benchmark:
        return replace(result(*rows), noise=Noise(noisy=False, turns=turns))

    gates = ("latency>1.1x", "p99>1.1x")
    for new, alone, beside in (("fork", [FAILED, FAILED], [FAILED, FAILED]), ("spawn", [OPEN, OPEN], [FAILED, OPEN])):
        found = judged(timed_by("fork", row()), timed_by(new, row(us=500)), *gates)
        assert outcomes(found) == alone
        assert any("by fork in OLD, by spawn in NEW" in note for note in found.notes) == (new == "spawn")
        assert outcomes(judged(timed_by("fork", base(), row()), timed_by(new, base(), row(us=500)), *gates)) == beside
    unknown = replace(result(row(us=500)), noise=None)
    assert outcomes(judged(timed_by("spawn", row()), unknown, *gates)) == [FAILED, FAILED]


def test_a_tail_is_compared_round_by_round() -> None:
    old = result(base(), row())
    assert outcomes(judged(old, result(base(), row(us=50, seed=5)), "p99>1.1x")) == [PASSED]
    assert outcomes(judged(old, result(base(), row(us=60, seed=5)), "p99>1.1x", "p99>70us")) == [FAILED, FAILED]
    few = result(base(), row(us=200, round_p99s_us=(255.0,) * 5))
    assert outcomes(judged(old, few, "p99>1.1x", "p99>70us")) == [OPEN, OPEN], "five rounds give no interval"
    none = result(base(), row(us=200, round_p99s_us=()))
    assert "rounds" in figure_of(judged(old, none), "p99_us").how


@given(st.floats(0.5, 2), st.integers(6, 40), st.integers(0, 99))
def test_a_ratio_of_medians_is_in_its_interval_and_turns_round(factor: float, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    old, new = np.exp(random.normal(0, 0.1, (2, count))) * [[1], [factor]]
    there, back = ratio_interval(new, old), ratio_interval(old, new)
    assert there.low <= there.estimate <= there.high  # type: ignore[operator]
    assert there.estimate * back.estimate == pytest.approx(1)
    assert ratio_interval(new[:5], old).low is None, "five rounds give no interval"


# Size, memory and rows.
