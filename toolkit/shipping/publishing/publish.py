"""Publish bundles into a folder, withdraw releases, and renew the signatures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from tuf.api.metadata import TargetFile

from edgepress.runtime.updates.releases import CHANNELS, DATE, Release, ReleaseList, date_of, list_target
from edgepress.toolkit.errors import InputError, PublishError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.shipping.bundles.verify import verify
from edgepress.toolkit.shipping.published.files import Keys
from edgepress.toolkit.shipping.published.folder import Repository, read_repository, remember
from edgepress.toolkit.shipping.publishing.entries import check_trust, describe, with_release
from edgepress.toolkit.shipping.publishing.keys import AskPassword
from edgepress.toolkit.shipping.publishing.repository import (
    Signers,
    add_target,
    lock_folder,
    require_written,
    utc_now,
    write_state,
)
from edgepress.toolkit.shipping.publishing.start import role_signers
from edgepress.toolkit.text import SHARE, parse

CLOCK_SLACK = timedelta(minutes=5)
"""How far the clock may be behind the last date of a list, as those of two machines may differ."""
Channel = Literal["stable", "beta"]


@dataclass(frozen=True)
class Published:
    """A published state.

    Attributes:
        folder: The published folder.
        changed: The releases that were published, changed or withdrawn, each with its application's name.
        expires: When each list expires, by role.
    """

    folder: Path
    changed: tuple[tuple[str, Release], ...]
    expires: dict[str, datetime]

    def to_dict(self) -> dict[str, object]:
        """The document that `publish --json` prints."""
        return {
            "folder": str(self.folder),
            "releases": [{"name": name} | dataclasses.asdict(release) for name, release in self.changed],
            "expires": {role: end.isoformat() for role, end in self.expires.items()},
        }


def publish(
    bundles: str | Path | Sequence[str | Path],
    to: str | Path,
    *,
    keys: Keys,
    channel: Channel = "stable",
    share: str | float = 1.0,
    board_type: str | Sequence[str] = (),
    ask: AskPassword | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Published:
    """Publish bundles, or change the channel and the share of bundles that are published already.

    Args:
        bundles: Bundles made with `bundle --updates`; each has a release number above those published for its boards.
        to: The published folder, of `publish init`.
        keys: Folders of the private keys.
        channel: "stable", or "beta" for boards that take releases first.
        share: Share of the boards that takes the releases, above 0 and at most 1, or as "10%".
        board_type: Types of boards, out of those that each bundle has packages for; empty: all of these.
        ask: Asks for the passwords of encrypted keys.
        on_step: Called with a sentence when a step begins.

    Raises:
        InputError: An option is not accepted, or a key can't be opened.
        BundleError: A bundle was changed or damaged.
        PublishError: A bundle can't be updates of this folder, or the folder is damaged.

    Example:
        >>> from edgepress.toolkit import bundle, publish
        >>> from edgepress.toolkit.shipping.publishing.start import init
        >>> begun = init("site", "keys")
        >>> made = bundle("edgepress-demo/variants/model-int8.tflite", "app.zip", updates="site", keys="keys")
        >>> publish("app.zip", "site", keys="keys").changed[0][1].release
        1
    """
    folder = Path(to)
    files = [Path(bundles)] if isinstance(bundles, str | Path) else [Path(each) for each in bundles]
    part = _read_share(share)
    if channel not in CHANNELS:
        raise InputError(f"The channel is {channel!r}; accepted: {', '.join(CHANNELS)}.")
    board_types = [each.strip() for each in board_type.split(",")] if isinstance(board_type, str) else list(board_type)
    step = on_step or (lambda text: None)
    with lock_folder(folder):
        repository, signers = _open(folder, keys, ask)
        lists = dict(repository.releases)
        targets = dict(repository.targets.signed.targets)
        changed: list[tuple[str, Release]] = []
        for file in files:
            step(f"Checking {file}")
            verified = verify(file)
            release = describe(verified, folder, channel=channel, share=part, wanted=board_types)
            name = verified.manifest.name
            former = lists.get(name, ReleaseList(name, ""))
            published = any(entry.id == release.id for entry in former.releases)
            if not published:
                check_trust(file, name, repository)
            lists[name] = with_release(former, release)
            step(f"Copying {file}")
            targets[release.target] = add_target(
                folder, release.target, file, expected=(verified.size_bytes, verified.sha256)
            )
            changed.append((name, release))
        return _write(repository, signers, targets, lists, changed=changed)


def withdraw(name: str, release: int, to: str | Path, *, keys: Keys, ask: AskPassword | None = None) -> Published:
    """Let no board install a release any more; boards that run it keep it until a newer one is published.

    Args:
        name: Name of the application.
        release: Number of the release.
        to: The published folder.
        keys: Folders of the private keys.
        ask: Asks for the passwords of encrypted keys.

    Raises:
        InputError: There is no such release.
        PublishError: Keys are missing, or the folder is damaged.
    """
    folder = Path(to)
    with lock_folder(folder):
        repository, signers = _open(folder, keys, ask)
        lists = dict(repository.releases)
        if name not in lists:
            raise InputError(f"{folder} has no application {name!r}.", f"It has: {', '.join(lists) or 'none'}.")
        entries = lists[name].releases
        if release not in {entry.release for entry in entries}:
            numbers = ", ".join(str(number) for number in sorted({entry.release for entry in entries}))
            raise InputError(f"{name} has no release {release}.", f"It has: {numbers}.")
        after = [dataclasses.replace(e, withdrawn=e.withdrawn or e.release == release) for e in entries]
        lists[name] = dataclasses.replace(lists[name], releases=tuple(after))
        kept = {entry.target for each in lists.values() for entry in each.releases if not entry.withdrawn}
        named = {entry.target for each in lists.values() for entry in each.releases}
        targets = {
            path: target
            for path, target in repository.targets.signed.targets.items()
            if path in kept or path not in named
        }
        changed = [(name, entry) for entry in after if entry.release == release]
        return _write(repository, signers, targets, lists, changed=changed)


def renew(
    to: str | Path,
    *,
    keys: Keys,
    all_lists: bool = False,
    redate: bool = False,
    ask: AskPassword | None = None,
) -> Published:
    """Sign the lists anew, so that boards go on trusting them.

    Args:
        to: The published folder.
        keys: Folders of the private keys.
        all_lists: Sign the list of bundles, too; else the key of the role `online` is enough.
        redate: The same, and give all lists of releases the date of now, after the clock was ahead.
        ask: Asks for the passwords of encrypted keys.

    Raises:
        PublishError: Keys are missing, or the folder is damaged.
    """
    folder = Path(to)
    with lock_folder(folder):
        if redate:
            repository, signers = _open(folder, keys, ask)
            lists = {name: dataclasses.replace(each, dated="") for name, each in repository.releases.items()}
            files = repository.targets.signed.targets
            return _write(repository, signers, files, lists, written=[*lists])
        if all_lists:
            repository, signers = _open(folder, keys, ask)
            return _write(repository, signers, repository.targets.signed.targets, {})
        repository = read_repository(folder, keys)
        remember(repository)
        online = role_signers(repository, "online", ask)
        return _describe_published(write_state(repository, Signers((), online), now=utc_now()), [])


def _read_share(share: str | float) -> float:
    """A share as a number above 0 and at most 1."""
    part = parse("--share", share, SHARE)
    if part is None or part > 1:
        raise InputError(f"--share is {share}; accepted: above 0, and at most 100%.")
    return part


def _open(folder: Path, keys: Keys, ask: AskPassword | None) -> tuple[Repository, Signers]:
    """Read a published folder whose list of bundles was written from here, and open the keys of its lists."""
    repository = read_repository(folder, keys)
    require_written(repository)
    remember(repository)
    opened = {role: role_signers(repository, role, ask) for role in ("targets", "online")}
    return repository, Signers(opened["targets"], opened["online"])


def _write(
    repository: Repository,
    signers: Signers,
    targets: Mapping[str, TargetFile],
    lists: Mapping[str, ReleaseList],
    *,
    changed: Sequence[tuple[str, Release]] = (),
    written: Sequence[str] = (),
) -> Published:
    """Write the changed lists of releases, and those of the applications in `written`, and TUF's lists."""
    now = utc_now()
    files = dict(targets)
    for name in {*written, *(name for name, _ in changed)}:
        former = lists[name].dated
        if former and date_of(former) > now + CLOCK_SLACK:  # boards would believe that their own clocks are wrong
            problem = f"The list of {name} is dated {former}, and the clock of this machine says {now.strftime(DATE)}."
            words = ("renew", "--redate", "--to", repository.folder, "--keys", "KEYS")
            redate = shell_line("edgepress", "publish", *words)
            hint = f"Set the clock. If it is right and was ahead before: {redate}"
            raise PublishError(problem, hint)
        date = max(now, date_of(former)) if former else now  # a board refuses a list that is older than one it has seen
        dated = dataclasses.replace(lists[name], dated=date.strftime(DATE))
        files[list_target(name)] = add_target(repository.folder, list_target(name), dated.to_bytes())
    return _describe_published(write_state(repository, signers, files=files, now=now), changed)


def _describe_published(repository: Repository, changed: Sequence[tuple[str, Release]]) -> Published:
    expires = {role: signed.expires for role, signed in repository.lists().items()}
    return Published(repository.folder, tuple(changed), expires)
