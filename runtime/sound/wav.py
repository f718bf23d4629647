"""Read WAV files, which may come from anyone: nothing that a header says is believed before it is checked.

PCM of 8, 16, 24 and 32 bits and floating point of 32 and 64 bits become samples of one channel in 16 bits: channels are
averaged, values are rounded. Memory is that of the samples that are there, whatever sizes the header names.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from edgepress.runtime.errors import InputError
from edgepress.runtime.filetypes import open_regular

SUFFIX = ".wav"
MOST_FILE_BYTES = 2 << 30
"""Larger files are refused."""
MOST_CHANNELS = 64
RATES = (1000, 384_000)
"""Samples a second of files."""
MOST_CHUNKS = 1000
"""Parts of a file before the samples at most; nothing else bounds the time that empty ones would take."""
PLACEHOLDER = 0x7FFF0000
"""Sizes from this one are what programs write before they know the size, such as `arecord` to a pipe."""
BLOCK = 1 << 20
"""Bytes that are converted at once."""
PCM = 1
FLOAT = 3
EXTENSIBLE = 0xFFFE
FORMATS = {(PCM, 8): "u1", (PCM, 16): "<i2", (PCM, 24): "u1", (PCM, 32): "<i4", (FLOAT, 32): "<f4", (FLOAT, 64): "<f8"}
"""NumPy's type of a sample by its format and bits; those of 24 bits are put together from bytes."""
TAPS_A_SIDE = 16
"""Samples of the lower rate to each side that the filter of `decimate` looks at."""
Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class WavFormat:
    """What the header of a file says of its samples, checked.

    `kind` is `PCM` or `FLOAT`, `bits` those of a sample; `start` and `size` are the bytes of the samples in the file.
    """

    kind: int
    channels: int
    rate: int
    bits: int
    start: int
    size: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8


def read_wav(source: str | os.PathLike[str] | bytes) -> tuple[Samples, int]:
    """The samples of a file, int16, shape (n,), and how many of them are a second.

    Args:
        source: The path of a file, or its bytes.

    Raises:
        InputError: It can't be read, is no WAV file, is cut off, or holds samples of another kind.
    """
    name = "The recording" if isinstance(source, bytes) else f"The recording {os.fspath(source)}"
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else open_regular(source, MOST_FILE_BYTES) as file:
            found = parse_header(file, name)
            return _samples(file, found, name), found.rate
    except OSError as e:
        raise InputError(f"{name} can't be read: {e.strerror}.") from e


