"""Every command that takes model files takes those that others made."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published import CLASSES, RGB, bare, onnx_of, tflite_of

from edgepress.converters.contract.hints import Hints
from edgepress.runtime import InputError, ModelFileError, load
from edgepress.toolkit import annotate, benchmark, bundle, compare, convert, evaluate, predict, profile
from edgepress.toolkit.cli import benchmark as benchmark_command
from edgepress.toolkit.cli import bundle as bundle_command
from edgepress.toolkit.cli import compare as compare_command
from edgepress.toolkit.cli import convert as convert_command
from edgepress.toolkit.cli import evaluate as evaluate_command
from edgepress.toolkit.cli import predict as predict_command
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.cli.options import model_hints
from edgepress.toolkit.errors import DataError
from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions

UNIT = Hints(input_range="0,1")
OPTIONS = BenchmarkOptions(rounds=1)
LABELS = ("ant", "bee", "cat", "dog")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two published files of the same net, `m.tflite` and `m.onnx`, and images with labels, `readers.npz`."""
    made = tmp_path_factory.mktemp("published")
    tflite_of(made / "m.tflite")
    onnx_of(made / "m.onnx")
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (60, *RGB), dtype=np.uint8)
    np.savez(made / "data.npz", x=x, y=np.arange(60) % CLASSES, labels=LABELS)
    return made


def test_evaluate_gives_the_figure_of_a_bare_loop_and_says_what_it_took(folder: Path) -> None:
    from edgepress.toolkit.data import open_data

    data = str(folder / "data.npz")
    test = open_data(data).test
    x = test.read(slice(None)).astype(np.float32) / np.float32(255)
    found = evaluate(folder / "m.tflite", data=data, hints=UNIT)
    assert found["accuracy"] == np.mean(bare(folder / "m.tflite", x).argmax(1) == test.y)
    assert found["scheme"] == "tflite-float32"
    assert any("0 to 1, as given" in note for note in found["notes"])
    assert len([note for note in found["notes"] if "labels: " in note]) == 1, "only where they are from"
    assert any("labels: 4 from" in note for note in found["notes"])


def test_labels_that_a_file_names_are_not_replaced_by_the_data_s(folder: Path) -> None:
    """The ONNX file's labels are others than the data's; of the TFLite file none are known."""
    data = str(folder / "data.npz")
    with pytest.raises(DataError, match="labels"):
        evaluate(folder / "m.onnx", data=data, hints=UNIT)
    options = BenchmarkOptions(rounds=1, engine="onnxruntime,litert")
    files = [folder / "m.tflite", folder / "m.onnx"]
    with pytest.raises(DataError, match="labels"):
        benchmark(files, data=data, hints=UNIT, options=options)


def test_numbers_as_labels_keep_the_order_of_the_outputs(folder: Path, tmp_path: Path) -> None:
    """The data list their labels in another order."""
    data = np.load(folder / "data.npz")
    np.savez(tmp_path / "other.npz", x=data["x"], y=3 - data["y"], labels=["3", "2", "1", "0"])
    np.savez(tmp_path / "same.npz", x=data["x"], y=data["y"], labels=["0", "1", "2", "3"])
    found = [evaluate(folder / "m.tflite", data=str(tmp_path / f"{n}.npz"), hints=UNIT) for n in ("other", "same")]
    assert found[0]["accuracy"] == found[1]["accuracy"]


def test_too_little_known_is_an_error_that_names_file_and_options(folder: Path) -> None:
    for work in (evaluate, benchmark):
        with pytest.raises(ModelFileError) as caught:
            work(folder / "m.tflite", data=str(folder / "data.npz"))
        assert str(folder / "m.tflite") in caught.value.message
        assert "--input-range" in caught.value.hint
        assert "annotate" in caught.value.hint


@pytest.mark.slow
def test_onnx_files_alone_have_a_baseline(folder: Path, tmp_path: Path) -> None:
    annotate(folder / "m.onnx", tmp_path / "copy.onnx", hints=Hints(input_range="0,1", labels=LABELS))
    files = [folder / "m.onnx", tmp_path / "copy.onnx"]
    hints = Hints(input_range="0,1", labels=LABELS)
    options = BenchmarkOptions(rounds=1, engine="onnxruntime", profile=True)
    run = benchmark(files, data=str(folder / "data.npz"), hints=hints, options=options)
    assert run.baseline == {"file": str(files[0]), "scheme": "onnx-float32", "engine": "onnxruntime"}
    assert [(r.drop_pp, r.agreement) for r in run.results] == [(0, 1), (0, 1)]
    assert [Path(r.file).stat().st_size for r in run.results] == [r.size_bytes for r in run.results]
    assert all(r.profile for r in run.results)


