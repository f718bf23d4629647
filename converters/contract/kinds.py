"""Tell classifiers from other models, by the shapes of inputs and outputs and by what is known of the values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgepress.converters.contract.hints import ModelFacts
from edgepress.runtime.errors import ModelFileError

LEAST_RESTORED = 16
"""Values from which on as many outputs as inputs are an autoencoder's; fewer may be features and classes."""


def not_classes(facts: ModelFacts) -> str:
    """What a model is if its outputs are not classes, by their shape and values; "" if they may be classes."""
    shape = facts.output_shape
    inputs = sorted(n for n in facts.shape if n != 1)
    if shape and sorted(n for n in shape if n != 1) == inputs:
        return "an autoencoder or another model that turns its input into one like it: its output has its input's shape"
    if len(shape) > 2:
        return f"a model of positions, such as a segmentation: its output has shape {list(shape)}"
    if shape:
        return f"a detector or a model of sequences or points: its output is {shape[0]} rows of {shape[1]} numbers"
    if "softmax" in (facts.looks, facts.ends_in.lower()) or not (facts.looks or facts.ends_in):
        return ""
    if facts.outputs == math.prod(facts.shape) >= LEAST_RESTORED:
        return f"an autoencoder: it has as many outputs as inputs ({facts.outputs}), and no softmax"
    if facts.looks == "length 1":
        return f"a model of embeddings: its answers, of {facts.outputs} numbers, are vectors of length 1"
    return ""


def other_ends(
    path: Path, inputs: list[list[Any]], outputs: list[list[Any]], *, names: Sequence[str] = ()
) -> ModelFileError:
    """The error for a model that has not one input and one output of fixed size, with the names of its outputs.

    Shapes include the batch.
    """
    boxes = len(outputs) > 1 and any(len(shape) > 2 and shape[-1] == 4 for shape in outputs)
    seems = " It looks like a detector, which returns boxes and scores." if boxes else ""
    listed = f" ({', '.join(names)})" if names else ""
    several = " Several inputs can't be converted." if len(inputs) > 1 else ""
    hint = "One input and one output are needed: (batch, classes), or any fixed size with --task none."
    if len(outputs) > 1:
        hint += f" Choose an output with --output NAME{listed}."
    if len(inputs) > 1:
        hint += " Save the part of the model that needs one input."
    return ModelFileError(f"{path} is not a classifier: inputs {inputs}, outputs {outputs}.{seems}{several}", hint)


def item_output(path: Path, inputs: list[list[Any]], outputs: list[list[Any]]) -> tuple[int, ...]:
    """Shape of the output for one item, from the shapes of a model's inputs and outputs; free sizes are not numbers.

    The first axis is the batch unless it has another fixed size than the input's, which some exporters leave out.

    Raises:
        ModelFileError: There is not one input and one output, or a size other than the batch is free.
    """
    if len(inputs) != 1 or len(outputs) != 1 or not inputs[0] or not outputs[0]:
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
