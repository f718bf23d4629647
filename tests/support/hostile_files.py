"""Models, data and results of a stranger, each of whose texts a screen would interpret."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_text import BYTES_NAME, LABELS, LONG, NAMES
from PIL import Image

from edgepress.runtime.contract import read_contract
from edgepress.toolkit.conversion.inspection import write_annotated

ROOT = Path(__file__).parents[2]
HELD = {"png", "sha256", "correct", "parent_sha256", "kind", "key", "train", "created", "to", "status"}
"""Keys of results whose values are not a text of a person, or decide what is shown."""


@dataclasses.dataclass(frozen=True)
class Foreign:
    """What a stranger gave.

    Attributes:
        folder: A folder to write to.
        model: A `.tflite` file with hostile labels and a hostile name.
        long: The same with a label of 1 MB.
        data: Test items of the same labels, an `.npz`.
        classes: Class folders and pictures with hostile names.
        pictures: Some of the pictures.
        results: Folders of `benchmark.json`, and of `sweep.json`.
        keras: A Keras model with hostile labels.
    """

    folder: Path
    model: Path
    long: Path
    data: Path
    classes: Path
    pictures: list[Path]
    results: list[Path]
    keras: Path


@pytest.fixture(scope="session")
def foreign(run: Any, digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    from edgepress.converters.contract.write import write_keras_contract

    folder = tmp_path_factory.mktemp("foreign")
    source = run.variants["tflite-int8"]
    contract = read_contract(source)
    assert contract is not None
    data = dataclasses.replace(contract.data, source=LABELS[3]) if contract.data else None
    models = []
    for name, labels in ((f"{NAMES[0]}{NAMES[4]}.tflite", LABELS), ("long.tflite", (*LABELS[:9], LONG))):
        write_annotated(source, contract.replace(labels=labels, data=data), folder / name)
        models.append(folder / name)
    keras = folder / f"{NAMES[1]}.keras"
    shutil.copyfile(run.model, keras)
    write_keras_contract(keras, read_contract(run.model).replace(labels=LABELS, data=data))  # type: ignore[union-attr]
    items = digits.test.read(slice(0, 300))
    np.savez(folder / "data.npz", x=items, y=digits.test.y[:300], labels=np.array(LABELS))
    pictures = []
    for number, label in enumerate(NAMES):
        (folder / "classes" / label).mkdir(parents=True)
        for row in np.flatnonzero(digits.test.y == number)[:12].tolist():
            pictures.append(folder / "classes" / label / f"{row}{NAMES[row % 10]}.png")
            Image.fromarray(digits.test.read([row])[0, ..., 0]).save(pictures[-1])
    shutil.copyfile(pictures[0], bytes_name := pictures[0].with_name(f"{BYTES_NAME}.png"))
    results = _results(folder)
    return Foreign(
        folder, *models, folder / "data.npz", folder / "classes", [bytes_name, *pictures[::20]], results, keras
    )


def _results(folder: Path) -> list[Path]:
    """Folders of results each of whose texts is hostile."""
    from sweeping import made_up_sweep

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks" / "pages"))
        made = importlib.import_module("report_document").made_up_benchmark(boards=True)
    found = []
    for number, label in enumerate((*LABELS, LONG[:1500])):
        found.append(folder / f"results-{number}")
        found[-1].mkdir()
        (found[-1] / "benchmark.json").write_text(json.dumps(_poisoned(made.to_dict(), label)))
    for number, label in enumerate((*LABELS, LONG[:1500])):
        found.append(folder / f"sweep-{number}")
        found[-1].mkdir()
        (found[-1] / "sweep.json").write_text(json.dumps(_poisoned(made_up_sweep().to_dict(), label)))
    return found


def _poisoned(value: Any, label: str) -> Any:
    """A document with a label behind each text, and in front of those that nothing else refers to."""
    if isinstance(value, Mapping):
        return {key: each if key in HELD else _poisoned(each, label) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_poisoned(each, label) for each in value]
    return f"{label}{value}" if isinstance(value, str) and value else value
