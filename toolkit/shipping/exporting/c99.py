"""A file as self-contained C99, with a self-test and a report of what it takes, for CMake or the Arduino IDE."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import edgepress
from edgepress.converters.to_c.emission import C_TYPES, Sources, emit, with_name
from edgepress.converters.to_c.footprint import Footprint, footprint
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_c.passes import merged_operations, place_smallest, without_constant_channels
from edgepress.runtime import Contract, read_contract
from edgepress.toolkit.escaping import markdown
from edgepress.toolkit.shipping.exporting.folder import (
    BUILD_FILES,
    TensorPort,
    fill,
    input_text,
    output_text,
    rows_of,
    table_of,
    write_folder,
)
from edgepress.toolkit.shipping.exporting.frames import FrameSources, frame_sources
from edgepress.toolkit.shipping.exporting.job import Exported, ExportJob
from edgepress.toolkit.shipping.exporting.sound import SoundSources, rule_notes, sound_sources
from edgepress.toolkit.shipping.exporting.stream import (
    stream_readme,
    stream_report,
    stream_vectors,
    streaming_program,
)
from edgepress.toolkit.shipping.exporting.values import ValueSources, value_sources
from edgepress.toolkit.shipping.exporting.vectors import (
    ProgramSession,
    Vectors,
    calibration_notes,
    make_vectors,
    quantization_of,
)

_NAME_LENGTH = 63
"""Letters of an Arduino library's name at most, by its library specification."""


def folder_texts(job: ExportJob, sources: Sources, more: Mapping[str, str], vectors: Vectors) -> dict[str, str]:
    """The C, what builds it and its self-test, by paths in the folder.

    Args:
        job: What was asked for.
        sources: The C of the model.
        more: The C of what makes its input, by file.
        vectors: Items of the self-test.
    """
    code = {f"{job.name}.h": sources.header, f"{job.name}.c": sources.source, **more}
    selftest = selftest_words(vectors, keeps=sources.keeps, anew=not sources.is_stream, name=job.name)
    if job.layout == "arduino":
        return _arduino_texts(job, code, selftest)
    return code | {"selftest.c": fill("c99/selftest.c", job.name, **selftest)} | _build_texts(job, code)


def _build_texts(job: ExportJob, code: Mapping[str, str]) -> dict[str, str]:
    """What makes the folder a part of projects of CMake, ESP-IDF, PlatformIO and Zephyr.

    Formats: https://docs.espressif.com/projects/idf-component-manager/en/latest/reference/manifest_file.html,
    https://docs.platformio.org/en/latest/manifests/library-json/index.html and
    https://docs.zephyrproject.org/latest/develop/modules.html. Texts of strangers are JSON, which is YAML, too, and
    what Kconfig takes.
    """
    compiled = [name for name in code if name.endswith(".c")]
    file = re.sub(r"[^\x20-\x7e]|[$\"\\]", "?", job.path.name)
    values = {
        "TARGET": job.name,
        "SYMBOL": job.name.upper(),
        "ABOUT": json.dumps(f"{file} as C99, made by edgepress {edgepress.__version__}"),
        "LIBRARY": json.dumps(library_name(job.path.stem if job.name == "model" else job.name)),
        "HEADERS": ", ".join(json.dumps(name) for name in code if name.endswith(".h")),
    }
    zephyr = " ".join(f"../{name}" for name in compiled)
    return {
        path: fill(f"cmake/{path}", **values, SOURCES=zephyr if path.startswith("zephyr/") else " ".join(compiled))
        for path in BUILD_FILES
    }


def selftest_words(vectors: Vectors, *, keeps: bool = False, anew: bool = False, name: str = "model") -> dict[str, str]:
    """What stands in `c99/selftest.c` for its words in @.

    Args:
        vectors: Items of the self-test.
        keeps: Whether the model keeps something between calls.
        anew: Whether it is to forget that before each item, not before the first one alone.
        name: What the names of its functions begin with.
    """
    reset = with_name("    model_reset();\n", name) if keeps else ""
    return {
        "ITEMS": str(len(vectors.inputs)),
        "INPUT_TYPE": C_TYPES[vectors.inputs.dtype.name],
        "OUTPUT_TYPE": C_TYPES[vectors.outputs.dtype.name],
        "INPUTS": rows_of(vectors.inputs),
        "OUTPUTS": rows_of(vectors.outputs),
        "RESET": "" if anew else reset,
        "RESET_EACH": f"    {reset}" if anew and reset else "",
    }