def parse_header(file: BinaryIO, name: str) -> WavFormat:
    """The format of the samples in a WAV file.

    Args:
        file: The file, which can be searched.
        name: What messages call it.

    Raises:
        InputError: It is no such file, or another kind of it.
    """
    file.seek(0, os.SEEK_END)
    end = file.tell()
    file.seek(0)
    begin = file.read(12)
    if begin[:4] in (b"RIFX", b"RF64") and begin[8:] == b"WAVE":
        raise _refusal(f"{name} is a WAV file of the kind {begin[:4].decode()}", "Save it as an ordinary one.")
    if begin[:4] != b"RIFF" or begin[8:] != b"WAVE":
        raise _refusal(f"{name} is no WAV file", "Convert it, for example: ffmpeg -i FILE -ar 16000 -ac 1 OUT.wav.")
    found: tuple[int, int, int, int] | None = None
    for _ in range(MOST_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            break
        size = int.from_bytes(header[4:], "little")
        start = file.tell()
        if header[:4] == b"data" and found is not None:
            return _with_samples(found, start, size, end, name)
        if header[:4] == b"fmt ":
            found = _parse_format(file.read(min(size, 40)), name)
        file.seek(min(start + size + size % 2, end))
    raise _refusal(f"{name} has no samples: its {'data' if found else 'format'} is missing", "It is damaged.")


def _parse_format(raw: bytes, name: str) -> tuple[int, int, int, int]:
    """Kind, channels, rate and bits."""
    if len(raw) < 16:
        raise _refusal(f"{name} has a header that is cut off", "It is damaged.")
    kind, channels, rate, alignment, bits = (
        int.from_bytes(raw[start:stop], "little") for start, stop in ((0, 2), (2, 4), (4, 8), (12, 14), (14, 16))
    )
    if kind == EXTENSIBLE and len(raw) >= 26:
        kind = int.from_bytes(raw[24:26], "little")
    if (kind, bits) not in FORMATS:
        accepted = "PCM of 8, 16, 24 or 32 bits, and floating point of 32 or 64 bits"
        raise _refusal(f"{name} has samples of format {kind} and {bits} bits; accepted: {accepted}", "Convert it.")
    if not 1 <= channels <= MOST_CHANNELS:
        raise _refusal(f"{name} has {channels} channels; accepted: 1 to {MOST_CHANNELS}", "It is damaged.")
    if not RATES[0] <= rate <= RATES[1]:
        accepted = f"{RATES[0]} to {RATES[1]}"
        raise _refusal(f"{name} has {rate} samples a second; accepted: {accepted}", "It is damaged.")
    if alignment != channels * bits // 8:
        problem = f"{name} has {channels} channels of {bits} bits in {alignment} bytes"
        raise _refusal(f"{problem}, which does not fit", "It is damaged.")
    return kind, channels, rate, bits


def _with_samples(found: tuple[int, int, int, int], start: int, size: int, end: int, name: str) -> WavFormat:
    kind, channels, rate, bits = found
    there = end - start
    if size > there and size < PLACEHOLDER:
        raise _refusal(f"{name} is cut off: its header names {size} bytes of samples, and {there} are there", "")
    made = WavFormat(kind, channels, rate, bits, start, min(size, there))
    if made.size < made.frame_bytes:
        raise _refusal(f"{name} holds no samples", "")
    return made


def _refusal(problem: str, hint: str) -> InputError:
    return InputError(f"{problem}.", hint)


def _samples(file: BinaryIO, found: WavFormat, name: str) -> Samples:
    """All samples, a block at a time."""
    count = found.size // found.frame_bytes
    out = np.empty(count, np.int16)
    file.seek(found.start)
    at_once = max(BLOCK // found.frame_bytes, 1)
    for start in range(0, count, at_once):
        wanted = min(at_once, count - start) * found.frame_bytes
        raw = file.read(wanted)
        if len(raw) < wanted:  # it became shorter while it was read
            raise _refusal(f"{name} is cut off", "")
        block = _converted(raw, found, name)
        out[start : start + len(block)] = block
    return out


def _converted(raw: bytes, found: WavFormat, name: str) -> Samples:
    """Samples of one channel in 16 bits from the bytes of a file."""
    values = np.frombuffer(raw, FORMATS[found.kind, found.bits])
    if found.bits == 16 and found.channels == 1:
        return values.astype(np.int16)
    if found.kind == FLOAT:
        with np.errstate(invalid="ignore"):  # a signalling NaN
            numbers = values.astype(np.float64)
        if not np.isfinite(numbers).all():
            raise _refusal(f"{name} holds samples that are no finite numbers", "Record or convert it anew.")
        numbers = np.clip(numbers, -2.0, 2.0) * 32768
    elif found.bits == 24:
        parts = values.reshape(-1, 3).astype(np.int32)
        whole = parts[:, 0] | parts[:, 1] << 8 | parts[:, 2] << 16
        numbers = (whole - ((whole & 0x800000) << 1)) / 256
    else:
        middle = 128 if found.bits == 8 else 0
        numbers = (values.astype(np.float64) - middle) * 2.0 ** (16 - found.bits)
    return to_int16(numbers.reshape(-1, found.channels).mean(axis=1))


def to_int16(values: npt.NDArray[np.floating]) -> Samples:
    """Samples in 16 bits, rounded and limited."""
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16)


def with_rate(samples: Samples, rate: int, wanted: int, name: str) -> Samples:
    """Samples of another rate, if it is a whole multiple of the wanted one.

    Args:
        samples: The samples, int16, shape (n,).
        rate: How many of them are a second.
        wanted: How many shall be.
        name: What the message calls them.

    Raises:
        InputError: It is no multiple: NumPy alone has no good filter for others. The workstation has SciPy.
    """
    if rate == wanted:
        return samples
    if rate % wanted:
        problem = f"{name} has {rate} samples a second; accepted here: {wanted}, or a multiple of it"
        raise _refusal(problem, f"Convert it, for example: ffmpeg -i FILE -ar {wanted} -ac 1 OUT.wav.")
    return decimate(samples, rate // wanted)


def decimate(samples: Samples, factor: int) -> Samples:
    """Every `factor`-th sample, without the frequencies that would be folded: a sinc filter in a Hann window."""
    reach = TAPS_A_SIDE * factor
    at = np.arange(-reach, reach + 1)
    taps = np.sinc(0.95 * at / factor) * np.hanning(2 * reach + 3)[1:-1]
    taps /= taps.sum()
    out = np.empty(-(-len(samples) // factor), np.int16)
    padded = np.concatenate([np.zeros(reach, np.int16), samples, np.zeros(reach + factor, np.int16)])
    at_once = BLOCK // 4
    for start in range(0, len(out), at_once):
        stop = min(start + at_once, len(out))
        part = padded[start * factor : (stop - 1) * factor + 2 * reach + 1].astype(np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(part, 2 * reach + 1)[::factor]
        out[start:stop] = to_int16(np.einsum("nt,t->n", windows, taps))
    return out
