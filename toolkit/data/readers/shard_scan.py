"""Tar shards read once, from the first header to the last; their indices are kept in the user's cache folder.

Every image in it is decoded once. Nothing is ever extracted to disk: a name in the archive is only a name. The library
`webdataset` groups members to items.

The layout is that of WebDataset (Aizman, Maltby, Breuel 2019, "High Performance I/O For Large Scale Deep Learning"):
neighbouring members whose names are equal up to the first dot make an item.

Indices of tar shards, kept in the user's cache folder under the shard's path, size and time of change.

Opening the same shards again reads none of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgepress.converters.files import write_bytes
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.image import IMAGE_SUFFIXES
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data.readers.shard_source import (
    PNM_SUFFIXES,
    Index,
    Shard,
    image_bytes_loaded,
    image_size,
    read_at,
)
from edgepress.toolkit.documents import default_cache
from edgepress.toolkit.errors import EdgepressError, InputError

MAX_IMAGE_BYTES = 256 << 20
"""Largest image file in a shard, bytes."""
MAX_LABEL_BYTES = 64 << 10
"""Largest image, and largest `.cls` or `.json`, that is read into memory."""
MAX_HEADER_BYTES = 1 << 20
"""Largest header of a member: one of a long name has a few hundred bytes."""
LONG_NUMBER = re.compile(rb"[0-9]{256}")
"""What no header has: Python before 3.11.10 takes the square of its length to read it (CVE-2024-6232)."""
MAX_PROBLEMS = 1000
"""Number of unreadable members of a shard that are listed."""
SIDE = 96
"""Height and width to decode to where only an error is of interest."""


class _Bounded:
    """A file for `tarfile` that refuses to read much at once: it reads a header whole, however large it says it is."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.tell = file.tell
        self.seek = file.seek
        self.close = file.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        header = self.file.read(size)
        if LONG_NUMBER.search(header):
            raise tarfile.ReadError("a header with a number of more than 255 digits")
        return header


@dataclass
class Scan:
    """Reads a shard once and collects its items.

    Attributes:
        path: The shard.
        columns: "offset", "length" and "label" of each item, as in `shard_index.Index`.
        hashes: SHA-256 of each image, 64 hexadecimal digits an item.
        labels: The number of each distinct label, in the order in which they were found.
        sizes: Number of images by height, width and whether they are grey.
        problems: What can't be used, and why.
        keys: Short hashes of the names of items, for those that are there twice.
    """

    path: str
    columns: dict[str, array[int]] = field(
        default_factory=lambda: {"offset": array("q"), "length": array("q"), "label": array("q")}
    )
    hashes: bytearray = field(default_factory=bytearray)
    labels: dict[str, int] = field(default_factory=dict)
    sizes: Counter[tuple[int, int, bool]] = field(default_factory=Counter)
    problems: list[tuple[str, str]] = field(default_factory=list)
    keys: set[bytes] = field(default_factory=set)

    def index(self) -> Index:
        """The items of the shard, in the order in which they lie in it."""
        from webdataset.tariterators import group_by_keys

        with open_regular(self.path) as file:
            for item in group_by_keys(self._members(file), handler=self._duplicate):
                self._item(file, item)
        return Index(
            **{name: np.array(column, np.int64) for name, column in self.columns.items()},
            hashes=np.frombuffer(bytes(self.hashes), "S64"),
            labels=(*self.labels,),
            sizes=(*((*size, count) for size, count in self.sizes.items()),),
            problems=(*self.problems,),
        )

    def _problem(self, name: str, reason: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append((name, reason))

    def _duplicate(self, error: Exception) -> bool:
        """Handles what `group_by_keys` raises: a name that is there twice. The first member of the name is used."""
        self._problem(str(error.args[0]).partition(": duplicate")[0], "is in the shard twice")
        return True

    def _members(self, file: IO[bytes]) -> Iterator[dict[str, Any]]:
        """The regular members as `webdataset` groups them, with their place in the file instead of their content."""
        try:
            with tarfile.open(fileobj=_Bounded(file), mode="r:") as archive:  # type: ignore[call-overload]
                last = -1
                for member in archive:
                    archive.members = []  # else it keeps all
                    if member.offset_data <= last or member.size < 0:
                        raise tarfile.ReadError(f"{member.name} has a size that can't be")
                    last = member.offset_data
                    reason = _reason_to_refuse(member)
                    if reason:
                        self._problem(member.name, reason)
                    elif member.isreg() and not re.match(r"__[^/]*__($|/)", member.name):  # WebDataset's own members
                        yield {"fname": member.name, "data": (member.offset_data, member.size), "__url__": self.path}
                self._require_end(file, archive.offset)
        except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as e:  # headers of headers
            self._problem("", f"is cut off, damaged, or not a tar file: {e}")

    def _require_end(self, file: IO[bytes], offset: int) -> None:
        """Raise an error unless the archive ends here; `tarfile` takes a damaged header for the end, too."""
        file.seek(offset)
        rest = file.read(MAX_HEADER_BYTES)
        if len(rest) < tarfile.BLOCKSIZE or rest.strip(b"\0"):
            raise tarfile.ReadError(f"no end of the archive at byte {offset}")

    def _item(self, file: IO[bytes], item: dict[str, Any]) -> None:
        key = item["__key__"]
        images = [name for name in item if f".{name}".lower().endswith((*IMAGE_SUFFIXES, *PNM_SUFFIXES))]
        if not images:
            if "cls" in item:
                self._problem(key, f"has no image; accepted: {', '.join(sorted(IMAGE_SUFFIXES | PNM_SUFFIXES))}")
            return
        name = f"{key}.{images[0]}"
        short = hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=8).digest()
        offset, length = item[images[0]]
        try:
            if len(images) > 1:
                raise InputError(f"has {len(images)} images ({', '.join(images)}); accepted: one")
            if short in self.keys:
                raise InputError("is in the shard twice, with other items between")
            if length > MAX_IMAGE_BYTES:
                raise InputError(f"has {length} bytes; accepted: up to {MAX_IMAGE_BYTES}")
            image = _content(file, offset, length)
            size = image_size(image)
            image_bytes_loaded(image, InputSpec.image(min(size[0], SIDE), min(size[1], SIDE), "rgb"))
            label = _label(file, item)
        except InputError as e:
            self._problem(name, e.message)
            return
        self.keys.add(short)
        self.sizes[size] += 1
        self.hashes += hashlib.sha256(image).hexdigest().encode()
        row = (offset, length, -1 if label is None else self.labels.setdefault(label, len(self.labels)))
        for column, value in zip(self.columns.values(), row, strict=True):
            column.append(value)


