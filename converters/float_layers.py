"""The layers that a file of mixed precision computes in float, as recipes of both formats find them.

Recipes see graphs that were rewritten and named anew, so a layer is found by the names of the tensors that it makes in
the float `.tflite`, which converters and rewrites keep or extend.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgepress.converters.errors import ConversionError

_PRODUCTS = re.compile(r"^(convolution|conv[123]d|depthwise|matmul|tensordot|einsum|separable_conv2d)", re.IGNORECASE)
"""Matches names of the operations that a weighted layer is made of."""
_INNER = re.compile(r"^(batchnorm|moments|while|PartitionedCall|StatefulPartitionedCall.*)$")
"""Matches scopes inside of layers, and those of functions."""


@dataclass(frozen=True)
class FloatLayer:
    """One layer in float.

    Attributes:
        name: Its name in the source model.
        tensors: Names of the tensors that it makes in the float `.tflite`.
        scopes: Beginnings of the names of its operations in the source model.
        weights: How its weights are stored, "float32" or "int8"; "" if it has none.
        why: Why it is in float, for a user.
    """

    name: str
    tensors: tuple[str, ...]
    scopes: tuple[str, ...] = ()
    weights: str = ""
    why: str = ""


@dataclass(frozen=True)
class FloatLayers:
    """What a mixed file keeps in float.

    Attributes:
        layers: The layers, in the order of the graph.
        notes: Remarks for the user, such as that nothing needed to be kept.
        record: What was measured, for the contract and JSON: names and numbers.
    """

    layers: tuple[FloatLayer, ...] = ()
    notes: tuple[str, ...] = ()
    record: dict[str, object] = field(default_factory=dict)

    @property
    def in_bytes(self) -> tuple[FloatLayer, ...]:
        """The layers that compute in float from 8-bit weights."""
        return tuple(layer for layer in self.layers if layer.weights == "int8")


NOTHING = FloatLayers()


def matching(pattern: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names in which a regular expression is found.

    Raises:
        ConversionError: It is found in none; the message lists names that are near.
    """
    matches = tuple(name for name in names if re.search(pattern, name))
    if not matches:
        words = [word for word in re.split(r"[^\w/.-]+", pattern) if word]
        leaves = {name.rpartition("/")[2]: name for name in names} | {name: name for name in names}
        near = [leaves[n] for word in words for n in difflib.get_close_matches(word, leaves, 3, 0.5)] or list(names[:5])
        raise ConversionError(
            f"--keep-float '{pattern}' matches none of the model's {len(names)} layers.",
            f"Similar names: {', '.join(dict.fromkeys(near))}.",
        )
    return matches


def layer_name(tensor: str) -> str:
    """The scope of the layer that makes a tensor: the tensor's name without the operation in that layer.

    A converter joins the names of the operations that it fuses.

    >>> layer_name("net/re_lu/Relu;net/conv/BiasAdd;net/conv/convolution1")
    'net/conv'
    >>> layer_name("scores")
    'scores'
    """
    parts = [part.split("/") for part in tensor.split(";") if part]
    chosen = next((part for part in parts if len(part) > 1 and _PRODUCTS.match(part[-1])), parts[0] if parts else [""])
    scopes = [scope for scope in chosen[:-1] if scope and not _INNER.match(scope)]
    return "/".join(scopes or chosen[-1:])
