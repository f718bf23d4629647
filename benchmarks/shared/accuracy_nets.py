"""The nets of `accuracy.py`: trained models, their data, and the files made of them, all kept in the cache.

A net has a folder: `model.keras` (or a file that others made), and one folder of converted files for each way of making
them ("side"). Files are made by `edgepress.toolkit.convert`, as a user makes them, in a process of its own; those of
other code are made anew. Answers to the test split are kept by the hash of the file.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import numpy.typing as npt
from accuracy_data import data_file
from accuracy_hurt import RECIPES, train_hurt
from rewrite_nets import code_hash
from rewrite_timing import file_hash, key_of

from edgepress.runtime import load
from edgepress.toolkit import convert
from edgepress.toolkit.conversion.convert import Hints

Array = npt.NDArray[Any]
SIDES: dict[str, dict[str, Any]] = {
    "minmax": {"repairs": False, "calibration": "minmax"},
    "unrepaired": {"repairs": False},
    "float": {"repairs": False, "calibration": "minmax", "rewrites": False},
    "repaired": {},
    "unlabelled": {},
}
"""Ways of making files: arguments of `convert`. Unlabelled: as by default, of data without labels."""
SPREADS = {"hard": 6.0, "uneven": 1.5}
"""Nets of the same function, by the part of their name behind @: factors of channels are from 2^-s to 2^s."""
TRAINED: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{
        f"{arch}-mnist": ("mnist", arch, {"epochs": epochs} | ({"width": width} if width else {}))
        for arch, epochs, width in (
            ("dense", 10, 0.0),
            ("lenet", 6, 0.0),
            ("alexnet", 3, 0.125),
            ("vgg", 4, 0.125),
            ("resnet8", 4, 0.0),
            ("ds-cnn", 4, 0.0),
            ("mobilenet-v1", 6, 0.0),
            ("mobilenet-v2", 6, 0.0),
            ("mobilenet-v3-small", 4, 0.5),
        )
    },
    **{
        f"{arch}-signs": (data, arch, {"epochs": epochs} | ({"learning_rate": 3e-4} if arch == "dense" else {}))
        for arch, data, epochs in (
            ("dense", "signs-32", 60),
            ("lenet", "signs-64", 30),
            ("alexnet", "signs-64", 30),
            ("vgg", "signs-48", 30),
            ("resnet8", "signs-48", 30),
            ("ds-cnn", "signs-64", 30),
            ("mobilenet-v1", "signs-64", 40),
            ("mobilenet-v2", "signs-64", 25),
            ("mobilenet-v3-small", "signs-64", 30),
        )
    },
}
"""Our nine architectures on two data sets: data, architecture, options of `train`."""
GIVEN: dict[str, tuple[str, str, str]] = {
    "pretrained-resnet": ("mlperf_tiny/pretrainedResnet.h5", "cifar", "0,255"),
    "user-keras": ("user_keras/gowtham_mnist_model.keras", "mnist", "0,1"),
    "user-tflite": ("user_keras/gowtham_model.tflite", "mnist", "0,1"),
}
"""Files that others made: path below the folder of real models, data, range of pixels."""


@dataclass(frozen=True)
class Place:
    """Where things are: the cache, the folders of real data and models, and CIFAR-10 if there is."""

    cache: Path
    real: Path
    models: Path
    cifar: Path | None = None


@dataclass(frozen=True)
class Net:
    """One net.

    Attributes:
        name: Its name in one of the tables; one of the same function is `NAME@KIND-SEED`.
        place: Where its things are.
        hints: What `convert` is told of a model that edgepress did not train.
    """

    name: str
    place: Place
    hints: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def base(self) -> str:
        """The name of the net that it was made of."""
        return self.name.partition("@")[0]

    @property
    def folder(self) -> Path:
        """Its folder in the cache."""
        return self.place.cache / self.name

    @property
    def model(self) -> Path:
        """Its file."""
        given = GIVEN.get(self.name)
        return self.place.models / given[0] if given else self.folder / "model.keras"

    @property
    def range(self) -> tuple[float, float]:
        """What it takes for pixels 0 and 255."""
        low, high = GIVEN[self.base][2].split(",") if self.base in GIVEN else ("0", "255")
        return float(low), float(high)

    @property
    def data(self) -> Path:
        """Its data, an `.npz`, made where it is missing."""
        tables: tuple[Callable[[], str], ...] = (
            lambda: TRAINED[self.base][0],
            lambda: RECIPES[self.base].data,
            lambda: GIVEN[self.base][1],
        )
        for table in tables:
            with contextlib.suppress(KeyError):
                return data_file(table(), self.place.cache, real=self.place.real, cifar=self.place.cifar)
        raise KeyError(self.name)

    @property
    def unlabelled(self) -> Path:
        """The same data without labels and test items."""
        path = self.data.with_suffix(".unlabelled.npz")
        if not path.exists():
            temporary = path.with_suffix(".tmp.npz")
            np.savez(temporary, x_train=self.split("train")[0], x_val=self.split("val")[0])
            temporary.rename(path)
        return path

    def split(self, part: str) -> tuple[Array, Array]:
        """Items and labels of "train", "val" or "test"."""
        with np.load(self.data) as stored:
            return stored[f"x_{part}"], stored[f"y_{part}"]

    def make(self) -> None:
        """Train it, if it is not there, in a process of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.model.exists():
            print(f"making {self.name}", file=sys.stderr, flush=True)
            alone(_make, self)

    def convert(self, schemes: Collection[str], side: str = "repaired", model: Path | None = None) -> dict[str, Any]:
        """What was made, by scheme: "file" (a path or None), "error", "seconds", "compression".

        Args:
            schemes: Names of schemes.
            side: A key of `SIDES`, or "tuned-..." with the model that `tune` returned.
            model: The model, if it is not the net's own.
        """
        folder = self.folder / side
        path, key = folder / "made.json", f"{code_hash()} {file_hash(model or self.model)}"
        made = json.loads(path.read_text()) if path.exists() else {}
        if missing := [s for s in schemes if made.get(s, {}).get("key") != key]:
            folder.mkdir(parents=True, exist_ok=True)
            print(f"converting {self.name} {side}: {','.join(missing)}", file=sys.stderr, flush=True)
            data = self.unlabelled if side == "unlabelled" else self.data
            found = alone(_convert, model or self.model, data, folder, missing, SIDES.get(side, {}), self.hints)
            made |= {scheme: row | {"key": key} for scheme, row in found.items()}
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(made, indent=1, default=str))
            temporary.rename(path)
        return {s: made[s] | {"file": folder / made[s]["file"] if made[s]["file"] else None} for s in schemes}

    def right(self, path: Path, engine: str | None = None) -> tuple[npt.NDArray[np.bool_], Array]:
        """Of each test item, whether a file's top label is right, and that label."""
        tops = self.tops(path, engine)
        return tops == self.split("test")[1], tops

    def tops(self, path: Path, engine: str | None = None) -> Array:
        """A file's top label for each test item, int64; kept in the cache."""
        kept = self.place.cache / "answers" / f"{key_of(file_hash(path), file_hash(self.data), engine)}.npy"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            tops = alone(_tops, path, self.data, engine)
            temporary = kept.with_suffix(".tmp.npy")
            np.save(temporary, tops)
            temporary.rename(kept)
        found: Array = np.load(kept)
        return found


