"""Find the tensors and the weights of a float graph in a file that was made of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.diagnosis.onnx_file import OnnxFile
from edgepress.converters.diagnosis.rounding import Rounding
from edgepress.converters.diagnosis.tflite_file import TFLiteFile
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import WEIGHTED, Step
from edgepress.converters.rewrites.onnx.first_convolution import narrow_weights

SAME = 0.02
"""Largest difference, as a share of the size, between tensors of two float graphs that are the same but for rewrites
that round."""
LIKE = 0.5
"""The same between a tensor of a float graph and one of a quantized file."""
NEARLY = 1e-4
"""The same between two tensors that are equally good."""
EQUAL = 0.99
"""Least cosine between the weights of a channel in two float graphs."""
ALIKE = 0.8
"""Least cosine between the weights of a channel and what they were rounded to."""
REDUCED = 0.02
"""Factors nearer to 1 are not those of a rewrite, but errors."""
FILLED = 16
"""Channels that a rewrite adds to fill up a multiple of this number."""
TINY = float(np.finfo(np.float32).tiny)


class File(Protocol):
    """A quantized file: `TFLiteFile` or `OnnxFile`."""

    roundings: dict[str, Rounding]
    constants: dict[str, Array]
    steps: dict[str, Array]
    hybrid: set[str]
    unactivated: set[str]

    @property
    def names(self) -> Collection[str]:
        """Names of the tensors that it computes."""
        ...

    def values(self, items: Array, names: Collection[str]) -> dict[str, Array]:
        """What it computes, dequantized."""
        ...


@dataclass(frozen=True)
class Matched:
    """A file seen as roundings of a float graph; all by the names of the graph.

    Attributes:
        file: The file.
        tensors: Names in the file of the graph's tensors.
        roundings: How the file rounds the graph's tensors.
        constants: The file's values of the graph's constants where they differ, dequantized.
        steps: Steps between the codes of the weights that the file stores as integers, one or one for each channel of
            the output, by the names of `constants`.
        unknown: Steps whose weights were not found in the file, by the name of what they make.
    """

    file: File
    tensors: Mapping[str, str]
    roundings: Mapping[str, Rounding] = field(default_factory=dict)
    constants: Mapping[str, Array] = field(default_factory=dict)
    steps: Mapping[str, Array] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    def values(self, program: Program, items: Array) -> dict[str, Array]:
        """What the file computes for items (n, *item shape), in the layout of the graph, by its names."""
        computed = self.file.values(items, sorted(set(self.tensors.values())))
        laid = {}
        for name, other in self.tensors.items():
            shape = (len(items) * max(program.shapes[name][:1] or (1,)), *program.shapes[name][1:])
            if (value := _laid_out(computed[other], shape)) is not None:
                laid[name] = value
        return laid

    def as_in_file(self, step: Step) -> Step:
        """A step without its activation if the file leaves that to the rounding, whose codes should begin at 0."""
        if step.output not in self.roundings or self.tensors.get(step.output) not in self.file.unactivated:
            return step
        return step.without_activation

    def rounds_while_running(self, step: Step) -> bool:
        """Whether a step rounds its float input to the range of an item."""
        return bool(step.weights) and (not self.file.hybrid or step.output in self.file.hybrid)


def by_name(program: Program, file: TFLiteFile) -> Matched:
    """Match a file whose tensors have the names of the graph's."""
    computed = [program.source, *(name for step in program.steps for name in step.outputs)]
    held, names = {*file.names}, {program.source, program.sink}
    tensors = {name: name for name in computed if name in held and name not in names}
    others = {name: name for name in program.constants}
    for step in program.weighted():  # rewrites number the constants that they make, each in its own graph
        reads = file.reads.get(step.output, ())
        others |= {  # what is dequantized first, as weights of 16 bits are, has the graph's name
            step.inputs[place]: reads[place]
            for place in step.constants
            if place < len(reads) and reads[place] in file.constants
        }
    constants = {
        name: file.constants[other]
        for name, other in others.items()
        if other in file.constants and (values := program.constants[name]).dtype.kind == "f"
        if file.constants[other].shape == values.shape
    }
    matched = _finish(
        program,
        file,
        tensors,
        constants,
        steps={n: file.steps[others[n]] for n in constants if others[n] in file.steps},
    )
    ends = {name: file.roundings[name] for name in (program.source, program.sink) if name in file.roundings}
    return replace(matched, roundings={**ends, **matched.roundings})


