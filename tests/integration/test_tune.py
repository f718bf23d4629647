"""`tune`: its result, what becomes of it in convert, and runs that were stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgepress.runtime.contract import read_contract
from edgepress.toolkit import convert, tune
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.errors import InputError, TrainingError
from edgepress.toolkit.training import checkpoint
from edgepress.toolkit.training.graphs import job as jobs
from edgepress.toolkit.training.graphs import run as runs
from edgepress.toolkit.training.graphs import tune as tuning
from edgepress.toolkit.training.graphs import tune_trainer
from edgepress.toolkit.training.graphs.options import TuneOptions


@pytest.fixture(scope="module")
def tuned(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """LeNet tuned for four bits in a moment."""
    shares: list[float] = []
    folder = tmp_path_factory.mktemp("tuned")
    result = tune(run.model, bits=4, minutes=0.02, out=folder, on_progress=lambda share, text: shares.append(share))
    return result, shares


@pytest.mark.slow
def test_the_result_is_a_float_file_with_learned_ranges(tuned):
    result, shares = tuned
    assert result.model.name == "model-tuned.tflite"
    contract = read_contract(result.model)
    assert contract.scheme == "tflite-float32"
    assert contract.task == "softmax"
    assert len(contract.ranges) > 5
    assert contract.compression["distillation"]["bits"] == 4
    assert result.facts["after"]["agreement"] >= result.facts["before"]["agreement"] - 0.02
    assert result.facts["kept"] in ("start", "distillation")
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert [row["step"] for row in result.history] == sorted({row["step"] for row in result.history})
    assert not (result.model.parent / checkpoint.NAME).exists()
    assert not (result.model.parent / tune_trainer.START).exists()


@pytest.mark.slow
def test_convert_makes_files_of_both_formats_with_these_ranges(tuned, tmp_path):
    result, _ = tuned
    contract = read_contract(result.model)
    notes: list[str] = []
    schemes = "tflite-int4,onnx-int8,tflite-int16x8"
    made_of_it = convert(result.model, schemes, calibration="mse", out=tmp_path, on_note=notes.append)
    variants = {v.scheme: v for v in made_of_it}
    assert any("--calibration mse is not used" in note for note in notes)
    assert [v.status for v in variants.values()] == ["ok"] * 3
    made = variants["tflite-int4"]
    assert made.path.name == "model-tuned-int4.tflite"
    assert read_contract(made.path).ranges == {}
    from edgepress.converters.to_tflite.graph import Graph

    graph = Graph(made.path.read_bytes())
    scales = {graph.name(i): graph.scales(i)[0] for i in range(len(graph.table.tensors))}
    layer = next(name for name in contract.ranges if "conv" in name and len(scales.get(name, ())) == 1)
    low, high = contract.ranges[layer]
    assert scales[layer][0] == pytest.approx((high - low) / 255, rel=1e-3)


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_report_can_be_resumed(run, tmp_path, monkeypatch):
    def stop(*_: Any) -> None:
        raise RuntimeError("stopped")

    monkeypatch.setattr(runs, "write_report", stop)
    with pytest.raises(RuntimeError, match="stopped"):
        tune(run.model, bits=4, steps=24, out=tmp_path)
    monkeypatch.undo()
    told: list[str] = []
    again = tune(run.model, bits=4, steps=24, out=tmp_path, resume=True, on_progress=lambda s, text: told.append(text))
    assert not any("loss" in text for text in told), "nothing was left to train"
    assert again.model.exists()
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".npz", ".json")] == ["tuning.json"]


@pytest.mark.slow
def test_a_finished_run_is_not_repeated(tuned, run):
    result, _ = tuned
    folder = result.model.parent
    with pytest.raises(TrainingError, match="a finished run"):
        tune(run.model, bits=4, minutes=0.02, out=folder)
    again = tune(run.model, bits=4, minutes=0.02, out=folder, resume=True)
    assert again.history == result.history
    assert again.facts == result.facts
    with pytest.raises(TrainingError, match="bits was 4 and is 8"):
        tune(run.model, bits=8, minutes=0.02, out=folder, resume=True)


@pytest.mark.slow
def test_a_run_is_not_resumed_with_data_of_the_same_name_and_size(tuned, run, tmp_path):
    rng = np.random.default_rng(0)
    data = tmp_path / "same.npz"
    options: dict[str, Any] = {"data": str(data), "bits": 4, "steps": 1, "out": tmp_path / "out"}
    for resume in (False, True):
        pixels, classes = rng.integers(0, 255, (60, 8, 8, 1), np.uint8), np.arange(60) % 10
        np.savez(data, x_train=pixels, y_train=classes)
        if resume:
            with pytest.raises(TrainingError, match="data_sha256 was"):
                tune(run.model, resume=True, **options)
        else:
            tune(run.model, **options)


class StopError(Exception):
    pass


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_where_it_was(run, tmp_path):
    def stop(share: float, text: str) -> None:
        if share > 0.5:
            raise StopError

    options: dict[str, Any] = {"bits": 4, "minutes": 0.02, "out": tmp_path}
    with pytest.raises(StopError):
        tune(run.model, **options, on_progress=stop)
    state = checkpoint.load(tmp_path)
    assert state is not None
    assert (tmp_path / tune_trainer.START).exists()
    with pytest.raises(TrainingError, match="an unfinished run"):
        tune(run.model, **options)
    shares: list[float] = []
    resumed = tune(run.model, **options, resume=True, on_progress=lambda share, text: shares.append(share))
    assert resumed.history[: len(state.history)] == state.history
    assert shares[1] > state.history[-1]["step"] / state.history[-1]["steps"]
    assert resumed.model.exists()


@pytest.mark.slow
def test_what_loses_nothing_at_eight_bits_is_left_as_it_is(run, tmp_path, monkeypatch):
    result = tune(run.model, minutes=0.02, out=tmp_path)
    before, after = result.facts["before"], result.facts["after"]
    assert result.facts["kept"] == "distillation" or before == after
    assert after["agreement"] >= before["agreement"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 5}, "bits is 5; accepted: 8 or 4"),
        ({"minutes": 0}, "minutes is 0"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
        pytest.param({"augmentation": "noise"}, "noise does not apply", marks=pytest.mark.slow),  # it opens the model
    ],
)
def test_options_out_of_range_are_refused(run, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        tune(run.model, out=tmp_path / "new", **options)


@pytest.mark.slow
def test_a_model_without_data_is_refused(tmp_path, net):
    folder, _ = net
    shutil.copy(folder / "net.keras", tmp_path)
    with pytest.raises(InputError, match="does not record its training data"):
        tune(tmp_path / "net.keras", out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("data", ["", "my digits"])
def test_the_command_shows_figures_steps_and_how_to_convert_the_result(data, run, tmp_path, monkeypatch):
    shutil.copy(run.variants["tflite-float32"], tmp_path / "x.tflite")

    def work(model: Path, data: str, **options: Any) -> tuning.GraphResult:
        for share, text in ((0.0, "repairing"), (0.05, "loss 2"), (0.06, "loss 3"), (0.55, "loss 1"), (1.0, "writing")):
            options["on_progress"](share, text)
        figures = {"agreement": 0.5, "snr_db": 7.0}
        return tuning.GraphResult(tmp_path / "x.tflite", {"before": figures, "after": figures, "kept": "start"}, [])

    monkeypatch.setattr(tuning, "tune", work)
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(app, ["tune", "x.keras", *(["--data", data] if data else [])])
    assert shown.exit_code == 0
    words = " ".join(shown.stdout.split())  # wherever the lines break
    assert words.endswith("x.tflite"), "the file remembers its data"
    assert "signal to noise" in shown.stdout
    assert "7.0 dB" in shown.stdout
    assert shown.stderr.splitlines() == ["Opening the model", "Repairing", "55%: loss 1", "Writing"]


def test_a_graph_with_unknown_operations_is_refused_with_its_name(run, tmp_path, monkeypatch):
    from edgepress.converters.errors import ConversionError
    from edgepress.converters.graph import program

    monkeypatch.delitem(program.OPERATIONS, "CONV_2D")
    job = jobs.TuneJob(
        target=tmp_path / "x.tflite", contract=None, adapter=None, calibration=None, validation=None,
        train=None, labelled=False, options=TuneOptions(augmentation="none"), began_with={},
    )  # fmt: skip
    model = run.variants["tflite-float32"].read_bytes()

    class Item:
        is_integer, is_image, value_range = False, True, None

    with pytest.raises(ConversionError, match="CONV_2D, which makes"):
        tune_trainer.TuneTrainer(_with(job, adapter=type("A", (), {"item": Item})()), model, lambda report: None)


def _with(job: Any, **changes: Any) -> Any:
    import dataclasses

    return dataclasses.replace(job, **changes)


@pytest.mark.slow
def test_the_report_can_be_read(tuned):
    result, _ = tuned
    report = json.loads((result.model.parent / tuning.REPORT).read_text())
    assert report["history"] == result.history
    assert Path(report["model"]).name == result.model.name
    assert np.isfinite([row["loss"] for row in report["history"]]).all()
