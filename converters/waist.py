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
from typing import Any

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.calibration import Batches
from edgepress.converters.errors import ConversionError
from edgepress.converters.opening import opened
from edgepress.converters.rewrites.table import rewrites_for, rewritten_tflite
from edgepress.converters.schemes import SCHEMES, Tuning
from edgepress.converters.sources.base import Onnx2tf
from edgepress.converters.statistics import Choice, Ranging, Statistics
from edgepress.converters.targets import Target
from edgepress.converters.tuning.methods import Validation, choose
from edgepress.converters.worker import Emit
from edgepress.runtime.errors import EdgepressError, first_line


@dataclass(frozen=True)
class Waist:
    """The float graph of a model.

    Attributes:
        model: The file that holds it, with a float32 or integer input and batch 1; the error if there is none.
        tuned: The files that hold its tuned forms where these differ from it, by the kind of tuning.
        choice: The methods by which ranges of tensors follow from calibration items.
        ranges: How they were chosen and what that brought, for JSON.
        statistics: Statistics that were collected for that, by the hash of the graph (`calibration.hash_of`).
        notes: Remarks for the user.
    """

    model: Path | ConversionError
    tuned: Mapping[Tuning, Path] = dataclasses.field(default_factory=dict)
    choice: Choice = dataclasses.field(default_factory=Choice)
    ranges: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    statistics: Mapping[str, Statistics] = dataclasses.field(default_factory=dict)
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
        calibration: Returns the calibration items; None if nothing is calibrated.
        method: How ranges follow from them.
        validation: Returns up to a number of items, and their labels or None, on which files are judged; None takes
            calibration items.
        labelled: Whether the model's answers are scores of labels.
        target: What the files are for.
        rewrite: Whether the graphs are rewritten for it.
    """

    folder: Path
    adapter: InputAdapter
    onnx2tf: Onnx2tf = None
    calibration: Batches | None = None
    method: Ranging = "minmax"
    validation: Validation | None = None
    labelled: bool = True
    target: Target = "cpu"
    rewrite: bool = True


def make_waist(job: WaistJob, emit: Emit) -> None:
    """Do a `WaistJob`."""
    model = job.folder / "float.tflite"
    try:
        model.write_bytes(opened().tflite(job.adapter, job.onnx2tf))
    except ConversionError as e:
        emit(_with_choice(Waist(e), job))
        return
    except EdgepressError:
        raise
    except Exception as e:
        emit(_with_choice(Waist(unexpected(e)), job))
        return
    emit(_with_choice(Waist(model), job))


def _with_choice(waist: Waist, job: WaistJob) -> Waist:
    """The methods of the ranges, chosen by the int8 file that is made of the graph, for all schemes."""
    if job.calibration is None or job.method != "auto":
        method = "minmax" if job.method == "auto" else job.method
        return dataclasses.replace(waist, choice=Choice(method), ranges={"method": method})
    before, recipe = (
        rewrites_for(SCHEMES["tflite-int8"], job.target, stage) if job.rewrite else () for stage in ("float", "recipe")
    )
    try:
        model, _ = rewritten_tflite(waist.graph(), before)
        _, rewrites = rewritten_tflite(model, recipe)
        chosen, statistics = choose(
            model, job.calibration, job.adapter.item, job.validation, labelled=job.labelled, rewrites=rewrites
        )
    except ConversionError as e:
        return dataclasses.replace(waist, ranges={"method": "minmax", "error": e.message})
    except Exception as e:  # files can be made without
        return dataclasses.replace(waist, ranges={"method": "minmax", "error": unexpected(e).message})
    return dataclasses.replace(waist, choice=chosen.choice, ranges=chosen.summary(), statistics=statistics)


def unexpected(error: Exception) -> ConversionError:
    """What ends a scheme for a bug of ours or of a library, whose traceback is printed for the log."""
    traceback.print_exc()
    return ConversionError(f"It failed unexpectedly: {type(error).__name__}: {first_line(error)}.", "Please report it.")