def nets(names: Collection[str], place: Place, wanted: Collection[str] = ()) -> Iterator[Net]:
    """The nets of a list whose data are there, or those of them whose names hold one of the words wanted; made."""
    for name in names:
        if wanted and not any(word in name for word in wanted):
            continue
        given = GIVEN.get(name)
        net = Net(name, place, {"input_range": given[2]} if given else {})
        try:
            net.data  # noqa: B018
            net.make()
        except FileNotFoundError as e:
            print(f"{name} is left out: {e}", file=sys.stderr)
            continue
        yield net


def alone(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a process of its own, which TensorFlow fills."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_quiet, function, *args).result()


def _quiet(function: Callable[..., Any], *args: Any) -> Any:
    with contextlib.redirect_stdout(sys.stderr):
        return function(*args)


def _make(net: Net) -> None:
    temporary = net.folder / "model.tmp.keras"
    if net.base != net.name:
        from hard_nets import harden

        kind, seed = net.name.partition("@")[2].split("-")
        items = np.concatenate([net.split(part)[0] for part in ("train", "test")])
        harden(Net(net.base, net.place).model, temporary, items, seed=int(seed), exponent=SPREADS[kind])
    elif net.name in RECIPES:
        train_hurt(RECIPES[net.name], net.data, temporary)
    elif net.name in TRAINED:
        from edgepress.toolkit.data import open_data
        from edgepress.toolkit.training.loop import train

        _, arch, options = TRAINED[net.name]
        run = net.folder / "run"
        train(open_data(net.data), arch, out=run, progress=False, overwrite=True, **options)
        (run / "model.keras").rename(temporary)
    else:
        raise FileNotFoundError(net.model)
    temporary.rename(net.model)


def _convert(
    model: Path, data: Path, out: Path, schemes: list[str], options: dict[str, Any], hints: dict[str, Any]
) -> dict[str, Any]:
    found = {}
    start = time.perf_counter()
    for variant in convert(
        model,
        ",".join(schemes),
        data=str(data),
        out=out,
        hints=Hints(**hints) if hints else None,
        verify=False,
        **options,
    ):
        found[variant.scheme] = {
            "file": variant.path.name if variant.path else "",
            "error": variant.error,
            "compression": dict(getattr(variant, "compression", {})),
        }
    seconds = round(time.perf_counter() - start, 2)  # of all schemes of this call
    return {scheme: row | {"seconds": seconds} for scheme, row in found.items()}


def _tops(path: Path, data: Path, engine: str | None) -> Array:
    with np.load(data) as stored:
        x = stored["x_test"]
    scores = load(path, engine).scores(x)
    return np.asarray(np.where(np.isfinite(scores).all(1), scores.argmax(1), -1), np.int64)
