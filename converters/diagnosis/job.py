"""What a diagnosis is made of in a child process, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.arrays import Array
from edgepress.converters.calibration import Batches
from edgepress.converters.conversion.float_graph import FloatGraphJob
from edgepress.converters.diagnosis.layers import Measured
from edgepress.runtime.contract import Contract


@dataclass(frozen=True)
class ExamineJob:
    """Compare the model that is open with a file that was made of it, and report an `Examined`.

    Attributes:
        file: The quantized file.
        contract: Its contract, or what is known of a file without one.
        adapter: The operations before and after the model.
        items: Returns the items that both answer, in batches (n, *item shape).
        layer_items: The items on which layers are measured, (n, *item shape); fewer are used for large nets.
        float_graph: How the float graph is tuned, if the file says that it was.
        logits: Whether the model's own answers are logits, so that softmax makes probabilities of them.
    """

    file: Path
    contract: Contract
    adapter: InputAdapter
    items: Batches
    layer_items: Array
    float_graph: FloatGraphJob | None = None
    logits: bool = False


@dataclass(frozen=True)
class AnswerJob:
    """Answer items with a file, and report the scores: float32, (n, outputs).

    Attributes:
        file: The file.
        items: Items (n, *item shape).
    """

    file: Path
    items: Array


@dataclass(frozen=True)
class Share:
    """How much of a part of the work is done, 0-1."""

    part: str
    done: float


@dataclass(frozen=True)
class Examined:
    """What was found.

    Attributes:
        engine: The engine that ran the file.
        reference: The model's scores as the file should give them, (n, labels).
        scores: The file's scores.
        measured: The layers.
        items: Number of items on which these were measured.
        steps: Number of operations of the float graph.
        matched: How many of their results were found in the file.
        layer_reference, layer_scores: Scores of the items of the layers, as `reference` and `scores`.
        whole: Whether all of the file's weights were found, so that its layers together are what it should compute.
        notes: What a reader must know beside that.
    """

    engine: str
    reference: Array
    scores: Array
    measured: Measured
    items: int
    steps: int
    matched: int
    layer_reference: Array
    layer_scores: Array
    whole: bool
    notes: tuple[str, ...] = ()
