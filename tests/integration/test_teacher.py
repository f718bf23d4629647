"""Distillation: what a student learns from a teacher, of any kind of file, and what a teacher may not be."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgepress.runtime import read_contract  # noqa: E402
from edgepress.toolkit.data import open_data  # noqa: E402
from edgepress.toolkit.errors import EdgepressError, InputError, TrainingError  # noqa: E402
from edgepress.toolkit.training import batches, checkpoint, fitting, teacher  # noqa: E402
from edgepress.toolkit.training.loop import train  # noqa: E402
from edgepress.toolkit.training.teacher import Teacher  # noqa: E402


def student(out: Path, data="digits", arch: str = "dense", **options):
    return train(data, arch, out=out, **{"epochs": 1, "augmentation": "none", "progress": False} | options)


def scores_of(path: Path, data, count: int = 24, augmentation: str = "none"):
    """A teacher's answers for the first training items."""
    rows = np.arange(count)
    draws = batches.draw(len(data.train), seed=0, epoch=0)[rows]
    x = batches.augment(data.train.read(rows), draws, name=augmentation)
    with Teacher(path, data, print) as found:
        return found.scores(x, rows, draws, augmentation)


def save_and_stop(state, folder: Path) -> None:
    """What Ctrl-C after the first epoch leaves."""
    checkpoint.save(state, folder)
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def keras_scores(run, digits):
    return keras.models.load_model(run.model).predict(digits.train.read(slice(0, 24)).astype(np.float32), verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", [None, "tflite-int8", "onnx-float32", "tflite-mixed"])
def test_any_file_can_teach(run, digits, keras_scores, scheme):
    scores = scores_of(run.variants[scheme] if scheme else run.model, digits)
    assert scores == pytest.approx(keras_scores, abs=1e-4 if scheme in (None, "onnx-float32") else 0.05)


@pytest.mark.slow
def test_a_model_without_a_contract_teaches_what_the_data_call_its_outputs(net, data):
    folder, _ = net
    opened, notes = open_data(str(data), size=(32, 32)), []
    with Teacher(folder / "net_saved", opened, notes.append) as found:
        assert found._columns == [0, 1, 2, 3]
    assert any("labels: 4 from" in note for note in notes)


def test_answers_come_in_the_order_of_the_datas_labels(run, digits, keras_scores):
    order = (*digits.labels[::-1],)
    found = scores_of(run.variants["tflite-float32"], digits.relabelled(order))
    assert found == pytest.approx(keras_scores[:, ::-1], abs=1e-4)


@pytest.mark.slow
def test_a_teacher_of_another_size_and_color_sees_the_same_view_of_the_original(tmp_path, digits):
    model = student(tmp_path, open_data("digits", size=40, color="rgb")).model
    small = open_data("digits", size=16)
    rows, draws = np.arange(8), batches.draw(len(small.train), seed=0, epoch=0)[:8]
    views = batches.augment(open_data("digits", size=40, color="rgb").train.read(rows), draws, name="affine")
    right = keras.models.load_model(model).predict(views.astype(np.float32), verbose=0)
    assert scores_of(model, small, 8, "affine") == pytest.approx(right, abs=1e-4)


def test_the_loss_is_that_of_both(monkeypatch):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 5, 3))
    known, answers = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in logits)
    y = np.array([0, 2, 1, 1, 0])
    targets = np.concatenate([y[:, None], known], axis=1).astype(np.float32)
    t, s = (np.exp(x / 3) / np.exp(x / 3).sum(-1, keepdims=True) for x in logits)
    divergence, entropy = 9 * (t * np.log(t / s)).sum(-1), -np.log(answers[np.arange(5), y])
    monkeypatch.setattr(teacher, "TEMPERATURE", 3.0)
    for share in (0.0, 0.4, 1.0):
        monkeypatch.setattr(teacher, "SHARE", share)
        found = np.asarray(teacher.distillation_loss(targets, answers.astype(np.float32)))
        assert found == pytest.approx(share * divergence + (1 - share) * entropy, rel=1e-4)
    assert np.asarray(teacher.label_accuracy(targets, answers)).tolist() == (answers.argmax(1) == y).tolist()


@pytest.mark.slow
def test_a_teacher_that_answers_wrongly_spoils_its_student(run, tmp_path):
    model = keras.models.load_model(run.model)
    head = model.layers[-1]
    head.set_weights([np.roll(values, 1, axis=-1) for values in head.get_weights()])
    wrong = tmp_path / "wrong.keras"
    model.save(wrong)
    good, bad = (student(tmp_path / p.stem, teacher=p, epochs=2).metrics for p in (run.model, wrong))
    assert good["val"]["accuracy"] > 0.8
    assert bad["val"]["accuracy"] < good["val"]["accuracy"] - 0.2


@pytest.mark.slow
def test_a_resumed_student_ends_with_the_same_weights_and_the_teacher_may_move_but_not_change(
    run, tmp_path, monkeypatch
):
    chosen = shutil.copy(run.variants["tflite-int8"], tmp_path / "a.tflite")
    options = {"epochs": 3, "augmentation": "affine", "class_weights": True, "teacher": chosen}
    whole = student(tmp_path / "whole", **options)
    assert whole.metrics["teacher"]["sha256"] == whole.metrics["began_with"]["teacher"]
    assert whole.metrics["teacher"]["val_accuracy"] > 0.9
    assert read_contract(whole.model).compression["teacher"] == whole.metrics["teacher"]
    assert json.loads((tmp_path / "whole" / "metrics.json").read_text())["arguments"]["teacher"] == str(chosen)

    monkeypatch.setattr(fitting, "checkpoint", SimpleNamespace(**vars(checkpoint) | {"save": save_and_stop}))
    with pytest.raises(KeyboardInterrupt):
        student(tmp_path / "part", **options)
    monkeypatch.undo()
    other = options | {"teacher": run.variants["tflite-float32"]}
    with pytest.raises(TrainingError, match=r"teacher was '[0-9a-f]{64}' and is"):
        student(tmp_path / "part", resume=True, **other)
    moved = chosen.rename(tmp_path / "moved.tflite")
    resumed = student(tmp_path / "part", resume=True, **options | {"teacher": moved})
    weights = [keras.models.load_model(r.model).get_weights() for r in (whole, resumed)]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.slow
def test_a_teacher_that_does_not_fit_is_one_clear_error_before_anything_is_written(run, net, data, tmp_path):
    (tmp_path / "text.tflite").write_text("no model")
    tensors = tmp_path / "tensors.npz"
    np.savez(tensors, x=np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32), y=np.arange(60) % 10)
    for path, source, says in (
        (tmp_path / "missing.keras", "digits", "missing.keras"),
        (tmp_path / "text.tflite", "digits", "text.tflite"),
        (run.model, str(data), "other labels than .*colours.npz: 0, 1, 2.*the data have ant, bee"),
        (run.variants["onnx-int8"], str(tensors), r"takes items of shape 28x28x1 \(uint8\); the data have 6 \(float32"),
    ):
        with pytest.raises(EdgepressError, match=says) as found:
            student(tmp_path / "run", source, teacher=path)
        assert found.value.hint or not isinstance(found.value, InputError)
    assert not (tmp_path / "run").exists()
