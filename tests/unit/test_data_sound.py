from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sounds import wav_bytes, write_words

from edgepress.runtime import DataRecord
from edgepress.runtime.data_record import TableRecord
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.sound.features import SoundFeatures
from edgepress.runtime.sound.frames import frames_of, net_input
from edgepress.runtime.sound.wav import read_wav
from edgepress.runtime.sound.windows import windows_of
from edgepress.toolkit.data import DataSet, open_data
from edgepress.toolkit.data.group_names import SEEN
from edgepress.toolkit.data.items import ReadOptions
from edgepress.toolkit.data.readers.sound import load_samples, read_sound
from edgepress.toolkit.data.remembered import open_in_groups
from edgepress.toolkit.errors import DataError, InputError

USUAL = SoundFeatures()


def write(path: Path, samples: np.ndarray, rate: int = 16000, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(wav_bytes(np.reshape(samples, (len(samples), -1)), rate, **how))  # type: ignore[arg-type]
    return path


def noise(seed: int, seconds: float, rate: int = 16000) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2000, int(rate * seconds)).astype(np.int16)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("words"))


def names_in(data: DataSet, part: str) -> list[str]:
    split = getattr(data, part)
    return [split.source.name(int(i)) for i in split.indices]


def test_a_folder_of_recordings_gives_windows_of_frames(words: Path) -> None:
    data = open_data(str(words))
    assert data.labels == ("word0", "word1")
    assert data.input == InputSpec(shape=(98, 40), dtype="float32", value_range=(0.0, 26.0))
    assert (data.sound, data.table) == (USUAL, TableRecord(columns=(), window=98, step=49))
    assert len(data.train) + len(data.val) + len(data.test) == 48
    x = data.test.read(slice(0, 3))
    for item, name in zip(x, names_in(data, "test"), strict=False):
        samples, _ = read_wav(words / name)
        expected = net_input(frames_of(samples, USUAL), USUAL)
        assert item.tolist() == expected.tolist()
    assert x.min() >= 0
    assert x.max() <= 26


def test_speakers_in_the_names_are_never_divided(words: Path) -> None:
    data = open_data(str(words))
    speakers = {part: {Path(name).stem.split("_")[0] for name in names_in(data, part)} for part in ("train", "test")}
    assert speakers["test"]
    assert not speakers["train"] & speakers["test"]
    assert "speaker" in " ".join(data.group_notes)


def test_windows_of_one_recording_are_never_divided(tmp_path: Path) -> None:
    for label in ("rain", "wind"):
        for number in range(8):
            write(tmp_path / label / f"{chr(97 + number)}.wav", noise(ord(label[0]) + number, 4.0))
    data = open_data(str(tmp_path))
    assert data.group == "column:recording"
    files = {part: {name.split(",")[0] for name in names_in(data, part)} for part in ("train", "val", "test")}
    assert not files["train"] & files["test"]
    assert not files["train"] & files["val"]
    assert len(data.train) + len(data.val) + len(data.test) == 16 * len(range(0, 398 - 98 + 1, 49))
    assert any(name.endswith("a.wav, 0.5-1.5 s") for part in files for name in names_in(data, part))
    for label in ("rain", "wind"):
        (tmp_path / label / "a.wav").rename(tmp_path / label / "mill_1.wav")
        (tmp_path / label / "b.wav").rename(tmp_path / label / "mill_2.wav")
    given = open_data(str(tmp_path), group=SEEN[1])  # six of eight have no match, and stay whole
    parts = {part: {name.split(",")[0] for name in names_in(given, part)} for part in ("train", "val", "test")}
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["val"]


