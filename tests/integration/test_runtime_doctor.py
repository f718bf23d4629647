"""The board's `doctor`, and what the runtime may weigh and import."""

from __future__ import annotations

import ast
import faulthandler
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import printed

from edgepress.runtime import (
    EngineError,
    available_engines,
)
from edgepress.runtime import board as board_module
from edgepress.runtime.__main__ import main
from edgepress.runtime.board import doctor, working_set
from edgepress.runtime.engines import PACKAGED

pytestmark = pytest.mark.usefixtures("own_runtime_cache")


def test_doctor_finds_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = printed(capsys)[0]
    status = {e["name"]: e["status"] for e in found["engines"]}
    assert set(status) == set(PACKAGED)
    assert {name for name, s in status.items() if s == "works"} == set(available_engines())
    assert found["memory_bytes"] > found["available_bytes"] > 0
    for e in found["extensions"]:
        assert e["present"] is (e["name"] in Path("/proc/cpuinfo").read_text().split())


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_doctor_works_in_a_process_that_has_used_an_engine(engine: str, tmp_path: Path) -> None:
    code = (
        f"from edgepress.runtime.board import doctor, trial_error\n"
        f"assert not trial_error({engine!r}, {str(tmp_path)!r})\n"
        "print(*(e['detail'] for e in doctor()['engines'] if e['version'] and e['status'] != 'works'))"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("trouble", "detail"),
    [
        (lambda *_: (faulthandler.disable(), os.kill(os.getpid(), signal.SIGILL)), "SIGILL"),
        (lambda *_: os._exit(3), "exit code 3"),
        (lambda *_: (_ for _ in ()).throw(EngineError("no such kernel")), "no such kernel"),
        (lambda *_: type("M", (), {"scores": lambda s, x: np.array([[0.5, 0.5]])})(), "wrong answer"),
    ],
)
def test_doctor_reports_an_engine_that_does_not_run(
    trouble: Any, detail: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(board_module, "load", trouble)
    monkeypatch.setattr(board_module, "_can_fork", lambda: True)  # a new Python would not have this `load`
    found = doctor()
    installed = [e for e in found["engines"] if e["version"]]
    assert installed
    assert {e["status"] for e in installed} == {"fails"}
    assert all(detail in e["detail"] for e in installed)
    assert found["ok"] is False
    assert main(["doctor"]) == 1
    assert detail in capsys.readouterr().out


def talk(*_: Any) -> Any:
    os.write(1, b"a line of the engine")
    print("another one")
    raise ValueError("x" * 500_000)


def test_what_an_engine_prints_and_a_long_error_do_no_harm(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(board_module, "load", talk)
    monkeypatch.setattr(board_module, "_can_fork", lambda: True)
    begin = time.monotonic()
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capfd.readouterr().out)
    assert time.monotonic() - begin < 30, "it waited for an engine that had answered"
    details = [e["detail"] for e in found["engines"] if e["version"]]
    assert details
    assert all("ValueError: xxx" in detail and len(detail) < 3000 for detail in details)


def test_a_trial_that_dies_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(board_module, "load", lambda *_: os._exit(3))
    monkeypatch.setattr(board_module, "_can_fork", lambda: True)
    assert not doctor()["ok"]
    assert os.listdir(tmp_path) == []


def test_a_process_with_threads_is_not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread may hold a lock that the fork would wait for."""
    for engine in PACKAGED.values():
        monkeypatch.delitem(sys.modules, engine.module.split(".")[0], raising=False)
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    assert board_module._can_fork()
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    assert not board_module._can_fork()


@pytest.mark.parametrize(
    ("machine", "bits", "python", "libc", "command", "why"),
    [
        ("aarch64", 64, (3, 13), "2.41", "ai-edge-litert pillow", "can run LiteRT"),
        ("aarch64", 64, (3, 11), "2.31", "tflite-runtime 'numpy<2' pillow", "needs glibc 2.34"),
        ("aarch64", 64, (3, 13), "2.31", "onnxruntime pillow", "needs glibc 2.34"),
        ("aarch64", 32, (3, 11), "2.36", "python3-numpy", "32 bits"),
        ("armv7l", 32, (3, 11), "2.36", "tflite-runtime", "numpy < 2"),
        ("armv7l", 32, (3, 13), "2.41", "", "up to Python 3.11; this is 3.13"),
        ("armv6l", 32, (3, 11), "2.36", "", "ARMv6"),
    ],
)
def test_what_works_on_a_board(
    machine: str, bits: int, python: tuple[int, int], libc: str, command: str, why: str
) -> None:
    found = working_set(machine, bits, python, ("glibc", libc))
    assert command in found[0]
    assert bool(found[0]) is bool(command)
    assert why in found[1]


@pytest.mark.parametrize(
    ("machine", "bits", "libc"),
    [
        ("riscv64", 64, ("glibc", "2.41")),
        ("loongarch64", 64, ("glibc", "2.41")),
        ("i686", 32, ("glibc", "2.31")),
        ("aarch64", 64, ("", "")),
        ("x86_64", 64, ("musl", "1.2.5")),
        ("armv7l", 32, ("", "")),
        ("armv6l", 32, ("glibc", "2.36")),
    ],
)
def test_where_no_engine_has_packages_the_model_itself_is_compiled(
    machine: str, bits: int, libc: tuple[str, str]
) -> None:
    command, why = working_set(machine, bits, (3, 11), libc)
    assert command == ""
    assert "No engine has packages" in why
    assert "on the workstation: edgepress bundle FILE --engine native" in why


@pytest.mark.parametrize(("machine", "system"), [("arm64", "darwin"), ("AMD64", "win32")])
def test_litert_works_on_macs_and_windows(machine: str, system: str) -> None:
    assert "ai-edge-litert pillow" in working_set(machine, 64, (3, 13), (system, ""))[0]
    assert "ai-edge-litert" not in working_set(machine, 64, (3, 13), ("musl", ""))[0]


@pytest.mark.slow
def test_the_workstations_doctor_tells_the_toolkits_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepress.toolkit.machine import host as module

    found = module.doctor()
    assert found["ok"]
    assert {"tensorflow", "keras", "typer"} <= {p["package"] for p in found["toolkit"] if p["version"]}
    monkeypatch.setattr(module, "version", lambda package: None if package == "keras" else "1")
    found = module.doctor()
    assert not found["ok"]
    assert [p["install"] for p in found["toolkit"] if p["install"]] == [
        f"{sys.executable} -m pip install 'edgepress[toolkit]'"
    ]


def test_classify_imports_nothing_but_numpy_the_engine_and_pillow(run: Any, pictures: Path) -> None:
    code = (
        "import json, sys\nbefore = set(sys.modules)\nfrom edgepress.runtime.__main__ import main\nmain(sys.argv[1:])\n"
        "print(json.dumps(sorted({m.partition('.')[0] for m in set(sys.modules) - before})))"
    )
    arguments = ["classify", str(run.variants["tflite-int8"]), str(pictures / "a.png")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    foreign = {m for m in json.loads(done.stdout.splitlines()[-1]) if m not in sys.stdlib_module_names and m[0] != "_"}
    assert foreign == {"edgepress", "numpy", "ai_edge_litert", "PIL"}


def test_the_runtime_stays_small() -> None:
    """Bytes of all files; lines that are neither blank nor comment nor docstring."""
    root = Path(board_module.__file__).parent
    updates = {path.read_text() for path in (root / "updates").glob("*.py")}
    texts = {path.read_text() for path in root.rglob("*.py")} - updates
    # The last 1,000: how rows of CSV files became items, and bounds of records. Then sound: 50 kB in its room, and 3 kB
    # where contracts, models and commands name it; then 10 kB for microphones, brokers and rules in contracts;
    # then 1 kB: which windows of a long clip hold its sound; then 17 kB: a second front end, doubtful sounds that
    # are kept, and drift of sound; then 2 kB: what is refused keeps and sends nothing, and drift counts windows.
    assert sum(len(text.encode()) for text in texts) < 454_000
    # The updater, which a board runs without NumPy and an engine, and so without the rest of the runtime: TUF,
    # downloads and the installation are 70 kB; then the shadow run, the watch, and what `run status` says;
    # then who is to blame when a service fails later or a child process ends; then the reserve on the disk, and a
    # former release that is silent, too; then pipes and damaged lists in place of the board's files; then what a user
    # has left by hand, and releases in use that are damaged; and the keys that the board trusts, which no bundle
    # replaces.
    assert sum(len(text.encode()) for text in updates) < 143_500
    lines = 0
    for text in texts:
        prose = [
            range(node.lineno, (node.end_lineno or 0) + 1)
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        ]
        skipped = {number for numbers in prose for number in numbers}
        lines += sum(
            bool(line.strip()) and not line.strip().startswith("#") and number not in skipped
            for number, line in enumerate(text.splitlines(), 1)
        )
    # 1600 before files made by others; then adapters, state, integers, models without labels, checks of hostile files,
    # naming what a file is that is no model, 8 bits that do not saturate in ONNX Runtime, what tuning did, files
    # without AMX, and what `serve` gives to browsers and refuses them (test_serve_page.py limits its page), the
    # address where they find it, and text of others as one line; then what image files claim (image_header, exif), and
    # requests read strictly; graphs and functions that call each other; `--limit`; and
    # answers that are calibrated and accepted; drift; and TFLM in a process of its own; drift of failing cameras;
    # and pictures that are kept to be labelled; crops, events and MQTT; and models that are C; and crops of photos as
    # they are decoded, and what a broker may do wrong; and exponents that follow odds, and drift without NumPy;
    # and one assignment a line; and brokers that send anything, and logins;
    # and zero points and numbers in contracts that engines or JSON lack;
    # and the list of an installed release's files; and the data that a file was made with; and sets of labels;
    # and several inputs: records, and the names by which callers give them (input_record, several);
    # and sound: the front end, WAV files, and what listens; microphones, and rules that contracts hold; log-mel,
    # and sounds that are kept; and what is refused keeps and sends nothing.
    assert lines < 6320
