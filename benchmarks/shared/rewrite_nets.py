"""The nets of the rewrite benchmarks (`rewrites.py`, `rewrite_peers.py`, `rewrite_engines.py`): files, items, a cache.

Nets of `keras.applications` have random weights (`zoo_models`): their files are compared with Keras' own answers. Our
nine architectures are trained on real data for a few epochs: their files are judged on the test split.

A net has a folder in the cache: `model.keras`, `items.npz` (calibration, test items, Keras' answers, and labels if
there are any), and one folder of converted files for each way of making them. `before` are files made without rewrites,
which change with the versions of the libraries alone; `after` are those with, which are made anew for other code.
"""

from __future__ import annotations

import ast
import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import numpy.typing as npt

import edgepress.converters
from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints
from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.options.conversion import MINMAX
from edgepress.converters.proof.compare import seeded_items
from edgepress.runtime.contract import Contract
from edgepress.runtime.input_spec import InputSpec

Array = npt.NDArray[Any]
Side = Literal["before", "after"]
CALIBRATION_ITEMS, PROOF_ITEMS, BATCH = 100, 32, 20
SHOWN = 64
"""Images that a random net's statistics come from."""
SIZES = {
    "MobileNetV3Small": (64, 224),
    "MobileNetV3Large": (96, 224),
    "MobileNet": (96, 224),
    "MobileNetV2": (96, 224),
    "EfficientNetB0": (96, 224),
    "EfficientNetV2B0": (96, 224),
    "NASNetMobile": (96, 224),
    "ConvNeXtTiny": (96, 224),
    "DenseNet121": (96, 224),
    "ResNet50": (96, 224),
}
"""Models of `keras.applications`, and the heights and widths of their images."""
SMALL = {
    "MobileNetV3Small": 64,
    "EfficientNetV2B0": 32,
    "NASNetMobile": 32,
    "ConvNeXtTiny": 32,
    "DenseNet121": 32,
    "MobileNetV2": 32,
}
"""The same, small, for engines that run in an emulator."""
TRAINED: dict[str, tuple[str, int | None, int]] = {
    "dense": ("digits", None, 20),
    "lenet": ("mnist", None, 1),
    "ds-cnn": ("mnist", None, 1),
    "vgg": ("digits", None, 12),
    "alexnet": ("signs", 64, 30),
    "resnet8": ("signs", 48, 30),
    "mobilenet-v1": ("signs", 64, 40),
    "mobilenet-v2": ("signs", 64, 25),
    "mobilenet-v3-small": ("signs", 64, 30),
}
"""Our architectures: data, height and width if not the data's own, and epochs."""
REAL = Path(__file__).resolve().parents[3] / "shared" / "real" / "data"
SOURCES = {"mnist": "mnist", "signs": "sign_digits/Dataset"}
"""Folders of data below `REAL`; "digits" is built in."""


@dataclass(frozen=True)
class Net:
    """One net: `name@size` if its weights are random, an architecture's name if it is trained.

    Attributes:
        name: Its name.
        cache: The folder of all nets.
        real: The folder of real data.
    """

    name: str
    cache: Path
    real: Path = REAL

    @property
    def trained(self) -> bool:
        """Whether it was trained, so that its items have labels."""
        return self.name in TRAINED

    @property
    def folder(self) -> Path:
        """Its folder in the cache."""
        return self.cache / self.name

    @property
    def model(self) -> Path:
        """Its `.keras` file."""
        return self.folder / "model.keras"

    def items(self) -> dict[str, Array]:
        """Its items: "calibration", "test", "truth" (Keras' answers to these), and "labels" if it is trained."""
        with np.load(self.folder / "items.npz") as stored:
            return dict(stored)

    def make(self) -> None:
        """Make the model and its items where they are missing, in a process of its own, which TensorFlow fills."""
        if not (self.folder / "items.npz").exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                pool.submit(_make, self).result()

    def files(self, side: Side) -> dict[str, Path]:
        """The converted files by scheme that the cache holds."""
        return {
            scheme: self.folder / side / found["file"]
            for scheme, found in _made(self.folder / side).items()
            if found["file"] and (self.folder / side / found["file"]).exists()
        }

    def convert(self, schemes: Collection[str], side: Side) -> dict[str, str]:
        """Convert it to the schemes that the cache lacks; returns why files are missing, by scheme."""
        folder, key = self.folder / side, code_hash() if side == "after" else ""
        made = _made(folder)
        if missing := [s for s in schemes if s not in made or made[s]["key"] != key]:
            folder.mkdir(parents=True, exist_ok=True)
            for variant in self._convert(missing, folder, rewrites=side == "after"):
                made[variant.scheme] = {
                    "key": key,
                    "file": variant.path.name if variant.path else "",
                    "error": variant.error,
                    "rewrites": dict(variant.rewrites),
                    "seconds": round(variant.seconds, 2),
                }
            temporary = folder / "made.tmp"
            temporary.write_text(json.dumps(made, indent=1))
            temporary.rename(folder / "made.json")
        return {s: made[s]["error"] for s in schemes if not made[s]["file"]}

    def rewrites(self, scheme: str) -> dict[str, int]:
        """The rewrites of its file, and at how many places each was made."""
        found: dict[str, int] = _made(self.folder / "after").get(scheme, {}).get("rewrites", {})
        return found

    def _convert(self, schemes: list[str], folder: Path, *, rewrites: bool) -> list[Any]:
        calibration = self.items()["calibration"]
        batches = [calibration[i : i + BATCH] for i in range(0, len(calibration), BATCH)]
        with Conversion(self.model) as conversion:
            contract, adapter = contract_for(conversion)
            return conversion.run(
                schemes,
                contract,
                adapter=adapter,
                calibration=partial(list, batches),
                out=folder,
                proof=self.items()["test"][:64],
                # The answers of random nets are too near each other for some schemes.
                how=replace(MINMAX, verify=self.trained, rewrites=rewrites),
            )


