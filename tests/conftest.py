"""One small real model for the whole test run: LeNet trained on digits, and its nine variants."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


@dataclass(frozen=True)
class Run:
    """A trained model and its variants by scheme."""

    folder: Path
    model: Path
    variants: dict[str, Path]


def once_per_run(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first worker to come fills and the others find."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = base / name
    with filelock.FileLock(base / f"{name}.lock"):
        if not (folder / "done").exists():
            make(folder)
            (folder / "done").touch()
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Answers are kept for this run alone."""
    os.environ["EDGEPRESS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def digits() -> Any:
    """The digits data set, as `open_data` gives it."""
    from edgepress.toolkit.data import open_data

    return open_data("digits")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, digits: Any) -> Run:
    """LeNet on digits and its nine variants; read-only: copy a file before changing it."""

    def make(folder: Path) -> None:
        from edgepress.toolkit.conversion import convert
        from edgepress.toolkit.training.loop import train

        train(digits, "lenet", out=folder, epochs=6, seed=0)
        convert(folder / "model.keras", "all", out=folder / "variants")

    folder = once_per_run(tmp_path_factory, "lenet-digits", make)
    from edgepress.converters import SCHEMES

    variants = {s.name: next((folder / "variants").glob(f"*-{s.precision}.{s.format}")) for s in SCHEMES.values()}
    return Run(folder, folder / "model.keras", variants)


@pytest.fixture
def pictures(digits: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    items = digits.test.read(slice(0, 2))
    Image.fromarray(items[0, ..., 0]).save(folder / "a.png")
    np.save(folder / "b.npy", items[1])
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The net, saved as `.keras`, `.h5` and SavedModel."""
    from foreign_models import small_net

    folder, model = tmp_path_factory.mktemp("net"), small_net()
    model.save(folder / "net.keras")
    model.save(folder / "net.h5")
    model.export(folder / "net_saved", verbose=False)
    return folder, model


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty colour images of four classes as an `.npz`."""
    path = tmp_path_factory.mktemp("data") / "colours.npz"
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 20)
    x = np.clip(rng.normal(60 * y[:, None, None, None] + 30, 25, (80, 16, 16, 3)), 0, 255).astype(np.uint8)
    np.savez(path, x=x, y=y, labels=np.array(["ant", "bee", "cat", "dog"]))
    return path


@pytest.fixture(scope="session")
def keras_found(run: Any) -> Any:
    """What inspection finds in the Keras model."""
    from edgepress.toolkit.inspection import inspect

    return inspect(run.model)
