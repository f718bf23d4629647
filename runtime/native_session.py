"""The adapter of a model that is C: a library built of it on this machine, beside its model file (engine `native`).

It is for boards that no engine has packages for. `edgepress bundle --engine native` packs the C, and the bundle's
installer builds the library. It answers what TensorFlow Lite for Microcontrollers answers. A library is code, so it is
loaded only where this engine is named: a stranger's file beside another one runs nothing.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.runtime.contract import read_contract
from edgepress.runtime.errors import EngineError, ModelFileError, reason_of
from edgepress.runtime.flatbuffer import check_model
from edgepress.runtime.sessions import Session, dequantization_table, input_scale

if TYPE_CHECKING:
    import numpy.typing as npt  # for type checkers only: importing it is a tenth of the runtime's start on a board

LIBRARY = "native/model.so"
"""The library, from the folder of its model file."""
_HINT = "Make a bundle of the file with edgepress bundle FILE --engine native; its install.sh builds the library."
_LOCKS: dict[str, threading.Lock] = {}
"""One for each library, whose memory all sessions of it share."""


class NativeSession(Session):
    """A `.tflite` file as a library of C; its batch size is 1, and `threads` is ignored."""

    def __init__(self, path: Path, module: Any, threads: int) -> None:
        import hashlib  # takes long to load, and few files have this engine

        data = path.read_bytes()
        place = (path.parent / LIBRARY).resolve()
        check_model(path, data)
        self.contract = read_contract(path)
        if not place.is_file():
            raise EngineError(f"{path} has no library {LIBRARY} beside it, which the engine native needs.", _HINT)
        try:
            library = module.CDLL(str(place))
            self._run = library.model_run
            self._input = library.model_input
            self._output = library.model_output
            library.model_about.restype = module.c_char_p
            about = json.loads(library.model_about())
            if about["sha256"] != hashlib.sha256(data).hexdigest():
                raise ModelFileError(f"{place} was built of another file than {path}.", "Install the bundle again.")
            self._describe_as(path, about["input"], about["output"])
        # of another machine, no such library, or one that describes its model in another way
        except (OSError, AttributeError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as e:
            reason = f"{place} can't be used: {reason_of(e)}."
            raise EngineError(reason, "Install the bundle again on this machine.") from e
        self._input.restype = self._output.restype = module.c_void_p
        self._copy = module.memmove
        self._read = module.string_at
        self._lock = _LOCKS.setdefault(str(place), threading.Lock())

    def _describe_as(self, path: Path, source: dict[str, Any], result: dict[str, Any]) -> None:
        """Take the input and output from what the library says of itself."""
        self._describe(path, [source["shape"]], [result["shape"]])
        self.dtype, self._stored = np.dtype(source["dtype"]), np.dtype(result["dtype"])
        self.scale = input_scale(source)
        self._table = dequantization_table(result)
        self._bytes, self._answer_bytes = (int(np.prod(each["shape"])) for each in (source, result))
        if min(self._bytes, self._answer_bytes) < 1 or {self.dtype.itemsize, self._stored.itemsize} != {1}:
            raise ValueError("it describes no numbers of 8 bits")

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The outputs for a batch of one item."""
        return self._real_values(self.stored_answers(batch)).reshape(len(batch), -1)

    def stored_answers(self, batch: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The outputs for a batch of one item as the file stores them, shape (numbers,)."""
        item = np.ascontiguousarray(batch).tobytes()
        if len(item) != self._bytes:  # the C would write behind its memory
            raise ValueError(f"the item has {len(item)} bytes, not {self._bytes}")
        with self._lock:  # ctypes lets other threads run meanwhile
            self._copy(self._input(), item, len(item))
            self._run()
            return np.frombuffer(self._read(self._output(), self._answer_bytes), self._stored)
