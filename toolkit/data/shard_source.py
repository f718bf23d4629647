"""Images in tar shards, read and decoded when they are asked for."""

from __future__ import annotations

import os
import sys
import tarfile
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepress.runtime.image import Pixels
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data.shard_images import image_bytes_loaded, image_size
from edgepress.toolkit.data.shard_index import Shard
from edgepress.toolkit.data.splits import Ints
from edgepress.toolkit.data.threads import in_threads
from edgepress.toolkit.errors import DataError, InputError

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
