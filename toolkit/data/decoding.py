"""Pictures that anybody may have made, decoded within limits on memory; small JPEGs without Pillow; many in threads.

What takes little memory by what its header claims is decoded here, in threads if there are many; the rest in one child
process, one after another, because a claim may be wrong and a decoder may crash.

Small JPEGs without Pillow, whose Python around libjpeg takes most of their time and holds the GIL.

`simplejpeg` calls libjpeg-turbo, as Pillow does, so the pixels are the same. The rule remains `load_image`, which the
board has: it decodes every file of which the same pixels, or the same error, are not certain.
"""

from __future__ import annotations

import atexit
import functools
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import simplejpeg

from edgepress.converters.process.worker import ChildDied, Emit, Worker
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.image import ImageTooLargeError, Memory, Pixels, load_image
from edgepress.runtime.image_header import MOST_SCANS
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.resize import resize_rule
from edgepress.toolkit.errors import InputError

MAX_PIXELS = 89_478_485
"""Pillow's own limit, for pages to say; an image with more than twice as many pixels is refused."""
HERE_BYTES = 64 << 20
"""Memory that decoding may take in this process: photos as JPEG, decoded small, and 12 million pixels as PNG."""
MOST_BYTES = 1 << 30
"""Memory that decoding may take in the child process: Pillow's limit of 179 million pixels, as an opaque PNG."""
CHILD_BYTES = MOST_BYTES + (512 << 20)
"""Resident memory at which the child process is ended, with its libraries and the content of a file."""
SILENCE_S = 120.0
"""Longest time that the child process may take for one picture."""


class EncodedPicture(NamedTuple):
    """The path or the bytes of an image file, and the inputs to prepare it for."""

    content: bytes | str
    specs: tuple[InputSpec, ...]


def decode(picture: EncodedPicture, emit: Emit) -> None:
    """Emit the pixels for each input, uint8, shape `InputSpec.shape`, in their order; this runs in a child process.

    Raises:
        InputError: It is not an image, damaged or too large.
    """
    Memory.most = MOST_BYTES
    emit([load_image(picture.content, spec) for spec in picture.specs])


def load_anywhere(image: str | bytes, spec: InputSpec) -> Pixels:
    """Decode an image: pixels and errors as of `load_image`, a large one in a child process.

    Raises:
        InputError: It is not an image, damaged or too large.
    """
    try:
        return load_image(image, spec, most_bytes=HERE_BYTES)
    except ImageTooLargeError as e:
        if e.needed > MOST_BYTES:
            raise
    return _child.decode(image, spec)


class _Child:
    """The child process, started when it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: Worker | None = None

    def decode(self, image: str | bytes, spec: InputSpec) -> Pixels:
        with self._lock:
            if self._worker is None:
                self._worker = Worker(silence_s=SILENCE_S, memory_bytes=CHILD_BYTES)
            try:
                ((pixels,),) = self._worker.call(decode, EncodedPicture(image, (spec,)))
            except ChildDied as e:
                self._worker.close()
                self._worker = None
                subject = f"The image of {len(image)} bytes" if isinstance(image, bytes) else f"The image {image}"
                hint = "Replace or remove it."
                raise InputError(f"{subject} ended the process that decoded it ({e}).", hint) from e
            return pixels  # type: ignore[no-any-return]

    def close(self) -> None:
        with self._lock:
            if self._worker is not None:
                self._worker.close()
                self._worker = None


_child = _Child()
atexit.register(_child.close)


MOST_PIXELS = 1 << 17
"""Pixels of an image from which Pillow takes hardly longer."""
MAX_JPEG_BYTES = 2 * MOST_PIXELS
"""Size of such an image, bytes, at most: what is larger is a large image, or hardly one."""
MODES = {"Gray": "GRAY", "YCbCr": "RGB"}
"""What Pillow decodes to, by the color space of the file; others are left to it."""
_START = b"\xff\xd8\xff"
_SCAN = b"\xff\xda"
_JFIF = b"\xff\xe0\x00\x10JFIF\x00"
_OTHER = re.compile(rb"\xff[^\x00\xc0-\xc2\xc4\xd0-\xdb\xdd]")
"""A marker that no plain JPEG has: of metadata, which may turn an image or give it other colors, or of a rare coding.

Plain are stuffed zeros, baseline, extended and progressive frames, tables, restarts, scans and the end (ITU-T T.81)."""


def load_file(path: str, spec: InputSpec) -> Pixels:
    """Decode an image file to a model's input: pixels and errors as of `load_image`, but sooner for small JPEGs."""
    pixels = None
    if path.lower().endswith((".jpg", ".jpeg")):
        try:
            with open_regular(path) as file:
                image = file.read(MAX_JPEG_BYTES + 1)
        except (OSError, ValueError):  # `load_image` says why
            image = b""
        pixels = _jpeg(image, spec)
    return load_anywhere(path, spec) if pixels is None else pixels


def load_bytes(image: bytes, spec: InputSpec) -> Pixels:
    """Decode the bytes of an image file to a model's input: pixels and errors as of `load_image`, but sooner."""
    pixels = _jpeg(image, spec)
    return load_anywhere(image, spec) if pixels is None else pixels


def _jpeg(image: bytes, spec: InputSpec) -> Pixels | None:
    """The pixels of a small plain JPEG; None if `load_image` must decode it.

    Left to it are also those that it decodes at a part of their size, and those with a fault, for its message.
    """
    if not image.startswith(_START) or len(image) > MAX_JPEG_BYTES or not spec.is_image or not _same_library():
        return None
    if _OTHER.search(image, 20 if image.startswith(_JFIF, 2) else 2):
        return None
    if image.count(_SCAN) > MOST_SCANS:
        return None
    share = resize_rule(spec.resize)[1]
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(image)
        mode = MODES.get(space)
        reduced = min(height, width) >= 2 * round(2 * max(spec.shape[:2]) / share)
        if mode is None or height * width > MOST_PIXELS or reduced:
            return None
        pixels: Pixels = simplejpeg.decode_jpeg(image, mode)
    except Exception:  # not only ValueError: the header of a 4:4:1 file raises KeyError
        return None
    if pixels.shape == spec.shape and share == 1:
        return pixels
    from PIL import Image

    return load_image(Image.fromarray(pixels[:, :, 0] if mode == "GRAY" else pixels), spec)


@functools.cache
def _same_library() -> bool:
    """Whether Pillow decodes with libjpeg-turbo, too; versions may differ."""
    from PIL import features

    return bool(features.check("libjpeg_turbo"))


_T = TypeVar("_T")
_R = TypeVar("_R")


def in_threads(function: Callable[[_T], _R], items: Iterable[_T], *, most: int = 8) -> Iterator[_R]:
    """Yield the results in order; at most `most` threads run, and few results wait.

    Pillow and hashlib release the GIL: on two cores, with Pillow alone, this is 2.0 times as fast for photos of
    3024x3024 and 1.7 times for 512x384; for 100x100 it is up to a fifth slower.
    """
    workers = min(most, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[_R]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
