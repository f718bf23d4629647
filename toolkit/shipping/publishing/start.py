"""Begin a published folder, and replace its keys.

A rotation is valid at every moment: the lists are first signed with the old and the new keys, so that they are trusted
by boards that know either root, and the new root is written last.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from edgepress.runtime.text import holds_login
from edgepress.toolkit.errors import InputError, PublishError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.shipping.published.files import RECORD, Keys, TrustRecord, folders_of, read_record, write_record
from edgepress.toolkit.shipping.published.folder import ABOUT, Repository, read_repository, remember
from edgepress.toolkit.shipping.publishing.keys import ROLES, AskPassword, find_signers, key_path, make_key
from edgepress.toolkit.shipping.publishing.repository import (
    ROOT_DAYS,
    Signers,
    lock_folder,
    require_written,
    sign,
    utc_now,
    write_durably,
    write_root,
    write_state,
)

MAX_KEYS = 10
"""Limit on the number of keys of a role."""
TUF_ROLES = {"root": ("root",), "targets": ("targets",), "online": ("snapshot", "timestamp")}
"""TUF's roles that the keys of a role sign."""


@dataclass(frozen=True)
class Begun:
    """A folder that was begun, or whose keys were replaced.

    Attributes:
        folder: The published folder.
        root_version: Version of the list of trusted keys.
        keys: The new keys' files, by role.
        expires: When the list of trusted keys expires.
    """

    folder: Path
    root_version: int
    keys: dict[str, tuple[Path, ...]]
    expires: datetime

    def to_dict(self) -> dict[str, object]:
        """The document that `publish init --json` prints."""
        return {
            "folder": str(self.folder),
            "root_version": self.root_version,
            "keys": {role: [str(path) for path in paths] for role, paths in self.keys.items()},
            "expires": self.expires.isoformat(),
        }


def init(
    to: str | Path,
    keys: str | Path,
    *,
    url: str = "",
    root_keys: int = 2,
    root_threshold: int = 1,
    targets_keys: int = 1,
    targets_threshold: int = 1,
    password: str | None = None,
) -> Begun:
    """Begin a published folder, and make its keys.

    Args:
        to: The folder; it must not hold one already.
        keys: Folder for the private keys; not below `to`, which is public.
        url: Where boards find the folder: the address of a web server; empty: they are told with --from.
        root_keys: Keys that sign which keys are trusted.
        root_threshold: How many of them must sign.
        targets_keys: Keys that sign which bundles there are.
        targets_threshold: How many of them must sign.
        password: Encrypt the keys with it.

    Raises:
        InputError: A folder or a number is not accepted.
    """
    folder = Path(to)
    key_folder = Path(keys)
    counts = {"root": (root_keys, root_threshold), "targets": (targets_keys, targets_threshold), "online": (1, 1)}
    for role, (count, threshold) in counts.items():
        if not 1 <= threshold <= count <= MAX_KEYS:
            problem = (
                f"{threshold} of {count} keys of the role {role} are to sign; accepted: 1 to all of up to {MAX_KEYS}."
            )
            raise InputError(problem)
    _check_private(key_folder, folder)
    if url and not url.startswith(("https://", "http://")):
        raise InputError(f"The address is {url!r}; accepted: https://... or http://...")
    if holds_login(url):
        raise InputError("The address holds a login, which everybody would read.", "Accepted: https://HOST/...")
    with lock_folder(folder, begin=True):
        return _init(folder, key_folder, counts, url=url, password=password)


def _init(
    folder: Path, key_folder: Path, counts: Mapping[str, tuple[int, int]], *, url: str, password: str | None
) -> Begun:
    """Make the keys and the first state of a folder that is locked."""
    if os.path.lexists(folder / "metadata" / "timestamp.json"):
        replace = shell_line("edgepress", "publish", "rotate", "--role", "ROLE", "--to", folder, "--keys", key_folder)
        raise PublishError(f"{folder} is a published folder already.", f"Replace its keys: {replace}")
    if (key_folder / RECORD).exists() and read_record(folder, [key_folder]).lists:
        problem = f"{key_folder / RECORD} is of another published folder, whose keys are in {key_folder}."
        raise PublishError(problem, "Choose another folder with --keys.")
    now = utc_now()
    root = Root(expires=now + timedelta(days=ROOT_DAYS), consistent_snapshot=True)
    keys_by_role = {role: [make_key(key_folder, role, password) for _ in range(counts[role][0])] for role in ROLES}
    for role, public in keys_by_role.items():
        _trust(root, role, public, counts[role][1])
    signers = {role: _signers(role, public, [key_folder], password) for role, public in keys_by_role.items()}
    write_durably(folder / ABOUT, (json.dumps({"url": url}) + "\n").encode())
    signed = sign(root, signers["root"])
    record = TrustRecord(url, signed.to_bytes(), {1: hashlib.sha256(signed.to_bytes()).hexdigest()})
    write_record(record, [key_folder])  # without lists, the next call may begin anew
    empty = Repository(
        folder,
        (key_folder,),
        record,
        {1: record.root},
        signed,
        Metadata(Targets(1)),
        Metadata(Snapshot(1, meta={"targets.json": MetaFile(1)})),
        Metadata(Timestamp(1, snapshot_meta=MetaFile(1))),
        {},
    )
    write_root(folder, signed)
    write_state(empty, Signers(signers["targets"], signers["online"]), files={}, now=now)  # without it, it is none
    return Begun(folder, root.version, _files(key_folder, keys_by_role), root.expires)


