"""`compress`: limits, which file is the best of those that were tried, and when a search goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.results.figures import pack
from edgepress.toolkit.search.compression.report import why_float
from edgepress.toolkit.search.compression.search import StrategySearch
from edgepress.toolkit.search.compression.step_cache import FATAL
from edgepress.toolkit.search.compression.strategies import Strategy, search
from edgepress.toolkit.search.compression.trial import Limits, Trial, best_of, replaces, with_drop
from edgepress.toolkit.stats.choice import Evidence, Rule, probability_within

COUNT = 200


def trial(number: int, cost: int, wrong: list[int], limit: float = 5.0, **figures: Any) -> Trial:
    correct = np.ones(COUNT, bool)
    correct[wrong] = False
    about = {
        "strategy": f"strategy{cost}",
        "cost": cost,
        "how": "",
        "scheme": "s",
        "file": Path("f"),
        "correct": pack(correct),
    }
    reference = Trial(strategy="float", cost=0, how="", scheme="s", correct=pack(np.ones(COUNT, bool)))
    return with_drop(Trial(number=number, **about, **figures), reference, COUNT, limit)


def test_limits_are_read_with_and_without_units():
    limits = Limits.of(0.5, "200kB", 5, "64 MiB")
    assert limits.values == {"drop": 0.5, "size": 200e3, "latency": 5e3, "memory": 64 * 2**20}
    assert Limits.of(max_latency="80us").values["latency"] == 80
    assert Limits.of(max_size=1000).values["size"] == 1000
    for wrong in ("-3kB", "3 km", "0", "nan", "kB", "1e999kB"):
        with pytest.raises(InputError, match="--max-size is"):
            Limits.of(max_size=wrong)
    with pytest.raises(InputError, match="--max-drop is 101"):
        Limits.of(101)


def test_a_limit_is_missed_above_it_and_by_an_unknown_figure():
    limits = Limits.of(0.5, "1kB", "1ms")
    figures = {"drop": 0.5, "size": 1000.0, "latency": 1000.0, "memory": None}
    assert limits.excess(figures) == {}
    assert limits.excess(figures | {"drop": 1.5, "size": 2000.0}) == {"drop": 1.0, "size": 2.0}
    assert limits.excess(figures | {"latency": None}) == {"latency": None}


def test_the_best_keeps_the_limits_and_is_what_the_rule_chooses_of_the_sure_ones():
    limits, rule = Limits.of(5, 1000), Rule()
    sure = trial(1, 1, [0, 1], size_bytes=900, latency_us=10.0)
    small = trial(2, 2, [5], size_bytes=500, latency_us=11.0)
    quick = trial(3, 3, [], size_bytes=950, latency_us=2.0)
    unsure = trial(4, 1, list(range(8)), size_bytes=100, latency_us=1.0)
    assert {
        p: best_of([sure, small, quick, unsure], limits, Rule(prefer=p)) for p in ("balanced", "size", "latency")
    } == {
        "balanced": quick,
        "size": small,
        "latency": quick,
    }
    assert unsure.drop_pp == 4, "within the limit as measured"
    assert unsure.probability < 0.9 < sure.probability
    assert best_of([unsure], limits, rule) == unsure, "few items make no file sure"
    surer = trial(5, 1, list(range(7)), size_bytes=999, latency_us=99.0)
    assert surer.probability < 0.9
    assert best_of([unsure, surer], limits, rule) == surer, "then the surest"
    assert best_of([sure, replace(small, size_bytes=1001)], limits, rule) == sure
    assert best_of([trial(6, 1, list(range(11)), size_bytes=1)], limits, rule) is None
    assert best_of([replace(sure, error="does not run"), replace(sure, cost=0)], limits, rule) is None


def test_a_slower_file_is_for_those_who_want_it_small_or_whose_limits_the_float_file_misses():
    limits = Limits.of(5, 1000)
    reference = trial(0, 0, [], size_bytes=1000, latency_us=10.0)
    slow = trial(1, 1, [], size_bytes=100, latency_us=10.6)
    equal = trial(2, 2, [], size_bytes=950, latency_us=10.5)
    larger = trial(3, 3, [], size_bytes=1000, latency_us=9.5)
    assert best_of([slow, equal], limits, Rule(), float_us=10.0) == equal
    assert best_of([slow, equal], limits, Rule()) == slow
    assert best_of([slow, equal], limits, Rule(prefer="size"), float_us=10.0) == slow
    for prefer, worth_it in {
        "balanced": (False, True, True),
        "latency": (False, False, True),
        "size": (True, True, True),
    }.items():
        chosen = tuple(replaces(t, reference, limits, Rule(prefer=prefer)) for t in (slow, equal, larger))
        assert chosen == worth_it, prefer
    assert not replaces(replace(slow, size_bytes=1001), reference, Limits.of(5, 2000), Rule(prefer="size"))
    assert replaces(slow, reference, Limits.of(5, 999), Rule()), "the float file misses a limit"
    assert replaces(slow, replace(reference, latency_us=None), limits, Rule()), "not known to be slower"


def test_the_search_goes_on_while_the_float_file_is_better():
    state = empty_search()
    state.trials.append(trial(1, 1, [], size_bytes=3, latency_us=9.0))
    assert state.best() is not None
    assert not state.settled
    state.trials.append(trial(2, 2, [], size_bytes=3, latency_us=4.1))
    assert state.settled


def test_why_the_float_file_is_the_result_names_what_the_best_of_the_others_takes():
    state = empty_search()
    state.limits = Limits.of(5, 5000)
    state.trials.append(trial(1, 1, [], size_bytes=3, latency_us=9.0))
    final = {"items": 80, "accuracy": 0.975, "weak_source": None}
    assert why_float(state.trials[1], state, final) == (
        "The float file itself keeps all limits (size 4 B of 5 kB). The best of the others, s, takes 3 B and 9.00 µs "
        "instead of 4 B and 4.00 µs (--prefer size takes it). On 80 test items the float file reaches 97.50 %."
    )
    state.trials[1] = replace(state.trials[1], size_bytes=4)
    assert "--prefer" not in why_float(state.trials[1], state, final)
    weak = why_float(state.trials[1], state, final | {"weak_source": "answers little."})
    assert weak.startswith("The float file answers little. The float file itself keeps")


def empty_search(confidence=0.9, drop=5.0):
    """A search whose builder makes nothing."""
    from types import SimpleNamespace

    subject = SimpleNamespace(validation=SimpleNamespace(test=range(COUNT)), format="tflite", model=Path("m.keras"))
    builder = SimpleNamespace(subject=subject, convert=lambda *_: [None], cache=SimpleNamespace(seconds=0.0))
    state = StrategySearch(builder, builder, Limits.of(drop), Rule(confidence), minutes=60, on_trial=lambda t: None)
    state.trials.append(trial(0, 0, [], size_bytes=4, latency_us=4.0))
    return state


@pytest.mark.parametrize(
    ("wrong", "drop", "confidence", "settled"),
    [
        ([], 5, 0.9, True),
        (list(range(8)), 5, 0.9, False),  # 4 pp of 5: more exact ways are tried
        ([], 0.5, 0.9, True),  # 200 items can't make any file sure: nothing more would help
        ([], 5, 0.9999, True),
    ],
)
def test_cheap_ways_go_on_until_a_file_is_sure_enough_if_the_items_allow_it(wrong, drop, confidence, settled):
    state = empty_search(confidence, drop)
    assert not state.settled
    state.trials.append(trial(1, 1, wrong, size_bytes=1, latency_us=1.0, limit=drop))
    assert state.best() is not None
    assert state.settled == settled


def test_nothing_is_trained_only_to_be_surer(monkeypatch):
    state = empty_search()
    monkeypatch.setattr(StrategySearch, "begin", lambda self, made: None)
    tried = []

    def adds(name, wrong):
        def search(state):
            tried.append(name)
            state.trials.append(trial(state.cost, state.cost, wrong, size_bytes=1, latency_us=1.0))

        return search

    strategies = [
        Strategy("int8", "", lambda s: "", adds("int8", list(range(8)))),
        Strategy("weights", "", lambda s: "", adds("weights", list(range(7)))),
        Strategy("tune", "", lambda s: "", adds("tune", []), trains=True),
        Strategy("last", "", lambda s: "", adds("last", [])),
    ]
    search(state, tuple(strategies))
    assert tried == ["int8", "weights"]
    state = empty_search()
    tried.clear()
    search(state, (strategies[0]._replace(apply=adds("int8", list(range(11)))), *strategies[2:]))
    assert tried == ["int8", "tune"], "what misses a limit is worth a training"


def test_each_limit_is_about_its_own_figure():
    limits = Limits.of(0.5, 1000, 1, 2000, max_ram=3000, max_flash=4000)
    kept = {"drop_pp": 0.5, "size_bytes": 1000, "latency_us": 1000.0, "memory_bytes": 2000}
    kept |= {"ram_bytes": 3000, "flash_bytes": 4000}
    assert Trial(scheme="s", **kept).missed(limits) == {}
    for field, limit in zip(kept, ("drop", "size", "latency", "memory", "ram", "flash"), strict=True):
        beyond = Trial(scheme="s", **kept | {field: 2 * kept[field]})
        assert beyond.missed(limits) == {limit: 0.5 if limit == "drop" else 2}
        assert Trial(scheme="s", **kept | {field: None}).missed(limits) == {limit: None}


@pytest.mark.parametrize("name", ["max_ram", "max_flash"])
def test_each_limit_on_exported_c_needs_its_export(name):
    assert Limits.of(**{name: 1000}).exported


def test_a_file_that_answers_as_the_float_file_is_as_sure_as_any_can_be():
    """Its probability is exactly that of a file that answers alike: with these items, none is surer."""
    state = empty_search(confidence=0.9999, drop=0.5)
    alike = probability_within(Evidence(COUNT, 0, 0, expected_lost=0.5), 0.005)
    state.trials.append(replace(trial(1, 1, [], limit=0.5, size_bytes=1, latency_us=1.0), probability=alike))
    assert state.settled
    state.trials[1] = replace(state.trials[1], probability=alike - 1e-6)
    assert not state.settled


@pytest.mark.parametrize(("seconds", "up"), [(3600.0, False), (3600.1, True), (0.0, False)])
def test_the_time_is_up_after_the_minutes(seconds, up):
    state = empty_search()
    state.builder.cache.seconds = seconds
    assert state.time_is_up is up


def test_a_document_of_a_trial_has_no_single_answers():
    found = trial(1, 1, [0], size_bytes=9).to_dict()
    assert found["file"] == "f"
    assert found["size_bytes"] == 9
    assert "correct" not in found
    assert "expected_lost" not in found
    assert Trial(scheme="s").to_dict()["file"] is None


def schemes_tried(convert, source=None):
    """What a search remembers of two schemes, each timed by nobody."""
    state = empty_search()
    state.trials.append(replace(trial(0, 0, []), strategy="float"))
    state.builder.convert = convert
    state.measurer.measure = lambda made, reference: made
    return state.try_schemes("how", ["tflite-int8", "tflite-int4"], source)


def test_the_time_of_a_model_is_shared_by_its_files():
    paths = []

    def convert(path, schemes, **_):
        paths.append(path)
        return [Trial(scheme=scheme, seconds=1.0) for scheme in schemes]

    files = schemes_tried(convert, lambda: (Path("net"), {"share": 0.5}, 10.0))
    assert [each.seconds for each in files] == [6.0, 6.0]
    assert [each.facts for each in files] == [{"share": 0.5}] * 2
    assert [each.how for each in files] == ["how"] * 2
    assert [each.seconds for each in schemes_tried(convert)] == [1.0, 1.0]
    assert paths == [Path("net"), Path("m.keras")]


def test_schemes_that_can_not_be_made_are_trials_that_say_why():
    def fails(*_, **__):
        raise EdgepressError("It can't be made.", "Try another.")

    files = schemes_tried(fails)
    assert [each.scheme for each in files] == ["tflite-int8", "tflite-int4"]
    assert {each.error for each in files} == {"It can't be made. Try another."}


def test_what_ends_a_search_is_not_taken_for_a_failed_scheme():
    def interrupts(*_, **__):
        raise FATAL[0]("x")

    with pytest.raises(FATAL[0]):
        schemes_tried(interrupts)


def test_nothing_is_known_of_a_file_before_it_is_measured():
    new = Trial(scheme="s")
    assert (new.number, new.cost, new.strategy, new.error, new.correct, new.file) == (0, 0, "", "", "", None)
    assert set(new.figures.values()) == {None}
