"""A file as WebAssembly with a page that classifies without a server, and a package for npm.

The exported C is compiled by Clang, as the package ziglang (PyPI) brings it, without a C library; `wasm_page` writes
what calls it.
"""

from __future__ import annotations

import base64
import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgepress.converters.errors import ConversionError
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.to_c.emission import emit
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_c.passes import place_smallest, without_constant_channels
from edgepress.runtime import Contract, read_contract
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.shipping.exporting.folder import fill, write_folder
from edgepress.toolkit.shipping.exporting.frames import stored_levels
from edgepress.toolkit.shipping.exporting.job import STEP_S, Exported, ExportJob, require_package
from edgepress.toolkit.shipping.exporting.values import value_sources
from edgepress.toolkit.shipping.exporting.vectors import ProgramSession, make_vectors, quantization_of
from edgepress.toolkit.shipping.exporting.wasm_page import Parts, folder_texts

PACKAGE = "ziglang"
TARGET = (
    *("-target", "wasm32-freestanding", "-std=c99", "-O2", "-g0", "-mbulk-memory", "-ffp-contract=off"),
    *("-nostdlib", "-I", ".", "-Wl,--no-entry", "-Wl,--strip-all"),
)
"""Options of the compiler. Vectors (`-msimd128`) make nothing faster: docs/decisions.md."""
FUNCTIONS = ("model_input", "model_run", "model_output")
RESET = "model_reset"
VALUE_FUNCTIONS = ("model_values", "model_take_values")
"""What a module exports; RESET where the model keeps something, the last ones for models of real values alone."""
STORED = ("int8", "uint8")


def export_wasm(job: ExportJob) -> Exported:
    """Write the folder; see `edgepress.toolkit.shipping.exporting.export`."""
    version = require_package(PACKAGE, "Compiling to WebAssembly", "browser")
    texts, report, notes = job.in_child(_make, version)
    job.step(f"Writing {job.folder}")
    report, more = write_folder(job.folder, texts, report, overwrite=job.overwrite)
    return Exported(job.folder, report, (*notes, *more))


def _make(job: ExportJob, version: str) -> tuple[dict[str, str | bytes], dict[str, Any], list[str]]:
    """The files, their report without them, and notes."""
    job.step("Reading the file")
    windows = lower(job.path)
    about = job.describe()
    contract = require_classifier(job.path, windows, about.contract if about else read_contract(job.path))
    fewer = without_constant_channels(windows)
    job.step("Placing tensors in memory")
    program, placement = place_smallest(fewer)
    code = {"model.c": (sources := emit(program, placement)).source, "model.h": sources.header}
    values = None if contract.input.is_image else value_sources(program, contract)
    if not contract.input.is_image:
        if values is None:
            problem = f"{job.path} takes whole numbers ({contract.input.dtype}), for which there is no page."
            raise InputError(problem, "Write its C: edgepress export FILE --to c99")
        code |= values.files
    job.step("Compiling to WebAssembly")
    wasm = compile_wasm(code, values=0 if values is None else program.input.size)
    job.step("Computing the answers of the self-test")
    vectors, notes = make_vectors(ProgramSession(job.path, windows, contract), about, **job.items)
    zipped = len(gzip.compress(wasm, 9, mtime=0))
    report = job.report(vectors) | {
        "name": job.name,
        "macs": program.macs,
        "compiler": f"{PACKAGE} {version}",
        "wasm": {"bytes": len(wasm), "gzip": zipped},
    }
    parts = Parts(job, contract, program, wasm, vectors, description_of(job.path, windows, contract), zipped)
    texts = folder_texts(parts)
    report["wasm"] |= {"page": len(texts["index.html"].encode())}
    return {**texts, f"{job.name}.wasm": wasm}, report, notes


