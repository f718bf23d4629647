"""Lists that users give: counts of threads, engines, CPUs; any text is a list or one error."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.runtime import ENGINES, EdgepressError, InputError
from edgepress.toolkit.machine.host import parse_cpus
from edgepress.toolkit.measurement.benchmarking import plan
from edgepress.toolkit.measurement.benchmarking.options import parse_counts
from edgepress.toolkit.measurement.benchmarking.plan import counts, find_engines


@given(st.lists(st.integers(1, 999), min_size=1, max_size=5, unique=True), st.sampled_from([",", ", ", " ,"]))
def test_counts_are_read_in_their_order(numbers: list[int], comma: str) -> None:
    assert parse_counts(comma.join(map(str, numbers)), "--threads") == tuple(numbers)
    assert counts(numbers, "threads", most=999) == tuple(numbers)
    with pytest.raises(InputError, match=str(max(numbers) - 1)):
        counts(numbers, "threads", most=max(numbers) - 1)
    with pytest.raises(InputError):
        counts([*numbers, numbers[0]], "threads", most=999)


def test_one_count_is_a_list_of_one_and_none_is_an_error() -> None:
    assert counts(3, "threads", most=3) == (3,)
    for wrong in (0, -1, 4, (), (1, 0)):
        with pytest.raises(InputError, match="threads"):
            counts(wrong, "threads", most=3)


@given(st.text(st.sampled_from("0123456789,- .x"), max_size=8))
def test_any_text_is_counts_or_one_error_that_names_the_option(text: str) -> None:
    try:
        expected = tuple(map(int, text.split(",")))
    except ValueError:
        with pytest.raises(InputError, match="--threads"):
            parse_counts(text, "--threads")
    else:
        assert parse_counts(text, "--threads") == expected


@pytest.fixture(scope="module", autouse=True)
def installed() -> Any:
    """Only two engines are usable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "usable_engines", lambda *_: ["litert", "onnxruntime"])
        yield


@given(st.lists(st.sampled_from(["litert", "onnxruntime"]), min_size=1, max_size=2, unique=True), st.booleans())
def test_engines_are_read_in_their_order(names: list[str], spaced: bool) -> None:
    assert find_engines((" , " if spaced else ",").join(names)) == names
    assert find_engines(",".join([*names, "all"])) == ["litert", "onnxruntime"]
    assert find_engines(f",{names[0]},") == names[:1]


@given(st.text(max_size=12) | st.sampled_from(sorted(ENGINES)))
def test_any_text_is_a_list_of_usable_engines_or_one_error(text: str) -> None:
    try:
        found = find_engines(text)
    except EdgepressError:
        return
    assert found
    assert set(found) <= {"litert", "onnxruntime"}


def test_an_engine_that_is_unknown_or_not_installed_is_named() -> None:
    with pytest.raises(InputError, match="'litter'"):
        find_engines("litert,litter")
    with pytest.raises(EdgepressError, match="openvino"):
        find_engines("openvino")
    with pytest.raises(InputError):
        find_engines(" , ")


@given(st.text(st.sampled_from("0123456789,- "), max_size=6))
def test_any_text_is_cpus_of_this_process_or_one_error(text: str) -> None:
    usable = os.sched_getaffinity(0)
    try:
        found = parse_cpus(text)
    except InputError:
        return
    assert set(found) <= usable
    assert len(set(found)) == len(found) > 0
