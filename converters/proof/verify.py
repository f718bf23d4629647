"""A file verified: it answers as its source model does, and nothing stayed float where integers are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgepress.converters.adapter import EXACT
from edgepress.converters.arrays import Array
from edgepress.converters.contract.outputs import SIGMOIDS
from edgepress.converters.errors import ConversionError
from edgepress.converters.inspection import read
from edgepress.converters.inspection.graph import FLOATS
from edgepress.converters.inspection.tflite_file import CONVERSIONS
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.proof.compare import Answers, End, compare, shortcoming
from edgepress.converters.schemes import Scheme
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_tflite import flatbuffer, passes
from edgepress.converters.to_tflite.flatbuffer import is_tflite
from edgepress.converters.to_tflite.float_layers import float_chain_names, normalization_names
from edgepress.converters.to_tflite.graph import Graph
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


def proof_items(path: Path, scheme: Scheme) -> int:
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
    taken: Array | None = None,
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
        taken: The items as its graph takes them; None if that is as they are.

    Returns:
        The figures, and why the file is refused; empty if it is not.
    """
    end = left_off or end_of(task, ends_in)
    taken = items if taken is None else taken
    inner = _before_end(path.read_bytes(), taken, end, scores.shape[1], whole=left_off is not None) if end else None
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


LEAST_BYTES = 1024
"""Smaller float weights are biases and scales, and are not counted."""
BY_DESIGN = {
    *("Softmax", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Expand", "Tile", "Slice"),
    *("Split", "Concat", "Gather", "Pad", "ReverseSequence", "ConstantOfShape"),
    *("QuickGelu", "Gelu", "FastGelu"),
}
"""ONNX: the output stays float, operations that only move values may come before the first quantization, and these
are faster so."""
WHOLE = ("LSTM", "GRU", "RNN", "Loop", "Scan", "If")
"""ONNX: operations whose inside quantizers ignore."""


def remainder(path: Path, scheme: Scheme) -> tuple[str, ...]:
    """One line on each kind of float operation or weight in a quantized file; none for float32 schemes."""
    if scheme.is_float32:
        return ()
    try:
        inspection = read(path)
        notes = []
    except ModelFileError as e:
        return (f"float operations could not be listed: {e.message}",)
    floats = [node.partition(" ")[::2] for node in inspection.still_float]  # kind and name
    if scheme.calibrated and any(EXACT.match(name) for _, name in floats):
        notes.append("each image is scaled by its own values in float, in front of the quantized operations")
    left = [(kind, name) for kind, name in floats if not _is_by_design(kind) and not EXACT.match(name)]
    if scheme.calibrated and not scheme.is_mixed:  # whose notes say what was left on purpose
        on_purpose = _names_on_purpose(path) if left else set()
        kinds = {kind for kind, name in left if name not in on_purpose}
        kinds |= {node.operation for node in inspection.nodes} & {*WHOLE}
        if kinds:
            names = ", ".join(sorted(kinds))
            notes.append(f"still computed in float, because the quantizer does not support it: {names}")
    if scheme.weight_bits == 4 and all(w.dtype != "int4" for w in inspection.weights):
        notes.append(
            "no weights have 4 bits: those of the first and the last layer, of small and of depthwise ones keep 8"
        )
    in_float = sum(w.size_bytes for w in inspection.weights if w.dtype == "float32" and w.size_bytes >= LEAST_BYTES)
    if in_float > scheme.float_share * inspection.weights_bytes:
        share = f"{100 * in_float / inspection.weights_bytes:.0f} %"
        notes.append(f"{share} of its weights' bytes stay float32, in operations that are computed in float")
    return tuple(notes)


def _is_by_design(kind: str) -> bool:
    return kind.rpartition(".")[2] in BY_DESIGN  # of those of ONNX Runtime's own, the domain is in front


def _names_on_purpose(path: Path) -> set[str]:
    """Names of the operations that scale features in front of a model of tensors, and of float chains."""
    if path.suffix == ".tflite":
        content = path.read_bytes()
        return {*normalization_names(content), *float_chain_names(Graph(content))}
    import onnx

    from edgepress.converters.to_onnx.float_layers import float_chains, normalization
    from edgepress.converters.to_onnx.graph import OnnxGraph

    graph = OnnxGraph(onnx.load(path))
    return {node.name for node in (*normalization(graph), *float_chains(graph)) if node.name}


def refuse_floats(path: Path) -> None:
    """Refuse a file in which an operation reads or makes a float.

    Raises:
        ConversionError: There is one; the message names the kinds of operations.
    """
    inspection = read(path)
    floats = [node for node in inspection.nodes if any(dtype in node.data_types for dtype in FLOATS)]
    if not floats and not any(port.dtype in FLOATS for port in (*inspection.inputs, *inspection.outputs)):
        return
    exact = [node for node in floats if EXACT.match(node.name)]
    kinds = dict.fromkeys(node.operation for node in floats if node not in exact and node.operation not in CONVERSIONS)
    reasons = [f"the quantizer leaves {', '.join(kinds)} in float"] if kinds else []
    steps = ["use layers that the quantizer supports"] if kinds else []
    if exact:
        reasons.append("each image is scaled by its own values in float, in front of the model")
        steps.append("scale images alike (--input-range, --mean, --std)")
    why = " and ".join(reasons) or "its input or output is float"
    hint = ", or ".join([*filter(None, [" and ".join(steps)]), "take --target cpu"])
    raise ConversionError(f"The target integer-only allows no float operation: {why}.", f"{hint[0].upper()}{hint[1:]}.")
