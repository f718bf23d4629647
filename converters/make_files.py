"""The part of a conversion that runs in a child process for each format: make and verify one file after another.

What several schemes share - the float file, the ranges of its tensors, the source model's answers - is made when it is
first needed and kept, and so is its failure.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import numpy as np
import numpy.typing as npt

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.calibration import Batches, tflite_statistics
from edgepress.converters.contract.outputs import refuse_other_outputs
from edgepress.converters.contract.write import onnx_with_contract, tflite_with_contract
from edgepress.converters.errors import ConversionError
from edgepress.converters.files import whole_file
from edgepress.converters.kept import NOTHING, Kept
from edgepress.converters.opening import opened
from edgepress.converters.proof.compare import End, seeded_items, varies
from edgepress.converters.proof.selftest import candidates, chosen_seeds, make_selftest
from edgepress.converters.proof.still_float import refuse_floats, remainder
from edgepress.converters.proof.verify import answers, enough, rounded_answers, verify
from edgepress.converters.rewrites.table import Rewrite, Stage, rewrites_for, rewritten_onnx, rewritten_tflite
from edgepress.converters.schemes import SCHEMES, Scheme, Tuning
from edgepress.converters.sources.base import Source
from edgepress.converters.statistics import Statistics
from edgepress.converters.targets import Target
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_onnx import quantize as to_onnx
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.converters.to_tflite import convert as to_tflite
from edgepress.converters.variant import Variant
from edgepress.converters.waist import Waist, unexpected
from edgepress.converters.worker import Emit
from edgepress.runtime import load
from edgepress.runtime.contract import Contract
from edgepress.runtime.decisions import softmax, two_columns
from edgepress.runtime.errors import EdgepressError, ModelFileError, first_line

IMAGE_SCALES, TENSOR_SCALES = (1.0, 1 / 8, 1 / 64), (1.0, 8.0, 64.0, 1 / 8, 1 / 64)
"""Scales of seeded items, in the order in which they are tried."""
SAMPLE = 6
"""Number of items on which a scale is tried."""
T = TypeVar("T")
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class FilesJob:
    """Make files of the model that is open.

    Attributes:
        targets: Path of each file by its scheme.
        contract: The contract of all files; each adds what depends on it.
        adapter: The operations before and after the model.
        calibration: Returns the calibration items.
        proof: Items to verify on; None means seeded ones.
        proof_name: Name of these items.
        enforce: Whether a file below its scheme's bound fails.
        waist: The float graph that TFLite files and tuned ONNX files are made from.
        target: What the files are for.
        rewrite: Whether the graphs are rewritten for it.
    """

    targets: Mapping[str, Path]
    contract: Contract
    adapter: InputAdapter
    calibration: Batches
    proof: Array | None
    proof_name: str
    enforce: bool
    waist: Waist
    target: Target = "cpu"
    rewrite: bool = True


@dataclass(frozen=True)
class Began:
    """Work on a scheme begins: if the process dies before `Done`, this scheme is to blame."""

    scheme: str


@dataclass(frozen=True)
class Done:
    """A file was made and verified, with `scores` as its answers to the proof items, or a scheme failed."""

    variant: Variant
    scores: npt.NDArray[np.float32] | None = None


def make_files(job: FilesJob, emit: Emit) -> None:
    """Make every file of a job: `Began`, then `Done`, for each."""
    work = _Work(opened(), job)
    for name, target in job.targets.items():
        emit(Began(name))
        start = time.perf_counter()
        try:
            done = work.make(SCHEMES[name], target)
        except ConversionError as e:
            done = Done(Variant(name, None, None, 0.0, error=e.message, hint=e.hint))
        except EdgepressError:
            raise
        except Exception as e:
            error = unexpected(e)
            done = Done(Variant(name, None, None, 0.0, error=error.message, hint=error.hint))
        seconds = time.perf_counter() - start
        emit(dataclasses.replace(done, variant=dataclasses.replace(done.variant, seconds=seconds)))


class _Work:
    def __init__(self, source: Source, job: FilesJob) -> None:
        facts, contract, shape = source.facts, job.contract, job.adapter.model_shape
        if facts.shape != shape or facts.outputs != contract.outputs:
            raise ModelFileError(
                f"The model takes {list(facts.shape)} and has {facts.outputs} outputs; its contract says "
                f"{list(shape)} and {contract.outputs}.",
                "Train it again, or give labels and an input that fit it.",
            )
        self.source, self.job, self.input = source, job, contract.input
        self.range = None if contract.input.is_integer else contract.input.value_range  # integers are not quantized
        self._results: dict[tuple[Any, ...], Any] = {}

    def once(self, step: Callable[..., T], *of: Any) -> T:
        """The step's result, or its error, made at the first call and kept: a second try would fail as slowly."""
        if (step, *of) not in self._results:
            try:
                self._results[step, *of] = step(*of)
            except Exception as e:
                self._results[step, *of] = e
        result = self._results[step, *of]
        if isinstance(result, Exception):
            raise result
        return cast(T, result)

    def onnx(self, tuning: Tuning) -> Any:
        """The float ONNX model: of the tuned graph where tuning changed it, else of the source itself."""
        if tuning not in self.job.waist.tuned:
            return self.source.onnx(self.job.adapter)
        bare = InputAdapter(self.input, self.input.shape)  # the graph contains the adapter
        return interface.adapted(float_onnx_of(self.job.waist.graph(tuning)), bare)

    def rewritten_tflite(self, rewrites: tuple[Rewrite, ...], tuning: Tuning) -> tuple[bytes, dict[str, int]]:
        return rewritten_tflite(self.job.waist.graph(tuning), rewrites)

    def rewritten_onnx(self, rewrites: tuple[Rewrite, ...], tuning: Tuning) -> tuple[Any, dict[str, int]]:
        return rewritten_onnx(self.once(self.onnx, tuning), rewrites)

    def statistics(self, rewrites: tuple[Rewrite, ...], tuning: Tuning) -> Statistics:
        model, _ = self.once(self.rewritten_tflite, rewrites, tuning)
        return tflite_statistics(model, self.job.calibration, self.range)

    def proof(self) -> tuple[Array, npt.NDArray[np.float32]]:
        """Items to verify on, and the source model's answers to them.

        Seeded items on which the model saturates, such as pixels of 255 if it takes 0-1, would hide errors, so the
        first scale at which its answers vary is used.
        """
        if self.job.proof is not None:
            return self.job.proof, self._true(self.job.proof)
        scales = IMAGE_SCALES if self.input.is_image else (1.0,) if self.input.is_integer else TENSOR_SCALES
        few = ((scale, seeded_items(self.input, SAMPLE, scale=scale)) for scale in scales)
        scale = next((scale for scale, sample in few if varies(self._true(sample))), scales[0])
        items = seeded_items(self.input, scale=scale)
        return items, self._true(items)

    def _true(self, items: Array) -> npt.NDArray[np.float32]:
        """The answers that a file should give, with the adapter computed in NumPy."""
        scores = self._source_outputs(items)
        if not np.isfinite(scores).all():
            raise ConversionError(
                f"The source model returns NaN or infinity on the items used for verification ({self.job.proof_name}).",
                "Check --input-range, --mean and --std, or give data like its training data with --data.",
            )
        if self.job.enforce:
            ends_in = self.source.facts.ends_in
            refuse_other_outputs(scores, self.task, softmax=self.job.adapter.end is not None, ends_in=ends_in)
        return self.job.adapter.finish(scores)

    def seeds(self) -> tuple[int, ...]:
        """Seeds of the self-test's items."""
        scores = self._source_outputs(candidates(self.input))
        if self.task == "none":
            return chosen_seeds(scores, raw=True)
        return chosen_seeds(softmax(scores) if self.task == "logits" else self.job.adapter.finish(scores))

    def _source_outputs(self, items: Array) -> npt.NDArray[np.float32]:
        return self.source.answer(self.job.adapter.apply(items))

    def make(self, scheme: Scheme, target: Path) -> Done:
        """Write one file, whole, and only if it opens, answers and is near enough to the source model."""
        write, rewrites = self._writer(scheme)
        task = "softmax" if self.job.adapter.end and self.task == "logits" else self.task
        contract = self.job.contract.replace(
            scheme=scheme.name,
            task=task,
            item_by_item=scheme.item_by_item,
            target=self.job.target,
            rewrites=tuple(rewrites),
            tuning=self._facts(scheme),
        )
        with whole_file(target) as temporary:
            # Logits are compared as they are: softmax would hide errors where it saturates.
            raw = contract.replace(task="softmax") if contract.task == "logits" else contract
            temporary.write_bytes(write(raw))
            if self.job.target == "integer-only":
                refuse_floats(temporary)
            items, truth = self.once(self.proof)
            try:
                model = load(temporary)
                scores = answers(model, items[: enough(temporary, scheme)])
            except Exception as e:  # the engines' own, which share no base class
                raise ConversionError(
                    f"The file does not run: {first_line(e).replace(temporary.name, target.name)}.",
                    "Try another scheme.",
                ) from e
            if not np.isfinite(scores).all():
                hint = "Its conversion is at fault: please report it." if scheme.is_float32 else ""
                raise ConversionError("The file returns NaN or infinity.", hint or "Try a scheme with more bits.")
            verification, reason = verify(
                temporary,
                scheme,
                items[: len(scores)],
                scores,
                self._as_given(truth)[: len(scores)],
                on=self.job.proof_name,
                task=contract.task,
                ends_in=self.source.facts.ends_in if not self.job.adapter.end else "",
                rounded=lambda end: self._rounded(scheme, rewrites, end),
            )
            if reason and self.job.enforce:
                on = f"{verification.items} items, {verification.on}"
                hint = "Give data like its training data, or use more bits"
                if scheme.is_float32:
                    hint = "If the model saturates on these items, check --input-range; else the conversion is at fault"
                raise ConversionError(
                    f"The file does not answer like the source model ({on}): {reason}.",
                    f"{hint}; --no-verify keeps the file anyway.",
                )
            notes = (
                *self._kept(scheme).notes,
                *remainder(temporary, scheme),
                *(self.job.waist.notes if scheme.tuning else ()),
            )
            test = make_selftest(model, scheme, self.once(self.seeds), logits=contract.task == "logits")
            temporary.write_bytes(write(contract.replace(verification=verification, selftest=test)))
        size = target.stat().st_size
        variant = Variant(scheme.name, target, size, 0.0, verification, rewrites=rewrites, notes=notes)
        return Done(dataclasses.replace(variant, tuning=contract.tuning), scores)

    def _rounded(self, scheme: Scheme, rewrites: Collection[str], end: End) -> npt.NDArray[np.float32] | None:
        """The best answers that a scheme with rounded weights could give to the proof items.

        Rounded are the weights that the quantizer got; but not those of rewrites that are not exact themselves.
        """
        items, truth = self.once(self.proof)
        exact = tuple(row for row in self._rewrites(scheme, "float") if row.changes != "int8 rounding")
        rewritten: Callable[..., Any] = self.rewritten_tflite if scheme.format == "tflite" else self.rewritten_onnx
        model, _ = self.once(rewritten, exact, self._tuning(scheme))
        return rounded_answers(model, scheme, items, self._as_given(truth), end=end, rewrites=rewrites)

    @property
    def task(self) -> Any:
        return self.job.contract.task

    def _as_given(self, truth: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """A single sigmoid as two columns like the runtime's, the negative label first."""
        return two_columns(truth) if self.task == "sigmoid" else truth

    def _writer(self, scheme: Scheme) -> tuple[Callable[[Contract], bytes], dict[str, int]]:
        """Writes the file with a contract; and the rewrites that were made, with the number of places of each."""
        before, recipe, after = (self._rewrites(scheme, stage) for stage in get_args(Stage))
        tuning, kept = self._tuning(scheme), self._kept(scheme)
        if scheme.format == "tflite":
            model, made = self.once(self.rewritten_tflite, before, tuning)
            ranges = None
            if scheme.calibrated:
                ranges = self.once(self.statistics, before, tuning).ranges(self.job.waist.choice, bits=scheme.bits)
            chosen = rewritten_tflite(model, recipe)[1]
            flat = to_tflite.with_scheme(model, scheme, ranges, chosen, uint8=self.input.is_image, kept=kept)
            flat, last = rewritten_tflite(flat, after)
            return lambda contract: tflite_with_contract(flat, contract), made | chosen | last
        model, made = self.once(self.rewritten_onnx, before, tuning)
        chosen = rewritten_onnx(model, recipe)[1]
        calibration = (self.job.calibration, self.range)
        graph = to_onnx.with_scheme(model, scheme, *calibration, chosen, self.job.waist.choice, kept=kept)
        graph, last = rewritten_onnx(graph, after)
        return lambda contract: bytes(onnx_with_contract(graph, contract).SerializeToString()), made | chosen | last

    def _kept(self, scheme: Scheme) -> Kept:
        """What a file of mixed precision keeps in float."""
        if not scheme.is_mixed:
            return NOTHING
        if isinstance(error := self.job.waist.model, ConversionError):
            raise ConversionError(f"Its layers are chosen in the float TFLite graph: {error.message}", error.hint)
        kept = self.job.waist.kept
        if isinstance(kept, ConversionError):
            raise kept
        return kept

    def _tuning(self, scheme: Scheme) -> Tuning:
        """The tuning of its graph, "" if it changed nothing, so that schemes share what is made of equal graphs."""
        return scheme.tuning if scheme.tuning in self.job.waist.tuned else ""

    def _facts(self, scheme: Scheme) -> dict[str, Any]:
        """What was done to a file to keep accuracy."""
        facts = dict(self.job.waist.facts.get(scheme.tuning, {}))
        return facts | ({"mixed": self._kept(scheme).record} if scheme.is_mixed else {})

    def _rewrites(self, scheme: Scheme, stage: Stage) -> tuple[Rewrite, ...]:
        return rewrites_for(scheme, self.job.target, stage) if self.job.rewrite else ()
