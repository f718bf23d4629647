"""Files of a published folder, which others may write: bounded, regular, and reached by no link."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tuf.api.metadata import TargetFile

MOST_BYTES = 8 << 20
"""Bytes of a list in a published folder at most; boards accept less."""
_PIECE = 1 << 20


def path_below(folder: Path, name: str) -> Path:
    """The path of a file of a published folder.

    Args:
        folder: The folder, which may be a link itself.
        name: Name of the file below it, with slashes.

    Raises:
        ValueError: The name leads out of the folder.
        OSError: A folder on the way, or the file, is a link.
    """
    path = folder
    for part in name.split("/"):
        if part in ("", ".", "..") or "\\" in part or "\0" in part:
            raise ValueError(f"the name {name!r} leads out of the folder")
        path /= part
        if path.is_symlink():
            raise OSError(errno.ELOOP, "it is a link, and links in a published folder are not followed", str(path))
    return path


def open_below(folder: Path, name: str, most: int = MOST_BYTES) -> BinaryIO:
    """Open a regular file of a published folder.

    Args:
        folder: The folder.
        name: Name of the file below it, with slashes.
        most: Its bytes at most.

    Raises:
        ValueError: The name leads out of the folder, or the file has more bytes.
        OSError: It can't be opened, is not a regular file, or is reached by a link.
    """
    path = path_below(folder, name)
    options = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not stat.S_ISREG(path.lstat().st_mode):  # to open a device may do something
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    file = os.fdopen(os.open(path, os.O_RDONLY | options), "rb")
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size <= most:
        return file
    file.close()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    raise ValueError(f"{path.name} has more than {most} bytes")


def read_below(folder: Path, name: str, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file of a published folder; arguments and errors are those of `open_below`."""
    with open_below(folder, name, most) as file:
        content = file.read(most + 1)
    if len(content) > most:  # it has grown meanwhile
        raise ValueError(f"{name.rpartition('/')[2]} has more than {most} bytes")
    return content


def target_name(target: TargetFile) -> str:
    """Name below a published folder of a target: behind its hash, as in TUF's consistent snapshots."""
    parent, _, name = target.path.rpartition("/")
    return f"targets/{parent}/{target.hashes['sha256']}.{name}"


def target_pieces(folder: Path, target: TargetFile) -> Iterator[bytes]:
    """The content of a target, a mebibyte at a time; the last piece comes only if the whole is what was signed.

    Raises:
        ValueError: It is something else.
        OSError: It can't be read, or is not a regular file.
    """
    digest = hashlib.sha256()
    left = target.length
    with open_below(folder, target_name(target), target.length) as file:
        while piece := file.read(min(_PIECE, left)):
            left -= len(piece)
            digest.update(piece)
            if not left and digest.hexdigest() != target.hashes["sha256"]:
                break
            yield piece
    if left or digest.hexdigest() != target.hashes["sha256"]:
        raise ValueError("its hash is another one")
