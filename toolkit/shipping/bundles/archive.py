"""A bundle's zip in a single canonical form, any other is rejected, and its signature by OpenSSH beside it.

A zip stores most facts twice (in each member's header and in the directory at its end) and has unused fields, so two
readers may see different contents. A bundle uses a minimal subset: members are stored without gaps, each header
depends only on name, size and checksum, all members have the same date, the directory follows, and there is no other
data. `read_archive` rebuilds each header and compares bytes, so it rejects any file that differs, even if every unzip
would extract the same.

Members are stored, not deflated: the bytes do not depend on the version of zlib, there are no decompression bombs, and
the large members, wheels and quantized weights, hardly compress. Format: PKWARE APPNOTE 6.3.

Sign bundles with OpenSSH, and check signatures: `app.zip.sig` next to `app.zip`.

`ssh-keygen -Y` signs and checks files (OpenSSH 8.1 and newer; format: PROTOCOL.sshsig in its sources). The signature
covers the whole file, so it can be checked before anything is unpacked, on the workstation or the board, by a tool that
is independent of edgepress and the bundle. docs/bundle.md compares alternatives.
"""

from __future__ import annotations

import contextlib
import re
import struct
import subprocess
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from edgepress.converters.process.scratch import ScratchFolder
from edgepress.toolkit.errors import BundleError, InputError

MAX_MEMBERS = 2000
"""Most members of a bundle."""
MAX_BYTES = (1 << 32) - 1
"""Limit on the whole file; a larger zip needs fields that a bundle does not use."""
MAX_NAME = 240
"""Longest name of a member, characters."""
EXECUTABLES = ("install.sh", "run")
"""Members in the top folder that are executable."""

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20
_UNIX = 3 << 8
_PIECE = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")


class Member(NamedTuple):
    """A member: its name, size in bytes, CRC-32, and the offset of its data."""

    name: str
    size: int
    crc: int
    offset: int


class Archive(NamedTuple):
    """A canonical zip; `date` is that of all members, in MS-DOS format: (date << 16) | time."""

    members: Mapping[str, Member]
    date: int


def write_archive(path: Path, folder: Path, names: list[str], *, date: int) -> None:
    """Write the named files of a folder, in this order, as a canonical zip.

    Raises:
        BundleError: It would be too large, or a name is not allowed.
    """
    members: list[Member] = []
    with path.open("wb") as out:
        for name in names:
            source = folder / name
            crc = 0
            size = 0
            with source.open("rb") as file:
                while piece := file.read(_PIECE):
                    crc = zlib.crc32(piece, crc)
                    size = size + len(piece)
                member = Member(name, size, crc, out.tell() + _LOCAL.size + len(name))
                if member.offset + size > MAX_BYTES:
                    raise BundleError(f"The bundle is larger than {MAX_BYTES} bytes.", "Name fewer boards.")
                out.write(_local_header(member, date))
                file.seek(0)
                while piece := file.read(_PIECE):
                    out.write(piece)
            members.append(member)
        _check_names([m.name for m in members])
        out.write(_directory(members, date, out.tell()))


def read_archive(file: BinaryIO) -> Archive:
    """Read the members of a canonical zip, without their data.

    Raises:
        BundleError: The zip is not canonical; the message says why.
    """
    size = file.seek(0, 2)
    if size > MAX_BYTES:
        raise BundleError(f"It has {size} bytes; a bundle has at most {MAX_BYTES}.")
    end = _read(file, max(0, size - _END.size), _END.size)
    if len(end) < _END.size or end[:4] != b"PK\x05\x06":
        raise BundleError("It does not end like a bundle: it is truncated, has data appended, or is not a bundle.")
    _, _, _, _, count, length, start, _ = _END.unpack(end)
    if count > MAX_MEMBERS or length > MAX_MEMBERS * (_CENTRAL.size + MAX_NAME):
        raise BundleError(f"It claims {count} members in {length} bytes; accepted: up to {MAX_MEMBERS} members.")
    if start + length + _END.size != size:
        raise BundleError("There are data before or after the zip, or its directory is misplaced.")
    directory = _read(file, start, length + _END.size)
    members, date = _parse(directory, count)
    _check_names([m.name for m in members])
    at = 0
    for member in members:
        header = _local_header(member, date)
        if member.offset != at + len(header):
            raise BundleError(f"The member {member.name} does not begin at the end of the previous one.")
        if _read(file, at, len(header)) != header:
            raise BundleError(f"The header of the member {member.name} differs from its directory entry.")
        at = member.offset + member.size
    if at != start:
        raise BundleError("There are data between the last member and the directory.")
    if _directory(members, date, start) != directory:
        raise BundleError("The directory has fields that a bundle does not use.")
    return Archive({m.name: m for m in members}, date)


