"""Bundles on ARM: Debian's ARM Python with the real ARM wheels, by emulation; what they answer is the workstation's.

Needs a Debian machine with apt, pip and the network once (`tests/arm/arm_python.sh`); skips where that is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgepress.runtime import load, read_contract
from edgepress.runtime.contract import SelfTest
from edgepress.toolkit.bundle.boards import BOARDS
from edgepress.toolkit.bundle.build import build_bundle
from edgepress.toolkit.evaluate import contract_of

SCRIPT = Path(__file__).parent / "arm" / "arm_python.sh"
TOP_LABELS = 1
"""Items of 360 whose top label may differ."""
ROUNDING = 1e-3
"""Of a step: scores are float32, and steps are counted from them."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ("apt-get", "dpkg-deb", "flock"))) or os.uname().machine != "x86_64",
        reason="ARM is emulated on x86-64 Debian",
    ),
]


@dataclass(frozen=True)
class Bundles:
    """Unpacked bundles by scheme, the test items, and the workstation's answers by scheme."""

    folders: dict[str, Path]
    items: Path
    y: npt.NDArray[np.int64]
    answers: dict[str, npt.NDArray[np.float32]]


@pytest.fixture(scope="module")
def bundles(run: Any, digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    folder = tmp_path_factory.mktemp("bundles")
    x = digits.test.read(slice(None))
    np.save(folder / "items.npy", x)
    folders, answers = {}, {}
    for scheme, path in run.variants.items():
        samples = 4 if scheme.endswith("-int8") else 0  # one of each format proves decoding
        made = build_bundle(path, folder / f"{scheme}.zip", name="app", data="digits", samples=samples)
        with zipfile.ZipFile(made.path) as archive:
            archive.extractall(folder / scheme)
        folders[scheme] = folder / scheme / "app"
        answers[scheme] = load(path).scores(x)
    return Bundles(folders, folder / "items.npy", digits.test.y, answers)


def arm_environment(board: str, requirements: Path) -> dict[str, str]:
    """What makes `arm_python.sh` the Python of a board, with the packages of a bundle's requirements."""
    row = BOARDS[board]
    arch = {"aarch64": "arm64", "armv7l": "armhf"}[row.machine]
    found = {"ARM_ARCH": arch, "ARM_PYTHON": row.python, "ARM_WHEELS": f"-r {requirements}", "PYTHON": sys.executable}
    return dict(os.environ) | found


def within_a_step(found: Difference, engine: str) -> bool:
    """Whether int8 answers differ by one step at most: of the output or, in the old tflite-runtime, inside.

    That one rounds halves otherwise, so that numbers in front of softmax differ by one step here and there; where a
    score is in the middle, this makes several steps of the output.
    """
    if engine == "tflite-runtime":
        return found.inner < 1.25 and found.equal > 0.99
    return found.outputs < 1 + ROUNDING


@dataclass(frozen=True)
class Difference:
    """Between a board's answers and the workstation's, scores of shape (N, labels).

    Attributes:
        outputs: The largest, in steps of a quantized output; 1/256 where it is not quantized.
        inner: The largest, in the self-test's steps: what one step of the numbers in front of softmax can make of it.
        equal: Share of the scores that differ by less than half a step of the output.
        labels: Items whose top label differs.
    """

    outputs: float
    inner: float
    equal: float
    labels: int


def difference(here: npt.NDArray[Any], there: npt.NDArray[Any], test: SelfTest) -> Difference:
    step = test.step or 1 / 256
    off = np.abs(here - there)
    inner = off / np.maximum(step, 2 * here * (1 - here) * test.logit_step)
    labels = here.argmax(axis=1) != there.argmax(axis=1)
    return Difference(float(off.max() / step), float(inner.max()), float((off < step / 2).mean()), int(labels.sum()))


@pytest.mark.parametrize(
    ("board", "format"),
    [
        ("pi64-py311", "tflite"),
        ("pi64-py313", "tflite"),
        ("pi64-py311", "onnx"),
        ("pi64-py313", "onnx"),
        ("pi32-py311", "tflite"),
    ],
)
def test_a_bundle_proves_itself_on_arm_and_answers_as_the_workstation(
    board: str, format: str, bundles: Bundles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {s: f for s, f in bundles.folders.items() if s.startswith(format)}
    first = folders[f"{format}-int8"]
    environment = arm_environment(board, first / f"requirements-{board}.txt")
    python = tmp_path / "python3"
    variables = " ".join(f"{k}='{environment[k]}'" for k in ("ARM_ARCH", "ARM_PYTHON", "ARM_WHEELS", "PYTHON"))
    python.write_text(f'#!/bin/sh\n{variables} exec "{SCRIPT}" "$@"\n')
    python.chmod(0o755)

    installer = ["sh", first / "install.sh", "--prefix", tmp_path / "app", "--python", python, "--system"]
    done = subprocess.run(installer, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "its self-test passes" in done.stdout

    command = [python, SCRIPT.parent / "answers.py", bundles.items, tmp_path, *folders.values()]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ) | {"PYTHONPATH": str(first)})
    assert done.returncode == 0, done.stderr
    reports = {r["name"]: r for r in map(json.loads, done.stdout.splitlines())}
    assert reports.keys() == folders.keys()

    heads = f"{'outputs':>9}{'inner':>7}{'equal %':>9}{'labels':>8}{'here %':>8}{'there %':>9}"
    lines, wrong = [f"{'scheme':16}{'engine':16}{heads}"], []
    for scheme, report in reports.items():
        here, there = bundles.answers[scheme], np.load(tmp_path / f"{scheme}.npy")
        contract = contract_of(next(folders[scheme].glob("model.*")))
        assert contract.selftest is not None
        d = difference(here, there, contract.selftest)
        right = [float((scores.argmax(axis=1) == bundles.y).mean()) for scores in (here, there)]
        lines.append(
            f"{scheme:16}{report['engine']:16}{d.outputs:9.2f}{d.inner:7.2f}{100 * d.equal:9.2f}{d.labels:8}"
            f"{100 * right[0]:8.2f}{100 * right[1]:9.2f}"
        )
        if not report["passed"]:
            wrong.append(f"{scheme}: the self-test fails: {report['checks']}")
        if scheme.endswith("-int8") and not within_a_step(d, report["engine"]):
            wrong.append(f"{scheme}: {d}")
        if d.labels > TOP_LABELS:
            wrong.append(f"{scheme}: {d.labels} other top labels")
        if abs(right[0] - right[1]) > 0.005:
            wrong.append(f"{scheme}: accuracy {right[1]:.4f}, here {right[0]:.4f}")
    with capsys.disabled():
        about = next(iter(reports.values()))
        print(f"\n{board}: Python {about['python']}, {about['machine']}", *lines, sep="\n")
    assert not wrong
    assert {r["machine"] for r in reports.values()} == {BOARDS[board].machine}


def test_the_self_test_finds_a_model_that_answers_otherwise(bundles: Bundles, tmp_path: Path) -> None:
    """Or the tests above would prove nothing: the weights of another file under this one's contract."""
    folder = shutil.copytree(bundles.folders["tflite-int8"], tmp_path / "app")
    content = bytearray((folder / "model.tflite").read_bytes())
    start = content.index(b"PK\x03\x04") // 2  # in the middle of the flatbuffer: weights
    content[start : start + 4096] = bytes(4096)
    (folder / "model.tflite").write_bytes(content)
    assert read_contract(folder / "model.tflite") is not None
    environment = arm_environment("pi64-py311", folder / "requirements-pi64-py311.txt") | {"PYTHONPATH": str(folder)}
    command = [SCRIPT, "-m", "edgepress.runtime", "selftest", folder, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert not report["passed"]
