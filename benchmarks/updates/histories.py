"""Compare random histories of a publisher and a board with a small model of the states that they may be in.

    python benchmarks/updates/histories.py [--histories 10000]

A history is a random order of: publish a release (sound or with a failing self-test, for one channel), move one to the
stable channel, withdraw one, renew, replace keys, update, update from an old copy of the folder, roll back by hand,
take what was left again, and cuts: of an update, and of a call of the publisher, at a random one of the steps that
change something. After each step, the release in use must be the one that the model says; after a cut, the one before
or the one after, complete, and the next update must go on. Hypothesis' state machines make the histories and shorten
one that differs.

The publisher, the updater and TUF's client are real. install.sh is replaced by the same steps in Python, so that a
history takes a fraction of a second; `power_cuts.py` kills the real one.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

import cut_steps
from cut_steps import CUTS, MAX_RELEASES, CutError, copy_template, id_of, listed_in
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from simulated import complete, make_bundle

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.updates import state, update
from edgepress.runtime.updates.place import read_place
from edgepress.toolkit.shipping.publishing import publish as publishing
from edgepress.toolkit.shipping.publishing import start

NOW = "2026-12-01T12:00:00Z"
"""When releases are left by hand."""
MAX_CUT = 40
"""Cuts are at one of so many steps, or behind the last one."""
CUT_CALLS = st.sampled_from([*[None] * 10, *range(10)])
"""Whether a call of the publisher is cut, and at which step."""
SETTINGS: Any = {"stateful_step_count": 20, "deadline": None, "database": None, "suppress_health_check": [*HealthCheck]}
"""Settings of hypothesis: steps of a history at most, however long they take, and nothing is kept."""

PART = 500
"""Histories that hypothesis makes together. It expects that those which begin alike have the same steps to choose from,
and stops with `FlakyStrategyDefinition` if not, which once happened among thousands."""


class Histories(RuleBasedStateMachine):
    """A publisher, a board and the model of both.

    Attributes:
        listed: What is published: channel, whether it was withdrawn, and whether it fails, by number.
        running: The release in use.
        former: The release before it; None if there is none.
        left: The highest release that was left by hand and not taken again; 0 if there is none.
        refused: Releases that failed on this board.
        old: Copies of the published folder.
        bundles: The bundle of each release, as it was published.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = copy_template()
        self.site = self.folder / "publisher" / "site"
        self.keys = self.folder / "publisher" / "keys"
        self.prefix = self.folder / "prefix"
        self.listed: dict[int, tuple[str, bool, bool]] = {1: ("stable", False, False)}
        self.running = 1
        self.former: int | None = None
        self.left = 0
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
            self.bundles[release] = cut_steps.BUNDLES[release, broken]
            if (version := len([*self.site.glob("metadata/*.root.json")])) > 1:
                out = self.folder / f"{release}-{broken}-{version}.zip"
                self.bundles[release] = make_bundle(out, release, site=self.site, keys=self.keys, broken=broken)
        return self.bundles[release]

    def expected(self, *, forward: bool = False) -> int | None:
        """The release that the next update tries."""
        above = self.running if forward else max(self.running, self.left)
        good = [
            release
            for release, (channel, withdrawn, _) in self.listed.items()
            if channel == "stable" and not withdrawn and release > above and release not in self.refused
        ]
        return max(good, default=None)

    def now_runs(self, release: int) -> None:
        """The model takes a release that was switched to."""
        self.former, self.running = self.running, release
        self.left = 0 if self.left == release else self.left

    def look(self, source: Path, **options: Any) -> str:
        """Update from a folder, or from what the options say."""
        options = options if "bundle" in options else options | {"source": str(source)}
        try:
            return str(update.update(read_place(self.prefix / "current"), **options)["result"])
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
            seen = listed_in(self.site)
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
        self.look(copy)
        if (running := self.actual()) != self.running:
            assert running > max(self.running, self.left)
            assert running not in self.refused
            assert not self.listed[running][2]
            self.now_runs(running)
        self.take_refused()

    @rule()
    def update(self) -> None:
        """Update."""
        self.require(self.expected(), self.look(self.site))

    def require(self, wanted: int | None, said: str) -> None:
        """What an update said must fit to the release that it had to try; None: none."""
        if wanted is None:
            assert said == "nothing new", said
        elif self.listed[wanted][2]:
            assert "self-test fails" in said, said
            self.refused.add(wanted)
        else:
            assert said == "installed", said
            self.now_runs(wanted)

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
            self.now_runs(running)
        self.take_refused()

    def take_refused(self) -> None:
        """What the board has refused must have failed; a cut may have come before it was written down."""
        reasons = state.read_state(self.prefix / "updates").refused
        bundles = [*((number, path) for (number, _), path in cut_steps.BUNDLES.items()), *self.bundles.items()]
        ids = {id_of(path): number for number, path in bundles}
        refused = {ids[each] for each in reasons}
        assert self.refused <= refused
        assert all(self.listed[number][2] for number in refused)
        self.refused = refused

    @precondition(lambda self: self.former is not None)
    @rule()
    def roll_back(self) -> None:
        """Go back by hand."""
        cut_steps.roll_back(self.prefix, NOW)
        left, forward = self.running, (self.former or 0) > self.running
        self.now_runs(self.former or 0)
        self.left = self.left if forward else max(self.left, left)
        if not forward:
            rows = update.status(read_place(self.prefix / "current"))["rolled_back"]
            assert [(row["release"], row["at"]) for row in rows if row["by"] == "hand"] == [(self.left, NOW)]
        self.update()  # what was left does not come back

    @precondition(lambda self: self.left)
    @rule(lost=st.booleans(), by_bundle=st.booleans())
    def go_forward(self, lost: bool, by_bundle: bool) -> None:
        """Take what was left again, perhaps without the state: by its bundle, or from the published folder."""
        if lost:
            (self.prefix / "updates" / "state.json").unlink(missing_ok=True)
            self.refused = set()
        if by_bundle and self.left in self.bundles and self.left > self.running:
            self.require(self.left, self.look(self.site, bundle=self.bundles[self.left]))
        else:
            self.require(self.expected(forward=True), self.look(self.site, forward=True))

    @invariant()
    def what_runs_is_complete(self) -> None:
        """The release of the model runs, and is complete."""
        folder = (self.prefix / "current").resolve()
        assert complete(folder)
        assert self.actual() == self.running


def check(histories: int, folder: Path, *, phases: Sequence[Phase] = tuple(Phase), derandomize: bool = False) -> None:
    """Make histories, and raise if one differs from the model.

    Args:
        histories: Their number.
        folder: An empty folder.
        phases: What hypothesis does: by default, it also shortens a history that differs.
        derandomize: Whether the histories are the same each time.
    """
    cut_steps.prepare(folder)
    with cut_steps.counted():
        for done in range(0, histories, PART):
            count = min(PART, histories - done)
            limits = settings(max_examples=count, phases=phases, derandomize=derandomize, **SETTINGS)
            run_state_machine_as_test(Histories, settings=limits)
            print(f"{done + count} of {histories} histories", file=sys.stderr, flush=True)


def main() -> None:
    """Make as many histories as were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=10_000, help="number of histories")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=cut_steps.MEMORY if cut_steps.MEMORY.is_dir() else None) as folder:
        check(arguments.histories, Path(folder))
    print(f"{arguments.histories} histories, none differs from the model")


if __name__ == "__main__":
    main()
