"""Verify a file: run it, and what is before its last operation, and compare both with its source model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.contract.outputs import SIGMOIDS
from edgepress.converters.inspection import read
from edgepress.converters.proof.compare import Answers, End, compare, shortcoming
from edgepress.converters.schemes import Scheme
from edgepress.converters.scratch import ScratchFolder
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_tflite import flatbuffer, passes
from edgepress.converters.to_tflite.flatbuffer import is_tflite
from edgepress.runtime import Model, load
from edgepress.runtime.contract import Task, Verification
from edgepress.runtime.errors import ModelFileError

PROOF_STEP = 4
"""Items compared at a time."""
PROOF_LEAST = 8
"""Items that are compared in any case."""
PROOF_MACS = 1e10
"""Multiply-accumulates that a comparison may take, about 0.3 s: the number of items stands in the file, so it must not
depend on how busy the machine is."""
SLOW_PROOF_MACS = 3e8
"""The same with 16-bit activations, whose kernels are slow."""


def answers(model: Model, items: Array) -> Answers:
    """Answers to items, float32, (N, C)."""
    outputs = np.concatenate([model.answer(items[i : i + PROOF_STEP]) for i in range(0, len(items), PROOF_STEP)])
    return outputs.reshape(len(outputs), -1)


def enough(path: Path, scheme: Scheme) -> int:
    """Number of items on which a file is compared: fewer for large nets, a multiple of `PROOF_STEP`."""
    try:
        macs = read(path).macs
    except ModelFileError:
        return PROOF_LEAST
    count = int((PROOF_MACS if scheme.arithmetic else SLOW_PROOF_MACS) / max(macs, 1))
    return max(PROOF_LEAST, count - count % PROOF_STEP)


def end_of(task: Task, ends_in: str) -> End:
    """The operation that computes a file's answers, from its task and the source model's last operation."""
    if task not in ("softmax", "sigmoid", "multilabel"):
        return ""
    return "sigmoid" if ends_in.lower() in SIGMOIDS or task != "softmax" else "softmax"


def verify(
    path: Path,
    scheme: Scheme,
    items: Array,
    *,
    scores: Answers,
    reference: Answers,
    on: str,
    task: Task,
    ends_in: str,
    labels: Array | None = None,
    left_off: End | None = None,
) -> tuple[Verification, str]:
    """Compare a file with its source model.

    Args:
        path: The file.
        scheme: Its scheme.
        items: The items that it answered, shape (N, *item shape).
        scores: Its answers, float32, (N, C), finite; logits as they are.
        reference: The source model's answers.
        on: Name of the items.
        task: What the answers are.
        ends_in: The source model's last operation.
        labels: The true labels of the items, as of `lost_labels`; None if they are not known.
        left_off: The operation that the runtime does instead of the file.

    Returns:
        The figures, and why the file is refused; empty if it is not.
    """
    end = left_off or end_of(task, ends_in)
    inner = _before_end(path.read_bytes(), items, end, scores.shape[1], whole=left_off is not None) if end else None
    verification = compare(
        reference, scores, on=on, end=end, before_end=inner, task=task, ends_in=ends_in, labels=labels
    )
    return verification, shortcoming(verification, scheme)


def _before_end(data: bytes, items: Array, end: End, columns: int, *, whole: bool) -> Answers | None:
    """What a file computes before its softmax or sigmoid, shape (N, C); None if it does not end in one.

    That is all that a `whole` file computes, whose end is left to the runtime.
    """
    cut = without_contract(data) if whole else (passes if is_tflite(data) else interface).before_end(data)
    if cut is None:
        return None
    logits = outputs_of(cut, items)
    return np.concatenate([-logits, logits], axis=1) if (end, logits.shape[1], columns) == ("sigmoid", 1, 2) else logits


def without_contract(data: bytes) -> bytes:
    """The same file without its contract."""
    if is_tflite(data):
        return flatbuffer.write(flatbuffer.read(data)[0])
    import onnx

    model = onnx.load_from_string(data)
    del model.metadata_props[:]
    return bytes(model.SerializeToString())


def outputs_of(data: bytes, items: Array) -> Answers:
    """Outputs of a file without a contract, one item at a time: others of a batch would change those of some files."""
    with ScratchFolder() as folder:
        path = Path(folder) / ("model.tflite" if is_tflite(data) else "model.onnx")
        path.write_bytes(data)
        model = load(path)
        return np.concatenate([model.answer(items[n : n + 1]).reshape(1, -1) for n in range(len(items))])
