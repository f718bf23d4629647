"""The part of a conversion that runs in a child process for each format: make and verify one file after another.

`encode` makes the bytes of a file, `proof.selftest` what it should answer. What several schemes share is made when it
is first needed and kept, and so is its failure.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress.converters.adapter import End
from edgepress.converters.arrays import Floats
from edgepress.converters.conversion.encode import Encoder, FilesJob, Once
from edgepress.converters.conversion.float_graph import get_open_model, unexpected_error
from edgepress.converters.errors import ConversionError, ScaleError, UnlikeError
from edgepress.converters.files import whole_file
from edgepress.converters.process.worker import Emit
from edgepress.converters.proof.compare import unusual
from edgepress.converters.proof.selftest import ReferenceOutputs, make_selftest
from edgepress.converters.proof.verify import answers, proof_items, refuse_floats, remainder, verify
from edgepress.converters.schemes import SCHEMES, Scheme
from edgepress.converters.sources.base import SourceModel
from edgepress.converters.to_tflite.passes import operations
from edgepress.converters.variant import Cause, Variant
from edgepress.runtime import Model, load
from edgepress.runtime.adapter import Adapter
from edgepress.runtime.contract import Contract, Task, Verification
from edgepress.runtime.errors import EdgepressError, ModelFileError, first_line

FRONT = (
    "channels differ much in size, so its contract has their means and standard deviations, and items are normalized "
    "before they are quantized"
)
"""The note on a file without the normalization at its front."""
MANY = 300
"""Number of operations of unrolled loops from which on they count in a file's size."""


@dataclass(frozen=True)
class Began:
    """Work on a scheme begins: if the process dies before `Done`, this scheme is to blame."""

    scheme: str


@dataclass(frozen=True)
class Done:
    """A file was made and verified, with `scores` as its answers to the proof items, or a scheme failed."""

    variant: Variant
    scores: Floats | None = None


def make_files(job: FilesJob, emit: Emit) -> None:
    """Make every file of a job: `Began`, then `Done`, for each."""
    maker = _FileMaker(get_open_model(), job)
    for name, target in job.targets.items():
        emit(Began(name))
        start = time.perf_counter()
        try:
            done = maker.make(SCHEMES[name], target)
        except UnlikeError as e:
            cause: Cause = "broken" if e.measured is None else "unlike"
            done = Done(Variant(name, None, None, 0.0, e.measured, error=e.message, cause=cause))
        except ConversionError as e:
            cause = "scales" if isinstance(e, ScaleError) else ""
            done = Done(Variant(name, None, None, 0.0, error=e.message, hint=e.hint, cause=cause))
        except EdgepressError:
            raise
        except Exception as e:
            error = unexpected_error(e)
            done = Done(Variant(name, None, None, 0.0, error=error.message, hint=error.hint))
        seconds = time.perf_counter() - start
        emit(dataclasses.replace(done, variant=dataclasses.replace(done.variant, seconds=seconds)))


