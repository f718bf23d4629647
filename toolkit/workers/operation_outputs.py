"""Child process: the outputs of all operations of a file on an engine.

The file returns them itself: it is a copy in which each is an output of the graph. So nothing depends on what an
interpreter keeps, and delegates return what they compute.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.converters.worker import Emit
from edgepress.runtime.engines import import_engine
from edgepress.runtime.errors import parsing
from edgepress.runtime.micro_session import HINT

ARENA_BYTES = 64 << 20
"""Memory that TFLM may use; a file that returns all tensors can't reuse any."""


class OutputsJob(NamedTuple):
    """What to run.

    Attributes:
        file: The copy that returns all outputs.
        engine: "litert", "litert-built-in" or "tflite-micro".
        items: A `.npy` file of items as the file stores them, shape (N, values).
        tensors: Numbers of the tensors that the copy returns, in its order.
    """

    file: str
    engine: str
    items: str
    tensors: tuple[int, ...]


def operation_outputs(job: OutputsJob, emit: Emit) -> None:
    """Emit for each item a dictionary of the stored outputs, flat, by the number of the tensor."""
    items = np.load(job.items)
    answer = _micro if job.engine == "tflite-micro" else _litert
    with parsing(job.file, HINT, failed=f"does not run on {job.engine}"):
        answer(job, items, emit)


def _litert(job: OutputsJob, items: npt.NDArray[Any], emit: Emit) -> None:
    module = import_engine("litert", "diagnose --engines litert")
    kinds = module.OpResolverType
    kind = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if job.engine == "litert-built-in" else kinds.AUTO
    interpreter = module.Interpreter(model_path=job.file, num_threads=1, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    for item in items:
        interpreter.set_tensor(source["index"], item.reshape(source["shape"]))
        interpreter.invoke()
        emit({index: interpreter.get_tensor(index).reshape(-1).copy() for index in job.tensors})


def _micro(job: OutputsJob, items: npt.NDArray[Any], emit: Emit) -> None:
    module = import_engine("tflite-micro", "diagnose --engines tflite-micro")
    size = max(ARENA_BYTES, 10 * Path(job.file).stat().st_size)
    interpreter = module.runtime.Interpreter.from_file(job.file, arena_size=size)
    shape = interpreter.get_input_details(0)["shape"]
    for item in items:
        interpreter.set_input(item.reshape(shape), 0)
        interpreter.invoke()
        emit({index: interpreter.get_output(n).reshape(-1).copy() for n, index in enumerate(job.tensors)})
