"""What a user has left by hand: what counts as that, until when, and how it is told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgepress.runtime.updates.confirm import LEFT, command_forward, read_left
from edgepress.runtime.updates.place import Place
from edgepress.runtime.updates.shown import status_lines, update_lines

DAY = "2026-11-30T08:00:00Z"


def id_of(release: int) -> str:
    return f"{release:064x}"


def folder_of(prefix: Path, release: int) -> Path:
    folder = prefix / "releases" / str(release)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MANIFEST.json").write_text(json.dumps({"release": release, "id": id_of(release)}))
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An installation in which release 3 is in use."""
    return Place(tmp_path, folder_of(tmp_path, 3), "demo", "", 3, id_of(3), "pi64-py313")


def record(place: Place, release: int, release_id: str = "", by: str = "rollback", at: str = DAY) -> None:
    fields = {"release": release, "id": release_id or id_of(release), "at": at, "by": by}
    (place.prefix / LEFT).write_text(json.dumps(fields))


@pytest.mark.parametrize(("by", "why"), [("rollback", "install.sh rollback"), ("install", "an older release")])
def test_what_was_left_is_told_with_when_and_why(place: Place, by: str, why: str) -> None:
    record(place, 5, by=by)
    left = read_left(place)
    assert left is not None
    assert (left.release, left.id, left.at) == (5, id_of(5), DAY)
    assert why in left.why


@pytest.mark.parametrize(
    ("release", "release_id", "counts"),
    [(4, "", True), (3, "f" * 64, True), (3, "", False), (2, "", False), (4, id_of(3), False)],
)
def test_it_counts_until_it_or_a_higher_one_is_in_use(
    place: Place, release: int, release_id: str, *, counts: bool
) -> None:
    record(place, release, release_id)
    assert (read_left(place) is not None) == counts


@pytest.mark.parametrize("former", [2, 3, 4, None])
@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", '{"release": "x"}', '{"release": 4, "id": "5", "at": 1, "by": 2}']
)
def test_without_a_record_the_link_to_a_higher_former_release_has_to_do(
    place: Place, text: str | None, former: int | None
) -> None:
    if text is not None:
        (place.prefix / LEFT).write_text(text)
    link = place.release_folder / "former"
    if former is not None:
        link.symlink_to(folder_of(place.prefix, former))
        os.utime(link, (86400, 86400), follow_symlinks=False)
    left = read_left(place)
    assert (left and (left.release, left.at)) == ((4, "1970-01-02T00:00:00Z") if former == 4 else None)


def test_a_former_release_that_is_not_there_is_nothing(place: Place) -> None:
    (place.release_folder / "former").symlink_to("../9")
    assert read_left(place) is None


def test_the_command_that_goes_forward_is_one_line_to_copy(place: Place) -> None:
    run = place.prefix / "current" / "run"
    assert command_forward(place, "") == f"{run} update --forward"
    assert command_forward(place, "/media/my stick") == f"{run} update --from '/media/my stick' --forward"


def test_the_lines_say_what_was_rolled_back_when_why_and_how_to_take_it_again() -> None:
    left = {"release": 5, "id": id_of(5), "at": DAY, "why": "by hand", "forward": "current/run update --forward"}
    result = {"result": "nothing new", "release": 3, "newest": 5, "refused": {}, "left": left}
    for said in ("release 5", DAY, "by hand", "current/run update --forward"):
        assert said in update_lines(result)[1]
    back = {"release": 4, "id": id_of(4), "at": DAY, "why": "Its service failed.", "by": "updater", "forward": None}
    status = {"name": "demo", "release": 3, "id": id_of(3), "board": "b", "channel": "stable", "previous": None}
    status |= {
        "source": None,
        "checked": None,
        "shadow": None,
        "note": None,
        "refused": {},
        "last": {},
        "updating": None,
    }
    lines = status_lines(status | {"rolled_back": [left | {"by": "hand"}, back]})
    assert [line for line in lines if line.startswith("Rolled back: release 5")]
    (line,) = [line for line in lines if line.startswith("Rolled back: release 4")]
    assert DAY in line
    assert "Its service failed." in line
    assert "--forward" not in line
