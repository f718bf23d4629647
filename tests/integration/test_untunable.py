"""A repaired graph that ONNX can't hold costs no file: the file is made of the source itself, and says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rewriting import Net

from edgepress.converters.conversion import encode, make
from edgepress.converters.conversion.encode import Encoder, Once
from edgepress.converters.conversion.float_graph import FloatGraph
from edgepress.converters.errors import ConversionError
from edgepress.converters.options.conversion import MINMAX
from edgepress.converters.schemes import SCHEMES, RepairKind
from edgepress.runtime.contract import Contract
from edgepress.runtime.input_spec import InputSpec

OWN = object()


def encoder(folder: Path, *, kind: RepairKind = "int8", learned: bool = False) -> Encoder:
    paths = {name: folder / name for name in ("float", kind)}
    for path in paths.values():
        path.write_bytes(b"")
    float_graph = FloatGraph(paths["float"], {kind: paths[kind]}, facts={kind: {"repairs": ["equalization"]}})
    ranges = {"input": (0.0, 1.0)} if learned else {}
    source = SimpleNamespace(facts=SimpleNamespace(format="keras"), loops=False, onnx=lambda adapter: OWN)
    contract = Contract(task="none", labels=(), input=InputSpec(shape=(4,)), scheme="keras", output_shape=(2,))
    job: Any = SimpleNamespace(
        float_graph=float_graph,
        learned=ranges,
        adapter=None,
        calibration=None,
        contract=contract,
        how=replace(MINMAX, rewrites=False),
        left_off=None,
    )
    reference: Any = None
    return Encoder(source, job, Once(), reference)


@pytest.fixture(autouse=True)
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: bytes) -> None:
        raise ConversionError("It does not support GELU.")

    monkeypatch.setattr(encode, "float_onnx_of", refuse)


def test_the_source_takes_its_place(tmp_path: Path) -> None:
    found, scheme = encoder(tmp_path), SCHEMES["onnx-int8"]
    assert "GELU" in found.unrepairable(scheme)
    assert found.facts(scheme) == {}


def test_tflite_files_stay_repaired(tmp_path: Path) -> None:
    found, scheme = encoder(tmp_path), SCHEMES["tflite-int8"]
    assert not found.unrepairable(scheme)
    assert found.facts(scheme)["repairs"] == ["equalization"]


def test_learned_ranges_need_the_graph(tmp_path: Path) -> None:
    assert not encoder(tmp_path, learned=True).unrepairable(SCHEMES["onnx-int8"])


def test_bugs_cost_no_file_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: bytes) -> None:
        raise IndexError(np.int64(3))

    monkeypatch.setattr(encode, "float_onnx_of", fail)
    assert "IndexError" in encoder(tmp_path).unrepairable(SCHEMES["onnx-int8"])


@pytest.mark.parametrize(
    ("plain", "repaired", "used"),
    [([0.5, -0.5], [0.1, -0.2], True), ([0.1, -0.2], [-0.5, -0.5], False), ([0.1, -0.2], [-0.2, 0.1], True)],
)
def test_exact_repairs_are_used_only_if_the_file_errs_no_more_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: list[float], repaired: list[float], *, used: bool
) -> None:
    """The errors of the file's answers to two items; others than the first `COMPARED` items do not count."""
    assert is_repaired(tmp_path, monkeypatch, "onnx-dynamic", plain=plain, repaired=repaired) is used


@pytest.mark.parametrize("scheme", ["onnx-int8", "onnx-dynamic"])
@pytest.mark.parametrize(("share", "used"), [(0.72, False), (0.70, True)])
def test_loops_are_unrolled_only_to_halve_the_squared_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, scheme: str, *, used: bool
) -> None:
    plain, repaired = [0.5, -0.5], [0.5 * share, -0.5 * share]
    assert is_repaired(tmp_path, monkeypatch, scheme, plain=plain, repaired=repaired, loops=True) is used


@pytest.mark.parametrize(("error", "used"), [(0.0223, False), (0.0225, True)])
def test_loops_of_files_with_30_db_are_not_unrolled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: float, *, used: bool
) -> None:
    """The answers are 1 and 2, which lie .5 from their mean."""
    plain = [error, 0.0]
    assert is_repaired(tmp_path, monkeypatch, "onnx-int8", plain=plain, repaired=[0.0, 0.0], loops=True) is used


def is_repaired(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    *,
    plain: list[float],
    repaired: list[float],
    loops: bool = False,
) -> bool:
    """Whether a file is repaired whose answers err by so much with repairs and without."""
    scheme = SCHEMES[name]
    assert scheme.repairs
    monkeypatch.setattr(encode, "COMPARED", 2)
    monkeypatch.setattr(encode, "outputs_of", lambda data, items: items + np.frombuffer(data).reshape(2, 1))
    items = np.array([[1.0], [2.0], [3.0]])
    found = encoder(tmp_path, kind=scheme.repairs)
    found.source.loops = loops
    found.reference = SimpleNamespace(proof=lambda count: (items[:count], items[:count]))  # type: ignore[assignment]

    def quantized(scheme: Any, kind: str) -> tuple[Any, dict[str, int]]:
        return SimpleNamespace(SerializeToString=np.array(repaired if kind else plain).tobytes), {}

    monkeypatch.setattr(found, "_quantize_onnx", quantized)
    monkeypatch.setattr(encode, "float_onnx_of", lambda model: OWN)
    monkeypatch.setattr(encode.interface, "prepend_adapter", lambda model, adapter: OWN)
    used = not found.unrepairable(scheme)
    assert bool(found.facts(scheme)) is used
    assert found._repairs(scheme) == (scheme.repairs if used else "")
    return used


@pytest.mark.parametrize(
    ("scheme", "loops", "count", "noted"),
    [
        ("tflite-int8", True, 300, True),
        ("tflite-int8", True, 299, False),
        ("tflite-int8", False, 300, False),
        ("onnx-int8", True, 300, False),
    ],
)
def test_files_of_many_unrolled_operations_say_so(
    tmp_path: Path, scheme: str, *, loops: bool, count: int, noted: bool
) -> None:
    net = Net((2, 2), 3)
    for _ in range(count):
        net.add("NEG", [net.now], net.shape)
    found = encoder(tmp_path)
    found.source.loops = loops
    found.job.float_graph.model.write_bytes(net.model())
    maker = make._FileMaker.__new__(make._FileMaker)
    maker.encoder, maker.job = found, found.job
    notes = maker._notes_of_loops(SCHEMES[scheme])
    assert notes == (
        ("its loops over time became 300 operations, of about 150 bytes each; ONNX files keep the loops",)
        if noted
        else ()
    )
