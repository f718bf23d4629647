"""`verify`: is a bundle whole and unchanged? Nothing is unpacked, memory is bounded.

Without a key this shows that no accident happened to the file: everything in it can be made anew by whoever wants to
deceive, manifest and all. With `key`, the signature beside the file is checked first, over all of its bytes.

This needs no TensorFlow and no engine; Python's standard library does it all (and `ssh-keygen` the signature).
"""

from __future__ import annotations

import hashlib
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edgepress.toolkit.bundles import manifest as manifests
from edgepress.toolkit.bundles.archive import Archive, pieces, read_archive
from edgepress.toolkit.bundles.manifest import Manifest, parse_manifest
from edgepress.toolkit.bundles.signature import check_signature, signature_path
from edgepress.toolkit.errors import BundleError, InputError


@dataclass(frozen=True)
class Verified:
    """A bundle that is as it was made.

    Attributes:
        path: The file.
        sha256: Of the file.
        size_bytes: Of the file.
        manifest: What it says of itself.
        signer: Whose signature was checked; "" if none was.
        signature: Its signature, if there is one beside it.
    """

    path: Path
    sha256: str
    size_bytes: int
    manifest: Manifest
    signer: str
    signature: Path | None

    def to_dict(self) -> dict[str, Any]:
        """What `verify --json` prints."""
        m = self.manifest
        about = {"name": m.name, "id": m.id, "model": m.model, "scheme": m.scheme, "edgepress": m.edgepress}
        return {
            "bundle": str(self.path),
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "signer": self.signer or None,
            "signature": str(self.signature) if self.signature else None,
            "files": len(m.files) + 1,
        } | about


def verify(path: str | Path, *, key: str | Path | None = None, signature: str | Path | None = None) -> Verified:
    """Check a bundle.

    Args:
        path: The `.zip` or `.pyz` that `bundle` made.
        key: Public key or file of allowed signers that it must be signed by.
        signature: The signature; None looks beside the file.

    Raises:
        BundleError: It was changed, damaged, is not a bundle, or is not signed by that key.
        InputError: A file can't be read.

    Example:
        >>> from edgepress.toolkit import bundle, verify
        >>> verify(bundle("edgepress-demo/variants/model-int8.tflite", "app.zip").path).manifest.scheme
        'tflite-int8'
    """
    bundle = Path(path)
    beside = signature_path(bundle) if signature is None else Path(signature)
    if not bundle.is_file():
        raise InputError(f"{bundle} does not exist or is no file.", "Give a .zip or .pyz from edgepress bundle.")
    signer = check_signature(bundle, beside, Path(key)) if key is not None else ""
    with bundle.open("rb") as file:
        try:
            archive = read_archive(file)
            manifest = _check_contents(file, archive)
        except BundleError as e:
            raise BundleError(f"{bundle} is not a whole and unchanged bundle. {e.message}", "Do not install it.") from e
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = bundle.stat().st_size
    return Verified(bundle, digest, size, manifest, signer, beside if beside.is_file() else None)


def dos_date(iso: str) -> int:
    """A date in UTC as a zip has it: (date << 16) | time, to two seconds.

    Raises:
        ValueError: It is of another form, or not within 1980 to 2107.
    """
    t = time.strptime(iso, "%Y-%m-%dT%H:%M:%SZ")
    if not 1980 <= t.tm_year <= 2107:
        raise ValueError(f"{iso} is not within 1980 to 2107")
    date = (t.tm_year - 1980) << 9 | t.tm_mon << 5 | t.tm_mday
    return date << 16 | t.tm_hour << 11 | t.tm_min << 5 | t.tm_sec // 2


def _check_contents(file: BinaryIO, archive: Archive) -> Manifest:
    """The manifest, once every member was found to be what it says."""
    first = next(iter(archive.members.values()), None)
    if first is None or first.name.rpartition("/")[2] != manifests.NAME or first.size > manifests.MAX_BYTES:
        raise BundleError(f"It does not begin with a {manifests.NAME}.")
    manifest = parse_manifest(b"".join(pieces(file, first)))
    top = f"{manifest.name}/" if manifest.format == "zip" else ""
    try:
        if dos_date(manifest.dated) != archive.date:
            raise ValueError("the members have another date")
    except ValueError as e:
        raise BundleError(f"{manifests.NAME} gives the date {manifest.dated}: {e}.") from e
    listed = {top + f.path: f for f in manifest.files}
    names = [top + manifests.NAME, *listed]
    if missing := sorted(set(names) - set(archive.members)):
        raise BundleError(f"{len(missing)} of its files are missing, such as {missing[0]}.")
    if more := sorted(set(archive.members) - set(names)):
        raise BundleError(f"It has {len(more)} files that {manifests.NAME} does not list, such as {more[0]}.")
    if list(archive.members) != names or len(listed) != len(manifest.files):
        raise BundleError("Its members are not in their order.")
    for member in archive.members.values():
        digest, crc = hashlib.sha256(), 0
        for piece in pieces(file, member):
            digest.update(piece)
            crc = zlib.crc32(piece, crc)
        if crc != member.crc:
            raise BundleError(f"The member {member.name} is damaged.")
        if member.name in listed and (member.size, digest.hexdigest()) != (
            listed[member.name].size_bytes,
            listed[member.name].sha256,
        ):
            raise BundleError(f"The member {member.name} is not what {manifests.NAME} lists.")
    return manifest
