"""What is known of a tar shard: the file as it was, and where each of its images lies, with its hash and label."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.data.splits import Ints
from edgepress.toolkit.errors import DataError


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
