"""Install a bundle on one board over ssh, in the order of an update: beside, self-test, shadow run, switch, watch.

    edgepress board push pi@kitchen digits-2.zip

If the release in use there has the updater, its `run update --bundle` does all of it; else the bundle's own install.sh,
which does without the shadow run and the watch. A board that has the release already is left as it is.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Unpack

from edgepress.converters.process.scratch import ScratchFolder
from edgepress.runtime.errors import parsing
from edgepress.toolkit.errors import BoardError, EdgepressError, InputError
from edgepress.toolkit.shipping.boards.options import InstallArguments, InstallOptions
from edgepress.toolkit.shipping.boards.ssh import Connection, checked_host
from edgepress.toolkit.shipping.bundles.verify import Verified, verify

FOLDER = ".cache/edgepress"
"""Where the bundle lies on the board meanwhile, relative to the user's home."""
COPY = "bundle.zip"
"""Its name there."""
UNPACK_S = 900
"""Time limit of unpacking a bundle, seconds."""
INSTALL_S = 2 * 3600
"""Time limit of an installation with its shadow run and its watch, seconds."""
PROBE = """\
prefix=$1
if [ -z "$prefix" ]; then
  prefix=${XDG_DATA_HOME:-$HOME/.local/share}/edgepress/$2
  [ "$(id -u)" != 0 ] || prefix=/opt/edgepress/$2
fi
case $prefix in /*) ;; *) prefix=$(pwd)/$prefix ;; esac
printf '%s\\n' "$prefix"
if [ -e "$prefix/current/edgepress/runtime/updates/watch.py" ]; then echo yes; else echo no; fi
if [ -e "$prefix/current/selftest.json" ]; then cat "$prefix/current/MANIFEST.json"; fi
"""
"""Prints where the application is, whether its updater takes bundles, and the manifest of the release in use."""
State = Literal["installed", "up to date", "failed", "not tried"]


@dataclass(frozen=True)
class Pushed:
    """What became of one board.

    Attributes:
        host: The board.
        state: "installed", "up to date" (it had the release already), "failed" or "not tried".
        before: Number of the release that was in use; 0 if it had none, None if nothing was installed.
        after: Number of the release in use now; None if that is not known.
        seconds: Time that it took.
        error: Why it failed; None if it did not.
    """

    host: str
    state: State
    before: int | None = None
    after: int | None = None
    seconds: float = 0.0
    error: EdgepressError | None = None

    def to_dict(self) -> dict[str, Any]:
        """Its entry in the documents of `board push --json` and `board fleet --json`."""
        fields = asdict(self) | {"error": None if self.error is None else self.error.to_dict()}
        return fields | {"seconds": round(self.seconds, 1)}


@dataclass(frozen=True)
class _Installation:
    """What is installed on a board: the folder, whether it has the updater, number and id of the release in use."""

    prefix: str
    updater: bool
    release: int | None
    id: str


def push(
    host: str,
    bundle: str | Path,
    *,
    on_step: Callable[[str], None] | None = None,
    **installing: Unpack[InstallArguments],
) -> Pushed:
    """Install a bundle on one board.

    Args:
        host: The board, as for ssh.
        bundle: The bundle.
        on_step: Called with a sentence when a step begins.

    Raises:
        BundleError, InputError: The bundle or the host can't be used.
        BoardError: It could not be installed; the release in use goes on.
    """
    how = InstallOptions(**installing)
    with checked_bundle(bundle, how.key) as verified:
        result = push_verified(host, verified, how, on_step or (lambda text: None))
    if result.error is not None:
        raise result.error
    return result


