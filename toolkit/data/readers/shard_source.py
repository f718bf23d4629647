"""Images in tar shards, found by an index, read and decoded when they are asked for."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.image import Pixels, load_image, peek
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data.decoding import in_threads, load_bytes
from edgepress.toolkit.data.splits import Ints
from edgepress.toolkit.errors import DataError, InputError


@dataclass(frozen=True)
class Shard:
    """A shard as it was when it was indexed.

    Attributes:
        path: Its path.
        size: Its size, bytes.
        changed: Its time of change, ns.
    """

    path: str
    size: int
    changed: int

    @classmethod
    def of(cls, path: str) -> Shard:
        """The shard at a path, as it is now.

        Raises:
            DataError: It does not exist.
        """
        try:
            status = os.stat(path)
        except OSError as e:
            raise DataError(f"The shard {path} can't be read: {e.strerror}.", "Check the path.") from e
        return cls(path, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Index:
    """The items of a shard, in the order in which they lie in it.

    Attributes:
        offset: First byte of each image in the shard, int64, shape (N,).
        length: Size of each image, bytes, int64, shape (N,).
        label: Label of each item, an index into `labels`; -1 for none. int64, shape (N,).
        hashes: SHA-256 of each image, as hexadecimal, shape (N,).
        labels: The distinct labels, as they are written in the shard.
        sizes: Number of images by height, width and whether they are grey.
        problems: What can't be used: the name of a member, or "" for the shard as a whole, and the reason.
    """

    offset: Ints
    length: Ints
    label: Ints
    hashes: npt.NDArray[np.bytes_]
    labels: tuple[str, ...]
    sizes: tuple[tuple[int, int, bool, int], ...]
    problems: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.offset)

    def to_bytes(self) -> bytes:
        """The index as an `.npz`."""
        about = json.dumps([self.labels, self.sizes, self.problems]).encode()
        file = io.BytesIO()
        names = ("offset", "length", "label", "hashes")
        np.savez(file, about=np.frombuffer(about, np.uint8), **{name: getattr(self, name) for name in names})
        return file.getvalue()

    @classmethod
    def from_file(cls, path: Path) -> Index | None:
        """An index that was kept; None if there is none, or it is damaged."""
        try:
            with np.load(path, allow_pickle=False) as found:
                arrays = {name: found[name] for name in ("offset", "length", "label", "hashes")}
                labels, sizes, problems = json.loads(found["about"].tobytes())
            return cls(**arrays, labels=(*labels,), sizes=(*map(tuple, sizes),), problems=(*map(tuple, problems),))
        except Exception:  # whatever a damaged file makes of NumPy's reader: the index is made again
            return None


MOST_SLOW_PIXELS = 1 << 20
"""Pixels of a Netpbm image that Pillow decodes in Python, about two seconds: text, or other values than bytes."""
PNM_SUFFIXES = frozenset({".ppm", ".pgm", ".pbm", ".pnm"})
"""Lower-case suffixes of Netpbm images, which are common in shards because they need no decoder."""


def image_bytes_loaded(image: bytes, spec: InputSpec) -> Pixels:
    """Decode the bytes of an image of any format that a shard may hold; see `load_image`.

    Raises:
        InputError: They can't be decoded.
    """
    if image[:1] != b"P":
        return load_bytes(image, spec)
    return load_image(_netpbm(image), spec)


def image_size(image: bytes) -> tuple[int, int, bool]:
    """Height and width, upright, and whether an image is grey.

    Raises:
        InputError: It can't be read.
    """
    if image[:1] == b"P":
        opened = _netpbm(image)
        return opened.height, opened.width, opened.mode in ("1", "L", "I")
    height, width, color = peek(image)
    return height, width, color == "grey"


def _netpbm(image: bytes) -> Any:
    from PIL import Image

    try:
        opened = Image.open(io.BytesIO(image), formats=("PPM",))
        pixels = opened.width * opened.height
        if pixels > MOST_SLOW_PIXELS and any(tile[0] != "raw" for tile in opened.tile):
            raise ValueError(f"it has {pixels} pixels that are not plain bytes; accepted: up to {MOST_SLOW_PIXELS}")
        return opened
    except Exception as e:  # as `load_image`, whose formats are those that a board decodes
        raise InputError(f"The image of {len(image)} bytes can't be decoded: {e}.", "Replace or remove it.") from e


LARGE_IMAGE = 16 << 10
"""Size of a file, bytes, from which decoding in threads is faster: Pillow decodes small ones holding Python's lock."""
OPEN_FILES = 128
"""Number of shards that a source keeps open."""
FIX = "Replace or remove it, or skip what can't be read with --skip-unreadable."


