"""Verify a file: compare it with its source model, and, if it falls short, with that of rounded weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.outputs import SIGMOIDS
from edgepress.converters.grids import ONNX_AXES
from edgepress.converters.inspection import read
from edgepress.converters.proof.compare import Answers, End, beside_rounded, compare, finished, shortcoming
from edgepress.converters.proof.rounding import rounded_onnx, rounded_tflite
from edgepress.converters.schemes import SCHEMES, Scheme
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_onnx.four_bits import four_bit_weights
from edgepress.converters.to_onnx.quantize import prepared
from edgepress.converters.to_tflite import passes
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.flatbuffer import is_tflite
from edgepress.converters.to_tflite.four_bits import four_bit_names
from edgepress.runtime import Model, load
from edgepress.runtime.contract import Task, Verification
from edgepress.runtime.decisions import two_columns
from edgepress.runtime.errors import ModelFileError

if TYPE_CHECKING:
    import onnx

PROOF_STEP, PROOF_LEAST = 4, 8
"""Items compared at a time, and items that are compared in any case."""
PROOF_MACS, SLOW_PROOF_MACS = 1e10, 3e8
"""Multiply-accumulates that a comparison may take; with 16-bit activations, whose kernels are slow. About 0.3 s: the
number of items stands in the file, so it must not depend on how busy the machine is."""
TUNED_NOISE = 2.0
"""Noise of a tuned graph with rounded weights, as a multiple of that of the graph before, up to which files are
compared with it: it was judged on other items."""
LABELLED = ("softmax", "logits", "sigmoid", "multilabel")
"""Tasks whose answers are scores of labels."""
Array = npt.NDArray[Any]


def answers(model: Model, items: Array) -> Answers:
    """Answers to items, float32, (N, C)."""
    found = np.concatenate([model.answer(items[i : i + PROOF_STEP]) for i in range(0, len(items), PROOF_STEP)])
    return found.reshape(len(found), -1)


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
    scores: Answers,
    truth: Answers,
    *,
    on: str,
    task: Task,
    ends_in: str,
    rounded: Callable[[End], Answers | None],
    trained: bool = False,
) -> tuple[Verification, str]:
    """Compare a file with its source model.

    Args:
        path: The file.
        scheme: Its scheme.
        items: The items that it answered, shape (N, *item shape).
        scores: Its answers, float32, (N, C), finite; logits as they are.
        truth: The source model's answers.
        on: Name of the items.
        task: What the answers are.
        ends_in: The source model's last operation.
        rounded: Returns the source model's answers with its weights rounded; None if they are unknown.
        trained: Whether the source model was trained to be quantized.

    Returns:
        The figures, and why the file is below its scheme's bounds; empty if it is not.
    """
    end = end_of(task, ends_in)
    inner = _before_end(path.read_bytes(), items, end, scores.shape[1]) if end else None
    compared = partial(compare, on=on, end=end, before_end=inner, labels=task in LABELLED)
    found = compared(truth, scores)
    reason = shortcoming(found, scheme, trained=trained)
    if reason and scheme.rounds_weights and (nearer := rounded(end)) is not None:
        found = beside_rounded(found, compared(nearer[: len(scores)], scores))
        reason = shortcoming(found, scheme, trained=trained)
    return found, reason


def rounded_answers(
    model: bytes | onnx.ModelProto,
    scheme: Scheme,
    items: Array,
    truth: Answers,
    *,
    end: End,
    rewrites: Collection[str] = (),
    tuned: bytes | onnx.ModelProto | None = None,
) -> Answers | None:
    """Answers of a float file whose weights are rounded as a scheme does it: what the best file of it could answer.

    Args:
        model: The float file that the scheme is made from, of TFLite or ONNX, before it was tuned.
        scheme: The scheme.
        items: The items, shape (N, *item shape).
        truth: The source model's answers to them, float32, (N, C).
        end: What the answers are probabilities of.
        rewrites: Names of the rewrites that the file has, of which some decide how weights are rounded.
        tuned: The same after it was tuned, if it was; it counts unless rounding leaves it farther from the truth.

    Returns:
        Float32, (N, C); None if already the float file does not answer like the source model.
    """
    float32, columns = SCHEMES[f"{scheme.format}-float32"], truth.shape[1]
    if isinstance(model, bytes):
        plain = with_scheme(model, float32, None, uint8=items.dtype == np.uint8)
    else:
        plain = bytes(prepared(model).SerializeToString())
    if shortcoming(compare(truth, _given(outputs_of(plain, items), columns), on="", end=end), float32):
        return None

    def answered(each: bytes | onnx.ModelProto) -> Answers:
        changed = _rounded(each, scheme, rewrites, uint8=items.dtype == np.uint8)
        inner = _before_end(changed, items, end, columns) if end else None
        return _given(outputs_of(changed, items), columns) if inner is None else finished(inner, end)

    found = answered(model)
    if tuned is None:
        return found
    nearer = answered(tuned)
    noise, old = (float(((one - truth) ** 2).sum()) for one in (nearer, found))
    return nearer if noise <= TUNED_NOISE * old else found


def _rounded(model: bytes | onnx.ModelProto, scheme: Scheme, rewrites: Collection[str], *, uint8: bool) -> bytes:
    """A float file with weights rounded as a scheme does it."""
    if isinstance(model, bytes):
        names = four_bit_names(model) if scheme.weight_bits == 4 else ()
        coarse = rounded_tflite(model, dense_per_channel=scheme.rounds_channels, few=names)
        return with_scheme(coarse, SCHEMES["tflite-float32"], None, uint8=uint8)
    ready = prepared(model)
    kinds = tuple(ONNX_AXES) if scheme.calibrated else ("Conv",) if "onnx-convolution-weights" in rewrites else ()
    few = four_bit_weights(ready) if scheme.weight_bits == 4 else ()
    return bytes(rounded_onnx(ready, kinds, symmetric=scheme.calibrated, few=few).SerializeToString())


def _before_end(data: bytes, items: Array, end: End, columns: int) -> Answers | None:
    """What a file computes before its softmax or sigmoid, shape (N, C); None if it does not end in one."""
    cut = (passes if is_tflite(data) else interface).before_end(data)
    if cut is None:
        return None
    found = outputs_of(cut, items)
    return np.concatenate([-found, found], axis=1) if (end, found.shape[1], columns) == ("sigmoid", 1, 2) else found


def _given(found: Answers, columns: int) -> Answers:
    """A single sigmoid as two columns, like the runtime's."""
    return two_columns(found) if (found.shape[1], columns) == (1, 2) else found


def outputs_of(data: bytes, items: Array) -> Answers:
    """Outputs of a file without a contract, one item at a time: others of a batch would change those of some files."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("model.tflite" if is_tflite(data) else "model.onnx")
        path.write_bytes(data)
        model = load(path)
        return np.concatenate([model.answer(item[np.newaxis]).reshape(1, -1) for item in items])
