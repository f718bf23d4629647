"""`train --from`: a new classifier on the body of another file, its run's folder, and what becomes of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from base_nets import classifier, saved
from typer.testing import CliRunner

from edgepress.converters.contract.hints import Hints
from edgepress.converters.files import sha256_of
from edgepress.runtime import read_contract
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit import convert, evaluate, train
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.data import open_data
from edgepress.toolkit.errors import InputError, TrainingError
from edgepress.toolkit.results.run_files import folder_with, model_in, run_model
from edgepress.toolkit.training.facts import facts_of
from edgepress.toolkit.training.nets.base_net import GraphNet, open_base

LABELS = ("left", "right", "lower", "upper")
MOMENT: dict[str, Any] = {"epochs": 1, "progress": False, "augmentation": "none"}


def halves(folder: Path, spec: tuple[int, int, str], *, items: int = 160) -> Path:
    """Class folders of noisy images, of which one half is brighter."""
    from PIL import Image

    height, width, color = spec
    random = np.random.default_rng(items)
    for number in range(items):
        x = random.integers(0, 170, (height, width, 3 if color == "rgb" else 1))
        place = [np.s_[:, : width // 2], np.s_[:, width // 2 :], np.s_[height // 2 :], np.s_[: height // 2]][number % 4]
        x[place] += 60
        path = folder / LABELS[number % 4] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x.astype(np.uint8).squeeze()).save(path)
    return folder


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(halves(tmp_path_factory.mktemp("grey"), (28, 28, "grey")))


@pytest.fixture(scope="module")
def trained(run: Any, grey: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """From the int8 file of a net of digits."""
    notes: list[str] = []
    out = tmp_path_factory.mktemp("run") / "halves"
    result = train(grey, base=run.variants["tflite-int8"], out=out, on_note=notes.append, **MOMENT)
    return result, notes


def test_the_body_of_one_task_serves_another(trained: Any) -> None:
    result, notes = trained
    assert result.metrics["accuracy"] > 0.5  # chance is .25
    assert [row["epoch"] for row in result.history] == [0, 1]
    assert result.history[1]["loss"] > 0
    assert any(note.startswith("features: ") for note in notes)


def test_the_contract_names_the_new_classes_and_the_file_that_it_began_with(run: Any, trained: Any, grey: str) -> None:
    result, _ = trained
    contract = read_contract(result.model)
    old = read_contract(run.model)
    assert result.model.name == "model.tflite"
    assert contract.labels == tuple(sorted(LABELS))
    assert contract.input == old.input
    assert contract.scheme == "tflite-float32"
    assert contract.parent_sha256 == sha256_of(run.variants["tflite-int8"])
    assert contract.data.source
    assert result.metrics["arguments"]["base"]["sha256"] == contract.parent_sha256


def test_other_commands_take_the_run(trained: Any, grey: str) -> None:
    result, _ = trained
    folder = result.model.parent
    assert model_in(folder) == result.model
    assert evaluate(folder, data=grey)["accuracy"] == pytest.approx(result.metrics["accuracy"])
    (variant,) = convert(folder, "tflite-int8", data=grey, out=folder / "variants")
    assert variant.status == "ok", variant.error
    assert read_contract(variant.path).labels == tuple(sorted(LABELS))
    assert folder_with(folder, "*.tflite") == folder / "variants"


def test_a_resumed_run_ends_with_the_same_file(run: Any, grey: str, tmp_path: Path) -> None:
    options = MOMENT | {"base": run.model, "epochs": 2}
    whole = train(grey, out=tmp_path / "whole", **options)
    stopped = train(grey, out=tmp_path / "parts", stop_after=1, **options)
    assert not run_model(stopped.model.parent)
    resumed = train(grey, out=tmp_path / "parts", resume=True, **options)
    assert resumed.model.read_bytes() == whole.model.read_bytes()
    with pytest.raises(TrainingError, match="base was"):
        train(grey, out=tmp_path / "parts", resume=True, **options | {"base": run.variants["tflite-int8"]})


def test_training_moves_the_body_towards_the_labels(run: Any, grey: str, tmp_path: Path) -> None:
    """Epochs lower the loss on what they learn, by more than the classifier on frozen features does."""
    result = train(grey, base=run.model, out=tmp_path / "run", **MOMENT | {"epochs": 6, "dropout": 0.0})
    losses = [row["loss"] for row in result.history[1:]]
    assert losses[-1] < losses[0]
    frozen = train(grey, base=run.model, out=tmp_path / "frozen", freeze=True, **MOMENT)
    assert [row["epoch"] for row in frozen.history] == [0]
    before, after = (open_base(path) for path in (frozen.model, result.model))
    assert before.graph != after.graph
    assert open_base(run.model).input == after.input


def test_a_net_answers_as_its_file(tmp_path: Path) -> None:
    """Also where the file prepares pixels itself, and a convolution classifies."""
    from edgepress.runtime import load

    model, _ = classifier(11, classes=3, end="places")
    data = halves(tmp_path / "rgb", (16, 16, "rgb"), items=80)
    options = MOMENT | {"base": saved(model, "keras", tmp_path), "hints": Hints(input_range="-1,1")}
    result = train(str(data), out=tmp_path / "run", **options)
    items = np.random.default_rng(1).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    base = open_base(result.model)
    net = GraphNet(base, items, classes=4)
    contract = read_contract(result.model)
    again = tmp_path / "again.tflite"
    random = np.random.default_rng(2)
    for variable in net.head:
        variable.assign(random.normal(size=variable.shape).astype(np.float32))
    again.write_bytes(net.file(contract))
    assert load(again).scores(items) == pytest.approx(net.predict_on_batch(items.astype(np.float32)), abs=1e-5)


def test_the_command_takes_a_net_of_another_order_of_colors(tmp_path: Path) -> None:
    model, _ = classifier(11, classes=3, end="places")
    data = halves(tmp_path / "rgb", (16, 16, "rgb"), items=80)
    base = saved(model, "keras", tmp_path)
    words = ["--from", str(base), "--data", str(data), "--color", "bgr", "--input-range", "-1,1", "--freeze"]
    answer = CliRunner().invoke(app, ["train", *words, "--out", str(tmp_path / "run")])
    assert answer.exit_code == 0, answer.output
    adapter = read_contract(tmp_path / "run" / "model.tflite").adapter
    assert adapter is None or adapter.bgr


@pytest.mark.parametrize("beside", [{"arch": "lenet"}, {"weights": "imagenet", "width": 0.5}, {"depth": 11}])
def test_options_of_architectures_are_refused_before_the_file_is_opened(beside: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        train("digits", base=tmp_path / "missing.tflite", **beside)
    assert all(f"--{name}" in caught.value.message for name in beside)


def test_data_that_were_opened_otherwise_are_refused(run: Any, digits: Any, tmp_path: Path) -> None:
    spec = InputSpec.image(14, 14, "grey")
    other = dataclasses.replace(digits, input=spec)
    with pytest.raises(InputError, match="other items"):
        train(other, base=run.model, out=tmp_path / "run", **MOMENT)


@pytest.mark.parametrize("words", [["--mean", "127"], ["--color", "bgr"], ["--channels-first"], ["--input", "minmax"]])
def test_what_describes_a_model_needs_one(words: list[str]) -> None:
    answer = CliRunner().invoke(app, ["train", "--data", "digits", *words])
    assert answer.exit_code == 1
    assert "--from" in answer.output


def test_tensors_take_the_same_way(tmp_path: Path) -> None:
    """A net of sensor windows, whose items are numbers."""
    import keras

    keras.utils.set_random_seed(1)
    source = keras.Input((12, 3))
    x = keras.layers.Conv1D(6, 3, activation="relu")(source)
    x = keras.layers.Dense(5, activation="softmax")(keras.layers.GlobalAveragePooling1D()(x))
    net = keras.Model(source, x)
    net.save(tmp_path / "net.keras")
    random = np.random.default_rng(3)
    y = np.arange(120) % 2
    x = (random.normal(size=(120, 12, 3)) + 2 * y[:, None, None]).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    result = train(str(tmp_path / "data.npz"), base=tmp_path / "net.keras", out=tmp_path / "run", **MOMENT)
    assert result.metrics["accuracy"] > 0.7
    assert read_contract(result.model).input.dtype == "float32"


@pytest.mark.parametrize(("base", "advised"), [(None, True), ({"name": "net"}, False)])
def test_a_net_of_others_is_not_told_to_begin_with_weights(base: Any, advised: bool, tmp_path: Path) -> None:
    data = open_data(halves(tmp_path / "photos", (80, 80, "rgb"), items=80))
    arguments = {"arch": "mobilenet-v2", "weights": None, "base": base}
    facts = facts_of(data, np.full((4, 4), 1), arguments=arguments)
    assert bool(facts.transfer) == advised
