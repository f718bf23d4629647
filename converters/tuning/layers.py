"""The layers of a program as a user knows them: operations of one layer of the source model, by that layer's name.

A converter fuses several operations of the source into one and joins their names, such as
"net_1/re_lu_1/Relu;net_1/conv_1/convolution1". Keras adds "_1" to each scope when it traces a model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import Step

_PRODUCTS = re.compile(r"^(convolution|conv[123]d|depthwise|matmul|tensordot|einsum|separable_conv2d)", re.IGNORECASE)
"""Matches names of the operations that a weighted layer is made of."""
_INNER = re.compile(r"^(batchnorm|moments|while|PartitionedCall|StatefulPartitionedCall.*)$")
"""Matches scopes inside of layers, and those of functions."""
_TRACED = re.compile(r"_\d+$")


@dataclass(frozen=True, eq=False)
class Layer:
    """The operations of one layer.

    Attributes:
        name: Its name in the source model if the file tells, unique.
        steps: Its operations in the order in which they run; none for the rounding of the graph's input.
        macs: Multiplications for one item.
        elements: Number of its weights.
    """

    name: str
    steps: tuple[Step, ...]
    macs: int
    elements: int

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors that it makes."""
        return tuple(name for step in self.steps for name in step.outputs)

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of its constant weights."""
        return tuple(dict.fromkeys(step.weights for step in self.steps if step.weights))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of its operations, without repeats."""
        return tuple(dict.fromkeys(step.kind for step in self.steps))


def layer_name(tensor: str) -> str:
    """The scope of the layer that makes a tensor: the tensor's name without the operation in that layer.

    >>> layer_name("net/re_lu/Relu;net/conv/BiasAdd;net/conv/convolution1")
    'net/conv'
    >>> layer_name("scores")
    'scores'
    """
    parts = [part.split("/") for part in tensor.split(";") if part]
    chosen = next((part for part in parts if len(part) > 1 and _PRODUCTS.match(part[-1])), parts[0] if parts else [""])
    scopes = [scope for scope in chosen[:-1] if scope and not _INNER.match(scope)]
    return "/".join(scopes or chosen[-1:])


def layers_of(program: Program) -> tuple[Layer, ...]:
    """The layers of a program in the order in which they begin."""
    scopes = [layer_name(step.weights if _names_a_layer(step) else step.output) for step in program.steps]
    weighted = [scope.split("/") for step, scope in zip(program.steps, scopes, strict=True) if step.weights]
    groups: dict[str, list[Step]] = {}
    for step, name in zip(program.steps, _readable(scopes, weighted), strict=True):
        groups.setdefault(name, []).append(step)
    return tuple(
        Layer(name, tuple(steps), sum(map(macs, steps)), sum(_elements(step) for step in steps))
        for name, steps in groups.items()
    )


def _names_a_layer(step: Step) -> bool:
    """Whether the weights' name tells the layer better than the output's, which is "Identity" for the graph's."""
    return bool(step.weights) and "/" in step.weights and "/" not in step.output


def _readable(scopes: Sequence[str], weighted: Sequence[Sequence[str]]) -> list[str]:
    """Scopes without the model's own name and without the numbers that tracing added, if all have them."""
    shared = {parts[0] for parts in weighted if len(parts) > 1} if all(len(p) > 1 for p in weighted) else set()
    traced = bool(weighted) and all(_TRACED.search(part) for parts in weighted for part in parts)
    found = []
    for scope in scopes:
        parts = scope.split("/")
        if len(shared) == 1 and len(parts) > 1 and parts[0] in shared:
            parts = parts[1:]
        found.append("/".join(_TRACED.sub("", part) if traced else part for part in parts))
    return found


def macs(step: Step) -> int:
    """Multiplications of an operation for one item; of one without weights, the size of its output."""
    size = int(np.prod(step.shape))
    if not step.weights:
        return size
    shape = step.constants[1].shape
    return size * int(np.prod(shape[1:3] if step.kind == "DEPTHWISE_CONV_2D" else shape[1:]))


def _elements(step: Step) -> int:
    return int(step.constants[1].size) if step.weights else 0
