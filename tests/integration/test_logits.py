"""`convert --output logits`: the last softmax or sigmoid is left off, and the runtime does it, exactly once."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from building_c import STRICT, missing
from foreign_models import onnx_with, small_net

from edgepress.converters.adapter import IF_ANY, LOGITS, InputAdapter, chosen_output
from edgepress.converters.diagnosis import examine
from edgepress.converters.diagnosis.job import ExamineJob
from edgepress.converters.inspection import read
from edgepress.runtime import load
from edgepress.runtime.contract import Contract
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.selftest import selftest
from edgepress.toolkit import calibrate, convert, evaluate
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.conversion.convert import Hints
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.shipping.exporting.export import export

AS_LOGITS = Hints(output="logits")
ENDS = {"SOFTMAX", "LOGISTIC", "Softmax", "Sigmoid"}


def operations(path: Path) -> set[str]:
    return {row["operation"] for row in read(path).operations()}


@pytest.fixture(scope="module")
def of_logits(run: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the command makes of the session's model, by the scheme; read-only."""
    folder = tmp_path_factory.mktemp("of-logits")
    schemes = "tflite-float32,tflite-int8,onnx-float32,onnx-int8"
    with pytest.raises(SystemExit) as ended:
        main(["convert", str(run.model), "--to", schemes, "--output", "logits", "--out", str(folder)])
    assert not ended.value.code
    return {scheme: folder / run.variants[scheme].name for scheme in schemes.split(",")}


def assert_logits(path: Path, run: Any, digits: Any) -> None:
    """The file gives logits, of which the runtime makes the float file's probabilities."""
    items = digits.test.read(slice(None))
    truth = load(run.variants["tflite-float32"]).scores(items)
    model = load(path)
    assert model.contract is not None
    assert model.contract.task == "logits"
    assert not operations(path) & ENDS
    scores, logits = model.scores(items), model.outputs(items)
    assert scores.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert np.ptp(logits) > 10, "not probabilities"
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert scores == pytest.approx(powers / powers.sum(axis=1, keepdims=True), abs=1e-5)
    assert np.abs(scores - truth).mean() < 0.01
    assert (scores.argmax(axis=1) == truth.argmax(axis=1)).mean() > 0.98
    assert selftest(path).passed
    verification = model.contract.verification
    assert verification is not None
    assert verification.agreement is not None
    assert verification.agreement > 0.98


@pytest.mark.parametrize("scheme", ["tflite-int8", "onnx-int8", "tflite-float32"])
def test_the_runtime_makes_probabilities_of_logits_once(
    scheme: str, of_logits: dict[str, Path], run: Any, digits: Any
) -> None:
    assert_logits(of_logits[scheme], run, digits)


@pytest.mark.slow
def test_the_runtime_makes_probabilities_of_logits_of_other_schemes_once(run: Any, digits: Any, tmp_path: Path) -> None:
    schemes = "tflite-dynamic,tflite-int16x8,tflite-int4,tflite-mixed,onnx-float32,onnx-dynamic,onnx-int4"
    for variant in convert(run.model, schemes, out=tmp_path, hints=AS_LOGITS):
        assert variant.path is not None, variant.error
        assert_logits(variant.path, run, digits)


def test_commands_give_the_same_answers_as_of_a_file_with_softmax(
    of_logits: dict[str, Path], run: Any, tmp_path: Path
) -> None:
    file = of_logits["tflite-int8"]
    plain, found = (evaluate(path) for path in (run.variants["tflite-int8"], file))
    assert found["accuracy"] == pytest.approx(plain["accuracy"], abs=0.01)
    assert found["ece"] == pytest.approx(plain["ece"], abs=0.01)
    (result,) = calibrate(file, max_rejected="10%", out=tmp_path / "calibrated")
    assert result.path is not None
    assert not result.ends
    assert result.fit.nll[1] <= result.fit.nll[0] + 0.01


@pytest.mark.slow
def test_a_float_file_of_logits_is_converted_to_files_of_logits(
    of_logits: dict[str, Path], run: Any, digits: Any, tmp_path: Path
) -> None:
    for hints in (None, AS_LOGITS):
        (second,) = convert(of_logits["onnx-float32"], "onnx-int8", out=tmp_path / "again", data="digits", hints=hints)
        assert second.path is not None, second.error
        model = load(second.path)
        assert model.contract is not None
        assert model.contract.task == "logits"
        items = digits.test.read(slice(None))
        assert np.abs(model.scores(items) - load(run.variants["onnx-float32"]).scores(items)).mean() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("task", "labels"), [("sigmoid", ("no", "yes")), ("multilabel", ("a", "b", "c"))])
