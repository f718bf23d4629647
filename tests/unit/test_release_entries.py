"""Which entries a list of releases takes: numbers rise on every board, and what was withdrawn stays so."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.runtime.updates.place import ROOT
from edgepress.runtime.updates.releases import Release, ReleaseList
from edgepress.toolkit.errors import InputError, PublishError
from edgepress.toolkit.shipping.publishing import entries as module
from edgepress.toolkit.shipping.publishing.entries import describe, with_release

PI = "pi64-py313"
PC = "pc64-py313"
releases = st.builds(
    Release,
    st.integers(1, 4),
    st.sampled_from(["a" * 64, "b" * 64, "c" * 64]),
    st.just("demo/demo.zip"),
    st.sampled_from([(PI,), (PC,), (PI, PC)]),
    st.sampled_from(["stable", "beta"]),
    withdrawn=st.booleans(),
)


def listed(*entries: Release) -> ReleaseList:
    return ReleaseList("demo", "2026-11-28T00:00:00Z", entries)


def release(number: int, letter: str = "", boards: Sequence[str] = (PI,), **more: Any) -> Release:
    return Release(number, (letter or str(number)) * 64, "demo/demo.zip", tuple(boards), **more)


@given(st.lists(releases, max_size=4, unique_by=lambda entry: entry.id), releases)
def test_numbers_rise_on_every_board(before: list[Release], added: Release) -> None:
    known = {entry.id: entry for entry in before}
    withdrawn = added.id in known and known[added.id].withdrawn
    others = [entry for entry in before if entry.id != added.id and {*entry.boards} & {*added.boards}]
    try:
        after = with_release(listed(*before), added).releases
    except PublishError:
        assert withdrawn or max(entry.release for entry in others) >= added.release
        return
    assert not withdrawn
    assert sorted(after, key=lambda entry: (entry.release, entry.boards)) == list(after)
    assert [entry for entry in after if entry.id == added.id] == [added]
    assert {entry.id: entry for entry in after if entry.id != added.id} == {
        id: entry for id, entry in known.items() if id != added.id
    }
    for entry in others:
        assert entry.release != added.release
        assert entry.release < added.release or added.id in known


def test_a_release_that_is_published_may_change_although_there_are_newer_ones() -> None:
    changed = release(1, share=0.5)
    assert with_release(listed(release(1), release(2)), changed).releases == (changed, release(2))
    with pytest.raises(PublishError, match="Release 1 of demo is not above release 2, which is published for pi64"):
        with_release(listed(release(2)), release(1))
    assert len(with_release(listed(release(2, boards=[PC])), release(1)).releases) == 2, "for other boards"


def test_a_number_is_of_one_release_a_board() -> None:
    with pytest.raises(PublishError, match="is not above release 2") as caught:
        with_release(listed(release(2, "a")), release(2, "b"))
    assert "--release 3 or higher" in caught.value.hint
    first = release(2, "a", [PC])
    assert with_release(listed(release(2, "b")), first).releases == (first, release(2, "b"))


def test_a_list_takes_so_many_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RELEASES", 2)
    full = with_release(listed(release(1)), release(2))
    assert len(with_release(full, release(2, share=0.5)).releases) == 2
    with pytest.raises(PublishError, match="demo has 2 releases; accepted: up to 2"):
        with_release(full, release(3))


def verified(**changed: Any) -> Any:
    """A bundle that was verified, with two boards' packages."""
    manifest = {"format": "zip", "release": 7, "name": "demo", "id": "f" * 64, "boards": (PI, PC)}
    manifest |= {"files": [types.SimpleNamespace(path=ROOT)]} | changed
    return types.SimpleNamespace(path=Path("b.zip"), manifest=types.SimpleNamespace(**manifest))


def test_an_entry_names_the_bundle_by_its_number_and_id_and_takes_all_boards_unless_some_are_wanted() -> None:
    entry = describe(verified(), Path("site"), channel="beta", share=0.25, wanted=[""])
    assert entry == Release(7, "f" * 64, "demo/demo-7-ffffffffffff.zip", (PI, PC), "beta", 0.25)
    assert describe(verified(), Path("site"), channel="stable", share=1.0, wanted=["", PC]).boards == (PC,)
    with pytest.raises(InputError, match=r"b\.zip has no packages for 'pi32'"):
        describe(verified(), Path("site"), channel="stable", share=1.0, wanted=[PC, "pi32"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"format": "pyz"}, "has no release number"),
        ({"release": None}, "has no release number"),
        ({"files": [types.SimpleNamespace(path="run")]}, "can't update itself"),
    ],
)
def test_a_bundle_that_boards_could_not_go_on_from_is_no_entry(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(PublishError, match=words) as caught:
        describe(verified(**changed), Path("site"), channel="stable", share=1.0, wanted=[])
    assert "edgepress bundle MODEL --updates site" in caught.value.hint


def test_withdrawn_releases_stay_in_the_list() -> None:
    gone = dataclasses.replace(release(1), withdrawn=True)
    assert with_release(listed(gone), release(2)).releases == (gone, release(2))
    with pytest.raises(PublishError, match="Release 1 of demo was withdrawn") as caught:
        with_release(listed(gone), release(1))
    assert "higher --release" in caught.value.hint
