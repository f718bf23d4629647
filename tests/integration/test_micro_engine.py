"""The engine tflite-micro: a process of its own, accuracy without latency, arena, and what it can't run."""

from __future__ import annotations

import gc
import hashlib
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from c99_graphs import graph, items
from micro_package import Install

from edgepress.converters.to_c.lowering import lower
from edgepress.runtime import EngineError, ModelFileError, available_engines, load
from edgepress.runtime.bench import bench
from edgepress.runtime.micro_session import MicroSession
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.conversion.inspection import inspect
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.benchmarking.benchmark import benchmark
from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.measurement.benchmarking.plan import find_engines
from edgepress.toolkit.measurement.evaluation import evaluate
from edgepress.toolkit.search.compression.compress import compress

NAME = "tflite-micro"
CHAIN = "chain-0"


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    path = tmp_path / "chain.tflite"
    path.write_bytes(graph(CHAIN))
    return path


def test_answers_come_back_as_the_file_s_type_says(install: Install, chain: Path) -> None:
    install("pass")
    source = lower(chain).input
    rows = items(CHAIN, source.size, source.dtype)[:5].reshape(-1, *source.shape[1:])
    micro = load(chain, NAME)
    assert (micro.engine, micro.shape) == (NAME, tuple(source.shape[1:]))
    np.testing.assert_array_equal(micro.scores(rows), load(chain, "litert").scores(rows))


def test_a_crash_ends_its_own_process_and_is_one_error(install: Install, chain: Path) -> None:
    install("os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(ModelFileError, match=r"chain\.tflite ended the process .* \(SIGSEGV\)") as caught:
        load(chain, NAME)
    assert "damaged" in caught.value.hint


def test_a_crash_after_opening_is_the_same_error(install: Install, chain: Path) -> None:
    install("self.calls = getattr(self, 'calls', 0) + 1; self.calls > 2 and os._exit(3)")
    model = load(chain, NAME)
    item = np.zeros((1, *model.shape), np.uint8)
    model.scores(item)
    with pytest.raises(ModelFileError, match=r"\(exit code 3\)"):
        model.scores(item)


def test_calls_after_a_crash_leave_nothing_behind(install: Install, chain: Path, capfd: Any) -> None:
    """Each is the same error; what they wrote to the process that has ended is no error of the session's end."""
    install("self.calls = getattr(self, 'calls', 0) + 1; self.calls > 1 and os._exit(3)")
    model = load(chain, NAME)
    child = cast(MicroSession, model._session)._child
    item = np.zeros((1, *model.shape), np.uint8)
    for _ in range(3):
        with pytest.raises(ModelFileError, match=r"\(exit code 3\)"):
            model.scores(item)
    capfd.readouterr()
    del model
    gc.collect()
    assert capfd.readouterr().err == ""
    assert child.stdin is not None
    assert child.stdout is not None
    assert (child.stdin.closed, child.stdout.closed) == (True, True)


def test_what_it_does_not_run_is_said_with_its_own_words_and_the_target_to_convert_for(
    install: Install, chain: Path
) -> None:
    install("os.write(2, b'QUANTIZE: input FLOAT32\\x1b[31m\\n'); raise RuntimeError('failed')")
    with pytest.raises(EngineError, match=r"does not run on tflite-micro: .*QUANTIZE: input FLOAT32") as caught:
        load(chain, NAME)
    assert "--target integer-only" in caught.value.hint
    assert "\x1b" not in caught.value.message


def test_it_is_not_timed(install: Install, chain: Path, tmp_path: Path) -> None:
    install("pass")
    assert NAME in available_engines("tflite")
    assert NAME not in find_engines("all")
    assert find_engines(f"litert,{NAME}") == ["litert", NAME]
    with pytest.raises(EngineError, match="The latency of tflite-micro"):
        bench(chain, NAME)
    with pytest.raises(InputError, match="compress measures latency"):
        compress(tmp_path / "model.keras", engine=NAME, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_benchmark_has_its_accuracy_and_ships_on_another_engine(install: Install, run: Any) -> None:
    install("pass")
    files = [run.variants["tflite-float32"], run.variants["tflite-int8"]]
    result = benchmark(files, options=BenchmarkOptions(engine=f"litert,{NAME}", rounds=2, timing_s=0.2))
    rows = {(Path(row.file).name, row.engine): row for row in result.results}
    micro, other = (rows[files[1].name, engine] for engine in (NAME, "litert"))
    assert not micro.failed
    assert micro.accuracy == pytest.approx(other.accuracy, abs=0.02)
    assert (micro.drop_pp is None, micro.p50_us, micro.speedup) == (False, None, None)
    assert other.p50_us is not None
    assert result.advice.engine == "litert"
    assert evaluate(files[1], engine=NAME)["engine"] == NAME


@pytest.mark.slow
def test_inspect_tells_the_arena_or_why_there_is_none(
    install: Install, chain: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert inspect(chain).microcontroller is None or NAME in available_engines()
    install("pass")
    with pytest.raises(SystemExit, match="0"):
        main(["inspect", str(chain), "--json"])
    check = json.loads(capfd.readouterr().out)["microcontroller"]
    assert (check["name"], check["opens"], check["arena_bytes"]) == ("tflite-micro 9", True, 4321)
    with pytest.raises(SystemExit, match="0"):
        main(["inspect", str(chain)])
    assert "tflite-micro 9: arena 4.32 kB" in " ".join(capfd.readouterr().out.split())


def test_inspect_tells_what_firmware_would_not_run(install: Install, chain: Path) -> None:
    install("raise RuntimeError('no such operation')")
    check = inspect(chain).microcontroller
    assert check is not None
    assert not check.opens
    assert "no such operation" in check.error


@pytest.mark.skipif(NAME not in available_engines(), reason="tflite-micro is not installed")
def test_the_wheel_answers_as_the_stored_digests_say_and_refuses_files_for_cpus(chain: Path, run: Any) -> None:
    stored = json.loads((Path(__file__).parents[1] / "support" / "c99" / "answers.json").read_text())["sha256"]
    program, model = lower(chain), load(chain, NAME)
    rows = items(CHAIN, program.input.size, program.input.dtype)
    assert hashlib.sha256(program.answers(rows).tobytes()).hexdigest() == stored[CHAIN]
    scale, zero = program.output.scale, program.output.zero_point
    expected = (program.answers(rows).astype(np.float32) - np.float32(zero)) * np.float32(scale)
    np.testing.assert_allclose(model.scores(rows.reshape(-1, *program.input.shape[1:])), expected, rtol=1e-6)
    with pytest.raises(EngineError, match="does not run on tflite-micro") as caught:
        load(run.variants["tflite-int8"], NAME)
    assert "--target integer-only" in caught.value.hint
