"""A model opened in a worker process: its float TFLite graph, of which all files are made, and its answers to items.

The model stays open between the jobs of one process. The graph and its repaired forms are made once, in one process,
before the files: each format's process reads them from a temporary folder. A model that can't be TFLite (a loop, an
operation of ONNX that TFLite lacks) has none; its ONNX files are made from the model itself.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.arrays import Array
from edgepress.converters.calibration import Batches, known_range
from edgepress.converters.contract.hints import Hints
from edgepress.converters.contract.kinds import probe_facts
from edgepress.converters.contract.outputs import Looks
from edgepress.converters.errors import ConversionError
from edgepress.converters.files import whole_file
from edgepress.converters.float_layers import NOTHING, FloatLayers
from edgepress.converters.mixed_precision.choose import choose_float_layers
from edgepress.converters.numeric.statistics import CalibrationMethods
from edgepress.converters.options.conversion import MINMAX, ConversionOptions
from edgepress.converters.process.worker import Emit
from edgepress.converters.ptq.calibration import Validation, first_items
from edgepress.converters.ptq.repair import repair
from edgepress.converters.ptq.score import Scorer, scoring_items
from edgepress.converters.ptq.stages import CALIBRATED
from edgepress.converters.rewrites.table import CHANNEL_AFFINE, rewrites_for
from edgepress.converters.schemes import SCHEMES, RepairKind
from edgepress.converters.sources.base import SourceModel
from edgepress.converters.sources.open import open_source
from edgepress.converters.to_tflite.constants import with_plain_constants
from edgepress.converters.to_tflite.front import Front, Normalized, NormalizedValidation, split_front
from edgepress.converters.to_tflite.interface import with_pixels
from edgepress.runtime.errors import EdgepressError, first_line, parsing
from edgepress.runtime.input_spec import InputSpec


@dataclass(frozen=True)
class OpenJob:
    """Open a model and report its `Facts`."""

    path: Path
    hints: Hints
    looks: Looks | None = None
    """What its outputs look like, if already known."""


_opened: list[SourceModel] = []


def open_model(job: OpenJob, emit: Emit) -> None:
    """Open a model, keep it for the jobs that follow, and report its `Facts`."""
    source = open_source(job.path, job.hints)
    with parsing(job.path, "Check how it was exported.", failed="does not run"):
        if job.looks is None:
            source.facts = probe_facts(source.facts, source.answer)
        else:
            source.facts = dataclasses.replace(source.facts, looks=job.looks)
    _opened[:] = [source]
    emit(source.facts)


def get_open_model() -> SourceModel:
    """The model that this process has opened."""
    return _opened[0]


@dataclass(frozen=True)
class FloatGraph:
    """The float graph of a model.

    Attributes:
        model: The file that holds it, with a float32 or integer input and batch 1; the error if there is none.
        repaired: The files that hold its repaired forms where these differ from it, by the kind of repairs.
        methods: The methods by which ranges of tensors follow from calibration items.
        facts: What was done for each kind of repairs and what that brought, for contracts and JSON.
        float_layers: What files of mixed precision compute in float; the error if nothing could be chosen.
        notes: Notes for the user.
        front: The normalization that was taken off its front; integer-only files leave it to the runtime.
    """

    model: Path | ConversionError
    repaired: Mapping[RepairKind, Path] = dataclasses.field(default_factory=dict)
    methods: CalibrationMethods = dataclasses.field(default_factory=CalibrationMethods)
    facts: Mapping[RepairKind, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    float_layers: FloatLayers | ConversionError = NOTHING
    notes: tuple[str, ...] = ()
    front: Front | None = None

    def graph(self, kind: RepairKind = "") -> bytes:
        """The graph, repaired if its repairs changed anything.

        Raises:
            ConversionError: There is none.
        """
        if isinstance(self.model, ConversionError):
            raise self.model
        return self.repaired.get(kind, self.model).read_bytes()


@dataclass(frozen=True)
class FloatGraphJob:
    """Make the float graph of the model that is open, and report a `FloatGraph`.

    Attributes:
        folder: Existing folder for its files.
        adapter: The operations before and after the model.
        calibration: Returns the calibration items.
        validation: Returns up to a number of items, and their labels or None, on which files are scored; None takes
            calibration items.
        labelled: Whether the model's answers are scores of labels.
        wanted: The kinds of repairs that files need.
        how: How files are made.
        mixed: Whether there will be a file of mixed precision.
        split: Whether the normalization of channels that differ much is taken off the front, and left out of all files.
    """

    folder: Path
    adapter: InputAdapter
    calibration: Batches
    validation: Validation | None = None
    labelled: bool = True
    wanted: tuple[RepairKind, ...] = ()
    how: ConversionOptions = MINMAX
    mixed: bool = False
    split: bool = False

    def behind(self, front: Front) -> FloatGraphJob:
        """The same for the graph of normalized items."""
        item = InputSpec(shape=self.adapter.item.shape, dtype="float32")
        around = front.adapter(item)
        return dataclasses.replace(
            self,
            adapter=InputAdapter(item, item.shape),
            calibration=Normalized(self.calibration, around),
            validation=None if self.validation is None else NormalizedValidation(self.validation, around),
        )

    @property
    def model(self) -> Path:
        """The file of the float graph, which is complete once it exists."""
        return self.folder / "float.tflite"


def make_float_graph(job: FloatGraphJob, emit: Emit) -> None:
    """Do a `FloatGraphJob`."""
    try:
        model = with_plain_constants(get_open_model().tflite(job.adapter))
    except ConversionError as e:
        emit(FloatGraph(e, methods=job.how.methods))
    except EdgepressError:
        raise
    except Exception as e:
        emit(FloatGraph(unexpected_error(e), methods=job.how.methods))
    else:
        with whole_file(job.model) as temporary:
            temporary.write_bytes(model)
        made = FloatGraph(job.model, methods=job.how.methods)
        if job.split and (parts := split_front(model)) and parts[0].is_needed:
            front, model = parts
            job = job.behind(front)
            behind = job.folder / "behind.tflite"
            behind.write_bytes(model)
            made = dataclasses.replace(made, model=behind, front=front)
        float_graph = _repair(model, made, job)
        emit(dataclasses.replace(float_graph, float_layers=_choose_float_layers(model, float_graph, job)))


def _repair(model: bytes, float_graph: FloatGraph, job: FloatGraphJob) -> FloatGraph:
    """The same with repaired forms of the graph for the kinds that are wanted."""
    is_chosen = job.how.calibration == "auto"
    kinds = [kind for kind in job.wanted if job.how.repairs or (kind in CALIBRATED and is_chosen)]
    if not kinds:
        return float_graph
    item = job.adapter.item
    try:
        repaired = repair(
            model,
            job.calibration,
            _scorer(model, job),
            input_range=known_range(item),
            wanted=kinds,
            repairs=job.how.repairs,
            method=job.how.calibration,
        )
    except ConversionError as e:
        return dataclasses.replace(float_graph, notes=(f"nothing was repaired: {e.message}",))
    except Exception as e:  # files can be made without
        return dataclasses.replace(float_graph, notes=(f"nothing was repaired: {unexpected_error(e).message}",))
    for kind, graph in repaired.models.items():
        (job.folder / f"{kind}.tflite").write_bytes(graph)
    facts: dict[RepairKind, dict[str, Any]] = {}
    for kind in kinds:
        stages = [stage.facts() for stage in repaired.stages if stage.kind == kind]
        calibration = {"calibration": repaired.chosen.summary()} if kind in CALIBRATED and repaired.chosen else {}
        facts[kind] = ({"repairs": stages} if job.how.repairs else {}) | calibration
    return dataclasses.replace(
        float_graph,
        repaired={kind: job.folder / f"{kind}.tflite" for kind in repaired.models},
        methods=repaired.chosen.methods if repaired.chosen else float_graph.methods,
        facts=facts,
        notes=repaired.notes,
    )


def _scorer(model: bytes, job: FloatGraphJob) -> Scorer:
    count = scoring_items(model)
    items, labels = job.validation(count) if job.validation else (first_items(job.calibration, count), None)
    return Scorer(
        model,
        items,
        labels,
        labelled=job.labelled,
        uint8=with_pixels(job.adapter.item),
        before=CHANNEL_AFFINE if job.how.rewrites else (),
        recipe=rewrites_for(SCHEMES["tflite-int8"], job.how.target, "recipe") if job.how.rewrites else (),
    )


def _choose_float_layers(model: bytes, float_graph: FloatGraph, job: FloatGraphJob) -> FloatLayers | ConversionError:
    """What files of mixed precision compute in float."""
    if not job.mixed:
        return NOTHING
    item = job.adapter.item
    try:
        return choose_float_layers(
            float_graph.graph(SCHEMES["tflite-mixed"].repairs),
            job.how,
            job.calibration,
            _scorer(model, job),
            item=item,
            methods=float_graph.methods,
        )
    except ConversionError as e:
        return e
    except Exception as e:
        return unexpected_error(e)


def unexpected_error(error: Exception) -> ConversionError:
    """What ends a scheme for a bug of ours or of a library, whose traceback is printed for the log."""
    traceback.print_exc()
    return ConversionError(f"It failed unexpectedly: {type(error).__name__}: {first_line(error)}.", "Please report it.")


BATCH = 32
"""Items that are prepared at once."""


@dataclass(frozen=True)
class SourceJob:
    """Answer items with the model that is open, and report the answers, float32, (n, outputs), for each adapter."""

    items: Array
    adapters: tuple[InputAdapter, ...]


def answer_source(job: SourceJob, emit: Emit) -> None:
    """Do such a job."""
    source = get_open_model()
    for adapter in job.adapters:
        parts = [job.items[at : at + BATCH] for at in range(0, len(job.items), BATCH)]
        answers = np.concatenate([source.answer(adapter.apply(part)) for part in parts])
        emit(adapter.finish(answers.reshape(len(job.items), -1)))
