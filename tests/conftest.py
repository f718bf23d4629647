"""Shared fixtures, and the unit tier: `pytest -m unit` runs what needs neither TensorFlow nor a child process.

The model that most other tests share is LeNet trained on digits, with a variant of each scheme. A test is a unit test
if its module is in `UNIT_MODULES` and it uses none of the fixtures that train or convert a model; such a test fails if
it imports TensorFlow or starts a process all the same.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
EXAMPLES = os.environ.get("EDGEPRESS_EXAMPLES")
"""Examples of a property, always the same ones; `benchmarks/mutation.py` asks for fewer than Hypothesis would take."""
settings.register_profile("any", deadline=None)  # no test depends on how fast the machine is
settings.register_profile("few", deadline=None, max_examples=int(EXAMPLES or 1), derandomize=True)
settings.load_profile("few" if EXAMPLES else "any")

UNIT_MODULES = """
    accuracy adapter advice augment bundle bundle_archive bundle_verify compare contract data data_folder data_idx
    data_splits files foreign_contract image inspection_graph intervals metrics notebook_views report
    results_file selftest tasks text timing verification
"""
"""Test modules, without "test_", whose tests are unit tests; so are those of every `test_unit_*.py`."""
HEAVY_FIXTURES = {"run", "net", "keras_found"}
"""Fixtures that need TensorFlow, with whatever uses them."""
NOT_UNIT = {
    "test_pickled_split_opens_without_tensorflow",
    "test_memory_does_not_grow_with_the_number_of_images",
    "test_the_module_needs_no_heavy_package",
    "test_converted_files_answer_what_their_parent_does",
    "test_others_at_work_make_a_run_noisy",
}
"""Tests of these modules that convert a model or start a process in their body."""
NEW_PROCESS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec"}
_processes: list[str] = []


def _audit(event: str, _: tuple[object, ...]) -> None:
    if event in NEW_PROCESS:
        _processes.append(event)


sys.addaudithook(_audit)


def _is_unit(path: Path) -> bool:
    name = path.stem.removeprefix("test_")
    return name.startswith("unit_") or name in UNIT_MODULES.split()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave other test modules alone with `-m unit`: some import TensorFlow themselves."""
    other = collection_path.name.startswith("test_") and not _is_unit(collection_path)
    return True if config.getoption("markexpr") == "unit" and other else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the unit tests, before pytest selects by marker."""
    for item in items:
        heavy = HEAVY_FIXTURES & set(getattr(item, "fixturenames", ())) or item.get_closest_marker("slow")
        if _is_unit(item.path) and not heavy and getattr(item, "originalname", "") not in NOT_UNIT:
            item.add_marker(pytest.mark.unit)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a unit test that imports TensorFlow or starts a process."""
    before, started = "tensorflow" in sys.modules, len(_processes)
    yield
    if item.get_closest_marker("unit") is not None:
        assert before or "tensorflow" not in sys.modules, "a unit test imported TensorFlow"
        assert _processes[started:] == [], "a unit test started a process"


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


def pytest_configure() -> None:
    """Let child processes notice Ctrl-C, also where a shell has started pytest in the background and they would not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
    """LeNet on digits and a variant of each scheme; read-only: copy a file before changing it."""

    def make(folder: Path) -> None:
        from edgepress.toolkit.conversion import convert
        from edgepress.toolkit.training.loop import train

        train(digits, "lenet", out=folder, epochs=6, seed=0)
        convert(folder / "model.keras", ",".join(SCHEMES), out=folder / "variants")

    from edgepress.converters.schemes import SCHEMES

    folder = once_per_run(tmp_path_factory, "lenet-digits", make)
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


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's engines, which does not exist yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "edgepress" / "engines"
