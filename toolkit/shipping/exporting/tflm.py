"""Write a file for firmware with TensorFlow Lite for Microcontrollers (TFLM), with what it needs to run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edgepress
from edgepress.converters.inspection import Inspection, Port
from edgepress.converters.to_c.emission import LABELS, label_table, lines
from edgepress.runtime import Contract, read_contract
from edgepress.runtime.engines import ENGINES, import_engine
from edgepress.runtime.errors import EngineError
from edgepress.toolkit.conversion.inspection import inspect
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.escaping import markdown
from edgepress.toolkit.machine.environments import engine_version
from edgepress.toolkit.shipping.exporting.folder import (
    TYPES,
    TensorPort,
    fill,
    input_text,
    output_text,
    rows_of,
    table_of,
    write_folder,
)
from edgepress.toolkit.shipping.exporting.job import KIB, Exported, ExportJob
from edgepress.toolkit.shipping.exporting.vectors import TflmSession, Vectors, calibration_notes, make_vectors

ENGINE = "tflite-micro"
MARGIN = 0.05
"""Share of the arena that is added to what was used."""
LEAST_MARGIN = KIB
"""Fewest bytes that are added."""
ALIGNMENT = 16
"""Of the arena and its size, bytes."""
FLOAT_TOLERANCE = "1e-4"
"""By how much the self-test's real numbers may differ, as a share of the expected one, or of 1 if that is smaller."""
METHODS = """
Abs Add AddN ArgMax ArgMin AveragePool2D BatchMatMul BatchToSpaceNd BroadcastArgs BroadcastTo Cast Ceil Concatenation
Conv2D Cos CumSum DepthToSpace DepthwiseConv2D Dequantize Div DynamicUpdateSlice EmbeddingLookup Elu Equal Exp
ExpandDims Fill Floor FloorDiv FloorMod FullyConnected Gather GatherNd Greater GreaterEqual HardSwish L2Normalization
L2Pool2D LeakyRelu Less LessEqual Log LogicalAnd LogicalNot LogicalOr Logistic LogSoftmax Maximum MaxPool2D MirrorPad
Mean Minimum Mul Neg NotEqual Pack Pad PadV2 Prelu Quantize ReduceAll ReduceMax ReduceMin Relu Relu6 Reshape
ResizeBilinear ResizeNearestNeighbor ReverseV2 Round Rsqrt SelectV2 Shape Sin Slice Softmax SpaceToBatchNd
SpaceToDepth Split SplitV Squeeze Sqrt Square SquaredDifference StridedSlice Sub Sum Svdf Tanh TransposeConv Transpose
Unpack UnidirectionalSequenceLSTM ZerosLike
"""
"""Methods of TFLM's `MicroMutableOpResolver`, without "Add", for operations that keep no resource variables.

Source: tensorflow/lite/micro/micro_mutable_op_resolver.h of TFLM, August 2026.
"""
_METHOD_BY_OPERATION = {name.upper(): f"Add{name}" for name in METHODS.split()}


@dataclass(frozen=True)
class Answers:
    """What TFLM tells of a file.

    Attributes:
        contract: The file's contract.
        vectors: Items of the self-test with TFLM's answers.
        content: The bytes of the file as numbers in C.
        report: The part of the report that `ExportJob.report` makes.
        notes: What to tell the user.
    """

    contract: Contract | None
    vectors: Vectors
    content: str
    report: dict[str, Any]
    notes: list[str]


def export_tflm(job: ExportJob) -> Exported:
    """Write the folder; see `edgepress.toolkit.shipping.exporting.export`."""
    path = job.path
    import_engine(ENGINE, f"export --to tflm of {path}")
    job.step("Reading the file")
    content = inspect(path)
    methods = resolver_methods(path, content)
    used = job.in_child(used_arena, None)
    arena = arena_of(used)
    file_bytes = path.stat().st_size
    job.check_board(arena, file_bytes, f"an arena of {arena} bytes")
    answered = job.in_child(answers, arena)
    report = answered.report | {
        "tflm": engine_version(ENGINE),
        "ram": {"arena": arena, "used": used},
        "flash": {"file": file_bytes},
        "operations": [method.removeprefix("Add") for method in methods],
    }
    contract = answered.contract
    labels = contract.labels if contract and contract.outputs == answered.vectors.outputs.shape[1] else ()
    values = values_of(job, answered, content, report)
    texts: dict[str, str | bytes] = dict(source_texts(job, values, labels, report))
    texts |= {"CMakeLists.txt": fill("tflm/CMakeLists.txt"), "README.md": fill("tflm/README.md", **values)}
    job.step(f"Writing {job.folder}")
    report, more = write_folder(job.folder, texts, report, overwrite=job.overwrite)
    return Exported(job.folder, report, tuple(answered.notes + more))


def used_arena(job: ExportJob, _: None) -> int:
    """Bytes of the arena that TFLM uses."""
    job.step("Measuring the arena in TFLM")
    used = TflmSession(job.path, import_engine(ENGINE), 1).arena_bytes
    if used is None:
        raise EngineError(f"{ENGINE} does not say which arena {job.path} needs.", _install_hint())
    return used


