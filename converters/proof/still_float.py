"""What a quantizer left as it was: operations that still compute in float, weights that still take four bytes."""

from __future__ import annotations

from pathlib import Path

from edgepress.converters.inspection import read
from edgepress.converters.schemes import Scheme
from edgepress.runtime.errors import ModelFileError

LEAST_BYTES = 1024
"""Smaller float weights are biases and scales, and are not counted."""
BY_DESIGN = frozenset(
    {
        *("Softmax", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Expand", "Tile"),
        "ConstantOfShape",
        *("Slice", "Split", "Concat", "Gather", "Pad", "ReverseSequence"),
    }
)
"""ONNX: the answer stays float, and what only moves numbers around may stand in front of the first quantization."""
WHOLE = ("LSTM", "GRU", "RNN", "Loop", "Scan", "If")
"""ONNX: operations that no quantizer looks into."""


def remainder(path: Path, scheme: Scheme) -> tuple[str, ...]:
    """One line on each thing in a file that is not what its scheme's name says; none for float32."""
    if scheme.is_float32:
        return ()
    try:
        found, notes = read(path), []
    except ModelFileError as e:
        return (f"what stays float can't be seen: {e.message}",)
    kinds = {node.partition(" ")[0] for node in found.still_float} | {n.operation for n in found.nodes} & {*WHOLE}
    left = sorted(kinds - BY_DESIGN)
    if left and scheme.calibrated:
        notes.append(f"still computed in float, which the quantizer does not take: {', '.join(left)}")
    floats = sum(
        weight.size_bytes for weight in found.weights if weight.dtype == "float32" and weight.size_bytes >= LEAST_BYTES
    )
    if floats > scheme.float_share * found.weights_bytes:
        share = f"{100 * floats / found.weights_bytes:.0f} %"
        notes.append(f"{share} of its weights' bytes are still float32: the quantizer does not take their operations")
    return tuple(notes)
