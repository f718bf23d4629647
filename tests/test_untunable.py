"""A tuned graph that ONNX can't hold costs no file: the file is made of the source itself, and says so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.converters import writing
from edgepress.converters.errors import ConversionError
from edgepress.converters.files_job import Once
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.waist import Waist
from edgepress.converters.writing import Writer
from edgepress.runtime.input_spec import InputSpec

OWN = object()


def writer(folder: Path, *, learned: bool = False) -> Writer:
    paths = {name: folder / name for name in ("float", "int8")}
    for path in paths.values():
        path.write_bytes(b"")
    waist = Waist(paths["float"], {"int8": paths["int8"]}, facts={"int8": {"repairs": ["equalization"]}})
    ranges = {"input": (0.0, 1.0)} if learned else {}
    source = SimpleNamespace(facts=SimpleNamespace(format="keras"), loops=False, onnx=lambda adapter: OWN)
    contract = SimpleNamespace(input=InputSpec(shape=(4,)))
    job: Any = SimpleNamespace(waist=waist, learned=ranges, adapter=None, contract=contract)
    truth: Any = None
    return Writer(source, job, Once(), truth)


@pytest.fixture(autouse=True)
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: bytes) -> None:
        raise ConversionError("It does not support GELU.")

    monkeypatch.setattr(writing, "float_onnx_of", refuse)


def test_the_source_takes_its_place(tmp_path: Path) -> None:
    found, scheme = writer(tmp_path), SCHEMES["onnx-int8"]
    assert "GELU" in found.untunable(scheme)
    assert found.facts(scheme) == {}
    assert found.parent(scheme, tuned=True) is None


def test_tflite_files_stay_tuned(tmp_path: Path) -> None:
    found, scheme = writer(tmp_path), SCHEMES["tflite-int8"]
    assert not found.untunable(scheme)
    assert found.facts(scheme)["repairs"] == ["equalization"]


def test_learned_ranges_need_the_graph(tmp_path: Path) -> None:
    assert not writer(tmp_path, learned=True).untunable(SCHEMES["onnx-int8"])


def test_bugs_cost_no_file_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: bytes) -> None:
        raise IndexError(np.int64(3))

    monkeypatch.setattr(writing, "float_onnx_of", fail)
    assert "IndexError" in writer(tmp_path).untunable(SCHEMES["onnx-int8"])