def answers(job: ExportJob, arena: int) -> Answers:
    """The answers of TFLM in an arena of so many bytes, in which the file has to run."""
    path = job.path
    job.step("Computing the answers of the self-test")
    about = job.describe()
    contract = about.contract if about else read_contract(path)
    session = TflmSession(path, import_engine(ENGINE), 1, arena_bytes=arena)
    vectors, notes = make_vectors(session, about, **job.items)
    notes += calibration_notes(path, contract)
    content = lines(map(str, np.fromfile(path, np.uint8).tolist()))
    return Answers(contract, vectors, content, job.report(vectors), notes)


def arena_of(used: int) -> int:
    """The size of an arena of which so many bytes were used, with the margin."""
    whole = used + max(LEAST_MARGIN, round(MARGIN * used))
    return -(-whole // ALIGNMENT) * ALIGNMENT


def resolver_methods(path: Path, content: Inspection, custom: Mapping[str, str] | None = None) -> list[str]:
    """The methods of the resolver that a file's operations need, sorted.

    Args:
        path: The file.
        content: What it holds.
        custom: Methods of custom operations by their kinds.

    Raises:
        InputError: The resolver has none for an operation, or the file has several inputs or outputs.
    """
    known: dict[str, str] = {**_METHOD_BY_OPERATION, **(custom or {})}
    kinds = sorted({node.operation for node in content.nodes})
    missing = [kind for kind in kinds if kind not in (custom or {}) and kind.replace("_", "") not in known]
    if missing:
        raise InputError(
            f"{path} holds {', '.join(missing)}, which export --to tflm does not write.",
            "Use operations that TFLM's resolver registers by a method, and no resource variables.",
        )
    if len(content.inputs) != 1 or len(content.outputs) != 1:
        problem = f"{path} has {len(content.inputs)} inputs and {len(content.outputs)} outputs."
        raise InputError(problem, "export takes files with one of each.")
    return [known.get(kind) or known[kind.replace("_", "")] for kind in kinds]


def values_of(job: ExportJob, answered: Answers, content: Inspection, report: dict[str, Any]) -> dict[str, str]:
    """What the templates hold, of a report with `ram`, `flash`, `operations` and perhaps `tflm`."""
    vectors = answered.vectors
    ports = [_port(end) for end in (content.inputs[0], content.outputs[0])]
    methods = [f"Add{operation}" for operation in report["operations"]]
    arena = report["ram"]["arena"]
    used = report["ram"]["used"]
    size = report["flash"]["file"]
    table = [
        ("file", f"{size} bytes of flash"),
        ("arena", f"{arena} bytes of memory, of which {used} were used"),
    ]
    return {
        "NAME": markdown(job.path.stem),
        "FILE": markdown(job.path.name),
        "VERSION": edgepress.__version__,
        "TFLM": f"{ENGINE} {engine_version(ENGINE)}",
        "FOOTPRINT": table_of(table),
        "OPERATIONS": ", ".join(f"`{method}`" for method in methods),
        "ITEMS": str(len(vectors.inputs)),
        "SOURCE": markdown(vectors.source),
        "BYTES": str(size),
        "USED": str(used),
        "ARENA": str(arena),
        "COUNT": str(len(methods)),
        "INPUT_NUMBERS": str(vectors.inputs.shape[1]),
        "OUTPUT_NUMBERS": str(vectors.outputs.shape[1]),
        "INPUT_TYPE": TYPES[ports[0].dtype],
        "OUTPUT_TYPE": TYPES[ports[1].dtype],
        "TOLERANCE": FLOAT_TOLERANCE if vectors.outputs.dtype.kind == "f" else "0",
        "INPUTS": rows_of(vectors.inputs),
        "OUTPUTS": rows_of(vectors.outputs),
        "CONTENT": answered.content,
        "INPUT": input_text(ports[0], answered.contract),
        "OUTPUT": output_text(ports[1], answered.contract),
    }


def source_texts(
    job: ExportJob, values: dict[str, str], labels: tuple[str, ...], report: dict[str, Any]
) -> dict[str, str]:
    """The C++ of the folder by the names of its files."""
    name = job.path.name.encode("ascii", "replace").decode().replace("*/", "* /")
    methods = [f"Add{operation}" for operation in report["operations"]]
    source = values | {
        "FILE": name,
        "OPERATIONS": "\n".join(f"    TF_LITE_ENSURE_STATUS(resolver.{method}());" for method in methods),
        "LABELS": LABELS.format(count=len(labels)) if labels else "",
    }
    return {
        "model.h": fill("tflm/model.h", **source),
        "model.cc": fill("tflm/model.cc", **source | {"LABELS": label_table(labels) if labels else ""}),
        "selftest.cc": fill("tflm/selftest.cc", **source),
    }


def _port(end: Port) -> TensorPort:
    shape = tuple(size or 1 for size in end.shape or ())
    quantization = (end.scale, end.zero_point or 0) if end.scale else None
    return TensorPort(shape, end.dtype, quantization)


def _install_hint() -> str:
    return f"Install the version that edgepress was tried with: pip install '{ENGINES[ENGINE].requirements[0]}'"
