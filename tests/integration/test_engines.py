"""Engines: OpenVINO beside the others, and engines in environments of their own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters.process.worker import Worker
from edgepress.converters.schemes import SCHEMES
from edgepress.runtime import ENGINES, EngineError, ModelFileError, available_engines, load
from edgepress.runtime.errors import InputError
from edgepress.toolkit.cli.app import run as cli
from edgepress.toolkit.machine.environments import add_engine, engine_version, python_for, remove_engine, usable_engines
from edgepress.toolkit.workers.trace import TRACERS
from edgepress.toolkit.workers.try_engine import try_engine

openvino = pytest.mark.skipif("openvino" not in available_engines(), reason="OpenVINO is not installed")


@pytest.fixture
def elsewhere(home: Path, tmp_path: Path) -> Path:
    """An environment that looks like one with tflite-runtime: LiteRT under its name, in packages of its own."""
    packages = tmp_path / "packages" / "tflite_runtime"
    packages.mkdir(parents=True)
    (packages / "__init__.py").touch()
    (packages / "interpreter.py").write_text("from ai_edge_litert.interpreter import Interpreter\n")
    python = home / "tflite-runtime" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{packages.parent}" exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


@openvino
@pytest.mark.parametrize("name", [name for name in SCHEMES if name != "tflite-int4"])  # no 4-bit convolutions there
def test_openvino_answers_as_the_first_engine_does(name: str, run: Any, digits: Any) -> None:
    path = run.variants[name]
    first, other = load(path), load(path, engine="openvino")
    assert first.engine != "openvino"
    assert other.contract == first.contract
    items = digits.test.read(slice(70))
    expected, found = first.scores(items), other.scores(items)
    assert found.shape == expected.shape
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.97
    np.testing.assert_allclose(other.scores(items[:1]), found[:1], atol=1e-6)
    # Exact where both compute the same numbers; OpenVINO unpacks what others quantize while running.
    tolerance = 1e-5 if name.endswith("-float32") else 2.5 / 256
    if SCHEMES[name].precision in ("float32", "int8"):
        assert np.abs(found - expected).max() < tolerance


@openvino
def test_openvino_is_kept_from_the_network_and_refuses_damaged_files(run: Any, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom edgepress.runtime import load\n"
        f"load({str(run.variants['onnx-int8'])!r}, engine='openvino')\n"
        "print([m for m in sys.modules if 'telemetry' in m or m.startswith('openvino.tools')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
    for name in ("tflite-int8", "onnx-int8"):
        whole = run.variants[name].read_bytes()
        path = tmp_path / f"cut{run.variants[name].suffix}"
        path.write_bytes(whole[: len(whole) // 3])
        with pytest.raises(ModelFileError, match="openvino"):
            load(path, engine="openvino")


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_an_engine_elsewhere_is_usable_once_it_is_there(format: str, elsewhere: Path) -> None:
    assert python_for("tflite-runtime") == elsewhere
    assert python_for("litert") is None
    assert ("tflite-runtime" in usable_engines(format)) == (format == "tflite")
    assert "tflite-runtime" not in available_engines()


def test_rows_and_profiler_adapters_match() -> None:
    assert set(TRACERS) == {name for name, row in ENGINES.items() if row.profiler}
    assert len({row.color for row in ENGINES.values()}) == len(ENGINES)


def test_extras_of_edgepress_install_their_engines() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for row in filter(lambda row: row.extra, ENGINES.values()):
        extra = project["optional-dependencies"][row.extra]
        assert any(re.match(rf"{row.package}\b", requirement) for requirement in extra)


def test_a_file_is_answered_in_the_other_interpreter(elsewhere: Path) -> None:
    with Worker(python=elsewhere) as worker:
        assert list(worker.call(try_engine, "tflite-runtime")) == [""]


def test_what_can_not_be_added_leaves_nothing_behind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"Did you mean 'onnxruntime'"):
        add_engine("onnxruntim")
    with pytest.raises(EngineError, match=r"needs Python 3\.11; found: .*false \(does not run\)"):
        add_engine("tflite-runtime", python=Path("/bin/false"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(EngineError, match="openvino can't be installed for") as caught:
        add_engine("openvino", python=Path(sys.executable))
    assert "network" in caught.value.hint
    assert list(home.iterdir()) == []


def test_engines_are_listed_and_removed(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["engine", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["engines"]}
    assert rows["tflite-runtime"]["python"] == str(elsewhere)
    assert rows["litert"] == {
        "name": "litert",
        "formats": ["tflite"],
        "version": engine_version("litert"),
        "python": None,
    }
    assert cli(["engine", "remove", "tflite-runtime", "--json"]) == 0
    assert not elsewhere.exists()
    with pytest.raises(EngineError, match="no environment"):
        remove_engine("tflite-runtime")


@pytest.mark.slow
def test_tflite_runtime_is_installed_into_its_environment(home: Path) -> None:
    try:
        state = add_engine("tflite-runtime")
    except EngineError as e:
        pytest.skip(str(e))
    assert state.version.startswith("2.14")
    assert state.python == home / "tflite-runtime" / "bin" / "python"
