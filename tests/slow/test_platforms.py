"""What works without the functions of POSIX systems; see tests/support/no_posix.py for what that shows and what not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from edgepress.converters.files import write_bytes
from edgepress.converters.process import system as file_system
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.machine import host
from edgepress.toolkit.machine.host import choose_cpus, out_of_the_way, parse_cpus
from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.measurement.benchmarking.quiet import Watch
from edgepress.toolkit.measurement.benchmarking.timing import Timing, time_candidates
from edgepress.toolkit.measurement.benchmarking.turns import SpawnedTurns, _fitting
from edgepress.toolkit.workers.opening import Candidate, Opening
from edgepress.toolkit.workers.turn import SLICES

ROOT = Path(__file__).parents[2]
NO_POSIX = Path(__file__).parents[1] / "support" / "no_posix.py"
IMPORT_ALL = """
import importlib, pkgutil
names = []
for top in ("runtime", "converters", "toolkit"):  # an editable install's namespace package lists no modules itself
    package = importlib.import_module("edgepress." + top)
    found = pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    names += [module.name for module in found if not module.name.endswith("__main__")]
for name in names:
    if not name.endswith((".pyz_main", ".remote_probe")):  # scripts
        importlib.import_module(name)
from edgepress.runtime.board import cpu_name, usable_cpus
from edgepress.runtime.system import temperature_c
from edgepress.toolkit.machine.host import describe_host
from edgepress.toolkit.machine.host import turns
print(len(names), usable_cpus(), temperature_c(), describe_host()["load_1min"], turns())
"""


def without_posix(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(NO_POSIX), *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_every_module_loads_without_posix(tmp_path: Path) -> None:
    script = tmp_path / "import_all.py"
    script.write_text(IMPORT_ALL)
    count, rest = without_posix(str(script)).stdout.split(maxsplit=1)
    assert int(count) > 200
    assert rest.strip() == "() None None spawn"


@pytest.mark.slow
def test_commands_work_without_posix(tmp_path: Path) -> None:
    def edgepress(*arguments: str) -> str:
        return without_posix("-m", "edgepress.toolkit.cli.main", *arguments, cwd=tmp_path).stdout

    edgepress("train", "--data", "digits", "--epochs", "1", "--out", "run")
    edgepress("convert", "run/model.keras", "--to", "tflite-float32,tflite-int8,onnx-float32")
    found = json.loads(
        edgepress("benchmark", "run/variants", "--engine", "litert,onnxruntime", "--rounds", "6", "--json")
    )
    assert [r["rounds"] for r in found["results"]] == [6, 6, 6]
    assert {r["memory_bytes"] for r in found["results"]} == {None}  # unknown, not wrong
    assert (found["noise"]["turns"], found["noise"]["cpus"], found["noise"]["load_1min"]) == ("spawn", [], None)
    assert any("not pinned" in note for note in found["notes"])
    assert "score" in edgepress("predict", "run/variants/model-int8.tflite", "run/mistakes.png", "--json")
    assert "works" in edgepress("doctor")


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_TURNS", "spawn")


@pytest.mark.usefixtures("spawned")
def test_spawned_turns_are_not_pinned_and_each_is_a_process_of_its_own(run: Any, digits: Any) -> None:
    assert choose_cpus(1) == ()
    files = (("tflite-int8", "litert"), ("onnx-float32", "onnxruntime"))
    openings = [Opening(Candidate(run.variants[s], e), digits.labels, digits.input, choose_cpus(1)) for s, e in files]
    watch = Watch(choose_cpus(1))
    timed = time_candidates(openings, digits.test.read(np.arange(4)), watch, BenchmarkOptions(rounds=2))
    assert [len(t.taken) for t in timed if isinstance(t, Timing)] == [2, 2]
    noise = watch.noise([])
    assert (noise.turns, noise.cpus) == ("spawn", ())


SHAPES = [(1, 1), (1, 1), (2, 1), (1, 1), (1, 2)]
"""Threads and batch sizes."""
FAKE_ENGINE = """
import os, pathlib, time
COUNT = []
from ai_edge_litert.interpreter import Interpreter as Real
class Interpreter:
    def __init__(self, model_path, num_threads=None):
        {opened}
        self._real, self._name = Real(model_path=model_path, num_threads=num_threads), pathlib.Path(model_path).name
    def invoke(self):
        {called}
        self._real.invoke()
    def __getattr__(self, name): return getattr(self._real, name)
def note(text):
    with open({log!r}, "a") as log: log.write(text)
    return pathlib.Path({log!r}).stat().st_size
