"""What is installed is what the clone holds: the lists of pyproject.toml, and the wheel in a new environment."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
PARTS = ("toolkit", "converters", "runtime")


def package_of(folder: Path) -> str:
    """The installed name of a folder: runtime/_package is `edgepress` itself."""
    name = folder.relative_to(ROOT).as_posix()
    return "edgepress" if name == "runtime/_package" else f"edgepress.{name.replace('/', '.')}"


def sources() -> list[Path]:
    """Every file of the three folders but what Python compiled."""
    files = (p for part in PARTS for p in (ROOT / part).rglob("*") if p.is_file())
    return [p for p in sorted(files) if p.suffix != ".pyc"]


def folders() -> dict[str, str]:
    """Folders with an `__init__.py`, by their installed name."""
    inits = (p.parent for p in sources() if p.name == "__init__.py")
    return {package_of(folder): folder.relative_to(ROOT).as_posix() for folder in inits}


def test_pyproject_lists_the_folders_that_are_packages() -> None:
    assert sorted(SETUPTOOLS["packages"]) == sorted(folders())
    assert SETUPTOOLS["package-dir"] == folders()


def test_every_python_file_lies_in_a_package() -> None:
    known = {ROOT / folder for folder in folders().values()}
    assert [p for p in sources() if p.suffix == ".py" and p.parent not in known] == []


def test_package_data_takes_in_every_other_file() -> None:
    known = {ROOT / folder: package for package, folder in folders().items()}
    for path in (p for p in sources() if p.suffix != ".py"):
        home = next(folder for folder in path.parents if folder in known)
        patterns = SETUPTOOLS["package-data"].get(known[home], [])
        assert any(fnmatch.fnmatch(path.relative_to(home).as_posix(), pattern) for pattern in patterns), path


def test_links_for_editors_lead_to_the_folders() -> None:
    links = ROOT / ".types" / "edgepress"
    assert {p.name: p.resolve() for p in links.iterdir()} == {
        "__init__.py": ROOT / "runtime" / "_package" / "__init__.py",
        **{part: ROOT / part for part in PARTS},
    }


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program outside the clone, without this process' import path; its stdout."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment |= {"EDGEPRESS_CACHE": str(cwd / ".cache"), "XDG_STATE_HOME": str(cwd / ".state")}
    result = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_the_wheel_runs_the_demo_in_an_environment_of_its_own(tmp_path: Path) -> None:
    """Minutes: it downloads what the toolkit needs."""
    clone, work, python = tmp_path / "clone", tmp_path / "work", tmp_path / "venv" / "bin" / "python"
    work.mkdir()
    for part in PARTS:  # a copy, so that nothing is built in the clone, nor from what an earlier build left there
        shutil.copytree(ROOT / part, clone / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone / name)
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path / "dist", clone, cwd=tmp_path)

    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        installed = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {f"{package_of(p.parent).replace('.', '/')}/{p.name}" for p in sources()}
    assert installed == expected

    constraints = ROOT / "constraints.txt"
    run(python, "-m", "pip", "install", "-q", "-c", constraints, f"{wheel}[toolkit]", cwd=tmp_path)
    where = run(python, "-c", "import edgepress; print(edgepress.__file__)", cwd=work)
    assert Path(where.strip()).is_relative_to(tmp_path / "venv")

    def edgepress(*arguments: str) -> object:
        return json.loads(run(python.with_name("edgepress"), *arguments, "--json", cwd=work))

    demo = edgepress("demo")
    assert isinstance(demo, dict)
    assert demo["ship"]
    folder = work / demo["out"]
    edgepress("convert", f"{folder}/model.keras", "--to", "tflite-int8,onnx-int8", "--out", "variants")
    edgepress("benchmark", "variants", "--rounds", "6", "--no-limits")
    edgepress("report", "variants")
    edgepress("inspect", "variants/model-int8.tflite")
    edgepress("profile", "variants/model-int8.tflite")
    edgepress("evaluate", "variants/model-int8.onnx")
    edgepress("predict", "variants/model-int8.tflite", f"{folder}/images")
    edgepress("compare", f"{folder}/variants/model-float32.tflite", "variants/model-int8.tflite", "--rounds", "6")
    edgepress("bundle", "variants/model-int8.tflite", "--out", "app.zip")
    edgepress("verify", "app.zip")
    assert (work / "variants" / "report.html").stat().st_size > 10_000
    run(python, "-m", "edgepress.runtime", "selftest", "variants/model-int8.tflite", cwd=work)
