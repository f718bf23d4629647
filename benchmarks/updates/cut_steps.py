"""The steps of updates that random histories cut: install.sh in Python, and what each history begins with."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import unittest.mock
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

from simulated import Publisher, complete

from edgepress.runtime.installed import add_report, write_list
from edgepress.runtime.updates import installer, update
from edgepress.runtime.updates.confirm import LEFT
from edgepress.runtime.updates.place import Place, read_release
from edgepress.toolkit.shipping.published.folder import read_repository
from edgepress.toolkit.shipping.publishing.publish import publish

MEMORY = Path("/dev/shm")
"""A folder in memory: there, to flush files to the disk takes no time."""
MAX_RELEASES = 8
"""Releases of a history."""
BUNDLES: dict[tuple[int, bool], Path] = {}
"""Bundles that were made, by number and whether they fail; all publishers of a process have the same keys."""
TEMPLATE = Path(tempfile.gettempdir()) / "unused"
"""A publisher with release 1 and a board that runs it; set by `prepare`."""


class CutError(BaseException):
    """Stands for a power failure; no handler of errors catches it."""


class Cuts:
    """Counts the steps that change something, and cuts at one of them; afterwards each further step is cut, too."""

    def __init__(self) -> None:
        self.left: int | None = None

    def step(self) -> None:
        """Count a step.

        Raises:
            CutError: It is the one to cut at, or a later one.
        """
        if self.left is not None:
            if self.left <= 0:
                raise CutError
            self.left -= 1

    def counting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that counts as a step."""

        def counted(*values: Any, **named: Any) -> Any:
            self.step()
            return function(*values, **named)

        return counted


CUTS = Cuts()


def fake_installer(place: Place, folder: Path, action: str) -> str:
    """What install.sh does, in Python: "stage" installs beside, "switch" replaces the link, "confirm" keeps it."""
    if action == "confirm":
        return ""
    manifest = json.loads((folder / "MANIFEST.json").read_bytes())
    release = place.prefix / "releases" / f"{manifest['id'][:12]}-{place.board}-system"
    if action == "stage":
        if complete(release):
            return ""
        shutil.rmtree(release, ignore_errors=True)
        CUTS.step()
        shutil.copytree(folder, release)
        CUTS.step()
        (release / "interpreter").write_text(sys.executable)
        write_list(release)
        model, wanted = (release / "model.tflite").read_bytes(), (release / "samples" / "hash").read_text()
        CUTS.step()
        if hashlib.sha256(model).hexdigest() != wanted:
            shutil.rmtree(release)
            raise installer.VerdictError("The self-test fails.")
        report = place.prefix / ".selftest"
        report.write_text('{"passed": true}')
        add_report(release, report)
        CUTS.step()
        report.rename(release / "selftest.json")
        return ""
    switch(place.prefix, release)
    return ""


def roll_back(prefix: Path, now: str) -> None:
    """What `install.sh rollback` does: record what is left, and replace the link `current`."""
    current, release = ((prefix / link).resolve() for link in ("current", "current/former"))
    number, recorded = read_release(current)[0], prefix / LEFT
    higher = json.loads(recorded.read_bytes())["release"] if recorded.exists() else 0
    if number >= max(read_release(release)[0], higher):
        fields = {"release": number, "id": read_release(current)[1], "at": now, "by": "rollback"}
        recorded.write_text(json.dumps(fields))
    switch(prefix, release)


def switch(prefix: Path, release: Path) -> None:
    """Replace the link `current`, as install.sh does; the former release has its link already."""
    current = prefix / "current"
    former = release / "former"
    former.unlink(missing_ok=True)
    if current.exists():
        former.symlink_to(Path("..") / current.resolve().name)
    CUTS.step()
    temporary = prefix / ".link"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(Path("releases") / release.name)
    CUTS.step()
    os.rename(temporary, current)
    CUTS.step()
    settle(prefix, release)
    kept = {release.name, former.resolve().name if former.exists() else ""}
    for other in (prefix / "releases").iterdir():
        if other.name not in kept:
            shutil.rmtree(other)


def settle(prefix: Path, release: Path) -> None:
    """Forget that a user has left the release that is in use again, and that it ran before the one before it."""
    back = release / "former" / "former"
    if back.is_symlink() and back.resolve() == release:
        back.unlink()
    recorded = prefix / LEFT
    if recorded.exists() and json.loads(recorded.read_bytes())["id"] == read_release(release)[1]:
        recorded.unlink()


def id_of(bundle: Path) -> str:
    """The id in the manifest of a bundle."""
    with zipfile.ZipFile(bundle) as archive:
        return str(json.loads(archive.read("demo/MANIFEST.json"))["id"])


def listed_in(site: Path) -> dict[int, tuple[str, bool]]:
    """Channel of each published release, and whether it was withdrawn."""
    releases = read_repository(site, site.with_name("keys")).releases["demo"].releases
    return {entry.release: (entry.channel, entry.withdrawn) for entry in releases}


def copy_template() -> Path:
    """A new folder with the publisher and the board that each history begins with."""
    folder = tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None)
    return Path(shutil.copytree(TEMPLATE, folder, dirs_exist_ok=True, symlinks=True))


def prepare(folder: Path) -> None:
    """Make the template and the bundles, and let steps be counted; for the rest of the process."""
    global TEMPLATE
    TEMPLATE = folder / "template"
    publisher = Publisher(TEMPLATE / "publisher")
    for release in range(1, MAX_RELEASES + 1):
        for broken in (False, True):
            made = publisher.bundle(release, broken=broken)
            BUNDLES[release, broken] = folder / made.name
            shutil.move(made, folder / made.name)
    publish(BUNDLES[1, False], publisher.site, keys=publisher.keys)
    prefix = TEMPLATE / "prefix"
    (prefix / "releases").mkdir(parents=True)
    (prefix / "updates").mkdir()
    (prefix / "updates" / "board-id").write_text("board")
    place = Place(prefix, prefix, "demo", "", 0, "", "pc")
    unpacked = folder / "unpacked"
    shutil.unpack_archive(BUNDLES[1, False], unpacked)
    fake_installer(place, unpacked / "demo", "stage")
    fake_installer(place, unpacked / "demo", "switch")


@contextlib.contextmanager
def counted() -> Iterator[None]:
    """Replace install.sh, and count the steps of the publisher and of the updater."""
    steps = [(os, name) for name in ("replace", "fsync", "symlink", "remove")]
    steps += [(shutil, name) for name in ("copyfileobj", "rmtree")]
    with contextlib.ExitStack() as stack:
        stack.enter_context(unittest.mock.patch.object(update, "run_installer", fake_installer))
        for module, name in steps:
            stack.enter_context(unittest.mock.patch.object(module, name, CUTS.counting(getattr(module, name))))
        yield
