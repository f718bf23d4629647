"""Decode pictures that anybody may have made where a limit on memory holds.

What takes little memory by what its header claims is decoded here, in threads if there are many; the rest in one child
process, one after another, because a claim may be wrong and a decoder may crash.
"""

from __future__ import annotations

import atexit
import threading
from typing import NamedTuple

from edgepress.converters.worker import ChildDied, Emit, Worker
from edgepress.runtime.image import ImageTooLargeError, Memory, Pixels, load_image
from edgepress.runtime.input_spec import InputSpec
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