def _arduino_texts(job: ExportJob, code: dict[str, str], selftest: dict[str, str]) -> dict[str, str]:
    """A library by https://arduino.github.io/arduino-cli/latest/library-specification/."""
    properties = {
        "NAME": library_name(job.path.stem if job.name == "model" else job.name),
        "FILE": re.sub(r"[^\x20-\x7e]", "?", job.path.name),
        "VERSION": edgepress.__version__,
        "INCLUDES": ",".join(name for name in code if name.endswith(".h")),
    }
    resets = {word: selftest[word] for word in ("RESET", "RESET_EACH")}
    return {f"src/{name}": text for name, text in code.items()} | {
        "library.properties": fill("arduino/library.properties", **properties),
        "examples/selftest/selftest.ino": fill("arduino/selftest.ino", job.name, **resets),
        "examples/selftest/vectors.h": fill("arduino/vectors.h", job.name, **selftest),
    }


def library_name(stem: str) -> str:
    """A name that the Arduino IDE accepts: letters, of which it needs one, digits and _ . -, these not first."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-_.")
    if not re.search("[A-Za-z]", name[:_NAME_LENGTH]):
        name = f"model-{name}"
    return name[:_NAME_LENGTH].rstrip("-")


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
    """Write the folder; see `edgepress.toolkit.shipping.exporting.export`."""
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
    windows = lower(path)
    whole = windows if job.stream is None else streaming_program(path, job.stream)
    fewer = without_constant_channels(whole)
    job.step("Placing tensors in memory")
    program, placement = place_smallest(fewer)
    about = job.describe()
    contract = about.contract if about else read_contract(path)
    labels = contract.labels if contract and contract.outputs == program.output.size else ()
    sources = emit(program, placement, labels=labels, specialize=job.specialize, name=job.name)
    takes = footprint(program, placement, sources, specialize=job.specialize)
    job.step("Computing the answers of the self-test")
    vectors, notes = make_vectors(ProgramSession(path, windows, contract), about, **job.items)
    stream = None
    if job.stream is not None:
        vectors = stream_vectors(windows, whole, vectors)
        stream = stream_report(windows, whole)
        notes += rule_notes(contract, job.stream)
    notes += calibration_notes(path, contract)
    report = _report(job, program, takes, vectors)
    report |= {"file_macs": whole.macs, "constant_channels": sum(each.constant_channels for each in whole.steps)}
    report["merged_operations"] = merged_operations(fewer, program)
    report["stream"] = stream
    frames, more = frame_sources(path, windows, contract)
    notes += more
    report["frames"] = frames.report if frames else None
    sound = sound_sources(program, contract, streams=job.stream is not None)
    values = value_sources(program, contract) if sound is None else None
    inputs = [each for each in (frames, values, sound) if each is not None]
    more_code = {path: text for each in inputs for path, text in each.files.items()}
    more_code = {with_name(path, job.name): with_name(text, job.name) for path, text in more_code.items()}
    texts = folder_texts(job, sources, more_code, vectors)
    texts["README.md"] = _readme(job, program, contract, takes=takes, vectors=vectors, inputs=inputs, stream=stream)
    return _Folder(texts, report, notes)


def _report(job: ExportJob, program: Program, takes: Footprint, vectors: Vectors) -> dict[str, Any]:
    return job.report(vectors) | {
        "name": job.name,
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
    inputs: Sequence[FrameSources | ValueSources | SoundSources],
    stream: dict[str, Any] | None,
) -> str:
    table = [
        ("weights and other constants", f"{sum(takes.constants.values())} bytes of flash"),
        ("numbers of the layers", f"{takes.layers} bytes of flash"),
        ("code", f"about {takes.code} bytes of flash"),
        ("arena", f"{takes.arena} bytes of memory"),
        ("stack", f"about {takes.stack} bytes of memory"),
        ("multiply-accumulates for one item", str(program.macs)),
    ]
    paths = ["model.c", *(path for each in inputs for path in each.files if path.endswith(".c"))]
    build = fill(
        f"{job.layout}/build.md",
        job.name,
        ITEMS=str(len(vectors.inputs)),
        SOURCE=markdown(vectors.source),
        SOURCES=" and ".join(f"`{with_name(path, job.name)}`" for path in paths),
        TARGET=job.name,
    )
    return fill(
        "c99/README.md",
        job.name,
        NAME=markdown(job.path.stem),
        FILE=markdown(job.path.name),
        VERSION=edgepress.__version__,
        OUTPUT_TYPE=C_TYPES[program.output.dtype],
        FOOTPRINT=table_of(table),
        INPUT=input_text(_port(program.input), contract),
        OUTPUT=output_text(_port(program.output), contract, job.name),
        STREAM=stream_readme(stream, job.name) if stream else _state_readme(job, program),
        FRAMES="".join(f"{with_name(each.readme, job.name)}\n" for each in inputs),
        BUILD=build,
    )


def _state_readme(job: ExportJob, program: Program) -> str:
    """What the README says of an LSTM's state; "" without one."""
    return fill("c99/state.md", job.name) if program.graph.states and not program.is_stream else ""


def _port(tensor: Any) -> TensorPort:
    quantization = quantization_of(tensor) if len(tensor.scales) else None
    return TensorPort(tuple(tensor.shape), tensor.dtype, quantization)
