"""The normalization of each channel at the front of a float graph, and the graph without it.

A quantized input has one scale. Channels whose values differ much in size, such as accelerations beside rates of turn,
would share it, and the small ones would keep a few of 256 steps. So integer-only files take their items
normalized: the mean and the standard deviation go into the contract (`edgepress.runtime.adapter`), and the runtime and
exported C apply them before they quantize.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.arrays import Array
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.graph import Graph, only_reader
from edgepress.runtime.input_spec import InputSpec

Doubles = npt.NDArray[np.float64]
REACH = 4
"""Standard deviations from the mean within which nearly all values are."""
LEAST_STEPS = 16
"""Steps of 8 bits that a standard deviation of each channel must have where all channels share a scale.

One channel has twice as many alone: 255 / (2 * REACH).
"""


@dataclass(frozen=True)
class Front:
    """What the front does: (x - mean) / std over the last axis.

    Attributes:
        mean: One number a channel.
        std: See `mean`; none is 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def adapter(self, item: InputSpec) -> InputAdapter:
        """The same as operations in front of a graph that takes normalized items."""
        return InputAdapter(item, item.shape, mean=self.mean, std=self.std)

    @property
    def is_needed(self) -> bool:
        """Whether a channel would have fewer steps than `LEAST_STEPS` if items were quantized before it."""
        std = np.abs(np.array(self.std))
        step = 2 * np.max(np.abs(np.array(self.mean)) + REACH * std) / 255
        return bool(np.min(std) < LEAST_STEPS * step)


@dataclass(frozen=True)
class Normalized:
    """Calibration items as the graph behind a front takes them (`edgepress.converters.calibration.Batches`).

    Attributes:
        items: Returns them as they are.
        around: The front as an adapter.
    """

    items: Callable[[], Iterable[Array]]
    around: InputAdapter

    def __call__(self) -> Iterator[Array]:
        """The batches, float32."""
        return (self.around.apply(batch) for batch in self.items())


@dataclass(frozen=True)
class NormalizedValidation:
    """The same of items to score on (`edgepress.converters.ptq.calibration.Validation`)."""

    items: Callable[[int], tuple[Array, Array | None]]
    around: InputAdapter

    def __call__(self, count: int) -> tuple[Array, Array | None]:
        """Up to `count` items, float32, and their labels."""
        items, labels = self.items(count)
        return self.around.apply(items), labels


def split_front(model: bytes) -> tuple[Front, bytes] | None:
    """The normalization at the front of a float graph, and the graph of normalized items; None if it has none.

    Args:
        model: A float TFLite graph.
    """
    graph = Graph(model)
    if len(graph.table.inputs) != 1:
        return None
    place = int(graph.table.inputs[0])
    channels = (graph.shape(place) or (0,))[-1]
    scale: Doubles = np.ones(channels)
    shift: Doubles = np.zeros(channels)
    chain: list[Any] = []
    while step := _affine(graph, place, channels):
        op, factor, term = step
        scale = scale * factor
        shift = shift * factor + term
        chain.append(op)
        place = int(op.outputs[0])
    if not chain or not (np.isfinite(scale).all() and np.isfinite(shift).all() and scale.all()):
        return None
    for op in chain:
        graph.operators.remove(op)
    flat.redirect(graph.root, graph.table, place, inputs=True)
    return Front(tuple((-shift / scale).tolist()), tuple((1 / scale).tolist())), graph.to_bytes()


def _affine(graph: Graph, place: int, channels: int) -> tuple[Any, Doubles, Doubles] | None:
    """The only reader of a tensor with its factors and terms, if it is one and has numbers for each channel."""
    op = only_reader(graph.readers(), place)
    kind = "" if op is None else graph.kind(op)
    if kind not in ("ADD", "SUB", "MUL", "DIV") or graph.dtype(place) != np.float32:
        return None
    options = op.builtinOptions
    if options is not None and options.fusedActivationFunction:
        return None
    first, second = (int(i) for i in op.inputs)
    values = graph.constant(second if first == place else first)
    if values is None or values.dtype != np.float32 or values.size not in (1, channels):
        return None
    if values.shape[-1:] not in ((), (1,), (channels,)) or graph.shape(int(op.outputs[0])) != graph.shape(place):
        return None
    numbers = np.broadcast_to(values.astype(np.float64).ravel(), channels)
    ones = np.ones(channels)
    if first != place and kind in ("SUB", "DIV"):
        return (op, -ones, numbers) if kind == "SUB" else None
    if kind in ("ADD", "SUB"):
        return op, ones, numbers if kind == "ADD" else -numbers
    if kind == "DIV" and not numbers.all():
        return None
    return op, numbers if kind == "MUL" else 1 / numbers, 0 * ones
