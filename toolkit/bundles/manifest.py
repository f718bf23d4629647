"""MANIFEST.json: what a bundle is, and the size and SHA-256 of each of its other files.

It has one byte form, too, so that a change of it shows: `parse_manifest` writes anew what it read and compares. `id` is
the hash of all else in it, hence of the whole content; it names the release that a board installs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgepress.toolkit.errors import BundleError

SCHEMA_VERSION = 1
NAME = "MANIFEST.json"
MAX_BYTES = 1 << 20
Format = Literal["zip", "pyz"]


@dataclass(frozen=True, kw_only=True)
class BundledFile:
    """One file: its path in the bundle's folder, its size and its SHA-256 in hexadecimal."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle is.

    Attributes:
        name: Of the bundle and its folder.
        format: "zip" or "pyz".
        edgepress: Version that made it.
        model: Path of the model file in it.
        scheme: The model's, by its contract.
        engine: What gave the answers that the samples are compared with.
        dated: Date of all members, ISO 8601 in UTC.
        boards: Boards that it has a pinned set of packages for.
        offline: Whether it brings their wheels.
        files: All files but this one, by path.
        schema_version: Of this structure.
    """

    name: str
    format: str
    edgepress: str
    model: str
    scheme: str
    engine: str
    dated: str
    boards: tuple[str, ...]
    offline: bool
    files: tuple[BundledFile, ...]
    schema_version: int = SCHEMA_VERSION

    @property
    def id(self) -> str:
        """SHA-256 over everything else here, in hexadecimal."""
        return hashlib.sha256(_text(dataclasses.asdict(self))).hexdigest()

    def to_bytes(self) -> bytes:
        """The file's content."""
        return _text({"id": self.id} | dataclasses.asdict(self))


def describe_files(folder: Path) -> tuple[BundledFile, ...]:
    """All files below a folder but the manifest, by path."""
    found = []
    for path in sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()):
        if path != NAME:
            with (folder / path).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found.append(BundledFile(path=path, size_bytes=(folder / path).stat().st_size, sha256=digest))
    return tuple(found)


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        BundleError: It is damaged, edited, or of a newer edgepress.
    """
    try:
        raw = json.loads(data)
        version = raw["schema_version"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise BundleError(
                f"{NAME} has version {version}; this edgepress reads up to {SCHEMA_VERSION}.", "Upgrade edgepress."
            )
        claimed = raw.pop("id")
        manifest = Manifest(**raw | {"boards": tuple(raw["boards"]), "files": tuple(map(_file, raw["files"]))})
        texts = [manifest.name, manifest.format, manifest.dated, *(f.path for f in manifest.files)]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a text is something else")
        if manifest.to_bytes() != data or claimed != manifest.id:
            raise ValueError("it was changed after it was made")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as e:
        raise BundleError(f"{NAME} is not as edgepress wrote it: {e}.") from e
    return manifest


def _file(raw: Mapping[str, Any]) -> BundledFile:
    return BundledFile(**raw)


def _text(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()
