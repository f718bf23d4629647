"""Find the tensors and the weights of a float graph in a file that was made of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.diagnosis.files import OnnxFile, TFLiteFile
from edgepress.converters.diagnosis.matched import CHANNEL_MULTIPLE, Matched, QuantizedFile, _in_layout
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import WEIGHTED, Step
from edgepress.converters.rewrites.onnx.convolutions import narrow_weights

FLOAT_TOLERANCE = 0.02
"""Largest relative difference between the same tensor in two float graphs, of which one is rewritten."""
QUANTIZED_TOLERANCE = 0.5
"""Largest relative difference between a tensor of the float graph and the same tensor in a quantized file."""
TIE_TOLERANCE = 1e-4
"""Tensors count as equally similar up to a relative difference of 1.5 times the smallest one plus this."""
FLOAT_COSINE = 0.99
"""Least cosine between the weights of a channel in two float graphs."""
QUANTIZED_COSINE = 0.8
"""Least cosine between the weights of a channel in the float graph and in a quantized file."""
FACTOR_TOLERANCE = 0.02
"""A factor between weights that differs from 1 by less than this is rounding error, not a factor of a rewrite."""
TINY = float(np.finfo(np.float32).tiny)


def match_by_name(program: Program, file: TFLiteFile) -> Matched:
    """Match a TFLite file by names: its tensors have the names of the graph's."""
    computed = [program.source, *(name for step in program.steps for name in step.outputs)]
    held = {*file.names}
    names = {program.source, program.sink}
    tensors = {name: name for name in computed if name in held and name not in names}
    others = {name: name for name in program.constants}
    # A rewrite numbers the constants that it makes, so their names may differ between graphs. The file's constants are
    # found as inputs of the same step. Weights of 16 bits are dequantized first; then the input has the graph's name.
    for step in program.weighted():
        reads = file.reads.get(step.output, ())
        others |= {
            step.inputs[position]: reads[position]
            for position in step.constants
            if position < len(reads) and reads[position] in file.constants
        }
    constants = {
        name: file.constants[other]
        for name, other in others.items()
        if other in file.constants and (values := program.constants[name]).dtype.kind == "f"
        if file.constants[other].shape == values.shape
    }
    matched = _make_matched(
        program,
        file,
        tensors,
        constants,
        scales={n: file.scales[others[n]] for n in constants if others[n] in file.scales},
    )
    ends = {name: file.roundings[name] for name in (program.source, program.sink) if name in file.roundings}
    return replace(matched, roundings={**ends, **matched.roundings})


def match_by_value(
    program: Program, file: QuantizedFile, graph_values: Mapping[str, Array], file_values: Mapping[str, Array]
) -> Matched:
    """Match tensors that hold similar values, in any layout, and weights that are similar.

    Args:
        program: The float graph.
        file: The file.
        graph_values: Values of the graph's tensors for some items.
        file_values: Values of the file's tensors for the same items.
    """
    tensors = same_tensors(graph_values, file_values, file.roundings, QUANTIZED_TOLERANCE)
    constants = {}
    for step in program.weighted():
        if (similar := _most_similar_constant(step, file.constants, QUANTIZED_COSINE)) is not None:
            own, (_, values) = step.constants[1], similar
            factor = float((values * own).sum() / max(float((own * own).sum()), TINY))
            constants[step.weights] = values if abs(factor - 1) < FACTOR_TOLERANCE else values / factor
    return _make_matched(program, file, tensors, constants)


def match_by_reference(
    program: Program,
    file: OnnxFile,
    reference: OnnxFile,
    *,
    graph_values: Mapping[str, Array],
    reference_values: Mapping[str, Array],
) -> Matched:
    """Match a file by a float file that it was made of, which has the file's names and computes the same as the graph.

    Args:
        program: The float graph.
        file: The file.
        reference: The float file that it was made of.
        graph_values: Values of the graph's tensors for some items.
        reference_values: Values of the float file's tensors for the same items.
    """
    held = {*file.names}
    tensors = same_tensors(
        graph_values, {n: v for n, v in reference_values.items() if n in held}, file.roundings, FLOAT_TOLERANCE
    )
    constants = {}
    scales = {}
    fillers = {}
    for step in program.weighted():
        if (similar := _most_similar_constant(step, reference.constants, FLOAT_COSINE)) is None:
            continue
        name, plain = similar
        fillers[step.weights] = file.steps_from_zero(name, reference)
        if (stored := file.weights_named(name, reference)) is not None:
            own = step.constants[1]
            values = _most_similar_arrangement(stored, step, 0.0)[0]
            if values is not None:
                # The weights of the float file may be the graph's times factors, such as the scale of the input.
                factors = np.divide(own, plain, out=np.zeros_like(own), where=plain != 0)
                constants[step.weights] = own + (values - plain) * factors
                if (scale := file.scale_named(name, reference)) is not None:
                    factor_of_channel = _factor_of_channels(factors, WEIGHTED[step.kind])
                    # Further channels are padding or copies.
                    scales[step.weights] = scale[: len(factor_of_channel)] * factor_of_channel
        if step.bias and (biases := file.biases_named(name, reference)) is not None:
            plain, stored = biases
            change = _change_of_bias(plain.ravel(), stored.ravel(), step.constants[2].size)
            if change is not None:
                constants[step.bias] = step.constants[2] + change.reshape(step.constants[2].shape)
    return replace(_make_matched(program, file, tensors, constants, scales=scales), fillers=fillers)


