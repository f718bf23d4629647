"""A node of an ONNX graph as its importing function sees it, and the error of one that can't be imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgepress.converters.errors import ConversionError
from edgepress.converters.importers.values import Value, integers

Results = Value | tuple[Value, ...]
Operation = Callable[..., Results]
"""What makes the results of a node: takes the node and its inputs, None for those that are left out."""

_ONNX_ONLY = "ONNX schemes may still work."


class UnsupportedError(ConversionError):
    """An operation that is not imported, or not in this form."""


@dataclass(frozen=True)
class Node:
    """A node.

    Attributes:
        kind: Its operation.
        name: Its own name, or that of its first result.
        attributes: By name; texts as `str`, graphs as protocol buffers.
        opset: Version of the standard operations.
        outputs: Whether each of its results has a name, so that something may read it.
    """

    kind: str
    name: str
    attributes: Mapping[str, Any]
    opset: int
    outputs: tuple[bool, ...] = (True,)

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default."""
        return self.attributes.get(name, default)

    def refused(self, why: str) -> UnsupportedError:
        """The error of this node."""
        return UnsupportedError(f"{self.kind} ({self.name}) can't be converted to TFLite: {why}.", _ONNX_ONLY)

    def numbers(self, value: Value, what: str) -> list[int]:
        """The whole numbers of an input.

        Raises:
            UnsupportedError: They are computed.
        """
        return integers(self.known(value, what))

    def known(self, value: Value, what: str) -> Value:
        """An input that has to be constant.

        Raises:
            UnsupportedError: It is computed.
        """
        if not value.is_constant:
            raise self.refused(f"its {what} is computed, not constant")
        return value

    def axes(self, given: Value | None, attribute: str = "axes") -> list[int] | None:
        """Axes that newer opsets take as an input and older ones as an attribute; None if there are none."""
        if given is not None:
            return self.numbers(given, attribute)
        axes = self.get(attribute)
        return None if axes is None else [int(axis) for axis in axes]
