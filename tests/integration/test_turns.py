"""Turns of real files: each candidate is timed in every round, and one that dies or hangs fails alone."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.runtime import load
from edgepress.runtime.board import usable_cpus
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.machine.host import choose_cpus
from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.measurement.benchmarking.quiet import Watch
from edgepress.toolkit.measurement.benchmarking.timing import Timing, time_candidates
from edgepress.toolkit.workers import turn
from edgepress.toolkit.workers.opening import Candidate, Opening
from edgepress.toolkit.workers.turn import OpenTurn, Start, Turn, begin

DIES_AT_ITS_THIRD_OPENING = """
import os, pathlib
from ai_edge_litert.interpreter import Interpreter as Real
class Interpreter:
    def __init__(self, model_path, num_threads=None):
        with open({log!r}, "a") as log: log.write("x")
        if pathlib.Path({log!r}).stat().st_size == 3: os.abort()
        self._real = Real(model_path=model_path, num_threads=num_threads)
    def __getattr__(self, name): return getattr(self._real, name)
"""


def test_a_turn_opens_warms_up_and_times(run: Any, digits: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "items.npy", digits.test.read(np.arange(4)))
    try:
        begin(Start("litert", str(tmp_path / "items.npy")), lambda _: None)
    finally:
        gc.enable()
    taken = OpenTurn(
        Turn(Candidate(run.variants["tflite-int8"], "litert", batch=3), (), 60), turn._TurnState.items
    ).whole()
    assert taken.load_ns > 0
    assert taken.first_ns > 0
    assert taken.warmup >= turn.WINDOW
    assert turn.MIN_CALLS <= len(taken.times) <= turn.MAX_CALLS
    assert taken.first_ns + taken.times.sum() <= taken.spent_ns


def test_every_candidate_is_timed_in_every_round_and_one_that_fails_fails_alone(run: Any, digits: Any) -> None:
    files = (("tflite-int8", "litert"), ("onnx-float32", "onnxruntime"), ("tflite-float32", "litert"))
    openings = [Opening(Candidate(run.variants[s], e), digits.labels, digits.input, choose_cpus(1)) for s, e in files]
    openings[2] = Opening(openings[2].candidate, tuple("abcdefghij"), digits.input)
    before, shares = usable_cpus(), []
    watch = Watch(choose_cpus(1))
    items = digits.test.read(np.arange(4))
    first, second, failed = time_candidates(
        openings,
        items,
        watch,
        BenchmarkOptions(rounds=6),
        on_progress=lambda phase, share: shares.append((phase, share)),
    )
    assert isinstance(first, Timing)
    assert isinstance(second, Timing)
    assert [len(t.taken) for t in (first, second)] == [6, 6]
    assert isinstance(failed, EdgepressError)
    assert "labels" in str(failed)
    assert usable_cpus() == before
    assert shares == [("latency", n / 6) for n in (1, 2, 3, 4, 5, 6)]
    # ONNX Runtime takes some megabytes for any file, and no engine takes less than the file's own weights.
    assert second.memory_bytes is not None
    assert run.variants["onnx-float32"].stat().st_size < second.memory_bytes < 200e6
    noise = watch.noise(first.medians)
    assert noise.cpus == choose_cpus(1)
    assert 0 <= (noise.busy_share or 0) <= 1


def test_a_candidate_that_dies_in_a_turn_fails_alone(
    run: Any, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "fake" / "tflite_runtime"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    code = DIES_AT_ITS_THIRD_OPENING.format(log=str(tmp_path / "log"))
    (package / "interpreter.py").write_text(code)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    file = run.variants["tflite-int8"]
    openings = [Opening(Candidate(file, e), digits.labels, digits.input) for e in ("tflite-runtime", "litert")]
    dead, alive = time_candidates(openings, digits.test.read(np.arange(4)), Watch(()), BenchmarkOptions(rounds=3))
    assert isinstance(dead, EdgepressError)
    assert "SIGABRT" in str(dead)
    assert isinstance(alive, Timing)
    assert len(alive.taken) == 3


@pytest.mark.slow
def test_a_turn_that_hangs_is_given_up(run: Any, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "items.npy", digits.test.read(np.arange(2)))
    code = "import time; time.sleep(60)"
    monkeypatch.setattr(turn, "OpenTurn", lambda *_: exec(code))
    monkeypatch.setattr(turn._TurnState, "items", np.empty(0), raising=False)
    with pytest.raises(EdgepressError, match="took over 1 s"):
        turn.take_turn(Turn(Candidate(run.variants["tflite-int8"], "litert"), (), 1), lambda _: None)


def test_a_candidate_takes_no_turn_when_its_time_is_used_up(run: Any, digits: Any) -> None:
    opening = Opening(Candidate(run.variants["tflite-int8"], "litert"), digits.labels, digits.input)
    (timing,) = time_candidates(
        [opening], digits.test.read(np.arange(2)), Watch(()), BenchmarkOptions(rounds=5, timing_s=1e-6)
    )
    assert isinstance(timing, Timing)
    assert len(timing.taken) == 1


def test_others_at_work_make_a_run_noisy() -> None:
    if not Path("/proc/stat").exists():
        pytest.skip("needs Linux")
    code = "while True: pass"
    with Watch(()) as quiet:  # what it starts and waits for is its own, however busy
        subprocess.run([sys.executable, "-c", "sum(range(20_000_000))"], check=True)
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(os.cpu_count() or 1)]
    try:
        with Watch(()) as watch:
            subprocess.run(["sleep", "0.6"], check=True)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    noise = watch.noise([1.0, 1.0, 1.0])
    assert noise.noisy
    assert "Other processes took" in noise.reasons[0]
    assert (noise.busy_share or 0) > (quiet.noise([]).busy_share or 0)
    assert noise.spread == 0


def test_repeated_items_are_answered_as_a_batch(run: Any, digits: Any) -> None:
    model = load(run.variants["tflite-int8"])
    batch = turn._batches(digits.test.read(np.arange(3)), 5)[0]
    assert model.scores(batch).shape == (5, 10)
