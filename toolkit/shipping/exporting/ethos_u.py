"""Compile a file for Arm's Ethos-U NPUs by Vela, with what firmware with TFLM needs to run it.

Vela (PyPI: ethos-u-vela) replaces the operations that the NPU computes by one custom operation, `ethos-u`, which holds
the commands of the NPU; others stay, and TFLM computes them on the processor.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edgepress
from edgepress.converters.contract.write import tflite_with_contract
from edgepress.converters.errors import ConversionError
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.to_c.emission import lines
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.runtime.engines import import_engine
from edgepress.toolkit.conversion.inspection import inspect
from edgepress.toolkit.escaping import markdown
from edgepress.toolkit.shipping.exporting import tflm
from edgepress.toolkit.shipping.exporting.folder import fill, table_of, write_folder
from edgepress.toolkit.shipping.exporting.job import KIB, Exported, ExportJob, require_package

PACKAGE = "ethos-u-vela"
NPU_OPERATION = "CUSTOM:ethos-u"
"""What a compiled file has in place of the operations of the NPU."""
PLAN = b"OfflineMemoryAllocation"
"""Name of the metadata with the places of tensors in the arena."""
DEDICATED = "Dedicated_Sram"
"""Beginning of the names of memory modes whose SRAM is the NPU's alone."""
RECORDS = 4 * KIB
"""Bytes of the arena for TFLM's records of tensors and operations; a compiled file has few."""


@dataclass(frozen=True)
class Compiled:
    """What Vela makes of a file.

    Attributes:
        model: The compiled file.
        npu: Number of operations of the file that the NPU computes.
        cpu: Those that are left to the processor, by kind.
        methods: Methods of TFLM's resolver that it needs.
        arena: Bytes in which Vela placed its tensors.
        estimate: What Vela estimates: `inference_s`, `cycles`, `clock_hz`, `sram_bytes`, `dram_bytes`, `flash_bytes`,
            `system` and `memory_mode`, which says where tensors and weights lie.
    """

    model: bytes
    npu: int
    cpu: dict[str, int]
    methods: list[str]
    arena: int
    estimate: dict[str, Any]


def export_ethos_u(job: ExportJob) -> Exported:
    """Write the folder; see `edgepress.toolkit.shipping.exporting.export`."""
    version = require_package(PACKAGE, "Compiling for an Ethos-U", "micro,npu")
    import_engine(tflm.ENGINE, f"export --to ethos-u of {job.path}")
    job.step("Reading the file")
    source = inspect(job.path)
    tflm.resolver_methods(job.path, source)
    job.step(f"Compiling for {job.accelerator}")
    compiled: Compiled = job.in_child(_compile, None)
    arena = tflm.arena_of(compiled.arena + RECORDS)
    answers: tflm.Answers = job.in_child(tflm.answers, tflm.arena_of(job.in_child(tflm.used_arena, None)))
    report = answers.report | {
        "accelerator": job.accelerator,
        "vela": version,
        "npu_operations": compiled.npu,
        "cpu_operations": compiled.cpu,
        "estimate": compiled.estimate,
        "ram": {"arena": arena, "used": compiled.arena},
        "flash": {"file": len(compiled.model)},
        "operations": [method.removeprefix("Add") for method in compiled.methods],
    }
    texts = _texts(job, answers, source, compiled, report)
    job.step(f"Writing {job.folder}")
    report, more = write_folder(job.folder, texts, report, overwrite=job.overwrite)
    left = ", ".join(f"{count} {kind}" for kind, count in sorted(compiled.cpu.items()))
    notes = [f"The NPU does not compute {left}: TFLM does, on the processor."] if left else []
    return Exported(job.folder, report, tuple(answers.notes + notes + more))


def _compile(job: ExportJob, _: None) -> Compiled:
    return compile_file(job.path, job.accelerator)


