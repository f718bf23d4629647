"""Open a file in this machine's engine: whether it opens, and which operations the CPU delegate takes.

LiteRT hands parts of a graph to XNNPACK when tensors are allocated. The interpreter does not report which operations,
but it lists one DELEGATE for each part after the file's operations, with its input and output tensors. Walking back
from a part's outputs to its inputs finds the operations.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from edgepress.converters.inspection.report import Inspection
from edgepress.runtime.errors import EdgepressError, first_line
from edgepress.runtime.flatbuffer import check_model, unsupported_operations
from edgepress.runtime.sessions import onnx_session

DELEGATE = "DELEGATE"


def open_in_litert(path: Path, inspection: Inspection) -> Inspection:
    """The inspection, completed by opening a `.tflite` file in LiteRT with XNNPACK; damaged files can crash LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    content = path.read_bytes()
    try:
        check_model(path, content)
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    except EdgepressError:
        raise
    except Exception as e:
        notes = [str(error)] if (error := unsupported_operations(path, content)) else []
        return inspection.refused(first_line(e)).replace(notes=(*inspection.notes, *notes))
    try:
        operations = interpreter._get_ops_details()  # private: tensorflow#53003; docs/architecture.md
    except UnicodeDecodeError:
        note = "A tensor's name is not UTF-8, so LiteRT can't list what XNNPACK takes."
        return inspection.opened().replace(notes=(*inspection.notes, note))
    parts = [op for op in operations if op["op_name"] == DELEGATE]
    delegated = delegated_places(operations)
    # The interpreter lists the first graph's operations only, in the file's order; so does the inspection.
    nodes = tuple(
        dataclasses.replace(node, delegated=place in delegated) if place < len(operations) - len(parts) else node
        for place, node in enumerate(inspection.nodes)
    )
    return inspection.opened(delegate="XNNPACK" if parts else "", partitions=len(parts)).replace(nodes=nodes)


def delegated_places(operations: list[dict[str, Any]]) -> set[int]:
    """Places of the operations that delegates took.

    Args:
        operations: As LiteRT's `Interpreter` lists them once tensors are allocated: the file's own, then one DELEGATE
            for each part taken, with "op_name" and the tensors' indices in "inputs" and "outputs".
    """
    own = [op for op in operations if op["op_name"] != DELEGATE]
    maker = {int(t): place for place, op in enumerate(own) for t in op["outputs"]}
    delegated: set[int] = set()
    for part in operations[len(own) :]:
        border = {int(t) for t in part["inputs"]}
        open_ends = [int(t) for t in part["outputs"]]
        while open_ends:
            place = maker.get(open_ends.pop())
            if place is not None and place not in delegated:
                delegated.add(place)
                open_ends += {int(t) for t in own[place]["inputs"]} - border
    return delegated


def open_in_onnxruntime(path: Path, inspection: Inspection) -> Inspection:
    """The inspection, completed by opening an `.onnx` file in ONNX Runtime. Damaged files can crash the process."""
    import onnxruntime

    try:
        onnx_session(onnxruntime, str(path), intra_op_num_threads=1, inter_op_num_threads=1, log_severity_level=4)
    except Exception as e:  # its exceptions share no base class
        return inspection.refused(first_line(e))
    return inspection.opened()
