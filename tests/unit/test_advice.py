"""Which file to ship and which engine is the fastest: what decides, and what only seems to."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

from edgepress.runtime import ENGINES
from edgepress.toolkit.measurement.benchmarking.advice import advice_of, choose, costs_of, front_of, shipping_engines
from edgepress.toolkit.measurement.benchmarking.remarks import best_engines, engine_notes
from edgepress.toolkit.results.records import DROP, NO_BASELINE, NOT_COMPARABLE, UNPROVEN, USABLE, Advice, Measurement
from edgepress.toolkit.shipping.bundles.boards import PACKAGES
from edgepress.toolkit.stats.choice import Evidence, Rule, probability_within
from edgepress.toolkit.stats.samples import items_to_be_sure, items_to_rule_out
from edgepress.toolkit.text import estimate

X86 = {"cpu": "Some CPU", "machine": "x86_64", "cores": 4}
PI = {"cpu": "Raspberry Pi 4", "machine": "aarch64", "cores": 4}


def row(
    file: str, kb: float, us: float | None = 10.0, sure: float | None = 0.97, status: str = USABLE, **more: Any
) -> Measurement:
    """A file of a size and a latency that is so sure to keep the limit."""
    figures: dict[str, Any] = {"engine": "litert", "scheme": file, "accuracy": 0.9, "probability": sure, "p50_us": us}
    figures |= {"drop_pp": 0.2, "drop_low_pp": -0.3, "drop_high_pp": 0.7, "lost": 1, "gained": 0, "differing": 3}
    return Measurement(file=file, threads=1, size_bytes=int(kb * 1000), status=status, **figures | more)


def unsure(file: str, kb: float, us: float | None = 10.0, sure: float = 0.7, **more: Any) -> Measurement:
    """A file that is not sure enough, but may be within the limit."""
    return row(
        file, kb, us, sure, **{"status": UNPROVEN, "drop_pp": 0.5, "lost": 4, "gained": 2, "differing": 7} | more
    )


def bad(file: str, kb: float, drop: float = 3.0) -> Measurement:
    return row(file, kb, 1.0, 0.01, DROP, drop_pp=drop, drop_low_pp=drop - 1, drop_high_pp=drop + 1, lost=12)


def advise(
    *rows: Measurement, host: Any = X86, count: int = 400, limit: float = 1.0, more: int = 0, **rule: Any
) -> Advice:
    return choose(rows, host=host, count=count, max_drop_pp=limit, rule=Rule(**rule), more=more)


NOTHING = {"drop_pp": 0.0, "drop_low_pp": 0.0, "drop_high_pp": 0.0, "lost": 0, "differing": 0}
FLOAT = row("float", 100, 20.0, 1.0, **NOTHING)


# Which file.


def test_the_least_product_of_size_and_latency_is_shipped_of_the_files_that_are_sure() -> None:
    rows = [FLOAT, row("int8", 30, 12.0), row("half", 26, 40.0), row("quick", 60, 8.0), unsure("int4", 15), bad("b", 5)]
    for order in (rows, rows[::-1]):
        assert advise(*order).ship == "int8"
        assert advise(*order, prefer="size").ship == "half"
        assert advise(*order, prefer="latency").ship == "quick"
        assert advise(*order, confidence=0.6).ship == "int4"
        assert advise(*order, confidence=0.99).ship == "float"


def test_the_issue_s_clothing_case_ships_int8_not_the_smallest_proven_file() -> None:
    """Issue 25: "proven" was the ONNX float16 file alone, 6 % below TFLite's, with 1.9 times the float file's time."""
    n = 372
    files = [
        row("model-float32.tflite", 9100, 11.0, 1.0, **NOTHING),
        row("model-int8.tflite", 3460, 7.15, probability_within(Evidence(n, 4, 6, 3), 0.01), UNPROVEN, drop_pp=-0.54),
        row("model-float16.tflite", 4900, 11.1, probability_within(Evidence(n, 0, 0, 0), 0.01)),
        row("model-float16.onnx", 4640, 20.9, probability_within(Evidence(n, 0, 0, 0), 0.01)),
    ]
    found = advise(*files, count=n)
    assert found.ship == "model-int8.tflite"
    assert found.probability == files[1].probability
    percent = int(100 * (files[1].probability or 0))
    assert f"model-int8.tflite on litert: {percent} % sure that it loses less than 1 pp" in found.why
    assert "0.38 times the baseline's size and 0.65 times its latency" in found.why


def test_the_sentence_names_the_probability_the_items_the_rank_and_the_host() -> None:
    found = advise(FLOAT, row("int8", 30, 12.0, 0.9789), row("other", 50, 12.0))
    assert (found.probability, found.confidence, found.prefer) == (0.9789, 0.9, "balanced")
    assert "int8 on litert: 97 % sure that it loses less than 1 pp (drop 0.20 pp [" in found.why
    assert "on 400 test items" in found.why
    assert "3 of 3 files qualify; of these, it has the least product of size and latency" in found.why
    assert "Some CPU" in found.why
    assert "the fastest" in advise(FLOAT, row("int8", 30, 12.0), prefer="latency").why
    assert "the smallest" in advise(FLOAT, row("int8", 30, 12.0), prefer="size").why
    untimed = [row("float", 100, None, 1.0, **NOTHING), row("int8", 30, None), row("x", 40, None)]
    assert "the smallest (no latency counts)" in advise(*untimed).why
    assert "only one of 2 files that qualifies" in advise(FLOAT, unsure("x", 9)).why


def test_a_file_that_failed_or_has_no_probability_is_never_shipped() -> None:
    for other in (row("x", 1, 1.0, None, NO_BASELINE), row("x", 1, 1.0, 0.99, "failed: crashed")):
        assert advise(FLOAT, other).ship == "float"


def test_negative_figures_have_a_minus_sign_as_in_the_table() -> None:
    fit = row("int8", 30, 12.0, drop_pp=-0.1, drop_low_pp=-0.5, drop_high_pp=0.3)
    assert "(drop \N{MINUS SIGN}0.10 pp [\N{MINUS SIGN}0.50, 0.30] on " in advise(FLOAT, fit).why


def test_without_a_float_file_the_advice_names_the_command_that_makes_one() -> None:
    alone = row("int8", 30, sure=None, status=NO_BASELINE, drop_pp=None, drop_low_pp=None, drop_high_pp=None)
    assert advise(alone).why.endswith("edgepress convert MODEL --to tflite-float32")


def test_a_latency_of_a_busy_board_does_not_count() -> None:
    throttled = {"status": "not comparable: throttled; usable"}
    rows = [row("float", 100, 20.0, 1.0, **NOTHING | throttled), row("small", 20, 90.0, **throttled)]
    found = advise(*rows, row("quick", 40, 1.0, **throttled), prefer="latency", host=PI)
    assert found.ship == "small"
    assert "no latency counts" in found.why
    assert "times its latency" not in found.why


def test_without_a_float_file_no_drop_is_known() -> None:
    unknown = {"drop_pp": None, "drop_low_pp": None, "drop_high_pp": None}
    none = advise(row("x", 10, sure=None, **unknown))
    assert (none.ship, none.engine, none.probability) == (None, None, None)
    assert "float32" in none.why
    failed = advise(row("x", 10, sure=None, accuracy=None, **unknown))
    assert "float32" not in failed.why
    assert advise(FLOAT, row("x", 10, sure=None, status=NO_BASELINE, **unknown)).ship == "float"


def test_where_no_file_is_sure_enough_it_says_so_and_what_would_help() -> None:
    found = advise(unsure("x", 10), bad("y", 5))
    assert (found.ship, found.engine, found.unsure_file) == (None, None, "x")
    assert "of no file is it 90 % sure that it loses less than 1 pp" in found.why
    assert "x on litert drops 0.50 pp" in found.why
    unpromising = advise(bad("y", 5), bad("z", 5, 1.2))
    assert "z on litert drops 1.20 pp" in unpromising.why
    assert "--max-drop" in unpromising.why
    assert "test items" not in unpromising.why, "more items do not fix a drop beyond the limit"
    assert unpromising.unsure_file is None


def test_a_file_that_failed_is_not_the_nearest() -> None:
    crashed = row("x", 1, None, None, "failed: crashed", drop_pp=None, drop_low_pp=None, drop_high_pp=None, lost=None)
    found = advise(bad("y", 5), crashed)
    assert "y on litert drops 3.00 pp" in found.why
    late = row("z", 1, None, None, "failed: it crashed when it was timed", drop_pp=0.1)
    assert "y on litert drops 3.00 pp" in advise(bad("y", 5), late).why
    known = row("z", 1, None, 0.1, "failed: x", drop_pp=None, drop_low_pp=0.0, drop_high_pp=1.0)
    assert "No quantized file was measured." in advise(known, crashed).why


# What would make it sure.


def test_a_file_that_would_be_chosen_is_named_with_the_images_that_it_takes() -> None:
    found = advise(FLOAT, row("half", 50, 20.0), unsure("int8", 25, 10.0))
    assert (found.ship, found.unsure_file, found.unsure_engine) == ("half", "int8", "litert")
    needed = items_to_be_sure(Evidence(400, 4, 2), drop=0.01, confidence=0.9)
    assert needed is not None
    assert (
        f"int8 on litert would be chosen, but is only 70 % sure (drop 0.50 pp). About {estimate(needed)} test"
        in found.why
    )
    assert "(there are 400) would make it 90 % sure" in found.why
    label = int(re.search(r"about (\d+)\.", found.why)[1])  # type: ignore[index]
    assert label == int(np.ceil(7.5 / 401 * (needed - 400)))
    assert "--more DATA" in found.why
    assert "--more" not in advise(FLOAT, row("half", 50, 20.0), unsure("int8", 25, 10.0), more=900).why


@pytest.mark.parametrize("differing", [0, 7])
def test_a_file_that_lost_nothing_so_far_needs_as_many_images_as_say_so(differing: int) -> None:
    lossless = unsure("int8", 25, 10.0, drop_pp=0.0, lost=0, gained=0, differing=differing)
    found = advise(FLOAT, lossless, count=60, limit=0.1)
    needed = items_to_be_sure(Evidence(60, 0, 0), drop=0.001, confidence=0.9)
    assert needed is not None
    assert f"About {estimate(needed)} test items (there are 60) would make it 90 % sure" in found.why
    assert f"about {max(1, int(np.ceil((differing + 0.5) / 61 * (needed - 60))))}." in found.why


def test_a_file_that_would_not_be_chosen_anyhow_is_not_named() -> None:
    for other in (unsure("big", 200), unsure("slow", 50, 900.0), bad("b", 5), unsure("at", 5, drop_pp=1.0)):
        found = advise(FLOAT, row("half", 50, 20.0), other)
        assert (found.ship, found.unsure_file) == ("half", None)
        assert "would be chosen" not in found.why
    assert advise(FLOAT, row("half", 50, 20.0), unsure("near", 5, drop_pp=0.99)).unsure_file == "near"


def test_a_file_that_is_just_sure_enough_needs_no_more_images() -> None:
    found = advise(FLOAT, row("int8", 25, 10.0, 0.9))
    assert (found.ship, found.unsure_file) == ("int8", None)
    assert "90 % sure" in found.why
    assert "would be chosen" not in found.why


def test_of_several_unsure_files_the_one_that_the_rule_would_choose_is_named() -> None:
    rows = [FLOAT, unsure("small", 10, 19.0), unsure("quick", 40, 2.0)]
    assert {p: advise(*rows, prefer=p).unsure_file for p in ("balanced", "size", "latency")} == {
        "balanced": "quick",
        "size": "small",
        "latency": "quick",
    }


def test_a_chosen_file_that_is_sure_but_not_proven_says_what_would_prove_it() -> None:
    found = advise(FLOAT, row("int8", 25, status=UNPROVEN))
    assert (found.ship, found.unsure_file) == ("int8", "int8")
    needed = items_to_rule_out(1, 0, 400, drop=0.01)
    assert needed is not None
    assert f"About {estimate(max(needed, 401))} test items (there are 400) would prove it (95 % interval)" in found.why
    assert "would prove" not in advise(FLOAT, row("int8", 25)).why


def test_further_items_are_told() -> None:
    found = advise(FLOAT, row("int8", 25, more_differing=12), more=2000)
    assert "on 400 test items; it answers 12 of 2000 further ones differently)" in found.why


def test_the_limit_and_the_rule_are_those_of_the_options_unless_given() -> None:
    rows = [FLOAT, row("x", 10, 5.0)]
    assert choose(rows, host=X86, count=400) == advise(*rows, limit=1.0, confidence=0.9, prefer="balanced")


# What a bundle installs, and what is slower than float.


@pytest.mark.parametrize("prefer", ["balanced", "latency", "size"])
def test_a_file_slower_than_float_is_chosen_only_for_its_size(prefer: str) -> None:
    slow = row("dynamic", 25, 30.0, speedup=0.7, speedup_high=0.8)
    half = row("half", 50, 20.0, speedup=1.0, speedup_high=1.05)
    assert advise(FLOAT, slow, half, prefer=prefer).ship == ("dynamic" if prefer == "size" else "half")
    assert advise(slow, prefer=prefer).ship == "dynamic"  # there is no other
    equal = dataclasses.replace(slow, p50_us=20.5, speedup=0.96, speedup_high=0.97)
    assert advise(FLOAT, equal, half).ship == "dynamic"


def test_it_is_said_that_files_with_a_lower_product_were_left_out_for_being_slower() -> None:
    slow = row("dynamic", 25, 30.0, speedup=0.7, speedup_high=0.8)  # 750, beside 1,000 and 2,000
    half = row("half", 50, 20.0, speedup=1.0, speedup_high=1.05)
    why = advise(FLOAT, slow, half).why
    assert "3 of 3 files qualify, 1 of them slower than the float file; of the others, it has the least product" in why
    assert "2 of 2 files qualify, 1 of them slower than the float file; it is the other one." in advise(FLOAT, slow).why
    assert "slower than the float file" not in advise(FLOAT, slow, half, prefer="size").why
    assert "slower than the float file" not in advise(FLOAT, half).why


def test_files_are_chosen_for_the_engines_that_bundles_install_unless_others_are_named() -> None:
    rows = [
        FLOAT,
        bad("dynamic", 25),
        row("dynamic", 25, 5.0, engine="openvino"),
        row("int8", 30, 12.0),
        row("int8", 30, 11.0, engine="tflite-runtime"),
        row("onnx", 31, 11.5, engine="onnxruntime"),
    ]
    engines = shipping_engines(rows)
    assert engines == ("litert", "onnxruntime")
    advice = choose(rows, host=X86, count=400, engines=engines)
    assert (advice.ship, advice.engine, advice.engines) == ("onnx", "onnxruntime", engines)
    assert (advice.unsure_file, "of 4 files" in advice.why) == (None, True)
    assert choose(rows, host=X86, count=400).engine == "openvino"
    assert shipping_engines([r for r in rows if r.engine == "openvino"]) == ()
    assert shipping_engines([r for r in rows if r.engine != "litert"]) == ("tflite-runtime", "onnxruntime")


def test_the_engines_of_bundles_are_those_with_pinned_packages() -> None:
    assert {name for name, engine in ENGINES.items() if engine.bundled} == {*PACKAGES}


# Where it was timed.


@pytest.mark.parametrize(("high", "told"), [(0.89, True), (0.9, False), (None, False)])
def test_a_file_slower_than_the_float_one_is_told_so(high: float | None, told: bool) -> None:
    why = advise(FLOAT, row("q", 25, 21.0, speedup=0.5, speedup_high=high), host=PI, prefer="size").why
    assert ("2.0 times" in why) == told
    assert "Raspberry Pi 4" in why
    assert "x86" not in why
    assert "x86" in advise(FLOAT, row("q", 25)).why
    untimed = [row("float", 100, None, 1.0, **NOTHING), row("q", 25, None)]
    assert "Raspberry Pi 4" not in advise(*untimed, host=PI).why


def test_the_baseline_itself_loses_nothing() -> None:
    found = advise(FLOAT)
    assert found.ship == "float"
    assert "is the baseline itself" in found.why
    assert "[" not in found.why


# Pictures and later choices.


def result_of(*rows: Measurement, **more: Any) -> Any:
    from records import result

    made = result(*rows, count=400)
    return type(made)(**vars(made) | {"advice": advise(*rows)} | more)


def test_pictures_ring_what_the_rule_chooses_from_and_always_what_is_shipped() -> None:
    rows = [FLOAT, row("int8", 30, 12.0), row("quick", 60, 8.0), row("slow", 61, 9.0), unsure("int4", 5), bad("b", 5)]
    found = result_of(*rows)
    assert found.advice.ship == "int8"
    assert [r.file for r in front_of(found)] == ["int8", "quick"]
    old = result_of(
        *[type(r)(**vars(r) | {"probability": None}) for r in rows], advice=Advice(ship="slow", engine="litert", why="")
    )
    assert [r.file for r in front_of(old)] == ["int8", "quick", "slow"], "an older one has statuses, and its own choice"


def test_a_later_choice_by_another_rule_needs_no_measurement() -> None:
    found = result_of(FLOAT, row("int8", 30, 12.0, 0.93), row("half", 50, 20.0, 0.999))
    assert advice_of(found, Rule()) == advise(*found.results, host=found.host)
    later = advice_of(found, Rule(0.95))
    assert later is not None
    assert (later.ship, later.confidence) == ("half", 0.95)
    doubtful = result_of(FLOAT, unsure("int8", 30))
    told = advice_of(doubtful, Rule())
    assert told is not None
    assert "--more DATA" in told.why
    more = advice_of(type(doubtful)(**vars(doubtful) | {"more": {"count": 900}}), Rule())
    assert more is not None
    assert "--more" not in more.why
    old = result_of(FLOAT, row("int8", 30, 12.0, None), advice=Advice(ship="int8", engine="litert", why=""))
    assert advice_of(type(old)(**vars(old) | {"results": old.results[1:]}), Rule()) is None


def test_a_board_s_row_counts_in_its_own_picture() -> None:
    there = row("int8", 30, 500.0, host="pi")
    found = result_of(FLOAT, row("int8", 30, 12.0), there, boards=({"name": "pi"},))
    assert front_of(found, "pi") == [there]
    assert there not in front_of(found)


def test_files_without_labels_qualify_by_their_error() -> None:
    rows = [Measurement(file=f, scheme=f, engine="litert", threads=1, size_bytes=s, p50_us=us, max_error=e, sqnr_db=db,
                        status=status)
            for f, s, us, e, db, status in (
                ("float", 100, 20.0, 0.0, None, USABLE), ("int8", 26, 12.0, 0.1, 30.0, USABLE),
                ("dynamic", 25, 30.0, 0.1, 40.0, USABLE), ("int4", 13, 12.0, 9.0, 3.0, "large error"))]  # fmt: skip
    assert [c.probability for c in costs_of(rows)] == [1, 1, 1, 0]
    assert {p: advise(*rows, prefer=p).ship for p in ("balanced", "size", "latency")} == {
        "balanced": "int8",
        "size": "dynamic",
        "latency": "int8",
    }
    assert "reaches 30.0 dB" in advise(*rows).why
    assert "(an SQNR of 20 dB is enough)" in advise(*rows).why
    assert "of these, it has the least product of size and latency: 0.26 times the baseline's size" in advise(*rows).why
    bad = [dataclasses.replace(rows[0]), *(dataclasses.replace(r, status="large error") for r in rows[1:])]
    assert "the nearest, dynamic on litert, reaches 40.0 dB" in advise(*bad).why
    silent = [bad[0], dataclasses.replace(bad[1], sqnr_db=None), bad[3]]
    assert "the nearest, int4 on litert, reaches 3.0 dB" in advise(*silent).why, "no signal is the farthest"
    assert "reaches no signal" in advise(*silent[:2]).why


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


def test_a_measured_drop_beyond_the_limit_does_not_qualify_however_sure() -> None:
    """2 of 150 images are lost, 1.33 pp: the posterior is 90 % sure, and the user sees a drop beyond the limit."""
    beyond = row("int8", 25, 10.0, 0.902, DROP, drop_pp=1.33)
    advice = advise(FLOAT, row("half", 50, 15.0), beyond)
    assert advice.ship == "half"
    board = dataclasses.replace(beyond, status=f"{NOT_COMPARABLE}: throttled; {DROP}")
    assert advise(FLOAT, row("half", 50, 15.0), board).ship == "half"


@pytest.mark.parametrize(("lost", "gained", "expected"), [(4, 2, 0.6), (3, 3, None), (2, 0, 0.9), (8, 5, 0.55)])
def test_the_items_that_make_it_sure_do(lost: int, gained: int, expected: float | None) -> None:
    evidence = Evidence(500, lost, gained, expected_lost=expected)
    needed = items_to_be_sure(evidence, drop=0.01, confidence=0.95)
    assert needed is not None

    def sure(items: int) -> float:
        scale = items / 500
        return probability_within(
            Evidence(items, round(lost * scale), round(gained * scale), expected_lost=expected), 0.01
        )

    assert sure(int(1.1 * needed)) >= 0.94
    assert needed == 98 or sure(int(0.6 * needed)) < 0.97
    assert items_to_be_sure(Evidence(500, 8, 2), drop=0.01, confidence=0.9) is None
