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
from edgepress.converters.schemes import SCHEMES, Tuning
from edgepress.converters.waist import Waist
from edgepress.converters.writing import Writer
from edgepress.runtime.input_spec import InputSpec

OWN = object()


def writer(folder: Path, *, tuning: Tuning = "int8", learned: bool = False) -> Writer:
    paths = {name: folder / name for name in ("float", tuning)}
    for path in paths.values():
        path.write_bytes(b"")
    waist = Waist(paths["float"], {tuning: paths[tuning]}, facts={tuning: {"repairs": ["equalization"]}})
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


@pytest.mark.parametrize(
    ("plain", "tuned", "used"),
    [([0.5, -0.5], [0.1, -0.2], True), ([0.1, -0.2], [-0.5, -0.5], False), ([0.1, -0.2], [-0.2, 0.1], True)],
)
def test_an_exact_tuning_is_used_only_if_the_file_errs_no_more_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: list[float], tuned: list[float], *, used: bool
) -> None:
    """The errors of the file's answers to two items; others than the first `JUDGED` items do not count."""
    monkeypatch.setattr(writing, "JUDGED", 2)
    monkeypatch.setattr(writing, "outputs_of", lambda data, items: items + np.frombuffer(data).reshape(2, 1))
    items = np.array([[1.0], [2.0], [3.0]])
    found, scheme = writer(tmp_path, tuning="exact"), SCHEMES["onnx-dynamic"]
    assert scheme.tuning == "exact"
    found.truth = SimpleNamespace(proof=lambda: (items, items))  # type: ignore[assignment]

    def quantized(scheme: Any, tuning: str) -> tuple[Any, dict[str, int]]:
        return SimpleNamespace(SerializeToString=np.array(tuned if tuning else plain).tobytes), {}

    monkeypatch.setattr(found, "_quantized_onnx", quantized)
    monkeypatch.setattr(writing, "float_onnx_of", lambda model: OWN)
    monkeypatch.setattr(writing.interface, "adapted", lambda model, adapter: OWN)
    assert (found.untunable(scheme) == "") is used
    assert bool(found.facts(scheme)) is used
    assert found._tuning(scheme) == ("exact" if used else "")
