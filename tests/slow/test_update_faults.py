"""Updates that are cut anywhere, and random histories: the scripts of benchmarks/updates with few of both."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest
import scripts

from edgepress.runtime.updates import state, watch

sys.path.insert(0, str(scripts.ROOT / "benchmarks" / "updates"))
sys.path.insert(0, str(scripts.ROOT / "benchmarks" / "faults"))
cuts = scripts.script("benchmarks/updates/power_cuts.py")
histories = scripts.script("benchmarks/updates/histories.py")
bad_releases = scripts.script("benchmarks/updates/bad_releases.py")
fleet = scripts.script("benchmarks/updates/fleet.py")
needs_tracing = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in sys.modules["install_kills"].NUMBERS,
    reason="traces system calls",
)


@needs_tracing
@pytest.mark.parametrize("name", cuts.SCENARIOS)
def test_an_update_that_is_killed_leaves_a_whole_release_and_goes_on(name: str, tmp_path: Path) -> None:
    said: list[str] = []
    kills, violations = cuts.cut_all(name, tmp_path, every=17, say=said.append)
    assert kills >= 2
    assert violations == 0, said


@needs_tracing
def test_the_script_notices_a_half_release_and_an_update_that_does_not_go_on(tmp_path: Path) -> None:
    """A check that can't fail shows nothing."""
    bench = cuts.Bench(tmp_path, cuts.SCENARIOS["new release"])
    assert bench.wrong() == []
    bench.restore()
    (bench.board.prefix / "current" / "edgepress" / "runtime" / "__main__.py").write_bytes(b"")
    assert bench.wrong() == ["None runs after the kill"]
    bench.restore()
    (bench.board.prefix / "updates" / "state.json").write_bytes(b"half")
    assert "the next update fails" in bench.wrong()[0]


def test_histories_do_not_differ_from_the_model(tmp_path: Path) -> None:
    histories.check(40, tmp_path)


@pytest.mark.parametrize("mistake", ["old release", "refused release"])
def test_the_model_notices_mistakes(mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(place: object, state: object, releases: list[object], **_: object) -> object:
        """What an updater without the rule would take."""
        others = [r for r in releases if r.release != place.release]  # type: ignore[attr-defined]
        if mistake == "refused release":
            others = [r for r in others if r.release > place.release]  # type: ignore[attr-defined]
        return others[0] if others else None

    monkeypatch.setattr(histories.update, "choose", choose)
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        histories.check(200, tmp_path, phases=[histories.Phase.generate], derandomize=True)
    assert "AssertionError" in repr(caught.value) + str(type(caught.value))


needs_mount = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can mount a disk")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[needs_mount] if bad.disk else []) for name, bad in bad_releases.BAD.items()],
)
def test_no_bad_release_stays(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bad_releases.watch, "LOOK_S", 20.0)
    in_use_s, said, wrong = bad_releases.try_release(name, tmp_path)
    assert wrong == [], said
    assert in_use_s <= bad_releases.PROMISED_S


def test_the_script_notices_a_release_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bad_releases.watch, "WATCH_S", 0.0)
    monkeypatch.setitem(bad_releases.BAD, "hangs", bad_releases.Bad("has not answered for"))
    wrong = bad_releases.try_release("hangs", tmp_path)[2]
    assert "release 2 runs" in wrong


@needs_mount
def test_the_script_notices_a_refusal_that_is_lost_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "RESERVE_ROOM", 1 << 60)  # no disk has so much: there is no reserve
    wrong = bad_releases.try_release("answers differently on a full disk", tmp_path)[2]
    assert "it is not refused for good" in wrong


def test_the_script_notices_a_release_that_is_blamed_for_a_flood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    come_back = watch._return
    monkeypatch.setattr(watch, "_return", lambda *where: come_back(*where) and False)
    assert "it is refused for good" in bad_releases.try_release("is flooded", tmp_path)[2]


def test_a_fleet_follows_the_share(tmp_path: Path) -> None:
    figures = [fleet.measure(count, "50%", tmp_path / str(count)) for count in (2, 20)]
    assert [each.wrong for each in figures] == [(), ()]
    # The id of a release is random, and so is who is in its share: all or none of 20 boards once in 500,000 releases.
    assert 0 < figures[1].in_share < 20
    assert fleet.grows_otherwise(figures) == []