def by_value(program: Program, file: File, mine: Mapping[str, Array], theirs: Mapping[str, Array]) -> Matched:
    """Match tensors that hold the same values, in any layout, and weights that look alike.

    Args:
        program: The float graph.
        file: The file.
        mine: Values of the graph's tensors for some items.
        theirs: What the file computes for them.
    """
    tensors = same_tensors(mine, theirs, file.roundings, LIKE)
    constants = {}
    for step in program.weighted():
        if (alike := _alike(step, file.constants, ALIKE)) is not None:
            own, (_, values) = step.constants[1], alike
            factor = float((values * own).sum() / max(float((own * own).sum()), TINY))
            constants[step.weights] = values if abs(factor - 1) < REDUCED else values / factor
    return _finish(program, file, tensors, constants)


def by_reference(
    program: Program, file: OnnxFile, reference: OnnxFile, *, mine: Mapping[str, Array], theirs: Mapping[str, Array]
) -> Matched:
    """Match a file that has the names of a float file, which computes the same as the graph.

    Args:
        program: The float graph.
        file: The file.
        reference: The float file that it was made of.
        mine: Values of the graph's tensors for some items.
        theirs: What the float file computes for them.
    """
    held = {*file.names}
    tensors = same_tensors(mine, {n: v for n, v in theirs.items() if n in held}, file.roundings, SAME)
    constants, steps = {}, {}
    for step in program.weighted():
        if (alike := _alike(step, reference.constants, EQUAL)) is None:
            continue
        name, plain = alike
        if (stored := file.weights_named(name, reference)) is not None:
            own = step.constants[1]
            values = _most_alike(stored, step, 0.0)[0]
            if values is not None:  # the float file may hold them with factors of its own, such as the input's scale
                factors = np.divide(own, plain, out=np.zeros_like(own), where=plain != 0)
                constants[step.weights] = own + (values - plain) * factors
                if (size := file.step_named(name, reference)) is not None:
                    sizes = _factor_of_channels(factors, WEIGHTED[step.kind])
                    steps[step.weights] = size[: len(sizes)] * sizes  # more channels fill up, or are the same again
        if step.bias and (biases := file.biases_named(name, reference)) is not None:
            plain, stored = biases
            change = _change_of_bias(plain.ravel(), stored.ravel(), step.constants[2].size)
            if change is not None:
                constants[step.bias] = step.constants[2] + change.reshape(step.constants[2].shape)
    return _finish(program, file, tensors, constants, steps=steps)


def _change_of_bias(plain: Array, stored: Array, count: int) -> Array | None:
    """What a file has added to `count` biases; the largest change of those that it holds several times."""
    if plain.shape != stored.shape or plain.size < count:
        return None
    changes = stored - plain
    if changes.size % count:  # more channels fill up
        return changes[:count]
    copies = changes.reshape(-1, count)
    largest = np.abs(copies).argmax(axis=0)
    return np.asarray(np.take_along_axis(copies, largest[np.newaxis], axis=0)[0])


def _factor_of_channels(factors: Array, axis: int) -> Array:
    """The median factor of each channel of some weights."""
    rows = np.moveaxis(factors, axis, 0).reshape(factors.shape[axis], -1)
    return np.asarray(np.median(rows, axis=1), np.float32)


def same_tensors(
    mine: Mapping[str, Array], theirs: Mapping[str, Array], preferred: Collection[str], within: float
) -> dict[str, str]:
    """The names in `theirs` of the tensors that hold the same values.

    Args:
        mine: Values by name, channels last.
        theirs: Values by name, in any layout.
        preferred: What to take among tensors that are the same, such as before and after a reshape.
        within: Largest difference, as a share of the size.
    """
    names = {}
    for name, values in mine.items():
        size = float(np.linalg.norm(values)) or 1.0
        errors = {
            other: float(np.linalg.norm(laid - values)) / size
            for other, candidate in theirs.items()
            if candidate.size >= values.size and (laid := _laid_out(candidate, values.shape)) is not None
        }
        best = min(errors.values(), default=within)
        near = [other for other, error in errors.items() if error < within and error <= 1.5 * best + NEARLY]
        if near:
            names[name] = min(near, key=lambda other: (other not in preferred, errors[other]))
    return names


