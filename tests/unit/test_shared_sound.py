"""New recordings joined with old ones, and which of them share sound with what is learned."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
from sounds import wav_bytes, write_words

from edgepress.toolkit.data import DataSet, open_data
from edgepress.toolkit.data.collected import join
from edgepress.toolkit.data.readers.sound import SoundSource
from edgepress.toolkit.improvement.improving.proof import without_learned_scenes
from edgepress.toolkit.improvement.improving.shared_sound import marks_of, share_sound


def samples_of(seed: int, count: int = 32_000, level: float = 300) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, count).astype(np.int16)


@pytest.mark.parametrize("level", [2.0, 300.0, 9000.0])
@pytest.mark.parametrize("seed", range(3))
def test_recordings_that_overlap_share_sound_and_others_do_not(seed: int, level: float) -> None:
    whole = samples_of(seed, 80_000, level)
    begin = int(np.random.default_rng(seed).integers(1, 24_000))
    first, second = whole[:32_000], whole[begin : begin + 32_000]
    assert share_sound(marks_of(first), marks_of(second))
    assert not share_sound(marks_of(whole[40_000:72_000]), marks_of(first))
    assert not share_sound(marks_of(samples_of(seed + 100, 32_000, level)), marks_of(whole))


@pytest.mark.parametrize("count", [0, 1, 15, 16, 32_000])
def test_silence_is_not_shared_sound(count: int) -> None:
    silence = marks_of(np.zeros(count, np.int16))
    assert not share_sound(silence, silence)


@pytest.fixture
def old(tmp_path: Path) -> DataSet:
    words = write_words(tmp_path / "old")
    (words / "background").mkdir()
    for seed in range(3):
        (words / "background" / f"{seed}.wav").write_bytes(wav_bytes(samples_of(seed, 64_000)[:, None], 16000))
    return open_data(words, group="none")


@pytest.fixture
def new(tmp_path: Path, old: DataSet) -> DataSet:
    for number, label in enumerate(old.labels):
        (tmp_path / "new" / label).mkdir(parents=True)
        for seed in range(8):
            content = wav_bytes(samples_of(100 * number + seed + 50)[:, None], 16000)
            (tmp_path / "new" / label / f"{seed}.wav").write_bytes(content)
    return open_data(tmp_path / "new", labels=old.labels, group="none", purpose="evaluation")


def test_joined_recordings_are_items_of_one_source_that_can_be_mixed(old: DataSet, new: DataSet) -> None:
    both = join(old, new)
    assert both.sound == old.sound
    for name in ("train", "val", "test"):
        split = getattr(both, name)
        assert isinstance(split.source, SoundSource)
        for part in (old, new):
            each = getattr(part, name)
            known = {each.name(row): item for row, item in enumerate(each.read(slice(None)))}
            for row in range(len(split)):
                if split.source.recordings.paths[split.source.of[split.indices[row]]].is_relative_to(part.source):
                    assert (split.read([row])[0] == known[split.name(row)]).all()
    train = both.train
    assert isinstance(train.source, SoundSource)
    numbers = train.source.noises(train.indices)
    assert {train.source.recordings.paths[number].parent.name for number in numbers} == {"background"}
    assert {train.source.recordings.paths[number].parents[1].name for number in numbers} == {"old", "new"}
    mixed = train.source.mix(train.indices[:6], np.linspace(0, 0.9, 6, dtype=np.float32), numbers)
    assert mixed.shape == (6, 98, 40)
    copy = pickle.loads(pickle.dumps(both.test))
    assert (copy.read(slice(None)) == both.test.read(slice(None))).all()


def test_test_items_that_share_sound_with_training_items_prove_nothing(new: DataSet) -> None:
    source = new.train.source
    assert isinstance(source, SoundSource)
    learned = source.recordings.paths[source.of[new.train.indices[0]]]
    shared = source.recordings.paths[source.of[new.test.indices[0]]]
    samples = np.frombuffer(learned.read_bytes()[44:], "<i2")
    shared.write_bytes(wav_bytes(np.concatenate([samples[9001:], samples_of(9)])[:, None], 16000))
    held, notes = without_learned_scenes(dataclasses.replace(new), [])
    assert len(held.test) == len(new.test) - 1
    assert f"1 of {len(new.test)} new test items left out" in notes[0]