class ShardSource:
    """Images in tar shards, read and decoded when they are asked for.

    Args:
        shards: The shards.
        shard: Shard of each item, int32, shape (N,).
        offset: First byte of each image in its shard, int64, shape (N,).
        length: Size of each image, bytes, int64, shape (N,).
        spec: The model's input.
    """

    def __init__(self, shards: Sequence[Shard], shard: Any, offset: Ints, length: Ints, spec: InputSpec) -> None:
        self.shards = shards
        self.shard = shard
        self.offset = offset
        self.length = length
        self.spec = spec
        self._open: dict[int, int] = {}
        weakref.finalize(self, _close, self._open)

    def __len__(self) -> int:
        return len(self.offset)

    def read(self, indices: Ints) -> Pixels:
        """The images as one array, uint8, shape (len(indices), *spec.shape).

        Raises:
            DataError: A shard has changed since it was opened, or an image can't be read.
        """
        out = np.empty((len(indices), *self.spec.shape), np.uint8)
        order = np.lexsort((self.offset[indices], self.shard[indices])).tolist()  # as they lie on the disk
        map_items = map if self.length[indices].sum() < LARGE_IMAGE * len(indices) else in_threads
        places = indices[order].tolist()
        for place, pixels in zip(order, map_items(self._item, places), strict=True):
            out[place] = pixels
        return out

    def name(self, index: int) -> str:
        """The shard and the image's name in it."""
        path = self.shards[self.shard[index]].path
        try:
            header = self._bytes(index, int(self.offset[index]) - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE)
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except (DataError, tarfile.TarError):
            return f"{path}: byte {self.offset[index]}"
        return f"{path}: {member.name}"

    def part(self, indices: Ints) -> ShardSource:
        """A source of only these images."""
        return ShardSource(self.shards, self.shard[indices], self.offset[indices], self.length[indices], spec=self.spec)

    def stored_size(self, index: int) -> tuple[int, int] | None:
        """See `Source`."""
        try:
            return image_size(self._bytes(index, int(self.offset[index]), int(self.length[index])))[:2]
        except (DataError, InputError):  # reading it says why, if it is needed
            return None

    def _item(self, index: int) -> Pixels:
        try:
            image = self._bytes(index, int(self.offset[index]), int(self.length[index]))
            return image_bytes_loaded(image, self.spec)
        except InputError as e:
            raise DataError(f"{self.name(index)}: {e.message}", FIX) from e

    def _bytes(self, index: int, offset: int, length: int) -> bytes:
        number = int(self.shard[index])
        file = self._open.get(number)
        if file is not None:
            return self._read(number, file, offset, length)
        file = self._open_shard(number)
        if len(self._open) < OPEN_FILES and self._open.setdefault(number, file) == file:
            return self._read(number, file, offset, length)
        try:
            return self._read(number, file, offset, length)
        finally:
            os.close(file)

    def _open_shard(self, number: int) -> int:
        """Open a shard, and check that it is the one that was indexed."""
        shard = self.shards[number]
        try:
            file = os.open(shard.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as e:
            raise DataError(f"The shard {shard.path} can't be read: {e.strerror}.", "Check that it is there.") from e
        status = os.fstat(file)
        if (status.st_size, status.st_mtime_ns) != (shard.size, shard.changed):
            os.close(file)
            raise DataError(f"The shard {shard.path} has changed since it was opened.", "Start again.")
        return file

    def _read(self, number: int, file: int, offset: int, length: int) -> bytes:
        content = read_at(file, offset, length)
        if len(content) < length:
            raise DataError(f"The shard {self.shards[number].path} has become shorter.", "Start again.")
        return content

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardSource, (self.shards, self.shard, self.offset, self.length, self.spec)


def _close(files: dict[int, int]) -> None:
    for file in files.values():
        os.close(file)


_SEEKING = threading.Lock()


def read_at(file: int, offset: int, length: int) -> bytes:
    """Bytes of an open file, fewer at its end; the position stays where it is, for `tarfile` and other threads."""
    if sys.platform != "win32" and hasattr(os, "pread"):
        return os.pread(file, length, offset)
    with _SEEKING:
        before = os.lseek(file, 0, os.SEEK_CUR)
        try:
            os.lseek(file, offset, os.SEEK_SET)
            return os.read(file, length)
        finally:
            os.lseek(file, before, os.SEEK_SET)
