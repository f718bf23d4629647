"""The data of `accuracy.py`: real images in one `.npz` a data set, with splits that are the same in every run.

Each file holds `x_train`, `y_train`, `x_val`, `y_val`, `x_test`, `y_test` and `labels`, which `--data` of every
command takes. Test splits are whole, because a drop of 0.3 percentage points is less than one of 413 images; training
splits are small, so that a net is trained in a minute or two and is confident where it is wrong.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
REAL = Path(__file__).resolve().parents[3] / "shared" / "real" / "data"
SEED = 13
SIZES = {"mnist": (10_000, 2_000), "mnist-small": (400, 400), "cifar": (6_000, 2_000)}
"""Training and validation items of data sets that have more than enough."""
FEW = (600, 200)
"""The same of the sign digits with few training items; the other 1,262 are test items."""
CIFAR_SOURCE = "a folder with train/ and test/, each with a folder of 32x32 images for each of the ten classes"


def data_file(name: str, cache: Path, *, real: Path = REAL, cifar: Path | None = None) -> Path:
    """The `.npz` of a data set, made where it is missing.

    Args:
        name: "mnist", "mnist-small", "cifar", "signs-S" with images of S x S and their own splits, or "few-S", the
            sign digits with few training and many test items.
        cache: The folder of the cache.
        real: The folder of real data (MNIST's IDX files, the sign digits).
        cifar: CIFAR-10's images as `CIFAR_SOURCE`, or an `.npz` of them.

    Raises:
        FileNotFoundError: The images are not there.
    """
    path = cache / "data" / f"{name}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        kind, _, size = name.partition("-")
        made = (
            _signs(real, int(size), few=kind == "few")
            if size.isdigit()
            else _sampled(name, _READERS[kind](real, cifar))
        )
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, **made)  # type: ignore[arg-type]
        temporary.rename(path)
    return path


def _mnist(real: Path, cifar: Path | None) -> Arrays:
    found = {}
    for ours, theirs in (("train", "train"), ("test", "t10k")):
        pixels = gzip.decompress((real / "mnist" / f"{theirs}-images-idx3-ubyte.gz").read_bytes())[16:]
        labels = gzip.decompress((real / "mnist" / f"{theirs}-labels-idx1-ubyte.gz").read_bytes())[8:]
        found[f"x_{ours}"] = np.frombuffer(pixels, np.uint8).reshape(-1, 28, 28, 1)
        found[f"y_{ours}"] = np.frombuffer(labels, np.uint8).astype(np.int64)
    return found | {"labels": np.array(list("0123456789"))}


def _cifar(real: Path, cifar: Path | None) -> Arrays:
    if cifar is None or not cifar.exists():
        raise FileNotFoundError(f"no CIFAR-10: --cifar is {cifar}; it takes {CIFAR_SOURCE}, or an .npz of them")
    if cifar.suffix == ".npz":
        with np.load(cifar) as stored:
            return {"labels" if key == "classes" else key: value for key, value in stored.items()}
    from PIL import Image

    found: Arrays = {"labels": np.array(sorted(p.name for p in (cifar / "test").iterdir()))}
    for part in ("train", "test"):
        paths = sorted((cifar / part).glob("*/*"))
        found[f"x_{part}"] = np.stack([np.asarray(Image.open(p).convert("RGB")) for p in paths])
        found[f"y_{part}"] = np.array([found["labels"].tolist().index(p.parent.name) for p in paths])
    return found


_READERS = {"mnist": _mnist, "cifar": _cifar}


def _sampled(name: str, found: Arrays) -> Arrays:
    """All test items, and few of the others, drawn with a seed."""
    train, val = SIZES[name]
    order = np.random.default_rng(SEED).permutation(len(found["x_train"]))
    parts = {"train": order[:train], "val": order[train : train + val]}
    drawn = {f"{key}_{part}": found[f"{key}_train"][rows] for part, rows in parts.items() for key in "xy"}
    return found | drawn


def _signs(real: Path, size: int, *, few: bool) -> Arrays:
    from edgepress.toolkit.data import open_data

    data = open_data(real / "sign_digits" / "Dataset", size=size)
    splits = {part: getattr(data, part) for part in ("train", "val", "test")}
    found = {f"x_{part}": split.read(slice(None)) for part, split in splits.items()}
    found |= {f"y_{part}": split.y for part, split in splits.items()} | {"labels": np.array(data.labels)}
    if few:
        x, y = (np.concatenate([found[f"{key}_{part}"] for part in splits]) for key in "xy")
        order = np.random.default_rng(SEED).permutation(len(x))
        train, val = FEW
        parts = {"train": order[:train], "val": order[train : train + val], "test": order[train + val :]}
        found |= {f"x_{part}": x[rows] for part, rows in parts.items()}
        found |= {f"y_{part}": y[rows] for part, rows in parts.items()}
    return found
