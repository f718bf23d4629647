"""The Update Framework's client, with its refusals in words.

tuf's `ngclient.Updater` follows the client workflow of TUF 1.0: root, timestamp, snapshot, targets, each signed by a
threshold of keys, each newer than the last one that this board has accepted, none expired. Here is what it does not do:

- The clock. A board without a battery for its clock may believe in the past, in which nothing has expired. So a check
  needs a clock that is not before the last complete check, nor before the date of the signed list of releases.
- The order of lists. Their dates may not fall, even where a rotation of keys lets TUF's versions begin anew.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tuf.api import exceptions
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater, UpdaterConfig

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.updates.place import Place
from edgepress.runtime.updates.releases import MAX_LIST_BYTES, ReleaseList, date_of, list_target, parse_list
from edgepress.runtime.updates.roots import read_root, read_trust, remember_roots
from edgepress.runtime.updates.state import State, write_durably
from edgepress.runtime.updates.transfer import UpdateSource, download

LIMITS = UpdaterConfig(
    max_root_rotations=64,
    max_delegations=1,
    root_max_length=1 << 18,
    timestamp_max_length=1 << 14,
    snapshot_max_length=1 << 16,
    targets_max_length=1 << 22,
)
"""Limits on the bytes of TUF's lists, and on new roots a check; folders of `edgepress publish` delegate nothing."""
MAX_BUNDLE_BYTES = 1 << 30
"""Limit on the size of a bundle."""
CLOCK_SLACK = timedelta(minutes=5)
"""How far the clock may be set back, as time servers do."""
OTHER_FILE = "arbitrary software, wrong software or extraneous dependencies"
"""What a bundle may be that has another hash than the signed one."""
MISSING = (403, 404, 410)
"""Answers of a web server that lacks a file."""
ASK_MAKER = "Check the address, or ask whoever publishes these updates; the release in use goes on."
"""Hint of refusals."""
REFUSALS: tuple[tuple[type[Exception], str, str], ...] = (
    (
        exceptions.UnsignedMetadataError,
        "arbitrary software",
        "too few of the keys that this board trusts have signed it",
    ),
    (exceptions.BadVersionNumberError, "rollback", "it is older than what this board has accepted before"),
    (
        exceptions.ExpiredMetadataError,
        "indefinite freeze",
        "its signature has expired, or the clock of this board is wrong",
    ),
    (exceptions.DownloadLengthMismatchError, "endless data", "it has more bytes than announced"),
    (exceptions.SlowRetrievalError, "slow retrieval", "it arrives too slowly"),
    (exceptions.DownloadHTTPError, "malicious mirror", "a file is missing, although signed lists name it"),
    (exceptions.DownloadError, "", "it can't be fetched"),
    (exceptions.RepositoryError, "malicious mirror", "it is not in TUF's format"),
)
"""What tuf raises, the attack of TUF's specification (1.5.2) that it stops, and a sentence."""


def utc_now() -> datetime:
    """The time of this board's clock."""
    return datetime.now(UTC)


class Trusted:
    """What a published folder offers, as far as this board trusts it.

    Attributes:
        releases: The list of the application's releases.
        state: The updater's state, with the trusted keys that this check has seen.
    """

    def __init__(self, place: Place, source: UpdateSource, state: State) -> None:
        """Fetch and check the lists.

        Raises:
            UpdateError: They are refused; the message says why.
        """
        self._source = source
        now = utc_now()
        _check_clock(now, state.checked, "the last check")
        state = read_trust(place, state)
        root = read_root(place, state)
        metadata = place.updates / "metadata"
        keep_lists(metadata)
        clock = f" The clock says {now:%Y-%m-%d %H:%M} UTC."
        with in_words("The list of updates", clock, source):
            self._updater = Updater(
                str(metadata), f"{source.base}/metadata", fetcher=source, config=LIMITS, bootstrap=root
            )
            try:
                self._updater.refresh()
            finally:  # a new root counts, whatever happens to the other lists
                self.state = remember_roots(place, state, root)
            path = list_target(place.name)
            target = self._updater.get_targetinfo(path)
        if target is None or target.length > MAX_LIST_BYTES:
            problem = (
                f"{source.base} has no releases of {place.name}"
                if target is None
                else "The list of releases is too long"
            )
            raise UpdateError(f"{problem}.", ASK_MAKER)
        self.releases = self._read_list(target, place)
        dated = date_of(self.releases.dated)
        _check_clock(now, self.releases.dated, "the signature of the list of releases")
        if state.listed and dated < date_of(state.listed):
            problem = f"The list of releases is of {self.releases.dated}; this board has seen one of {state.listed}."
            raise UpdateError(f"Refused (rollback): {problem}", ASK_MAKER)

    def _read_list(self, target: TargetFile, place: Place) -> ReleaseList:
        """The list of releases, from what is kept if it is the same."""
        kept = place.updates / "releases.json"
        with contextlib.suppress(OSError, exceptions.LengthOrHashMismatchError):
            with open_regular(kept, MAX_LIST_BYTES) as file:
                data = file.read()
            target.verify_length_and_hashes(data)
            return parse_list(data, place.name)
        with in_words("The list of releases"):
            data = self._source.download_bytes(self._url(target), target.length)
            target.verify_length_and_hashes(data)
        releases = parse_list(data, place.name)
        write_durably(kept, data)
        return releases

    def fetch_bundle(self, name: str, folder: Path) -> Path:
        """Download a bundle into a folder, and check it; parts of other bundles are removed.

        Raises:
            UpdateError: It is refused, or can't be fetched.
        """
        with in_words("The bundle"):
            target = self._updater.get_targetinfo(name)
        if target is None:
            raise UpdateError(f"Refused (wrong software): the signed lists have no bundle {name}.", ASK_MAKER)
        if target.length > MAX_BUNDLE_BYTES:
            problem = f"The bundle {name} has {target.length} bytes; accepted: up to {MAX_BUNDLE_BYTES}."
            raise UpdateError(problem, ASK_MAKER)
        path = folder / f"{target.hashes['sha256']}.zip"
        for other in folder.glob("*.zip"):
            if other != path:
                other.unlink()
        with in_words("The bundle"):
            download(self._source, self._url(target), target, path)
        return path

    def _url(self, target: TargetFile) -> str:
        parent, _, name = target.path.rpartition("/")
        return f"{self._source.base}/targets/{parent}/{target.hashes['sha256']}.{name}"


