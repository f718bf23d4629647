"""Which of several files is chosen: never one that another, which is sure enough, beats."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from records import assert_frozen

from edgepress.toolkit.errors import InputError
from edgepress.toolkit.stats import choice
from edgepress.toolkit.stats.choice import PREFERENCES, Costs, Rule

sizes = st.integers(1, 6).map(float)
probabilities = st.none() | st.sampled_from([0.0, 0.5, 0.89, 0.9, 0.91, 1.0])


@st.composite
def measured_files(draw: st.DrawFn) -> list[Costs]:
    """Files of which those above one latency, which is that of the float file, are slower."""
    float_latency = draw(sizes)
    costs = draw(st.lists(st.tuples(sizes, st.none() | sizes, probabilities), max_size=7))
    return [Costs(size, latency, p, (latency or 0.0) > float_latency) for size, latency, p in costs]


files = measured_files()
rules = st.builds(Rule, st.sampled_from([0.5, 0.9, 0.95]), st.sampled_from(PREFERENCES))


@given(costs=files, rule=rules)
def test_what_is_chosen_is_sure_enough_and_nothing_sure_beats_it(costs: list[Costs], rule: Rule) -> None:
    sure = [c for c in costs if c.probability is not None and c.probability >= rule.confidence]
    chosen = rule.choose(costs)
    assert (chosen is None) == (not sure)
    if chosen is None:
        return
    own = costs[chosen]
    assert own in sure
    assert chosen in rule.front(costs)
    timed = [c for c in sure if c.latency is not None]
    counted = timed or sure
    if rule.prefer != "size":
        counted = [c for c in counted if not c.slower] or counted
    for other in counted:
        assert not (other.size < own.size and (other.latency or 0) <= (own.latency or 0))
        assert not (other.size <= own.size and (other.latency or 0) < (own.latency or 0))
    product = [c.size * (c.latency or 1.0) for c in counted]
    least = {"balanced": min(product), "size": min(c.size for c in counted)}
    own_price = {"balanced": own.size * (own.latency or 1.0), "size": own.size}
    if rule.prefer in least:
        assert own_price[rule.prefer] == least[rule.prefer]
    elif timed:
        assert own.latency == min(c.latency or 0.0 for c in timed)


@given(costs=files, rule=rules, higher=st.sampled_from([0.9, 0.95, 0.99]))
def test_a_higher_confidence_never_finds_a_better_file(costs: list[Costs], rule: Rule, higher: float) -> None:
    assume(all(c.latency is not None for c in costs))
    stricter = dataclasses.replace(rule, confidence=max(higher, rule.confidence))
    assert set(stricter.qualified(costs)) <= set(rule.qualified(costs))
    loose, strict = rule.choose(costs), stricter.choose(costs)
    if strict is not None:
        assert loose is not None
        assert rule._price(costs[loose]) <= rule._price(costs[strict])


@given(costs=files, rule=rules, data=st.data())
def test_order_units_and_hopeless_files_change_nothing(costs: list[Costs], rule: Rule, data: st.DataObject) -> None:
    chosen = rule.choose(costs)
    order = data.draw(st.permutations(range(len(costs))))
    again = rule.choose([costs[n] for n in order])
    assert (chosen is None) == (again is None)
    if chosen is None or again is None:
        return
    assert costs[order[again]] == costs[chosen]
    assert rule.choose([*costs, Costs(0.1, 0.1, 0.3)]) == chosen, "small and fast, but not sure"
    units = [c._replace(size=c.size * 1000, latency=None if c.latency is None else c.latency * 8) for c in costs]
    assert rule.choose(units) == chosen


CLOTHING = [
    Costs(9100, 11.0, 1.0),  # the float file
    Costs(3460, 7.15, 0.97),  # int8
    Costs(4900, 11.1, 1.0),  # float16
    Costs(4640, 20.9, 1.0),  # ONNX float16, "proven" and the smallest of those
    Costs(2000, 3.0, 0.2),  # small, fast and bad
]
"""Sizes, latencies and probabilities like those of the clothing photos of issue 25."""


def test_the_clothing_case_is_the_int8_file() -> None:
    assert [Rule(prefer=prefer).choose(CLOTHING) for prefer in PREFERENCES] == [1, 1, 1]
    assert Rule(confidence=0.98).choose(CLOTHING) == 2, "never the slower one that is hardly smaller: its product"
    assert Rule(confidence=0.1).choose(CLOTHING) == 4


def test_preferences_choose_the_ends_of_the_front_or_the_least_product() -> None:
    costs = [Costs(10, 10, 1), Costs(2, 9, 1), Costs(4, 4, 1), Costs(9, 2.1, 1), Costs(4, 5, 1)]
    assert {p: Rule(prefer=p).choose(costs) for p in PREFERENCES} == {"balanced": 2, "size": 1, "latency": 3}
    assert Rule().front(costs) == [1, 2, 3]


def test_of_equals_the_surest_is_chosen_then_the_first() -> None:
    for prefer in PREFERENCES:
        assert Rule(prefer=prefer).choose([Costs(2, 3, 0.93), Costs(2, 3, 0.99), Costs(2, 3, 0.99)]) == 1
    assert Rule().choose([Costs(2, 6, 1), Costs(3, 4, 1)]) == 0, "of equal products the smaller"


def test_without_latency_size_decides_and_untimed_files_yield_to_timed_ones() -> None:
    for prefer in PREFERENCES:
        assert Rule(prefer=prefer).choose([Costs(5, None, 1), Costs(3, None, 1), Costs(2, None, 0.4)]) == 1
    assert Rule().choose([Costs(1, None, 1), Costs(5, 2, 1)]) == 1, "what was not timed can't be compared"
    assert Rule().choose([Costs(1, None, 1), Costs(5, 2, 0.1)]) == 0
    assert Rule().choose([]) is None


def test_the_confidence_itself_is_enough() -> None:
    assert Rule(0.9).choose([Costs(1, 1, 0.9)]) == 0
    assert Rule(0.9).choose([Costs(1, 1, 0.8999)]) is None


def test_rules_are_read_as_users_write_them() -> None:
    assert Rule.of() == Rule() == Rule.of("90%") == Rule.of(0.9, "balanced")
    assert Rule.of("97.5%", "latency") == Rule(0.975, "latency")
    for wrong in ("90", 1, "100%", "49%", 0.4, "nan", "most", "-90%", 0.99995):
        with pytest.raises(InputError, match="--confidence is"):
            Rule.of(wrong)
    with pytest.raises(InputError, match="Unknown preference 'speed'"):
        Rule.of(prefer="speed")
    for confidence, prefer in itertools.product((0.5, 0.9999), PREFERENCES):
        assert Rule.of(confidence, prefer) == Rule(confidence, prefer)


def test_a_rule_can_not_be_changed() -> None:
    assert_frozen(choice, by_position=frozenset({"Evidence", "Rule"}))
