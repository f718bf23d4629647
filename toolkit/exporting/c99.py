"""Write a file as self-contained C99, with a self-test and a report of what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import edgepress
from edgepress.converters.to_c.emission import C_TYPES, emit
from edgepress.converters.to_c.footprint import Footprint, footprint
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_c.removal import without_constant_channels
from edgepress.converters.to_c.tables import merged_operations, place_smallest
from edgepress.runtime import Contract, read_contract
from edgepress.toolkit.escaping import markdown
from edgepress.toolkit.exporting.folder import write_folder
from edgepress.toolkit.exporting.frames import FrameSources, frame_sources
from edgepress.toolkit.exporting.job import Exported, ExportJob
from edgepress.toolkit.exporting.layouts import folder_texts
from edgepress.toolkit.exporting.texts import TensorPort, fill, input_text, output_text, table_of
from edgepress.toolkit.exporting.vectors import (
    ProgramSession,
    Vectors,
    calibration_notes,
    make_vectors,
    quantization_of,
)


@dataclass(frozen=True)
class _Folder:
    """What a folder of C99 holds.

    Attributes:
        texts: Its files, by their paths.
        report: Its report without the files.
        notes: What to tell the user.
    """

    texts: dict[str, str]
    report: dict[str, Any]
    notes: list[str]


def export_c99(job: ExportJob) -> Exported:
    """Write the folder; see `edgepress.toolkit.exporting.export`."""
    made = job.in_child(_make, None)
    arena, stack = (made.report["ram"][name] for name in ("arena", "stack"))
    memory = f"{arena} bytes for its tensors and about {stack} of stack"
    job.check_board(arena + stack, made.report["flash"]["total"], memory)
    job.step(f"Writing {job.folder}")
    report, more = write_folder(job.folder, made.texts, made.report, overwrite=job.overwrite)
    return Exported(job.folder, report, tuple(made.notes + more))


def _make(job: ExportJob, _: None) -> _Folder:
    """Make the C and its self-test of the file."""
    path = job.path
    job.step("Reading the file")
    whole = lower(path)
    fewer = without_constant_channels(whole)
    job.step("Placing tensors in memory")
    program, placement = place_smallest(fewer)
    about = job.describe()
    contract = about.contract if about else read_contract(path)
    labels = contract.labels if contract and contract.outputs == program.output.size else ()
    sources = emit(program, placement, labels=labels, specialize=job.specialize)
    takes = footprint(program, placement, sources, specialize=job.specialize)
    job.step("Computing the answers of the self-test")
    vectors, notes = make_vectors(ProgramSession(path, whole, contract), about, **job.items)
    notes += calibration_notes(path, contract)
    report = _report(job, program, takes, vectors)
    report |= {"file_macs": whole.macs, "constant_channels": sum(each.constant_channels for each in whole.steps)}
    report["merged_operations"] = merged_operations(fewer, program)
    frames, more = frame_sources(path, whole, contract)
    notes += more
    report["frames"] = frames.report if frames else None
    texts = folder_texts(job, sources, frames, vectors)
    texts["README.md"] = _readme(job, program, contract, takes=takes, vectors=vectors, frames=frames)
    return _Folder(texts, report, notes)


def _report(job: ExportJob, program: Program, takes: Footprint, vectors: Vectors) -> dict[str, Any]:
    return job.report(vectors) | {
        "specialized": job.specialize,
        "macs": program.macs,
        "ram": {"arena": takes.arena, "stack": takes.stack},
        "flash": {"constants": dict(takes.constants), "layers": takes.layers, "code": takes.code, "total": takes.flash},
        "steps": [
            {
                "operation": step.operation.kind,
                "kernel": step.kernel,
                "output": list(step.output.shape),
                "macs": step.macs,
                "scratch": step.scratch or 0,
            }
            for step in program.steps
        ],
    }


def _readme(
    job: ExportJob,
    program: Program,
    contract: Contract | None,
    *,
    takes: Footprint,
    vectors: Vectors,
    frames: FrameSources | None,
) -> str:
    table = [
        ("weights and other constants", f"{sum(takes.constants.values())} bytes of flash"),
        ("numbers of the layers", f"{takes.layers} bytes of flash"),
        ("code", f"about {takes.code} bytes of flash"),
        ("arena", f"{takes.arena} bytes of memory"),
        ("stack", f"about {takes.stack} bytes of memory"),
        ("multiply-accumulates for one item", str(program.macs)),
    ]
    names = ["model.c", *(name for name in (frames.files if frames else ()) if name.endswith(".c"))]
    build = fill(
        f"{job.layout}/build.md",
        ITEMS=str(len(vectors.inputs)),
        SOURCE=markdown(vectors.source),
        SOURCES=" and ".join(f"`{name}`" for name in names),
    )
    return fill(
        "c99/README.md",
        NAME=markdown(job.path.stem),
        FILE=markdown(job.path.name),
        VERSION=edgepress.__version__,
        OUTPUT_TYPE=C_TYPES[program.output.dtype],
        FOOTPRINT=table_of(table),
        INPUT=input_text(_port(program.input), contract),
        OUTPUT=output_text(_port(program.output), contract),
        FRAMES=f"{frames.readme}\n" if frames else "",
        BUILD=build,
    )


def _port(tensor: Any) -> TensorPort:
    quantization = quantization_of(tensor) if len(tensor.scales) else None
    return TensorPort(tuple(tensor.shape), tensor.dtype, quantization)
