"""What a bundle with updates has more than others: the keys that its board trusts, where it looks, and its number.

They are read from the published folder (`edgepress publish init`), after all of it was verified from `trusted.json`
beside the publisher's keys (`edgepress.toolkit.published`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgepress.runtime.updates
from edgepress.runtime.updates.place import EARLIER_ROOTS, ROOT, SETTINGS
from edgepress.toolkit.bundles.boards import UPDATES_PINS, add_pins
from edgepress.toolkit.errors import InputError

if TYPE_CHECKING:
    from edgepress.toolkit.published.folder import Repository
    from edgepress.toolkit.published.record import Keys

FILES = Path(__file__).parent / "files"
UNITS = ("update.unit", "timer.unit")
"""Files in `files/` that only bundles with updates contain."""


def open_published(folder: str | Path | None, keys: Keys | None) -> Repository | None:
    """The verified state of a published folder; None without one.

    Args:
        folder: The folder; None: the bundle has no updates.
        keys: Folders of keys with `trusted.json`, which says what is trusted; no private key is read.

    Raises:
        InputError: Only one of both was given.
        PublishError: The folder does not go on from what is trusted, or is damaged.
    """
    if folder is None and keys:
        raise InputError("--keys is about updates, and this bundle has none.", "Give the folder: --updates FOLDER")
    if folder is None:
        return None
    if not keys:
        problem = f"Nothing says which keys {folder} may be signed with."
        raise InputError(
            problem, "Give the folder of publish init --keys, of which only trusted.json is read: --keys KEYS"
        )
    from edgepress.toolkit.published.folder import read_repository, remember

    repository = read_repository(Path(folder), keys)
    with suppress(InputError):  # to note what was seen is not needed to build a bundle
        remember(repository)
    return repository


def add_updates(folder: Path, published: Repository, *, shadow: Mapping[str, Any] | None = None) -> None:
    """Add the updater, its settings and its packages to a bundle that is laid out in a folder.

    Args:
        folder: The folder.
        published: The published folder.
        shadow: The limits of the shadow run (`runtime.updates.shadow.RunLimits`); None: there is none.
    """
    url = published.record.url
    settings = {"schema_version": 1, "name": folder.name, "url": url, "shadow": dict(shadow or {})}
    *earlier, newest = sorted(published.roots)
    (folder / ROOT).parent.mkdir()
    (folder / ROOT).write_bytes(published.roots[newest])
    for version in earlier:
        path = folder / EARLIER_ROOTS / f"{version}.root.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(published.roots[version])
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    for unit in UNITS:
        text = (FILES / unit).read_text(encoding="utf-8").replace("@NAME@", folder.name)
        (folder / unit).write_text(text, encoding="utf-8", newline="\n")
    package = folder / "edgepress" / "runtime" / "updates"
    package.mkdir()
    for source in Path(edgepress.runtime.updates.__file__).parent.glob("*.py"):
        shutil.copyfile(source, package / source.name)
    add_pins(folder, UPDATES_PINS)
