"""What boards say: a wrong field, type or shape is an error of the board, whatever its programs have written."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.toolkit.errors import BoardError
from edgepress.toolkit.shipping.boards import facts, remote_probe

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the probe is for Linux")
TIMING = {"threads": 1, "count": 9, **dict.fromkeys(facts.TIMES, 1.5)}
DOCUMENTS: dict[str, tuple[Callable[[bytes], Any], dict[str, Any]]] = {
    "description": (
        lambda content: facts.read_description("pi", content),
        remote_probe.info() | {"state": remote_probe.state()},
    ),
    "state": (lambda content: facts.read_state("pi", content), remote_probe.state()),
    "self-test": (lambda content: facts.read_selftest("pi", content), {"engine": "litert", "passed": True}),
    "timing": (
        lambda content: facts.read_timing("pi", content, [1, 2]),
        {"results": [TIMING, TIMING | {"threads": 2}]},
    ),
}
HOSTILE = (
    *(None, "", "x", "9" * 5000, "\x1b[2J", -1, 0, 3, 2.5, True, 10**30, [], {}, [1], ["x"] * 2000, {"a": 1}),
    *(["glibc"], [[]], {"engine": {}}, "3", "3.x", "x.y", "tflm", "../litert"),
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_the_probe_and_the_runtime_write_is_read(name: str) -> None:
    read, document = DOCUMENTS[name]
    found = read(json.dumps(document).encode())
    assert found == json.loads(json.dumps(document))


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("content", [b"", b"x", b"[]", b"null", b"{}", b"\xff", b"[" * 9999, b'{"results": NaN}'])
def test_what_is_no_such_document_is_an_error_of_the_board(name: str, content: bytes) -> None:
    with pytest.raises(BoardError, match=r"^pi: its .* can't be used"):
        DOCUMENTS[name][0](content)


@given(name=st.sampled_from(sorted(DOCUMENTS)), data=st.data())
def test_any_other_value_of_a_field_is_refused_or_of_the_same_kind(name: str, data: st.DataObject) -> None:
    read, document = DOCUMENTS[name]
    inner = document["results"][0] if name == "timing" else document
    field = data.draw(st.sampled_from(sorted(inner)))
    value = data.draw(st.sampled_from(HOSTILE))
    changed = inner | {field: value}
    if data.draw(st.booleans()):
        del changed[field]
    whole = {"results": [changed, TIMING | {"threads": 2}]} if name == "timing" else changed
    try:
        found = read(json.dumps(whole).encode())
    except BoardError:
        return
    found = found["results"][0] if name == "timing" else found
    before = inner[field]
    if field in found and before is not None and field != "passed":
        numbers = isinstance(before, float) and type(found[field]) in (int, float)
        assert (
            found[field] is None
            or numbers
            or isinstance(found[field], list if isinstance(before, tuple) else type(before))
        )


@pytest.mark.parametrize("field", [*facts.TIMES, "threads", "count"])
def test_a_result_without_a_time_is_refused(field: str) -> None:
    result = {name: value for name, value in TIMING.items() if name != field}
    with pytest.raises(BoardError, match=f"{field} is missing"):
        facts.read_timing("pi", json.dumps({"results": [result]}).encode(), [1])


@pytest.mark.parametrize("threads", [[], [2], [1, 1]])
def test_times_of_other_numbers_of_threads_are_refused(threads: list[int]) -> None:
    with pytest.raises(BoardError, match="numbers of threads"):
        facts.read_timing("pi", json.dumps({"results": [TIMING]}).encode(), threads)


def test_scores_are_read_and_nothing_else() -> None:
    def saved(array: Any) -> bytes:
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    scores = np.eye(3, dtype=np.float32)
    assert np.array_equal(facts.read_scores("pi", saved(scores)), scores)
    others = (np.eye(3), scores[0], scores[np.newaxis], np.float32(3), np.array([None, {}], dtype=object))
    for content in (b"", b"Error: no engine", saved(scores)[:-1], *map(saved, others)):
        with pytest.raises(BoardError, match=r"^pi: its answers can't be used"):
            facts.read_scores("pi", content)
