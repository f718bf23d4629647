"""Encode each scheme's file: its graph, rewritten, quantized and written with a contract."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import numpy as np

from edgepress.converters.adapter import End, InputAdapter
from edgepress.converters.arrays import Array
from edgepress.converters.calibration import Batches, known_range, tflite_statistics
from edgepress.converters.contract.write import onnx_with_contract, tflite_with_contract
from edgepress.converters.conversion.float_graph import FloatGraph, unexpected_error
from edgepress.converters.errors import ConversionError
from edgepress.converters.float_layers import NOTHING, FloatLayers
from edgepress.converters.numeric.metrics import without_mean
from edgepress.converters.numeric.statistics import Ranges, Statistics
from edgepress.converters.options.conversion import MINMAX, ConversionOptions
from edgepress.converters.proof.compare import apply_end
from edgepress.converters.proof.selftest import ProofItems, ReferenceOutputs
from edgepress.converters.proof.verify import outputs_of
from edgepress.converters.ptq.score import SOUND_DB
from edgepress.converters.ptq.stages import CALIBRATED
from edgepress.converters.rewrites.table import (
    CHANNEL_AFFINE,
    Rewrite,
    Stage,
    rewrites_for,
    rewritten_onnx,
    rewritten_tflite,
)
from edgepress.converters.schemes import RepairKind, Scheme
from edgepress.converters.sources.base import SourceModel
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_onnx import quantize as to_onnx
from edgepress.converters.to_onnx.convert import shorten_names
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.converters.to_onnx.interface import without_end as onnx_without_end
from edgepress.converters.to_tflite import convert as to_tflite
from edgepress.converters.to_tflite.front import Normalized
from edgepress.converters.to_tflite.interface import with_pixels
from edgepress.converters.to_tflite.passes import without_end
from edgepress.runtime.contract import Contract
from edgepress.runtime.errors import first_line

COMPARED = 32
"""Items on which an ONNX file is compared with and without repairs."""
HALVED = 0.5
"""Largest share of the error that repairs may leave where they unroll loops: the file is several times as large."""


@dataclass(frozen=True)
class FilesJob:
    """Make files of the model that is open.

    Attributes:
        targets: Path of each file by its scheme.
        contract: The contract of all files; each adds what depends on it.
        adapter: The operations before and after the model.
        calibration: Returns the calibration items.
        proof: Items to verify on.
        float_graph: The float graph that TFLite files and repaired ONNX files are made from.
        how: How files are made.
        learned: Ranges of tensors that were learned, by name (`edgepress tune`).
        left_off: The last operation of the model and its adapter that the files leave to the runtime; None: nothing.
    """

    targets: Mapping[str, Path]
    contract: Contract
    adapter: InputAdapter
    calibration: Batches
    proof: ProofItems
    float_graph: FloatGraph
    how: ConversionOptions = MINMAX
    learned: Ranges = field(default_factory=dict)
    left_off: End | None = None


T = TypeVar("T")


class Once:
    """What several schemes share: each step's result, or its error, is made at its first call and kept.

    A second try would fail as slowly.
    """

    def __init__(self) -> None:
        self._results: dict[tuple[Any, ...], Any] = {}

    def __call__(self, step: Callable[..., T], *of: Any) -> T:
        """The result of a step and its arguments, which must be hashable."""
        if (step, *of) not in self._results:
            try:
                self._results[step, *of] = step(*of)
            except Exception as e:
                self._results[step, *of] = e
        result = self._results[step, *of]
        if isinstance(result, Exception):
            raise result
        return cast(T, result)


class Encoder:
    """Makes the bytes of files of the model that is open."""

    def __init__(self, source: SourceModel, job: FilesJob, once: Once, reference: ReferenceOutputs) -> None:
        self.source = source
        self.job = job
        self.once = once
        self.input = job.contract.input
        self.reference = reference
        self._scored: dict[tuple[str, RepairKind], tuple[Any, dict[str, int]]] = {}
        front = job.float_graph.front
        self.around = None if front is None else front.adapter(self.input)
        """What normalizes items in front of the graph; None if that takes them as they are."""
        self.calibration = job.calibration if self.around is None else Normalized(job.calibration, self.around)
        self.range = known_range(self.input) if self.around is None else None
        self._uint8 = with_pixels(self.input)

    def as_taken(self, items: Array) -> Array:
        """Items as the graph takes them."""
        return items if self.around is None else self.around.apply(items)

    def _graph(self, kind: RepairKind) -> bytes:
        """The float TFLite graph, without what is left off."""
        graph = self.job.float_graph.graph(kind)
        end = self.job.left_off
        return graph if end is None else without_end(graph, end)

    def _source_onnx(self) -> Any:
        """The float ONNX model of the source itself, without what is left off."""
        model = self.source.onnx(self.job.adapter)
        end = self.job.left_off
        return model if end is None else onnx_without_end(model, end)

    def _onnx(self, kind: RepairKind) -> Any:
        """The float ONNX model: of the float TFLite graph, or of the source itself where there is none.

        A source that is ONNX stays as it is unless repairs changed it, and so do loops, which TFLite unrolls.
        """
        float_graph = self.job.float_graph
        is_changed = kind in float_graph.repaired or bool(self.job.learned)
        is_own = self.source.facts.format == "onnx" or self.source.loops
        if isinstance(float_graph.model, ConversionError) or (is_own and not is_changed):
            return self._source_onnx()
        bare = InputAdapter.of(self.job.contract.replace(adapter=None))  # the graph contains the adapter
        graph = self._graph(kind)
        if kind in CALIBRATED and self.job.how.rewrites:  # scored so: one scale a product, one a channel of others
            graph, _ = rewritten_tflite(graph, CHANNEL_AFFINE)
        try:
            return interface.prepend_adapter(float_onnx_of(graph), bare)
        except ConversionError:
            if is_changed:
                raise
            return self._source_onnx()

    def _rewritten_tflite(self, rewrites: tuple[Rewrite, ...], kind: RepairKind) -> tuple[bytes, dict[str, int]]:
        return rewritten_tflite(self._graph(kind), rewrites)

    def _rewritten_onnx(self, rewrites: tuple[Rewrite, ...], kind: RepairKind) -> tuple[Any, dict[str, int]]:
        return rewritten_onnx(self.once(self._onnx, kind), rewrites)

    def _statistics(self, rewrites: tuple[Rewrite, ...], kind: RepairKind) -> Statistics:
        model, _ = self.once(self._rewritten_tflite, rewrites, kind)
        statistics = tflite_statistics(model, self.calibration, self.range)
        statistics.learn(self.job.learned)
        return statistics

    def prepare(self, scheme: Scheme) -> tuple[Callable[[Contract], bytes], dict[str, int]]:
        """A function that makes the file with a contract; and the rewrites that were done, with places of each."""
        kind = self._repairs(scheme)
        if scheme.format == "onnx":
            scored = self._scored.get((scheme.name, kind))
            graph, rewrites = scored or self._quantize_onnx(scheme, kind)
            self._scored.clear()  # models may be large
            return lambda contract: bytes(onnx_with_contract(graph, contract).SerializeToString()), rewrites
        before, recipe, after = (self._rewrites(scheme, stage) for stage in get_args(Stage))
        float_layers = self.float_layers(scheme)
        model, done_before = self.once(self._rewritten_tflite, before, kind)
        ranges = None
        if scheme.calibrated:
            ranges = self.once(self._statistics, before, kind).ranges(self.job.float_graph.methods, bits=scheme.bits)
        in_recipe = rewritten_tflite(model, recipe)[1]
        quantized = to_tflite.with_scheme(
            model, scheme, ranges, in_recipe, uint8=self._uint8, float_layers=float_layers
        )
        flat, done_after = rewritten_tflite(quantized, after)
        return lambda contract: tflite_with_contract(flat, contract), done_before | in_recipe | done_after

    def _quantize_onnx(self, scheme: Scheme, kind: RepairKind) -> tuple[Any, dict[str, int]]:
        """The ONNX model of a scheme, and the rewrites that were done."""
        before, recipe, after = (self._rewrites(scheme, stage) for stage in get_args(Stage))
        float_layers = self.float_layers(scheme)
        model, done_before = self.once(self._rewritten_onnx, before, kind)
        in_recipe = rewritten_onnx(model, recipe)[1]
        quantized = to_onnx.with_scheme(
            model,
            scheme,
            self.calibration,
            self.range,
            rewrites=in_recipe,
            methods=self.job.float_graph.methods,
            float_layers=float_layers,
            learned=self.job.learned,
        )
        graph, done_after = rewritten_onnx(quantized, after)
        graph = copy.deepcopy(graph) if graph is model else graph  # which others are made from, too
        interface.name_ends(graph)
        shorten_names(graph)
        return graph, done_before | in_recipe | done_after

    def _squared_error(self, scheme: Scheme, kind: RepairKind) -> float:
        """Squared error of an ONNX file's answers to the items of the proof."""
        items, reference = self.once(self.reference.proof, COMPARED)
        graph, _ = self._scored[scheme.name, kind] = self._quantize_onnx(scheme, kind)
        outputs = outputs_of(graph.SerializeToString(), items)
        if self.job.left_off is not None:
            outputs = apply_end(outputs, self.job.left_off)
        errors = outputs.reshape(len(items), -1) - reference.reshape(len(items), -1)
        return float(np.sum((without_mean(errors) if self.job.contract.task == "logits" else errors) ** 2))

    def _spread(self) -> float:
        """Squared differences of the reference outputs to the same items from their mean."""
        _, reference = self.once(self.reference.proof, COMPARED)
        return float(np.sum((reference - reference.mean(axis=0)) ** 2))

    def float_layers(self, scheme: Scheme) -> FloatLayers:
        """What a file of mixed precision computes in float."""
        if not scheme.is_mixed:
            return NOTHING
        if isinstance(error := self.job.float_graph.model, ConversionError):
            raise ConversionError(f"Its layers are chosen in the float TFLite graph: {error.message}", error.hint)
        if isinstance(float_layers := self.job.float_graph.float_layers, ConversionError):
            raise float_layers
        return float_layers

    def _repairs(self, scheme: Scheme) -> RepairKind:
        """The repairs of its graph, "" if they changed nothing, so that schemes share what is made of equal graphs.

        A graph that can't be written as ONNX is not repaired, either, if the source makes ONNX files otherwise.
        """
        is_changed = scheme.repairs in self.job.float_graph.repaired
        return scheme.repairs if is_changed and not self.unrepairable(scheme) else ""

    def unrepairable(self, scheme: Scheme) -> str:
        """Why the repaired graph of an ONNX scheme can't be used; "" if it can, or if there is none."""
        if scheme.format != "onnx" or scheme.repairs not in self.job.float_graph.repaired or self.job.learned:
            return ""
        try:
            self.once(self._onnx, scheme.repairs)
        except ConversionError as e:
            return e.message
        except Exception as e:  # the file can be made without
            return unexpected_error(e).message
        is_own = self.source.facts.format == "onnx" or self.source.loops
        if scheme.repairs != "exact" and not is_own:
            return ""
        try:  # scored was a TFLite file, whose loops are unrolled, and whose operations may be others
            plain = self.once(self._squared_error, scheme, "")
            if self.source.loops and plain <= self.once(self._spread) / 10 ** (SOUND_DB / 10):
                return "repairs would unroll its loops, and its answers are near enough without"
            repaired = self.once(self._squared_error, scheme, scheme.repairs)
        except Exception as e:  # the engine's own; the file itself will say what is wrong
            return first_line(e)
        if self.source.loops:
            is_halved = np.isfinite(repaired) and not repaired > HALVED * plain
            return "" if is_halved else "repairs would unroll its loops, and not halve the error"
        return "" if repaired <= plain else "repairs increased the error"  # NaN is worse

    def facts(self, scheme: Scheme) -> dict[str, Any]:
        """What was done to a file to keep accuracy."""
        facts = dict(self.job.float_graph.facts.get(scheme.repairs, {})) if not self.unrepairable(scheme) else {}
        return facts | ({"mixed": self.float_layers(scheme).record} if scheme.is_mixed else {})

    def _rewrites(self, scheme: Scheme, stage: Stage) -> tuple[Rewrite, ...]:
        return rewrites_for(scheme, self.job.how.target, stage) if self.job.how.rewrites else ()