def rotate(
    to: str | Path,
    keys: Keys,
    *,
    role: Literal["root", "targets", "online", "none"],
    lost: bool = False,
    new_keys: str | Path | None = None,
    password: str | None = None,
    ask: AskPassword | None = None,
) -> Begun:
    """Replace all keys of a role, and sign the list of trusted keys anew.

    Args:
        to: The published folder.
        keys: Folders of the private keys: of the root, and, except for `root` and `none`, of the lists.
        role: Whose keys are replaced; "none": the list of trusted keys is only signed for another year.
        lost: Whether the former keys of `targets` or `online` are lost: then boards that see the new root refuse the
            lists until these are signed anew, right after it.
        new_keys: Folder for the new keys; None: the first of `keys`.
        password: Encrypt the new keys with it.
        ask: Asks for the passwords of the keys in use.

    Raises:
        InputError: A folder is not accepted, or a key can't be opened.
        PublishError: Keys are missing, or the folder is damaged.
    """
    folder = Path(to)
    folders = folders_of(keys)
    if not folders:
        raise InputError("No folder of keys was given.", "Name it with --keys.")
    key_folder = Path(new_keys) if new_keys is not None else folders[0]
    _check_private(key_folder, folder)
    with lock_folder(folder):
        # a former call with `lost` may have been cut between the root and the lists
        repository = read_repository(folder, folders, lost=TUF_ROLES[role] if lost and role in TUF_ROLES else ())
        lists = ("targets", "online") if role in ("targets", "online") else ()
        if lists:
            require_written(repository)
        needed = [each for each in ("root", *lists) if not (lost and each == role)]
        opened = {each: role_signers(repository, each, ask) for each in needed}
        repository = dataclasses.replace(repository, keys=(*folders, key_folder))
        remember(repository)
        old = repository.root.signed
        root = Metadata[Root].from_bytes(repository.root.to_bytes()).signed
        now = utc_now()
        root.version += 1
        root.expires = now + timedelta(days=ROOT_DAYS)
        added: list[Key] = []
        if role != "none":
            added = [make_key(key_folder, role, password) for _ in old.roles[TUF_ROLES[role][0]].keyids]
            _replace_keys(root, role, added)
            opened[role] = [*opened.get(role, ()), *_signers(role, added, [key_folder], password)]
        if lost:
            repository = _replace_root(repository, sign(root, opened["root"]))
        if (
            lists
        ):  # signed by old and new keys: trusted by boards that know the old root, and by those that know the new
            signers = Signers(opened["targets"], opened["online"])
            repository = write_state(repository, signers, files=repository.targets.signed.targets, now=now)
        if not lost:
            _replace_root(repository, sign(root, opened["root"]))
    return Begun(folder, root.version, _files(key_folder, {role: added}) if added else {}, root.expires)


def role_signers(repository: Repository, role: str, ask: AskPassword | None) -> list[CryptoSigner]:
    """Open the keys that sign for a role of a published folder."""
    trusted = repository.root.signed.roles[TUF_ROLES[role][0]]
    return find_signers(repository.keys, trusted.keyids, trusted.threshold, role=role, ask=ask)


def _replace_root(repository: Repository, root: Metadata[Root]) -> Repository:
    """Write a new root, and note it beside the keys."""
    write_root(repository.folder, root)
    data = root.to_bytes()
    roots = {**repository.record.roots, root.signed.version: hashlib.sha256(data).hexdigest()}
    after = dataclasses.replace(repository, record=dataclasses.replace(repository.record, root=data, roots=roots))
    remember(after)
    return after


def _trust(root: Root, role: str, public: Sequence[Key], threshold: int) -> None:
    """Let keys sign for a role."""
    for each in TUF_ROLES[role]:
        for key in public:
            root.add_key(key, each)
        root.roles[each].threshold = threshold


def _replace_keys(root: Root, role: str, public: Sequence[Key]) -> None:
    """Let these keys sign for a role, and no others; the threshold stays."""
    for each in TUF_ROLES[role]:
        for keyid in list(root.roles[each].keyids):
            root.revoke_key(keyid, each)
    _trust(root, role, public, root.roles[TUF_ROLES[role][0]].threshold)


def _check_private(keys: Path, folder: Path) -> None:
    """Raise an InputError if keys would be published."""
    if keys.resolve().is_relative_to(folder.resolve()):
        problem = f"The private keys in {keys} would be published with {folder}."
        raise InputError(problem, "Choose a folder for the keys that is not below the published one.")


def _signers(role: str, public: Sequence[Key], folders: Sequence[Path], password: str | None) -> list[CryptoSigner]:
    """Open keys that were just made."""
    return find_signers(folders, [key.keyid for key in public], len(public), role=role, ask=lambda _: password or "")


def _files(folder: Path, keys_of_roles: Mapping[str, Sequence[Key]]) -> dict[str, tuple[Path, ...]]:
    return {role: tuple(key_path(folder, role, key.keyid) for key in keys) for role, keys in keys_of_roles.items()}
