"""Run a file that others made as if edgepress had made it: prepare its items, and finish its answers.

Files that `edgepress convert` made hold these steps in their graph. A published file stays as it is, and its contract
has an `Adapter` that says what to do around it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.runtime.adapter import Adapter
from edgepress.runtime.contract import Contract
from edgepress.runtime.decisions import sigmoid
from edgepress.runtime.errors import ModelFileError
from edgepress.runtime.sessions import Session

if TYPE_CHECKING:
    import numpy.typing as npt  # for type checkers only: importing it is a tenth of the runtime's start on a board

    Stored = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


def with_contract(path: Path, session: Session, contract: Contract) -> Session:
    """The session as its contract describes it: with sizes that the file leaves free, and with the adapter.

    Raises:
        ModelFileError: The file contradicts the contract.
    """
    shape = (contract.adapter or contract.input).shape
    several = session.dtype.names is not None or hasattr(contract.input, "inputs")
    if several:
        from edgepress.runtime.input_record import check_records

        check_records(path, session.dtype, contract.input)
        shape = session.shape  # () of records
    if len(shape) == len(session.shape):
        session.shape = tuple(new if n < 1 else n for n, new in zip(session.shape, shape, strict=True))
    has_rows = len(session.output_shape) > 1 and contract.task != "none"
    if (shape, contract.outputs) != (session.shape, session.classes) or has_rows:
        sizes = " x ".join(map(str, session.output_shape))
        raise ModelFileError(
            f"{path} contradicts its contract: it takes {list(session.shape)} and has {sizes} outputs; the "
            f"contract says {list(shape)} and {contract.outputs}.",
            "Convert the model again.",
        )
    return AdaptedSession(session, contract, contract.adapter) if contract.adapter else session


class AdaptedSession(Session):
    """A session of a published file that takes the items of its contract."""

    def __init__(self, session: Session, contract: Contract, adapter: Adapter) -> None:
        item = contract.input
        self.contract = contract
        self.shape = item.shape
        self.dtype = np.dtype(item.dtype)
        self.classes = session.classes
        self.output_shape = session.output_shape
        self.batch = session.batch
        self.stateful = session.stateful
        self.keep_state = session.keep_state
        self._run = session.run
        self._reset = session.reset
        self._adapter = adapter
        self._stored: Stored | None = _stored(adapter, session.scale, session.dtype, self.dtype)
        if item.dtype != "uint8" and adapter == Adapter(shape=item.shape, sigmoid=adapter.sigmoid):
            # Items are stored as without an adapter: float32 would lose large integers.
            self.dtype = session.dtype
            self.scale = session.scale
            self._stored = None

    def reset(self) -> None:
        """Begin anew."""
        self._reset()

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The outputs for a batch of the contract's items, of any size unless the file fixes it."""
        out = self._run(batch if self._stored is None else adapted(batch, self._adapter, self._stored))
        return sigmoid(out) if self._adapter.sigmoid else out


def adapted(items: npt.NDArray[Any], adapter: Adapter, stored: Stored | None = None) -> npt.NDArray[Any]:
    """Items of a contract, shape (N, *item), as the file takes them: (N, *adapter.shape).

    They are real numbers, float32, unless `stored` makes something else of items with the file's channels and layout.
    """
    x = _arrange(items, adapter)
    x = scaled(x, adapter) if stored is None else stored(x)
    return np.ascontiguousarray(x.reshape(len(x), *adapter.shape))


def _arrange(items: npt.NDArray[Any], adapter: Adapter) -> npt.NDArray[Any]:
    """Items with their channels in the order and place that the file wants."""
    if not (adapter.bgr or adapter.channels_first):
        return items
    count, *size, channels = items.shape
    shape = (count, channels, *size) if adapter.channels_first else items.shape
    out = np.empty(shape, items.dtype)
    for c in range(channels):  # plane by plane: NumPy is 20 times as slow along an axis as short as that of channels
        plane = items[..., channels - 1 - c if adapter.bgr else c]
        if adapter.channels_first:
            out[:, c] = plane
        else:
            out[..., c] = plane
    return out


def scaled(items: npt.NDArray[Any], adapter: Adapter) -> npt.NDArray[np.float32]:
    """(items - mean) / std, float32, after `per_image`; channels are in the order and place that the file wants."""
    x = _by_own_values(items.astype(np.float32), adapter.per_image)
    rows = x  # the last axis is not that of channels, which is too short to be fast
    if not adapter.channels_first and len(adapter.mean) + len(adapter.std) > 2:
        rows = x.reshape(*x.shape[:-2], -1)
    for values, work in ((adapter.mean, np.subtract), (adapter.std, np.divide)):
        constants = np.array(values, np.float32)
        if len(constants) > 1:
            constants = constants[:, None, None] if adapter.channels_first else np.tile(constants, x.shape[-2])
        work(rows, constants, out=rows)  # in place: a new array of this size costs more than the arithmetic
    return x


def _by_own_values(items: npt.NDArray[np.float32], rule: str | None) -> npt.NDArray[np.float32]:
    """Items, shape (N, ...), each scaled by its own values."""
    over: dict[str, Any] = {"axis": tuple(range(1, items.ndim)), "keepdims": True}
    if rule == "standardize":
        mean = items.mean(**over, dtype=np.float64)
        deviation = items.std(**over, dtype=np.float64)
        return np.asarray((items - mean) / np.maximum(deviation, items[0].size ** -0.5), np.float32)
    if rule == "minmax":
        least = items.min(**over)
        return np.asarray((items - least) / np.maximum(items.max(**over) - least, 1), np.float32)
    return items


def _stored(adapter: Adapter, scale: tuple[float, int], dtype: np.dtype[Any], items: np.dtype[Any]) -> Stored:
    """A function from `items`, with the file's channels and layout, to what it stores: the fastest that is exact."""
    if items != np.uint8 or dtype.kind == "f" or adapter.per_image or len(adapter.mean) + len(adapter.std) > 2:
        return lambda items: quantized(scaled(items, adapter), scale, dtype)
    pixels = np.arange(256, dtype=np.uint8)
    table = quantized(scaled(pixels, adapter), scale, dtype)
    if np.array_equal(table.view(np.uint8), pixels ^ 128):  # the usual int8: pixels less 128
        return lambda items: (items ^ 128).view(dtype)
    return lambda items: np.take(table, items)


def quantized(values: npt.NDArray[Any], scale: tuple[float, int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Real values, float32, as a file with this input scale and zero point stores them; a float file, as they are."""
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    return np.asarray(np.clip(np.rint(values / scale[0]) + scale[1], limits.min, limits.max), dtype)
