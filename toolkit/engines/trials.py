"""Try what was installed into a new environment: an engine has to answer, onnx2tf to convert."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgepress.converters.errors import ConversionError
from edgepress.converters.scratch import ScratchFolder
from edgepress.converters.to_tflite.from_onnx import Onnx2tfJob, convert_file
from edgepress.converters.worker import Worker
from edgepress.runtime import load
from edgepress.toolkit.engines.toy_models import dense_model
from edgepress.toolkit.workers.try_engine import try_engine


def engine_trial(engine: str, python: Path) -> str:
    """Why an engine does not answer a trial model as it should with an interpreter; "" if it does."""
    with Worker(silence_s=60, python=python) as worker:
        (wrong,) = worker.call(try_engine, engine)
    return str(wrong)


def onnx2tf_trial(python: Path) -> str:
    """Why onnx2tf does not convert a trial model as it should with an interpreter; "" if it does."""
    items = np.arange(16, dtype=np.float32).reshape(2, 8)
    with ScratchFolder() as folder:
        job = Onnx2tfJob(Path(folder) / "toy.onnx", Path(folder), ("input",))
        job.source.write_bytes(dense_model("onnx", 8, 3))
        expected = load(job.source).scores(items)
        try:
            convert_file(job, python)
        except ConversionError as e:
            return e.message
        scores = load(job.target).scores(items)
    return "" if np.allclose(scores, expected, rtol=1e-5) else "it made a file that answers wrongly"