def _reason_to_refuse(member: tarfile.TarInfo) -> str:
    """Why a member is not accepted, whatever its content; empty for one that is."""
    if member.issym() or member.islnk():
        return f"is a link to {member.linkname}"
    if member.isdev():
        return "is a device"
    if member.sparse is not None:
        return "is a sparse file"
    if member.name.startswith("/") or ".." in member.name.split("/"):
        return "has a name that leads out of the archive"
    return "" if member.isreg() or member.isdir() else "is neither a file nor a folder"


def _content(file: IO[bytes], offset: int, length: int) -> bytes:
    content = read_at(file.fileno(), offset, length)
    if len(content) < length:
        raise InputError("is cut off")
    return content


def _label(file: IO[bytes], item: dict[str, Any]) -> str | None:
    """The label of an item: that of its `.cls`, else of `label` in its `.json`; None if it has none."""
    member = next((name for name in ("cls", "json") if name in item), None)
    if member is None:
        return None
    offset, length = item[member]
    if length > MAX_LABEL_BYTES:
        raise InputError(f"has a .{member} of {length} bytes; accepted: up to {MAX_LABEL_BYTES}")
    try:
        text = _content(file, offset, length).decode().strip()
        label = text if member == "cls" else json.loads(text).get("label")
    except (ValueError, AttributeError, RecursionError) as e:
        raise InputError(f"has a .{member} that can't be read: {e}") from e
    if label is None and member == "json":
        return None
    if isinstance(label, bool) or not isinstance(label, (str, int)) or not 0 < len(str(label)) <= 200:
        raise InputError(f"has the label {label!r} in its .{member}; accepted: a number from 0, or a name")
    text = str(label)
    return str(int(text)) if text.isascii() and text.isdecimal() else text


FORMAT = 1
"""Increment it when the content of an index, or what is refused, changes."""
CACHE_BYTES = 512 << 20
"""Limit on the indices kept on disk: those of some eight million images."""


def kept_at(shard: Shard) -> Path:
    """Where the index of a shard is kept."""
    import PIL

    key = json.dumps([FORMAT, PIL.__version__, os.path.realpath(shard.path), shard.size, shard.changed])
    return default_cache("shards") / f"{hashlib.sha256(key.encode()).hexdigest()}.npz"


def index_of(shard: Shard) -> Index:
    """The items of a shard, from the cache or from the shard itself.

    Raises:
        PermissionError: The shard may not be read.
    """
    path = kept_at(shard)
    kept = Index.from_file(path)
    if kept is not None:
        with suppress(OSError):
            os.utime(path)
        return kept
    index = Scan(shard.path).index()
    with suppress(EdgepressError, OSError):  # without a cache, the index is made again the next time
        write_bytes(path, index.to_bytes())
        _remove_old(path.parent)
    return index


def _remove_old(cache: Path) -> None:
    """Remove the least recently used indices above `CACHE_BYTES`."""
    left = CACHE_BYTES
    for _, size, path in sorted(((s := p.stat()).st_mtime, s.st_size, p) for p in cache.glob("*.npz"))[::-1]:
        left -= size
        if left < 0:
            path.unlink(missing_ok=True)
