from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.runtime.board import usable_cpus
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.machine.host import choose_cpus, out_of_the_way, parse_cpus
from edgepress.toolkit.measurement.benchmarking.quiet import Watch
from edgepress.toolkit.measurement.benchmarking.remarks import best_engines
from edgepress.toolkit.measurement.benchmarking.timing import Timing, latency_figures
from edgepress.toolkit.results.records import DROP, USABLE, Measurement
from edgepress.toolkit.stats.intervals import paired_ratio
from edgepress.toolkit.workers import turn
from edgepress.toolkit.workers.opening import Candidate
from edgepress.toolkit.workers.turn import OpenTurn, Taken, Turn, timed_calls, warm_up


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int]], Callable[[Any], None]]:
    """Makes a call that takes the given nanoseconds one after another, the last of them for ever."""
    now = [0]
    monkeypatch.setattr(turn.time, "perf_counter_ns", lambda: now[0])

    def taking(nanoseconds: list[int]) -> Callable[[Any], None]:
        left = list(nanoseconds)

        def call(_: Any) -> None:
            now[0] += left.pop(0) if len(left) > 1 else left[0]

        return call

    return taking


def test_a_warm_up_lasts_until_calls_get_no_faster(clock: Any) -> None:
    falling = [1000 - 40 * n for n in range(20)]
    times = warm_up(clock([*falling, 200]), [np.empty(0)])
    assert times[:20] == falling
    assert 20 + turn.WINDOW <= len(times) <= 20 + 2 * turn.WINDOW
    assert set(times[-turn.WINDOW :]) == {200}
    assert len(warm_up(clock([100]), [np.empty(0)])) == 2 * turn.WINDOW


def test_a_warm_up_is_bounded_in_calls_and_in_time(clock: Any) -> None:
    ever_faster = [int(1e6 * 0.99**n) for n in range(1000)]
    assert len(warm_up(clock(ever_faster), [np.empty(0)])) == turn.WARM_CALLS
    assert len(warm_up(clock([2_000_000_000]), [np.empty(0)])) == turn.MIN_CALLS


def test_each_call_is_timed_by_itself_with_the_batches_in_turn(clock: Any) -> None:
    seen: list[Any] = []
    call = clock([5, 7, 11])

    def noted(batch: Any) -> None:
        seen.append(int(batch[0]))
        call(batch)

    assert timed_calls(noted, [np.array([1]), np.array([2])], 4).tolist() == [5, 7, 11, 11]
    assert seen == [1, 2, 1, 2]


@given(st.integers(1, 20), st.integers(1, 50))
def test_batches_have_their_size_and_take_every_item(count: int, size: int) -> None:
    items = np.arange(count * 2).reshape(count, 2)
    batches = turn._batches(items, size)
    assert all(b.shape == (size, 2) and b.flags.c_contiguous for b in batches)
    assert {int(v) for b in batches for v in b.ravel()} == set(range(count * 2))


class Slow(Candidate):
    """A candidate whose calls wait; `engine` holds the seconds."""

    def load(self, *, keep_state: bool = False) -> Any:
        return SimpleNamespace(stateful=False, answer=lambda _: time.sleep(float(self.engine or 0)))


@pytest.mark.parametrize(("latency_s", "count"), [(0.0001, turn.SLICES), (0.002, turn.SLICES), (0.02, turn.MIN_CALLS)])
def test_a_slice_adds_calls_to_those_before(latency_s: float, count: int) -> None:
    slices = OpenTurn(Turn(Slow(Path("slow.tflite"), str(latency_s)), (), 60), np.zeros((4, 2)))
    before = slices.next_slice()
    for number in range(2, count + 1):
        taken = slices.next_slice()
        assert len(taken.times) == number * len(before.times) / (number - 1)
        assert np.array_equal(taken.times[: len(before.times)], before.times)
        assert taken.spent_ns - before.spent_ns >= taken.times[len(before.times) :].sum()
        assert (taken.first_ns, taken.warmup, taken.load_ns) == (before.first_ns, before.warmup, before.load_ns)
        before = taken
    assert np.array_equal(slices.next_slice().times, before.times), "it has had all slices"


def test_slices_take_a_slow_net_no_longer_than_a_whole_turn_would() -> None:
    """Nothing but warm-up and timed calls; they are counted, because a busy machine makes any of them long."""
    calls: list[int] = []

    class Counted(Slow):
        def load(self, *, keep_state: bool = False) -> Any:
            slow = super().load()
            return SimpleNamespace(stateful=False, answer=lambda item: calls.append(1) or slow.answer(item))

    whole, slices = (
        OpenTurn(Turn(kind(Path("slow.tflite"), "0.02"), (), 60), np.zeros((4, 2))) for kind in (Slow, Counted)
    )
    for _ in range(turn.SLICES):
        taken = slices.next_slice()
    assert len(taken.times) == len(whole.whole().times) == turn.MIN_CALLS
    assert len(calls) <= len(taken.times) + taken.warmup + turn.WINDOW


def _timing(medians_us: list[float]) -> Timing:
    return Timing([Taken(2_000_000, 9000, 5, 1, np.array([m * 1000] * 3, np.int64)) for m in medians_us], 1 << 20)


def _row(**fields: Any) -> Measurement:
    return Measurement(**({"file": "a", "scheme": "s", "engine": "e", "threads": 1, "size_bytes": 1} | fields))


