"""Which items a file classifies correctly, as text."""

from __future__ import annotations

import base64
import binascii

import numpy as np
import numpy.typing as npt


def pack(correct: npt.NDArray[np.bool_]) -> str:
    """Base64 of `numpy.packbits`.

    Args:
        correct: Whether each item is classified correctly, bool, shape (N,).
    """
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def unpack(text: str, count: int) -> npt.NDArray[np.bool_]:
    """The reverse of `pack`, for `count` items.

    Raises:
        ValueError: The text is damaged.
    """
    try:
        bits = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except binascii.Error as e:
        raise ValueError(f"correct is not Base64 ({e})") from e
    if len(bits) != (count + 7) // 8:
        raise ValueError(f"correct holds {len(bits)} bytes; {count} items take {(count + 7) // 8}")
    return np.unpackbits(bits, count=count).astype(bool)