def _finish(
    program: Program,
    file: File,
    tensors: Mapping[str, str],
    constants: Mapping[str, Array],
    *,
    steps: Mapping[str, Array] | None = None,
) -> Matched:
    roundings = {name: file.roundings[other] for name, other in tensors.items() if other in file.roundings}
    changed = {name: v for name, v in constants.items() if not np.array_equal(v, program.constants[name])}
    unknown = tuple(step.output for step in program.weighted() if step.weights not in constants)
    return Matched(file, tensors, roundings, changed, {n: v.ravel() for n, v in (steps or {}).items()}, unknown)


def _laid_out(values: Array, shape: tuple[int, ...]) -> Array | None:
    """Values in a shape, channels last, without channels that only fill up; None if they can't be so."""
    if values.shape == shape:
        return values
    last = values.transpose(0, 2, 3, 1) if values.ndim == 4 else values
    if last.ndim == 4 and last.shape[:3] == shape[:3] and shape[3] < last.shape[3] < shape[3] + FILLED:
        return last[..., : shape[3]]
    if values.size != int(np.prod(shape)) or (values.ndim == 4 and len(shape) == 4 and last.shape != shape):
        return None
    return last.reshape(shape)


def _alike(step: Step, constants: Mapping[str, Array], least: float) -> tuple[str, Array] | None:
    """The constant that is most like the weights of a step, and it in their order; None if none is."""
    best = None
    for name, values in constants.items():
        arranged, cosine = _most_alike(values, step, least)
        if arranged is not None:
            best, least = (name, arranged), cosine
    return best


def _most_alike(values: Array, step: Step, least: float) -> tuple[Array | None, float]:
    """The arrangement of some weights that is most like those of a step, and their cosine; None if all are below."""
    own, best = step.constants[1], None
    if values.size < own.size:
        return None, least
    for candidate in _arrangements(values, own, step):
        if candidate.shape == own.shape and (cosine := _cosine(own, candidate, WEIGHTED[step.kind])) > least:
            best, least = candidate, cosine
    return best, least


def _arrangements(values: Array, own: Array, step: Step) -> list[Array]:
    """Weights of another format in the orders that this kind of step could have, without channels that only fill up."""
    if values.ndim == own.ndim == 2:
        return [values, values.T]
    if step.kind == "FULLY_CONNECTED" and values.size == own.size:
        return [values.reshape(own.shape)]
    if values.ndim != 4 or own.ndim != 4:
        return []
    turned = values.transpose(0, 2, 3, 1) if step.kind == "CONV_2D" else values.transpose(1, 2, 3, 0)
    more = [n - m for n, m in zip(turned.shape, own.shape, strict=True)]
    if max(more) > 0 and min(more) == 0 and max(more) < FILLED and not any(more[1:3]):
        turned = turned[: own.shape[0], :, :, : own.shape[3]]
    wide = narrow_weights(values, (own.shape[0], own.shape[3], *own.shape[1:3])) if step.kind == "CONV_2D" else []
    return [turned, values, *(_farthest(results.transpose(0, 1, 3, 4, 2), own) for results in wide)]


def _farthest(copies: Array, own: Array) -> Array:
    """Of copies (n, *shape) of weights, each weight of the copy that has it farthest from a multiple of others.

    So a fault in one of them is seen.
    """
    size = np.maximum(np.square(own).sum(axis=(1, 2, 3)) * len(copies), TINY)
    factor = (copies * own).sum(axis=(0, 2, 3, 4)) / size
    which = np.abs(copies - own * factor[:, np.newaxis, np.newaxis, np.newaxis]).argmax(axis=0)
    return np.asarray(np.take_along_axis(copies, which[np.newaxis], axis=0)[0])


def _cosine(a: Array, b: Array, axis: int) -> float:
    """The median over the output's channels of the cosine of two weights."""
    rows = [np.moveaxis(v, axis, 0).reshape(v.shape[axis], -1) for v in (a, b)]
    sizes = np.linalg.norm(rows[0], axis=1) * np.linalg.norm(rows[1], axis=1)
    live = sizes > 0
    return float(np.median((rows[0] * rows[1]).sum(axis=1)[live] / sizes[live])) if live.any() else 0.0
