"""The bytes of each scheme's file: its graph, rewritten, quantized and written with a contract."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, get_args

import numpy as np

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.contract.write import onnx_with_contract, tflite_with_contract
from edgepress.converters.errors import ConversionError
from edgepress.converters.files_job import FilesJob, Once
from edgepress.converters.kept import NOTHING, Kept
from edgepress.converters.proof.verify import outputs_of
from edgepress.converters.rewrites.table import Rewrite, Stage, rewrites_for, rewritten_onnx, rewritten_tflite
from edgepress.converters.schemes import Scheme, Tuning
from edgepress.converters.sources.base import Source
from edgepress.converters.statistics import Statistics
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_onnx import quantize as to_onnx
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.converters.to_tflite import convert as to_tflite
from edgepress.converters.truth import Truth
from edgepress.converters.waist import unexpected
from edgepress.runtime.contract import Contract
from edgepress.runtime.errors import first_line

JUDGED = 32
"""Items on which an ONNX file is compared with and without tuning."""


class Writer:
    """Makes files of the model that is open."""

    def __init__(self, source: Source, job: FilesJob, once: Once, truth: Truth) -> None:
        self.source, self.job, self.once, self.input, self.truth = source, job, once, job.contract.input, truth
        self.range = None if self.input.is_integer else self.input.value_range  # integers are not quantized

    def _onnx(self, tuning: Tuning) -> Any:
        """The float ONNX model: of the float TFLite graph, or of the source itself where there is none.

        A source that is ONNX stays as it is unless tuning changed it, and so do loops, which TFLite unrolls.
        """
        waist, tuned = self.job.waist, tuning in self.job.waist.tuned or bool(self.job.learned)
        own = self.source.facts.format == "onnx" or self.source.loops
        if isinstance(waist.model, ConversionError) or (own and not tuned):
            return self.source.onnx(self.job.adapter)
        bare = InputAdapter(self.input, self.input.shape)  # the graph contains the adapter
        try:
            return interface.adapted(float_onnx_of(waist.graph(tuning)), bare)
        except ConversionError:
            if tuned:
                raise
            return self.source.onnx(self.job.adapter)

    def _rewritten_tflite(self, rewrites: tuple[Rewrite, ...], tuning: Tuning) -> tuple[bytes, dict[str, int]]:
        return rewritten_tflite(self.job.waist.graph(tuning), rewrites)

    def _rewritten_onnx(self, rewrites: tuple[Rewrite, ...], tuning: Tuning) -> tuple[Any, dict[str, int]]:
        return rewritten_onnx(self.once(self._onnx, tuning), rewrites)

    def _statistics(self, rewrites: tuple[Rewrite, ...], tuning: Tuning) -> Statistics:
        model, _ = self.once(self._rewritten_tflite, rewrites, tuning)
        found = tflite_statistics(model, self.job.calibration, self.range)
        found.learn(self.job.learned)
        return found

    def writer(self, scheme: Scheme) -> tuple[Callable[[Contract], bytes], dict[str, int]]:
        """Writes the file with a contract; and the rewrites that were made, with the number of places of each."""
        before, recipe, after = (self._rewrites(scheme, stage) for stage in get_args(Stage))
        tuning, kept = self._tuning(scheme), self.kept(scheme)
        if scheme.format == "tflite":
            model, made = self.once(self._rewritten_tflite, before, tuning)
            ranges = None
            if scheme.calibrated:
                ranges = self.once(self._statistics, before, tuning).ranges(self.job.waist.choice, bits=scheme.bits)
            chosen = rewritten_tflite(model, recipe)[1]
            flat = to_tflite.with_scheme(model, scheme, ranges, chosen, uint8=self.input.is_image, kept=kept)
            flat, last = rewritten_tflite(flat, after)
            return lambda contract: tflite_with_contract(flat, contract), made | chosen | last
        graph, rewrites = self._quantized_onnx(scheme, tuning)
        return lambda contract: bytes(onnx_with_contract(graph, contract).SerializeToString()), rewrites

    def _quantized_onnx(self, scheme: Scheme, tuning: Tuning) -> tuple[Any, dict[str, int]]:
        """The ONNX model of a scheme, and the rewrites that were made."""
        before, recipe, after = (self._rewrites(scheme, stage) for stage in get_args(Stage))
        kept = self.kept(scheme)
        model, made = self.once(self._rewritten_onnx, before, tuning)
        chosen = rewritten_onnx(model, recipe)[1]
        calibration = (self.job.calibration, self.range)
        options: dict[str, Any] = {"kept": kept, "learned": self.job.learned}
        graph = to_onnx.with_scheme(model, scheme, *calibration, chosen, self.job.waist.choice, **options)
        graph, last = rewritten_onnx(graph, after)
        graph = copy.deepcopy(graph) if graph is model else graph  # which others are made from, too
        interface.name_ends(graph)
        return graph, made | chosen | last

    def _noise(self, scheme: Scheme, tuning: Tuning) -> float:
        """Squared error of an ONNX file's answers to the items of the proof."""
        items, truth = self.once(self.truth.proof)
        count = min(len(items), JUDGED)
        graph, _ = self._quantized_onnx(scheme, tuning)
        found = outputs_of(graph.SerializeToString(), items[:count])
        return float(np.sum((found.reshape(count, -1) - truth[:count].reshape(count, -1)) ** 2))

    def parent(self, scheme: Scheme, *, tuned: bool) -> Any:
        """The float graph of a scheme, without rewrites that are not exact themselves; None if no tuning changed it."""
        tuning = self._tuning(scheme) if tuned else ""
        if tuned and not tuning:
            return None
        exact = tuple(row for row in self._rewrites(scheme, "float") if row.changes != "int8 rounding")
        rewritten: Callable[..., Any] = self._rewritten_tflite if scheme.format == "tflite" else self._rewritten_onnx
        model, _ = self.once(rewritten, exact, tuning)
        return model

    def kept(self, scheme: Scheme) -> Kept:
        """What a file of mixed precision keeps in float."""
        if not scheme.is_mixed:
            return NOTHING
        if isinstance(error := self.job.waist.model, ConversionError):
            raise ConversionError(f"Its layers are chosen in the float TFLite graph: {error.message}", error.hint)
        if isinstance(kept := self.job.waist.kept, ConversionError):
            raise kept
        return kept

    def _tuning(self, scheme: Scheme) -> Tuning:
        """The tuning of its graph, "" if it changed nothing, so that schemes share what is made of equal graphs.

        A graph that can't be written as ONNX is not tuned, either, if the source makes ONNX files otherwise.
        """
        changed = scheme.tuning in self.job.waist.tuned
        return scheme.tuning if changed and not self.untunable(scheme) else ""

    def untunable(self, scheme: Scheme) -> str:
        """Why the tuned graph of an ONNX scheme can't be used; "" if it can, or if there is none."""
        if scheme.format != "onnx" or scheme.tuning not in self.job.waist.tuned or self.job.learned:
            return ""
        try:
            self.once(self._onnx, scheme.tuning)
        except ConversionError as e:
            return e.message
        except Exception as e:  # the file can be made without
            return unexpected(e).message
        if scheme.tuning != "exact":
            return ""
        try:  # judged was a TFLite file, whose weights have a scale for each channel
            worse = not self.once(self._noise, scheme, "exact") <= self.once(self._noise, scheme, "")  # NaN is worse
        except Exception as e:  # the engine's own; the file itself will say what is wrong
            return first_line(e)
        return "the file answers more like the model without it" if worse else ""

    def facts(self, scheme: Scheme) -> dict[str, Any]:
        """What was done to a file to keep accuracy."""
        facts = dict(self.job.waist.facts.get(scheme.tuning, {})) if not self.untunable(scheme) else {}
        return facts | ({"mixed": self.kept(scheme).record} if scheme.is_mixed else {})

    def _rewrites(self, scheme: Scheme, stage: Stage) -> tuple[Rewrite, ...]:
        return rewrites_for(scheme, self.job.target, stage) if self.job.rewrite else ()
