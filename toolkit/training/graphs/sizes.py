"""How large and how fast the int8 file of a float graph is, and how much of the graph may stay for that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from edgepress.converters.contract.write import tflite_with_contract
from edgepress.converters.errors import ConversionError
from edgepress.converters.numeric.statistics import Ranges
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.pruning.importance import Importance
from edgepress.converters.pruning.plan import BLOCK, PruningCosts, planned_units
from edgepress.converters.pruning.remove import without_channels
from edgepress.converters.pruning.units import Units
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.runtime.bench import bench
from edgepress.runtime.contract import Contract
from edgepress.toolkit.text import size as size_text
from edgepress.toolkit.training.graphs.options import Targets

SCHEME = "tflite-int8"
SECONDS = 0.4
"""Time for which a file is timed."""
NEAR = 0.02
"""Precision of the search: the result may be smaller than the largest graph that keeps the targets by this share."""
BLOCKS = (BLOCK, 16)
"""Layers keep a multiple of so many channels. Timing decides which: an engine computes more at once on some CPUs."""
FASTER = 0.95
"""The first of `BLOCKS` is taken unless another one takes less than this share of its time."""
TURNS = 3
"""Timings of each block; the shortest counts."""


class Sizes:
    """Measures graphs that have the tensors of one graph, by name.

    Args:
        ranges: Ranges of these tensors.
        contract: That of the files.
        uint8: Whether the files take uint8.
    """

    def __init__(self, ranges: Ranges, contract: Contract, *, uint8: bool) -> None:
        self._ranges = ranges
        self._uint8 = uint8
        self._contract = contract.replace(scheme=SCHEME)

    def file(self, model: bytes) -> bytes:
        """The int8 file of a float graph, with its contract."""
        int8_file = with_scheme(model, SCHEMES[SCHEME], self._ranges, uint8=self._uint8)
        return tflite_with_contract(int8_file, self._contract)

    def latency_ms(self, model: bytes) -> float:
        """Median time of one answer of a graph's int8 file, with LiteRT and one thread."""
        with ScratchFolder() as folder:
            path = Path(folder) / "model.tflite"
            path.write_bytes(self.file(model))
            timings = bench(path, "litert", threads=(1,), seconds=SECONDS)
        return float(timings["results"][0]["p50_us"]) / 1e3

    def missed(self, model: bytes, targets: Targets) -> dict[str, float]:
        """The size in bytes and the latency in milliseconds of a graph, as far as they are above their targets."""
        missed: dict[str, float] = {}
        if targets.size_bytes is not None and (size := len(self.file(model))) > targets.size_bytes:
            missed["size"] = size
        if targets.latency_ms is not None and (latency := self.latency_ms(model)) > targets.latency_ms:
            missed["latency"] = latency
        return missed


def largest_share(
    model: bytes, units: Units, importance: Importance, *, targets: Targets, sizes: Sizes
) -> tuple[float, int]:
    """The largest share of the cost (`Targets.cost`) whose graph keeps the targets, and the block of its layers.

    Raises:
        ConversionError: Nothing can leave, the model keeps the targets as it is, or the smallest graph does not.
    """
    if not units.families:
        raise ConversionError("The model has nothing to prune: no channel of its graph can leave.")
    costs = PruningCosts(model, units, targets.cost)
    whole = costs.total(costs.sizes(np.ones(units.count, np.bool_)))
    if targets.macs is None and not sizes.missed(model, targets):
        raise ConversionError(
            "There is nothing to prune: the model's int8 file keeps the targets as it is.",
            "Make that file: edgepress convert MODEL --to tflite-int8",
        )
    largest: dict[int, tuple[float, bytes]] = {}
    for block in BLOCKS[:1] if targets.cost == "bytes" else BLOCKS:  # no speed is asked for, so none is measured

        def graph(share: float, block: int = block) -> bytes | None:
            keep = planned_units(units, importance, costs, share * whole, block=block)
            return None if keep is None else without_channels(model, units, keep)

        if (share := _largest(graph, targets, sizes)) is not None and (pruned := graph(share)) is not None:
            largest[block] = share, pruned
    if not largest:
        raise _unreachable(model, units, importance, whole=whole, targets=targets, sizes=sizes)
    if targets.latency_ms is not None:  # what keeps most
        block = max(largest, key=lambda block: largest[block][0] * (1 if block == BLOCK else FASTER))
    else:
        times = dict.fromkeys(largest, np.inf)
        for block in list(largest) * (TURNS if len(largest) > 1 else 0):
            times[block] = min(times[block], sizes.latency_ms(largest[block][1]))
        block = min(largest, key=lambda block: times[block] * (FASTER if block == BLOCK else 1))
    return largest[block][0], block


def _largest(graph: Callable[[float], bytes | None], targets: Targets, sizes: Sizes) -> float | None:
    """The largest share, by halving, whose graph keeps the targets; None if none does."""
    high = targets.macs or 1.0
    if (pruned := graph(high)) is None:
        return None
    if not sizes.missed(pruned, targets):
        return high
    low = 0.0
    known = None
    while high - low >= NEAR * high:  # ends: below some share there is no graph
        middle = (low + high) / 2
        pruned = graph(middle)
        if pruned is not None and sizes.missed(pruned, targets):
            high = middle
        elif pruned is None:
            low = middle
        else:
            low = middle
            known = middle
    return known


def _unreachable(
    model: bytes, units: Units, importance: Importance, *, whole: float, targets: Targets, sizes: Sizes
) -> ConversionError:
    """What the smallest graph, with one channel of each layer, still has."""
    keep = np.ones(units.count, np.bool_)
    for family in units.families:
        order = family.units[np.argsort(importance[family.units])]
        keep[order[:-1]] = False
    least = without_channels(model, units, keep)
    costs = PruningCosts(model, units, targets.cost)
    share = costs.total(costs.sizes(keep)) / whole
    parts = [f"{share:.1%} of the multiply-accumulates"] if targets.macs is not None else []
    missed = sizes.missed(least, targets)
    if targets.size_bytes is not None:
        parts.append(f"an int8 file of {size_text(int(missed.get('size', len(sizes.file(least)))))}")
    if targets.latency_ms is not None:
        parts.append(f"{missed.get('latency') or sizes.latency_ms(least):.3f} ms")
    left = " and ".join(parts)
    return ConversionError(
        f"The targets can't be reached: with one channel left of each layer, the model still has {left}.",
        "Raise --macs, --max-size or --max-latency, or train a smaller architecture.",
    )


def shares(last: float, factor: float, most: int) -> Iterator[float]:
    """Shares of parts that fall evenly to the last one, each at least by the factor if that takes no more parts."""
    parts = max(1, min(most, int(np.ceil(np.log(last) / np.log(factor)))))
    yield from (last ** (part / parts) for part in range(1, parts + 1))
