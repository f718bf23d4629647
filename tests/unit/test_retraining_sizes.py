"""How much of a graph may stay, on graphs whose size and latency follow from the share that is left."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.converters.errors import ConversionError
from edgepress.converters.pruning.units import Family
from edgepress.toolkit.training.graphs import sizes as module
from edgepress.toolkit.training.graphs.options import Targets
from edgepress.toolkit.training.graphs.sizes import NEAR, Sizes, largest_share, shares


class Measured(Sizes):
    """Sizes of graphs that are given as the share that is left: 1,000 bytes and 10 ms of the whole."""

    def __init__(self, speed: Callable[[bytes], float] = lambda model: 1.0) -> None:
        self.speed = speed
        self.timed: list[bytes] = []

    def file(self, model: bytes) -> bytes:
        return bytes(round(1000 * float(model.split()[0])))

    def latency_ms(self, model: bytes) -> float:
        self.timed.append(model)
        return 10 * float(model.split()[0]) * self.speed(model)


def targets(**given: Any) -> Targets:
    plain: dict[str, Any] = {"macs": None, "size_bytes": None, "latency_ms": None}
    return Targets(**plain | given)


@pytest.mark.parametrize(
    ("given", "share"),
    [
        ({"size_bytes": 400}, 0.4),
        ({"latency_ms": 2.5}, 0.25),
        ({"size_bytes": 700, "latency_ms": 3.0}, 0.3),
        ({"macs": 0.5, "size_bytes": 450}, 0.45),
        ({"macs": 0.5, "size_bytes": 900}, 0.5),
        ({"macs": 0.5}, 0.5),
    ],
)
def test_the_largest_share_keeps_all_targets_and_is_near_the_bound(given: dict[str, Any], share: float) -> None:
    found = module._largest(lambda part: str(part).encode(), targets(**given), Measured())
    assert found is not None
    assert share - NEAR * given.get("macs", 1.0) <= found <= share


def test_shares_below_which_there_is_no_graph_are_not_taken() -> None:
    def graph(share: float) -> bytes | None:
        return str(share).encode() if share >= 0.3 else None

    found = module._largest(graph, targets(size_bytes=320), Measured())
    assert found is not None
    assert 0.3 <= found < 0.3205  # 320 bytes, rounded
    assert module._largest(graph, targets(size_bytes=200), Measured()) is None
    assert module._largest(lambda _: None, targets(size_bytes=200), Measured()) is None


@pytest.mark.parametrize(
    ("given", "missed"),
    [
        ({"size_bytes": 499}, {"size": 500}),
        ({"size_bytes": 500}, {}),
        ({"latency_ms": 4.9}, {"latency": 5.0}),
        ({"latency_ms": 5.0}, {}),
        ({"size_bytes": 1, "latency_ms": 1.0}, {"size": 500, "latency": 5.0}),
        ({"macs": 0.1}, {}),
    ],
)
def test_targets_are_missed_above_them(given: dict[str, Any], missed: dict[str, float]) -> None:
    assert Measured().missed(b"0.5", targets(**given)) == missed


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Units of graphs that are written as their share and the block of their layers."""
    costs = SimpleNamespace(total=lambda sizes: 100.0, sizes=lambda keep: keep)
    monkeypatch.setattr(module, "PruningCosts", lambda *_: costs)
    monkeypatch.setattr(module, "planned_units", lambda u, i, c, bound, *, block: (bound / 100, block))
    monkeypatch.setattr(module, "without_channels", lambda model, u, keep: f"{keep[0]} {keep[1]}".encode())
    return SimpleNamespace(families=("one",), count=3)


def share_of(units: Any, sizes: Measured, **given: Any) -> tuple[float, int]:
    return largest_share(b"1.0 0", units, np.ones(3), targets=targets(**given), sizes=sizes)


def slower(block: int, factor: float) -> Measured:
    """Graphs with layers of multiples of a block take longer."""
    return Measured(lambda model: factor if model.split()[1] == str(block).encode() else 1.0)