def require_classifier(path: Path, program: Program, contract: Contract | None) -> Contract:
    """The contract of a file that a page can be made for.

    Raises:
        InputError: It has none, is no classifier, or takes what a page can't prepare.
    """
    c99 = f"Write its C: edgepress export {path} --to c99"
    if contract is None:
        problem = f"{path} does not say what it takes and answers, so there is no page for it."
        raise InputError(
            problem, "Say it: edgepress annotate FILE --labels labels.txt --task softmax, or write --to c99."
        )
    if contract.task == "none" or not contract.labels:
        raise InputError(f"{path} has no labels; a page classifies.", c99)
    if contract.sound is not None:
        raise InputError(f"{path} is a model of sound; a page takes pictures and values.", c99)
    if contract.adapter is not None and contract.adapter.per_image:
        problem = (
            f"{path} takes items scaled by their own values ({contract.adapter.per_image}), which a page does not do."
        )
        raise InputError(problem, c99)
    for port in (program.input, program.output):
        if port.dtype not in STORED:
            raise InputError(f"{path} stores {port.dtype}; a page takes int8 and uint8.", c99)
    return contract


def description_of(path: Path, program: Program, contract: Contract) -> dict[str, Any]:
    """What the module says of the model: `about` of files/wasm/core.js, which computes with it."""
    spec = contract.input
    adapter = contract.adapter
    limits = contract.limits
    scale, zero_point = quantization_of(program.output)
    source: dict[str, Any] = {"shape": spec.shape, "numbers": program.input.size, "stored": program.input.dtype}
    if spec.is_image:
        source |= {
            "color": spec.color,
            "resize": spec.resize,
            "blue_first": adapter is not None and adapter.bgr,
            "channels_first": adapter is not None and adapter.channels_first,
            "levels": base64.b64encode(stored_levels(path, program, contract).tobytes()).decode(),
        }
    description: dict[str, Any] = {
        "name": path.stem,
        "begins_anew": bool(program.graph.states) and not program.is_stream,
        "task": contract.task,
        "labels": contract.labels,
        "threshold": 0.5 if contract.threshold is None else contract.threshold,
        "input": source,
        "output": {
            "numbers": program.output.size,
            "stored": program.output.dtype,
            "scale": scale,
            "zero_point": zero_point,
            "sigmoid": adapter is not None and adapter.sigmoid,
        },
    }
    fields = {
        "probability": ("temperature", "offset", "slope"),
        "accept": ("at_least",),
        "unknown": ("references", "labels", "at_least", "floor"),
    }
    for name, keys in fields.items():
        part = getattr(limits, name)
        description[name] = None if part is None else {key: getattr(part, key) for key in keys}
    return description


def compile_wasm(code: dict[str, str], *, values: int = 0) -> bytes:
    """Compile exported C to a WebAssembly module.

    Args:
        code: Texts by the names of their files, those of a model called `model`.
        values: Real values that the model takes; 0: its C has no `model_values.c`.

    Raises:
        ConversionError: The compiler fails, or takes too long.
    """
    code = code | {name: fill(f"wasm/{name}") for name in ("glue.c", "string.h")}
    keeps = f"void {RESET}(void);" in code["model.h"]
    functions = (*FUNCTIONS, *([RESET] if keeps else ()), *(VALUE_FUNCTIONS if values else ()))
    more = [f"-Wl,--export={name}" for name in functions] + ([f"-DVALUES={values}"] if values else [])
    with ScratchFolder("wasm-") as folder:
        for name, text in code.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        compiled = [name for name in code if name.endswith(".c")]
        command = [sys.executable, "-P", "-m", PACKAGE, "cc", *TARGET, *more, "-o", "model.wasm", *compiled]
        caches = {f"ZIG_{kind}_CACHE_DIR": str(Path(folder, "cache")) for kind in ("GLOBAL", "LOCAL")}
        hint = f"Check the compiler: {Path(sys.executable).name} -m {PACKAGE} version"
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=os.environ | caches,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=0.8 * STEP_S,
            )
        except subprocess.TimeoutExpired as e:
            raise ConversionError(f"{PACKAGE} did not compile the C in {0.8 * STEP_S:g} s.", hint) from e
        result = Path(folder, "model.wasm")
        if done.returncode or not result.is_file():
            said = " ".join(done.stderr.decode(errors="replace").split())[-300:]
            raise ConversionError(f"{PACKAGE} can't compile the C: {said or f'exit code {done.returncode}'}", hint)
        return result.read_bytes()
