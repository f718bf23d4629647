"""Convert a float ONNX model to float TFLite by onnx2tf, in the Python environment in which that is installed.

onnx2tf needs Python 3.12 or newer and exact versions of numpy, onnx and LiteRT, so it can't be installed next to
TensorFlow. It runs in a child process of its own environment, where this module is imported, too: at import, it needs
nothing but NumPy.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

from edgepress.converters.errors import ConversionError
from edgepress.converters.worker import ChildDied, Emit, Worker

VERSION = "2.6.9"
"""The version of onnx2tf that is installed and whose interface is used."""
LIMIT_S = 900.0
"""Time limit of a conversion, seconds."""
REASON = 300
"""Length of a reason in an error, characters."""


def not_installed(why: str = "") -> ConversionError:
    """The error of a TFLite scheme of an ONNX model without onnx2tf; `why` is the reason that it is not installed."""
    return ConversionError(
        f"TFLite files are made from an ONNX model by onnx2tf {VERSION}, which is not installed. {why}".strip(),
        "Run: edgepress engine add onnx2tf",
    )


@dataclass(frozen=True)
class Onnx2tfJob:
    """Convert a file.

    Attributes:
        source: A float ONNX model that takes a batch of 1; the file may be changed.
        folder: Existing folder for what onnx2tf writes.
        kept: Names of inputs that keep their shape; the channels of others of rank 3 to 5 are moved to the end.
    """

    source: Path
    folder: Path
    kept: tuple[str, ...] = ()

    @property
    def target(self) -> Path:
        """The float TFLite file."""
        return self.folder / f"{self.source.stem}_float32.tflite"


def run_onnx2tf(job: Onnx2tfJob, emit: Emit) -> None:
    """Make the target of a job, and emit "", or why there is none. Runs in the environment of onnx2tf."""
    import onnx2tf

    printed = io.StringIO()  # progress bars, warnings, and the reason of a failure
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            onnx2tf.convert(
                input_onnx_file_path=str(job.source),
                output_folder_path=str(job.folder),
                keep_shape_absolutely_input_names=list(job.kept),
                enable_rnn_unroll=True,
                not_use_onnxsim=True,  # the model is simplified already; onnxsim would run as a program found by PATH
                verbosity="error",
            )
    except (Exception, SystemExit) as e:  # whatever its thousands of rewrites raise
        emit(_reason(e, printed.getvalue()))
        return
    emit("" if job.target.exists() else _reason(RuntimeError("it wrote no file"), printed.getvalue()))


def convert_file(job: Onnx2tfJob, python: Path) -> None:
    """Make a job's target, the float TFLite file of an ONNX file.

    Args:
        job: What to convert.
        python: Interpreter of the environment with onnx2tf.

    Raises:
        ConversionError: onnx2tf can't convert it, crashes, or exceeds the limits on time and memory.
    """
    import psutil

    try:
        memory = int(psutil.virtual_memory().available)
        with Worker(silence_s=LIMIT_S, memory_bytes=memory, python=python) as worker:
            (why,) = worker.call(run_onnx2tf, job)
    except ChildDied as e:
        why = f"its process died: {e}. {e.log}"
    except RuntimeError as e:  # an environment without onnx2tf, for example
        why = str(e).strip().splitlines()[-1]
    if why:
        hint = "ONNX schemes may still work."
        raise ConversionError(f"onnx2tf {VERSION} can't convert the model: {why.strip()[:REASON]}", hint)


def _reason(error: BaseException, printed: str) -> str:
    """The error in one line; of an exit, what was printed last, without colours and progress bars."""
    if not isinstance(error, SystemExit):
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line.rpartition("\r")[2]).strip() for line in printed.splitlines()]
    return next((line for line in reversed(lines) if line), "it gave no reason")
