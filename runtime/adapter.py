"""Run a file that others made as if edgepress had made it: prepare its items, and finish its answers.

Files that `edgepress convert` made hold these steps in their graph. A published file stays as it is, and its contract
has an `Adapter` that says what to do around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.runtime.contract import Adapter, Contract
from edgepress.runtime.decisions import sigmoid

if TYPE_CHECKING:
    import numpy.typing as npt  # for type checkers only: importing it is a tenth of the runtime's start on a board

    from edgepress.runtime.sessions import Session


class AdaptedSession:
    """A session of a published file that takes the items of its contract; see `Session` for the attributes."""

    def __init__(self, session: Session, contract: Contract, adapter: Adapter) -> None:
        self.contract: Contract | None = contract
        self.shape, self.dtype, self.scale = contract.input.shape, np.dtype(contract.input.dtype), (1.0, 0)
        self.classes, self.batch = session.classes, session.batch
        self._run, self._adapter, self._stored = session.run, adapter, (session.scale, session.dtype)
        self._table: npt.NDArray[Any] | None = None
        if self.dtype == np.uint8 and len({*adapter.mean}) == len({*adapter.std}) == 1:
            # All channels alike: a lookup of the 256 pixels is as exact as arithmetic, and two to four times as fast.
            levels = scaled(np.arange(256)[:, np.newaxis], adapter)[:, 0]
            self._table = quantized(levels, *self._stored)

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The outputs for a batch of the contract's items, of any size unless the file fixes it."""
        items = adapted(batch, self._adapter, self._table)
        out = self._run(items if self._table is not None else quantized(items, *self._stored))
        return sigmoid(out) if self._adapter.sigmoid else out


def adapted(items: npt.NDArray[Any], adapter: Adapter, table: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
    """Items of a contract, shape (N, *item), as the file takes them: (N, *adapter.shape).

    They are real numbers, float32; with a `table`, what it holds for each of the 256 pixels.
    """
    x = items[..., ::-1] if adapter.bgr else items
    x = scaled(x, adapter) if table is None else table[x]
    x = x.transpose(0, 3, 1, 2) if adapter.channels_first else x
    return np.ascontiguousarray(x.reshape(len(x), *adapter.shape))


def scaled(items: npt.NDArray[Any], adapter: Adapter) -> npt.NDArray[np.float32]:
    """(items - mean) / std, float32; channels are last, in the order of the file."""
    mean, std = (np.array(v, np.float32) for v in (adapter.mean, adapter.std))
    return np.asarray((items.astype(np.float32) - mean) / std, np.float32)


def quantized(values: npt.NDArray[Any], scale: tuple[float, int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Real values, float32, as a file with this input scale and zero point stores them; a float file, as they are."""
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    return np.asarray(np.clip(np.rint(values / scale[0]) + scale[1], limits.min, limits.max), dtype)