def compile_file(path: Path, accelerator: str) -> Compiled:
    """Compile a file; to be called in a child process, because Vela reads it in native code.

    Args:
        path: An integer-only `.tflite` file.
        accelerator: One of `ACCELERATORS`.

    Raises:
        ConversionError: Vela refuses it, or leaves nothing to the NPU.
    """
    from ethosu.vela import vela

    printed = io.StringIO()
    with ScratchFolder() as folder:
        copy = Path(folder, "model.tflite")  # Vela names its files after it
        copy.write_bytes(path.read_bytes())
        arguments = [str(copy), "--accelerator-config", accelerator, "--output-dir", str(folder)]
        try:
            with contextlib.redirect_stdout(printed):
                vela.main(arguments)
        except (Exception, SystemExit) as e:
            reason = " ".join(str(e).split()) or printed.getvalue().strip()[-300:] or type(e).__name__
            problem = f"Vela can't compile {path} for {accelerator}: {reason.rstrip('.')}."
            hint = "It takes integer-only files: edgepress convert MODEL --to tflite-int8 --target integer-only"
            raise ConversionError(problem, hint) from e
        result = Path(folder, "model_vela.tflite")
        content = inspect(result)
        kinds = Counter(node.operation for node in content.nodes)
        cpu = {kind: count for kind, count in kinds.items() if kind != NPU_OPERATION}
        if NPU_OPERATION not in kinds:
            problem = f"{accelerator} computes no operation of {path}: {', '.join(sorted(cpu))}."
            hint = "It computes integers: edgepress convert MODEL --to tflite-int8 --target integer-only"
            raise ConversionError(problem, hint)
        methods = tflm.resolver_methods(path, content, {NPU_OPERATION: "AddEthosU"})
        (summary,) = Path(folder).glob("model_summary_*.csv")
        with summary.open(newline="", encoding="utf-8") as file:
            (row,) = csv.DictReader(file)
        model = result.read_bytes()
    _, graph = flat.read(path.read_bytes())
    return Compiled(model, len(graph.operators) - sum(cpu.values()), cpu, methods, planned_bytes(model), _estimate(row))


def planned_bytes(model: bytes) -> int:
    """Bytes of the arena in which Vela placed the tensors of a compiled file.

    Its metadata name the place of each tensor: a version, the number of the graph, that of tensors, and for each its
    offset, -1 for what has none (TFLM: tensorflow/lite/micro/docs/memory_management.md, "Offline planned tensors").
    """
    root, graph = flat.read(model)
    (plan,) = [each.buffer for each in root.metadata if each.name == PLAN]
    offsets = np.asarray(root.buffers[plan].data, np.uint8).view("<i4")[3:].tolist()
    ends = [
        offset + int(np.prod(tensor.shape)) * np.dtype(flat.DTYPES[tensor.type]).itemsize
        for offset, tensor in zip(offsets, graph.tensors, strict=True)
        if offset >= 0
    ]
    return int(max(ends))


def _estimate(row: dict[str, str]) -> dict[str, Any]:
    """Vela's estimate of a row of its summary, whose sizes are in KiB."""
    flash = float(row["off_chip_flash_memory_used"]) + float(row["on_chip_flash_memory_used"])
    return {
        "inference_s": float(row["inference_time"]),
        "cycles": int(float(row["cycles_total"])),
        "clock_hz": float(row["core_clock"]),
        "sram_bytes": round(KIB * float(row["sram_memory_used"])),
        "dram_bytes": round(KIB * float(row["dram_memory_used"])),
        "flash_bytes": round(KIB * flash),
        "system": row["system_config"],
        "memory_mode": row["memory_mode"],
    }


def _texts(
    job: ExportJob, answers: tflm.Answers, source: Any, compiled: Compiled, report: dict[str, Any]
) -> dict[str, str | bytes]:
    """The files of the folder by their names."""
    contract = answers.contract
    model = compiled.model if contract is None else tflite_with_contract(compiled.model, contract)
    values = tflm.values_of(job, answers, source, report) | {"CONTENT": lines(map(str, compiled.model))}
    labels = contract.labels if contract and contract.outputs == answers.vectors.outputs.shape[1] else ()
    about = compiled.estimate
    table = [
        ("compiled file", f"{len(compiled.model)} bytes of flash"),
        ("arena", f"{report['ram']['arena']} bytes of memory"),
        ("one item, estimated", f"{1000 * about['inference_s']:.3g} ms at {about['clock_hz'] / 1e6:g} MHz"),
    ]
    left = ", ".join(f"{count} {kind}" for kind, count in sorted(compiled.cpu.items()))
    npu = f"The NPU computes all {compiled.npu} operations."
    if left:
        npu = f"The NPU computes {compiled.npu} operations; the processor computes {left}."
    fast = f"The driver also needs {about['sram_bytes']} bytes of SRAM, given when it is initialized."
    readme = {
        "ACCELERATOR": job.accelerator,
        "VELA": report["vela"],
        "VERSION": edgepress.__version__,
        "NAME": markdown(job.path.stem),
        "FOOTPRINT": table_of(table),
        "SYSTEM": about["system"],
        "MODE": about["memory_mode"],
        "NPU": npu,
        "FAST": fast if about["memory_mode"].startswith(DEDICATED) else "",
        "RECORDS": str(RECORDS),
    }
    texts: dict[str, str | bytes] = {"README.md": fill("ethos_u/README.md", **values | readme), "model.tflite": model}
    return texts | dict(tflm.source_texts(job, values, labels, report))