def test_sigmoids_are_left_to_the_runtime(task: Any, labels: tuple[str, ...], tmp_path: Path) -> None:
    net = small_net(activation="sigmoid", classes=1 if task == "sigmoid" else len(labels))
    net.save(tmp_path / "net.keras")
    items = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", x=items, y=np.arange(24) % len(labels))
    hints = Hints(output="logits", task=task, labels=labels, input_range="0,1")
    schemes = "tflite-float32,tflite-int8,onnx-float32,onnx-int8"
    made = convert(tmp_path / "net.keras", schemes, data=str(tmp_path / "data.npz"), out=tmp_path, hints=hints)
    truth = np.asarray(net.predict(items / np.float32(255), verbose=0))
    truth = np.concatenate([1 - truth, truth], axis=1) if task == "sigmoid" else truth
    for variant in made:
        assert variant.path is not None, variant.error
        model = load(variant.path)
        assert model.contract is not None
        assert model.contract.task == task
        assert model.contract.adapter is not None
        assert model.contract.adapter.sigmoid
        assert not operations(variant.path) & ENDS
        assert model.scores(items) == pytest.approx(truth, abs=1e-4 if "float32" in variant.scheme else 0.05)
        assert selftest(variant.path).passed


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["tflite-float32", "onnx-float32"])
def test_a_layer_called_logits_is_no_output(scheme: str, tmp_path: Path) -> None:
    """What lies between that layer and the softmax belongs to the answer."""
    import keras

    keras.utils.set_random_seed(1)
    source = keras.Input((12,))
    layers = [keras.layers.Dense(3, name="logits"), keras.layers.Rescaling(3.0), keras.layers.Softmax()]
    net = keras.Model(source, functools.reduce(lambda value, layer: layer(value), layers, source))
    net.save(tmp_path / "net.keras")
    items = np.random.default_rng(0).normal(size=(24, 12)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=items, y=np.arange(24) % 3)
    hints = Hints(output="logits", labels=("a", "b", "c"))
    (made,) = convert(
        tmp_path / "net.keras", scheme, data=str(tmp_path / "data.npz"), out=tmp_path / "out", hints=hints
    )
    assert made.path is not None, made.error
    assert not operations(made.path) & ENDS
    assert load(made.path).scores(items) == pytest.approx(np.asarray(net.predict(items, verbose=0)), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tensors", "tokens"])
def test_a_sigmoid_left_to_the_runtime_changes_no_items(kind: str, tmp_path: Path) -> None:
    """Items that are no pixels, of every type that a file takes, are stored as those of a file with its sigmoid."""
    import keras

    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    if kind == "tensors":
        items, layers = rng.normal(size=(64, 12)).astype(np.float32), [keras.Input((12,))]
    else:
        items = rng.integers(0, 1000, (64, 20)).astype(np.int32)
        layers = [keras.Input((20,), dtype="int32"), keras.layers.Embedding(1000, 8), keras.layers.Flatten()]
    net = keras.Sequential(
        [*layers, keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1, activation="sigmoid")]
    )
    net.save(tmp_path / "net.keras")
    np.savez(tmp_path / "data.npz", x=items, y=np.arange(64) % 2)
    others = "" if kind == "tokens" else ",tflite-float32,tflite-dynamic,onnx-float32"  # tokens have one type in all
    schemes = f"tflite-int8,tflite-int16x8,onnx-int8{others}"
    files = {}
    for output in ("", "logits"):
        hints = Hints(output=output, labels=("no", "yes"))
        made = convert(
            tmp_path / "net.keras", schemes, data=str(tmp_path / "data.npz"), out=tmp_path / f"out{output}", hints=hints
        )
        files[output] = {variant.scheme: variant for variant in made}
    for scheme, plain in files[""].items():
        left = files["logits"][scheme]
        assert (left.path is None) == (plain.path is None), (scheme, left.error, plain.error)
        if left.path is None or plain.path is None:
            continue
        model, whole = load(left.path), load(plain.path)
        assert model.contract is not None
        assert model.contract.adapter is not None, "the sigmoid is the runtime's"
        assert (model.ready, model.contract.input) == (whole.ready, whole.contract and whole.contract.input)
        assert model.scores(items) == pytest.approx(whole.scores(items), abs=0.01), scheme
        assert selftest(left.path).passed


