"""What timing adds up to, when a host is not quiet, and what kept answers depend on."""

from __future__ import annotations

import dataclasses
import os
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edgepress.runtime import InputSpec
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.measurement.benchmarking import cache
from edgepress.toolkit.measurement.benchmarking.cache import Shelf, prune
from edgepress.toolkit.measurement.benchmarking.quiet import Watch
from edgepress.toolkit.measurement.benchmarking.timing import Timing, latency_figures
from edgepress.toolkit.results.records import Noise
from edgepress.toolkit.stats.intervals import paired_ratio
from edgepress.toolkit.workers.answer import Part
from edgepress.toolkit.workers.opening import Candidate
from edgepress.toolkit.workers.turn import Taken

# Percentiles of a row and of its rounds.


def timing(*rounds: Any, memory: int | None = None) -> Timing:
    """Rounds of latencies in microseconds."""
    taken = [
        Taken((n + 1) * 1_000_000, (n + 1) * 2000, n + 3, 10, np.asarray(times) * 1000)
        for n, times in enumerate(rounds)
    ]
    return Timing(taken, memory)


def test_a_row_has_the_percentiles_of_all_calls_and_a_round_those_of_its_own() -> None:
    first, second, third = np.arange(101), np.arange(101) * 2 + 300, np.arange(101) * 3 + 1000
    found = latency_figures(timing(first, second, third, memory=77), None)
    every = np.concatenate([first, second, third])
    assert found.p50_us == pytest.approx(np.percentile(every, 50)) == pytest.approx(400)
    assert found.p90_us == pytest.approx(np.percentile(every, 90)) == pytest.approx(1209.4)
    assert found.p99_us == pytest.approx(np.percentile(every, 99)) == pytest.approx(1290.94)
    assert found.round_medians_us == pytest.approx((50, 400, 1150))
    assert found.round_p90s_us == pytest.approx((90, 480, 1270))
    assert found.round_p99s_us == pytest.approx((99, 498, 1297))
    assert (found.min_us, found.count, found.rounds, found.memory_bytes) == (0, 303, 3, 77)
    assert (found.load_ms, found.first_us, found.warmup) == (2, 4, 4)
    assert len(found.latency_quantiles_us) == 51
    assert found.latency_quantiles_us[0] == 0
    assert found.latency_quantiles_us[25] == pytest.approx(400)
    assert found.latency_quantiles_us[45] == pytest.approx(1209.4)
    assert found.latency_quantiles_us[50] == pytest.approx(1300)


def test_a_speed_up_is_against_the_baseline_round_by_round() -> None:
    slow, fast = ([np.array([v * k]) for k in range(1, 9)] for v in (30, 10))
    baseline = timing(*slow)
    found = latency_figures(timing(*fast), baseline)
    assert (found.speedup, found.speedup_low, found.speedup_high) == pytest.approx((3, 3, 3))
    itself = latency_figures(baseline, baseline)
    assert (itself.speedup, itself.speedup_low, itself.speedup_high) == (1, 1, 1)
    alone = latency_figures(baseline, None)
    assert (alone.speedup, alone.speedup_low, alone.speedup_high) == (None, None, None)
    uneven = [np.array([v]) for v in (10, 12, 15, 11, 30, 9, 14)]
    found = latency_figures(timing(*uneven), timing(*slow[:7]))
    expected = paired_ratio([float(v[0]) for v in slow[:7]], [float(v[0]) for v in uneven])
    assert (found.speedup, found.speedup_low, found.speedup_high) == (expected.estimate, expected.low, expected.high)


def test_the_time_of_a_candidate_is_that_of_loading_and_of_all_calls() -> None:
    assert (
        Timing([Taken(2_000_000_000, 1, 1, 500_000_000, np.ones(1)), Taken(0, 1, 1, 250_000_000, np.ones(1))]).seconds
        == 2.75
    )


# How quiet the host was.