class _FileMaker:
    def __init__(self, source: SourceModel, job: FilesJob) -> None:
        facts = source.facts
        contract = job.contract
        shape = job.adapter.model_shape
        if facts.shape != shape or facts.outputs != contract.outputs:
            raise ModelFileError(
                f"The model takes {list(facts.shape)} and has {facts.outputs} outputs; its contract says "
                f"{list(shape)} and {contract.outputs}.",
                "Train it again, or give labels and an input that fit it.",
            )
        self.job = job
        self.once = Once()
        self.reference = ReferenceOutputs(source, contract, job.adapter, job.proof)
        self.encoder = Encoder(source, job, self.once, self.reference)
        self.ends_in = "" if job.adapter.end else facts.ends_in

    def make(self, scheme: Scheme, target: Path) -> Done:
        """Write one file, whole, and only if it opens, answers and is near enough to the source model."""
        encode, rewrites = self.encoder.prepare(scheme)
        contract = self._contract(scheme, rewrites)
        written = _without_last(contract, self.job.left_off)
        is_logits = contract.task == "logits"
        with whole_file(target) as temporary:
            # Logits are compared as they are: softmax would hide errors where it saturates.
            temporary.write_bytes(encode(contract.replace(task="softmax") if is_logits else written))
            if self.job.how.target == "integer-only":
                refuse_floats(temporary)
            model, scores, verification = self._prove(temporary, target, scheme, contract.task)
            notes = (
                *self.encoder.float_layers(scheme).notes,
                *([FRONT] if self.encoder.around is not None else ()),
                *([strange] if (strange := unusual(verification, scheme)) else ()),
                *remainder(temporary, scheme),
                *self._notes_of_loops(scheme),
                *(self.job.float_graph.notes if scheme.repairs else ()),
                *([f"it is not repaired: {why}"] if (why := self.encoder.unrepairable(scheme)) else ()),
            )
            selftest = make_selftest(model, scheme, self.once(self.reference.seeds), logits=is_logits)
            temporary.write_bytes(encode(written.replace(verification=verification, selftest=selftest)))
        size = target.stat().st_size
        variant = Variant(scheme.name, target, size, 0.0, verification, rewrites=rewrites, notes=notes)
        return Done(dataclasses.replace(variant, compression=contract.compression), scores)

    def _notes_of_loops(self, scheme: Scheme) -> tuple[str, ...]:
        """A note if unrolled loops over time make a TFLite file much larger."""
        graph = self.job.float_graph.model
        if scheme.format != "tflite" or not self.encoder.source.loops or isinstance(graph, ConversionError):
            return ()
        count = len(operations(graph.read_bytes()))
        if count < MANY:
            return ()
        return (f"its loops over time became {count:,} operations, of about 150 bytes each; ONNX files keep the loops",)

    def _contract(self, scheme: Scheme, rewrites: dict[str, int]) -> Contract:
        """The contract of a file that is not verified yet."""
        task = self.job.contract.task
        front = self.job.float_graph.front
        shape = self.job.contract.input.shape
        return self.job.contract.replace(
            scheme=scheme.name,
            adapter=None if front is None else Adapter(shape=shape, mean=front.mean, std=front.std),
            task="softmax" if self.job.adapter.end and task == "logits" else task,
            item_by_item=scheme.item_by_item,
            target=self.job.how.target,
            rewrites=tuple(rewrites),
            compression=self.encoder.facts(scheme),
        )

    def _prove(self, file: Path, target: Path, scheme: Scheme, task: Task) -> tuple[Model, Floats, Verification]:
        """Open a file, answer the items of the proof, and compare the answers with the source model's.

        Args:
            file: The file under its temporary name.
            target: Its final name, for messages.
            scheme: Its scheme.
            task: What its answers will be.

        Raises:
            ConversionError: It does not run, or its answers are too far from the source model's.
        """
        items, reference = self.once(self.reference.proof, proof_items(file, scheme))
        extreme_images = self.once(self.reference.extreme_images)
        try:
            model = load(file)
            scores = answers(model, items)
            extreme_scores = answers(model, extreme_images) if len(extreme_images) else scores
        except Exception as e:  # the engines' own, which share no base class
            raise ConversionError(
                f"The file does not run: {first_line(e).replace(file.name, target.name)}.", "Try another scheme."
            ) from e
        if not np.isfinite(scores).all():
            raise UnlikeError("The file returns NaN or infinity.")
        if not np.isfinite(extreme_scores).all() and self.job.how.verify:
            raise UnlikeError(
                "The file returns NaN or infinity for a black or a white image, and the source model does not. "
                "--no-verify keeps the file anyway."
            )
        verification, reason = verify(
            file,
            scheme,
            items,
            scores=scores,
            reference=self.reference.as_answered(reference),
            on=self.job.proof.name,
            task=task,
            ends_in=self.ends_in,
            labels=None if self.job.proof.labels is None else self.job.proof.labels[: len(items)],
            left_off=self.job.left_off,
            taken=self.encoder.as_taken(items),
        )
        if reason and self.job.how.verify:
            on = f"{verification.items} items, {verification.on}"
            raise UnlikeError(f"The file does not answer like the source model ({on}): {reason}.", verification)
        return model, scores, verification


def _without_last(contract: Contract, end: End | None) -> Contract:
    """The contract of a file without its last operation, which the runtime does instead."""
    if end == "softmax":
        return contract.replace(task="logits")
    if end == "sigmoid":
        around = contract.adapter or Adapter(shape=contract.input.shape)
        return contract.replace(adapter=dataclasses.replace(around, sigmoid=True))
    return contract
