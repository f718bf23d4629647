"""Training on tiny data: what it leaves, that it can be killed and repeated, and what stops it."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras")

from edgepress.runtime import read_contract  # noqa: E402
from edgepress.runtime.input_spec import InputSpec  # noqa: E402
from edgepress.toolkit.data.types import DataSet, Split  # noqa: E402
from edgepress.toolkit.errors import InputError, TrainingError  # noqa: E402
from edgepress.toolkit.training.batches import balanced_weights  # noqa: E402
from edgepress.toolkit.training.loop import train  # noqa: E402

LABELS = ("left", "middle", "right")
FILES = ["confusion_matrix.png", "history.csv", "learning_curves.png", "metrics.json", "mistakes.png", "model.keras"]


class Bars:
    """Images with a bright bar at the left, in the middle or at the right; a read may be made to do harm."""

    def __init__(self, x, harm_at: int | None = None, harm=None):
        self.x, self.harm_at, self.harm, self.reads = x, harm_at, harm, 0

    def __len__(self):
        return len(self.x)

    def read(self, indices):
        self.reads += 1
        if self.reads == self.harm_at:
            self.harm()
        return self.x[indices]

    def name(self, index):
        return f"item {index}"


def bars(*, tensors: bool = False, harm_at: int | None = None, harm=None) -> DataSet:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.integers(0, 80, (90, 12, 12, 1))
    for i, c in enumerate(y):
        x[i, :, 4 * c : 4 * c + 4] += 120
    items, spec = x.astype(np.uint8), InputSpec.image(12, 12, "grey")
    if tensors:
        items, spec = 1000 + x[:, 6, :, 0].astype(np.float32), InputSpec(shape=(12,), dtype="float32")
    source = Bars(items, harm_at, harm)
    split = np.split(np.arange(90), [48, 69])
    return DataSet("bars", LABELS, spec, *(Split(source, rows, y[rows]) for rows in split), sha256="0" * 64)


def run(out: Path, data: DataSet | None = None, *, arch: str = "ds-cnn", **options):
    """Three epochs of the smallest net that has batch normalization and dropout."""
    defaults = {"epochs": 3, "batch_size": 16, "learning_rate": 0.01, "progress": False}
    return train(data or bars(), arch, out=out, **defaults | options)


def weights(path: Path):
    return keras.models.load_model(path).get_weights()


def same(a, b) -> bool:
    return all(np.array_equal(v, w) for v, w in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that nothing disturbed."""
    return run(tmp_path_factory.mktemp("finished"))


def test_a_run_leaves_its_results_and_nothing_else(finished):
    folder = finished.model.parent
    assert sorted(p.name for p in folder.iterdir() if p.name != ".lock") == FILES
    for picture in folder.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    with (folder / "history.csv").open() as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == [row["loss"] for row in finished.history]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == finished.metrics
    assert metrics["count"] == 21
    assert metrics["val"]["count"] == 21
    assert metrics["parameters"] == keras.models.load_model(finished.model).count_params()
    assert metrics["arguments"]["augmentation"] == "affine"
    assert np.array(metrics["confusion_matrix"]).sum() == 21


def test_the_model_takes_raw_pixels_and_carries_its_contract(finished):
    data, contract = bars(), read_contract(finished.model)
    assert contract is not None
    assert (contract.task, contract.labels, contract.scheme, contract.arch) == ("softmax", LABELS, "keras", "ds-cnn")
    assert contract.input == data.input
    assert contract.data == data.record
    scores = keras.models.load_model(finished.model).predict(data.test.read(slice(None)).astype(np.float32), verbose=0)
    assert (scores.argmax(axis=1) == data.test.y).mean() == contract.test_accuracy == finished.metrics["accuracy"]