@pytest.mark.parametrize(("factor", "block"), [(1.04, 8), (1.1, 16), (0.9, 8)])
def test_other_blocks_are_taken_if_they_are_clearly_faster(units: Any, factor: float, block: int) -> None:
    sizes = slower(8, factor)
    assert share_of(units, sizes, macs=0.5) == (0.5, block)
    assert len(sizes.timed) == 2 * module.TURNS
    found, chosen = share_of(units, sizes, latency_ms=5.0)
    assert chosen == block
    assert found == pytest.approx(0.5 / (factor if block == 8 else 1), abs=NEAR)


def test_where_no_speed_is_asked_for_nothing_is_timed(units: Any) -> None:
    sizes = slower(8, 9.0)
    assert share_of(units, sizes, size_bytes=300) == (pytest.approx(0.3, abs=NEAR), 8)
    assert sizes.timed == []


def test_what_needs_no_pruning_or_can_not_be_pruned_is_said(units: Any) -> None:
    with pytest.raises(ConversionError, match="keeps the targets as it is") as refused:
        share_of(units, Measured(), size_bytes=1000)
    assert "edgepress convert" in refused.value.hint
    units.families = ()
    with pytest.raises(ConversionError, match="nothing to prune"):
        share_of(units, Measured(), size_bytes=300)


def test_what_the_smallest_graph_has_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps the most important unit of each family, and what belongs to none."""
    kept: list[Any] = []
    units: Any = SimpleNamespace(families=[Family(np.array([1, 2, 3]), {"a": 1}), Family(np.array([4, 5]), {"b": 1})])
    units.count = 6
    costs = SimpleNamespace(total=float, sizes=lambda keep: kept.append(keep.tolist()) or keep.sum())  # type: ignore[func-returns-value]
    monkeypatch.setattr(module, "PruningCosts", lambda *_: costs)
    monkeypatch.setattr(module, "without_channels", lambda *_: b"0.25")
    error = module._unreachable(
        b"",
        units,
        np.array([0, 2, 9, 1, 5, 6.0]),
        whole=6.0,
        targets=targets(macs=0.1, size_bytes=100, latency_ms=9.0),
        sizes=Measured(),
    )
    assert kept == [[True, False, True, False, False, True]]
    assert "50.0% of the multiply-accumulates and an int8 file of 250 B and 2.500 ms" in str(error)
    assert "50.0%" not in str(
        module._unreachable(b"", units, np.zeros(6), whole=6.0, targets=targets(size_bytes=999), sizes=Measured())
    )


def test_a_file_is_timed_as_one_thread_of_litert_does(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def bench(path: Any, engine: str, **options: Any) -> dict[str, Any]:
        asked.append((path.read_bytes(), engine, options["threads"]))
        return {"results": [{"p50_us": 1500.0}]}

    monkeypatch.setattr(module, "bench", bench)
    measured = Measured()
    assert Sizes.latency_ms(measured, b"0.003") == 1.5
    assert asked == [(bytes(3), "litert", (1,))]


@pytest.mark.parametrize(
    ("last", "factor", "most", "expected"),
    [(0.25, 0.5, 9, [0.5, 0.25]), (0.25, 0.5, 1, [0.25]), (0.9, 0.5, 9, [0.9]), (0.125, 0.3, 9, [0.125**0.5, 0.125])],
)
def test_shares_fall_evenly(last: float, factor: float, most: int, expected: list[float]) -> None:
    assert list(shares(last, factor, most)) == pytest.approx(expected)


@pytest.mark.parametrize(("given", "most"), [({"size_bytes": 400}, 1.0), ({"size_bytes": 400, "macs": 0.5}, 0.5)])
def test_no_share_above_the_whole_or_the_bound_is_tried(given: dict[str, Any], most: float) -> None:
    asked: list[float] = []
    module._largest(lambda part: asked.append(part) or str(part).encode(), targets(**given), Measured())  # type: ignore[func-returns-value]
    assert asked[0] == max(asked) == most
