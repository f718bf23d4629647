"""Compare random histories of a publisher and a board with a small model of the states that they may be in.

    python benchmarks/updates/histories.py [--histories 10000]

A history is a random order of: publish a release (sound or with a failing self-test, for one channel), move one to the
stable channel, withdraw one, renew, replace keys, update, update from an old copy of the folder, roll back by hand, and
cuts: of an update, and of a call of the publisher, at a random one of the steps that change something. After each step,
the release in use must be the one that the model says; after a cut, the one before or the one after, complete, and the
next update must go on. Hypothesis' state machines make the histories and shorten one that differs.

The publisher, the updater and TUF's client are real. install.sh is replaced by the same steps in Python, so that a
history takes a fraction of a second; `power_cuts.py` kills the real one.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import unittest.mock
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from simulated import Publisher, complete, make_bundle

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.updates import installer, state, update
from edgepress.runtime.updates.place import Place, read_place
from edgepress.runtime.updates.releases import list_target, parse_list
from edgepress.toolkit.publishing import publish as publishing
from edgepress.toolkit.publishing import start
from edgepress.toolkit.publishing.repository import read_repository, root_paths, target_path

MEMORY = Path("/dev/shm")
"""A folder in memory: there, to flush files to the disk takes no time."""
MAX_CUT = 40
"""Cuts are at one of so many steps, or behind the last one."""
CUT_CALLS = st.sampled_from([*[None] * 10, *range(10)])
"""Whether a call of the publisher is cut, and at which step."""
MAX_RELEASES = 8
"""Releases of a history."""
STEPS = 20
"""Steps of a history at most."""
BUNDLES: dict[tuple[int, bool], Path] = {}
"""Bundles that were made, by number and whether they fail; all publishers of a process have the same keys."""


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
        model, wanted = (release / "model.tflite").read_bytes(), (release / "samples" / "hash").read_text()
        CUTS.step()
        if hashlib.sha256(model).hexdigest() != wanted:
            shutil.rmtree(release)
            raise installer.VerdictError("The self-test fails.")
        (release / "selftest.json").write_text('{"passed": true}')
        return ""
    switch(place.prefix, release)
    return ""


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
    kept = {release.name, former.resolve().name if former.exists() else ""}
    for other in (prefix / "releases").iterdir():
        if other.name not in kept:
            shutil.rmtree(other)


class Histories(RuleBasedStateMachine):
    """A publisher, a board and the model of both.

    Attributes:
        listed: What is published: channel, whether it was withdrawn, and whether it fails, by number.
        running: The release in use.
        former: The release before it; None if there is none.
        refused: Releases that failed on this board.
        old: Copies of the published folder.
        bundles: The bundle of each release, as it was published.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        shutil.copytree(TEMPLATE, self.folder, dirs_exist_ok=True, symlinks=True)
        self.site = self.folder / "publisher" / "site"
        self.keys = self.folder / "publisher" / "keys"
        self.prefix = self.folder / "prefix"
        self.listed: dict[int, tuple[str, bool, bool]] = {1: ("stable", False, False)}
        self.running = 1
        self.former: int | None = None
        self.refused: set[int] = set()
        self.old: list[Path] = []
        self.bundles: dict[int, Path] = {}

    def teardown(self) -> None:
        """Remove the folder."""
        CUTS.left = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def bundle(self, release: int, broken: bool) -> Path:
        """The bundle of a release: as it was published, else one that trusts the newest keys."""
        if release not in self.listed or release not in self.bundles:
            version = len(root_paths(self.site))
            made = BUNDLES[release, broken]
            if version > 1:
                made = self.folder / f"{release}-{broken}-{version}.zip"
                make_bundle(made, release, site=self.site, broken=broken)
            self.bundles[release] = made
        return self.bundles[release]

    def expected(self) -> int | None:
        """The release that the next update tries."""
        above = max(self.running, self.former or 0)
        good = [
            release
            for release, (channel, withdrawn, _) in self.listed.items()
            if channel == "stable" and not withdrawn and release > above and release not in self.refused
        ]
        return max(good, default=None)

    def look(self, source: Path) -> str:
        """Update from a folder."""
        try:
            return str(update.update(read_place(self.prefix / "current"), source=str(source))["result"])
        except UpdateError as e:
            return e.message

    def actual(self) -> int:
        """The release that runs."""
        return read_place(self.prefix / "current").release

    def publisher_call(self, act: Callable[[], Any], after: dict[int, tuple[str, bool, bool]], cut: int | None) -> None:
        """Do a call of the publisher, perhaps cut; the model takes the state before or after it."""
        CUTS.left = cut
        try:
            act()
        except CutError:
            CUTS.left = None
            listed = read_repository(self.site).targets.signed.targets[list_target("demo")]
            found = parse_list(target_path(self.site, listed).read_bytes(), "demo").releases
            seen = {entry.release: (entry.channel, entry.withdrawn) for entry in found}
            for possible in (self.listed, after):
                if seen == {number: row[:2] for number, row in possible.items()}:
                    self.listed = possible
                    return
            raise AssertionError(f"after a cut the folder lists {seen}") from None
        CUTS.left = None
        self.listed = after

    @precondition(lambda self: max(self.listed) < MAX_RELEASES)
    @rule(
        broken=st.sampled_from([False, False, True]),
        channel=st.sampled_from(["stable", "stable", "beta"]),
        cut=CUT_CALLS,
    )
    def publish(self, broken: bool, channel: Any, cut: int | None) -> None:
        """Publish the next release."""
        release = max(self.listed) + 1
        bundle = self.bundle(release, broken)
        after = self.listed | {release: (channel, False, broken)}
        self.publisher_call(lambda: publishing.publish(bundle, self.site, keys=self.keys, channel=channel), after, cut)

    @precondition(lambda self: any(row[:2] == ("beta", False) for row in self.listed.values()))
    @rule(data=st.data())
    def promote(self, data: st.DataObject) -> None:
        """Move a release to the stable channel."""
        release = data.draw(st.sampled_from([n for n, row in self.listed.items() if row[:2] == ("beta", False)]))
        broken = self.listed[release][2]
        publishing.publish(self.bundle(release, broken), self.site, keys=self.keys)
        self.listed = self.listed | {release: ("stable", False, broken)}

    @rule(data=st.data(), cut=CUT_CALLS)
    def withdraw(self, data: st.DataObject, cut: int | None) -> None:
        """Withdraw a release."""
        release = data.draw(st.sampled_from(sorted(self.listed)))
        channel, _, broken = self.listed[release]
        after = self.listed | {release: (channel, True, broken)}
        self.publisher_call(lambda: publishing.withdraw("demo", release, self.site, keys=self.keys), after, cut)

    @rule(role=st.sampled_from(["root", "targets", "online", "none"]), cut=CUT_CALLS)
    def rotate(self, role: Any, cut: int | None) -> None:
        """Replace keys."""
        self.publisher_call(lambda: start.rotate(self.site, [self.keys], role=role), self.listed, cut)

    @rule()
    def renew(self) -> None:
        """Sign the state again."""
        publishing.renew(self.site, keys=self.keys)

    @precondition(lambda self: len(self.old) < 2)
    @rule()
    def keep_copy(self) -> None:
        """Keep a copy of the published folder, as a mirror does that will be out of date."""
        self.old.append(Path(shutil.copytree(self.site, self.folder / f"old {len(self.old)}")))

    @precondition(lambda self: self.old)
    @rule(data=st.data())
    def update_from_copy(self, data: st.DataObject) -> None:
        """Update from an old copy: the board may go forward with it, but never back or to what was refused."""
        copy = data.draw(st.sampled_from(self.old))
        before, former = self.running, self.former
        self.look(copy)
        self.running = self.actual()
        if self.running != before:
            assert self.running > max(before, former or 0)
            assert self.running not in self.refused
            assert not self.listed[self.running][2]
            self.former = before
        self.take_refused()

    @rule()
    def update(self) -> None:
        """Update."""
        wanted = self.expected()
        said = self.look(self.site)
        if wanted is None:
            assert said == "nothing new", said
        elif self.listed[wanted][2]:
            assert "self-test fails" in said, said
            self.refused.add(wanted)
        else:
            assert said == "installed", said
            self.former, self.running = self.running, wanted

    @precondition(lambda self: max(self.listed) < MAX_RELEASES)
    @rule(broken=st.sampled_from([False, False, True]))
    def publish_and_update(self, broken: bool) -> None:
        """Publish a release for all boards, and update: the usual course."""
        release = max(self.listed) + 1
        publishing.publish(self.bundle(release, broken), self.site, keys=self.keys)
        self.listed = self.listed | {release: ("stable", False, broken)}
        self.update()

    @precondition(lambda self: self.expected() is not None)
    @rule()
    def update_to_newer(self) -> None:
        """Update when there is something to install."""
        self.update()

    @precondition(lambda self: max(self.listed) < MAX_RELEASES)
    @rule()
    def withdraw_newest_and_update(self) -> None:
        """Publish a release, withdraw it, and update."""
        release = max(self.listed) + 1
        publishing.publish(self.bundle(release, False), self.site, keys=self.keys)
        publishing.withdraw("demo", release, self.site, keys=self.keys)
        self.listed = self.listed | {release: ("stable", True, False)}
        self.update()

    @rule(cut=st.integers(0, MAX_CUT))
    def cut_update(self, cut: int) -> None:
        """Update, and cut it."""
        wanted = self.expected()
        CUTS.left = cut
        try:
            self.look(self.site)
        except CutError:
            pass
        finally:
            CUTS.left = None
        running = self.actual()
        if running != self.running:
            assert wanted is not None
            assert running == wanted
            assert not self.listed[wanted][2]
            self.former, self.running = self.running, running
        self.take_refused()

    def take_refused(self) -> None:
        """What the board has refused must have failed; a cut may have come before it was written down."""
        reasons = state.read_state(self.prefix / "updates").refused
        bundles = [*((number, path) for (number, _), path in BUNDLES.items()), *self.bundles.items()]
        ids = {json.loads(read_manifest(path))["id"]: number for number, path in bundles}
        refused = {ids[each] for each in reasons}
        assert self.refused <= refused
        assert all(self.listed[number][2] for number in refused)
        self.refused = refused

    @precondition(lambda self: self.former is not None)
    @rule()
    def roll_back(self) -> None:
        """Go back by hand."""
        release = (self.prefix / "current" / "former").resolve()
        switch(self.prefix, release)
        self.running, self.former = self.former or 0, self.running
        self.update()  # what was left does not come back

    @invariant()
    def what_runs_is_complete(self) -> None:
        """The release of the model runs, and is complete."""
        folder = (self.prefix / "current").resolve()
        assert complete(folder)
        assert self.actual() == self.running


TEMPLATE = Path(tempfile.gettempdir()) / "unused"
"""A publisher with release 1 and a board that runs it; set by `prepare`."""


def read_manifest(bundle: Path) -> bytes:
    """The manifest of a bundle."""
    with zipfile.ZipFile(bundle) as archive:
        return archive.read("demo/MANIFEST.json")


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
    publishing.publish(BUNDLES[1, False], publisher.site, keys=publisher.keys)
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


def check(histories: int, folder: Path, *, phases: Sequence[Phase] = tuple(Phase), derandomize: bool = False) -> None:
    """Make histories, and raise if one differs from the model.

    Args:
        histories: Their number.
        folder: An empty folder.
        phases: What hypothesis does: by default, it also shortens a history that differs.
        derandomize: Whether the histories are the same each time.
    """
    prepare(folder)
    limits = settings(
        max_examples=histories,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=phases,
        derandomize=derandomize,
    )
    with counted():
        run_state_machine_as_test(Histories, settings=limits)


def main() -> None:
    """Make as many histories as were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=10_000, help="number of histories")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        check(arguments.histories, Path(folder))
    print(f"{arguments.histories} histories, none differs from the model")


if __name__ == "__main__":
    main()
