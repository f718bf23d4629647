"""The float TFLite graph of a model, from which the files of both formats are made, and its tuned forms.

It is made once, in one process, before the files: each format's process reads it from a temporary folder. A model
that can't be TFLite (a loop, an ONNX model without onnx2tf) has none; its ONNX files are made from the model itself.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.errors import ConversionError
from edgepress.converters.opening import opened
from edgepress.converters.schemes import Tuning
from edgepress.converters.sources.base import Onnx2tf
from edgepress.converters.worker import Emit
from edgepress.runtime.errors import EdgepressError, first_line


@dataclass(frozen=True)
class Waist:
    """The float graph of a model.

    Attributes:
        model: The file that holds it, with a float32 or integer input and batch 1; the error if there is none.
        tuned: The files that hold its tuned forms where these differ from it, by the kind of tuning.
        notes: Remarks for the user.
    """

    model: Path | ConversionError
    tuned: Mapping[Tuning, Path] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def graph(self, tuning: Tuning = "") -> bytes:
        """The graph, tuned if its tuning changed anything.

        Raises:
            ConversionError: There is none.
        """
        if isinstance(self.model, ConversionError):
            raise self.model
        return self.tuned.get(tuning, self.model).read_bytes()


@dataclass(frozen=True)
class WaistJob:
    """Make the float graph of the model that is open, and report a `Waist`.

    Attributes:
        folder: Existing folder for its files.
        adapter: The operations before and after the model.
        onnx2tf: What makes TFLite files of ONNX models; other models do not need it.
    """

    folder: Path
    adapter: InputAdapter
    onnx2tf: Onnx2tf = None


def make_waist(job: WaistJob, emit: Emit) -> None:
    """Do a `WaistJob`."""
    model = job.folder / "float.tflite"
    try:
        model.write_bytes(opened().tflite(job.adapter, job.onnx2tf))
    except ConversionError as e:
        emit(Waist(e))
        return
    except EdgepressError:
        raise
    except Exception as e:
        emit(Waist(unexpected(e)))
        return
    emit(Waist(model))


def unexpected(error: Exception) -> ConversionError:
    """What ends a scheme for a bug of ours or of a library, whose traceback is printed for the log."""
    traceback.print_exc()
    return ConversionError(f"It failed unexpectedly: {type(error).__name__}: {first_line(error)}.", "Please report it.")
