"""Shared fixtures, and the tiers: a test is a unit test, an integration test or a slow one by its folder.

The model that most integration tests share is LeNet trained on digits, with a variant of each scheme. A test of
tests/unit fails if it imports TensorFlow or starts a process.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scripts
import typer.rich_utils  # noqa: F401 - it reads the environment, which some tests change, when it is first imported
from hostile_files import foreign  # noqa: F401 - a fixture
from hostile_screens import screens  # noqa: F401 - a fixture
from hypothesis import settings
from micro_package import install  # noqa: F401 - a fixture
from PIL import Image
from shared_folders import once_per_run

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as `converters.process.worker` sets it
TESTS = Path(__file__).parent
EXAMPLES = os.environ.get("EDGEPRESS_EXAMPLES")
"""Examples of a property, always the same ones, where `benchmarks/development/mutation.py` asks for few."""
settings.register_profile("any", deadline=None, max_examples=30)  # no test depends on how fast the machine is
settings.register_profile("few", deadline=None, max_examples=int(EXAMPLES or 1), derandomize=True)
settings.load_profile("few" if EXAMPLES else "any")

NEW_PROCESS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec"}
_processes: list[str] = []


def _audit(event: str, _: tuple[object, ...]) -> None:
    if event in NEW_PROCESS:
        _processes.append(event)


sys.addaudithook(_audit)


def _tier(path: Path) -> str:
    """The folder below `tests` in which a test lies."""
    return path.relative_to(TESTS).parts[0]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of tests/slow, before pytest selects by marker."""
    for item in items:
        if _tier(item.path) == "slow":
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker whole files, so that what a file's tests share is made once; short unit tests fill the end."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.fixture(autouse=True)
def _plain_workers_of_slow_tests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of tests/slow start their workers as users do, also after an integration test that has forked its own."""
    if _tier(request.node.path) == "slow":
        import forked_workers

        monkeypatch.setattr(forked_workers, "PLAIN", True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a unit test that imports TensorFlow or starts a process."""
    before, started = "tensorflow" in sys.modules, len(_processes)
    yield
    if _tier(item.path) == "unit":
        assert before or "tensorflow" not in sys.modules, "a unit test imported TensorFlow"
        assert _processes[started:] == [], "a unit test started a process"


@dataclass(frozen=True)
class Run:
    """A trained model and its variants by scheme."""

    folder: Path
    model: Path
    variants: dict[str, Path]


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
        from edgepress.toolkit.conversion.convert import convert
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
    from edgepress.toolkit.conversion.inspection import inspect

    return inspect(run.model)


@pytest.fixture(scope="session")
def digits_bundle(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A bundle of the int8 file, signed if OpenSSH is installed; read-only."""
    from bundling import signed_bundle

    return signed_bundle(run, tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def unpacked(digits_bundle: Any, tmp_path: Path) -> Path:
    """The folder of that bundle's files."""
    from bundling import unpack

    return unpack(digits_bundle, tmp_path / "unpacked")


@pytest.fixture
def own_runtime_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the runtime keeps is of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's engines, which does not exist yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "edgepress" / "engines"


@pytest.fixture(scope="session")
def simulated() -> Any:
    """The module that simulates publishers and boards."""
    sys.path.insert(0, str(scripts.ROOT / "benchmarks" / "updates"))
    import simulated

    return simulated


@pytest.fixture(scope="session")
def first_release(tmp_path_factory: pytest.TempPathFactory, simulated: Any) -> Path:
    """A published folder with release 1, and a board that runs it; read-only."""

    def make(folder: Path) -> None:
        publisher = simulated.Publisher(folder / "publisher")
        publisher.publish(1)
        done = simulated.Board(folder / "board").install(publisher.bundle(1))
        assert done.returncode == 0, done.stderr

    return once_per_run(tmp_path_factory, "first-release", make)


@pytest.fixture
def publisher(first_release: Path, tmp_path: Path, simulated: Any) -> Any:
    """A publisher of release 1."""
    return simulated.Publisher(shutil.copytree(first_release / "publisher", tmp_path / "publisher"))


@pytest.fixture
def board(first_release: Path, tmp_path: Path, simulated: Any) -> Any:
    """A board that runs release 1, which is published."""
    return simulated.Board(shutil.copytree(first_release / "board", tmp_path / "board", symlinks=True))
