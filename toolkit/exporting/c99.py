"""Write a file as self-contained C99, with a self-test and a report of what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import edgepress
from edgepress.converters.files import write_json, write_text
from edgepress.converters.to_c.emission import C_TYPES, Sources, emit
from edgepress.converters.to_c.footprint import Footprint, footprint
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_c.placement import place
from edgepress.converters.to_c.removal import without_constant_channels
from edgepress.runtime import Contract, read_contract
from edgepress.toolkit.escaping import markdown
from edgepress.toolkit.exporting.job import Exported, Job
from edgepress.toolkit.exporting.texts import Port, fill, input_text, output_text, rows_of, table_of
from edgepress.toolkit.exporting.vectors import (
    ProgramSession,
    Vectors,
    calibration_notes,
    make_vectors,
    quantization_of,
)


def export_c99(job: Job) -> Exported:
    """Write the folder; see `edgepress.toolkit.exporting.export`."""
    path = job.path
    job.step("Reading the file")
    whole = lower(path)
    program = without_constant_channels(whole)
    job.step("Placing tensors in memory")
    placement = place(program)
    about = job.describe()
    contract = about.contract if about else read_contract(path)
    labels = contract.labels if contract and contract.outputs == program.output.size else ()
    sources = emit(program, placement, labels=labels, specialize=job.specialize)
    takes = footprint(program, placement, sources, specialize=job.specialize)
    job.check_board(takes.ram, takes.flash, f"{takes.arena} bytes for its tensors and about {takes.stack} of stack")
    job.step("Computing the answers of the self-test")
    vectors, notes = make_vectors(ProgramSession(path, whole, contract), about, job.data, job.samples)
    notes += calibration_notes(path, contract)
    report = _report(job, program, takes, vectors)
    report |= {"file_macs": whole.macs, "constant_channels": sum(each.constant_channels for each in whole.steps)}
    job.step(f"Writing {job.folder}")
    _write(job.folder, sources, vectors, _readme(path, program, contract, takes, vectors), report)
    return Exported(job.folder, report, tuple(notes))


def _report(job: Job, program: Program, takes: Footprint, vectors: Vectors) -> dict[str, Any]:
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
                "scratch": step.scratch,
            }
            for step in program.steps
        ],
    }


def _write(folder: Path, sources: Sources, vectors: Vectors, readme: str, report: dict[str, Any]) -> None:
    selftest = fill(
        "c99/selftest.c",
        ITEMS=str(len(vectors.inputs)),
        INPUT_TYPE=C_TYPES[vectors.inputs.dtype.name],
        OUTPUT_TYPE=C_TYPES[vectors.outputs.dtype.name],
        INPUTS=rows_of(vectors.inputs),
        OUTPUTS=rows_of(vectors.outputs),
    )
    write_text(folder / "model.h", sources.header)
    write_text(folder / "model.c", sources.source)
    write_text(folder / "selftest.c", selftest)
    write_text(folder / "CMakeLists.txt", fill("c99/CMakeLists.txt"))
    write_text(folder / "README.md", readme)
    write_json(folder / "report.json", report)


def _readme(path: Path, program: Program, contract: Contract | None, takes: Footprint, vectors: Vectors) -> str:
    table = [
        ("weights and other constants", f"{sum(takes.constants.values())} bytes of flash"),
        ("numbers of the layers", f"{takes.layers} bytes of flash"),
        ("code", f"about {takes.code} bytes of flash"),
        ("arena", f"{takes.arena} bytes of memory"),
        ("stack", f"about {takes.stack} bytes of memory"),
        ("multiply-accumulates for one item", str(program.macs)),
    ]
    return fill(
        "c99/README.md",
        NAME=markdown(path.stem),
        FILE=markdown(path.name),
        VERSION=edgepress.__version__,
        OUTPUT_TYPE=C_TYPES[program.output.dtype],
        FOOTPRINT=table_of(table),
        INPUT=input_text(_port(program.input), contract),
        OUTPUT=output_text(_port(program.output), contract),
        ITEMS=str(len(vectors.inputs)),
        SOURCE=markdown(vectors.source),
    )


def _port(tensor: Any) -> Port:
    quantization = quantization_of(tensor) if len(tensor.scales) else None
    return Port(tuple(tensor.shape), tensor.dtype, quantization)
