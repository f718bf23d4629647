"""What a bundle with updates has more than others: the keys that its board trusts, where it looks, and its number.

They are read from the published folder (`edgepress publish init`), which is the user's own: its signatures are checked
by `edgepress publish` and by the boards. Format: `edgepress.toolkit.publishing.repository`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import edgepress.runtime.updates
from edgepress.runtime.errors import parsing
from edgepress.runtime.updates.place import ROOT, SETTINGS
from edgepress.runtime.updates.releases import Release, list_target, parse_list
from edgepress.toolkit.bundles.boards import UPDATES_PINS, add_pins
from edgepress.toolkit.documents import read_limited
from edgepress.toolkit.errors import BundleError
from edgepress.toolkit.escaping import shell_line

MOST_BYTES = 8 << 20
"""Bytes of a list in a published folder at most; boards accept less."""
FILES = Path(__file__).parent / "files"
UNITS = ("update.unit", "timer.unit")
"""Files in `files/` that only bundles with updates contain."""


def add_updates(folder: Path, published: Path, *, shadow: Mapping[str, Any] | None = None) -> None:
    """Add the updater, its settings and its packages to a bundle that is laid out in a folder.

    Args:
        folder: The folder.
        published: The published folder.
        shadow: The limits of the shadow run (`runtime.updates.shadow.RunLimits`); None: there is none.

    Raises:
        BundleError: The published folder can't be read.
    """
    root = _newest_root(published)
    with parsing(published / "publish.json", "", failed="is damaged", error=BundleError):
        url = str(json.loads(read_published(published / "publish.json"))["url"])
    settings = {"schema_version": 1, "name": folder.name, "url": url, "shadow": dict(shadow or {})}
    (folder / ROOT).parent.mkdir()
    shutil.copyfile(root, folder / ROOT)
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    for unit in UNITS:
        text = (FILES / unit).read_text(encoding="utf-8").replace("@NAME@", folder.name)
        (folder / unit).write_text(text, encoding="utf-8", newline="\n")
    package = folder / "edgepress" / "runtime" / "updates"
    package.mkdir()
    for source in Path(edgepress.runtime.updates.__file__).parent.glob("*.py"):
        shutil.copyfile(source, package / source.name)
    add_pins(folder, UPDATES_PINS)


def next_release(published: Path, name: str) -> int:
    """The number above all releases of an application in a published folder.

    Raises:
        BundleError: The folder can't be read.
    """
    return 1 + max((release.release for release, _ in published_releases(published, name)), default=0)


def command_to_begin(published: Path) -> str:
    """The command that makes a published folder."""
    return shell_line("edgepress", "publish", "init", "--to", published, "--keys", "KEYS")


def published_releases(published: Path, name: str) -> list[tuple[Release, Path]]:
    """All releases of an application in a published folder, and their bundles.

    Raises:
        BundleError: The folder can't be read.
    """
    metadata = published / "metadata"
    if not (metadata / "timestamp.json").is_file():
        problem = f"{published} is not a published folder: metadata/timestamp.json is missing."
        raise BundleError(problem, f"Make one: {command_to_begin(published)}")
    with parsing(published, "", failed="is not a complete published folder", error=BundleError):
        snapshot = _is_signed(metadata / "timestamp.json")["meta"]["snapshot.json"]["version"]
        targets = _is_signed(metadata / f"{int(snapshot)}.snapshot.json")["meta"]["targets.json"]["version"]
        files = _is_signed(metadata / f"{int(targets)}.targets.json")["targets"]

        def path_of(target: str) -> Path:
            parent, _, last = target.rpartition("/")
            return published / "targets" / parent / f"{files[target]['hashes']['sha256']}.{last}"

        if list_target(name) not in files:
            return []
        releases = parse_list(read_published(path_of(list_target(name))), name).releases
        return [(release, path_of(release.target)) for release in releases]


def read_published(path: Path) -> bytes:
    """The content of a list in a published folder, which may come from a stranger's share or USB stick.

    Raises:
        OSError: It can't be read, or is a pipe or a device.
        ValueError: It has more than `MOST_BYTES`.
    """
    return read_limited(path, MOST_BYTES)


def _newest_root(published: Path) -> Path:
    """The file of the newest list of trusted keys."""
    versions = {
        int(match[1]): path
        for path in (published / "metadata").glob("*.root.json")
        if (match := re.fullmatch(r"([1-9]\d{0,8})\.root\.json", path.name))
    }
    if not versions:
        hint = f"Make one: {command_to_begin(published)}"
        raise BundleError(f"{published} is not a published folder.", hint)
    return versions[max(versions)]


def _is_signed(path: Path) -> dict[str, Any]:
    signed: dict[str, Any] = json.loads(read_published(path))["signed"]
    return signed
