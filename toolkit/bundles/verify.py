"""Verify that a bundle is complete and unchanged, without unpacking it and in bounded memory.

Without a key this detects accidental damage only: an attacker can rebuild the file, including its manifest. With a key,
the signature is checked first, over the whole file.

This needs only Python's standard library, and `ssh-keygen` for signatures; no TensorFlow and no engine.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edgepress.runtime.filetypes import kind_of
from edgepress.toolkit.bundles import manifest as manifests
from edgepress.toolkit.bundles.archive import Archive, pieces, read_archive
from edgepress.toolkit.bundles.manifest import Manifest, parse_manifest
from edgepress.toolkit.bundles.signature import check_made_for, check_signature, signature_path
from edgepress.toolkit.errors import BundleError, InputError


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
    if first is None or first.name.rpartition("/")[2] != manifests.NAME or first.size > manifests.MAX_BYTES:
        raise BundleError(f"It does not begin with a {manifests.NAME}.")
    manifest = parse_manifest(b"".join(pieces(file, first)))
    top = f"{manifest.name}/" if manifest.format == "zip" else ""
    try:
        if dos_date(manifest.dated) != archive.date:
            raise ValueError("the members have another date")
    except ValueError as e:
        raise BundleError(f"{manifests.NAME} has the invalid date {manifest.dated}: {e}.") from e
    listed = {top + f.path: (f.size_bytes, f.sha256) for f in manifest.files}
    names = [top + manifests.NAME, *listed]
    if missing := sorted(set(names) - set(archive.members)):
        raise BundleError(f"{len(missing)} of its files are missing, such as {missing[0]}.")
    if more := sorted(set(archive.members) - set(names)):
        raise BundleError(f"It has {len(more)} files that {manifests.NAME} does not list, such as {more[0]}.")
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
            raise BundleError(f"The member {member.name} differs from its entry in {manifests.NAME}.")
    return manifest
