"""A net for multi-label data from training to the board: figures are scikit-learn's, of what the runtime returns."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from multilabel import NAMES, pictures, saved
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from edgepress.runtime import load
from edgepress.runtime.contract import read_contract
from edgepress.toolkit import benchmark, bundle, calibrate, compare, convert, evaluate, predict, report, train, tune
from edgepress.toolkit.columns import LABELS
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.measurement.benchmarking.benchmark import write_benchmark
from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.results.file import load_benchmark

SCHEMES = "tflite-float32,tflite-int8,onnx-int8"
SEED = int(np.random.default_rng().integers(1 << 30))  # of the pictures: nothing below depends on it


@dataclass(frozen=True)
class Made:
    """A trained net with its data and files."""

    data: Path
    opened: DataSet
    model: Path
    metrics: dict[str, Any]
    files: dict[str, Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("multilabel")
    data = saved(folder / "data.npz", 400, SEED)
    run = train(str(data), "lenet", out=folder / "run", epochs=4, progress=False)
    variants = convert(run.model, SCHEMES)
    assert [v.status for v in variants] == ["ok"] * 3, SEED
    assert variants.source is not None
    assert variants.source.near is None
    files = {v.scheme: v.path for v in variants if v.path is not None}
    return Made(data, open_data(data), run.model, run.metrics, files)


def figures_of(y: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]) -> dict[str, float]:
    """Those of scikit-learn."""
    predicted = (scores >= 0.5).astype(np.int64)
    return {
        "accuracy": accuracy_score(y, predicted),
        "macro_f1": f1_score(y, predicted, average="macro", zero_division=0),
        "mean_average_precision": average_precision_score(y, scores, average="macro"),
    }


def scores_of(file: Path, made: Made) -> npt.NDArray[np.float32]:
    return load(file).scores(made.opened.test.read(slice(None)))


def test_the_training_reports_and_the_contract_says_labels(made: Made) -> None:
    contract = read_contract(made.model)
    assert contract is not None
    assert (contract.task, contract.labels) == ("multilabel", NAMES)
    assert contract.test_accuracy == made.metrics["exact_match"] == made.metrics["accuracy"]
    result = evaluate(made.model)
    for name in ("accuracy", "macro_f1", "mean_average_precision"):
        assert result[name] == pytest.approx(made.metrics[name])
    float_file = figures_of(made.opened.test.y, scores_of(made.files["tflite-float32"], made))
    assert made.metrics["mean_average_precision"] == pytest.approx(float_file["mean_average_precision"], abs=1e-3)
    assert not (made.model.parent / "confusion_matrix.png").exists()
    assert (made.model.parent / "mistakes.png").exists()


@pytest.mark.parametrize("scheme", SCHEMES.split(","))
def test_an_evaluation_has_the_figures_of_scikit_learn(made: Made, scheme: str) -> None:
    scores = scores_of(made.files[scheme], made)
    result = evaluate(made.files[scheme])
    wanted = figures_of(made.opened.test.y, scores)
    for name, value in wanted.items():
        assert result[name] == pytest.approx(value, abs=1e-9), (name, SEED)
    for name in ("exact_match", "macro_f1", "mean_average_precision"):
        assert 0 <= result[f"{name}_low"] <= result[name] <= result[f"{name}_high"] <= 1
    assert [row["support"] for row in result["per_class"]] == made.opened.test.y.sum(axis=0).tolist()
    assert not {row["kind"] for row in result["remarks"]} & {"near the largest class", "never predicted"}


def test_a_file_agrees_by_sets_of_labels(made: Made) -> None:
    """The verification is of validation items, of which there are 40."""
    items = made.opened.val.read(slice(None))
    first, second = (load(made.files[name]).scores(items) >= 0.5 for name in ("tflite-float32", "tflite-int8"))
    contract = read_contract(made.files["tflite-int8"])
    assert contract is not None
    assert contract.verification is not None
    assert contract.verification.items == len(items)
    assert contract.verification.agreement == pytest.approx((first == second).all(axis=1).mean(), abs=1.5 / len(items))


def test_a_benchmark_and_its_report_show_the_figures_with_intervals(made: Made, tmp_path: Path) -> None:
    y = made.opened.test.y
    result = benchmark([*made.files.values()], options=BenchmarkOptions(rounds=6, engine="litert,onnxruntime"))
    write_benchmark(result, tmp_path)
    rows = {row.scheme: row for row in load_benchmark(tmp_path).results}
    before = scores_of(made.files["tflite-float32"], made) >= 0.5
    for scheme, file in made.files.items():
        row = rows[scheme]
        scores = scores_of(file, made)
        for name, value in figures_of(y, scores).items():
            assert getattr(row, name) == pytest.approx(value, abs=1e-6), (scheme, name, SEED)
        drop = 100 * (accuracy_score(y, before) - accuracy_score(y, scores >= 0.5))
        assert row.drop_pp == pytest.approx(drop, abs=1e-4)
        assert row.agreement == pytest.approx(((scores >= 0.5) == before).all(axis=1).mean(), abs=1e-6)
        for n, each in enumerate(row.per_class):
            lost = (before[:, n] & (y[:, n] == 1)).sum() - ((scores[:, n] >= 0.5) & (y[:, n] == 1)).sum()
            assert each.drop_pp == pytest.approx(100 * lost / y[:, n].sum(), abs=1e-4)
            assert each.average_precision == pytest.approx(average_precision_score(y[:, n], scores[:, n]), abs=1e-6)
    texts = [report(tmp_path, format=format).text for format in ("html", "md", "card")]
    for column in LABELS:
        for text in texts[:2]:
            assert column.title in text
            assert column.text(rows["tflite-int8"]) in text
    assert "Mean average precision" in texts[2]


def test_two_files_are_compared_by_all_figures(made: Made) -> None:
    result = compare(made.files["tflite-float32"], made.files["tflite-int8"], rounds=6, engine="litert")
    figures = {figure.name: figure for figure in result.pairs[0].figures}
    y = made.opened.test.y
    old, new = (figures_of(y, scores_of(made.files[name], made)) for name in ("tflite-float32", "tflite-int8"))
    for name in ("macro_f1", "mean_average_precision"):
        change = figures[name].change
        assert change is not None
        assert change.estimate == pytest.approx(100 * (old[name] - new[name]))
        assert change.low <= change.estimate <= change.high  # all 0 if int8 answers as float
    assert figures["accuracy"].change.estimate == pytest.approx(100 * (old["accuracy"] - new["accuracy"]))


def test_the_runtime_and_a_bundle_name_the_labels_that_reach_the_threshold(made: Made, tmp_path: Path) -> None:
    from PIL import Image

    items = made.opened.test.read(slice(0, 12))
    paths = [tmp_path / f"{n}.png" for n in range(12)]
    for item, path in zip(items, paths, strict=True):
        Image.fromarray(item[:, :, 0]).save(path)
    for scheme in ("tflite-int8", "onnx-int8"):
        model = load(made.files[scheme])
        scores = model.scores(items)
        wanted = [[NAMES[n] for n in np.argsort(-row, kind="stable") if row[n] >= 0.5] for row in scores]
        assert [[each.label for each in model.classify(path)] for path in paths] == wanted
        assert [[each.label for each in model.classify(path, top=1)] for path in paths] == [row[:1] for row in wanted]
        results = predict(made.files[scheme], paths)
        assert [[each.label for each in result.classes] for result in results] == wanted
        packed = bundle(made.files[scheme], out=tmp_path / f"{scheme}.pyz", format="pyz").path
        run = [sys.executable, "-I", str(packed)]
        told = subprocess.run(
            [*run, "classify", *map(str, paths), "--json"], capture_output=True, text=True, check=True
        )
        lines = [json.loads(line) for line in told.stdout.splitlines()]
        assert [[each["label"] for each in line["classes"]] for line in lines] == wanted
        assert subprocess.run([*run, "selftest"], capture_output=True, check=False).returncode == 0


def test_what_needs_one_label_an_item_is_refused_by_name(made: Made, tmp_path: Path) -> None:
    with pytest.raises(EdgepressError, match="--class-weights needs one label an item"):
        train(str(made.data), "lenet", out=tmp_path / "a", class_weights=True, progress=False)
    with pytest.raises(EdgepressError, match="--teacher needs one label an item"):
        train(str(made.data), "lenet", out=tmp_path / "b", teacher=made.model, progress=False)
    with pytest.raises(EdgepressError, match="has the task multilabel"):
        calibrate(made.files["tflite-int8"], max_error=0.1, data=str(made.data))
    with pytest.raises(EdgepressError, match="--more compares classes"):
        benchmark([*made.files.values()], options=BenchmarkOptions(rounds=6, more=str(made.data)))
    x, y = pictures(80, seed=1)
    with pytest.raises(EdgepressError, match="labels do not match"):
        evaluate(made.files["tflite-int8"], data=(x, y[:, :3]))
    single = train((x, y.argmax(axis=1)), "lenet", out=tmp_path / "c", epochs=1, progress=False).model
    with pytest.raises(EdgepressError, match="gives one label an item: its task is softmax"):
        evaluate(single, data=(x, y))
    with pytest.raises(EdgepressError, match="gives one label an item"):
        convert(single, "tflite-int8", data=(x, y), out=tmp_path / "d")


def test_a_net_of_logits_becomes_one_of_labels(made: Made, tmp_path: Path) -> None:
    """Of a net made elsewhere; the columns of the data have no names, and as many as the net has outputs."""
    import keras

    from edgepress.toolkit import Hints

    x, y = pictures(300, SEED + 1)
    whole = keras.models.load_model(made.model)
    logits = keras.Model(whole.inputs[0], keras.layers.Dense(4, name="logits")(whole.layers[-1].input))
    logits.layers[-1].set_weights(whole.layers[-1].get_weights())
    logits.save(tmp_path / "logits.keras")
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(NAMES))
    hints = Hints(task="multilabel", softmax=True, labels=labels, color="grey", input_range="0,255")
    variants = convert(tmp_path / "logits.keras", "tflite-int8,onnx-int8", data=(x, y), hints=hints)
    assert [v.status for v in variants] == ["ok", "ok"], [v.error for v in variants]
    assert variants.source is not None
    opened = open_data(str(made.data))
    for variant in variants:
        assert variant.path is not None
        result = evaluate(variant.path, data=(x, y))
        test = open_data(result["data"]["source"], labels=NAMES).test
        wanted = figures_of(test.y, load(variant.path).scores(test.read(slice(None))))
        assert {name: result[name] for name in wanted} == pytest.approx(wanted)
    assert opened.labels == NAMES
    with pytest.raises(EdgepressError, match=r"have 3 columns, and the model has\s+4 outputs"):
        convert(tmp_path / "logits.keras", "tflite-int8", data=(x, y[:, :3]), hints=hints, out=tmp_path / "no")


def test_a_body_of_others_and_a_tuned_net_learn_labels(made: Made, tmp_path: Path) -> None:
    """`train --from` fits a classifier of sigmoids in both steps; `tune` learns from labels and answers."""
    run = train(str(made.data), base=made.files["tflite-float32"], out=tmp_path / "base", epochs=2, progress=False)
    contract = read_contract(run.model)
    assert contract is not None
    assert contract.task == "multilabel"
    assert run.metrics["mean_average_precision"] > made.opened.test.y.mean() + 0.1, SEED
    scores = scores_of(run.model, made)
    assert not np.allclose(scores.sum(axis=1), 1, atol=0.05), "labels do not exclude each other"
    tuned = tune(made.model, steps=30, out=tmp_path / "tuned")
    result = evaluate(tuned.model)
    assert result["mean_average_precision"] > made.metrics["mean_average_precision"] - 0.15, SEED
