"""What a source model answers to items that are prepared in several ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.arrays import Array
from edgepress.converters.conversion.float_graph import get_open_model
from edgepress.converters.worker import Emit

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
