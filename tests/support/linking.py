"""Which channels of single operations are tied, for tests of rules that need no graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from edgepress.converters.graph.step import Step
from edgepress.converters.ptq.channel_links import Links, Rule

Shape = tuple[int, ...]
FLOAT = np.dtype(np.float32)


def step_of(
    kind: str,
    inputs: Sequence[Shape | np.ndarray | str],
    outputs: Sequence[Shape],
    *,
    dtype: np.dtype[Any] = FLOAT,
    **options: Any,
) -> Step:
    """A step that reads tensors of shapes, constants, or nothing (""), and makes tensors of shapes."""
    names = [x if isinstance(x, str) else f"{'tc'[isinstance(x, np.ndarray)]}{i}" for i, x in enumerate(inputs)]
    constants = {place: x for place, x in enumerate(inputs) if isinstance(x, np.ndarray)}
    shapes = tuple(() if isinstance(x, str) else tuple(np.shape(x)) if isinstance(x, np.ndarray) else x for x in inputs)
    outs = tuple(f"o{i}" for i in range(len(outputs)))
    return Step(kind, tuple(names), outs, SimpleNamespace(**options), outputs[0], dtype, shapes, constants)


def program_around(*steps: Step, **shapes: Shape) -> Any:
    """A program of steps whose other inputs convolutions make, and in which nothing is at the beginning or at the end.

    Args:
        steps: The steps; names of their tensors are their own, but for those that several read.
        shapes: Shapes of the outputs by name.
    """
    sizes: dict[str, Shape] = {"source": (1, 1, 1, 2), "sink": (1, 1, 1, 2), **shapes}
    constants: dict[str, np.ndarray] = {}
    for step in steps:
        sizes |= {name: shape for name, shape in zip(step.inputs, step.input_shapes, strict=True) if name}
        constants |= {step.inputs[place]: values for place, values in step.constants.items()}
    made = {name for step in steps for name in step.outputs}
    read = dict.fromkeys(name for step in steps for name in step.inputs if name and name not in constants)
    makers = [_maker(name, sizes[name]) for name in (*read, "sink") if name not in made]
    return SimpleNamespace(source="source", sink="sink", steps=[*makers, *steps], shapes=sizes, constants=constants)


def _maker(name: str, shape: Shape) -> Step:
    """A convolution of the program's input."""
    weights = np.ones((shape[-1], 1, 1, 2), np.float32)
    options = SimpleNamespace(fusedActivationFunction=0)
    inputs = "source", f"weights of {name}"
    return Step("CONV_2D", inputs, (name,), options, shape, FLOAT, ((1, 1, 1, 2), weights.shape), {1: weights})


def ties(
    rules: Mapping[str, Rule],
    kind: str,
    inputs: Sequence[Shape | np.ndarray | str],
    outputs: Sequence[Shape],
    **options: Any,
) -> str:
    """The groups of the channels by a rule: a letter for each, "." for pinned ones; computed inputs, then outputs."""
    step = step_of(kind, inputs, outputs, **options)
    links = Links(program_around(step, **dict(zip(step.outputs, outputs, strict=True))))
    links.apply(rules, step)
    names = [name for name in (*step.inputs, *step.outputs) if name in links.ids]
    return letters([links.components()[links.ids[name]] for name in names])


def letters(groups: Sequence[np.ndarray]) -> str:
    """Groups of channels as letters in the order in which they appear, 0 as "."; a space between tensors."""
    seen: dict[int, str] = {0: "."}
    return " ".join("".join(seen.setdefault(int(i), chr(96 + len(seen))) for i in ids) for ids in groups)
