"""The parameters of the front ends: what a net on sound takes, as its contract holds them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

PER_UNIT = 25.6
"""A net takes a frame's integers divided by this, as the wake words of microWakeWord and ESPHome do."""
INTEGER = "integer"
LOG_MEL = "log-mel"
MOST_CHANNELS = 256
MOST_WINDOW_S = 60.0
"""Sound in a net's input at most: a short recording is filled up to it."""
WINDOW_SAMPLES = (32, 4096)
RATES = (8000, 48000)
UPPER_SHARE = 0.49
"""The upper bound of the channels at most, as a share of the rate: the last one needs a bin above it."""
FILTER_BITS = 6
"""Half of the bits of the filters' weights: the root of the energies has so many more than the signal."""
SNR_BITS = 12
LOG_MEL_UNIT = 2048.0
"""Frames of `log-mel` are logarithms times this: finer than a net sees, and so coarse that machines agree."""
MOST_LOG_MEL = 24.0
"""Logarithms at most: no signal of 16 bits makes one above 22.6."""


@dataclass(frozen=True, kw_only=True)
class FrameFeatures(ABC):
    """Parameters that every front end has; the defaults are those of microWakeWord and ESPHome.

    Attributes:
        kind: The name of the front end, a key of `KINDS`.
        rate: Samples a second, 8000 to 48000.
        window_ms: Milliseconds of sound in a frame, 32 to 4096 samples.
        step_ms: Milliseconds from the beginning of one frame to that of the next, at most a window.
        channels: Numbers in a frame, 1 to 256.
        lower_hz: Lower bound of the first channel, Hz.
        upper_hz: Upper bound of the last channel, Hz, at most 49 % of the rate.

    Raises:
        ValueError: A parameter is out of range, which the message names.
        TypeError: It is of another type.
    """

    unit: ClassVar[float]
    """A net takes a frame's integers divided by this."""

    kind: str = ""
    rate: int = 16000
    window_ms: int = 30
    step_ms: int = 10
    channels: int = 40
    lower_hz: float = 125.0
    upper_hz: float = 7500.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            usual = type(field.default)
            if type(value) not in ((int, float) if usual is float else (usual,)):
                raise TypeError(f"{field.name} of the sound is {value!r}")
            if usual is float:
                object.__setattr__(self, field.name, float(value))
        if KINDS.get(self.kind) is not type(self):
            raise ValueError(f"its front end is {self.kind[:40]!r}, accepted: {', '.join(KINDS)}")
        # In this order: later bounds are made of earlier numbers.
        _within("rate", self.rate, *RATES)
        _within("window_ms", self.window_ms, 1, 1000)
        _within("samples of a window", self.window, *WINDOW_SAMPLES)
        _within("step_ms", self.step_ms, 1, self.window_ms)
        _within("channels", self.channels, 1, MOST_CHANNELS)
        _within("upper_hz", self.upper_hz, 1.0, UPPER_SHARE * self.rate)
        _within("lower_hz", self.lower_hz, 0.0, self.upper_hz - 1.0)

    @property
    def changes(self) -> dict[str, int | float | str]:
        """The parameters that are not the usual ones, and the front end if it is another one than the integer one."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        usual = {each.name: each.default for each in fields(self)} | {"kind": INTEGER}
        return {name: value for name, value in values.items() if value != usual[name]}

    @property
    @abstractmethod
    def value_range(self) -> tuple[float, float]:
        """Least and largest value that a net is given; larger ones become it, as they do in 8 bits."""

    @property
    def window(self) -> int:
        """Samples of a frame."""
        return self.window_ms * self.rate // 1000

    @property
    def step(self) -> int:
        """Samples from the beginning of one frame to that of the next."""
        return self.step_ms * self.rate // 1000

    @property
    def fft_size(self) -> int:
        """Samples of the Fourier transform: the window, and zeros up to a power of two."""
        return int(1 << (self.window - 1).bit_length())

    def require_window(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless a net's input of this shape, without the batch, is a window of frames."""
        if shape[1:] not in ((self.channels,), (self.channels, 1)):
            raise ValueError(f"sound of {self.channels} channels does not fit an input of shape {list(shape)}")
        _within("seconds of a window", self.samples_of(shape[0]) / self.rate, 0.0, MOST_WINDOW_S)

    def samples_of(self, frames: int) -> int:
        """Samples from which so many frames are made, 0 for none."""
        return self.window + (frames - 1) * self.step if frames > 0 else 0

    def frames_of(self, samples: int) -> int:
        """Frames that so many samples make."""
        return max((samples - self.window) // self.step + 1, 0)


@dataclass(frozen=True, kw_only=True)
class SoundFeatures(FrameFeatures):
    """Parameters of the integer front end; the defaults are those of microWakeWord and ESPHome.

    Attributes:
        smoothing_bits: Bits after the point of the noise estimate.
        even_smoothing: Share of a new frame in the noise estimate of even channels, 0-1.
        odd_smoothing: The same of odd channels.
        min_signal: Share of a channel that is left at least when the noise is subtracted, 0-1.
        pcan: Whether channels are divided by their noise estimate (per-channel amplitude normalization, Wang et al.
            2017, arXiv:1607.05666), which removes the gain of the microphone.
        strength: Power of the noise estimate by which channels are divided.
        offset: What is added to the noise estimate before.
        gain_bits: Bits after the point of that gain.
        log: Whether frames are logarithms.
        scale_shift: Frames are natural logarithms times two to this power.
    """

    unit: ClassVar[float] = PER_UNIT

    kind: str = INTEGER
    smoothing_bits: int = 10
    even_smoothing: float = 0.025
    odd_smoothing: float = 0.06
    min_signal: float = 0.05
    pcan: bool = True
    strength: float = 0.95
    offset: float = 80.0
    gain_bits: int = 21
    log: bool = True
    scale_shift: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("even_smoothing", "odd_smoothing", "min_signal"):
            _within(name, getattr(self, name), 0.0, 1.0)
        _within("smoothing_bits", self.smoothing_bits, max(self.correction_bits, 1), 16)
        _within("strength", self.strength, 0.0, 4.0)
        _within("offset", self.offset, 1.0, 65536.0)
        _within("gain_bits", self.gain_bits, SNR_BITS + max(self.correction_bits, 0), 31)
        _within("scale_shift", self.scale_shift, 0, 11)

    @property
    def correction_bits(self) -> int:
        """Bits by which the transform has scaled the channels down, less those of the filters."""
        return self.fft_size.bit_length() - 1 - FILTER_BITS

    @property
    def value_range(self) -> tuple[float, float]:
        """Least and largest value that a net is given; larger ones become it, as they do in 8 bits."""
        return 0.0, math.ldexp(26.0, self.scale_shift - 6) if self.log else 65535 / PER_UNIT


@dataclass(frozen=True, kw_only=True)
class LogMelFeatures(FrameFeatures):
    """Parameters of the front end `log-mel` (`edgepress.runtime.sound.log_mel`): those that every front end has."""

    unit: ClassVar[float] = LOG_MEL_UNIT

    kind: str = LOG_MEL

    @property
    def value_range(self) -> tuple[float, float]:
        """Least and largest value that a net is given: logarithms."""
        return 0.0, MOST_LOG_MEL


KINDS: dict[str, type[SoundFeatures | LogMelFeatures]] = {INTEGER: SoundFeatures, LOG_MEL: LogMelFeatures}
"""The front ends by name."""


def parse_features(text: str) -> FrameFeatures:
    """Parameters from a text, such as "rate=8000,pcan=0" or "kind=log-mel,channels=64"; the others are the usual ones.

    Raises:
        ValueError: A name is unknown, or a value is none of this parameter.
    """
    given: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        given[name.strip()] = value.strip()
    if (kind := given.pop("kind", INTEGER)) not in KINDS:
        raise ValueError(f"kind is {kind[:40]!r}, accepted: {', '.join(KINDS)}")
    usual: dict[str, Any] = {field.name: field.default for field in fields(KINDS[kind]) if field.name != "kind"}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in usual:
            accepted = ", ".join(["kind", *usual])
            raise ValueError(f"{name[:40]!r} is no parameter of the front end {kind}, accepted: {accepted}")
        type_ = type(usual[name])
        words = {"0": False, "1": True, "false": False, "true": True}
        try:
            values[name] = words[value.lower()] if type_ is bool else type_(value)
        except (ValueError, KeyError, OverflowError):
            raise ValueError(f"{name} is {value[:40]!r}, accepted: such as {usual[name]}") from None
    return KINDS[kind](**values)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # not a number, too
        raise ValueError(f"{name} of the sound is {value:g}, accepted: {low:g} to {high:g}")
