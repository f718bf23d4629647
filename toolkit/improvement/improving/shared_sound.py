"""Whether recordings share sound: a board keeps two seconds around each doubtful event, and these may overlap.

Of all runs of 16 samples about one in 256 is a mark, chosen by its content, so that two recordings that share samples
share marks wherever these lie in each (as in local algorithms for document fingerprinting: Schleimer, Wilkerson and
Aiken 2003, doi:10.1145/872757.872770).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgepress.runtime.sound.wav import Samples

RUN = 16
"""Samples of a mark."""
FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd; multiplying by it modulo 2 to the power of 64 mixes samples."""
CHOSEN_BITS = np.uint64(56)
"""A run is a mark if its hash shifted by so many bits is 0: one of 256."""
LEAST_SHARED = 16
"""Marks from which on recordings share sound: about a quarter of a second. Digital silence has one mark."""
Marks = npt.NDArray[np.uint64]


def marks_of(samples: Samples) -> Marks:
    """The marks of a recording, uint64, shape (n,), ascending, from samples int16, shape (n,)."""
    count = max(len(samples) - RUN + 1, 0)
    wide = samples.astype(np.int64).view(np.uint64)
    hashes = np.zeros(count, np.uint64)
    for place in range(RUN):
        hashes = hashes * FACTOR + wide[place : place + count]
    return np.unique(hashes[hashes * FACTOR >> CHOSEN_BITS == 0])


def share_sound(marks: Marks, known: Marks) -> bool:
    """Whether a recording shares sound with others, by its marks and all of theirs."""
    return int(np.isin(marks, known).sum()) >= LEAST_SHARED
