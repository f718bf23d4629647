"""One small real model for the whole test run: LeNet trained on digits, and its nine variants."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import pytest

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
        from edgepress.toolkit.convert import convert_model
        from edgepress.toolkit.training import train

        train(digits, "lenet", out=folder, epochs=6, seed=0)
        convert_model(folder / "model.keras", "all", out=folder / "variants")

    folder = once_per_run(tmp_path_factory, "lenet-digits", make)
    from edgepress.converters import SCHEMES

    variants = {s.name: next((folder / "variants").glob(f"*-{s.precision}.{s.format}")) for s in SCHEMES.values()}
    return Run(folder, folder / "model.keras", variants)
