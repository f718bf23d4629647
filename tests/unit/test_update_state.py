"""What an updater remembers between two runs: it is read as it was written, within limits, or is one error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.text import MOST
from edgepress.runtime.updates.releases import MAX_RELEASE
from edgepress.runtime.updates.state import MAX_REFUSED, MAX_STATE_BYTES, State, read_state, write_state

WHOLE = State(
    checked="2026-11-28T16:00:00Z",
    listed="2026-11-27T16:00:00Z",
    channel="beta",
    newest=7,
    refused={"a" * 64: "its self-test failed"},
    last={"result": "error", "message": "no"},
    attempts={"b" * 64: 2},
    watched="c" * 64,
    switched={"c" * 64: "2026-11-28T16:00:00Z"},
    roots={"1": "d" * 64},
)


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_state(tmp_path) == State()
    write_state(tmp_path, WHOLE)
    assert read_state(tmp_path) == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_fields_of_a_newer_updater_are_ignored_and_missing_ones_are_empty(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"channel": "beta", "future": 1}))
    assert read_state(tmp_path) == State(channel="beta")


@pytest.mark.parametrize(("newest", "accepted"), [(0, True), (MAX_RELEASE, True), (MAX_RELEASE + 1, False)])
def test_the_newest_release_is_a_number_of_a_release(tmp_path: Path, newest: int, *, accepted: bool) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"newest": newest}))
    if accepted:
        assert read_state(tmp_path).newest == newest
    else:
        with pytest.raises(UpdateError, match="newest"):
            read_state(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b"null", b'{"newest": 1}' + b" " * MAX_STATE_BYTES + b"x"]
)
def test_bytes_that_are_no_state_are_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.json").write_bytes(content)
    if content.startswith(b'{"newest"'):
        assert read_state(tmp_path).newest == 1  # what lies behind the limit is not read
        return
    with pytest.raises(UpdateError, match="is damaged"):
        read_state(tmp_path)


def test_texts_of_others_are_short_and_one_line(tmp_path: Path) -> None:
    write_state(tmp_path, State(last={"message": "a\nb" + "c" * 2 * MOST}))
    message = read_state(tmp_path).last["message"]
    assert "\n" not in message
    assert len(message) <= MOST + 10


@pytest.mark.parametrize(
    "document",
    [
        {"checked": "x"},
        {"listed": "0001-01-01"},
        {"channel": "nightly"},
        {"newest": -1},
        {"refused": {"a": 1}},
        {"attempts": {"a": "1"}},
        {"roots": {"x": "y"}},
        {"watched": 1},
        {"switched": {"a": "x"}},
        [],
    ],
)
def test_a_state_that_no_updater_writes_is_one_error(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UpdateError) as refused:
        read_state(tmp_path)
    assert f"rm {path}" in str(refused.value)


def test_the_largest_state_can_be_read_again(tmp_path: Path) -> None:
    reason = "\U0001f600\x1b" * 100_000
    refused = {f"{n:064}": reason for n in range(3 * MAX_REFUSED)}
    write_state(tmp_path, State(refused=refused, last={"message": reason, "refused": refused}))
    read = read_state(tmp_path)
    assert list(read.refused) == list(refused)[-MAX_REFUSED:]
