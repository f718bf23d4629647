"""What the files of a conversion should answer: items to verify them on, and the source model's answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.outputs import refuse_other_outputs
from edgepress.converters.errors import ConversionError
from edgepress.converters.files_job import FilesJob
from edgepress.converters.proof.compare import seeded_items, varies
from edgepress.converters.proof.selftest import candidates, chosen_seeds
from edgepress.converters.sources.base import Source
from edgepress.runtime.decisions import softmax, two_columns

IMAGE_SCALES, TENSOR_SCALES = (1.0, 1 / 8, 1 / 64), (1.0, 8.0, 64.0, 1 / 8, 1 / 64)
"""Scales of seeded items, in the order in which they are tried."""
SAMPLE = 6
"""Number of items on which a scale is tried."""
Array = npt.NDArray[Any]


class Truth:
    """The source model's answers, as the files should give them."""

    def __init__(self, source: Source, job: FilesJob) -> None:
        self.source, self.job, self.input, self.task = source, job, job.contract.input, job.contract.task

    def proof(self) -> tuple[Array, npt.NDArray[np.float32]]:
        """Items to verify on, and the answers to them.

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

    def given(self, truth: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """A single sigmoid as two columns like the runtime's, the negative label first."""
        return two_columns(truth) if self.task == "sigmoid" else truth
