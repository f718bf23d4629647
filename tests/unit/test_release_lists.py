"""Lists of releases: who is offered which, and what is refused as a list."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.updates.releases import (
    MAX_RELEASES,
    Release,
    ReleaseList,
    offered,
    parse_list,
    position,
)
from edgepress.toolkit.errors import PublishError
from edgepress.toolkit.shipping.publishing import entries


def test_a_list_holds_so_many_releases_and_no_more() -> None:
    def entry(number: int) -> Release:
        return Release(number, f"{number:064x}", f"demo/{number}.zip", ("pi64-py313",))

    full = tuple(entry(number) for number in range(1, MAX_RELEASES))
    last = entries.with_release(ReleaseList("demo", "", full), entry(MAX_RELEASES))
    assert len(last.releases) == MAX_RELEASES
    assert last.releases[-1] == entry(MAX_RELEASES)
    again = entries.with_release(last, dataclasses.replace(entry(MAX_RELEASES), share=0.5))
    assert again.releases[-1].share == 0.5
    with pytest.raises(PublishError, match=f"has {MAX_RELEASES} releases; accepted: up to {MAX_RELEASES}"):
        entries.with_release(last, entry(MAX_RELEASES + 1))


@given(share=st.floats(0.01, 0.99), more=st.floats(0.0, 0.99))
def test_a_larger_share_only_adds_boards(share: float, more: float) -> None:
    ids = [f"board {n}" for n in range(400)]

    def takers(part: float) -> set[str]:
        release = Release(1, "a" * 64, "demo/x.zip", ("pi",), share=part)
        return {each for each in ids if offered([release], board="pi", channel="stable", board_id=each)}

    few = takers(share)
    assert few <= takers(min(1.0, share + more))
    assert abs(len(few) / 400 - share) < 0.13
    assert few == {each for each in ids if position("a" * 64, each) < share}
    assert takers(1.0) == set(ids)


def test_shares_of_two_releases_are_not_the_same_boards() -> None:
    ids = [f"board {n}" for n in range(2000)]
    both = [each for each in ids if position("a" * 64, each) < 0.1 and position("b" * 64, each) < 0.1]
    assert 5 <= len(both) <= 40  # 1 % of 2000 if they are independent


def test_a_stable_board_takes_no_beta_release() -> None:
    releases = [Release(1, "a" * 64, "x", ("pi",)), Release(2, "b" * 64, "x", ("pi",), "beta")]
    releases += [Release(3, "c" * 64, "x", ("pc",)), Release(4, "d" * 64, "x", ("pi",), withdrawn=True)]
    assert [r.release for r in offered(releases, board="pi", channel="stable", board_id="x")] == [1]
    assert [r.release for r in offered(releases, board="pi", channel="beta", board_id="x")] == [2, 1]


GOOD = ReleaseList("demo", "2026-01-01T00:00:00Z", (Release(1, "a" * 64, "demo/x.zip", ("pi",)),))


def test_a_list_is_read_as_it_was_written() -> None:
    assert parse_list(GOOD.to_bytes(), "demo") == GOOD
    with pytest.raises(UpdateError, match="wrong software"):
        parse_list(GOOD.to_bytes(), "other")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("release", 0),
        ("release", True),
        ("release", 10**9),
        ("release", "1"),
        ("id", "A" * 64),
        ("id", "a" * 63),
        ("target", "../x.zip"),
        ("target", "demo//x"),
        ("target", "/x"),
        ("boards", []),
        ("boards", [1]),
        ("channel", "nightly"),
        ("share", 0),
        ("share", 1.01),
        ("share", True),
        ("withdrawn", 0),
        ("more", 1),
    ],
)
def test_a_list_with_a_value_that_is_not_accepted_is_refused_as_a_whole(field: str, value: Any) -> None:
    document = json.loads(GOOD.to_bytes())
    document["releases"][0][field] = value
    with pytest.raises(UpdateError, match=rf"not a list of releases .*\b{field}\b"):
        parse_list(json.dumps(document).encode(), "demo")


@pytest.mark.parametrize(
    ("version", "words"), [(2, "has version 2; this board reads up to 1"), ("2", "not a list"), (None, "not a list")]
)
def test_a_list_of_a_newer_edgepress_says_so(version: Any, words: str) -> None:
    document = json.loads(GOOD.to_bytes()) | {"schema_version": version, "of a newer edgepress": 1}
    with pytest.raises(UpdateError, match=words):
        parse_list(json.dumps(document).encode(), "demo")


def test_two_entries_of_one_release_and_board_are_refused() -> None:
    document = json.loads(GOOD.to_bytes())
    document["releases"] *= 2
    with pytest.raises(UpdateError, match="occurs twice"):
        parse_list(json.dumps(document).encode(), "demo")


@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_list_or_refused(data: bytes) -> None:
    with pytest.raises(UpdateError):
        parse_list(data, "demo")