def test_a_measurement_tells_what_the_turns_gave() -> None:
    base, half = _timing([10.0] * 8), _timing([5.0, 5, 5, 5, 5, 5, 5, 100])
    row = latency_figures(half, base)
    assert (row.load_ms, row.first_us, row.warmup, row.min_us, row.p50_us) == (2.0, 9.0, 5, 5.0, 5.0)
    assert (row.count, row.rounds, row.memory_bytes) == (24, 8, 1 << 20)
    assert row.round_medians_us == (5, 5, 5, 5, 5, 5, 5, 100)
    assert len(row.latency_quantiles_us) == 51
    assert (row.latency_quantiles_us[0], row.latency_quantiles_us[-1]) == (5, 100)
    assert row.speedup == pytest.approx(2)
    own = latency_figures(base, base)
    assert (own.speedup, own.speedup_low, own.speedup_high) == (1, 1, 1)
    assert latency_figures(base, None).speedup is None


def test_the_ratio_interval_covers_though_single_rounds_are_far_off() -> None:
    draw = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        reference, candidate = np.exp(0.01 * draw.standard_t(2, (2, 20)))
        ratio = paired_ratio(reference * 1.1, candidate)
        hits += (ratio.low or 0) <= 1.1 <= (ratio.high or 0)
    assert 0.92 <= hits / 300 <= 0.99


def test_a_difference_of_5_percent_is_established_in_20_rounds() -> None:
    draw = np.random.default_rng(1)
    found = 0
    for _ in range(100):
        drift = np.exp(0.2 * draw.standard_normal(20))
        reference, candidate = drift * np.exp(0.01 * draw.standard_t(2, (2, 20)))
        found += (paired_ratio(reference, 1.05 * candidate).high or 9) < 1
    assert found >= 95


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1, max_size=15))
def test_swapping_the_files_inverts_the_ratio(pairs: list[tuple[float, float]]) -> None:
    first, second = np.array(pairs).T
    there, back = paired_ratio(first, second), paired_ratio(second, first)
    assert there.estimate == pytest.approx(1 / back.estimate)
    if len(pairs) < 6:
        assert there.low is there.high is back.low is None
        return
    assert there.low == pytest.approx(1 / (back.high or 0))
    assert (there.low or 0) <= there.estimate <= (there.high or 0)
    assert paired_ratio(first, np.append(second, 7)) == there


@pytest.mark.parametrize("text", ["", "x", "0,0", "-1", "999", "0;1"])
def test_wrong_cpus_are_one_clear_error(text: str) -> None:
    with pytest.raises(InputError, match="--cpus is"):
        parse_cpus(text)


def test_cpus_are_stable_and_the_parent_waits_elsewhere() -> None:
    mine = usable_cpus()
    assert parse_cpus(str(mine[0])) == (mine[0],)
    assert choose_cpus(1) == mine[-1:] == choose_cpus(1)
    assert choose_cpus(len(mine) + 5) == mine
    with out_of_the_way(choose_cpus(1)):
        assert usable_cpus() == (mine[:-1] or mine)
    with out_of_the_way(mine):
        assert usable_cpus() == mine


def test_rounds_far_apart_make_a_run_noisy() -> None:
    with Watch((0,)) as watch:
        pass
    noise = watch.noise([1.0, 1.0, 1.5, 1.5])
    assert noise.noisy
    assert noise.reasons[-1] == "The middle half of the baseline's rounds spans 40 % of its latency."


def test_the_best_engine_is_the_fastest_of_those_that_answer_rightly() -> None:
    def row(engine: str, us: float, status: str = USABLE) -> Measurement:
        wobble = tuple(us * (1 + 0.01 * (n % 3)) for n in range(8))
        return _row(engine=engine, p50_us=us, round_medians_us=wobble, status=status)

    rows = [row("litert", 20), row("openvino", 60), row("tflite-runtime", 10, DROP), _row(file="b", engine="litert")]
    (best,) = best_engines(rows)
    assert (best.file, best.engine, best.beyond_doubt) == ("a", "litert", True)
    assert best.slower == {"openvino": pytest.approx(3)}
    (close,) = best_engines([row("litert", 20), row("openvino", 20)])
    assert not close.beyond_doubt


def test_the_busiest_process_is_named_even_if_a_quiet_one_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    others = iter([{5: ("python", 1.0), 6: ("python", 1.0)}, {5: ("python", 3.0), 6: ("python", 1.0), 7: ("", 0.5)}])
    seconds = iter([dict.fromkeys(("total", "busy", "steal"), 0.0), {"total": 4.0, "busy": 3.0, "steal": 0.0}])
    monkeypatch.setattr("edgepress.toolkit.measurement.benchmarking.quiet._other_seconds", lambda: next(others))
    monkeypatch.setattr("edgepress.toolkit.measurement.benchmarking.quiet._cpu_seconds", lambda: next(seconds))
    monkeypatch.setattr("edgepress.toolkit.measurement.benchmarking.quiet.own_seconds", lambda: None)
    with Watch(()) as watch:
        pass
    noise = watch.noise([])
    assert noise.busy_share == pytest.approx(2 / 4), "a process that began meanwhile may be of the benchmark"
    assert noise.reasons[0] == "Other processes took 50 % of the CPUs' time (python most)."
