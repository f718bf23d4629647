"""One fault in a finished file is named first, though repairs changed the weights that it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts import script
from shared_folders import once_per_run

from edgepress.converters.contract.write import tflite_with_contract
from edgepress.runtime import load, read_contract
from edgepress.toolkit.conversion.convert import convert
from edgepress.toolkit.diagnosis.accuracy.diagnose import diagnose_accuracy
from edgepress.toolkit.training.loop import train

FEW: dict[str, Any] = {"data": "digits", "test_items": 60, "samples": 16, "attempt": False}
SUFFIXES = (".tflite", ".onnx")
KINDS = ("zero point", "range", "bias", "channel scale", "weight")


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory, digits: Any) -> Path:
    """A folder with a LeNet that repairs fix, and its int8 files, repaired with as many items as by default or few."""

    def make(folder: Path) -> None:
        items = np.concatenate([s.read(slice(0, len(s))) for s in (digits.train, digits.val, digits.test)])
        train(digits, "lenet", out=folder / "net", epochs=3, seed=0)
        script("benchmarks/shared/hard_nets.py").harden(
            folder / "net/model.keras", folder / "model.keras", items, seed=1, exponent=3.0
        )
        convert(folder / "model.keras", "tflite-int8,onnx-int8", out=folder / "many")
        convert(folder / "model.keras", "tflite-int8,onnx-int8", out=folder / "few", samples=40)

    return once_per_run(tmp_path_factory, "hard-lenet", make)


def damaged(sound: Path, kind: str, target: Path, items: Any) -> str:
    """Write a file with one fault that matters; returns the name of its layer."""
    files, tflite = script("benchmarks/diagnosis/damaged_files.py"), sound.suffix == ".tflite"
    model = load(sound)
    truth = np.concatenate([model.answer(item[np.newaxis]) for item in items])

    def error(data: bytes) -> float:
        tried = target.with_stem("tried")
        tried.write_bytes(data)
        other = load(tried)
        found = np.concatenate([other.answer(item[np.newaxis]) for item in items])
        return float(np.square(found - truth).sum()) + 1e-2

    file, fault = files.planted(sound.read_bytes(), kind, 3, error, tflite=tflite)
    contract = read_contract(sound) if tflite else None
    target.write_bytes(tflite_with_contract(file, contract) if contract is not None else file)
    return str(fault.layer)


@pytest.mark.parametrize(
    ("calibrated", "kind", "suffix"),
    [(("many", "few")[(n + m) % 2], kind, suffix) for n, kind in enumerate(KINDS) for m, suffix in enumerate(SUFFIXES)],
)
def test_a_fault_in_a_repaired_file_is_named_first(
    calibrated: str, kind: str, suffix: str, hard: Path, digits: Any, tmp_path: Path
) -> None:
    sound = next((hard / calibrated).glob(f"*{suffix}"))
    target = tmp_path / f"damaged{suffix}"
    layer = damaged(sound, kind, target, digits.val.read(slice(0, 40)))
    found = diagnose_accuracy(hard / "model.keras", target, **FEW)
    assert (found.layers[0].name, found.layers[0].damaged) == (layer, True), found.text
    assert any("read from its weights" in note for note in found.notes) == (calibrated == "few")


def said(check: Callable[[str], bool], found: Any) -> bool:
    return any(check(text) for text in (found.text, *found.notes))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_false_is_said_of_sound_files(suffix: str, hard: Path) -> None:
    for calibrated in ("many", "few"):
        file = next((hard / calibrated).glob(f"*{suffix}"))
        found = diagnose_accuracy(hard / "model.keras", file, **FEW)
        assert not any(layer.damaged for layer in found.layers), found.text
        assert not said(lambda text: "other than the file says" in text or "neither" in text, found)
        assert said(lambda text: "with other data or options" in text, found) == (calibrated == "few")
        assert not found.engine_differs
