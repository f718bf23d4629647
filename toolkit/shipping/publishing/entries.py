"""The entry of a bundle in the list of releases, and the checks before it is one."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tuf.api.metadata import Metadata, Root

from edgepress.runtime.updates.place import ROOT
from edgepress.runtime.updates.releases import MAX_RELEASES, Release, ReleaseList
from edgepress.toolkit.errors import InputError, PublishError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.shipping.bundles.verify import Verified
from edgepress.toolkit.shipping.published.folder import Repository


def describe(verified: Verified, folder: Path, *, channel: str, share: float, wanted: Sequence[str]) -> Release:
    """The entry of a bundle, after checks that boards could install it and go on with updates."""
    m = verified.manifest
    again = f"Build it with: {command_to_build(folder)}"
    if m.format != "zip" or m.release is None:
        raise PublishError(f"{verified.path} has no release number, so boards can't tell what is newer.", again)
    if ROOT not in {file.path for file in m.files}:
        raise PublishError(f"{verified.path} can't update itself, so it would be the last update of its boards.", again)
    chosen = [board for board in wanted if board]
    if lacking := [board for board in chosen if board not in m.boards]:
        has = ", ".join(m.boards)
        raise InputError(f"{verified.path} has no packages for {lacking[0]!r}.", f"It has them for: {has}.")
    target = f"{m.name}/{m.name}-{m.release}-{m.id[:12]}.zip"
    return Release(m.release, m.id, target, tuple(chosen) or m.boards, channel, share)


def check_trust(bundle: Path, name: str, repository: Repository) -> None:
    """Raise a PublishError if a bundle trusts other keys than the folder's.

    A board on which it is the first one knows no later list of trusted keys, so none of its keys may have been
    replaced.
    """
    again = f"Build it with: {command_to_build(repository.folder)}"
    with zipfile.ZipFile(bundle) as archive:
        trusted = archive.read(f"{name}/{ROOT}")
    if hashlib.sha256(trusted).hexdigest() not in repository.record.roots.values():
        raise PublishError(f"{bundle} trusts the keys of another published folder.", again)
    old = Metadata[Root].from_bytes(trusted).signed
    newest = repository.root.signed
    for role, row in old.roles.items():
        if not {*row.keyids} <= {*newest.roles[role].keyids}:
            raise PublishError(f"{bundle} trusts keys of {role} that were replaced since it was built.", again)


def command_to_build(folder: Path) -> str:
    """The command that builds a bundle for a published folder."""
    return shell_line("edgepress", "bundle", "MODEL", "--updates", folder, "--keys", "KEYS")


def with_release(former: ReleaseList, release: Release) -> ReleaseList:
    """A list with one more release, or with another channel, share or boards of one that it has."""
    others = [entry for entry in former.releases if entry.id != release.id]
    withdrawn = [entry for entry in former.releases if entry.id == release.id and entry.withdrawn]
    if withdrawn:
        problem = f"Release {release.release} of {former.name} was withdrawn."
        raise PublishError(problem, "Build the bundle again, with a higher --release.")
    published = any(entry.id == release.id for entry in former.releases)
    for entry in others:
        shared = sorted({*entry.boards} & {*release.boards})
        same_number = entry.release == release.release
        if shared and (same_number or (entry.release > release.release and not published)):
            problem = (
                f"Release {release.release} of {former.name} is not above release {entry.release}, which is published"
            )
            raise PublishError(f"{problem} for {shared[0]}.", f"Build it with --release {entry.release + 1} or higher.")
    if len(others) >= MAX_RELEASES:
        raise PublishError(f"{former.name} has {len(others)} releases; accepted: up to {MAX_RELEASES}.")
    entries = sorted([*others, release], key=lambda entry: (entry.release, entry.boards))
    return dataclasses.replace(former, releases=tuple(entries))
