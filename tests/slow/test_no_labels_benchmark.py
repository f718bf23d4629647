"""`benchmark` and its reports on files without labels, which are compared by the error of their outputs."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepress.runtime import InputError, load, read_contract
from edgepress.toolkit.cli.benchmark import show_benchmark
from edgepress.toolkit.conversion.convert import Hints, convert
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.for_model import without_labels
from edgepress.toolkit.measurement.benchmarking.advice import MIN_SQNR_DB, choose
from edgepress.toolkit.measurement.benchmarking.benchmark import BenchmarkOptions, benchmark, write_benchmark
from edgepress.toolkit.measurement.benchmarking.plan import have_labels
from edgepress.toolkit.measurement.comparison.compare import compare
from edgepress.toolkit.reports.markdown import markdown, model_card
from edgepress.toolkit.reports.page import page
from edgepress.toolkit.results.file import load_benchmark
from edgepress.toolkit.results.records import LARGE_ERROR, NO_BASELINE, USABLE, Benchmark
from edgepress.toolkit.stats.choice import Rule

SCHEMES = ("tflite-float32", "tflite-int8")
ITEMS = 40
SEEN = BenchmarkOptions(engine="litert", rounds=2, prefer="size")  # two rounds say little of latency


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An autoencoder's files in `variants`, and unlabelled items."""
    import keras

    keras.utils.set_random_seed(0)
    made = tmp_path_factory.mktemp("autoencoder")
    layers = [keras.layers.Dense(64, activation="relu"), keras.layers.Dense(20)]
    keras.Sequential([keras.Input((20,)), *layers]).save(made / "model.keras")
    items = str(made / "items.npz")
    np.savez(items, x=np.random.default_rng(0).normal(size=(ITEMS, 20)).astype(np.float32))
    convert(made / "model.keras", out=made / "variants", to=",".join(SCHEMES), data=items, hints=Hints(task="none"))
    return made


@pytest.fixture(scope="module")
def result(folder: Path) -> Benchmark:
    found = benchmark(folder / "variants", data=str(folder / "items.npz"), options=SEEN)
    write_benchmark(found, folder)
    return found


def test_errors_take_the_place_of_accuracy(folder: Path, result: Benchmark) -> None:
    assert result.data["count"] == ITEMS
    float32, int8 = result.results
    assert (float32.scheme, int8.scheme) == SCHEMES
    items = np.load(folder / "items.npz")["x"]
    true, found = (load(folder / "variants" / f"model-{s}.tflite").outputs(items) for s in ("float32", "int8"))
    error = found.astype(np.float64) - true
    assert int8.max_error == pytest.approx(np.abs(error).max(), rel=1e-5)
    assert int8.mean_error == pytest.approx(np.abs(error).mean(), rel=1e-5)
    power = (true.astype(np.float64) ** 2).sum() / (error**2).sum()
    assert int8.sqnr_db == pytest.approx(10 * np.log10(power), abs=0.01)
    assert float32.max_error == 0
    for row in result.results:
        assert row.accuracy is None
        assert row.p50_us
        assert row.status == USABLE


def test_compare_notes_the_errors(folder: Path, result: Benchmark) -> None:
    old, new = (folder / "variants" / f"model-{name}.tflite" for name in ("float32", "int8"))
    found = compare(old, new, data=str(folder / "items.npz"), engine="litert", rounds=2)
    (note,) = [note for note in found.notes if "no labels" in note]
    assert f"SQNR {result.results[1].sqnr_db:.1f} dB" in note


def test_documents_and_reports_hold_errors(folder: Path, result: Benchmark, capsys: pytest.CaptureFixture[str]) -> None:
    read = load_benchmark(folder)
    assert read.by_error
    assert read.data["split"] == "all"
    with (folder / "benchmark.csv").open() as file:
        assert all(float(line["max_error"]) >= 0 and not line["accuracy"] for line in csv.DictReader(file))
    assert not list(folder.glob("*.png"))
    show_benchmark(result)
    for made in (page(read), markdown(read), model_card(read), capsys.readouterr().out):
        assert "SQNR" in made
        assert not re.search(r"image-classification|Drop|Acc\.", re.sub(r"(?s)<(script|style).*?</\1>", "", made))


def test_the_smallest_file_that_is_near_enough_is_advised(result: Benchmark) -> None:
    assert (result.advice.ship, result.advice.engine) == (result.results[1].file, "litert")
    float32, int8 = result.results
    far = replace(int8, sqnr_db=MIN_SQNR_DB - 1, status=LARGE_ERROR)
    host = result.host
    for rows in ((float32, far), (float32,), (float32, replace(far, sqnr_db=None))):
        assert choose(rows, host=host, count=ITEMS).ship is None
    assert (
        choose((far, float32, replace(int8, file="b.tflite")), host=host, count=ITEMS, rule=Rule(prefer="size")).ship
        == "b.tflite"
    )
    unknown = replace(int8, max_error=None, mean_error=None, sqnr_db=None, status=NO_BASELINE)
    assert "float32" in choose((unknown,), host=host, count=ITEMS).why


def test_files_that_can_not_be_compared_are_refused(folder: Path) -> None:
    path = folder / "variants" / "model-int8.tflite"
    contract = read_contract(path)
    assert contract is not None
    classifier = contract.replace(task="softmax", labels=("a", "b"), output_shape=())
    assert not have_labels({path: contract})
    assert have_labels({path: classifier})
    for other in (classifier, contract.replace(output_shape=(5, 4))):
        with pytest.raises(InputError, match="20 numbers"):
            have_labels({path: contract, Path("other.tflite"): other})


def test_test_items_come_first(folder: Path) -> None:
    x = np.arange(60, dtype=np.float32).reshape(30, 2)
    np.savez(folder / "parts.npz", x_train=x[:20], y_train=np.arange(20) % 2, x_test=x[20:], y_test=np.arange(10) % 2)
    data = without_labels(open_data(folder / "parts.npz", purpose="calibration"), 15)
    assert (data.labels, len(data.test)) == ((), 15)
    shown = data.test.read(np.arange(15))
    assert set(shown[:10, 0]) == set(x[20:, 0])
    assert set(shown[10:, 0]) < set(x[:20, 0])
