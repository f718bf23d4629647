"""A release can be made: one version, archives that PyPI takes, and files for containers and CI without a finding."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import yaml

import edgepress

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def clean(*command: str | Path) -> None:
    """Run a program of this environment in the clone; it must find nothing."""
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = re.search(r"^## (\S+) - (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert changelog
    assert citation["version"] == changelog[1] == edgepress.__version__
    assert ("date-released" in citation) == (changelog[2] != "unreleased")
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_dockerfiles_have_no_finding() -> None:
    clean("hadolint", "Dockerfile", "Dockerfile.board")


def test_workflows_have_no_finding() -> None:
    clean("zizmor", "--offline", "--no-progress", "action.yml", ".github")


def test_scripts_have_no_finding() -> None:
    scripts = sorted(ROOT.glob(".ci/action/*.sh"))
    assert scripts
    clean("shellcheck", *scripts, ROOT / ".ci" / "run", ROOT / "check")


def test_only_what_images_are_built_from_reaches_the_builder() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    packages = {"converters", "runtime", "toolkit"}
    assert kept == {"LICENSE", "README.md", "constraints.txt", "pyproject.toml", *packages}
    for name in ("Dockerfile", "Dockerfile.board"):
        text = (ROOT / name).read_text()
        assert re.findall(r"^USER (\S+)$", text, re.MULTILINE) == ["1000:1000"]
        copied = {word.partition("/")[0] for word in re.findall(r"^COPY (?!--from)(\S+) ", text, re.MULTILINE)}
        assert copied <= {".", *kept}


def test_the_archives_are_as_pypi_wants_them(tmp_path: Path) -> None:
    """Downloads setuptools."""
    clone = tmp_path / "clone"
    for name in ("converters", "runtime", "toolkit"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, clone / name)
    dist = tmp_path / "dist"
    subprocess.run([sys.executable, "-m", "build", "-o", dist, clone], check=True, capture_output=True)
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    clean("twine", "check", "--strict", wheel, source)
    assert wheel.name.split("-")[1] == edgepress.__version__
    with zipfile.ZipFile(wheel) as archive:
        modules = {name for name in archive.namelist() if name.endswith(".py")}
    with tarfile.open(source) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    own = {f"edgepress/{path.name}" for path in (ROOT / "runtime" / "_package").glob("*.py")}
    assert {name.partition("/")[2] for name in modules - own} <= sources
    assert {f"runtime/_package/{name.partition('/')[2]}" for name in own} <= sources
    assert not any(name.startswith("tests") for name in sources)
