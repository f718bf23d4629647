"""Bundles on ARM: Debian's ARM Python with the real ARM wheels, by emulation; what they answer is the workstation's.

Needs a Debian machine with apt, pip and the network once (`tests/support/arm/arm_python.sh`); skips where that is
missing.
"""

from __future__ import annotations

import importlib
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
from edgepress.toolkit.data.for_model import contract_of
from edgepress.toolkit.shipping.bundles.boards import BOARDS
from edgepress.toolkit.shipping.bundles.build import bundle

SCRIPT = Path(__file__).parents[1] / "support" / "arm" / "arm_python.sh"
TOP_LABELS = 1
"""Items of 360 whose top label may differ."""
ROUNDING = 1e-3
"""Of a step: scores are float32, and steps are counted from them."""

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("apt-get", "dpkg-deb", "flock"))) or os.uname().machine != "x86_64",
    reason="ARM is emulated on x86-64 Debian",
)


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
        made = bundle(path, folder / f"{scheme}.zip", name="app", data="digits", samples=samples)
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


def built_in_scores(path: Path, x: npt.NDArray[Any], monkeypatch: pytest.MonkeyPatch) -> npt.NDArray[np.float32]:
    """What LiteRT answers here without XNNPACK: with the kernels that tflite-runtime uses for int8."""
    monkeypatch.syspath_prepend(str(SCRIPT.parents[3] / "benchmarks" / "accuracy"))
    return importlib.import_module("arm_answers").built_in_scores(path, x)  # type: ignore[no-any-return]


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
        ("pi64-py313", "onnx"),
        ("pi32-py311", "tflite"),
    ],
)
def test_a_bundle_proves_itself_on_arm_and_answers_as_the_workstation(
    board: str,
    format: str,
    bundles: Bundles,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folders = {s: f for s, f in bundles.folders.items() if s.startswith(format)}
    if board.startswith("pi32"):  # tflite-runtime has no weights of 4 bits
        del folders["tflite-int4"]
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
        largest = d.outputs
        if report["engine"] == "tflite-runtime" and scheme == "tflite-int8":
            # XNNPACK rounds otherwise in front of softmax: here and there several steps of a score in the middle.
            assert d.inner < 1.25
            assert d.equal > 0.99
            path = next(folders[scheme].glob("model.*"))
            alike = built_in_scores(path, np.load(bundles.items), monkeypatch)
            largest = difference(alike, there, contract.selftest).outputs
        if scheme.endswith("-int8") and largest >= 1 + ROUNDING:
            wrong.append(f"{scheme}: {largest} steps")
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


def test_the_systems_camera_is_reached_with_the_systems_numpy(bundles: Bundles, tmp_path: Path) -> None:
    """`install.sh --camera` in a real virtual environment; a stand-in for picamera2 lies in the user's own packages."""
    home, folder, prefix = tmp_path / "home", bundles.folders["tflite-int8"], tmp_path / "app"
    site = home / ".local" / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    settings = {"ARM_ARCH": "arm64", "ARM_PYTHON": "3.11", "ARM_DEBS": "python3-venv python3-numpy python3-pil"}
    cache = {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))}
    environment = dict(os.environ) | settings | cache | {"ARM_RUN": "1", "HOME": str(home), "PYTHON": sys.executable}

    def on_the_board(*command: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [SCRIPT, *map(str, command)], capture_output=True, text=True, env=environment, cwd=tmp_path
        )
        if "the kernel starts no ARM programs" in done.stderr:
            pytest.skip("needs Linux 6.7")
        return done

    installer = ("sh", folder / "install.sh", "--prefix", prefix)
    done = on_the_board(*installer, "--camera")
    assert (done.returncode, "neither picamera2 nor OpenCV" in done.stderr) == (1, True)
    (site / "picamera2.py").write_text(PICAMERA2)
    done = on_the_board(*installer, "--camera")
    assert done.returncode == 0, done.stderr
    assert os.readlink(prefix / "current").endswith("-pi64-py311-camera")
    done = on_the_board(prefix / "current" / "run", "camera", "--json", "--top", 1)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["image"] for line in done.stdout.splitlines()] == ["frame 1"]
    done = on_the_board(*installer)  # an update keeps it
    assert done.returncode == 0, done.stderr
    assert os.readlink(prefix / "current").endswith("-camera")


PICAMERA2 = """
import numpy

class Picamera2:
    pictures = 0
    def __init__(self, device): assert numpy.__version__.startswith("1.24")
    def create_video_configuration(self, main): return main
    def configure(self, main): pass
    def start(self): pass
    def capture_array(self, name):
        self.pictures += 1
        if self.pictures == 2:
            import time
            time.sleep(2)
            raise KeyboardInterrupt
        return numpy.zeros((480, 640, 3), numpy.uint8)
"""
