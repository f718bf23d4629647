"""Which release a board takes: what is offered to it, what it refused, and what its user left."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from records import assert_frozen

from edgepress.runtime.updates import releases
from edgepress.runtime.updates.confirm import read_left
from edgepress.runtime.updates.place import Place
from edgepress.runtime.updates.releases import MAX_RELEASE, Release, ReleaseList, offered, position
from edgepress.runtime.updates.state import State
from edgepress.runtime.updates.update import choose


def release(number: int, **fields: object) -> Release:
    plain = Release(number, f"{number:064x}", f"demo/demo-{number}.zip", ("pi64-py313",))
    return dataclasses.replace(plain, **fields)  # type: ignore[arg-type]


def numbers(releases: list[Release], channel: str = "stable", board: str = "pi64-py313") -> list[int]:
    return [each.release for each in offered(releases, board=board, channel=channel, board_id="a")]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An installation of release 3."""
    folder = tmp_path / "releases" / "three"
    folder.mkdir(parents=True)
    return Place(tmp_path, folder, "demo", "", 3, f"{3:064x}", "pi64-py313")


def leave(place: Place, number: int) -> None:
    """Make a release the former one of that in use."""
    former = place.prefix / "releases" / "other"
    former.mkdir()
    (former / "MANIFEST.json").write_text(json.dumps({"release": number, "id": "b" * 64}))
    (place.release_folder / "former").symlink_to(former)


def test_the_newest_is_first_and_withdrawn_beta_and_others_boards_releases_are_not_there() -> None:
    releases = [
        release(1),
        release(4, withdrawn=True),
        release(2),
        release(3, channel="beta"),
        release(5, boards=("pc64-py313",)),
    ]
    assert numbers(releases) == [2, 1]
    assert numbers(releases, "beta") == [3, 2, 1]
    assert numbers(releases, board="pc64-py313") == [5]
    assert numbers(releases, board="pi32-py313") == []


def test_a_share_takes_the_boards_whose_position_is_below_it() -> None:
    one = release(7)
    place = position(one.id, "a")
    assert 0 < place < 1
    assert numbers([dataclasses.replace(one, share=place + 1e-9)]) == [7]
    assert numbers([dataclasses.replace(one, share=place)]) == []


def test_each_release_begins_with_other_boards() -> None:
    first = {f"{board}" for board in range(400) if position(release(1).id, f"{board}") < 0.25}
    second = {f"{board}" for board in range(400) if position(release(2).id, f"{board}") < 0.25}
    assert 60 < len(first) < 140
    assert 5 < len(first & second) < 55


def test_only_what_is_above_the_release_in_use_is_installed(place: Place) -> None:
    assert choose(place, State(), [release(4), release(3), release(2)]) == release(4)
    assert choose(place, State(), [release(3), release(2)]) is None
    assert choose(place, State(), []) is None


def test_a_refused_release_is_not_tried_again_and_the_next_one_is(place: Place) -> None:
    state = State(refused={release(5).id: "its self-test failed"})
    assert choose(place, state, [release(5), release(4)]) == release(4)
    assert choose(place, state, [release(5)]) is None


def test_what_the_user_left_does_not_come_back_and_a_newer_one_does(place: Place) -> None:
    leave(place, 5)
    left = read_left(place)
    assert choose(place, State(), [release(5), release(4)], left=left) is None
    assert choose(place, State(), [release(6), release(5)], left=left) == release(6)
    assert choose(place, State(), [release(5), release(4)], left=None) == release(5), "as run update --forward"


def test_an_older_former_release_changes_nothing(place: Place) -> None:
    leave(place, 2)
    assert read_left(place) is None


def test_the_longest_list_is_within_its_limit_and_records_are_frozen() -> None:
    many = tuple(dataclasses.replace(release(1), release=MAX_RELEASE - n) for n in range(releases.MAX_RELEASES))
    assert len(ReleaseList("demo", "2026-11-28T16:00:00Z", many).to_bytes()) < releases.MAX_LIST_BYTES
    assert_frozen(releases, by_position=frozenset({"Release", "ReleaseList"}))


def test_numbers_of_releases_reach_a_thousand_million() -> None:
    assert MAX_RELEASE == 999_999_999
