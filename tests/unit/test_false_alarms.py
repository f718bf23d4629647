"""Windows of background in which a net hears a label."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sounds import tone, wav_bytes, write_words

from edgepress.runtime.sound.frames import net_input
from edgepress.toolkit.data import DataSet, open_data
from edgepress.toolkit.data.mixing import mix_frames
from edgepress.toolkit.errors import TrainingError
from edgepress.toolkit.training import false_alarms
from edgepress.toolkit.training.false_alarms import can_hear, ends_of_rounds, hear_background, with_background


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    folder = write_words(tmp_path_factory.mktemp("words"), classes=1, speakers=10)
    (folder / "background").mkdir()
    for number in range(8):
        rng = np.random.default_rng([9, number])
        samples = np.concatenate(
            [rng.normal(0, 300, 40_000 + 160 * number).astype(np.int16), tone(rng, number, 16_000)]
        )
        (folder / "background" / f"street{number}.wav").write_bytes(wav_bytes(samples[:, None], 16_000))
    return open_data(folder)


def answering(rule: Any) -> Any:
    """A net of two labels, background first, whose probability of the other is a function of its items."""

    def predict(x: np.ndarray) -> np.ndarray:
        assert len(x) <= false_alarms.AT_ONCE
        word = rule(x)
        return np.stack([1 - word, word], axis=1)

    return SimpleNamespace(predict_on_batch=predict)


def test_a_net_hears_the_whole_background_of_the_training_split_alone(data: DataSet) -> None:
    source: Any = data.train.source
    windows = hear_background(answering(lambda x: np.full(len(x), 0.2)), data)
    numbers = {number for number, _ in windows}
    assert numbers == {*source.of[data.train.indices[data.train.y == data.labels.index("background")]].tolist()}
    assert not numbers & {*source.of[data.test.indices].tolist(), *source.of[data.val.indices].tolist()}
    for number in numbers:
        begins = [begin for each, begin in windows if each == number]
        assert begins == list(range(0, len(source.frames_of(number)) - source.window + 1, 3))
    assert hear_background(answering(lambda x: np.full(len(x), 0.19)), data) == []


def test_what_it_hears_is_learned_as_background(data: DataSet) -> None:
    source: Any = data.train.source
    loudest = lambda x: (x.mean(axis=(1, 2)) > 6).astype(float)  # noqa: E731
    windows = hear_background(answering(loudest), data)
    assert windows
    train = with_background(data, windows)
    assert len(train) == len(data.train) + len(windows)
    assert (train.y[len(data.train) :] == data.labels.index("background")).all()
    rows = np.arange(len(train))
    assert train.read(rows[: len(data.train)]).tolist() == data.train.read(rows[: len(data.train)]).tolist()
    added = train.read(rows[len(data.train) :])
    assert (loudest(added) == 1).all()
    number, begin = windows[-1]
    expected = source.items_at(source.frames_of(number), np.array([begin]))
    assert added[-1].tolist() == expected[0].tolist()
    extended: Any = train.source
    draws = np.array([0.1, 0.7], np.float32)
    noises = source.noises(data.train.indices)
    of, begins = np.array(windows[-2:]).T
    frames = mix_frames(
        source.recordings, of, begins, draws=draws, noises=noises, sound=source.sound, window=source.window
    )
    assert extended.mix(train.indices[-2:], draws, noises).tolist() == net_input(frames, source.sound).tolist()
    assert with_background(data, []) is data.train


def test_more_background_is_heard_with_larger_steps_and_alarms_are_spread(
    data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(false_alarms, "MOST_HEARD", 100)
    always = answering(lambda x: np.ones(len(x)))
    every = hear_background(always, data)
    assert 50 < len(every) <= 100
    monkeypatch.setattr(false_alarms, "MOST_LEARNED", 10)
    some = hear_background(always, data)
    assert len(some) == 10
    assert (some[0], some[-1]) == (every[0], every[-1])
    assert {number for number, _ in some} == {number for number, _ in every}


def test_data_without_background_are_not_heard(data: DataSet, tmp_path: Path) -> None:
    assert can_hear(data.train, data.labels)
    words = open_data(write_words(tmp_path / "words"))
    assert not can_hear(words.train, words.labels)
    assert not can_hear(data.train, ("background", "silence"))


@pytest.mark.parametrize(("epochs", "ends"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (60, [20, 40, 60])])
def test_rounds_have_equal_parts_of_the_epochs(epochs: int, ends: list[int]) -> None:
    assert ends_of_rounds(epochs) == ends


@pytest.mark.parametrize("wrong", [[(999, 0)], [("0", 0)], [(0, -1)], [(0, 10**6)], [(0,)], [7], [(-1, 0)], [(0.5, 0)]])
def test_windows_of_a_damaged_checkpoint_are_one_error(wrong: Any, data: DataSet) -> None:
    (right,) = hear_background(answering(lambda x: np.ones(len(x))), data)[:1]
    for windows in (wrong, [right, *wrong]):
        with pytest.raises(TrainingError, match="checkpoint") as caught:
            with_background(data, windows)
        assert "--overwrite" in caught.value.hint


def test_no_window_of_a_word_is_learned_as_background(data: DataSet) -> None:
    source: Any = data.train.source
    words = source.of[data.train.indices[data.train.y == data.labels.index("word0")]]
    with pytest.raises(TrainingError, match="background"):
        with_background(data, [(int(words[0]), 0)])


def test_the_last_window_of_a_recording_can_be_learned(data: DataSet) -> None:
    source: Any = data.train.source
    number = int(source.noises(data.train.indices)[0])
    last = len(source.frames_of(number)) - source.window
    assert len(with_background(data, [(number, last)])) == len(data.train) + 1
    with pytest.raises(TrainingError):
        with_background(data, [(number, last + 1)])