@pytest.mark.slow
def test_it_learns_and_shows_its_progress_on_standard_error_only(tmp_path, capsys):
    result = run(tmp_path, arch="dense", epochs=12, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 12/12" in err
    assert "validation" in err
    assert result.metrics["accuracy"] > 0.9
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    best = max(result.history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert result.metrics["best_epoch"] == best["epoch"]
    assert result.metrics["val"]["accuracy"] == pytest.approx(best["val_accuracy"])
    rates = [row["learning_rate"] for row in result.history]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(0.01, rel=0.05)
    assert rates[-1] < 0.001


@pytest.mark.slow
def test_the_same_seed_gives_the_same_file_and_another_does_not(finished, tmp_path):
    assert run(tmp_path / "a").model.read_bytes() == finished.model.read_bytes()
    assert not same(weights(run(tmp_path / "b", seed=1).model), weights(finished.model))


@pytest.mark.slow
def test_a_run_killed_in_its_third_epoch_ends_with_the_same_weights(finished, tmp_path):
    child = subprocess.run([sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert not (tmp_path / "model.keras").exists()
    with pytest.raises(TrainingError, match=r"unfinished run \(epoch 2\)"):
        run(tmp_path)
    with pytest.raises(TrainingError, match=r"batch_size was 16 and is 8"):
        run(tmp_path, batch_size=8, resume=True)
    other = dataclasses.replace(bars(), sha256="1" * 64)
    with pytest.raises(TrainingError, match="data was"):
        run(tmp_path, other, resume=True)
    result = run(tmp_path, resume=True)
    assert same(weights(result.model), weights(finished.model))
    drop_seconds = [[{**row, "seconds": 0} for row in history] for history in (result.history, finished.history)]
    assert drop_seconds[0] == drop_seconds[1]


@pytest.mark.slow
def test_a_finished_run_with_a_checkpoint_beside_it_loses_the_checkpoint(finished, tmp_path):
    """It was killed after it had written its model."""
    shutil.copytree(finished.model.parent, tmp_path / "run")
    (tmp_path / "run" / "checkpoint.npz").write_bytes(b"not even a checkpoint")
    with pytest.raises(TrainingError, match="a finished run"):
        run(tmp_path / "run")
    result = run(tmp_path / "run", resume=True)
    assert result.metrics == finished.metrics
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_resume_does(finished, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"Stopped after epoch 1 of 3.*--resume"):
        run(tmp_path, bars(harm_at=reads_of_epochs(1) + 2, harm=interrupt))
    assert same(weights(run(tmp_path, resume=True).model), weights(finished.model))


def reads_of_epochs(epochs: int) -> int:
    """Batches read in that many epochs: 3 of training and 2 of validation in each."""
    return 5 * epochs


@pytest.mark.slow
def test_a_finished_run_is_kept_unless_told_otherwise(finished, tmp_path):
    folder = shutil.copytree(finished.model.parent, tmp_path / "run")
    with pytest.raises(TrainingError, match="a finished run"):
        run(folder)
    data = bars()
    again = run(folder, data, resume=True)
    assert again.metrics == finished.metrics
    assert again.history == finished.history
    assert data.train.source.reads == 0
    with pytest.raises(TrainingError, match="epochs was 3 and is 2"):
        run(folder, epochs=2, resume=True)
    assert len(run(folder, arch="dense", epochs=2, overwrite=True).history) == 2


def test_two_runs_in_one_folder_are_refused(tmp_path):
    import filelock

    with filelock.FileLock(tmp_path / ".lock"), pytest.raises(TrainingError, match="Another run"):
        run(tmp_path)
    assert not (tmp_path / "model.keras").exists()


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_stops_and_leaves_no_model(tmp_path):
    data = bars(tensors=True)
    with pytest.raises(TrainingError, match="loss became nan in epoch 1") as e:
        train(data, "dense", out=tmp_path, learning_rate=1e38, epochs=2, progress=False)
    assert "Lower the learning rate" in e.value.hint
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_tensors_whose_variance_overflows_are_refused(tmp_path):
    data = bars(tensors=True)
    data.train.source.x[0] = 1e30
    with pytest.raises(InputError, match="variance is beyond float32"):
        train(data, "dense", out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_tensors_are_normalized_inside_the_model_and_noise_fits_them(tmp_path):
    data = bars(tensors=True)
    result = train(data, "dense", out=tmp_path, epochs=10, learning_rate=0.01, augmentation="noise", progress=False)
    assert result.metrics["accuracy"] > 0.9
    assert not (tmp_path / "mistakes.png").exists()
    model = keras.models.load_model(result.model)
    normalized = keras.Model(model.input, model.get_layer("normalization").output)
    x = np.asarray(normalized(data.train.read(slice(None))))
    assert x.mean(axis=0) == pytest.approx(np.zeros(12), abs=1e-3)
    assert x.std(axis=0) == pytest.approx(np.ones(12), abs=1e-2)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_one_clear_error_and_patience_ends_a_run_that_stands_still(tmp_path):
    (tmp_path / "checkpoint.npz").write_bytes(b"PK damaged")
    with pytest.raises(TrainingError, match="can't be read"):
        run(tmp_path, resume=True)
    result = run(tmp_path, arch="dense", epochs=9, learning_rate=1e-12, patience=2, overwrite=True)
    assert result.model.exists()
    assert len(result.history) == result.metrics["best_epoch"] + 2 < 9


def test_class_weights_give_every_class_the_same_sum():
    y = np.array([0, 0, 0, 2])
    given = balanced_weights(y, 3)
    assert given[0] * 3 == pytest.approx(given[2])
    assert given[y].sum() == pytest.approx(4 * 2 / 3)


@pytest.mark.slow
def test_class_weights_change_what_is_learned(tmp_path):
    data = bars()
    rows = data.train.indices[(data.train.y != 0) | (data.train.indices < 9)]
    few = dataclasses.replace(data, train=Split(data.train.source, rows, rows % 3))
    plain, weighed = (run(tmp_path / str(w), few, arch="dense", epochs=1, class_weights=w) for w in (False, True))
    assert not same(weights(plain.model), weights(weighed.model))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"epochs": 0}, InputError, "epochs is 0; accepted: at least 1"),
        ({"batch_size": -1}, InputError, "batch_size is -1"),
        ({"learning_rate": 0.0}, InputError, "learning_rate is 0; accepted: above 0"),
        ({"learning_rate": float("nan")}, InputError, "learning_rate is nan"),
        ({"patience": -1}, InputError, "patience is -1"),
        ({"seed": -1}, InputError, "seed is -1"),
        ({"augmentation": "pohto"}, InputError, "Unknown augmentation"),
        ({"width": 2.0}, InputError, "ds-cnn has no option width"),
        ({"resume": True, "overwrite": True}, InputError, "exclude each other"),
        ({"weights": "missing.keras"}, TrainingError, "no file of weights"),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused_before_anything_is_written(tmp_path, options, error, says):
    with pytest.raises(error, match=says):
        run(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_an_empty_split_is_refused(tmp_path):
    data = bars()
    with pytest.raises(TrainingError, match="val split of bars is empty"):
        run(
            tmp_path / "run",
            dataclasses.replace(data, val=Split(data.val.source, data.val.indices[:0], data.val.y[:0])),
        )
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="can't be"):
        run(tmp_path / "file" / "run")
    with pytest.raises(InputError, match=r"model\.keras is the name of a file\. Name a folder"):
        run(tmp_path / "model.keras")
    assert not (tmp_path / "model.keras").exists()


if __name__ == "__main__":  # the run that test_a_run_killed_... starts: it kills itself in its third epoch
    run(Path(sys.argv[1]), bars(harm_at=reads_of_epochs(2) + 2, harm=lambda: os.kill(os.getpid(), signal.SIGKILL)))
