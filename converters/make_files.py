"""The part of a conversion that runs in a child process for each format: make and verify one file after another.

`writing` makes the bytes of a file, `truth` what it should answer. What several schemes share is made when it is first
needed and kept, and so is its failure.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgepress.converters.errors import ConversionError
from edgepress.converters.files import whole_file
from edgepress.converters.files_job import FilesJob, Once
from edgepress.converters.opening import opened
from edgepress.converters.proof.selftest import make_selftest
from edgepress.converters.proof.still_float import refuse_floats, remainder
from edgepress.converters.proof.verify import answers, enough, rounded_answers, verify
from edgepress.converters.schemes import SCHEMES, Scheme
from edgepress.converters.sources.base import Source
from edgepress.converters.truth import Truth
from edgepress.converters.variant import Variant
from edgepress.converters.waist import unexpected
from edgepress.converters.worker import Emit
from edgepress.converters.writing import Writer
from edgepress.runtime import load
from edgepress.runtime.errors import EdgepressError, ModelFileError, first_line


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
        self.job, self.once = job, Once()
        self.truth = Truth(source, job)
        self.writer = Writer(source, job, self.once, self.truth)
        self.ends_in = "" if job.adapter.end else facts.ends_in

    def make(self, scheme: Scheme, target: Path) -> Done:
        """Write one file, whole, and only if it opens, answers and is near enough to the source model."""
        write, rewrites = self.writer.writer(scheme)
        task = self.job.contract.task
        task = "softmax" if self.job.adapter.end and task == "logits" else task
        contract = self.job.contract.replace(
            scheme=scheme.name,
            task=task,
            item_by_item=scheme.item_by_item,
            target=self.job.target,
            rewrites=tuple(rewrites),
            tuning=self.writer.facts(scheme),
        )
        with whole_file(target) as temporary:
            # Logits are compared as they are: softmax would hide errors where it saturates.
            raw = contract.replace(task="softmax") if contract.task == "logits" else contract
            temporary.write_bytes(write(raw))
            if self.job.target == "integer-only":
                refuse_floats(temporary)
            items, truth = self.once(self.truth.proof)
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
                self.truth.given(truth)[: len(scores)],
                on=self.job.proof_name,
                task=contract.task,
                ends_in=self.ends_in,
                trained=bool(self.job.learned),
                rounded=lambda end: rounded_answers(
                    self.writer.parent(scheme, tuned=False),
                    scheme,
                    items,
                    self.truth.given(truth),
                    end=end,
                    rewrites=rewrites,
                    tuned=self.writer.parent(scheme, tuned=True),
                ),
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
                *self.writer.kept(scheme).notes,
                *remainder(temporary, scheme),
                *(self.job.waist.notes if scheme.tuning else ()),
                *([f"it is not tuned: {why}"] if (why := self.writer.untunable(scheme)) else ()),
            )
            test = make_selftest(model, scheme, self.once(self.truth.seeds), logits=contract.task == "logits")
            temporary.write_bytes(write(contract.replace(verification=verification, selftest=test)))
        size = target.stat().st_size
        variant = Variant(scheme.name, target, size, 0.0, verification, rewrites=rewrites, notes=notes)
        return Done(dataclasses.replace(variant, tuning=contract.tuning), scores)