def test_window_step_and_front_end_are_taken_as_given(tmp_path: Path) -> None:
    for label in "ab":
        for number in range(4):
            write(tmp_path / label / f"{number}.wav", noise(number + ord(label), 2.0))
    data = open_data(str(tmp_path), window=50, step=30, sound=SoundFeatures(channels=20, window_ms=25))
    assert data.input.shape == (50, 20)
    frames = SoundFeatures(window_ms=25).frames_of(32000)
    assert len(data.train) + len(data.val) + len(data.test) == 8 * len(range(0, frames - 50 + 1, 30))
    record = DataRecord(source=str(tmp_path), sha256="", counts={}, group=data.group, table=data.table)
    again, notes = open_in_groups(str(tmp_path), record, sound=data.sound, input=data.input, purpose="evaluation")
    assert notes == []
    assert again.sha256 == data.sha256


def test_a_short_recording_begins_with_silence() -> None:
    samples = noise(1, 0.3)
    frames, starts = windows_of(samples, USUAL, 98, 49)
    assert (frames.shape, starts.tolist()) == ((98, 40), [0])
    silence = np.zeros(USUAL.samples_of(98) - len(samples), np.int16)
    assert frames.tolist() == frames_of(np.concatenate([silence, samples]), USUAL).tolist()


def test_a_clip_gives_its_loudest_window() -> None:
    samples = np.zeros(20000, np.int16)
    samples[12000:19000] = noise(2, 1)[:7000]
    frames, (start,) = windows_of(samples, USUAL, 98, 49)
    assert len(frames) == 123
    assert start * 160 <= 12000
    assert start * 160 + USUAL.samples_of(98) >= 19000


