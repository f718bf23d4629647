"""A bundle's manifest, and whether the bundle is complete and unchanged, without unpacking it and in bounded memory.

Without a key this detects accidental damage only: an attacker can rebuild the file, including its manifest. With a key,
the signature is checked first, over the whole file.

This needs only Python's standard library, and `ssh-keygen` for signatures; no TensorFlow and no engine.

MANIFEST.json: a description of a bundle, with the size and SHA-256 of each of its other files.

It has a single canonical form: `parse_manifest` serializes what it read and compares the bytes. `id` is the hash of all
other fields, and so of the whole content; it names the release that a board installs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

from edgepress.converters.files import sha256_of_file
from edgepress.runtime.errors import parsing
from edgepress.runtime.filetypes import kind_of
from edgepress.runtime.updates.releases import MAX_RELEASE
from edgepress.runtime.updates.releases import NAME as APPLICATION
from edgepress.toolkit.errors import BundleError, InputError
from edgepress.toolkit.shipping.bundles.archive import (
    Archive,
    check_made_for,
    check_signature,
    pieces,
    read_archive,
    signature_path,
)

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


@dataclass(frozen=True)
class Verified:
    """A verified bundle.

    Attributes:
        path: The file.
        sha256: SHA-256 of the file.
        size_bytes: Size of the file.
        manifest: Its manifest.
        signer: The signer, if a signature was checked; else "".
        signature: Its signature, if there is one next to it.
    """

    path: Path
    sha256: str
    size_bytes: int
    manifest: Manifest
    signer: str
    signature: Path | None

    def to_dict(self) -> dict[str, Any]:
        """The document that `verify --json` prints."""
        m = self.manifest
        about = {"name": m.name, "id": m.id, "model": m.model, "scheme": m.scheme, "edgepress": m.edgepress}
        return {
            "bundle": str(self.path),
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "signer": self.signer or None,
            "signature": str(self.signature) if self.signature else None,
            "files": len(m.files) + 1,
            "release": m.release,
        } | about


def verify(path: str | Path, *, key: str | Path | None = None, signature: str | Path | None = None) -> Verified:
    """Verify a bundle.

    Args:
        path: A `.zip` or `.pyz` made by `edgepress bundle`.
        key: Public key, or file of allowed signers; requires a signature by one of them.
        signature: The signature; None: next to the file.

    Raises:
        BundleError: The bundle was changed or damaged, is not a bundle, or is not signed with this key; or the file
            next to it is not a signature of it.
        InputError: A file can't be read.

    Example:
        >>> from edgepress.toolkit import bundle, verify
        >>> verify(bundle("edgepress-demo/variants/model-int8.tflite", "app.zip").path).manifest.scheme
        'tflite-int8'
    """
    bundle = Path(path)
    beside = signature_path(bundle) if signature is None else Path(signature)
    if not bundle.is_file():
        raise InputError(f"{bundle} does not exist or is not a file.", "Give a .zip or .pyz made by edgepress bundle.")
    with bundle.open("rb") as file:
        zipped = file.read(2) == b"PK"  # what is in a zip is looked at below, in bounded memory
    if not zipped:
        problem = f"{bundle} is not a bundle. It is {kind_of(bundle).name}."
        raise BundleError(problem, "Give a .zip or .pyz made by edgepress bundle.")
    signer = check_signature(bundle, beside, Path(key)) if key is not None else ""
    if key is None and beside.is_file():
        check_made_for(bundle, beside)
    with bundle.open("rb") as file:
        try:
            archive = read_archive(file)
            manifest = _check_contents(file, archive)
        except BundleError as e:
            raise BundleError(f"{bundle} is not an unchanged bundle. {e.message}", "Do not install it.") from e
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = bundle.stat().st_size
    return Verified(bundle, digest, size, manifest, signer, beside if beside.is_file() else None)


def dos_date(iso: str) -> int:
    """Convert a UTC date to MS-DOS format, as in a zip: (date << 16) | time, to two seconds.

    Raises:
        ValueError: It has another form, or is not within 1980 to 2107.
    """
    t = time.strptime(iso, "%Y-%m-%dT%H:%M:%SZ")
    if not 1980 <= t.tm_year <= 2107:
        raise ValueError(f"{iso} is not within 1980 to 2107")
    date = (t.tm_year - 1980) << 9 | t.tm_mon << 5 | t.tm_mday
    return date << 16 | t.tm_hour << 11 | t.tm_min << 5 | t.tm_sec // 2


def _check_contents(file: BinaryIO, archive: Archive) -> Manifest:
    """Check every member against the manifest, and return the manifest."""
    first = next(iter(archive.members.values()), None)
    if first is None or first.name.rpartition("/")[2] != NAME or first.size > MAX_BYTES:
        raise BundleError(f"It does not begin with a {NAME}.")
    manifest = parse_manifest(b"".join(pieces(file, first)))
    top = f"{manifest.name}/" if manifest.format == "zip" else ""
    try:
        if dos_date(manifest.dated) != archive.date:
            raise ValueError("the members have another date")
    except ValueError as e:
        raise BundleError(f"{NAME} has the invalid date {manifest.dated}: {e}.") from e
    listed = {top + f.path: (f.size_bytes, f.sha256) for f in manifest.files}
    names = [top + NAME, *listed]
    if missing := sorted(set(names) - set(archive.members)):
        raise BundleError(f"{len(missing)} of its files are missing, such as {missing[0]}.")
    if more := sorted(set(archive.members) - set(names)):
        raise BundleError(f"It has {len(more)} files that {NAME} does not list, such as {more[0]}.")
    if list(archive.members) != names or len(listed) != len(manifest.files):
        raise BundleError("Its members are not in the order of the manifest.")
    for member in archive.members.values():
        digest = hashlib.sha256()
        crc = 0
        for piece in pieces(file, member):
            digest.update(piece)
            crc = zlib.crc32(piece, crc)
        if crc != member.crc:
            raise BundleError(f"The member {member.name} is damaged.")
        entry = member.size, digest.hexdigest()
        if listed.get(member.name, entry) != entry:
            raise BundleError(f"The member {member.name} differs from its entry in {NAME}.")
    return manifest