def pieces(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """Read a member's data, a mebibyte at a time."""
    for offset in range(0, member.size, _PIECE):
        yield _read(file, member.offset + offset, min(_PIECE, member.size - offset))


def _parse(directory: bytes, count: int) -> tuple[list[Member], int]:
    """Parse the directory; the most common deviations have their own error messages."""
    members = []
    at = 0
    date = 0
    for _ in range(count):
        if len(directory) < at + _CENTRAL.size + _END.size or directory[at : at + 4] != b"PK\x01\x02":
            raise BundleError("Its directory is damaged.")
        fields = _CENTRAL.unpack_from(directory, at)
        flags, method, crc, packed, size = fields[3], fields[4], *fields[7:10]
        length = fields[10]
        attributes = fields[15]
        header = fields[16]
        raw = directory[at + _CENTRAL.size : at + _CENTRAL.size + length]
        name = raw.decode("ascii", errors="replace")
        date = date or fields[6] << 16 | fields[5]
        if flags & 1:
            raise BundleError(f"The member {name!r} is encrypted.")
        if method != 0:
            raise BundleError(f"The member {name!r} is compressed (method {method}); accepted: stored members only.")
        if packed != size:
            raise BundleError(f"The member {name!r} has two sizes, {packed} and {size} bytes.")
        if attributes >> 28 not in (0, 0o10):
            raise BundleError(f"The member {name!r} is a link or a device, not a file.")
        members.append(Member(name, size, crc, header + _LOCAL.size + length))
        at += _CENTRAL.size + length + fields[11] + fields[12]
    return members, date


def _check_names(names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if len(name) > MAX_NAME or not _NAME.fullmatch(name):
            raise BundleError(f"The name {name!r} is not allowed: it may lead out of the folder.")
        if name.casefold() in seen:
            raise BundleError(f"The name {name!r} occurs twice, or differs only in case.")
        seen.add(name.casefold())
    for name in names:
        if any(str(parent).casefold() in seen for parent in Path(name).parents):
            raise BundleError(f"The name {name!r} uses another member as a folder.")


def _local_header(member: Member, date: int) -> bytes:
    sizes = (member.crc, member.size, member.size, len(member.name), 0)
    return _LOCAL.pack(b"PK\x03\x04", _VERSION, 0, 0, date & 0xFFFF, date >> 16, *sizes) + _encode(member)


def _directory(members: list[Member], date: int, start: int) -> bytes:
    entries = b""
    for m in members:
        program = m.name.rpartition("/")[2] in EXECUTABLES and m.name.count("/") <= 1
        mode = (0o100755 if program else 0o100644) << 16
        header = m.offset - _LOCAL.size - len(m.name)
        entries += _CENTRAL.pack(
            *(b"PK\x01\x02", _UNIX | _VERSION, _VERSION, 0, 0, date & 0xFFFF, date >> 16),
            *(m.crc, m.size, m.size, len(m.name), 0, 0, 0, 0, mode, header),
        ) + _encode(m)
    return entries + _END.pack(b"PK\x05\x06", 0, 0, len(members), len(members), len(entries), start, 0)


def _encode(member: Member) -> bytes:
    return member.name.encode("ascii", errors="replace")


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


NAMESPACE = "edgepress-bundle"
"""Purpose of the signature; signatures for other purposes are rejected."""
SIGNER = "signer"
_PUBLIC_KEY = re.compile(r"(ssh|sk-ssh|ecdsa|sk-ecdsa|rsa)-[\w@.-]+ [A-Za-z0-9+/=]+")


def signature_path(bundle: Path) -> Path:
    """The path of a bundle's signature."""
    return bundle.with_name(bundle.name + ".sig")


def sign(bundle: Path, key: Path) -> bytes:
    """Sign a file; returns the signature as armoured text.

    Args:
        bundle: The file.
        key: An OpenSSH private key (`ssh-keygen -t ed25519`), or the public key if an agent has the private one.

    Raises:
        InputError: The key does not exist, or ssh-keygen is missing.
        BundleError: ssh-keygen could not sign with it.
    """
    if not key.is_file():
        raise InputError(f"The key {key} does not exist.", "Create one: ssh-keygen -t ed25519 -f KEY")
    return _ssh_keygen(bundle, "sign", "-f", str(key), "-n", NAMESPACE)


def check_signature(bundle: Path, signature: Path, key: Path) -> str:
    """Check a signature and return the signer.

    Args:
        bundle: The file.
        signature: Its signature.
        key: A public key (`.pub`), or a file of allowed signers (ssh-keygen(1), ALLOWED SIGNERS).

    Returns:
        The signer's name in the file of allowed signers, or the comment of the public key.

    Raises:
        InputError: The key can't be read, or ssh-keygen is missing.
        BundleError: There is no signature, or it was not made with this key for this file.
    """
    try:
        text = key.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"The key {key} can't be read: {e}.", "Give a public key (.pub) or allowed signers.") from e
    if "PRIVATE KEY" in text:
        raise InputError(f"{key} is a private key.", f"Give the public key: {key}.pub")
    if not signature.is_file():
        raise BundleError(f"{bundle} has no signature: {signature} does not exist.", "Do not install it.")
    name = None
    with ScratchFolder() as folder:
        allowed = key
        if _PUBLIC_KEY.match(text):
            allowed = Path(folder) / "allowed_signers"
            allowed.write_text(f'{SIGNER} namespaces="{NAMESPACE}" {text.strip()}\n', encoding="utf-8")
            name = " ".join(text.split()[2:]) or key.name
        where = ("-f", str(allowed), "-s", str(signature))
        try:
            principals = _ssh_keygen(bundle, "find-principals", *where).decode().splitlines()
            principal = principals[0] if principals else ""
            _ssh_keygen(bundle, "verify", *where, "-I", principal, "-n", NAMESPACE)
        except BundleError as e:
            raise BundleError(f"{bundle} was not signed with a key in {key}: {e.message}", "Do not install it.") from e
    return name or principal


def check_made_for(bundle: Path, signature: Path) -> None:
    """Check that a signature belongs to a file, whoever made it; nothing is checked where ssh-keygen is missing.

    Raises:
        BundleError: It does not.
    """
    with contextlib.suppress(InputError):
        try:
            _ssh_keygen(bundle, "check-novalidate", "-n", NAMESPACE, "-s", str(signature))
        except BundleError as e:
            problem = f"{signature} is not a signature of {bundle} as it is now: {e.message}"
            raise BundleError(problem, f"Do not install it. If you changed it yourself, remove {signature}.") from e


def _ssh_keygen(bundle: Path, action: str, *arguments: str) -> bytes:
    try:
        with bundle.open("rb") as file:
            process = subprocess.run(["ssh-keygen", "-Y", action, *arguments], stdin=file, capture_output=True)
    except FileNotFoundError as e:
        if e.filename != "ssh-keygen":
            raise
        raise InputError("ssh-keygen is not installed.", "Install OpenSSH's client: openssh-client on Debian.") from e
    if process.returncode:
        reason = (process.stderr or process.stdout).decode(errors="replace").strip().splitlines()
        raise BundleError(f"ssh-keygen -Y {action} failed: {reason[-1] if reason else 'no reason given'}")
    return process.stdout