@pytest.mark.slow
@pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
def test_a_file_for_microcontrollers_has_no_softmax(run: Any, tmp_path: Path) -> None:
    (made,) = convert(run.model, "tflite-int8", out=tmp_path, target="integer-only", hints=AS_LOGITS)
    assert made.path is not None, made.error
    assert "SOFTMAX" not in operations(made.path)
    folder = export(made.path, out=tmp_path / "c").folder
    assert "Their meaning: logits; a softmax makes probabilities of them." in (folder / "README.md").read_text()
    sources = [str(folder / name) for name in ("model.c", "selftest.c")]
    built = subprocess.run(
        ["gcc", *STRICT, "-O1", *sources, "-o", str(tmp_path / "test")], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    assert subprocess.run([str(tmp_path / "test")]).returncode == 0


def test_an_output_called_logits_is_kept(tmp_path: Path) -> None:
    path = onnx_with(tmp_path / "two.onnx", {"other": ["n", 3], "logits": ["n", 5]}, shape=["n", 4, 4, 3])
    labels = tuple("abcde")
    (made,) = convert(
        path, "onnx-float32", out=tmp_path / "out", hints=Hints(output="logits", labels=labels, color="rgb")
    )
    assert made.path is not None, made.error
    model = load(made.path)
    assert model.labels == labels
    assert model.contract is not None
    assert model.contract.task == "logits"


def test_what_has_no_logits_is_refused(tmp_path: Path) -> None:
    net = small_net(activation="relu")
    net.save(tmp_path / "net.keras")
    out = tmp_path / "out"
    options = {"labels": ("a", "b", "c", "d"), "output": "logits", "input_range": "0,1"}
    with pytest.raises(InputError, match="ends in Relu, not in a softmax or sigmoid"):
        convert(tmp_path / "net.keras", "onnx-float32", out=out, hints=Hints(task="softmax", **options))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="its task is none"):
        convert(
            tmp_path / "net.keras",
            "onnx-float32",
            out=out,
            hints=Hints(task="none", output="logits", input_range="0,1"),
        )
    assert not out.exists() or not list(out.iterdir())


def test_a_name_that_is_optional_is_taken_where_it_is() -> None:
    wanted = LOGITS + IF_ANY
    assert chosen_output("m", {"a": True, "logits": True}, wanted) == "logits"
    assert chosen_output("m", {"a": True}, wanted, inner=["logits"]) is None, "only outputs, not layers"
    assert chosen_output("m", {"a": True, "b": False}, wanted, inner=["logits"]) == "a"
    assert chosen_output("m", {"a": True}, LOGITS, inner=["logits"]) == "logits", "given by name"
    assert chosen_output("m", {"a": True, "b": False}, wanted) == "a"
    assert chosen_output("m", {"a": True}, wanted) is None
    assert chosen_output("m", {"logits?": True, "b": True}, wanted) == "logits?"
    with pytest.raises(InputError, match="has no output 'logits'") as refused:
        chosen_output("m", {"a": True, "b": True}, LOGITS)
    assert refused.value.hint.startswith("Accepted for --output: a, b. Only edgepress convert takes logits")
    with pytest.raises(InputError, match="has no output 'c'") as refused:
        chosen_output("m", {"a": True, "b": True}, "c")
    assert refused.value.hint == "Accepted for --output: a, b."


@pytest.mark.parametrize("logits", [True, False])
def test_a_diagnosis_makes_probabilities_of_the_models_answers_once(logits: bool, monkeypatch: Any) -> None:
    """A file of logits is compared with its model, which returns logits itself or ends in a softmax."""
    answers = np.array([[2.0, 0.0]], np.float32) if logits else np.array([[0.88079708, 0.11920292]], np.float32)
    spec = InputSpec(shape=(2,), dtype="float32")
    contract = Contract(task="logits", labels=("a", "b"), input=spec, scheme="tflite-int8")

    class Source:
        def answer(self, items: Any) -> Any:
            return answers

    monkeypatch.setattr(examine, "get_open_model", Source)
    adapter = InputAdapter(spec, (2,))
    job = ExamineJob(Path("x.tflite"), contract, adapter, list, np.zeros((0, 2)), logits=logits)
    found = examine._reference(job, np.zeros((1, 2), np.float32))
    assert found == pytest.approx(np.array([[0.88079708, 0.11920292]]), abs=1e-6)
