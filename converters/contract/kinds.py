"""What a model takes and gives, as its shapes, its file and a run on made-up items tell: pixels, classes or not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from edgepress.converters.adapter import Scores
from edgepress.converters.arrays import Array
from edgepress.converters.contract.hints import Hints, ModelFacts, Numbers, SourceInput
from edgepress.converters.contract.metadata import usable_scaling
from edgepress.converters.contract.outputs import looks_of
from edgepress.runtime.errors import EdgepressError, InputError, ModelFileError
from edgepress.runtime.input_record import MOST_INPUTS, input_name
from edgepress.runtime.input_spec import InputType

LEAST_RESTORED = 16
"""Values from which on as many outputs as inputs are an autoencoder's; fewer may be features and classes."""


def not_classes(facts: ModelFacts) -> str:
    """What a model is if its outputs are not classes, by their shape and values; "" if they may be classes."""
    shape = facts.output_shape
    inputs = sorted(n for n in facts.shape if n != 1)
    if shape and not facts.inputs and sorted(n for n in shape if n != 1) == inputs:
        return "an autoencoder or another model that turns its input into one like it: its output has its input's shape"
    if len(shape) > 2:
        return f"a model of positions, such as a segmentation: its output has shape {list(shape)}"
    if shape:
        return f"a detector or a model of sequences or points: its output is {shape[0]} rows of {shape[1]} numbers"
    if "softmax" in (facts.looks, facts.ends_in.lower()) or not (facts.looks or facts.ends_in):
        return ""
    if not facts.inputs and facts.outputs == math.prod(facts.shape) >= LEAST_RESTORED:
        return f"an autoencoder: it has as many outputs as inputs ({facts.outputs}), and no softmax"
    if facts.looks == "length 1":
        return f"a model of embeddings: its answers, of {facts.outputs} numbers, are vectors of length 1"
    return ""


def other_ends(
    path: Path, inputs: list[list[Any]], outputs: list[list[Any]], *, names: Sequence[str] = ()
) -> ModelFileError:
    """The error for a model that has not one output and inputs of fixed sizes, with the names of its outputs.

    Shapes include the batch.
    """
    boxes = len(outputs) > 1 and any(len(shape) > 2 and shape[-1] == 4 for shape in outputs)
    seems = " It looks like a detector, which returns boxes and scores." if boxes else ""
    listed = f" ({', '.join(names)})" if names else ""
    hint = "One output is needed: (batch, classes), or any fixed size with --task none."
    if len(outputs) > 1:
        hint += f" Choose an output with --output NAME{listed}."
    return ModelFileError(f"{path} is not a classifier: inputs {inputs}, outputs {outputs}.{seems}", hint)


def source_inputs(path: Path, names: Sequence[str], shapes: Sequence[Sequence[Any]]) -> tuple[SourceInput, ...]:
    """The inputs of a model of several; () for one.

    Args:
        path: The file.
        names: Their names in the file.
        shapes: Their shapes, with the batch; free sizes are not numbers.

    Raises:
        ModelFileError: A size or the batch is not as needed, or two names are the same.
    """
    if len(names) < 2:
        return ()
    listed = ", ".join(f"{name} {list(shape)}" for name, shape in zip(names, shapes, strict=True))
    short = [input_name(name) for name in names]
    sizes = [[n if isinstance(n, int) and n > 0 else None for n in shape] for shape in shapes]
    if any(not size or size[0] not in (None, 1) or None in size[1:] or len(size) < 2 for size in sizes):
        hint = "Export it with inputs whose sizes are fixed, behind a batch of 1 or a free one."
        raise ModelFileError(f"{path} has the inputs {listed}.", hint)
    if len({name.casefold() for name in short}) < len(short) or len(short) > MOST_INPUTS:
        hint = f"Accepted: up to {MOST_INPUTS}, whose names differ in more than capitals."
        raise ModelFileError(f"{path} has the inputs {listed}.", hint)
    return tuple(SourceInput(name, tuple(n or 0 for n in size[1:])) for name, size in zip(short, sizes, strict=True))


def refuse_types(path: Path, names: Sequence[str], types: Sequence[str]) -> None:
    """Refuse several inputs of which one is not float32.

    Raises:
        ModelFileError: One is of another type.
    """
    others = [f"{name} ({kind})" for name, kind in zip(names, types, strict=True) if kind != "float32"]
    if others:
        hint = "Cast them inside the model, and save it with inputs of float32."
        raise ModelFileError(f"{path} has several inputs, of which these are not float32: {', '.join(others)}.", hint)


def item_output(path: Path, inputs: list[list[Any]], outputs: list[list[Any]]) -> tuple[int, ...]:
    """Shape of the output for one item, from the shapes of a model's inputs and outputs; free sizes are not numbers.

    The first axis is the batch unless it has another fixed size than the input's, which some exporters leave out.

    Raises:
        ModelFileError: There is not one output, or a size other than the batch is free.
    """
    if not inputs or len(outputs) != 1 or not inputs[0] or not outputs[0]:
        raise other_ends(path, inputs, outputs)
    batch = inputs[0][0]
    output = outputs[0]
    item = output[1:] if output[0] in (1, batch) or not isinstance(output[0], int) else output
    if not all(isinstance(n, int) and n > 0 for n in item):
        raise other_ends(path, inputs, outputs)
    return tuple(item) or (1,)


def count_outputs(item: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Number of outputs, and their shape if more than one axis counts: two attributes of `ModelFacts`."""
    return math.prod(item), item if sum(n != 1 for n in item) > 1 else ()


INTEGERS = tuple(name for name in get_args(InputType) if name != "float32")
Answer = Callable[[Array], Scores]
LARGEST = 1 << 20
"""Largest number that is tried."""


def takes_integers(facts: ModelFacts) -> bool:
    """Whether a model takes whole numbers, and not the quantized form of others."""
    return facts.dtype in INTEGERS and facts.quantization == (1.0, 0)


def probe_facts(facts: ModelFacts, answer: Answer) -> ModelFacts:
    """The facts with `looks` and, of a model of integers, `value_range`; `answer` as for `accepted_range`."""
    limits = accepted_range(answer, facts.shape, facts.dtype) if takes_integers(facts) else None
    return dataclasses.replace(facts, looks=looks_of(answer, facts.shape, limits and limits[1]), value_range=limits)


def accepted_range(answer: Answer, shape: tuple[int, ...], dtype: str) -> tuple[float, float] | None:
    """Smallest and largest whole number that a model accepts; None if it has no limit, or does not run at all.

    An index beyond a table is an error in TensorFlow, LiteRT and ONNX Runtime alike, so that about twenty calls tell
    the size of the smallest table, whatever the graph around it looks like.

    Args:
        answer: Runs the model on items (N, *shape), float32, which it casts.
        shape: Shape of one item.
        dtype: Type of the model's input, one of `INTEGERS`.
    """
    limits = np.iinfo(dtype)

    def accepts(number: int) -> bool:
        try:
            answer(np.full((1, *shape), number, np.float32))
        except EdgepressError:
            return False
        return True

    low = 0
    high = min(limits.max, LARGEST)
    if accepts(high):
        return (float(limits.min), float(limits.max)) if limits.bits == 8 else None
    if not accepts(low):
        return None
    while high - low > 1:  # `low` is accepted, `high` is not
        middle = (low + high) // 2
        low, high = (middle, high) if accepts(middle) else (low, middle)
    return 0.0, float(low)


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
