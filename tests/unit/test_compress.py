"""`compress` without TensorFlow: the grid of shares, and what is predicted and tried."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.search.compression import smaller, strategies
from edgepress.toolkit.search.compression.builder import FloatModel, _by_target
from edgepress.toolkit.search.compression.report import misses, why_none
from edgepress.toolkit.search.compression.search import TIME_IS_UP, StrategySearch
from edgepress.toolkit.search.compression.trial import Limits, Trial
from edgepress.toolkit.stats.choice import Rule

COUNT = 1000


class Shop:
    """A builder of nets whose size and drop follow from the share that is left."""

    def __init__(
        self, drop_at: float, bytes_of: float = 100_000.0, offset: float = 3000.0, probes: bool = True
    ) -> None:
        import numpy as np

        self.subject = SimpleNamespace(
            format="tflite",
            model=Path("m.keras"),
            arch="lenet",
            validation=SimpleNamespace(test=range(COUNT)),
            opened=SimpleNamespace(input=SimpleNamespace(shape=(28, 28, 1))),
        )
        self.cache = SimpleNamespace(seconds=0.0)
        self.drop_at, self.bytes_of, self.offset = drop_at, bytes_of, offset
        self.probes = probes
        self.pruned: list[float] = []
        self.probed: list[float] = []
        self.np = np

    def prune(self, *, briefly: bool = False, max_size: float = 0, macs: float = 0) -> FloatModel:
        share = max_size / self.bytes_of if max_size else macs
        (self.probed if briefly else self.pruned).append(share)
        if briefly and not self.probes:
            raise EdgepressError("It can't be made.")
        return FloatModel(Path(f"{share}"), {}, 60.0)

    def convert(self, source: Path, schemes: list[str], **options: Any) -> list[Trial]:
        return [Trial(scheme=scheme, seconds=1.0, file=source) for scheme in schemes]

    def measure(self, trial: Trial, reference: Trial) -> Trial:
        from edgepress.toolkit.results.figures import pack

        share = float(str(trial.file))
        correct = self.np.ones(COUNT, bool)
        correct[: round(max(0.0, self.drop_at - share) * 100)] = False
        ratio = 0.6 if trial.scheme.endswith("int4") else 1.0
        size = round((share * self.bytes_of + self.offset * (share < 1)) * ratio)
        figures = {"ram_bytes": round(2000 + 18_000 * share), "flash_bytes": size + 4000}
        return replace(trial, size_bytes=size, latency_us=1000 * share**0.5, correct=pack(correct), **figures)

    def with_latency(self, trial: Trial, reference: Trial) -> Trial:
        return self.measure(trial, reference)


def search_with(limits: Limits, **options: Any) -> tuple[StrategySearch, Shop]:
    import numpy as np

    from edgepress.toolkit.results.figures import pack

    shop = Shop(**options)
    state = StrategySearch(shop, shop, limits, Rule(), minutes=60, on_trial=lambda trial: None)  # type: ignore[arg-type]
    state.trials.append(Trial(strategy="float", cost=0, how="", scheme="s", correct=pack(np.ones(COUNT, bool))))
    state.strategy, state.cost = "int8", 1
    state.take("int8", [Trial(scheme="tflite-int8", file=Path("1"))])
    state.strategy, state.cost = "prune", 7
    return state, shop


def test_pruning_corrects_its_first_guess_and_uses_the_limit():
    for offset, probes, trainings in ((3000.0, True, 1), (12000.0, True, 1), (12000.0, False, 2)):
        state, shop = search_with(Limits.of(0.5, 80_000, 2), drop_at=0.0, offset=offset, probes=probes)
        smaller.prune(state)
        first, second = state.trials[-2:]
        assert 0.85 * 80_000 < first.size_bytes <= 80_000
        assert state.best() == second  # a smaller one, which is not worse
        assert len(shop.pruned) == trainings + 1
    assert all(scheme.endswith("int8") for scheme in (t.scheme for t in state.trials[1:]))  # speed is asked for


def test_pruning_takes_4_bits_where_size_alone_is_limited_far_below_int8():
    state, shop = search_with(Limits.of(0.5, 20_000), drop_at=0.0)
    smaller.prune(state)
    best = state.best()
    assert best is not None
    assert best.scheme == "tflite-int4"
    assert shop.pruned[0] > 0.25


@pytest.mark.parametrize("probes", [True, False])
def test_pruning_by_latency_follows_the_macs_on_a_grid(probes):
    state, shop = search_with(Limits.of(0.5, None, 0.7), drop_at=0.0, probes=probes)
    smaller.prune(state)
    first = state.of("prune")[0]
    if probes:  # nets that are trained briefly tell which one keeps the limit, so that the first training does
        assert len(shop.pruned) == 2
        assert 0.7 * 0.9 < (first.latency_us or 0) / 1000 <= 0.7
        assert 2 <= len(shop.probed) <= smaller.PROBES
    else:
        assert len(shop.probed) == 1
        assert len(shop.pruned) > 2
    assert state.best() is not None
    assert all(share == smaller.on_grid(share) for share in [*shop.pruned, *shop.probed])
    assert smaller.on_grid(0.7) <= 0.7
    assert smaller.on_grid(0.7) == smaller.on_grid(0.66)


@pytest.mark.parametrize(
    ("fixed", "limit", "largest"), [(0.6, 0.7, 0.25), (0.5, 0.55, 0.1), (0.0, 0.3, 0.3), (0.7, 0.6, None)]
)
def test_hardly_trained_nets_find_the_share_of_a_latency_with_a_fixed_part(fixed, limit, largest):
    state, shop = search_with(Limits.of(0.5, None, limit), drop_at=0.0)
    real = shop.measure

    def measure(trial: Trial, reference: Trial) -> Trial:
        measured = real(trial, reference)
        return replace(measured, latency_us=1000 * (fixed + (1 - fixed) * (measured.latency_us or 0) ** 2 / 1e6))

    shop.measure = measure  # type: ignore[method-assign]
    smaller.prune(state)
    assert len(shop.probed) <= smaller.PROBES
    if largest is None:  # no net is that fast, and none is trained to learn it
        assert shop.pruned == []
        assert "even a net pruned to 1.6 % of the MACs does not keep" in state.skipped[-1].why
        return
    assert len(shop.pruned) == 2
    assert shop.pruned[0] <= largest
    assert 0.89 * limit < (state.of("prune")[0].latency_us or 0) / 1000 <= limit


@pytest.mark.parametrize(("limit", "found"), [(0.42, True), (0.2, False)])
def test_a_share_that_can_t_be_reached_is_not_trained(limit, found):
    """One channel is left of each layer at 10 % of the MACs, which take 0.316 ms; predictions go below that."""
    state, shop = search_with(Limits.of(0.5, None, limit), drop_at=0.0)
    real = shop.prune

    def prune(*, macs: float, briefly: bool = False) -> FloatModel:
        source = real(macs=macs, briefly=briefly)
        if briefly and macs <= 0.1:
            raise EdgepressError("Each layer has one channel left.")
        return source

    shop.prune = prune  # type: ignore[method-assign, assignment]
    smaller.prune(state)
    assert (shop.pruned != []) == found
    if not found:
        assert "does not keep the limits" in state.skipped[-1].why
        assert len(shop.probed) <= smaller.PROBES


def test_what_hardly_trained_nets_showed_to_be_too_slow_is_not_trained():
    state, shop = search_with(Limits.of(0.5, None, 1), drop_at=2.0)
    state.trials[1] = replace(state.trials[1], latency_us=1200.0)
    real = shop.measure

    def measure(trial: Trial, reference: Trial) -> Trial:
        measured = real(trial, reference)
        return replace(measured, latency_us=800.0 if (measured.latency_us or 0) < 1000 * 0.52**0.5 else 1100.0)

    shop.measure = measure  # type: ignore[method-assign]
    smaller.prune(state)
    assert set(shop.pruned) <= {0.458502, 0.5}  # these keep the latency; they miss the drop


def test_no_training_begins_when_the_time_is_up():
    state, shop = search_with(Limits.of(0.5, None, 0.7), drop_at=2.0, probes=False)
    shop.cache.seconds = 3601.0
    smaller.prune(state)
    assert shop.pruned == shop.probed == []
    assert state.cut_short


def test_a_share_of_the_grid_stays_where_it_is():
    for step in range(int(-math.log2(smaller.LEAST_SHARE) * smaller.PER_OCTAVE) + 1):
        share = smaller.on_grid(2 ** (-step / smaller.PER_OCTAVE))
        assert smaller.on_grid(share) == share == pytest.approx(2 ** (-step / smaller.PER_OCTAVE), rel=1e-3)
        assert smaller.on_grid(1.08 * share) == share


def test_pruning_ends_when_nothing_larger_fits_and_accuracy_is_missed():
    state, shop = search_with(Limits.of(0.5, 80_000), drop_at=2.0)
    state.strategy, state.cost = "int4", 5
    state.take("4-bit weights", [Trial(scheme="tflite-int4", file=Path("1"))])
    state.strategy, state.cost = "prune", 7
    smaller.prune(state)
    assert state.best() is None
    assert len(shop.pruned) <= smaller.TRAININGS
    assert state.only_drop_missed("prune")


def test_a_smaller_net_is_not_tried_for_accuracy_alone():
    state, _ = search_with(Limits.of(0.5, 200_000), drop_at=2.0)
    assert "keeps all limits but" in smaller.no_smaller(state)
    assert strategies._exact(state) == ""
    other, _ = search_with(Limits.of(0.5, 50_000), drop_at=2.0)
    assert smaller.no_smaller(other) == ""
    assert strategies._exact(other)


def test_4_bit_weights_are_tried_for_size_alone():
    assert strategies._no_int4(search_with(Limits.of(0.5, 60_000), drop_at=0)[0]) == ""
    assert "save half" in strategies._no_int4(search_with(Limits.of(0.5, 49_000), drop_at=0)[0])
    assert "no faster" in strategies._no_int4(search_with(Limits.of(0.5, 60_000, 0.9), drop_at=0)[0])
    assert "not what is missed" in strategies._no_int4(search_with(Limits.of(0.5, 160_000, 0.9), drop_at=0)[0])


def test_limits_on_exported_c_are_read_and_named():
    limits = Limits.of(max_ram="32kB", max_flash="128 KiB")
    assert limits.values == {"drop": 0.5, "ram": 32e3, "flash": 2.0**17}
    assert limits.exported
    assert not Limits.of(0.5, 1000, 1, 1000).exported
    assert limits.in_words() == "accuracy drop at most 0.50 pp, RAM at most 32 kB, flash at most 131 kB"
    with pytest.raises(InputError, match="--max-flash is '-1'"):
        Limits.of(max_flash="-1")


def test_limits_on_exported_c_are_kept_by_int8_files_alone():
    for limits in (Limits.of(max_ram=1000), Limits.of(max_size=1000, max_flash=1000)):
        state, _ = search_with(limits, drop_at=0.0)
        reasons = {row.name: row.why_not(state) for row in strategies.STRATEGIES}
        assert {reasons[name] for name in ("mixed", "weights", "int4")} == {strategies.NOT_EXPORTED}
        assert reasons["prune"] == ""
    schemes = ["tflite-float32", "tflite-int8", "tflite-mixed"]
    assert _by_target(schemes, "integer-only") == {"cpu": [schemes[0], schemes[2]], "integer-only": [schemes[1]]}
    assert _by_target(schemes, "cpu") == {"cpu": schemes}


@pytest.mark.parametrize(
    ("ram", "flash", "by_bytes"), [(None, 50_000, True), (12_000, None, False), (12_000, 90_000, False)]
)
def test_pruning_keeps_ram_by_macs_and_flash_by_bytes(ram, flash, by_bytes):
    state, shop = search_with(Limits.of(0.5, 40_000 if by_bytes else None, max_ram=ram, max_flash=flash), drop_at=0.0)
    asked: list[bool] = []
    real = shop.prune

    def prune(*, briefly: bool = False, **target: float) -> FloatModel:
        asked.append("max_size" in target)
        return real(briefly=briefly, **target)

    shop.prune = prune  # type: ignore[method-assign, assignment]
    smaller.prune(state)
    first = state.of("prune")[0]
    assert set(asked) == {by_bytes}
    assert state.best() is not None
    assert first.scheme == "tflite-int8", "4-bit weights can't be exported"
    shares = [
        getattr(first, f"{n}_bytes") / state.limits.values[n]
        for n in ("ram", "flash", "size")
        if n in state.limits.values
    ]
    assert 0.85 < max(shares) <= 1


def test_ram_that_no_net_reaches_is_said_with_what_the_nearest_takes():
    state, shop = search_with(Limits.of(0.5, max_ram=2000), drop_at=0.0)
    smaller.prune(state)
    assert shop.pruned == []
    assert "even a net pruned to 1.6 % of the MACs does not keep" in state.skipped[-1].why
    assert state.skipped[-1].why.endswith("(the nearest one: RAM 2.28 kB)")
    (miss,) = (miss for miss in misses(state) if miss.limit == "ram")
    assert (miss.least, miss.least_file) == (20_000, "tflite-int8")


def test_a_net_that_can_t_be_exported_is_the_reason():
    state, _ = search_with(Limits.of(0.5, max_ram=2000), drop_at=0.0)
    state.trials[1] = replace(state.trials[1], error="It can't be exported as C: TANH is not supported.")
    assert "None could be made and measured: It can't be exported as C: TANH" in why_none(state, misses(state))


def test_widths_are_those_of_the_model_s_architecture():
    arch, widths = smaller.family("mobilenet-v2")
    assert arch == "mobilenet-v2"
    assert widths == sorted(widths, reverse=True)
    assert 0.05 <= widths[-1] < widths[0] < 0.35
    assert smaller.family("lenet")[0] == smaller.family("")[0] == "mobilenet-v1"


@pytest.mark.parametrize(
    ("error", "why"), [("no memory", "can't be made or measured"), ("", "does not keep the limits")]
)
def test_a_narrower_net_that_fails_is_not_said_to_be_too_large(error, why):
    state, shop = search_with(Limits.of(0.5, 50_000), drop_at=0.0)
    shop.untrained = lambda *arguments: FloatModel(Path("1"), {}, 1.0)  # type: ignore[attr-defined]
    shop.with_latency = lambda trial, reference: replace(trial, size_bytes=60_000, error=error)  # type: ignore[method-assign]
    smaller.width(state)
    assert why in state.skipped[-1].why


def test_a_verdict_names_the_limit_that_would_have_to_give():
    state, _ = search_with(Limits.of(0.5, 50_000), drop_at=0.0)
    found = {miss.limit: miss for miss in misses(state)}
    assert found["size"].beside == 100_000
    assert found["drop"].beside is None
    assert "--max-size 100kB (tflite-int8)" in why_none(state, [*found.values()])
    assert "no file keeps the other limits" in found["drop"].in_words()
    both, _ = search_with(Limits.of(0.1, 50_000), drop_at=2.0)
    assert "relax two" in why_none(both, misses(both))
    assert "--minutes" not in why_none(both, misses(both)), "more time would not help"
    both.skip(TIME_IS_UP)
    assert "More time (--minutes)" in why_none(both, misses(both))


def test_a_size_that_no_pruned_net_can_have_is_said_with_a_share():
    state, shop = search_with(Limits.of(0.5, 1500), drop_at=0.0)
    smaller.prune(state)
    assert shop.pruned == []
    assert state.skipped[-1].why == "0.0 % of the net would be left, which is too little"
