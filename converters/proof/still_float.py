"""Find what a quantizer left in float, and refuse it in files for hardware that computes in integers alone."""

from __future__ import annotations

from pathlib import Path

from edgepress.converters.adapter import EXACT
from edgepress.converters.errors import ConversionError
from edgepress.converters.inspection import read
from edgepress.converters.inspection.graph import FLOATS
from edgepress.converters.inspection.tflite_file import CONVERSIONS
from edgepress.converters.schemes import Scheme
from edgepress.converters.to_tflite.float_chains import float_chain_names
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.normalization import normalization_names
from edgepress.runtime.errors import ModelFileError

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

    from edgepress.converters.to_onnx.float_chains import float_chains
    from edgepress.converters.to_onnx.graph import OnnxGraph
    from edgepress.converters.to_onnx.normalization import normalization

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
