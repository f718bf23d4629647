"""Model files whose loops never end: a command of the runtime ends with one error, `serve` after it answered."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundling import install, reworked, signed_bundle, unpack
from calling_graphs import endless, endless_onnx
from serving import Running

from edgepress.converters.contract.write import onnx_annotated
from edgepress.runtime.contract import MEMBER, Contract, SelfTest
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.shipping.bundles import pyz_main

MESSAGE = "gave no answer in 1 s. If it is only slow, give --limit more."


@pytest.fixture(params=["tflite", "onnx"])
def model(request: Any, tmp_path: Path) -> Path:
    path = tmp_path / f"endless.{request.param}"
    path.write_bytes(endless() if request.param == "tflite" else endless_onnx())
    np.save(tmp_path / "x.npy", np.zeros(4, np.float32))
    return path


@pytest.fixture
def server(model: Path) -> Iterator[Running]:
    running = Running(model, "--limit", "1")
    yield running
    running.process.kill()
    running.process.communicate()


def runtime(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgepress.runtime", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def proving(source: Path, target: Path) -> Path:
    """A copy of an endless file, with a self-test."""
    test = SelfTest(engine="x", seeds=(1,), columns=(), scores=base64.b64encode(bytes(8)).decode(), top=(0,))
    spec = InputSpec(shape=(4,), dtype="float32")
    contract = Contract(task="softmax", labels=(*"abcd",), input=spec, scheme="", selftest=test)
    if source.suffix == ".onnx":
        target.write_bytes(onnx_annotated(source.read_bytes(), contract, moved=False))
    else:
        shutil.copyfile(source, target)
        with zipfile.ZipFile(target, "a") as archive:
            archive.writestr(MEMBER, contract.to_json())
    return target


@pytest.mark.parametrize("command", ["classify", "bench", "selftest"])
def test_a_command_ends_with_one_error(command: str, model: Path) -> None:
    subjects = [model.with_name("x.npy")] if command == "classify" else []
    if command == "selftest":
        model = proving(model, model.with_name(f"proving{model.suffix}"))
    form = ["--json"] if model.suffix == ".onnx" else []
    done = runtime(command, model, *subjects, "--limit", "1s", *form)
    assert done.returncode == 1
    if form:
        assert MESSAGE.partition(". ")[0] in json.loads(done.stdout.splitlines()[-1])["error"]["message"]
    else:
        assert done.stderr.rstrip().endswith(f"Error: {model} {MESSAGE}")


def test_serve_answers_all_requests_and_ends(server: Running) -> None:
    assert server.ask("GET", "/ready")[0] == 200
    body = Path(server.ready["model"]).with_name("x.npy").read_bytes()
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(server.ask, "POST", "/classify", body) for _ in range(3)]
        assert server.ask("GET", "/ready")[0] == 200, "the others are answered until then"
        for answer in answers:
            status, found, headers = answer.result(timeout=30)
            assert (status, headers["Retry-After"]) == (503, "1")
            assert "no answer in time" in found["error"]["message"]
    rest, log = server.process.communicate(timeout=30)
    assert server.process.returncode == 1, "a failure for systemd, which starts it again"
    assert MESSAGE.partition(". ")[0] in json.loads(rest)["error"]["message"]
    assert "Traceback" not in log


def test_serve_that_is_stopped_meanwhile_ends(server: Running) -> None:
    body = Path(server.ready["model"]).with_name("x.npy").read_bytes()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(server.ask, "POST", "/classify", body)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        server.process.communicate(timeout=30)
    assert server.process.returncode == 1


SLOW = """
import sys, time
from edgepress.runtime.__main__ import main
from edgepress.runtime.model import Answer, Model

Model.judge_in = lambda *_: time.sleep(1) or (Answer([], None), 1.0)
sys.exit(main(["serve", *sys.argv[1:]]))
"""


def test_serve_that_is_stopped_ends_without_the_requests_that_wait(tmp_path: Path) -> None:
    """They had `--timeout`; the engine would work for nobody, and a supervisor would kill the server."""
    (tmp_path / "a.onnx").write_bytes(endless_onnx())
    running = Running(tmp_path / "a.onnx", command=("-c", SLOW))
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(running.ask, "POST", "/classify", b"x") for _ in range(12)]
        time.sleep(0.5)
        running.process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        running.process.communicate(timeout=30)
    assert running.process.returncode == 0
    assert time.monotonic() - start < 8
    assert sum(future.exception() is not None for future in asked) >= 8


def test_waiting_and_many_short_calls_are_no_late_answer(run: Any, tmp_path: Path, digits: Any) -> None:
    """The limit is about one call: neither about an idle server nor about the sum of calls."""
    file = run.variants["tflite-int8"]
    running = Running(file, "--limit", "1")
    time.sleep(1.5)
    np.save(tmp_path / "x.npy", digits.test.read([0])[0])
    assert running.ask("POST", "/classify", (tmp_path / "x.npy").read_bytes())[0] == 200
    running.end()
    assert runtime("bench", file, "--threads", "1", "--seconds", "1.5", "--limit", "1").returncode == 0


OWN_PROGRAM = """
import os, sys, threading, time
import numpy as np
from edgepress.runtime import load
from edgepress.runtime.__main__ import main
from edgepress.runtime.limit import LIMIT

assert main(["info", sys.argv[1], "--limit", "1"]) == 0
assert LIMIT.began is None and not LIMIT.before_end
model = load(sys.argv[1])
threading.Thread(target=model.answer, args=(np.zeros((1, 4), np.float32),), daemon=True).start()
time.sleep(1.5)
os._exit(7 if LIMIT.began else 8)
"""


def test_a_program_of_its_own_is_not_ended(model: Path) -> None:
    """Only commands watch; what they watched is forgotten when they are done."""
    done = subprocess.run([sys.executable, "-c", OWN_PROGRAM, str(model)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 7, done.stderr


@pytest.mark.parametrize("model", ["tflite"], indirect=True)
def test_a_bundle_whose_model_does_not_end_is_not_installed(model: Path, run: Any, tmp_path: Path) -> None:
    unpacked = unpack(signed_bundle(run, tmp_path), tmp_path / "unpacked")
    proving(model, unpacked / "model.tflite")
    hasty = reworked(unpacked, tmp_path / "hasty", {"run": ('"$@"', '"$@" --limit 1')})
    prefix = tmp_path / "prefix"
    start = time.monotonic()
    done = install(hasty, "--prefix", str(prefix), "--system", "--python", sys.executable)
    assert done.returncode == 1
    assert "gave no answer in 1 s." in done.stderr
    assert time.monotonic() - start < 60
    assert not [*(prefix / "releases").iterdir()]


def test_a_runnable_bundle_leaves_no_folder(model: Path, tmp_path: Path) -> None:
    """It unpacks its model into a temporary folder."""
    code = f"""
import sys
sys.argv = ["bundle.zip"]
sys.path.insert(0, {str(Path(pyz_main.__file__).parent)!r})
import pyz_main
pyz_main.main(["classify", "x.npy", "--limit", "1"])
"""
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as archive:
        archive.writestr("MANIFEST.json", json.dumps({"model": model.name}))
        archive.write(model, model.name)
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
    )
    assert done.returncode == 1
    assert "gave no answer in 1 s." in done.stderr
    assert not [*(tmp_path / "tmp").glob("edgepress-*")]
