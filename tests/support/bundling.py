"""Helpers of the tests of bundles: build, unpack, change and install one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgepress.toolkit.shipping.bundles.build import Bundle, bundle
from edgepress.toolkit.shipping.bundles.verify import NAME, Manifest, describe_files

REPOSITORY = Path(__file__).resolve().parents[2]
ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs OpenSSH")


def key_pair(folder: Path, name: str = "key") -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@example", "-f", str(folder / name)]
    subprocess.run(command, check=True)
    return folder / name


def signed_bundle(run: Any, folder: Path) -> Bundle:
    """A bundle of LeNet int8, signed if OpenSSH is installed; read-only."""
    key = key_pair(folder) if shutil.which("ssh-keygen") else None
    return bundle(run.variants["tflite-int8"], folder / "app.zip", name="digits", sign=key)


def unpack(bundle: Bundle, to: Path) -> Path:
    """Unpack a bundle, and return its folder."""
    with zipfile.ZipFile(bundle.path) as archive:
        archive.extractall(to)
    return to / "digits"


def install(folder: Path, *arguments: str, path: str = "", before: str = "") -> subprocess.CompletedProcess[str]:
    """Run `install.sh`; `before` is a shell command that runs first, such as one that limits something."""
    environment = os.environ | {"PATH": f"{path}:{os.environ['PATH']}"}
    command = ["sh", "-c", f'{before or ":"} && exec sh "$@"', "sh", str(folder / "install.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)


def reworked(folder: Path, to: Path, change: dict[str, tuple[str, str]]) -> Path:
    """A copy of an unpacked bundle with texts replaced, and a manifest that fits."""
    shutil.copytree(folder, to)
    for name, (old, new) in change.items():
        text = (to / name).read_text()
        assert old in text
        (to / name).write_text(text.replace(old, new))
    raw = json.loads((to / NAME).read_text())
    del raw["id"]
    raw |= {"boards": tuple(raw["boards"]), "files": describe_files(to)}
    (to / NAME).write_bytes(Manifest(**raw).to_bytes())
    return to
