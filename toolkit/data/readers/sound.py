"""Read a folder of class folders with recordings: WAV, or FLAC with the package soundfile.

    sounds/train/glass/kitchen_01.wav      train/, val/ and test/ may be left out
    sounds/train/background/street.flac    the class of everything else

Each recording is resampled once, and its frames are computed whole, because the front end has memory. Items are windows
of frames, as `edgepress.runtime.sound.windows` takes them. Windows of one recording are never divided between splits:
the recording is the group of those that no other rule of groups has.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgepress.converters.files import require_memory
from edgepress.runtime.data_record import TableRecord
from edgepress.runtime.image import IMAGE_SUFFIXES
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.sound.features import FrameFeatures, SoundFeatures
from edgepress.runtime.sound.frames import net_input
from edgepress.runtime.sound.listen_options import IGNORED
from edgepress.runtime.sound.windows import QUIETEST, windows_of
from edgepress.toolkit.data.decoding import in_threads
from edgepress.toolkit.data.items import UNLABELLED, Items, ReadOptions, in_order
from edgepress.toolkit.data.mixing import mix_frames
from edgepress.toolkit.data.readers.csv_windows import GroupColumns
from edgepress.toolkit.data.readers.folder_layout import folders_of_splits, is_ignored, subfolders
from edgepress.toolkit.data.sound_files import (
    FLAC,
    SUFFIXES,
    Recordings,
    load_samples,
    recordings_in,
    require_soundfile,
)
from edgepress.toolkit.data.splits import Ints
from edgepress.toolkit.errors import DataError, InputError

WINDOW_S = 1.0
"""Seconds of a window, if its length is not given."""
RECORDING = "recording"
"""The column of groups."""
LOOKED_AT = 10_000
"""Entries of folders that tell whether they hold recordings."""
Frames = npt.NDArray[np.uint16]


def is_sound(path: Path) -> bool:
    """Whether a folder has recordings in its folders, and none of the first files is an image."""
    if not path.is_dir():
        return False
    seen = 0
    for _, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not is_ignored(name))
        suffixes = {os.path.splitext(name)[1].lower() for name in files[:LOOKED_AT] if not is_ignored(name)}
        if suffixes & (SUFFIXES | IMAGE_SUFFIXES):
            return not suffixes & IMAGE_SUFFIXES
        seen += len(files) + len(folders)
        if seen > LOOKED_AT:
            return False
    return False


@dataclass(frozen=True)
class SoundSource:
    """Windows of frames that are held once, however much windows overlap.

    Attributes:
        frames: The frames of all recordings, uint16, shape (frames, channels).
        starts: The first frame of each item, shape (N,).
        window: Frames of an item.
        places: The name of each item.
        spec: The model's input.
        sound: The front end.
        recordings: The recordings, whose samples `mixed` reads again.
        of: The number of the recording of each item, shape (N,).
        begins: The first frame of each item in its recording, shape (N,).
    """

    frames: Frames
    starts: Ints
    window: int
    places: Sequence[str]
    spec: InputSpec
    sound: FrameFeatures
    recordings: Recordings
    of: Ints
    begins: Ints

    def __len__(self) -> int:
        return len(self.starts)

    def read(self, indices: Ints) -> npt.NDArray[np.generic]:
        """See `Source`."""
        return self.items_at(self.frames, self.starts[indices])

    def items_at(self, frames: Frames, begins: Ints) -> npt.NDArray[np.float32]:
        """Items of frames: float32, shape (len(begins), *item shape).

        Args:
            frames: Frames, shape (n, channels).
            begins: The first frame of each item.
        """
        return net_input(frames[begins[:, None] + np.arange(self.window)], self.sound).reshape(-1, *self.spec.shape)

    def frames_of(self, recording: int) -> Frames:
        """The frames of a recording, uint16, shape (n, channels)."""
        return windows_of(self.recordings.samples(recording), self.sound, self.window, self.window)[0]

    def extended(self, windows: Sequence[tuple[int, int]]) -> SoundSource:
        """A source of these items and others: windows of recordings, given by its number and the first frame there.

        Raises:
            IndexError: A recording has no such window.
        """
        each = {number: self.frames_of(number) for number in sorted({number for number, _ in windows})}
        for number, begin in windows:
            if not 0 <= begin <= len(each[number]) - self.window:
                raise IndexError(f"{self.places[0]}: recording {number} has no window at frame {begin}")
        added = [each[number][begin : begin + self.window] for number, begin in windows]
        more = np.array(windows, np.int64).reshape(-1, 2)
        return replace(
            self,
            frames=np.concatenate([self.frames, *added]),
            starts=np.concatenate([self.starts, len(self.frames) + self.window * np.arange(len(windows))]),
            places=[
                *self.places,
                *(f"{self.recordings.paths[number].name}, frame {begin}" for number, begin in windows),
            ],
            of=np.concatenate([self.of, more[:, 0]]),
            begins=np.concatenate([self.begins, more[:, 1]]),
        )

    def joined(self, other: SoundSource) -> SoundSource:
        """A source of these items and those of another one after them, of the same front end and window."""
        recordings = Recordings(
            (*self.recordings.paths, *other.recordings.paths),
            self.sound.rate,
            (*self.recordings.noises, *(len(self.recordings.paths) + number for number in other.recordings.noises)),
        )
        return replace(
            self,
            frames=np.concatenate([self.frames, other.frames]),
            starts=np.concatenate([self.starts, len(self.frames) + other.starts]),
            places=[*self.places, *other.places],
            recordings=recordings,
            of=np.concatenate([self.of, len(self.recordings.paths) + other.of]),
            begins=np.concatenate([self.begins, other.begins]),
        )

    def name(self, index: int) -> str:
        """The file of an item, with the seconds if it has several: "rain/a.wav, 1.0-2.0 s"."""
        return self.places[index]

    def stored_size(self, index: int) -> None:
        """See `Source`."""

    def part(self, indices: Ints) -> SoundSource:
        """A source of only these items, with the frames that they need."""
        rows = np.unique(self.starts[indices][:, None] + np.arange(self.window))
        new = np.searchsorted(rows, self.starts[indices])
        places = [self.places[i] for i in indices.tolist()]
        return replace(
            self,
            frames=self.frames[rows],
            starts=new,
            places=places,
            recordings=self.recordings,
            of=self.of[indices],
            begins=self.begins[indices],
        )

    def mix(self, indices: Ints, draws: npt.NDArray[np.float32], noises: Ints) -> npt.NDArray[np.float32]:
        """Items of other speed, gain and place in time, with noise: float32, shape (len(indices), *item shape).

        Args:
            indices: The items.
            draws: A random number in [0, 1) for each.
            noises: Numbers of the recordings that are noise.
        """
        of = self.of[indices]
        begins = self.begins[indices]
        frames = mix_frames(
            self.recordings, of, begins, draws=draws, noises=noises, sound=self.sound, window=self.window
        )
        return net_input(frames, self.sound).reshape(-1, *self.spec.shape)

    def noises(self, indices: Ints) -> Ints:
        """Numbers of the recordings of noise among those of these items, ascending."""
        own = np.unique(self.of[indices])
        return own[np.isin(own, self.recordings.noises)]

    def hashes(self) -> Iterator[str]:
        """The content hash of each item, that of the same array in an `.npz`."""
        for start in self.starts.tolist():
            item = net_input(self.frames[start : start + self.window], self.sound)
            yield hashlib.sha256(item).hexdigest()


@dataclass(frozen=True)
class Recording:
    """A file of the data.

    `file` is its path relative to the data, `below` that below its class folder; `label` is "" without classes.
    """

    file: str
    below: str
    label: str
    part: str


def read_sound(path: Path, options: ReadOptions) -> Items:
    """Read a folder of class folders with recordings.

    Raises:
        DataError: There are no class folders, one has no recordings, or a recording can't be read.
        InputError: An option is none of sounds.
        MissingExtraError: There are FLAC files, and soundfile is not installed.
    """
    if options.label_column is not None or options.columns is not None:
        raise InputError(f"{path} has recordings; --label-column is for CSV files.", "Leave it out.")
    sound = options.sound or _usual_features(options)
    window, step = _window(options, sound)
    files = _find(path, options)
    problems: dict[str, str] = {}
    parts: list[Frames] = []
    starts: list[Ints] = []
    kept: list[Recording] = []
    done = 0
    work = partial(_compute, path, sound=sound, window=window, step=step)
    for recording, made in zip(files, in_threads(work, files), strict=True):
        if isinstance(made, InputError):
            if not options.skip_unreadable:
                hint = "Replace or remove it, or skip unreadable files with --skip-unreadable."
                raise DataError(made.message, " ".join(filter(None, (made.hint, hint)))) from made
            problems[recording.file] = made.message
            continue
        frames, first = made
        parts.append(frames)
        starts.append(first + done)
        kept.append(recording)
        done += len(frames)
        require_memory(path, 2 * done * sound.channels, "Give fewer recordings.", error=DataError)
    if not kept:
        raise DataError(f"No recording of {path} can be read.", next(iter(problems.values())))
    counts = [len(first) for first in starts]
    of = np.repeat(np.arange(len(kept)), counts)
    spec = options.tensor((window, sound.channels))
    if options.input is None:
        spec = replace(spec, value_range=sound.value_range)
    elif spec.is_integer:
        raise DataError(f"{path} has recordings, and the model takes integers.", "Give an .npz of its items.")
    places = _places(kept, starts, parts, window, sound)
    lengths = np.array([len(frames) for frames in parts])
    begins = np.concatenate(starts) - (np.cumsum(lengths) - lengths)[of]
    noises = tuple(i for i, each in enumerate(kept) if each.label in IGNORED)
    recordings = Recordings(tuple(path / each.file for each in kept), sound.rate, noises)
    source = SoundSource(
        np.concatenate(parts), np.concatenate(starts), window, places, spec, sound, recordings, of, begins
    )
    labels = tuple(in_order([each.label for each in files])) if files[0].label else ()
    numbers = {label: i for i, label in enumerate(labels)}
    several = max(counts) > 1
    return Items(
        source=source,
        hashes=np.array(list(source.hashes()), np.bytes_),
        y=np.array([numbers.get(each.label, 0) for each in kept], np.int64)[of],
        labels=labels,
        stored_split=np.array([each.part for each in kept])[of],
        spec=spec,
        skipped=tuple(problems.items()),
        paths=lambda: [kept[i].below for i in of.tolist()],
        columns=GroupColumns({RECORDING: [kept[i].file for i in of.tolist()]}),
        table=TableRecord(columns=(), window=window, step=step),
        usual_group=RECORDING if several else "",
        sound=sound,
    )


def _usual_features(options: ReadOptions) -> FrameFeatures:
    """The usual front end, with as many channels as a model that does not say what it takes."""
    shape = options.input.shape if options.input is not None else ()
    usual = SoundFeatures()
    if len(shape) >= 2 and shape[1] != usual.channels:
        problem = f"The model takes items of shape {list(shape)}, and a frame has {usual.channels} numbers."
        raise DataError(problem, "Give an .npz of its items: edgepress can't know how they are made of sound.")
    return usual


def _window(options: ReadOptions, sound: FrameFeatures) -> tuple[int, int]:
    """Frames of an item, and from one to the next: as given, as the model takes them, or a second."""
    shape = options.input.shape if options.input is not None else ()
    second = sound.frames_of(round(WINDOW_S * sound.rate))
    window = options.window if options.window is not None else shape[0] if shape else second
    step = options.step if options.step is not None else max(window // 2, 1)
    if window < 1 or step < 1:
        raise InputError(f"The window is {window} and the step {step} frames; accepted: 1 or more.")
    try:
        sound.require_window((window, sound.channels))
    except ValueError as e:
        raise InputError(f"--window: {e}.") from e
    return window, step


def _find(root: Path, options: ReadOptions) -> list[Recording]:
    """All recordings, split by split and class by class.

    Raises:
        DataError: There are no class folders, or a class folder has none.
    """
    found: list[Recording] = []
    for part, folder in folders_of_splits(root, options, loose=options.unlabelled).items():
        classes = {each.name: each for each in subfolders(folder)}
        if not classes and options.unlabelled:
            classes = {"": folder}
        if not classes:
            hint = "Accepted: one folder per class, named after it, with its recordings inside."
            raise DataError(f"{folder} contains no class folders.", f"{hint} {UNLABELLED}")
        for label, place in classes.items():
            files = recordings_in(place)
            if not files:
                raise DataError(f"The class folder {place} has no recordings.", "Add WAV or FLAC files, or remove it.")
            found += [
                Recording(file.relative_to(root).as_posix(), file.relative_to(place).as_posix(), label, part)
                for file in files
            ]
    if any(each.file.lower().endswith(FLAC) for each in found):
        require_soundfile()
    return found


def _compute(
    root: Path, recording: Recording, *, sound: FrameFeatures, window: int, step: int
) -> tuple[Frames, Ints] | InputError:
    """The frames of a recording and the first frame of each of its windows, or why it can't be read."""
    try:
        samples = load_samples(root / recording.file, sound.rate)
    except InputError as e:
        return e
    quietest = 0.0 if recording.label in IGNORED else QUIETEST
    return windows_of(samples, sound, window, step, quietest)


def _places(
    kept: Sequence[Recording], starts: Sequence[Ints], parts: Sequence[Frames], window: int, sound: FrameFeatures
) -> list[str]:
    """The name of each item."""
    names = []
    before = 0
    for recording, first, frames in zip(kept, starts, parts, strict=True):
        for start in (first - before).tolist():
            begin = start * sound.step_ms / 1000
            end = begin + sound.samples_of(window) / sound.rate
            names.append(recording.file if len(first) == 1 else f"{recording.file}, {begin:.1f}-{end:.1f} s")
        before += len(frames)
    return names
