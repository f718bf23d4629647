"""Which file to ship and which engine is the fastest: what decides, and what only seems to."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from edgepress.toolkit.benchmarking.advice import choose, engine_notes
from edgepress.toolkit.benchmarking.best_engine import best_engines
from edgepress.toolkit.results.records import DROP, NO_BASELINE, UNPROVEN, USABLE, Advice, Measurement

X86 = {"cpu": "Some CPU", "machine": "x86_64", "cores": 4}
PI = {"cpu": "Raspberry Pi 4", "machine": "aarch64", "cores": 4}


def row(
    file: str, kb: float, drop: float | None = 0.2, half: float = 0.5, status: str = USABLE, **more: Any
) -> Measurement:
    figures: dict[str, Any] = {"engine": "litert", "scheme": file, "accuracy": 0.9, "drop_pp": drop}
    if drop is not None:
        figures |= {"drop_low_pp": drop - half, "drop_high_pp": drop + half}
    return Measurement(file=file, threads=1, size_bytes=int(kb * 1000), status=status, **figures | more)


def advise(*rows: Measurement, host: Any = X86, count: int = 400, limit: float = 1.0) -> Advice:
    return choose(rows, host=host, count=count, max_drop_pp=limit)


FLOAT = row("float", 100, 0.0, 0.0)


# Speeds "beyond doubt": an interval above another's, not above its estimate.


@pytest.mark.parametrize(
    ("low", "engine"),
    [(1.19, "litert"), (1.25, "litert"), (1.3, "litert"), (1.31, "onnxruntime"), (9.0, "onnxruntime")],
)
def test_a_speed_decides_only_above_the_upper_end_of_the_others(low: float, engine: str) -> None:
    first = row("same", 25, speedup_low=1.0, speedup=1.2, speedup_high=1.3)
    other = row("same", 25, engine="onnxruntime", speedup_low=low, speedup=low + 0.3, speedup_high=low + 0.6)
    advice = advise(FLOAT, first, other)
    assert (advice.ship, advice.engine) == ("same", engine)
    assert ("Not significantly" in advice.why) == (engine == "litert"), "the first of equals is no faster for certain"
    assert "onnxruntime" in advice.why
    assert "litert" in advice.why


def test_a_slow_file_says_how_many_times_the_float_file_s_latency_it_takes() -> None:
    slow = row("slow", 25, speedup_low=0.2, speedup=0.25, speedup_high=0.3, p50_us=80.0)
    assert "4.0 times" in advise(FLOAT, slow).why
    assert "times the float" not in advise(FLOAT, row("near", 25, speedup=0.95, speedup_high=0.99, p50_us=21.0)).why


def test_a_speed_that_is_not_known_can_not_be_beaten() -> None:
    unknown = row("same", 25)
    fast = row("same", 25, engine="onnxruntime", speedup_low=50.0, speedup=60.0, speedup_high=70.0)
    assert advise(FLOAT, unknown, fast).engine == "litert"
    assert advise(FLOAT, fast, unknown).engine == "onnxruntime", "the first of equals"
    assert advise(FLOAT, row("same", 25), row("same", 25, engine="openvino")).engine == "litert"
    slow = row("same", 25, engine="onnxruntime", speedup_low=0.5, speedup=0.55, speedup_high=0.6)
    assert advise(FLOAT, slow, unknown).engine == "onnxruntime", "nor does it beat anything"
    assert " ." not in advise(FLOAT, unknown).why, "a file on one engine is compared with nothing"


def test_the_fastest_of_three_must_beat_both() -> None:
    rows = [
        row("same", 25, engine=engine, speedup_low=low, speedup_high=high)
        for engine, low, high in (("a", 1.0, 1.1), ("b", 2.0, 3.1), ("c", 3.0, 4.0))
    ]
    assert advise(FLOAT, *rows).engine == "a"
    assert advise(FLOAT, *rows[::2]).engine == "c"


@pytest.mark.parametrize(("other_low", "sure"), [(1.05, True), (0.95, False)])
def test_the_best_engine_is_beyond_doubt_if_every_interval_lies_above_1(other_low: float, sure: bool) -> None:
    # The estimate against "b" is 1.2 in both cases: only how far rounds scatter differs.
    rounds = np.full(20, 10.0)
    spread = np.where(np.arange(20) % 2, 1.2 * 1.2 / other_low, other_low)
    rows = [
        row("f", 1, engine="a", p50_us=10.0, round_medians_us=tuple(rounds)),
        row("f", 1, engine="b", p50_us=12.0, round_medians_us=tuple(rounds * (spread if not sure else 1.2))),
        row("f", 1, engine="c", p50_us=30.0, round_medians_us=tuple(rounds * 3)),
    ]
    (found,) = best_engines(rows)
    assert (found.file, found.engine, found.beyond_doubt) == ("f", "a", sure)
    assert found.slower["b"] > 1.1
    assert found.slower["c"] == pytest.approx(3)
    assert set(found.slower) == {"b", "c"}


def test_what_fails_or_drops_too_far_is_no_best_engine() -> None:
    plain = {"p50_us": 10.0, "round_medians_us": (10.0,) * 8}
    good, slow = row("f", 1, engine="a", **plain), row("f", 1, engine="b", p50_us=20.0, round_medians_us=(20.0,) * 8)
    for bad in (
        row("f", 1, engine="c", status=DROP, p50_us=1.0, round_medians_us=(1.0,) * 8),
        row("f", 1, engine="c", status="failed: x", p50_us=1.0, round_medians_us=(1.0,) * 8),
        row("f", 1, engine="c", p50_us=1.0),
    ):
        (found,) = best_engines([bad, slow, good])
        assert (found.engine, found.slower) == ("a", {"b": pytest.approx(2)})
    assert best_engines([good]) == ()
    assert best_engines([good, good]) == (), "one engine twice is no choice"
    few = [row("f", 1, engine=e, p50_us=v, round_medians_us=(v,) * 5) for e, v in (("a", 1.0), ("b", 9.0))]
    assert not best_engines(few)[0].beyond_doubt, "five rounds give no interval"
    same = [row("f", 1, engine=e, **plain) for e in "ab"]
    assert not best_engines(same)[0].beyond_doubt, "an interval at 1 is not above it"


# Which file.


def test_the_smallest_usable_file_is_shipped() -> None:
    rows = [FLOAT, row("b", 50), row("c", 25), row("d", 10, status=UNPROVEN), row("e", 5, status=DROP)]
    assert advise(*rows).ship == "c"
    assert advise(*rows[::-1]).ship == "c"
    assert str(len({r.file for r in rows})) in advise(*rows).why


def test_a_smaller_file_that_is_not_proven_is_mentioned_and_a_larger_one_is_not() -> None:
    small, large = row("near", 10, 0.5, 1.0, UNPROVEN), row("near", 30, 0.5, 1.0, UNPROVEN)
    assert "near" in advise(FLOAT, row("ship", 25), small).why
    assert "near" not in advise(FLOAT, row("ship", 25), large).why
    assert "near" not in advise(FLOAT, row("ship", 30), large).why, "as large is not smaller"
    assert "far on litert" in advise(FLOAT, row("ship", 25), row("far", 10, 3.0, 0.5, DROP)).why
    none = advise(row("some", 10, 0.5, 0.1, DROP), row("zero", 20, 0.0, 0.1, DROP), limit=0.0)
    assert "zero on litert" in none.why


def test_the_nearest_miss_is_the_smallest_within_the_limit_else_the_smallest_drop() -> None:
    within = [row("x", 20, 0.3, 1.0, UNPROVEN), row("y", 10, 0.5, 1.0, UNPROVEN), row("z", 5, 1.0, 1.0, DROP)]
    assert "y on litert" in advise(FLOAT, *within).why
    beyond = advise(row("p", 20, 1.4, 0.3, DROP), row("q", 10, 1.2, 0.3, DROP), row("r", 5, 9.0, 0.3, DROP))
    assert beyond.ship is None
    assert "q on litert" in beyond.why
    assert "1.20 pp [0.90, 1.50]" in beyond.why.replace("\N{MINUS SIGN}", "-")
    assert "test images" not in beyond.why, "more items do not mend a drop beyond the limit"


@pytest.mark.parametrize(
    ("drop", "half", "count"), [(0.7, 0.5, 360), (0.2, 1.0, 1000), (-0.1, 1.2, 500), (0.9, 0.5, 1000)]
)
def test_the_images_that_would_settle_it_follow_from_the_root_of_the_count(
    drop: float, half: float, count: int
) -> None:
    why = advise(FLOAT, row("tiny", 10, drop, half, UNPROVEN), count=count).why
    needed = int(re.search(r"About (\d+)", why)[1])  # type: ignore[index]
    assert needed % 100 == 0
    # With so many images the half width has shrunk so far that the upper end reaches the limit; 100 fewer do not do.
    assert drop + half * (count / needed) ** 0.5 <= 1.0 + 1e-9
    assert drop + half * (count / (needed - 100)) ** 0.5 > 1.0
    loosened = float(re.search(r"--max-drop (\d+(?:\.\d+)?)", why)[1])  # type: ignore[index]
    assert drop + half <= loosened < drop + half + 0.1 + 1e-9
    assert str(count) in why


def test_the_limit_is_a_percentage_point_unless_it_is_given() -> None:
    rows = [FLOAT, row("x", 10, 0.7, 0.5, UNPROVEN)]
    assert choose(rows, host=X86, count=400) == advise(*rows, limit=1.0)


def test_a_drop_exactly_at_the_limit_is_not_settled_by_more_images() -> None:
    assert "About" not in advise(row("x", 10, 1.0, 0.5, UNPROVEN)).why
    assert "About" in advise(row("x", 10, 0.9, 0.5, UNPROVEN)).why


def test_without_a_float_file_no_drop_is_known() -> None:
    none = advise(row("x", 10, None))
    assert (none.ship, none.engine) == (None, None)
    assert "float32" in none.why
    failed = advise(row("x", 10, None, accuracy=None))
    assert "float32" not in failed.why
    assert advise(FLOAT, row("x", 10, None, status=NO_BASELINE)).ship == "float", "one drop that is known is enough"


@pytest.mark.parametrize(("high", "told"), [(0.89, True), (0.9, False), (None, False)])
def test_a_file_slower_than_the_float_one_is_told_so(high: float | None, told: bool) -> None:
    why = advise(FLOAT, row("q", 25, p50_us=20.0, speedup=0.5, speedup_high=high), host=PI).why
    assert ("2.0 times" in why) == told
    assert "20" in why
    assert "Raspberry Pi 4" in why
    unmeasured = advise(FLOAT, row("q", 25), host=PI).why
    assert "Raspberry Pi 4" not in unmeasured


def test_the_baseline_itself_has_no_interval() -> None:
    assert "[" not in advise(FLOAT).why
    assert "[" in advise(FLOAT, row("q", 25)).why


@pytest.mark.parametrize(
    ("change", "noted"),
    [
        ({}, True),
        ({"speedup": 1.0}, False),
        ({"speedup": None}, False),
        ({"scheme": "tflite-int16x8"}, False),
        ({"engine": "litert"}, False),
    ],
)
def test_a_note_explains_slow_int8_of_tflite_runtime_on_x86(change: dict[str, Any], noted: bool) -> None:
    plain = {"engine": "tflite-runtime", "scheme": "tflite-int8", "speedup": 0.99}
    rows = [FLOAT, row("int8", 25, **plain | change)]
    assert bool(engine_notes(rows, X86)) == noted
    assert engine_notes(rows, PI) == []
