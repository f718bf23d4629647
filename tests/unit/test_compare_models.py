"""How `compare` measures two model files, what it assumes unless told otherwise, and the words of its methods."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from comparing import judged
from records import float_row, result, row

from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.benchmarking import benchmark as benchmark_module
from edgepress.toolkit.measurement.benchmarking.benchmark import BenchmarkOptions
from edgepress.toolkit.measurement.comparison.compare import compare, compare_results
from edgepress.toolkit.measurement.comparison.figures import _around, _latency, share_interval
from edgepress.toolkit.measurement.comparison.gates import FAILED, OPEN, Gate, parse_gate
from edgepress.toolkit.measurement.comparison.latency import Side, allow, latency_ratio
from edgepress.toolkit.measurement.comparison.text import markdown, methods
from edgepress.toolkit.stats.intervals import Interval


def models(folder: Path) -> tuple[Path, Path]:
    paths = folder / "old.tflite", folder / "new.tflite"
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def test_two_models_are_measured_in_one_run_as_the_command_says_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = models(tmp_path)
    asked: list[BenchmarkOptions] = []

    def measured(files: Any, *, data: Any, hints: Any, options: BenchmarkOptions, on_progress: Any) -> Any:
        assert hints is None
        asked.append(options)
        rows = [row(rounds=(us,) * 20, file=str(path)) for path, us in ((old, 50.0), (new, 55.0))]
        return dataclasses.replace(result(*rows), notes=("a note",))

    monkeypatch.setattr(benchmark_module, "benchmark", measured)
    found = compare(old, new, fail_if=["latency>1.05x"])
    (options,) = asked
    assert (options.threads, options.rounds, options.skip_unreadable, options.baseline) == (1, 20, False, str(old))
    assert (found.old, found.new, found.strict) == (str(old), str(new), False)
    assert "a note" in found.notes
    (pair,) = found.pairs
    change = next(f for f in pair.figures if f.name == "p50_us")
    assert change.how == "in the same rounds"
    assert change.drift is None, "nothing drifts between the same rounds"
    assert found.failed


def test_what_is_not_established_does_not_fail_unless_strict() -> None:
    unknown = result(row(rounds=())), result(row(rounds=()))
    assert [v.outcome for v in compare_results(*unknown, [parse_gate("latency>1.1x")]).verdicts] == [OPEN]
    strict = compare_results(*unknown, [parse_gate("agreement<90%")], strict=True)
    assert [v.outcome for v in strict.verdicts] == [FAILED]


@pytest.mark.parametrize(("before", "says"), [("failed: it crashed", "OLD"), ("", "both")])
def test_an_unknown_figure_says_on_which_side_it_lacks(before: str, says: str) -> None:
    old = dataclasses.replace(row(accuracy=None), status=before)
    (verdict,) = judged(result(old), result(row(accuracy=None)), "drop>1").verdicts
    assert says in verdict.text


def test_microseconds_are_written_with_either_letter_and_a_share_has_an_end() -> None:
    assert parse_gate("latency>5μs") == dataclasses.replace(parse_gate("latency>5us"), text="latency>5μs")
    assert parse_gate("latency>5µs").limit == 5
    with pytest.raises(InputError):
        parse_gate("agreement<150%")
    for text, names in (("latency>5kg", "kg"), ("latency>5", "missing")):
        with pytest.raises(InputError, match=names):
            parse_gate(text)


@pytest.mark.parametrize("ends", [(None, 2.0), (1.0, None), (None, None)])
def test_an_interval_without_one_end_is_left_alone(ends: tuple[Any, Any]) -> None:
    found = Interval(1.5, *ends)
    assert allow(found, 1.1) == found
    assert _around(1.5, found) == (None, None)
    assert Gate("latency>2x", "latency", ">", 2.0, True).factor(found) is None


def test_no_factor_leaves_an_interval_and_an_infinite_one_leaves_its_estimate() -> None:
    whole = Interval(1.5, 1.0, 2.0)
    assert allow(whole, None) == whole
    assert allow(whole, math.inf) == Interval(1.5, None, None)


def test_latencies_of_two_runs_are_not_taken_for_the_same_rounds() -> None:
    sides = [Side(result(one), one) for one in (row(rounds=(50.0,) * 20), row(rounds=(60.0,) * 20))]
    assert latency_ratio(*sides)[1] != "in the same rounds"
    assert latency_ratio(*sides, same_run=True)[1] == "in the same rounds"


@pytest.mark.parametrize("known", [(False, True), (True, False), (False, False)])
def test_a_latency_that_one_side_lacks_has_no_change(known: tuple[bool, bool]) -> None:
    rows = [row(**({} if k else {"p50_us": None})) for k in known]
    old, new = (Side(result(one), one) for one in rows)
    assert _latency(old, new, "p50_us", False).change is None


def test_a_baseline_on_its_own_engine_wins_over_its_copy_on_another() -> None:
    first, own = float_row(engine="openvino"), float_row(engine="litert")
    one = row(engine="onnxruntime")
    found = Side(result(one, first, own), one).baseline()
    assert found is not None
    assert found.row.engine == "litert", "the engine that the result names as the baseline's"


def test_the_method_names_the_drift_in_percent_and_tables_show_changes() -> None:
    rows = row(accuracy=0.9), float_row(accuracy=0.9)
    found = compare_results(result(*rows), result(*rows))
    allowed = {f.drift for p in found.pairs for f in p.figures if f.drift}
    texts = " ".join(methods(found))
    assert allowed
    assert all(f"{100 * (drift - 1):.0f} % allowed" in texts for drift in allowed)
    table = markdown(found)
    assert " x" in table, "the ratio of two latencies"
    assert "µs" not in table


def test_accuracies_on_other_data_are_counted_with_their_own_numbers_of_items() -> None:
    old, new = result(row(accuracy=0.9), count=1000), result(row(accuracy=0.8), count=50, data="other")
    figure = next(f for f in compare_results(old, new).pairs[0].figures if f.name == "accuracy")
    assert figure.own == share_interval(40, 50)
    assert figure.count == 50
    assert "different data" in figure.how
    same = result(row(accuracy=0.9)), result(row(accuracy=0.8))
    figure = next(f for f in compare_results(*same).pairs[0].figures if f.name == "accuracy")
    assert "not recorded" in figure.how
