"""The layers that a file of mixed precision computes in float, as recipes of both formats find them.

Recipes see graphs that were rewritten and named anew, so a layer is found by the names of the tensors that it makes in
the float `.tflite`, which converters and rewrites keep or extend.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from edgepress.converters.errors import ConversionError
from edgepress.runtime.errors import InputError

GENERATED = re.compile(r"(_Gemm)?__\d+(:\d+)?$")
"""Matches what tf2onnx appends to the names of operations that it adds."""


@dataclass(frozen=True)
class KeptLayer:
    """One layer in float.

    Attributes:
        name: Its name in the source model.
        tensors: Names of the tensors that it makes in the float `.tflite`.
        weights: How its weights are stored, "float32" or "int8"; "" if it has none.
        why: Why it is in float, for a user.
    """

    name: str
    tensors: tuple[str, ...]
    weights: str = ""
    why: str = ""


@dataclass(frozen=True)
class Kept:
    """What a mixed file keeps in float.

    Attributes:
        layers: The layers, in the order of the graph.
        notes: Remarks for the user, such as that nothing needed to be kept.
        record: What was measured, for the contract and JSON: names and numbers.
    """

    layers: tuple[KeptLayer, ...] = ()
    notes: tuple[str, ...] = ()
    record: dict[str, object] = field(default_factory=dict)

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of all tensors that are made in float."""
        return tuple(name for layer in self.layers for name in layer.tensors)

    @property
    def in_bytes(self) -> tuple[str, ...]:
        """Names of the tensors that are computed in float from 8-bit weights."""
        return tuple(name for layer in self.layers if layer.weights == "int8" for name in layer.tensors)


NOTHING = Kept()


@dataclass(frozen=True)
class KeepOptions:
    """What a user says of the layers to keep in float.

    Attributes:
        pattern: A regular expression that is searched for in the names of layers; "" names none.
        max_drop_pp: Largest loss of accuracy, or of agreement with the source model where there are no labels, in
            percentage points; None takes the default, or no limit if a pattern is given.
    """

    pattern: str = ""
    max_drop_pp: float | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as e:
            raise InputError(
                f"--keep-float '{self.pattern}' is no regular expression: {e}.",
                "Give layers' names, separated by |, such as 'conv1|head'.",
            ) from e
        if self.max_drop_pp is not None and not 0 <= self.max_drop_pp <= 100:
            raise InputError(f"--max-drop is {self.max_drop_pp}; accepted are 0 to 100 percentage points.")


def matching(pattern: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names in which a regular expression is found.

    Raises:
        ConversionError: It is found in none; the message lists names that are near.
    """
    found = tuple(name for name in names if re.search(pattern, name))
    if not found:
        words = [word for word in re.split(r"[^\w/.-]+", pattern) if word]
        leaves = {name.rpartition("/")[2]: name for name in names} | {name: name for name in names}
        near = [leaves[n] for word in words for n in difflib.get_close_matches(word, leaves, 3, 0.5)] or list(names[:5])
        raise ConversionError(
            f"--keep-float '{pattern}' matches none of the model's {len(names)} layers.",
            f"Names that are near: {', '.join(dict.fromkeys(near))}.",
        )
    return found


def covers(tensors: Collection[str], name: str) -> bool:
    """Whether a tensor, which tf2onnx may have named anew, is one of those of float layers."""
    return name in tensors or GENERATED.sub("", name) in tensors