Times = namedtuple("Times", "user system idle iowait steal nice irq softirq")
Frequency = namedtuple("Frequency", "current")
Process = namedtuple("Process", "pid info")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A host on which a second of timing takes so much of each kind of time, at these frequencies."""

    def made(
        *,
        own: float = 0.0,
        mhz: Any = (),
        load: float = 0.5,
        processes: Any = ((), ()),
        rounds: Any = (),
        **took: float,
    ) -> Noise:
        took = {"idle": 10.0 - sum(took.values())} | took
        start = dict.fromkeys(Times._fields, 100.0)
        states = iter([Times(**start), Times(**{k: v + took.get(k, 0.0) for k, v in start.items()})])
        owned = iter([(1.0, 1.0, 1.0, 1.0, 0.0), (1.0 + own, 1.0, 1.0, 1.0, 0.0)])
        speeds, others = iter([Frequency(v) for v in mhz]), iter(processes)
        monkeypatch.setattr(psutil, "cpu_times", lambda: next(states))
        monkeypatch.setattr(psutil, "cpu_freq", lambda: next(speeds, None))
        monkeypatch.setattr(psutil, "process_iter", lambda _: next(others))
        monkeypatch.setattr(os, "times", lambda: next(owned))
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 9.0, 9.0))
        with Watch((0,)) as watch:
            for _ in mhz[2:]:
                watch.look()
        return watch.noise(rounds)

    return made


def test_a_quiet_host_is_quiet(host: Any) -> None:
    found = host(mhz=(2000.0, 2000.0))
    assert not found.noisy
    assert found.reasons == ()
    assert (found.busy_share, found.steal_share, found.spread) == (0, 0, None)
    assert (found.frequency_mhz, found.load_1min, found.cpus) == ((2000, 2000), 0.5, (0,))


@pytest.mark.parametrize(("steal", "noisy"), [(0.19, False), (0.21, True), (2.0, True)])
def test_time_that_the_hypervisor_took_is_a_warning(host: Any, steal: float, noisy: bool) -> None:
    found = host(steal=steal)
    assert found.noisy == noisy
    assert found.steal_share == pytest.approx(steal / 10)
    assert len(found.reasons) == noisy
    assert all(f"{10 * steal:.1f} %" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("mhz", "noisy"),
    [
        ((2000, 1790), True),
        ((2000, 1810), False),
        ((1790, 2000), True),
        ((2000, 2000, 1500, 2000), True),
        ((2000, 2000), False),
    ],
)
def test_a_frequency_that_falls_is_a_warning(host: Any, mhz: tuple[float, ...], noisy: bool) -> None:
    found = host(mhz=mhz)
    assert found.noisy == noisy
    assert found.frequency_mhz == (min(mhz), max(mhz))
    assert all(str(min(mhz)) in reason and str(max(mhz)) in reason for reason in found.reasons)
    assert host().frequency_mhz is None, "a system that does not tell"


@pytest.mark.parametrize("kind", ["user", "system", "nice", "irq", "softirq"])
def test_time_that_others_took_is_a_warning_and_our_own_is_none(host: Any, kind: str) -> None:
    assert host(**{kind: 1.1}).noisy
    assert host(**{kind: 1.1}).busy_share == pytest.approx(0.11)
    assert not host(**{kind: 0.9}).noisy
    assert host(**{kind: 5.0}, own=4.5).busy_share == pytest.approx(0.05)
    assert host(**{kind: 1.0}, own=4.5).busy_share == 0
    assert not host(iowait=5.0).noisy, "waiting for a disk takes no CPU"


def test_the_process_that_took_most_is_named(host: Any) -> None:
    def process(pid: int, name: str, seconds: float) -> Any:
        return Process(pid, {"name": name, "cpu_times": Times(seconds / 2, seconds / 2, *[0] * 6)})

    before = [process(1, "old", 500.0), process(2, "builder", 1.0), process(3, "gone", 1.0)]
    after = [process(1, "old", 500.0), process(2, "builder", 4.0), process(3, "other", 90.0)]
    ours = process(os.getpid(), "python", 900.0)
    (reason,) = host(user=5.0, processes=(before, [*after, ours])).reasons
    assert "builder" in reason
    assert not any(name in reason for name in ("old", "gone", "other", "python"))
    assert "new" in host(user=5.0, processes=(before, [*after, process(4, "new", 5.0)])).reasons[0]
    assert "builder" not in host(user=5.0, processes=(before, before)).reasons[0], "no one stands out"


@pytest.mark.parametrize(("last", "noisy"), [(109.0, False), (111.0, True)])
def test_rounds_of_the_baseline_that_differ_are_a_warning(host: Any, last: float, noisy: bool) -> None:
    found = host(rounds=[100.0, 100.0, 100.0, last, 500.0])
    assert found.spread == pytest.approx((last - 100) / 100)
    assert found.noisy == noisy


# Kept answers.


class Nowhere:
    def __len__(self) -> int:
        return 0


SPLIT = Split(Nowhere(), np.arange(3), np.zeros(3, np.int64))  # type: ignore[arg-type]
DATA = DataSet("digits", ("a", "b"), InputSpec.image(8, 8, "grey"), SPLIT, SPLIT, SPLIT, "hash")
CERTAINTY = np.array([0.5, -np.inf, 1], np.float32)
RANKED = np.array([[1, 0], [0, 1], [1, 0]])
SCORES = np.array([[0.5, 0.4], [0.25, 0.125], [0.75, 0.0]], np.float32)
JUDGED = np.array([1, 0, -1], np.int8)
PART = Part((np.array([1, 0, 1]), np.array([0.5, 0.25, 0.75], np.float32), JUDGED, CERTAINTY, RANKED, SCORES), 1.5)
ROWS = slice(0, 3)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the cache sees of the machine; a test may change it."""
    about = {"cpu": "CPU", "machine": "x86_64", "version": "1.0", "pillow": "11"}
    monkeypatch.setattr(cache, "describe_host", lambda: {"cpu": about["cpu"], "machine": about["machine"]})
    monkeypatch.setattr(cache, "engine_version", lambda _: about["version"])
    monkeypatch.setattr(cache.importlib.metadata, "version", lambda _: about["pillow"])
    return about


