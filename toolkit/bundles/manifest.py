"""MANIFEST.json: a description of a bundle, with the size and SHA-256 of each of its other files.

It has a single canonical form: `parse_manifest` serializes what it read and compares the bytes. `id` is the hash of all
other fields, and so of the whole content; it names the release that a board installs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from edgepress.converters.files import sha256_of_file
from edgepress.runtime.errors import parsing
from edgepress.runtime.updates.releases import MAX_RELEASE
from edgepress.runtime.updates.releases import NAME as APPLICATION
from edgepress.toolkit.errors import BundleError

SCHEMA_VERSION = 1
NAME = "MANIFEST.json"
MAX_BYTES = 1 << 20
"""Largest size of a manifest."""
Format = Literal["zip", "pyz"]
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class BundledFile:
    """One file: its path in the bundle's folder, its size and its SHA-256 in hexadecimal."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The description of a bundle.

    Attributes:
        name: Name of the application and its folder.
        format: "zip" or "pyz".
        edgepress: Version of edgepress that built it.
        model: Path of the model file.
        scheme: The model's scheme.
        engine: Engine that computed the samples' answers.
        dated: Date of all members, ISO 8601 in UTC.
        boards: Boards that it has pinned packages for.
        offline: Whether it contains the wheels of these packages.
        files: All files except this one, sorted by path.
        release: Number of the release, which only rises; None of a bundle that is no update. It is then not written.
        schema_version: Version of this structure.
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
    release: int | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def id(self) -> str:
        """SHA-256 of all other fields, in hexadecimal."""
        return hashlib.sha256(_text(self._fields())).hexdigest()

    def to_bytes(self) -> bytes:
        """The file's content."""
        return _text({"id": self.id} | self._fields())

    def _fields(self) -> dict[str, Any]:
        fields = dataclasses.asdict(self)
        if self.release is None:
            del fields["release"]
        return fields


def describe_files(folder: Path) -> tuple[BundledFile, ...]:
    """Describe all files below a folder except the manifest, sorted by path."""
    files = []
    for path in sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()):
        if path != NAME:
            file = folder / path
            files.append(BundledFile(path=path, size_bytes=file.stat().st_size, sha256=sha256_of_file(file)))
    return tuple(files)


def parse_manifest(data: bytes) -> Manifest:
    """Parse a manifest.

    Raises:
        BundleError: It is damaged, edited, or from a newer version of edgepress.
    """
    with parsing(NAME, "", failed="is not in the form that edgepress writes", error=BundleError):
        raw = json.loads(data)
        version = raw["schema_version"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            hint = "Upgrade edgepress."
            raise BundleError(f"{NAME} has version {version}; this edgepress reads up to {SCHEMA_VERSION}.", hint)
        claimed = raw.pop("id")
        manifest = Manifest(
            **raw | {"boards": tuple(raw["boards"]), "files": tuple(BundledFile(**file) for file in raw["files"])}
        )
        _require_forms(manifest)
        if manifest.to_bytes() != data or claimed != manifest.id:
            raise ValueError("it was changed after it was made")
    return manifest


def _require_forms(manifest: Manifest) -> None:
    """Raise a ValueError if a field has another form than what edgepress writes: others use it as it is."""
    texts = (manifest.edgepress, manifest.scheme, manifest.engine, manifest.dated, *manifest.boards)
    paths = [file.path for file in manifest.files]
    release = manifest.release
    checks = {
        "name": isinstance(manifest.name, str) and APPLICATION.fullmatch(manifest.name),
        "format": manifest.format in get_args(Format),
        "model": manifest.model in paths,
        "offline": type(manifest.offline) is bool,
        "release": release is None or (type(release) is int and 1 <= release <= MAX_RELEASE),
        "schema_version": type(manifest.schema_version) is int and manifest.schema_version >= 1,
    }
    for name, right in checks.items():
        if not right:
            accepted = f"; accepted: 1 to {MAX_RELEASE}" if name == "release" else ""
            raise ValueError(f"its {name} is {getattr(manifest, name)!r}{accepted}")
    if not all(isinstance(text, str) for text in (*texts, *paths)):
        raise TypeError("a field is not a text")
    for file in manifest.files:
        if type(file.size_bytes) is not int or file.size_bytes < 0:
            raise ValueError(f"the size of {file.path!r} is {file.size_bytes!r}")
        if not isinstance(file.sha256, str) or not _SHA256.fullmatch(file.sha256):
            raise ValueError(f"the SHA-256 of {file.path!r} is {file.sha256!r}")


def _text(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()
