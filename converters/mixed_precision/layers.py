"""The layers of a program as a user knows them: operations of one layer of the source model, by that layer's name.

Keras adds a number to each scope when it traces a model: a layer "conv" becomes "net_1/conv_1".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgepress.converters.float_layers import layer_name
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import Step

_TRACED = re.compile(r"_\d+$")


@dataclass(frozen=True, eq=False)
class SourceLayer:
    """The operations of one layer.

    Attributes:
        name: Its name in the source model if the file tells, unique.
        steps: Its operations in the order in which they run; none for the rounding of the graph's input.
        scopes: Scopes of its operations in the source model; none if they are in no layer.
        macs: Multiplications for one item.
        elements: Number of its weights.
    """

    name: str
    steps: tuple[Step, ...]
    scopes: tuple[str, ...]
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


def layers_of(program: Program) -> tuple[SourceLayer, ...]:
    """The layers of a program in the order in which they begin."""
    named = [step.weights if _names_a_layer(step) else step.output for step in program.steps]
    scopes = [layer_name(name) for name in named]
    weighted = [scope.split("/") for step, scope in zip(program.steps, scopes, strict=True) if step.weights]
    whole = {parts[0] for parts in weighted}  # the model's own name, if all begin with it
    whole = whole if len(whole) == 1 and all(len(parts) > 1 for parts in weighted) else set()
    traced = bool(weighted) and all(_TRACED.search(part) for parts in weighted for part in parts)
    groups: dict[str, list[tuple[Step, str]]] = {}
    for step, name, scope in zip(program.steps, named, scopes, strict=True):
        parts = scope.split("/")
        if parts[0] in whole and len(parts) == 1:  # of no layer, such as "net/Mul"
            groups.setdefault(name.partition(";")[0].partition("/")[2] or name, []).append((step, ""))
            continue
        parts = parts[1:] if parts[0] in whole else parts
        readable = "/".join(_TRACED.sub("", part) for part in parts) if traced else "/".join(parts)
        groups.setdefault(readable, []).append((step, scope))
    return tuple(_layer(name, *zip(*members, strict=True)) for name, members in groups.items())


def _layer(name: str, steps: tuple[Step, ...], scopes: tuple[str, ...]) -> SourceLayer:
    elements = sum(step.constants[1].size for step in steps if step.weights)
    return SourceLayer(
        name, steps, tuple(dict.fromkeys(filter(None, scopes))), sum(step.macs for step in steps), elements
    )


def _names_a_layer(step: Step) -> bool:
    """Whether the weights' name tells the layer better than the output's, which is "Identity" for the graph's."""
    return bool(step.weights) and "/" in step.weights and "/" not in step.output
