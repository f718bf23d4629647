"""Find the normalization of pixels 0-255 that a model expects: mean and standard deviation, from hints or its file."""

from __future__ import annotations

import math
from collections.abc import Iterable

from edgepress.converters.contract.hints import Hints, ModelFacts, Numbers
from edgepress.converters.contract.metadata import usable_scaling
from edgepress.runtime.errors import InputError

Scaling = tuple[tuple[float, ...], tuple[float, ...]]
NONE: Scaling = (0.0,), (1.0,)
_PER_IMAGE = {
    "standardize": "each image to mean 0 and standard deviation 1",
    "minmax": "each image to 0 to 1",
}


def pixel_scaling(facts: ModelFacts, hints: Hints, channels: int) -> tuple[Scaling, str]:
    """Mean and standard deviation of pixels 0-255, each one number or one per channel, and a note of their source."""
    metadata = facts.metadata
    given = scaling_given(hints)
    numbers = [name for name in ("input_range", "mean", "std") if getattr(hints, name) is not None]
    if hints.input is not None and numbers:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in numbers)
        raise InputError(
            f"{flags} can't be used together with --input {hints.input}, which scales each image by its own values.",
            "Give one or the other.",
        )
    if not facts.dtype.startswith("float"):
        if not given:
            return _as_stored(facts)
        if not facts.takes_scaling:
            raise InputError(
                f"The model takes {facts.dtype} and scales it itself, so no range, mean, std or input can be given.",
                "Leave --input-range, --mean, --std and --input out.",
            )
    if hints.input is not None:
        return NONE, f"{_PER_IMAGE[hints.input]}, as given"
    if given:
        return _scaling_from_hints(hints, channels)
    if len(metadata.mean) in (1, channels):
        scaling = metadata.mean, metadata.std
        return scaling, f"{_range(scaling)}, from the file's mean {_list(metadata.mean)}, std {_list(metadata.std)}"
    why = f"the file's mean has {len(metadata.mean)} numbers" if metadata.mean else "the file names no range"
    return (
        NONE,
        f"{why}: assumed 0 to 255 in front of its first layer; change it with --input-range, or --mean and --std",
    )


def scaling_given(hints: Hints) -> bool:
    """Whether the user says how pixels are scaled."""
    return (hints.input_range, hints.mean, hints.std, hints.input) != (None, None, None, None)


def _as_stored(facts: ModelFacts) -> tuple[Scaling, str]:
    """Pixels as an integer input stores them, or, if that is signed, pixels less 128: the scaling before quantization.

    This is how TensorFlow's tools read quantized images, whatever the metadata say of float ones.
    """
    scale, zero_point = facts.quantization
    shift = 128 if facts.dtype == "int8" else 0
    if facts.quantization == (1.0, 0) and not shift:
        return NONE, f"{facts.dtype}, 0 to 255, as the model takes them"
    scaling = (float(zero_point + shift),), (1 / scale,)
    stored = f"as {facts.dtype} {-shift} to {255 - shift}, which it reads as {_range(scaling)}"
    fixed = facts.quantization == (1.0, 0)
    return scaling, stored if fixed else f"{stored}; change it with --input-range, or --mean and --std"


def _scaling_from_hints(hints: Hints, channels: int) -> tuple[Scaling, str]:
    shift = _numbers(hints.mean, "--mean") or (0.0,)
    divisor = _numbers(hints.std, "--std") or (1.0,)
    unit = hints.input_range is None and hints.std is not None and all(abs(s) < 1 for s in divisor)
    low, high = _bounds(hints.input_range) if hints.input_range is not None else (0.0, 1.0 if unit else 255.0)
    step = 255 / (high - low)
    length = max(len(shift), len(divisor))
    shift, divisor = (v * length if len(v) == 1 else v for v in (shift, divisor))
    if length not in (1, channels) or not usable_scaling(shift, divisor):
        raise InputError(
            f"The mean {_list(shift)} and std {_list(divisor)} can't be used for {channels} channels.",
            "Give one number or one per channel, and no standard deviation of 0.",
        )
    scaling = tuple(step * (m - low) for m in shift), tuple(step * s for s in divisor)
    return scaling, f"{_range(scaling)}, as given" + ("; mean and std are taken for those of 0-1" if unit else "")


def _bounds(value: Numbers) -> tuple[float, float]:
    bounds = _numbers(value, "--input-range")
    if len(bounds) != 2 or not bounds[0] < bounds[1]:
        raise InputError(f"The input range is {_list(bounds)}; two numbers are needed, the smaller first.")
    return bounds[0], bounds[1]


def _numbers(value: Numbers | None, flag: str) -> tuple[float, ...]:
    parts = value.split(",") if isinstance(value, str) else value or ()
    try:
        numbers = tuple(map(float, parts))
    except ValueError:
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"{flag} is {value!r}; accepted: numbers separated by commas, such as 0,1.")
    return numbers


def _range(scaling: Scaling) -> str:
    """The values that pixels 0 and 255 become."""
    mean, std = scaling
    ends = [" to ".join(f"{(pixel - m) / s:.4g}" for pixel in (0, 255)) for m, s in zip(mean, std, strict=True)]
    return " | ".join(ends)


def _list(numbers: Iterable[float]) -> str:
    return ", ".join(f"{n:.6g}" for n in numbers)
