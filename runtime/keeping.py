"""Keep pictures or recordings of a board's stream, to label them later: as many of each class, within a quota.

The name of a file holds what is known of it, so that the folder is all the state there is: a killed process goes on
where it was. Each file draws a random key. Of each class those with the smallest keys are kept, so that old and new
ones have the same chance (a reservoir). If the folder is full, a file leaves from the class with the most. `look`
chooses pictures, and `sound.doubt` recordings.

A scene is new if its thumbnail differs from the last one (`scenes.other_scene`) and from those of all pictures that are
in the folder. One whose picture has left is new when it comes back.
Pictures are stored smaller and without EXIF data, each in at most `MOST_BYTES`. Nothing is sent anywhere.
"""

from __future__ import annotations

import dataclasses
import datetime
import io
import json
import math
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.runtime.errors import EdgepressError, InputError, MissingExtraError
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.input_spec import Color, InputSpec
from edgepress.runtime.scenes import other_scene, thumbnail
from edgepress.runtime.text import json_text

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgepress.runtime.arrays import ImageLike

QUOTA = 200
"""Number of pictures that are kept unless another is given."""
MOST_QUOTA = 10_000
MOST_BYTES = 256 << 10
"""Most bytes of a picture."""
SIDES = (512, 256, 128)
"""Longest side of a stored picture, pixels; the next one if it is of too many bytes."""
PNG_SIDE = 128
"""Longest side of pictures that are stored without loss."""
_STEM = r"\d{8}T\d{9}Z-(\d{1,5})-([01]\d{3})-([0-9a-f]{8})"
"""Time in UTC, number of the class, probability in thousandths, key in hexadecimal."""
NAME = re.compile(_STEM + r"\.(?:jpg|png)", re.ASCII)
"""The name of a picture."""
RECORDING_NAME = re.compile(_STEM + r"\.wav", re.ASCII)
ABOUT = "kept.json"
"""Beside the pictures: `{"labels", "model"}`."""
MOST_ABOUT = 4 << 20
"""Bytes of that file at most, as of a contract, which holds the labels."""
LOCK = ".lock"
UNFINISHED = ".unfinished"
"""A picture while it is written."""
LEAST_FREE = 4 << 20
"""Bytes that stay free on the disk."""
NO_THUMBNAIL = np.zeros(0)
"""That of a recording."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """A picture in the folder.

    Attributes:
        name: Name of its file.
        number: The class that the model predicted, an index into its labels.
        key: Its random number; larger ones leave first.
        small: Its thumbnail, float64, shape (parts,); empty of a recording.
    """

    name: str
    number: int
    key: int
    small: npt.NDArray[Any]


class Keeper:
    """A folder of pictures or recordings, which this process alone writes.

    Args:
        folder: The folder; created if missing. Other files in it are left alone.
        quota: Number of pictures at most.
        labels: The model's labels.
        model: Its name.
        prepare: Makes the model's item of a file, for its thumbnail; None: the folder is one of recordings.
        on_trouble: Called once, with the reason, if pictures can't be written; and once if one can't be decoded again.
        seed: Seed of the keys; None takes one from the system.

    Raises:
        InputError: The quota is out of range, or the folder is in use, of another model, or can't be written.
        MissingExtraError: Pillow is not installed.
    """

    def __init__(
        self,
        folder: Path,
        quota: int,
        *,
        labels: Iterable[str],
        model: str,
        prepare: Callable[[Path], npt.NDArray[Any]] | None,
        on_trouble: Callable[[str], None] | None = None,
        seed: int | None = None,
    ) -> None:
        self._what = "recording" if prepare is None else "picture"
        if not 1 <= quota <= MOST_QUOTA:
            raise InputError(f"The quota is {quota} {self._what}s; accepted: 1 to {MOST_QUOTA}.")
        if prepare is not None:
            try:
                import PIL.Image  # noqa: F401
            except ImportError as e:
                raise MissingExtraError("Keeping pictures", "pillow", "image") from e
        self._folder = folder
        self._quota = quota
        self._on_trouble = on_trouble
        self._told: set[bool] = set()
        self._random = np.random.default_rng(seed)
        self._kept: list[Kept] = []
        self._last: npt.NDArray[Any] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = lock_folder(folder, self._what)
            self._begin([*labels], model)
            self._read(prepare)
        except OSError as e:
            problem = f"{self._what.capitalize()}s can't be kept in {folder}: {e.strerror or e}."
            raise InputError(problem, "Give --keep a folder that you can write.") from e

    def look(self, image: ImageLike, item: npt.NDArray[Any], probabilities: npt.NDArray[Any]) -> None:
        """Take the next image of the stream.

        Args:
            image: What was classified.
            item: The same as the model takes it: pixels, uint8, shape (height, width, channels).
            probabilities: The answer, float32, shape (labels,).
        """
        if item.dtype != np.uint8:
            return
        small = thumbnail(item).ravel()
        if self._last is not None and not other_scene(small, self._last):
            return
        self._last = small
        if self._kept and not other_scene(np.stack([kept.small for kept in self._kept]), small).all():
            return
        number = int(np.argmax(probabilities))
        self.keep(lambda: encode(image, item), number, float(probabilities[number]), small)

    def keep(
        self,
        encoded: Callable[[], tuple[str, bytes]],
        number: int,
        probability: float,
        small: npt.NDArray[Any] = NO_THUMBNAIL,
    ) -> None:
        """Keep a picture or recording if the quota has a place for it.

        Args:
            encoded: Returns the suffix of its file, and the bytes.
            number: The class that the model predicted, an index into its labels.
            probability: Its probability.
            small: Its thumbnail.
        """
        new = Kept(name="", number=number, key=int(self._random.integers(1 << 32)), small=small)
        leaves = self._leaving(new) if len(self._kept) >= self._quota else None
        if leaves is new:
            return
        try:
            self._write(*encoded(), new, probability=probability, leaves=leaves)
        except (OSError, EdgepressError) as e:
            self._tell(e)

    def _leaving(self, new: Kept | None = None) -> Kept:
        """Which one leaves: of the class with the most pictures, that of `new` if it is one, the largest key."""
        kept = [*self._kept, *([new] if new else [])]
        counts = Counter(one.number for one in kept)
        most = max(counts.values())
        number = min(n for n, count in counts.items() if count == most)
        if new is not None and counts[new.number] == most:  # so that a class that lost pictures never grows again
            number = new.number
        return max((one for one in kept if one.number == number), key=lambda one: one.key)

    def _write(self, suffix: str, data: bytes, new: Kept, *, probability: float, leaves: Kept | None) -> None:
        """Write a picture; another one leaves before, so that there are never more than the quota."""
        self._require_folder()
        if shutil.disk_usage(self._folder).free < LEAST_FREE + len(data):
            raise OSError(0, "the disk is full")
        if leaves is not None:
            (self._folder / leaves.name).unlink(missing_ok=True)
            self._kept.remove(leaves)
        now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]
        share = min(1.0, max(0.0, probability)) if math.isfinite(probability) else 0.0  # or `NAME` would not match it
        name = f"{now}Z-{new.number:03d}-{round(1000 * share):04d}-{new.key:08x}{suffix}"
        write_whole(self._folder / name, data)
        self._kept.append(dataclasses.replace(new, name=name))

    def _require_folder(self) -> None:
        """Raise OSError unless the folder is the one that is locked: a new one might be another process's or disk's."""
        try:
            same = os.path.samestat(os.stat(self._folder / LOCK), os.fstat(self._lock.fileno()))
        except FileNotFoundError:
            same = False
        if not same:
            raise OSError(
                0, f"it was moved or removed; {self._what}s are kept again when it is back, or after a new start"
            )

    def _begin(self, labels: list[str], model: str) -> None:
        """Check that the folder is of a model with these labels, or make it one."""
        about = self._folder / ABOUT
        (self._folder / UNFINISHED).unlink(missing_ok=True)
        if about.exists():
            document: Any = None
            with open_regular(about, MOST_ABOUT) as file, suppress(ValueError, RecursionError):
                document = json.load(file)
            if not isinstance(document, dict) or document.get("labels") != labels:
                problem = (
                    f"{self._folder} holds {self._what}s of a model with other labels, or {ABOUT} in it is damaged."
                )
                raise InputError(problem, "Give --keep another folder.")
        else:
            write_whole(about, json_text({"labels": labels, "model": model}).encode() + b"\n")

    def _read(self, prepare: Callable[[Path], npt.NDArray[Any]] | None) -> None:
        """Read the pictures in the folder; remove damaged ones, and those above the quota, but only files."""
        names = RECORDING_NAME if prepare is None else NAME
        for path in sorted(self._folder.iterdir()):
            if (match := names.fullmatch(path.name)) is None or path.is_symlink() or not path.is_file():
                continue
            try:
                small = NO_THUMBNAIL if prepare is None else thumbnail(prepare(path)).ravel()
            except InputError:
                path.unlink()
                continue
            self._kept.append(Kept(name=path.name, number=int(match[1]), key=int(match[3], 16), small=small))
        while len(self._kept) > self._quota:
            leaves = self._leaving()
            (self._folder / leaves.name).unlink(missing_ok=True)
            self._kept.remove(leaves)

    def _tell(self, error: Exception) -> None:
        """Tell of the first trouble of the folder, and of the first picture that is the trouble itself."""
        of_folder = isinstance(error, OSError)
        if self._on_trouble is None or of_folder in self._told:
            return
        self._told.add(of_folder)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        several = f"{self._what.capitalize()}s can't be kept in {self._folder}"
        what = several if of_folder else f"A {self._what} can't be kept"
        self._on_trouble(f"{what} ({reason}); answers go on.")


def encode(image: ImageLike, item: npt.NDArray[Any]) -> tuple[str, bytes]:
    """The suffix and the bytes of a picture to store, upright, at most `MOST_BYTES`.

    Args:
        image: What was classified; of an array that was a file, `item` is stored.
        item: The same as the model takes it, uint8, shape (height, width, channels).

    Raises:
        InputError: It can't be decoded.
    """
    from PIL import Image

    from edgepress.runtime.image import load_image, peek, resize_array

    file = image if isinstance(image, (str, os.PathLike, bytes)) else None
    if file is not None and (
        file[:6] == b"\x93NUMPY" if isinstance(file, bytes) else str(file).lower().endswith(".npy")
    ):
        file = None
        image = item
    array = np.asarray(image if file is None else item)
    shape = (*array.shape, 1)
    grey_or_color: Color = "rgb" if shape[2] == 3 else "grey"
    height, width, color = (*shape[:2], grey_or_color) if file is None else peek(file)
    for side in SIDES:
        scale = min(1.0, side / max(height, width))
        spec = InputSpec.image(max(1, round(height * scale)), max(1, round(width * scale)), color)
        pixels = resize_array(array, spec) if file is None else load_image(file, spec)
        suffix = ".png" if max(spec.shape[:2]) <= PNG_SIDE else ".jpg"
        written = io.BytesIO()
        picture = Image.fromarray(pixels[:, :, 0] if color == "grey" else pixels)
        picture.save(written, "PNG" if suffix == ".png" else "JPEG", quality=90)
        if written.tell() <= MOST_BYTES:
            return suffix, written.getvalue()
    raise InputError(f"A picture takes more than {MOST_BYTES} bytes.")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is complete or absent, also after a power failure; OSError leaves nothing."""
    temporary = path.with_name(UNFINISHED)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def lock_folder(folder: Path, what: str = "picture") -> Any:
    """An open file that no other process can lock while it is open; InputError if another one holds it.

    Raises:
        OSError: It is a link or can't be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    file = os.fdopen(os.open(folder / LOCK, flags, 0o666), "ab")
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise InputError(f"Another process keeps {what}s in {folder}.", "Give --keep another folder.") from None
    return file