def contract_for(conversion: Conversion) -> tuple[Contract, InputAdapter]:
    """A trained net's own contract; random nets' answers are called multilabel, so that they come out as they are."""
    facts = conversion.facts
    if facts.contract is not None:
        return facts.contract.replace(adapter=None), InputAdapter.of(facts.contract)
    guess = guess_contract(facts, Hints(task="multilabel"))
    return guess.contract, guess.adapter


def nets(cache: Path, wanted: Collection[str] = (), *, real: Path = REAL, small: bool = False) -> Iterator[Net]:
    """The nets in the order in which they are made, or those whose names hold one of the words wanted."""
    sizes = {name: (side,) for name, side in SMALL.items()} if small else SIZES
    names = [f"{name}@{side}" for rank in (0, 1) for name, sides in sizes.items() for side in sides[rank : rank + 1]]
    for name in (*TRAINED, *names):
        if not wanted or any(word == name or (word in name and word not in TRAINED) for word in wanted):
            yield Net(name, cache, real)


@cache
def code_hash() -> str:
    """Hash of the code of the converters, on which the files depend, without comments and docstrings."""
    digest = hashlib.sha256()
    for root in edgepress.converters.__path__:
        for path in sorted(Path(root).resolve().rglob("*.py")):
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                body = getattr(node, "body", None)
                if isinstance(body, list):
                    node.body = [x for x in body if not _is_text(x)]  # type: ignore[attr-defined]
            digest.update(f"{path.name} {ast.dump(tree)}".encode())
    return digest.hexdigest()[:16]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _made(folder: Path) -> dict[str, Any]:
    path = folder / "made.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _make(net: Net) -> None:
    """Make a model, its items and its own answers; imports TensorFlow."""
    print(f"making {net.name}", file=sys.stderr, flush=True)
    found = _train(net) if net.trained else _random(net)
    temporary = net.folder / "items.tmp.npz"
    np.savez(temporary, **found)
    temporary.rename(net.folder / "items.npz")


def _random(net: Net) -> dict[str, Array]:
    import zoo_models

    name, side = net.name.split("@")
    model = zoo_models.build(name, int(side), images=SHOWN)
    model.save(net.model)
    spec = InputSpec.image(int(side), int(side), "rgb")
    test = seeded_items(spec, PROOF_ITEMS, seed=zoo_models.PROOF)
    truth = np.concatenate([zoo_models.answers(model, test[i : i + 8]) for i in range(0, len(test), 8)])
    return {
        "calibration": seeded_items(spec, CALIBRATION_ITEMS, seed=zoo_models.CALIBRATION),
        "test": test,
        "truth": truth,
    }


def _train(net: Net) -> dict[str, Array]:
    import keras

    from edgepress.toolkit.data import calibration_rows, open_data
    from edgepress.toolkit.training.loop import train

    on, size, epochs = TRAINED[net.name]
    data = open_data(str(net.real / SOURCES[on]) if on in SOURCES else on, size=size)
    train(data, net.name, out=net.folder / "run", epochs=epochs, progress=False, overwrite=True)
    (net.folder / "run" / "model.keras").rename(net.model)
    test = data.test.read(slice(None))
    truth = keras.saving.load_model(net.model, compile=False).predict(test.astype(np.float32), verbose=0)
    rows = calibration_rows(data.train, CALIBRATION_ITEMS)
    return {"calibration": data.train.read(rows), "test": test, "truth": truth, "labels": data.test.y}


if __name__ == "__main__":  # the models and their items alone: rewrite_nets.py CACHE [WORD...]
    for one in (n for kind in (False, True) for n in nets(Path(sys.argv[1]), sys.argv[2:], small=kind)):
        one.make()
