"""Private keys of a published folder: Ed25519, one PEM file a key, whose name survives a power failure.

    keys/root-5f0c1a2b3c4d5e6f.pem      signs which keys are trusted; belongs on a medium that is not plugged in
    keys/targets-...pem                 signs which bundles there are
    keys/online-...pem                  signs that the lists are the newest; may stay where cron runs `publish renew`

The name holds the first 16 digits of the key's id, so that a key is opened, and a password asked for, only if it is
needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, Key

from edgepress.converters.files import whole_file
from edgepress.toolkit.errors import InputError, PublishError


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk; Windows, which opens no folders, does so by itself."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


ROLES = ("root", "targets", "online")
"""Roles of keys; "online" signs TUF's snapshot and timestamp."""
PASSWORD = "EDGEPRESS_KEY_PASSWORD"
"""Variable of the environment with the password of encrypted keys."""
ID_DIGITS = 16
"""Digits of a key's id in the name of its file."""
MAX_KEY_BYTES = 1 << 14
"""Limit on the size of a key's file."""

AskPassword = Callable[[str], str]
"""Asks for the password of the file that the text names."""


def make_key(folder: Path, role: str, password: str | None = None) -> Key:
    """Make a private key, write it into a folder and return its public key.

    Args:
        folder: The folder; created if it does not exist.
        role: Name in `ROLES`.
        password: Encrypt the file with it; None: do not encrypt.

    Raises:
        InputError: The file can't be written.
    """
    private = Ed25519PrivateKey.generate()
    public = CryptoSigner(private).public_key
    encryption: KeySerializationEncryption = NoEncryption()
    if password is not None:
        encryption = BestAvailableEncryption(password.encode())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    with whole_file(key_path(folder, role, public.keyid)) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
    flush_folder(folder)  # before a root names the key
    return public


def key_path(folder: Path, role: str, keyid: str) -> Path:
    """The file of a key."""
    return folder / f"{role}-{keyid[:ID_DIGITS]}.pem"


def find_signers(
    folders: Sequence[Path], keyids: Iterable[str], threshold: int, *, role: str, ask: AskPassword | None = None
) -> list[CryptoSigner]:
    """Open the private keys of a role that are in some folders.

    Args:
        folders: Where to look.
        keyids: Ids of the role's keys.
        threshold: How many are needed at least.
        role: Name in `ROLES`, for the names of files.
        ask: Asks for a password; None: only `EDGEPRESS_KEY_PASSWORD` is used.

    Raises:
        InputError: A file can't be read, or its password is wrong.
        PublishError: There are fewer keys than needed.
    """
    expected = list(keyids)
    present = [path for keyid in expected for folder in folders if (path := key_path(folder, role, keyid)).is_file()]
    unique = list({path.name: path for path in present}.values())
    if len(unique) < threshold:
        names = ", ".join(key_path(Path(), role, keyid).name for keyid in expected)
        where = ", ".join(map(str, folders)) or "no folder"
        problem = f"{len(unique)} keys of the role {role} were found in {where}; needed: {threshold} of {names}."
        raise PublishError(problem, "Name the folder of the keys with --keys; it may be given several times.")
    signers = [_open_key(path, ask) for path in unique]
    for path, signer in zip(unique, signers, strict=True):
        if signer.public_key.keyid not in expected:
            raise InputError(f"The key {path} is not the one that its name says.", "Copy it again from your backup.")
    return signers


def _open_key(path: Path, ask: AskPassword | None) -> CryptoSigner:
    with path.open("rb") as file:
        pem = file.read(MAX_KEY_BYTES)
    password = None
    if b"ENCRYPTED" in pem:
        password = (ask(path.name) if ask else "") or os.environ.get(PASSWORD)
        if not password:
            raise InputError(f"The key {path} is encrypted.", f"Set {PASSWORD}, or run this in a terminal.")
    try:
        private = load_pem_private_key(pem, password.encode() if password else None)
    except ValueError as e:
        problem = "The password is wrong, or the file is damaged" if password else "The file is damaged"
        raise InputError(
            f"The key {path} can't be opened. {problem}.", "Try again, or copy it from your backup."
        ) from e
    if not isinstance(private, Ed25519PrivateKey):
        raise InputError(f"The key {path} is of another kind than Ed25519.", "Make one with edgepress publish init.")
    return CryptoSigner(private)
