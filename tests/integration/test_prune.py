"""`prune`: its result, what becomes of it in convert, targets, and runs that were stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from edgepress.converters.contract.hints import Hints
from edgepress.runtime.contract import read_contract
from edgepress.toolkit import convert, evaluate, prune
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.errors import InputError, TrainingError
from edgepress.toolkit.training import checkpoint
from edgepress.toolkit.training.graphs import prune as pruning
from edgepress.toolkit.training.graphs import run as runs
from edgepress.toolkit.training.graphs import sizes
from edgepress.toolkit.training.graphs.options import Targets
from edgepress.toolkit.training.graphs.prune_trainer import PLAN

MOMENT: dict[str, Any] = {"steps": 24, "augmentation": "none"}
"""The least training that there is, as many steps each time."""


@pytest.fixture(scope="module")
def pruned(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """LeNet with half of its multiply-accumulates, trained for a moment."""
    shares: list[float] = []
    folder = tmp_path_factory.mktemp("pruned")
    result = prune(run.model, macs=0.5, out=folder, on_progress=lambda share, text: shares.append(share), **MOMENT)
    return result, shares


@pytest.mark.slow
def test_the_result_is_a_smaller_float_file_that_convert_takes(pruned, run, tmp_path):
    result, shares = pruned
    before, after = result.facts["before"], result.facts["after"]
    assert result.model.name == "model-pruned.tflite"
    assert 0.3 * before["macs"] < after["macs"] <= 0.5 * before["macs"]
    assert after["parameters"] < before["parameters"]
    assert after["accuracy"] > 0.5
    assert all(now < then for then, now in result.facts["layers"].values())
    contract = read_contract(result.model)
    assert contract.scheme == "tflite-float32"
    assert contract.compression["pruning"]["after"] == after
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert sorted(path.name for path in result.model.parent.iterdir() if path.name[0] != ".") == [
        "model-pruned.tflite",
        "pruning.json",
    ]
    made = {v.scheme: v for v in convert(result.model, "tflite-int8,onnx-int8", out=tmp_path)}
    assert [v.status for v in made.values()] == ["ok", "ok"]
    path = made["tflite-int8"].path
    assert path.stat().st_size < 0.9 * run.variants["tflite-int8"].stat().st_size
    assert path.stat().st_size == pytest.approx(after["size_bytes"], rel=0.1)
    assert evaluate(path)["accuracy"] > 0.5


@pytest.mark.slow
def test_a_finished_run_is_not_repeated(pruned, run):
    result, _ = pruned
    folder = result.model.parent
    with pytest.raises(TrainingError, match="a finished run"):
        prune(run.model, macs=0.5, out=folder, **MOMENT)
    again = prune(run.model, macs=0.5, out=folder, resume=True, **MOMENT)
    assert (again.facts, again.history) == (result.facts, result.history)
    with pytest.raises(TrainingError, match=r"macs was 0\.5 and is 0\.4"):
        prune(run.model, macs=0.4, out=folder, resume=True, **MOMENT)


class StopError(Exception):
    pass


@pytest.fixture(scope="module")
def target(run):
    """A target in bytes: with others, blocks of channels are timed, and two runs may choose different ones."""
    return {"max_size": int(0.6 * run.variants["tflite-int8"].stat().st_size)}


@pytest.fixture(scope="module")
def whole(run, target, tmp_path_factory):
    """What the run that is not stopped ends with."""
    return prune(run.model, out=tmp_path_factory.mktemp("whole"), **target, **MOMENT)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.2, 0.8])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(whole, run, target, tmp_path, moment):
    def stop(share: float, text: str) -> None:
        if share > moment:
            raise StopError

    with pytest.raises(StopError):
        prune(run.model, out=tmp_path, on_progress=stop, **target, **MOMENT)
    state = checkpoint.load(tmp_path)
    assert state is not None
    assert state.history
    assert (tmp_path / PLAN).exists()
    with pytest.raises(TrainingError, match="an unfinished run"):
        prune(run.model, out=tmp_path, **target, **MOMENT)
    resumed = prune(run.model, out=tmp_path, resume=True, **target, **MOMENT)
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]
    assert resumed.model.read_bytes() == whole.model.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("last", ["checkpoint.npz", "pruning.json"])
def test_a_run_that_was_killed_while_it_cleaned_up_can_be_resumed(whole, run, target, tmp_path, monkeypatch, last):
    """Before the report is written, and before any file of the unfinished run but the first is removed."""

    def stop(*_: Any) -> None:
        raise StopError

    if last == "pruning.json":
        monkeypatch.setattr(runs, "write_report", stop)
    else:
        monkeypatch.setattr(runs, "forget", lambda folder, scratch: (folder / last).unlink() or stop())
    with pytest.raises(StopError):
        prune(run.model, out=tmp_path, **target, **MOMENT)
    monkeypatch.undo()
    told: list[str] = []
    again = prune(
        run.model, out=tmp_path, resume=True, on_progress=lambda s, text: told.append(text), **target, **MOMENT
    )
    assert again.model.read_bytes() == whole.model.read_bytes()
    assert not any("loss" in text for text in told), "nothing was left to train"
    assert not (tmp_path / checkpoint.NAME).exists()


@pytest.mark.slow
def test_a_run_is_not_resumed_with_other_hints(run, tmp_path):
    def stop(share: float, text: str) -> None:
        if share > 0:
            raise StopError

    with pytest.raises(StopError):
        prune(run.model, macs=0.5, out=tmp_path, on_progress=stop, **MOMENT)
    with pytest.raises(TrainingError, match="hints was"):
        prune(run.model, macs=0.5, out=tmp_path, resume=True, hints=Hints(trust=True), **MOMENT)


def test_the_largest_graph_is_found_however_small_it_must_be(monkeypatch):
    """A target that only a thousandth of the graph keeps, and none below half of that."""
    kept = SimpleNamespace(missed=lambda made, targets: {"size": 1.0} if float(made) > 0.001 else {})
    found = sizes._largest(
        lambda share: None if share < 0.0005 else str(share).encode(), Targets(size_bytes=1), cast("sizes.Sizes", kept)
    )
    assert found is not None
    assert 0.0009 < found <= 0.001
    never = SimpleNamespace(missed=lambda made, targets: {"size": 1.0})
    least = lambda share: None if share < 0.01 else b"1"  # noqa: E731
    assert sizes._largest(least, Targets(size_bytes=1), cast("sizes.Sizes", never)) is None


@pytest.mark.slow
def test_a_size_is_kept_by_the_file_that_convert_makes(run, tmp_path):
    size = int(0.7 * run.variants["tflite-int8"].stat().st_size)
    result = prune(run.model, max_size=size, importance="l1", out=tmp_path, **MOMENT)
    assert result.facts["after"]["size_bytes"] <= size
    assert result.facts["importance"] == "l1"
    (made,) = convert(result.model, "tflite-int8", out=tmp_path / "variants")
    assert made.path.stat().st_size == pytest.approx(size, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"macs": 1e-6}, r"can't be reached: with one channel left of each layer, the model still has \d"),
        ({"max_size": 500}, "an int8 file of"),
        ({"max_latency": 1e-5}, r"can't be reached: .* still has \d+\.\d+ ms"),
        ({"max_size": 10**9}, "keeps the targets as it is"),
    ],
)
def test_targets_out_of_reach_say_what_can_be_reached(run, tmp_path, targets, message):
    with pytest.raises(Exception, match=message):
        prune(run.model, out=tmp_path, **targets, **MOMENT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "There is no target"),
        ({"macs": 1.5}, "macs is 1.5; accepted: a share above 0 and below 1"),
        ({"max_size": 0}, "--max-size is 0; accepted: a number above 0"),
        ({"max_latency": -1}, "--max-latency is -1; accepted: a number above 0"),
        ({"macs": 0.5, "steps": 0}, "steps is 0; accepted: at least 1"),
        ({"macs": 0.5, "minutes": 0}, "minutes is 0"),
        ({"macs": 0.5, "importance": "size"}, "importance is 'size'; accepted: auto, l1, taylor, variance"),
        ({"macs": 0.5, "resume": True, "overwrite": True}, "exclude each other"),
    ],
)
def test_options_out_of_range_are_refused(run, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        prune(run.model, out=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_model_without_data_is_refused(tmp_path, net):
    folder, _ = net
    shutil.copy(folder / "net.keras", tmp_path)
    with pytest.raises(InputError, match="does not record its training data"):
        prune(tmp_path / "net.keras", macs=0.5, out=tmp_path / "new")


def test_the_command_shows_figures_and_how_to_convert_the_result(run, tmp_path, monkeypatch):
    asked: list[str] = []
    shutil.copy(run.variants["tflite-float32"], tmp_path / "x.tflite")

    def work(model: Path, macs: str, max_size: str, max_latency: str, **options: Any) -> pruning.GraphResult:
        asked.extend((macs, max_size, max_latency))
        facts = {"macs": 1000, "parameters": 10, "size_bytes": 2000, "accuracy": 0.5, "agreement": 0.5, "snr_db": 7.0}
        return pruning.GraphResult(tmp_path / "x.tflite", {"before": facts, "after": facts}, [])

    monkeypatch.setattr(pruning, "prune", work)
    monkeypatch.setenv("COLUMNS", "200")
    options = ["--macs", "50%", "--max-size", "100kB", "--max-latency", "2ms", "--data", "my digits"]
    shown = CliRunner().invoke(app, ["prune", "x.keras", *options])
    assert shown.exit_code == 0, shown.output
    assert asked == ["50%", "100kB", "2ms"]
    words = " ".join(shown.stdout.split())
    assert words.endswith("x.tflite"), "the file remembers its data"
    assert "2.00 kB" in words or "2 kB" in words


@pytest.mark.slow
def test_the_report_can_be_read(pruned):
    result, _ = pruned
    report = json.loads((result.model.parent / pruning.REPORT).read_text())
    assert report["history"] == result.history
    assert report["began_with"]["macs"] == 0.5
    assert Targets(macs=0.5).size_bytes is None


def test_a_note_says_if_far_less_is_left_than_asked():
    facts = {"before": {"macs": 1000}, "after": {"macs": 340}}
    assert pruning.shortfall(facts, Targets(macs=0.5)).startswith(
        "34% of the multiply-accumulates are left where 50% may be"
    )
    assert pruning.shortfall(facts, Targets(macs=0.35)) == ""
    assert pruning.shortfall(facts, Targets(macs=0.5, size_bytes=9)) == ""
