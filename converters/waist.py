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
from edgepress.converters.files import whole_file
from edgepress.converters.kept import NOTHING, KeepOptions, Kept
from edgepress.converters.opening import opened
from edgepress.converters.schemes import SCHEMES, Tuning
from edgepress.converters.sources.base import Onnx2tf
from edgepress.converters.statistics import Choice, Ranging
from edgepress.converters.tuning.judge import Judge, enough
from edgepress.converters.tuning.methods import Validation, first_items
from edgepress.converters.tuning.mixed import kept_layers
from edgepress.converters.tuning.repair import RANGED, repair
from edgepress.converters.worker import Emit
from edgepress.runtime.errors import EdgepressError, first_line


@dataclass(frozen=True)
class Waist:
    """The float graph of a model.

    Attributes:
        model: The file that holds it, with a float32 or integer input and batch 1; the error if there is none.
        tuned: The files that hold its tuned forms where these differ from it, by the kind of tuning.
        choice: The methods by which ranges of tensors follow from calibration items.
        facts: What was done for each kind of tuning and what that brought, for contracts and JSON.
        kept: What files of mixed precision keep in float; the error if nothing could be chosen.
        notes: Remarks for the user.
    """

    model: Path | ConversionError
    tuned: Mapping[Tuning, Path] = dataclasses.field(default_factory=dict)
    choice: Choice = dataclasses.field(default_factory=Choice)
    facts: Mapping[Tuning, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    kept: Kept | ConversionError = NOTHING
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
        calibration: Returns the calibration items.
        validation: Returns up to a number of items, and their labels or None, on which files are judged; None takes
            calibration items.
        labelled: Whether the model's answers are scores of labels.
        wanted: The kinds of tuning that files need.
        repairs: Whether the graph's constants may be changed.
        ranging: How ranges follow from the calibration items.
        keep: What the user says of the layers to keep in float; None if there will be no file of mixed precision.
    """

    folder: Path
    adapter: InputAdapter
    onnx2tf: Onnx2tf
    calibration: Batches
    validation: Validation | None = None
    labelled: bool = True
    wanted: tuple[Tuning, ...] = ()
    repairs: bool = True
    ranging: Ranging = "minmax"
    keep: KeepOptions | None = None

    @property
    def model(self) -> Path:
        """The file of the float graph, which is complete once it exists."""
        return self.folder / "float.tflite"

    @property
    def choice(self) -> Choice:
        """The methods of the ranges if none are chosen."""
        return Choice() if self.ranging == "auto" else Choice(self.ranging)


def make_waist(job: WaistJob, emit: Emit) -> None:
    """Do a `WaistJob`."""
    try:
        model = opened().tflite(job.adapter, job.onnx2tf)
    except ConversionError as e:
        emit(Waist(e, choice=job.choice))
    except EdgepressError:
        raise
    except Exception as e:
        emit(Waist(unexpected(e), choice=job.choice))
    else:
        with whole_file(job.model) as temporary:
            temporary.write_bytes(model)
        waist = _tuned(model, Waist(job.model, choice=job.choice), job)
        emit(dataclasses.replace(waist, kept=_kept(model, waist, job)))


def _tuned(model: bytes, waist: Waist, job: WaistJob) -> Waist:
    """The same with tuned forms of the graph for the kinds that are wanted."""
    wanted = [tuning for tuning in job.wanted if job.repairs or (tuning in RANGED and job.ranging == "auto")]
    if not wanted:
        return waist
    item = job.adapter.item
    try:
        judge = _judge(model, job)
        known = None if item.is_integer else item.value_range
        options: dict[str, Any] = {"wanted": wanted, "repairs": job.repairs, "ranging": job.ranging}
        found = repair(model, job.calibration, judge, input_range=known, **options)
    except ConversionError as e:
        return dataclasses.replace(waist, notes=(f"nothing was tuned: {e.message}",))
    except Exception as e:  # files can be made without
        return dataclasses.replace(waist, notes=(f"nothing was tuned: {unexpected(e).message}",))
    for tuning, tuned in found.models.items():
        (job.folder / f"{tuning}.tflite").write_bytes(tuned)
    facts: dict[Tuning, dict[str, Any]] = {}
    for tuning in wanted:
        stages = [stage.facts() for stage in found.stages if stage.tuning == tuning]
        methods = {"calibration": found.chosen.summary()} if tuning in RANGED and found.chosen else {}
        facts[tuning] = ({"repairs": stages} if stages else {}) | methods
    return dataclasses.replace(
        waist,
        tuned={tuning: job.folder / f"{tuning}.tflite" for tuning in found.models},
        choice=found.chosen.choice if found.chosen else waist.choice,
        facts=facts,
        notes=found.notes,
    )


def _judge(model: bytes, job: WaistJob) -> Judge:
    count = enough(model)
    items, labels = job.validation(count) if job.validation else (first_items(job.calibration, count), None)
    return Judge(model, items, labels, labelled=job.labelled, uint8=job.adapter.item.is_image)


def _kept(model: bytes, waist: Waist, job: WaistJob) -> Kept | ConversionError:
    """What files of mixed precision keep in float."""
    if job.keep is None:
        return NOTHING
    try:
        graph = waist.graph(SCHEMES["tflite-mixed"].tuning)
        return kept_layers(graph, job.keep, job.calibration, _judge(model, job), job.adapter.item, waist.choice)
    except ConversionError as e:
        return e
    except Exception as e:
        return unexpected(e)


def unexpected(error: Exception) -> ConversionError:
    """What ends a scheme for a bug of ours or of a library, whose traceback is printed for the log."""
    traceback.print_exc()
    return ConversionError(f"It failed unexpectedly: {type(error).__name__}: {first_line(error)}.", "Please report it.")