"""


@pytest.fixture
def fake_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """LiteRT under the name of tflite-runtime, which also runs a statement when opened and when called."""

    def install(opened: str, called: str) -> Path:
        package = tmp_path / "fake" / "tflite_runtime"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        log = tmp_path / "log"
        (package / "interpreter.py").write_text(FAKE_ENGINE.format(log=str(log), opened=opened, called=called))
        monkeypatch.syspath_prepend(str(package.parent))
        monkeypatch.setenv("PYTHONPATH", f"{package.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        return log

    return install


@pytest.mark.usefixtures("spawned")
def test_spawned_turns_are_open_together_and_time_their_calls_alternately(
    run: Any, digits: Any, fake_engine: Callable[[str, str], Path]
) -> None:
    log = fake_engine("pass", "note(self._name + chr(10))")
    files = [run.variants[f"tflite-{scheme}"] for scheme in ("int8", "float32")]
    openings = [Opening(Candidate(file, "tflite-runtime"), digits.labels, digits.input) for file in files]
    timed = time_candidates(openings, digits.test.read(np.arange(4)), Watch(()), BenchmarkOptions(rounds=1))
    assert all(isinstance(t, Timing) and len(t.taken) == 1 for t in timed)
    names = [name for name, _ in groupby(log.read_text().split())]
    both = names[-2:]
    assert sorted(both) == sorted(file.name for file in files)
    assert names[-2 * (SLICES + 1) :] == both * (SLICES + 1)  # each is opened and warmed up, then the slices


@pytest.mark.slow
@pytest.mark.usefixtures("spawned")
def test_spawned_turns_that_memory_does_not_hold_together_are_all_taken(
    run: Any, digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[list[tuple[int, int]]] = []
    suspended: list[int] = []
    together, suspend = SpawnedTurns._together, psutil.Process.suspend

    def spy(self: SpawnedTurns, openings: Sequence[Opening]) -> Any:
        groups.append([(o.candidate.threads, o.candidate.batch) for o in openings])
        return together(self, openings)

    def spy_on(process: psutil.Process) -> None:
        suspended.append(process.pid)
        suspend(process)

    monkeypatch.setattr(SpawnedTurns, "_together", spy)
    monkeypatch.setattr(psutil.Process, "suspend", spy_on)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=0, total=1 << 34))
    candidates = [Candidate(run.variants["tflite-int8"], "litert", threads, batch) for threads, batch in SHAPES]
    openings = [Opening(candidate, digits.labels, digits.input) for candidate in candidates]
    timed = time_candidates(openings, digits.test.read(np.arange(4)), Watch(()), BenchmarkOptions(rounds=1))
    assert [len(t.taken) for t in timed if isinstance(t, Timing)] == [1] * len(SHAPES)
    assert sorted(groups) == [[(1, 1)], [(1, 1), (1, 1)], [(1, 2)], [(2, 1)]]
    assert len(suspended) == 1 + SLICES, "only the one with two threads, after each step"
    assert len(set(suspended)) == 1


@pytest.mark.parametrize(("available", "count"), [(0, 2), (1.5e9, 3), (4e9, 9)])
def test_as_many_turns_are_open_as_half_of_the_free_memory_holds(
    available: float, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=available))
    sizes = {"small.tflite": 10, "large.tflite": 5_000_000}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(bytes(size))
    openings = [Opening(Candidate(tmp_path / name, "litert"), (), None) for name in sizes]  # type: ignore[arg-type]
    assert _fitting(openings) == count


@pytest.mark.usefixtures("spawned")
@pytest.mark.parametrize(
    ("opened", "called", "said"),
    [
        ("note('x') == 2 and os.abort()", "pass", "SIGABRT"),
        ("note('x') == 2 and time.sleep(60)", "pass", "took over 3 s"),
        ("note('x')", "note('') == 2 and time.sleep(0.6)", "took over 3 s"),  # all steps together
        ("note('x')", "note('') == 2 and (COUNT.append(1), len(COUNT) == 30 and os.abort())", "SIGABRT"),
        ("note('x')", "note('') == 2 and (COUNT.append(1), len(COUNT) == 30 and 1 / 0)", "division by zero"),
    ],
)
def test_a_spawned_turn_that_fails_dies_or_hangs_does_so_alone(
    opened: str, called: str, said: str, run: Any, digits: Any, fake_engine: Callable[[str, str], Path]
) -> None:
    fake_engine(opened, called)
    file = run.variants["tflite-int8"]
    openings = [Opening(Candidate(file, e), digits.labels, digits.input) for e in ("tflite-runtime", "litert")]
    cap = 3 if "over 3 s" in said else 60  # a busy machine must not reach it before the fault
    options = BenchmarkOptions(rounds=1, time_cap=cap)
    failed, alone = time_candidates(openings, digits.test.read(np.arange(4)), Watch(()), options)
    assert isinstance(failed, EdgepressError)
    assert said in str(failed)
    assert isinstance(alone, Timing)
    assert len(alone.taken) == 1
    assert not [p for p in psutil.Process().children() if "converters.process.worker" in " ".join(p.cmdline())]


def test_the_way_of_turns_can_be_chosen_where_the_system_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "FORKS", True)
    monkeypatch.setattr(host, "PINS", True)
    assert host.turns() == "fork"
    monkeypatch.setenv("EDGEPRESS_TURNS", "spoon")
    with pytest.raises(InputError, match="'spoon'") as caught:
        host.turns()
    assert "fork or spawn" in caught.value.hint
    monkeypatch.setattr(host, "PINS", False)
    monkeypatch.setenv("EDGEPRESS_TURNS", "fork")
    with pytest.raises(InputError, match="'fork'"):
        host.turns()
    monkeypatch.delenv("EDGEPRESS_TURNS")
    assert host.turns() == "spawn"


def test_where_processes_cannot_be_pinned_no_cpu_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepress.toolkit.machine.host.usable_cpus", lambda: ())
    with pytest.raises(InputError) as caught:
        parse_cpus("0")
    assert "cannot pin" in caught.value.hint
    with out_of_the_way(()):
        pass


def test_other_processes_count_alone_where_those_of_children_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepress.toolkit.measurement.benchmarking.quiet.own_seconds", lambda: None)
    others = iter([{1: ("a", 1.0), 2: ("b", 1.0)}, {1: ("a", 3.0), 2: ("new", 9.0), 3: ("c", 5.0)}])
    monkeypatch.setattr("edgepress.toolkit.measurement.benchmarking.quiet._other_seconds", lambda: next(others))
    totals = iter([{"total": 0.0, "busy": 0.0, "steal": 0.0}, {"total": 10.0, "busy": 9.0, "steal": 0.0}])
    monkeypatch.setattr("edgepress.toolkit.measurement.benchmarking.quiet._cpu_seconds", lambda: next(totals))
    with Watch(()) as watch:
        pass
    assert watch.noise([]).busy_share == pytest.approx(0.2)


def test_a_name_that_another_program_holds_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refusals = os.replace, [PermissionError(13, "held"), PermissionError(13, "held")]

    def replace(source: Any, target: Any) -> None:
        if refusals:
            raise refusals.pop()
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(file_system, "RENAME_S", 2.0)
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    refusals += [PermissionError(13, "held")] * 100
    monkeypatch.setattr(file_system, "RENAME_S", 0.1)
    with pytest.raises(InputError, match="held"):
        write_bytes(tmp_path / "a", b"newer")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_output_may_contain_what_its_encoding_lacks(encoding: str) -> None:
    code = (
        "from edgepress.toolkit.cli.main import _write_any_character as ready; ready(); "
        "from edgepress.toolkit.cli import screen; screen.say('5 µs ≤ 6 µs')"
    )
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)
    assert done.stdout.decode(encoding).split()[0] == "5"
    assert b"? 6" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.11", "3.13"])
@pytest.mark.parametrize("platform", ["aarch64-apple-darwin", "x86_64-pc-windows-msvc"])
def test_the_tested_versions_have_wheels_for_macos_and_windows(platform: str, python: str, tmp_path: Path) -> None:
    uv = pytest.importorskip("uv", reason="uv evaluates markers for other systems; pip does for its own alone")
    extras = [word for extra in ("toolkit", "openvino", "sweep") for word in ("--extra", extra)]
    command = [uv.find_uv_bin(), "pip", "compile", str(ROOT / "pyproject.toml"), *extras, "--only-binary", ":all:"]
    command += ["-c", str(ROOT / "constraints.txt"), "--python-platform", platform, "--python-version", python]
    environment = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}  # the oldest that onnxruntime's wheels support
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    if any(word in done.stderr for word in ("Failed to fetch", "error sending request", "dns error")):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    for package in ("ai-edge-litert==", "tensorflow==", "onnxruntime==", "litert-quantizer==", "optuna=="):
        assert f"\n{package}" in done.stdout
