"""Keep Dask's client from opening the pickles of workers: a pickle can run any code."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _RefusedError(pickle.UnpicklingError, AttributeError):
    """A pickle that is not opened. Dask goes on without what it can't open if the error is an `AttributeError`."""


class _Plain(pickle.Unpickler):
    """Opens pickles of texts, numbers and bytes, and of the types of these; other classes and functions are refused."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "builtins" and name in ("str", "bytes"):
            return {"str": str, "bytes": bytes}[name]
        raise _RefusedError(f"a pickle of {module}.{name}")


def _loads(pickled: Any, *, buffers: Any = ()) -> Any:
    try:
        return _Plain(io.BytesIO(pickled), buffers=buffers).load()
    except Exception as e:
        raise _RefusedError(str(e)) from e


@contextmanager
def refused_pickles() -> Iterator[None]:
    """Replace Dask's unpickling in this process, where workers' exceptions and types of results would be opened.

    `deserializers=["msgpack"]` of the client covers results, but neither of these. Afterwards, Dask is as it was.
    """
    import distributed.client
    import distributed.protocol.pickle as theirs

    modules = (theirs, distributed.client)
    before = [module.loads for module in modules]
    for module in modules:
        module.loads = _loads
    try:
        yield
    finally:
        for module, loads in zip(modules, before, strict=True):
            module.loads = loads