@contextlib.contextmanager
def in_words(what: str, more: str = "", source: UpdateSource | None = None) -> Iterator[None]:
    """Turn what tuf raises into an error that names the attack.

    Args:
        what: What is refused; the message begins with it.
        more: A sentence that is added where a signature has expired.
        source: Where the lists come from; without a timestamp, which no signed list names, it is no published folder.
    """
    try:
        yield
    except exceptions.LengthOrHashMismatchError as e:
        attack = "mix-and-match"
        why = "it does not belong to the other lists"
        if what == "The bundle":
            attack = OTHER_FILE
            why = "it is not the file that was signed"
        raise UpdateError(f"Refused ({attack}): {what} was not accepted: {why} ({e}).", ASK_MAKER) from e
    except (exceptions.RepositoryError, exceptions.DownloadError) as e:
        attack, why = next((attack, why) for kind, attack, why in REFUSALS if isinstance(e, kind))
        if isinstance(e, exceptions.DownloadHTTPError) and e.status_code not in MISSING:
            attack = ""
        elif isinstance(e, exceptions.DownloadHTTPError) and source and source.missing.endswith("/timestamp.json"):
            raise UpdateError(f"There is no published folder at {source.base} ({e}).", "Check the address.") from e
        added = more if isinstance(e, exceptions.ExpiredMetadataError) else ""
        cause = e.__cause__ if type(e) is exceptions.DownloadError and e.__cause__ else e
        detail = f" ({cause})" if str(cause) else ""
        if not attack:
            raise UpdateError(f"{what} can't be fetched{detail}.", "Check the network and the address.") from e
        raise UpdateError(f"Refused ({attack}): {what} was not accepted: {why}{detail}.{added}", ASK_MAKER) from e


def keep_lists(metadata: Path) -> None:
    """Make the folder of tuf's lists, and remove all else in it.

    That is what killed runs of tuf left, and what a damaged disk has made: lists are fetched again, but tuf would wait
    for a pipe for ever, and fail each time where a folder has the name of a file.
    """
    history = metadata / "root_history"
    for folder in (metadata, history):
        if folder.is_symlink() or not folder.is_dir():
            folder.unlink(missing_ok=True)
    metadata.mkdir(parents=True, exist_ok=True)
    for path in [*metadata.iterdir(), *history.glob("*")]:
        if path.is_dir() and path != history and not path.is_symlink():
            shutil.rmtree(path)
        elif path != history and (path.name.startswith("tmp") or not path.is_file()):
            path.unlink()


def _check_clock(now: datetime, earliest: str, what: str) -> None:
    """Raise if the clock is before a date that must lie in the past."""
    ahead = " and was ahead before: run update --trust-clock"
    if what != "the last check":
        ahead = ", the publisher's was ahead: ask whoever publishes these updates (edgepress publish renew --redate)."
    if earliest and now < date_of(earliest) - CLOCK_SLACK:
        raise UpdateError(
            f"Refused (clock): the clock of this board says {now:%Y-%m-%d %H:%M} UTC, but {what} was at {earliest}.",
            f"Set the clock (timedatectl set-ntp true). If it is right{ahead}",
        )