def _change_of_bias(plain: Array, stored: Array, count: int) -> Array | None:
    """What a file has added to `count` biases; where it holds copies of them, the largest change. None if unknown."""
    if plain.shape != stored.shape or plain.size < count:
        return None
    changes = stored - plain
    if changes.size % count:  # further channels are padding
        return changes[:count]
    copies = changes.reshape(-1, count)
    largest = np.abs(copies).argmax(axis=0)
    return np.asarray(np.take_along_axis(copies, largest[np.newaxis], axis=0)[0])


def _factor_of_channels(factors: Array, axis: int) -> Array:
    """The median factor of each channel of some weights."""
    rows = np.moveaxis(factors, axis, 0).reshape(factors.shape[axis], -1)
    return np.asarray(np.median(rows, axis=1), np.float32)


def same_tensors(
    graph_values: Mapping[str, Array], file_values: Mapping[str, Array], preferred: Collection[str], tolerance: float
) -> dict[str, str]:
    """The names in `file_values` of the graph's tensors, by their names in `graph_values`, found by their values.

    Args:
        graph_values: Values by name, channels last.
        file_values: Values by name, in any layout.
        preferred: Names to choose among tensors that hold the same values, such as before and after a reshape.
        tolerance: Largest difference, as a share of the norm of the graph's values.
    """
    names = {}
    for name, values in graph_values.items():
        norm = float(np.linalg.norm(values)) or 1.0
        errors = {
            other: float(np.linalg.norm(arranged - values)) / norm
            for other, candidate in file_values.items()
            if candidate.size >= values.size and (arranged := _in_layout(candidate, values.shape)) is not None
        }
        best = min(errors.values(), default=tolerance)
        near = [other for other, error in errors.items() if error < tolerance and error <= 1.5 * best + TIE_TOLERANCE]
        if near:
            names[name] = min(near, key=lambda other: (other not in preferred, errors[other]))
    return names


def _make_matched(
    program: Program,
    file: QuantizedFile,
    tensors: Mapping[str, str],
    constants: Mapping[str, Array],
    *,
    scales: Mapping[str, Array] | None = None,
) -> Matched:
    """Make `Matched` from the matched tensors, by their names in the file, and from the constants that were found."""
    roundings = {name: file.roundings[other] for name, other in tensors.items() if other in file.roundings}
    changed = {name: v for name, v in constants.items() if not np.array_equal(v, program.constants[name])}
    unknown = tuple(step.output for step in program.weighted() if step.weights not in constants)
    return Matched(file, tensors, roundings, changed, {n: v.ravel() for n, v in (scales or {}).items()}, unknown)


def _most_similar_constant(step: Step, constants: Mapping[str, Array], least: float) -> tuple[str, Array] | None:
    """The name of the constant most similar to the weights of a step, and its values in their layout; else None."""
    best = None
    for name, values in constants.items():
        arranged, cosine = _most_similar_arrangement(values, step, least)
        if arranged is not None:
            best = (name, arranged)
            least = cosine
    return best


def _most_similar_arrangement(values: Array, step: Step, least: float) -> tuple[Array | None, float]:
    """The arrangement of some weights that is most similar to those of a step, and their cosine.

    None if the cosine of each arrangement is `least` or less.
    """
    own = step.constants[1]
    best = None
    if values.size < own.size:
        return None, least
    for candidate in _arrangements(values, own, step):
        if candidate.shape == own.shape and (cosine := _cosine(own, candidate, WEIGHTED[step.kind])) > least:
            best = candidate
            least = cosine
    return best, least


def _arrangements(values: Array, own: Array, step: Step) -> list[Array]:
    """Weights of another format in the layouts that this kind of step may have, without channels that are padding."""
    if values.ndim == own.ndim == 2:
        return [values, values.T]
    if step.kind == "FULLY_CONNECTED" and values.size == own.size:
        return [values.reshape(own.shape)]
    if values.ndim != 4 or own.ndim != 4:
        return []
    turned = values.transpose(0, 2, 3, 1) if step.kind == "CONV_2D" else values.transpose(1, 2, 3, 0)
    more = [n - m for n, m in zip(turned.shape, own.shape, strict=True)]
    if max(more) > 0 and min(more) == 0 and max(more) < CHANNEL_MULTIPLE and not any(more[1:3]):
        turned = turned[: own.shape[0], :, :, : own.shape[3]]
    wide = narrow_weights(values, (own.shape[0], own.shape[3], *own.shape[1:3])) if step.kind == "CONV_2D" else []
    return [turned, values, *(_most_different(results.transpose(0, 1, 3, 4, 2), own) for results in wide)]


def _most_different(copies: Array, own: Array) -> Array:
    """Join copies of weights so that a fault in one copy is seen.

    Each weight is taken from the copy in which it differs most from a multiple of the graph's weight.

    Args:
        copies: The copies, (n, *shape).
        own: The graph's weights.
    """
    squared_norm = np.maximum(np.square(own).sum(axis=(1, 2, 3)) * len(copies), TINY)
    factor = (copies * own).sum(axis=(0, 2, 3, 4)) / squared_norm
    which = np.abs(copies - own * factor[:, np.newaxis, np.newaxis, np.newaxis]).argmax(axis=0)
    return np.asarray(np.take_along_axis(copies, which[np.newaxis], axis=0)[0])


def _cosine(a: Array, b: Array, axis: int) -> float:
    """The median over the output channels of the cosine of two arrays of weights."""
    rows = [np.moveaxis(v, axis, 0).reshape(v.shape[axis], -1) for v in (a, b)]
    norms = np.linalg.norm(rows[0], axis=1) * np.linalg.norm(rows[1], axis=1)
    live = norms > 0
    return float(np.median((rows[0] * rows[1]).sum(axis=1)[live] / norms[live])) if live.any() else 0.0
