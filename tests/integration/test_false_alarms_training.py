"""A training on recordings hears the background after parts of its epochs; interrupted, it goes on in the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sounds import tone, wav_bytes, write_words

from edgepress.toolkit import train
from edgepress.toolkit.data import DataSet, open_data
from edgepress.toolkit.training import checkpoint, course, false_alarms
from edgepress.toolkit.training.batches import balanced_weights


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """A word, and background in which another one is said."""
    folder = write_words(tmp_path_factory.mktemp("words"), classes=1, speakers=8, each=3)
    (folder / "background").mkdir()
    for number in range(6):
        rng = np.random.default_rng([9, number])
        noise = rng.normal(0, 100, 48_000).astype(np.int16)
        samples = np.concatenate([noise, tone(rng, number, 16_000)])
        (folder / "background" / f"street{number}.wav").write_bytes(wav_bytes(samples[:, None], 16_000))
    return open_data(folder)


def weights(model: Path) -> list[np.ndarray]:
    import keras

    return [np.array(value) for value in keras.models.load_model(model).get_weights()]


def test_an_interrupted_training_learns_the_same_false_alarms(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(false_alarms, "LEAST_PROBABILITY", 0.05)  # few epochs leave it unsure
    options: dict[str, Any] = {"epochs": 6, "seed": 3, "progress": False}
    notes: list[str] = []
    whole = train(data, "stream-cnn", out=tmp_path / "whole", on_note=notes.append, **options)
    heard = [note for note in notes if "heard labels" in note]
    assert [note.split(",")[0] for note in heard] == ["After epoch 2", "After epoch 4"]
    assert not any(" in 0 windows" in note for note in heard)
    assert len(whole.history) == 6
    for stop in (1, 2, 5):
        train(data, "stream-cnn", out=tmp_path / "parts", stop_after=stop, resume=True, **options)
    state = checkpoint.load(tmp_path / "parts")
    assert state is not None
    assert [len(windows) for windows in state.planned["false_alarms"]] == [
        int(note.split(" in ")[1].split()[0]) for note in heard
    ]
    again = train(data, "stream-cnn", out=tmp_path / "parts", resume=True, **options)
    assert all((one == other).all() for one, other in zip(weights(whole.model), weights(again.model), strict=True))
    masked = train(data, "stream-cnn", out=tmp_path / "masks", augmentation="masks", on_note=notes.append, **options)
    assert len(masked.history) == 6
    assert len([note for note in notes if "heard labels" in note]) == 2


def test_smoothed_labels_leave_each_class_a_share() -> None:
    from edgepress.toolkit.training.label_kinds import smoothed_loss

    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(5), 40).astype(np.float32)
    y = rng.integers(0, 5, 40)
    wanted = 0.9 * np.eye(5)[y] + 0.1 / 5
    expected = -(wanted * np.log(scores.astype(np.float64))).sum(axis=1)
    for shape in ((40,), (40, 1)):
        assert np.array(smoothed_loss(y.reshape(shape), scores)) == pytest.approx(expected, rel=1e-4)


def test_a_training_on_recordings_keeps_the_last_epoch(data: DataSet, tmp_path: Path) -> None:
    result = train(data, "stream-cnn", out=tmp_path / "run", epochs=4, patience=1, learning_rate=1e-6, progress=False)
    assert len(result.history) == 4
    assert result.metrics["arguments"]["patience"] is None
    for remark in result.metrics.get("remarks", []):
        assert "--patience" not in remark.get("command", "")


@pytest.mark.parametrize("class_weights", [False, True])
def test_false_alarms_give_the_background_no_more_weight(
    class_weights: bool, data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(false_alarms, "LEAST_PROBABILITY", 0.05)
    given: list[Any] = []
    sizes: list[np.ndarray] = []
    inner = course.with_background

    class Learner(course.ModelLearner):
        def __init__(self, model: Any, *, weights: Any, **options: Any) -> None:
            given.append(weights)
            super().__init__(model, weights=weights, **options)

    def spy(data: DataSet, windows: Any) -> Any:
        split = inner(data, windows)
        sizes.append(np.bincount(split.y, minlength=len(data.labels)))
        return split

    monkeypatch.setattr(course, "ModelLearner", Learner)
    monkeypatch.setattr(course, "with_background", spy)
    options: dict[str, Any] = {"epochs": 3, "class_weights": class_weights, "progress": False}
    train(data, "stream-cnn", out=tmp_path / "run", **options)
    counts = np.bincount(data.train.y, minlength=len(data.labels))
    usual = balanced_weights(data.train.y, len(data.labels)) if class_weights else np.ones(len(counts))
    background = data.labels.index("background")
    assert sizes[0].tolist() == counts.tolist()
    assert sizes[-1][background] > counts[background]
    for size, weights in zip(sizes, given[1:], strict=True):
        total = size if weights is None else size * weights
        assert total == pytest.approx(counts * usual, rel=1e-5)