@contextlib.contextmanager
def checked_bundle(bundle: str | Path, key: str | Path | None = None) -> Iterator[Verified]:
    """A private copy of a bundle that can be installed, after its verification; what others write changes nothing."""
    installed = verify(bundle, key=key)  # so that errors name this file
    if installed.manifest.format != "zip":
        raise InputError(f"{bundle} is a {installed.manifest.format}; boards install bundles of the format zip.")
    with ScratchFolder("push-") as folder:
        copy = Path(folder) / installed.path.name
        shutil.copyfile(installed.path, copy)
        if installed.signature is not None:
            shutil.copyfile(installed.signature, copy.with_name(installed.signature.name))
        yield verify(copy, key=key)


def push_verified(host: str, bundle: Verified, how: InstallOptions, on_step: Callable[[str], None]) -> Pushed:
    """Install a verified bundle on one board; errors of the board are in the result."""
    checked_host(host)
    began_s = time.monotonic()
    before: int | None = None
    try:
        on_step(f"{host}: connecting")
        with Connection(host, config=how.ssh_config) as board:
            installed = _read_installation(board, bundle.manifest.name, how)
            before = installed.release
            if installed.id == bundle.manifest.id:
                return Pushed(host, "up to date", before, before, time.monotonic() - began_s)
            _install(board, bundle, installed, how, on_step)
            after = _read_installation(board, bundle.manifest.name, how)
            if after.id != bundle.manifest.id:
                raise BoardError(f"{host} runs another release than the one that was installed.", "Look at run status.")
            return Pushed(host, "installed", before, after.release, time.monotonic() - began_s)
    except (EdgepressError, OSError) as error:
        e = error if isinstance(error, EdgepressError) else BoardError(f"{host} can't be served: {error}")
        return Pushed(host, "failed", before, None, time.monotonic() - began_s, e)


def _read_installation(board: Connection, name: str, how: InstallOptions) -> _Installation:
    """What is installed on a board."""
    text = board.run([*_root(how), "sh", "-c", PROBE, "sh", how.prefix, name]).decode(errors="replace")
    with parsing(f"What {board.host} says of {name}", "", failed="is damaged", error=BoardError):
        prefix, updater, manifest = text.split("\n", 2)
        if not manifest.strip():
            return _Installation(prefix, False, None, "")
        fields = json.loads(manifest)
        return _Installation(prefix, updater == "yes", int(fields.get("release") or 0), str(fields["id"]))


def _install(
    board: Connection, bundle: Verified, installed: _Installation, how: InstallOptions, on_step: Callable[[str], None]
) -> None:
    """Copy a bundle to a board and install it there."""
    name = bundle.manifest.name
    release = bundle.manifest.release
    trust = ["--trust-keys", how.trust_keys] if how.trust_keys else []
    folder = f"{FOLDER}/push-{bundle.manifest.id[:12]}"
    try:
        on_step(f"{board.host}: copying {bundle.path.name}")
        board.send(bundle.path, folder, COPY)
        # an updater of an earlier edgepress does not know --trust-keys; the bundle's own install.sh does
        if installed.updater and release is not None and not trust:
            on_step(f"{board.host}: installing release {release}, with its tests")
            shadow = [] if how.shadow is None else ["--shadow", str(how.shadow)]
            command = ["sh", f"{installed.prefix}/current/run", "update", "--bundle", COPY, *shadow, *trust]
            board.run([*_root(how), *command], folder=folder, timeout_s=INSTALL_S)
            return
        on_step(f"{board.host}: installing {name} {bundle.manifest.id[:12]}")
        board.run([how.python or "python3", "-m", "zipfile", "-e", COPY, "."], folder=folder, timeout_s=UNPACK_S)
        options = ["--prefix", installed.prefix, *(["--python", how.python, "--system"] if how.python else []), *trust]
        action = "install" if installed.release is None else "update"
        board.run([*_root(how), "sh", f"{name}/install.sh", action, *options], folder=folder, timeout_s=INSTALL_S)
    finally:
        with contextlib.suppress(BoardError):  # an error of the installation tells more
            board.run(["rm", "-rf", "--", folder])


def _root(how: InstallOptions) -> list[str]:
    """The beginning of commands that change the installation."""
    return ["sudo", "-n"] if how.sudo else []
