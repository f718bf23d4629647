"""The current folder may be anybody's: commands run no module that lies in it, and read no settings of libraries."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_data_shards import pairs, shard

from edgepress.converters.process.worker import Worker
from edgepress.runtime.errors import EngineError
from edgepress.toolkit.errors import BundleError
from edgepress.toolkit.machine.environments import add_engine
from edgepress.toolkit.shipping.bundles.boards import resolve

TRAPS = ("joblib", "multiprocessing", "numpy", "pickle", "pip", "random", "tempfile", "typing", "venv", "zipfile")
"""Modules that Python, pip or a library imports in a process of its own."""
COMMAND = """
import sys
from edgepress.toolkit.cli.main import main

if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    finally:
        import matplotlib
        print("dpi", matplotlib.rcParams["savefig.dpi"])
"""
INDEX = """
import sys
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.readers import shards

if __name__ == "__main__":
    shards.LARGE_SHARDS = 1
    print(len(open_data(sys.argv[1]).train), "items")
"""


@pytest.fixture
def trapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with modules that write the file `ran` beside it."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    for name in TRAPS:
        code = f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\nraise SystemExit(99)\n"
        (folder / f"{name}.py").write_text(code)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return folder


def ran(trapped: Path) -> str:
    """The modules of the folder that ran."""
    path = trapped.with_name("ran")
    return path.read_text() if path.exists() else ""


def run(script: str, trapped: Path, *arguments: object) -> str:
    """What a script of another folder prints, as the installed command is one."""
    path = trapped.with_name("scripts") / "script.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(script)
    done = subprocess.run([sys.executable, path, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert not done.returncode, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_pip_and_new_environments_run_no_found_modules(trapped: Path) -> None:
    with pytest.raises(BundleError, match=r"pip can't download the packages .*No matching distribution"):
        resolve("pi64-py313", ("nothing-of-this-name",))
    assert not ran(trapped)
    with pytest.raises(EngineError, match="openvino can't be installed for"):
        add_engine("openvino", python=Path(sys.executable))
    assert not ran(trapped)


@pytest.mark.slow
def test_processes_that_index_shards_run_no_found_modules(trapped: Path) -> None:
    for number in range(3):
        shard(trapped / "data" / f"{number}.tar", pairs(8, first=8 * number))
    assert "items" in run(INDEX, trapped, "data")
    assert not ran(trapped)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["settings", "pipe"])
def test_found_settings_of_matplotlib_are_not_read(trapped: Path, kind: str) -> None:
    path = trapped / "matplotlibrc"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_text("savefig.dpi: 7\n\x1b]0;title\x07: 1\n")
    said = run(COMMAND, trapped, "--version")
    assert "dpi figure" in said
    assert "title" not in said
    with Worker(silence_s=30) as worker:  # where Keras imports it
        assert list(worker.call(importlib.import_module, "matplotlib")) == []  # reading a pipe would not end
