"""JSON and files as bytes, with a hash of each file: what travels between the machines of a sweep.

A parcel is opened without trust: nothing in it is code, and a file whose hash differs from the one that is promised is
refused. Layout: the length of the header in 8 bytes, big-endian; the header, a JSON object; the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepress.toolkit.errors import SweepError
from edgepress.toolkit.sweeping.store import Entry, Store

HEADER_BYTES = 64 << 20
"""Largest header: results hold histories of trainings, no data."""


def pack(header: Mapping[str, Any], files: Mapping[str, Path] | None = None) -> bytes:
    """A parcel of a JSON object and files by their SHA-256."""
    contents = {sha256: path.read_bytes() for sha256, path in (files or {}).items()}
    sizes = [[sha256, len(content)] for sha256, content in contents.items()]
    text = json.dumps({"header": dict(header), "files": sizes}, allow_nan=False).encode()
    return b"".join((len(text).to_bytes(8, "big"), text, *contents.values()))


def unpack(parcel: object) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The JSON object and the files by their SHA-256.

    Raises:
        SweepError: It is no parcel, or a file has another hash.
    """
    try:
        if not isinstance(parcel, bytes):
            raise TypeError(f"it is of type {type(parcel).__name__}")
        end = 8 + int.from_bytes(parcel[:8], "big")
        if not 8 < end <= min(len(parcel), HEADER_BYTES):
            raise ValueError("its header is cut off")
        document = json.loads(parcel[8:end])
        files = {}
        for sha256, size in document["files"]:
            content = parcel[end : end + size]
            if type(size) is not int or len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
                raise ValueError(f"the file {str(sha256)[:12]} has another hash")
            files[sha256] = content
            end += size
        header = document["header"]
        if end != len(parcel) or not isinstance(header, dict):
            raise ValueError("its length or header is wrong")
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise SweepError(f"What a worker sent is refused: {e}.", "Use only workers of your own.") from e
    return header, files


def entry_header(entry: Entry) -> dict[str, Any]:
    """A result as a JSON object, without its files, which `put_entry` reads."""
    names = ("key", "job", "result", "made")
    return {name: getattr(entry, name) for name in names} | {"files": dict(entry.hashes)}


def entry_files(entry: Entry) -> dict[str, Path]:
    """The files of a result by their SHA-256."""
    return {sha256: entry.files[name] for name, sha256 in entry.hashes.items()}


def put_entry(store: Store, header: Mapping[str, Any], files: Mapping[str, bytes], folder: Path) -> Entry:
    """Keep a result that came in a parcel.

    Args:
        store: Where to keep it.
        header: The result, as `entry_header` writes it.
        files: The files of the parcel.
        folder: An empty folder on the disk of the store, to write the files to.

    Raises:
        SweepError: A field is wrong, or a file is missing.
        StoreError: It can't be written.
    """
    from edgepress.toolkit.sweeping.checks import require_sound

    try:
        key = header["key"]
        job = header["job"]
        result = header["result"]
        made = header["made"]
        contents = {str(name): files[sha256] for name, sha256 in header["files"].items()}
        if unknown := header.keys() - {"key", "job", "result", "made", "files"}:
            raise ValueError(f"nobody expects the field {min(unknown)[:40]!r}")
        require_sound(job, result, made, {name: len(content) for name, content in contents.items()})
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as e:
        reason = f"{e} is missing" if isinstance(e, KeyError) else str(e)
        raise SweepError(f"The result of a worker is refused: {reason}.", "Use only workers of your own.") from e
    paths = {}
    for number, (name, content) in enumerate(contents.items()):
        paths[name] = folder / str(number)
        paths[name].write_bytes(content)
    return store.put(key, job, result, made, files=paths)
