"""Install a bundle on many boards over ssh, some at a time, and stop after too many failures.

    edgepress board fleet boards.txt digits-2.zip --jobs 16 --max-failures 3

A call that was interrupted is repeated: boards that have the release are left as they are.
"""

from __future__ import annotations

import threading
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from edgepress.runtime.errors import parsing
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.shipping.boards.options import InstallArguments, InstallOptions
from edgepress.toolkit.shipping.boards.push import Pushed, checked_bundle, push_verified
from edgepress.toolkit.shipping.boards.ssh import checked_host
from edgepress.toolkit.shipping.bundles.verify import Verified

JOBS = 8
"""Boards at a time."""
MAX_FAILURES = 1
"""Failed boards after which no further one begins."""
MAX_HOSTS = 10_000
"""Limit on the boards in a file."""
MAX_FILE_BYTES = 1 << 20
"""Limit on the size of the file."""
DONE = ("installed", "up to date")
"""States of boards that have the release."""


@dataclass(frozen=True)
class Fleet:
    """What became of all boards, in the order of the file."""

    bundle: Verified
    boards: tuple[Pushed, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of boards by state."""
        return dict(Counter(board.state for board in self.boards))

    def to_dict(self) -> dict[str, Any]:
        """The document that `board fleet --json` prints."""
        manifest = self.bundle.manifest
        about = {"bundle": str(self.bundle.path), "name": manifest.name, "id": manifest.id, "release": manifest.release}
        return about | {"counts": self.counts, "boards": [board.to_dict() for board in self.boards]}


def fleet(
    hosts: str | Path | Sequence[str],
    bundle: str | Path,
    *,
    jobs: int = JOBS,
    max_failures: int = MAX_FAILURES,
    on_step: Callable[[str], None] | None = None,
    **installing: Unpack[InstallArguments],
) -> Fleet:
    """Install a bundle on many boards.

    Args:
        hosts: A file as `read_hosts` takes it, or the boards, as for ssh.
        bundle: The bundle.
        jobs: Boards at a time.
        max_failures: Failed boards after which no further one begins.
        on_step: Called with a sentence when a step begins, from several threads.

    Raises:
        BundleError, InputError: The bundle, the file or an option can't be used. Errors of boards are in the result.
    """
    if jobs < 1 or max_failures < 1:
        raise InputError(f"There are {jobs} jobs and {max_failures} failures; accepted: 1 or more of each.")
    names = read_hosts(Path(hosts)) if isinstance(hosts, (str, Path)) else [*dict.fromkeys(map(checked_host, hosts))]
    how = InstallOptions(**installing)
    step = on_step or (lambda text: None)
    stopped = threading.Event()
    lock = threading.Lock()
    failures = 0

    def one(verified: Verified, host: str) -> Pushed:
        nonlocal failures
        if stopped.is_set():
            return Pushed(host, "not tried")
        result = push_verified(host, verified, how, step)
        with lock:
            failures += result.state == "failed"
            if failures >= max_failures:
                stopped.set()
        step(f"{host}: {result.state}")
        return result

    with checked_bundle(bundle, how.key) as copy, ThreadPoolExecutor(min(jobs, len(names))) as pool:
        try:
            boards = tuple(pool.map(partial(one, copy), names))
            return Fleet(replace(copy, path=Path(bundle)), boards)
        except BaseException:
            stopped.set()
            raise


def read_hosts(path: Path) -> list[str]:
    """The boards in a file.

    Args:
        path: A text file with one board a line, in which lines and ends of lines that begin with "#" are comments; or,
            if its name ends with .toml, `hosts = ["pi@kitchen", "pi@roof"]`.

    Returns:
        The boards in their order, each once.

    Raises:
        InputError: The file can't be read, or has no board, too many, or something that is none.
    """
    accepted = 'Accepted: one board a line, as for ssh; or a .toml file with hosts = ["pi@kitchen", "pi@roof"].'
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file.", accepted)
    with parsing(path, accepted, failed="can't be read as a list of boards", error=InputError):
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1).decode()
        if len(text) > MAX_FILE_BYTES:
            raise ValueError(f"it has more than {MAX_FILE_BYTES} bytes")
        if path.suffix == ".toml":
            document = tomllib.loads(text)
            if set(document) != {"hosts"} or not isinstance(document["hosts"], list):
                raise ValueError(f"it has {', '.join(document) or 'nothing'}, not hosts alone")
            words = [str(host) for host in document["hosts"]]
        else:
            words = [line.partition("#")[0].strip() for line in text.splitlines()]
    hosts = list(dict.fromkeys(checked_host(word) for word in words if word))
    if not 0 < len(hosts) <= MAX_HOSTS:
        raise InputError(f"{path} has {len(hosts)} boards; accepted: 1 to {MAX_HOSTS}.", accepted)
    return hosts
