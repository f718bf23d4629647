"""Tell classifiers from other models, by the shapes of inputs and outputs and by what is known of the values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgepress.converters.contract.hints import ModelFacts, SourceInput
from edgepress.runtime.errors import ModelFileError
from edgepress.runtime.input_record import MOST_INPUTS, input_name

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
