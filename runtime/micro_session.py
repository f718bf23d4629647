"""The adapter of TensorFlow Lite for Microcontrollers (TFLM), by the PyPI package tflite-micro.

The file is opened by a process of its own, `micro_child`, because damaged files crash the package. It is what firmware
with TFLM answers; its reference kernels are slow, and their times say nothing of a microcontroller.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.runtime.contract import read_contract
from edgepress.runtime.errors import EngineError, ModelFileError, parsing
from edgepress.runtime.flatbuffer import Flatbuffer, check_model, has_variables
from edgepress.runtime.sessions import Session, dequantization_table, input_scale
from edgepress.runtime.text import one_line

if TYPE_CHECKING:
    import numpy.typing as npt  # for type checkers only: importing it is a tenth of the runtime's start on a board

CHILD = Path(__file__).with_name("micro_child.py")
HINT = (
    "tflite-micro runs files that compute in integers: make one with edgepress convert MODEL --to tflite-int8 "
    "--target integer-only."
)


class MicroSession(Session):
    """A `.tflite` file in TFLM; its batch size is 1, and `threads` is ignored.

    Args:
        arena_bytes: Memory that TFLM may use; 0: as much as it wants.

    Attributes:
        arena_bytes: Memory that TFLM takes for tensors and its own records on this machine; on 32-bit processors a
            little less, because pointers are shorter. None if the package does not say.
    """

    arena_bytes: int | None

    def __init__(self, path: Path, module: Any, threads: int, *, arena_bytes: int = 0) -> None:
        data = path.read_bytes()
        check_model(path, data)
        self.contract = read_contract(path)
        self.stateful = has_variables(path, data)
        self._path = path
        self.keep_state = False
        package = str(Path(module.__file__).parents[1])
        command = [sys.executable, "-P", str(CHILD), str(path), package, str(arena_bytes)]
        self._child = child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        weakref.finalize(self, _end, child)
        about = self._reply()
        source = about["input"]
        result = about["output"]
        with parsing(path):
            counts = [_count(data, 1), _count(data, 2)]
        inputs = [source["shape"]] * counts[0]
        outputs = [result["shape"]] * counts[1]
        self._describe(path, inputs, outputs)
        self.dtype, self._output = np.dtype(source["dtype"]), np.dtype(result["dtype"])
        self.scale = input_scale(source)
        self._table = dequantization_table(result)
        self.arena_bytes = about["arena_bytes"]

    def reset(self) -> None:
        """Begin anew."""
        self._ask(b"r")

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The outputs for a batch of one item."""
        return self._real_values(self.stored_answers(batch)).reshape(len(batch), -1)

    def stored_answers(self, batch: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The outputs for a batch of one item as the file stores them, shape (numbers,)."""
        if self.stateful and not self.keep_state:
            self.reset()
        return np.frombuffer(self._ask(b"i" + np.ascontiguousarray(batch).tobytes()), self._output)

    def _ask(self, request: bytes) -> bytes:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(request)
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # the reply tells how the process ended
        return self._child.stdout.read(self._reply().get("bytes", 0))

    def _reply(self) -> dict[str, Any]:
        """The next line of the process.

        Raises:
            EngineError: TFLM does not run the file.
            ModelFileError: The process ended.
        """
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            code = self._child.wait()
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            problem = f"{self._path} ended the process in which tflite-micro ran it ({how})."
            raise ModelFileError(problem, "It is damaged: copy or convert it again.")
        document: dict[str, Any] = json.loads(line)
        if "error" in document:
            reason = one_line(document["error"]).rstrip(". ")
            raise EngineError(f"{self._path} does not run on tflite-micro: {reason}.", HINT)
        return document


def _count(data: bytes, index: int) -> int:
    """Number of inputs (index 1) or outputs (index 2) of a file's first graph."""
    flat = Flatbuffer(data)
    return flat.length(next(flat.tables(flat.root, 2)), index)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the process and read what it left, so that nothing of it remains."""
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        with suppress(OSError):  # a request may be left that nobody reads
            if pipe is not None:
                pipe.close()