@pytest.mark.parametrize("seed", range(6))
def test_up_to_three_windows_give_the_loudest_one_and_longer_ones_give_several(seed: int) -> None:
    rng = np.random.default_rng(seed)
    window = int(rng.integers(20, 120))
    longest = 3 * window
    for frames, several in ((longest, False), (longest + 1, True)):
        samples = rng.normal(0, 2000, USUAL.samples_of(frames)).astype(np.int16)
        begin = int(rng.integers(0, frames - window + 1))
        samples[begin * 160 : begin * 160 + USUAL.samples_of(window)] = rng.normal(0, 2600, USUAL.samples_of(window))
        _, starts = windows_of(samples, USUAL, window, window // 2)
        if several:
            assert starts.tolist() == list(range(0, frames - window + 1, window // 2))
        else:
            assert starts.tolist() == [begin]


@pytest.mark.parametrize("seed", range(4))
def test_quiet_windows_of_a_long_recording_are_left_out_but_not_of_background(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    window = 50
    second = 16000
    levels = [1.0, 0.53, 0.47, 0.9, 0.1, 0.8]  # of amplitude: half of it is a quarter of the energy
    samples = np.concatenate([rng.choice([-1, 1], second) * 8000 * level for level in levels]).astype(np.int16)
    _, starts = windows_of(samples, USUAL, window, 10)
    windows = starts[:, None] * 160 + np.arange(USUAL.samples_of(window))
    shares = (samples[windows].astype(np.float64) ** 2).mean(axis=1) / 8000**2
    assert 0.25 <= shares.min() < 0.3
    assert {0, 100, 300, 500} <= {*starts.tolist()}
    assert not {200, 400} & {*starts.tolist()}
    _, every = windows_of(samples, USUAL, window, 10, 0)
    assert every.tolist() == list(range(0, 598 - window + 1, 10))
    for label in ("bird", "background"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.wav").write_bytes(wav_bytes(samples[:, None], 16000))
    items = read_sound(tmp_path, ReadOptions(window=window, step=10))
    assert np.bincount(items.y).tolist() == [len(every), len(starts)]


@pytest.mark.parametrize(("around", "one"), [(0.0, True), (0.3, True), (0.37, False)])
def test_a_word_between_pauses_is_one_item_however_long_the_recording(around: float, one: bool) -> None:
    rng = np.random.default_rng(1)
    window = USUAL.samples_of(98)
    rest = 50_000
    samples = rng.choice([-1, 1], window + rest) * 2000.0
    begin = 160 * 71
    outside = np.ones(len(samples), bool)
    outside[begin : begin + window] = False
    samples[outside] *= np.sqrt(around * window / rest)  # the energy outside as a share of that inside
    energy = samples.astype(np.int16).astype(np.float64) ** 2
    assert (energy[~outside].sum() > 0.75 * energy.sum()) == (around < 1 / 3)
    _, starts = windows_of(samples.astype(np.int16), USUAL, 98, 49)
    assert (starts.tolist() == [71]) == one
    assert len(windows_of(samples.astype(np.int16), USUAL, 98, 49, 0)[1]) > 1


def test_windows_of_digital_silence_are_left_out() -> None:
    samples = np.concatenate([noise(3, 1), np.zeros(16000 * 5, np.int16), noise(4, 1)])
    frames, starts = windows_of(samples, USUAL, 98, 49)
    assert 0 < len(starts) < len(range(0, len(frames) - 97, 49))
    assert all(frames[start : start + 98].any() for start in starts)
    assert windows_of(np.zeros(16000 * 5, np.int16), USUAL, 98, 49)[1].tolist() == [0]


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000])
def test_another_rate_is_resampled(tmp_path: Path, rate: int) -> None:
    at = np.arange(rate) / rate
    path = write(tmp_path / "a.wav", (9000 * np.sin(2 * np.pi * 440 * at)).astype(np.int16), rate)
    found = load_samples(path, 16000)
    assert abs(len(found) - 16000) <= 1
    expected = 9000 * np.sin(2 * np.pi * 440 * np.arange(len(found)) / 16000)
    assert np.abs(found - expected)[200:-200].max() < 60


def test_flac_is_read_as_wav(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    stereo = np.stack([noise(5, 0.5), noise(6, 0.5)], axis=1) & ~1  # an even sum needs no rounding
    soundfile.write(tmp_path / "a.flac", stereo, 16000)
    assert load_samples(tmp_path / "a.flac", 16000).tolist() == (stereo.astype(int).sum(axis=1) // 2).tolist()
    (tmp_path / "b.flac").write_bytes((tmp_path / "a.flac").read_bytes()[:300])
    (tmp_path / "c.flac").write_bytes(b"no sound")
    for name in ("b.flac", "c.flac"):
        with pytest.raises(InputError, match=name):
            load_samples(tmp_path / name, 16000)


def test_unreadable_recordings_are_named_and_may_be_skipped(tmp_path: Path) -> None:
    write_words(tmp_path / "words", speakers=3, each=3)
    (tmp_path / "words" / "word0" / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"bad.wav is no WAV file") as caught:
        open_data(str(tmp_path / "words"))
    assert "--skip-unreadable" in caught.value.hint
    data = open_data(str(tmp_path / "words"), skip_unreadable=True)
    assert [name for name, _ in data.skipped] == ["word0/bad.wav"]


def test_splits_of_the_data_are_kept_and_evaluation_needs_only_test(tmp_path: Path) -> None:
    write_words(tmp_path / "test", speakers=2, each=2)
    data = open_data(str(tmp_path), input=InputSpec(shape=(98, 40), dtype="float32"), purpose="evaluation")
    assert (len(data.test), len(data.train)) == (8, 0)


def test_a_model_of_other_frames_is_refused(words: Path) -> None:
    with pytest.raises(DataError, match="a frame has 40 numbers"):
        open_data(str(words), input=InputSpec(shape=(49, 10), dtype="float32"), purpose="evaluation")
    with pytest.raises(DataError, match="images"):
        open_data(str(words), input=InputSpec.image(28, 28, "grey"), purpose="evaluation", sound=USUAL)
    with pytest.raises(InputError, match="seconds of a window"):
        open_data(str(words), window=100_000)
    with pytest.raises(InputError, match="label-column"):
        open_data(str(words), label_column="x")


def test_a_folder_with_images_is_one_of_images(tmp_path: Path) -> None:
    write_words(tmp_path, speakers=1, each=1)
    (tmp_path / "word0" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="word1"):
        open_data(str(tmp_path))
