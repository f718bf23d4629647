"""The one byte form that a bundle's zip has: written here, and nothing else is accepted.

A zip says most things twice (in each member's own header and in the directory at its end), has fields that nobody
reads, and lets readers differ about what is inside. So a bundle uses almost nothing of the format: members are stored
one after the other without gaps, each header follows from name, size and checksum, all have one date, the directory
follows, and nothing stands before, between or behind. `read_archive` builds each header anew from these and compares
bytes, so that any other file is refused, also one that every unzip would take for the same.

Members are stored, not deflated: the bytes then do not depend on the version of zlib, nothing can be a decompression
bomb, and what makes a bundle large, wheels and quantized weights, hardly shrinks. Format: PKWARE APPNOTE 6.3.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from edgepress.toolkit.errors import BundleError

MAX_MEMBERS = 2000
MAX_BYTES = (1 << 32) - 1
"""Of the whole file; beyond, a zip needs fields that a bundle does not have."""
MAX_NAME = 240
EXECUTABLES = ("install.sh", "run")
"""Members in the top folder that are programs."""

_LOCAL, _CENTRAL, _END = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s4H2IH")
_VERSION, _UNIX = 20, 3 << 8
_PIECE = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")


class Member(NamedTuple):
    """A member: its name, size in bytes, CRC-32, and where its data begin."""

    name: str
    size: int
    crc: int
    offset: int


class Archive(NamedTuple):
    """A zip of the one form; `date` is that of all members, as MS-DOS writes it: (date << 16) | time."""

    members: Mapping[str, Member]
    date: int


def write_archive(path: Path, folder: Path, names: list[str], *, date: int) -> None:
    """Write files of a folder, by name and in this order, as a zip of the one form.

    Raises:
        BundleError: It would be too large, or a name can't stand in a bundle.
    """
    members: list[Member] = []
    with path.open("wb") as out:
        for name in names:
            source, crc, size = folder / name, 0, 0
            with source.open("rb") as file:
                while piece := file.read(_PIECE):
                    crc, size = zlib.crc32(piece, crc), size + len(piece)
                member = Member(name, size, crc, out.tell() + _LOCAL.size + len(name))
                if member.offset + size > MAX_BYTES:
                    raise BundleError(f"The bundle is larger than {MAX_BYTES} bytes.", "Bring wheels for fewer boards.")
                out.write(_local_header(member, date))
                file.seek(0)
                while piece := file.read(_PIECE):
                    out.write(piece)
            members.append(member)
        _check_names([m.name for m in members])
        out.write(_directory(members, date, out.tell()))


def read_archive(file: BinaryIO) -> Archive:
    """The members of a zip of the one form; their data are not read.

    Raises:
        BundleError: It is anything else; the message says what.
    """
    size = file.seek(0, 2)
    if size > MAX_BYTES:
        raise BundleError(f"It has {size} bytes; a bundle has at most {MAX_BYTES}.")
    end = _read(file, max(0, size - _END.size), _END.size)
    if len(end) < _END.size or end[:4] != b"PK\x05\x06":
        raise BundleError("It does not end as a bundle does: it is cut off, continued, or not a bundle.")
    _, _, _, _, count, length, start, _ = _END.unpack(end)
    if count > MAX_MEMBERS or length > MAX_MEMBERS * (_CENTRAL.size + MAX_NAME):
        raise BundleError(f"It claims {count} members in a directory of {length} bytes; at most {MAX_MEMBERS} may be.")
    if start + length + _END.size != size:
        raise BundleError("There are data before or behind the zip's own, or its directory is elsewhere.")
    directory = _read(file, start, length + _END.size)
    members, date = _parse(directory, count)
    _check_names([m.name for m in members])
    at = 0
    for member in members:
        header = _local_header(member, date)
        if member.offset != at + len(header):
            raise BundleError(f"The member {member.name} is not where the one before it ends.")
        if _read(file, at, len(header)) != header:
            raise BundleError(f"The member {member.name}'s own header differs from what the directory says of it.")
        at = member.offset + member.size
    if at != start:
        raise BundleError("There are data between the last member and the directory.")
    if _directory(members, date, start) != directory:
        raise BundleError("The directory has fields that a bundle's does not have.")
    return Archive({m.name: m for m in members}, date)


def pieces(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """A member's data, a mebibyte at a time."""
    for offset in range(0, member.size, _PIECE):
        yield _read(file, member.offset + offset, min(_PIECE, member.size - offset))


def _parse(directory: bytes, count: int) -> tuple[list[Member], int]:
    """What the directory says, with the commonest ways to be something else told by name."""
    members, at, date = [], 0, 0
    for _ in range(count):
        if len(directory) < at + _CENTRAL.size + _END.size or directory[at : at + 4] != b"PK\x01\x02":
            raise BundleError("Its directory is damaged.")
        fields = _CENTRAL.unpack_from(directory, at)
        flags, method, crc, packed, size = fields[3], fields[4], *fields[7:10]
        length, attributes, header = fields[10], fields[15], fields[16]
        raw = directory[at + _CENTRAL.size : at + _CENTRAL.size + length]
        name = raw.decode("ascii", errors="replace")
        date = date or fields[6] << 16 | fields[5]
        if flags & 1:
            raise BundleError(f"The member {name!r} is encrypted.")
        if method != 0:
            raise BundleError(f"The member {name!r} is compressed (method {method}); a bundle's members are stored.")
        if packed != size:
            raise BundleError(f"The member {name!r} has two sizes, {packed} and {size} bytes.")
        if attributes >> 28 not in (0, 0o10):
            raise BundleError(f"The member {name!r} is not a file but a link or a device.")
        members.append(Member(name, size, crc, header + _LOCAL.size + length))
        at += _CENTRAL.size + length + fields[11] + fields[12]
    return members, date


def _check_names(names: list[str]) -> None:
    for name in names:
        if len(name) > MAX_NAME or not _NAME.fullmatch(name):
            raise BundleError(f"The name {name!r} can't be a member's: it may lead out of the folder.")
    seen: set[str] = set()
    for name in names:
        folded = name.casefold()
        if folded in seen:
            raise BundleError(f"The name {name!r} is there twice, perhaps in other letters.")
        seen.add(folded)
    for name in names:
        if any(str(parent).casefold() in seen for parent in Path(name).parents):
            raise BundleError(f"The name {name!r} makes a folder of another member.")


def _local_header(member: Member, date: int) -> bytes:
    sizes = (member.crc, member.size, member.size, len(member.name), 0)
    return _LOCAL.pack(b"PK\x03\x04", _VERSION, 0, 0, date & 0xFFFF, date >> 16, *sizes) + _encoded(member)


def _directory(members: list[Member], date: int, start: int) -> bytes:
    entries = b""
    for m in members:
        program = m.name.rpartition("/")[2] in EXECUTABLES and m.name.count("/") <= 1
        mode = (0o100755 if program else 0o100644) << 16
        header = m.offset - _LOCAL.size - len(m.name)
        entries += _CENTRAL.pack(
            *(b"PK\x01\x02", _UNIX | _VERSION, _VERSION, 0, 0, date & 0xFFFF, date >> 16),
            *(m.crc, m.size, m.size, len(m.name), 0, 0, 0, 0, mode, header),
        ) + _encoded(m)
    return entries + _END.pack(b"PK\x05\x06", 0, 0, len(members), len(members), len(entries), start, 0)


def _encoded(member: Member) -> bytes:
    return member.name.encode("ascii", errors="replace")


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
