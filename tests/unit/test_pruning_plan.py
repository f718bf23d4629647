"""Which units leave: the cheapest for what they save, no more than the bound asks for, by costs that are given here."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.converters.pruning import plan as module
from edgepress.converters.pruning.plan import chosen_units, normalize, planned_units
from edgepress.converters.pruning.units import Family
from edgepress.toolkit.training.graphs.options import Targets


class Costs:
    """Costs of families that do not depend on each other: so much a channel, of layers as they are given."""

    def __init__(self, counts: list[int], each: list[float], rest: float = 0.0) -> None:
        self.each, self.rest = each, rest
        first = np.cumsum([1, *counts])
        self.units = SimpleNamespace(
            count=int(first[-1]),
            families=tuple(
                Family(np.arange(start, start + count), {f"t{number}": 1})
                for number, (start, count) in enumerate(zip(first, counts, strict=False))
            ),
        )

    def sizes(self, keep: Any) -> dict[str, int]:
        return {f"t{n}": int(keep[family.units].sum()) for n, family in enumerate(self.units.families)}

    def layers_of(self, family: Family) -> list[int]:
        return [int(name[1:]) for name in family.channels]

    def total(self, left: Mapping[str, int], layers: list[int] | None = None) -> float:
        numbers = range(len(self.each)) if layers is None else layers
        return (self.rest if layers is None else 0) + sum(self.each[n] * left[f"t{n}"] for n in numbers)


def plan(costs: Costs, importance: list[float], bound: float, **options: Any) -> list[int] | None:
    """How many units of each family stay."""
    values = np.array([0.0, *importance])
    keep = chosen_units(costs.units, values, costs, bound, **{"block": 1, "cut": 1.0} | options)  # type: ignore[arg-type]
    return None if keep is None else [int(keep[family.units].sum()) for family in costs.units.families]


def test_the_least_important_units_leave() -> None:
    costs = Costs([6], [10.0])
    keep = chosen_units(costs.units, np.array([0, 5, 1, 4, 2, 6, 3.0]), costs, 30, block=1, cut=1.0)  # type: ignore[arg-type]
    assert keep is not None
    assert keep.tolist() == [True, True, False, True, False, True, False]


def test_what_saves_more_for_the_same_harm_leaves_first() -> None:
    """All units are as important; those of the second family save ten times as much."""
    assert plan(Costs([8, 8], [1.0, 10.0]), [1.0] * 16, 68) == [8, 6]
    assert plan(Costs([8, 8], [10.0, 1.0]), [1.0] * 16, 68) == [6, 8]


def test_what_harms_less_for_the_same_saving_leaves_first() -> None:
    assert plan(Costs([8, 8], [1.0, 1.0]), [3.0] * 8 + [1.0] * 8, 14) == [8, 6]


def test_the_price_of_a_family_rises_with_the_share_of_it_that_is_gone() -> None:
    assert plan(Costs([8, 8], [1.0, 1.0]), [1.0] * 16, 8) == [4, 4]
    assert plan(Costs([4, 16], [1.0, 1.0]), [1.0] * 20, 10) == [2, 8]


def test_cuts_that_a_later_one_makes_needless_are_undone() -> None:
    """Cheap units leave first and do not suffice; the one that does makes them needless."""
    costs = Costs([4, 2], [1.0, 20.0])
    assert plan(costs, [0.1, 0.1, 0.1, 0.1, 50.0, 50.0], 24) == [4, 1]
    assert plan(costs, [0.1, 0.1, 0.1, 0.1, 50.0, 50.0], 23) == [3, 1]


def test_undone_cuts_are_the_dearest_that_the_bound_does_not_need() -> None:
    states = [
        module._FamilyState(family, family.units, np.ones(4), 4, 1, [number])
        for number, family in enumerate(Costs([4, 4], [1.0, 1.0]).units.families)
    ]
    costs, staying = Costs([4, 4], [1.0, 1.0]), np.ones(9, bool)
    sizes = costs.sizes(staying)
    cuts = []
    for state in (states[0], states[1], states[0]):
        cuts.append((state, state.left))
        module._set(state, state.left - 1, staying, sizes)
    module._give_back(cuts, staying, sizes, costs=costs, bound=7)  # type: ignore[arg-type]
    assert [state.left for state in states] == [3, 4] == list(sizes.values())
    assert staying.sum() == 8


def test_no_more_than_a_share_of_a_family_leaves_and_never_its_last_unit() -> None:
    costs = Costs([8, 8], [1.0, 1.0])
    cheap = [0.001] * 8 + [1.0] * 8
    assert plan(costs, cheap, 12, cut=0.5) == [4, 8]
    assert plan(costs, cheap, 11, cut=0.5) == [4, 7]
    assert plan(costs, cheap, 7, cut=0.5) is None
    assert plan(costs, cheap, 2) == [1, 1]
    assert plan(costs, cheap, 1) is None


def test_costs_that_stay_count() -> None:
    assert plan(Costs([8], [1.0], rest=100.0), [1.0] * 8, 104) == [4]
    assert plan(Costs([8], [1.0], rest=100.0), [1.0] * 8, 100) is None


@pytest.mark.parametrize(("bound", "left"), [(40, 40), (39, 32), (31, 24), (15, 8), (7, 7)])
def test_wide_layers_have_whole_blocks_and_narrow_ones_any_number(bound: float, left: int) -> None:
    found = module._below(bound + 1 if bound != 40 else 41, 8)
    assert found == left
    assert module._below(1, 8) == 0
    assert module._below(24, 16) == 16
    assert module._below(16, 16) == 8
    assert module._below(9, 1) == 8


@pytest.mark.parametrize(("total", "bound", "each", "lands"), [
    (16, 15, 1.0, False), (16, 8, 1.0, True), (16, 8.6, 1.0, False), (100, 99, 1.0, True), (100, 99, 6.0, False),
])  # fmt: skip
def test_a_cut_lands_near_the_bound_or_in_small_steps(total: float, bound: float, each: float, lands: bool) -> None:
    costs = Costs([16], [each], rest=total - 16 * each)
    (family,) = costs.units.families
    state = module._FamilyState(family, family.units, np.ones(16), 16, 1, [0], next=8)
    assert module._lands(state, {"t0": 16}, costs, total=total, bound=bound) == lands  # type: ignore[arg-type]


def test_all_that_has_left_may_stay_again() -> None:
    costs = Costs([16], [1.0])
    (family,) = costs.units.families
    staying = np.arange(17) > 8
    state = module._FamilyState(family, family.units, np.ones(16), 8, 1, [0])
    module._fill([state], staying, {"t0": 8}, costs=costs, bound=16, block=8)  # type: ignore[arg-type]
    assert state.left == 16 == staying[family.units].sum()


def test_where_whole_blocks_save_too_much_parts_of_blocks_stay() -> None:
    assert plan(Costs([64, 10], [1.0, 1.0]), [1.0] * 74, 73, block=8) == [60, 10]
    assert plan(Costs([16], [1.0]), [1.0] * 16, 15, block=8) == [15]
    assert plan(Costs([16], [1.0]), [1.0] * 16, 11, block=8) == [11]


def test_a_plan_takes_more_of_a_family_only_if_it_must() -> None:
    costs = Costs([8, 8], [1.0, 1.0])
    values = np.array([0.0, *[0.001] * 8, *[1.0] * 8])
    for bound, left in ((12, [4, 8]), (6, [3, 3])):
        keep = planned_units(costs.units, values, costs, bound, block=1)  # type: ignore[arg-type]
        assert keep is not None
        found = [int(keep[family.units].sum()) for family in costs.units.families]
        assert (found == left) if bound == 12 else sum(found) == 6
    assert planned_units(costs.units, values, costs, 1, block=1) is None  # type: ignore[arg-type]


def test_importance_has_a_mean_of_1_without_what_stays() -> None:
    assert normalize(np.array([9.0, 1.0, 3.0])).tolist() == [4.5, 0.5, 1.5]
    assert normalize(np.zeros(3)).tolist() == [0, 0, 0]
    assert normalize(np.array([2.0])).tolist() == [2.0]


@pytest.mark.parametrize(
    ("each", "importance", "bound", "left"),
    [
        ([1.0, 4.0], (1.0, 2.0), 56, [16, 10]),  # 1 for a cost of 1 is more than 2 for 4
        ([4.0, 1.0], (3.0, 1.0), 56, [10, 16]),
        ([1.0, 4.0], (1.0, 5.0), 56, [8, 12]),
        ([0.0, 1.0], (1.0, 1.0), 12, [8, 12]),  # what costs nothing is not worth a division by 0
    ],
)
def test_what_is_worth_most_for_its_cost_stays_again(
    each: list[float], importance: Any, bound: float, left: list[int]
) -> None:
    costs = Costs([16, 16], each)
    states = [
        module._FamilyState(family, family.units, np.full(16, one), 8, 1, [number])
        for number, (family, one) in enumerate(zip(costs.units.families, importance, strict=True))
    ]
    sizes = {"t0": 8, "t1": 8}
    staying = np.isin(np.arange(33), [0, *range(9, 17), *range(25, 33)])
    module._fill(states, staying, sizes, costs=costs, bound=bound, block=4)  # type: ignore[arg-type]
    assert [state.left for state in states] == list(sizes.values()) == left
    assert [int(staying[family.units].sum()) for family in costs.units.families] == left


def test_more_of_a_family_leaves_in_blocks_before_single_units_do() -> None:
    """A third of a family stays of one, although single units of the other would harm less."""
    costs = Costs([32, 32], [1.0, 1.0])
    values = np.array([0.0, *[1.0] * 32, *[1.2] * 32])
    keep = planned_units(costs.units, values, costs, 24, block=8)  # type: ignore[arg-type]
    assert keep is not None
    assert sorted(int(keep[family.units].sum()) for family in costs.units.families) == [8, 16]


def test_units_that_have_left_already_stay_away() -> None:
    costs = Costs([6, 6], [10.0, 1.0])
    before = np.ones(13, bool)
    before[[2, 3, 7]] = False
    given = before.copy()
    importance = np.array([0, 5, 1, 1, 2, 6, 3, *[9.0] * 6])
    keep = chosen_units(costs.units, importance, costs, 36, keep=before, block=1, cut=1.0)  # type: ignore[arg-type]
    assert keep is not None
    assert np.flatnonzero(~keep).tolist() == [2, 3, 4, 7]
    assert before.tolist() == given.tolist()


@pytest.mark.parametrize(("kind", "smaller"), [("bytes", "late"), ("macs", "early")])
@pytest.mark.parametrize("times", [4, 50, 900])
def test_bytes_are_saved_where_weights_are_and_macs_where_products_are(
    kind: module.Cost, smaller: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An early layer of few weights at many places, and a late one of many weights at one place, equally important."""
    sizes = {"early": (10 * times, 10), "late": (10, 10 * times)}  # multiply-accumulates and weights
    steps = [
        SimpleNamespace(
            kind="DEPTHWISE_CONV_2D",
            inputs=["image"],
            output=name,
            macs=macs,
            constants={1: np.zeros(weights)},
            options=None,
        )
        for name, (macs, weights) in sizes.items()
    ]
    monkeypatch.setattr(module, "macs", lambda model: sum(macs for macs, _ in sizes.values()))
    of = {"early": np.arange(1, 9), "late": np.arange(9, 17)}
    families = tuple(Family(ids, {name: 1}) for name, ids in of.items())
    units: Any = SimpleNamespace(program=SimpleNamespace(weighted=lambda: steps), of=of, families=families, count=17)
    costs = module.PruningCosts(b"", units, kind)
    bound = 10 + 10 * times * 5 / 8
    keep = planned_units(units, np.ones(17), costs, bound, block=1)
    assert keep is not None
    left = costs.sizes(keep)
    other = "late" if smaller == "early" else "early"
    assert (left[smaller], left[other]) == (5, 8)
    assert Targets(size_bytes=9).cost == "bytes"
    assert Targets(macs=0.5, size_bytes=9).cost == "macs"