@pytest.fixture
def kept(tmp_path: Path, machine: dict[str, str]) -> tuple[Path, Candidate]:
    """A cache that holds the answers of a candidate."""
    file = tmp_path / "a.tflite"
    file.write_bytes(b"model")
    candidate = Candidate(file, "litert", 2)
    Shelf(tmp_path / "cache", candidate, DATA).put(ROWS, PART)
    return tmp_path / "cache", candidate


def there(kept: tuple[Path, Candidate], data: DataSet = DATA, **changes: Any) -> bool:
    return Shelf(kept[0], kept[1]._replace(**changes), data).get(ROWS) is not None


def test_kept_answers_come_back_as_they_were(kept: tuple[Path, Candidate]) -> None:
    found = Shelf(*kept, DATA).get(ROWS)
    assert found is not None
    assert found.columns[0].tolist() == [1, 0, 1]
    assert found.columns[1].tolist() == [0.5, 0.25, 0.75]
    assert found.columns[2].tolist() == [1, 0, -1]
    assert found.columns[3].tolist() == CERTAINTY.tolist()
    assert found.columns[4].tolist() == RANKED.tolist()
    assert found.columns[5].tolist() == SCORES.tolist()
    assert found.seconds == 1.5
    assert found.columns[0].dtype == np.int64
    assert Shelf(*kept, DATA).get(slice(0, 2)) is None
    assert Shelf(None, kept[1], DATA).get(ROWS) is None
    assert there(kept, batch=8), "how many items a timed call takes changes no answer"


@pytest.mark.parametrize(
    ("what", "value"), [("cpu", "other"), ("machine", "aarch64"), ("version", "1.1"), ("pillow", "12")]
)
def test_another_cpu_or_version_of_the_engine_answers_anew(
    kept: tuple[Path, Candidate], machine: dict[str, str], what: str, value: str
) -> None:
    assert there(kept)
    machine[what] = value
    assert not there(kept)


def test_other_threads_engines_bytes_and_data_are_answered_anew(kept: tuple[Path, Candidate]) -> None:
    assert there(kept)
    assert not there(kept, threads=1)
    assert not there(kept, engine="tflite-runtime")
    for change in ({"sha256": "other"}, {"labels": ("b", "a")}, {"input": InputSpec.image(8, 8, "grey", "pad")}):
        assert not there(kept, dataclasses.replace(DATA, **change))  # type: ignore[arg-type]
    kept[1].file.write_bytes(b"other")
    assert not there(kept)


def test_an_unknown_engine_or_version_keeps_nothing(kept: tuple[Path, Candidate], machine: dict[str, str]) -> None:
    for engine, version in ((None, "1.0"), ("litert", "")):
        machine["version"] = version
        shelf = Shelf(kept[0], kept[1]._replace(engine=engine), DATA)
        shelf.put(ROWS, PART)
        assert shelf.get(ROWS) is None


def test_damaged_answers_are_none(kept: tuple[Path, Candidate]) -> None:
    (path,) = (p for p in kept[0].rglob("*") if p.is_file())
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole + b"\0", whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        path.write_bytes(damaged)
        assert not there(kept)
    path.write_bytes(whole)
    assert there(kept)


def test_what_was_used_least_recently_is_removed(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "middle", "old")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "0-3").write_bytes(b"x" * 4096)
        os.utime(folder, (1000 - age, 1000 - age))
    used = (tmp_path / "new" / "0-3").stat().st_blocks * 512
    prune(tmp_path, limit_bytes=2 * used)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["middle", "new"]
    prune(tmp_path, limit_bytes=2 * used - 1)
    assert [p.name for p in tmp_path.iterdir()] == ["new"]
    prune(tmp_path / "nowhere")