@pytest.mark.slow
def test_two_published_files_are_compared(folder: Path) -> None:
    hints = Hints(input_range="0,1", labels=LABELS)
    found = compare(folder / "m.tflite", folder / "m.onnx", data=str(folder / "data.npz"), hints=hints, rounds=1)
    assert {pair.engine for pair in found.pairs} == {"openvino"}


def test_predict_names_labels_and_turns_logits_into_probabilities(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "item.npy", np.full(RGB, 200, np.uint8))
    notes: list[str] = []
    (found,) = predict(folder / "m.onnx", tmp_path / "item.npy", top=CLASSES, hints=UNIT, on_note=notes.append)
    assert {p.label for p in found.classes} == set("abcd")
    assert sum(p.score for p in found.classes) == pytest.approx(1)
    assert any("logits" in note for note in notes)


@pytest.mark.slow
def test_bundle_annotates_on_the_way(folder: Path, tmp_path: Path) -> None:
    made = bundle(folder / "m.tflite", tmp_path / "b.zip", data=str(folder / "data.npz"), samples=2, hints=UNIT)
    assert made.selftest["passed"]
    assert len(made.selftest["checks"]) > 2, "samples are among them"
    made = bundle(folder / "m.onnx", tmp_path / "c.zip", samples=0, hints=UNIT)
    assert made.selftest["passed"]


def test_options_about_models_made_elsewhere_are_refused_where_there_is_none(folder: Path, tmp_path: Path) -> None:
    hints = Hints(input_range="0,1", labels=LABELS)
    made = annotate(folder / "m.tflite", tmp_path / "copy.tflite", hints=hints).path
    for work in (evaluate, benchmark):
        with pytest.raises(InputError, match="contract"):
            work(made, data=str(folder / "data.npz"), hints=UNIT)
    assert evaluate(made, data=str(folder / "data.npz"), hints=Hints())["accuracy"] >= 0


def test_an_annotated_file_changes_where_options_say_so(folder: Path, tmp_path: Path) -> None:
    first = annotate(folder / "m.tflite", tmp_path / "a.tflite", hints=Hints(input_range="-1,1", task="softmax"))
    second = annotate(first.path, tmp_path / "b.tflite", hints=Hints(labels=LABELS, resize="crop"))
    assert second.contract.labels == LABELS
    assert second.contract.input.resize == "crop"
    assert second.contract.adapter == first.contract.adapter
    assert second.contract.parent_sha256 == first.contract.parent_sha256


def test_convert_takes_what_was_annotated(folder: Path, tmp_path: Path) -> None:
    made = annotate(folder / "m.tflite", tmp_path / "copy.tflite", hints=UNIT).path
    (variant,) = convert(made, "tflite-float32", out=tmp_path / "variants")
    assert variant.path is not None, variant.error
    converted, items = load(variant.path), np.random.default_rng(0).integers(0, 256, (8, *RGB), dtype=np.uint8)
    assert converted.contract is not None
    assert converted.contract.adapter is None
    np.testing.assert_allclose(converted.scores(items), load(made).scores(items), atol=1e-5)


def test_profile_needs_no_description(folder: Path) -> None:
    assert profile(folder / "m.tflite", runs=3).operations


@pytest.mark.parametrize("out", ["m.tflite", "x.onnx", "x"])
def test_a_copy_has_another_name_and_the_same_format(out: str, folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        annotate(folder / "m.tflite", folder / out, hints=UNIT)
    assert str(folder / out) in caught.value.message
    assert {p.name for p in folder.iterdir()} == {"m.tflite", "m.onnx", "data.npz"}


def test_the_command_prints_the_contract(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["annotate", str(folder / "m.onnx"), "--out", str(tmp_path / "copy.onnx"), "--input-range", "-1,1"]
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--task", "logits", "--json"])
    assert not caught.value.code
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["contract"]["adapter"]["mean"] == [127.5]
    assert document["file"] == str(tmp_path / "copy.onnx")


def test_options_are_declared_once_and_offered_by_all_commands() -> None:
    shared = inspect.signature(model_hints).parameters
    commands = (benchmark_command, bundle_command, compare_command, convert_command, evaluate_command, predict_command)
    for module in commands:
        own = inspect.signature(getattr(module, module.__name__.rpartition(".")[2])).parameters
        assert {n: own[n].default for n in shared} == {n: p.default for n, p in shared.items()}
        assert "hints" not in own
