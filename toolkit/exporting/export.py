"""Write a file as C99 for a microcontroller, with a self-test and a report of what it takes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

import edgepress
from edgepress.converters.contract.hints import Hints
from edgepress.converters.files import write_json, write_text
from edgepress.converters.to_c.emission import C_TYPES, Sources, emit, lines
from edgepress.converters.to_c.footprint import Footprint, footprint
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_c.placement import place
from edgepress.converters.to_c.removal import without_constant_channels
from edgepress.runtime import Contract, read_contract
from edgepress.runtime.acceptance import AnswerLimits
from edgepress.runtime.adapter import Adapter
from edgepress.runtime.sessions import file_format
from edgepress.toolkit.data.for_model import Described, data_for, describe
from edgepress.toolkit.errors import InputError, unknown
from edgepress.toolkit.escaping import markdown
from edgepress.toolkit.exporting.microcontrollers import KIB, MICROCONTROLLERS
from edgepress.toolkit.exporting.vectors import Vectors, data_vectors, random_vectors

Language = Literal["c99"]
FILES = Path(__file__).parent / "files"
SAMPLES = 8
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Exported:
    """A folder that was written.

    Attributes:
        folder: The folder.
        report: What `report.json` in it holds.
        notes: One line on each value that was guessed for a file that edgepress did not make.
    """

    folder: Path
    report: dict[str, Any]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The document that `export --json` prints."""
        return self.report | {"folder": str(self.folder), "notes": list(self.notes)}


def export(
    file: str | Path,
    to: Language = "c99",
    out: str | Path | None = None,
    *,
    board: str | None = None,
    data: str | None = None,
    samples: int = SAMPLES,
    specialize: bool = False,
    hints: Hints | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Exported:
    """Write an integer-only `.tflite` file as self-contained C99 that answers what TFLM answers, bit for bit.

    Args:
        file: A file of `convert --to tflite-int8 --target integer-only`, or another that computes in integers.
        to: "c99".
        out: Folder to write; None: next to the file, with its name and "-c99".
        board: A name in `MICROCONTROLLERS`; a file that takes more memory or flash is refused.
        data: Data whose test items the self-test holds; None: it holds random items.
        samples: Number of items in the self-test, 1 to 1000.
        specialize: Whether each layer gets kernels of its own: faster, and several times the code.
        hints: What you know of a file that edgepress did not make.
        on_step: Called with a sentence when a step begins.

    Raises:
        ModelFileError: The file is damaged, or holds something that is not exactly supported.
        InputError: It does not fit the board, or an argument or `out` can't be used.
        DataError: The data can't be used.

    Example:
        >>> from edgepress.toolkit import convert, export
        >>> made = convert("edgepress-demo/model.keras", "tflite-int8", target="integer-only", out="micro")
        >>> export("micro/model-int8-integer-only.tflite", out="model-c99").report["selftest"]["items"]
        8
    """
    path, step = Path(file), on_step or (lambda text: None)
    _check(path, to, board, samples)
    step("Reading the file")
    whole = lower(path)
    program = without_constant_channels(whole)
    step("Placing tensors in memory")
    placement = place(program)
    about = describe(path, hints) if data is not None or (hints and hints.describes) else None
    contract = about.contract if about else read_contract(path)
    labels = contract.labels if contract and contract.outputs == program.output.size else ()
    sources = emit(program, placement, labels=labels, specialize=specialize)
    takes = footprint(program, placement, sources, specialize=specialize)
    _check_board(path, takes, board)
    step("Computing the answers of the self-test")
    vectors, notes = _vectors(whole, about, data, samples)
    if contract is not None and contract.limits != AnswerLimits():
        notes.append(f"{path.name} is calibrated; the C has its scores alone, and accepts every answer.")
    report = _report(path, program, takes, vectors, board=board, specialize=specialize)
    report |= {"file_macs": whole.macs, "constant_channels": sum(each.constant_channels for each in whole.steps)}
    folder = path.with_name(f"{path.stem}-c99") if out is None else Path(out)
    step(f"Writing {folder}")
    _write(folder, sources, vectors, _readme(path, program, contract, takes, vectors), report)
    return Exported(folder, report, tuple(notes))


def _vectors(program: Program, about: Described | None, data: str | None, samples: int) -> tuple[Vectors, list[str]]:
    """The items of the self-test, and notes on the file and the data."""
    notes = [*about.notes] if about else []
    if data is None or about is None:
        return random_vectors(program, samples), notes
    opened, more = data_for(about.contract, data, where=about.file, numbered=about.numbered)
    return data_vectors(about.file, program, about.contract, opened, samples), [*notes, *more]


def _check(path: Path, to: str, board: str | None, samples: int) -> None:
    if to not in get_args(Language):
        raise unknown("kind of export", to, get_args(Language))
    if board is not None and board not in MICROCONTROLLERS:
        raise unknown("board", board, MICROCONTROLLERS)
    if not 1 <= samples <= 1000:
        raise InputError(f"samples is {samples}; accepted: 1 to 1000.")
    if file_format(path) != "tflite":
        what = f"{path} is an ONNX file; export reads TFLite files."
        raise InputError(what, "Make one: edgepress convert MODEL --to tflite-int8 --target integer-only")


def _check_board(path: Path, takes: Footprint, board: str | None) -> None:
    if board is None:
        return
    chip = MICROCONTROLLERS[board]
    limits = f"--max-ram {_as_option(chip.ram)} --max-flash {_as_option(chip.flash)}"
    hint = f"Compress its model: edgepress compress MODEL {limits}"
    if takes.ram > chip.ram:
        what = f"{path} needs {takes.arena} bytes for its tensors and about {takes.stack} of stack"
        raise InputError(f"{what}; {board} has {chip.ram} bytes of memory.", hint)
    if takes.flash > chip.flash:
        raise InputError(f"{path} needs about {takes.flash} bytes of flash; {board} has {chip.flash}.", hint)


def _as_option(count: int) -> str:
    """A number of bytes as options take it."""
    return f"{count // KIB}KiB" if count % KIB == 0 else f"{count}B"


def _report(
    path: Path, program: Program, takes: Footprint, vectors: Vectors, *, board: str | None, specialize: bool
) -> dict[str, Any]:
    chip = MICROCONTROLLERS[board] if board else None
    return {
        "schema_version": SCHEMA_VERSION,
        "edgepress": edgepress.__version__,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "language": "c99",
        "specialized": specialize,
        "macs": program.macs,
        "ram": {"arena": takes.arena, "stack": takes.stack},
        "flash": {"constants": dict(takes.constants), "layers": takes.layers, "code": takes.code, "total": takes.flash},
        "board": chip and {"name": board, "ram": chip.ram, "flash": chip.flash, "source": chip.source},
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
        "selftest": {"source": vectors.source, "items": len(vectors.inputs), "right": vectors.right},
    }


def _write(folder: Path, sources: Sources, vectors: Vectors, readme: str, report: dict[str, Any]) -> None:
    selftest = _filled(
        "selftest.c",
        ITEMS=str(len(vectors.inputs)),
        INPUT_TYPE=C_TYPES[vectors.inputs.dtype.name],
        OUTPUT_TYPE=C_TYPES[vectors.outputs.dtype.name],
        INPUTS=_rows(vectors.inputs),
        OUTPUTS=_rows(vectors.outputs),
    )
    write_text(folder / "model.h", sources.header)
    write_text(folder / "model.c", sources.source)
    write_text(folder / "selftest.c", selftest)
    write_text(folder / "CMakeLists.txt", _filled("CMakeLists.txt"))
    write_text(folder / "README.md", readme)
    write_json(folder / "report.json", report)


def _rows(rows: npt.NDArray[Any]) -> str:
    return ",\n".join(f"{{{lines(map(str, row.tolist()))}}}" for row in rows)


def _filled(name: str, **values: str) -> str:
    text = (FILES / name).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def _readme(path: Path, program: Program, contract: Contract | None, takes: Footprint, vectors: Vectors) -> str:
    table = [
        ("weights and other constants", f"{sum(takes.constants.values())} bytes of flash"),
        ("numbers of the layers", f"{takes.layers} bytes of flash"),
        ("code", f"about {takes.code} bytes of flash"),
        ("arena", f"{takes.arena} bytes of memory"),
        ("stack", f"about {takes.stack} bytes of memory"),
        ("multiply-accumulates for one item", str(program.macs)),
    ]
    return _filled(
        "README.md",
        NAME=markdown(path.stem),
        FILE=markdown(path.name),
        VERSION=edgepress.__version__,
        OUTPUT_TYPE=C_TYPES[program.output.dtype],
        FOOTPRINT="\n".join(["| what | takes |", "|---|---|", *(f"| {what} | {value} |" for what, value in table)]),
        INPUT=_input_text(program, contract),
        OUTPUT=_output_text(program, contract),
        ITEMS=str(len(vectors.inputs)),
        SOURCE=markdown(vectors.source),
    )


def _input_text(program: Program, contract: Contract | None) -> str:
    source = program.input
    shape = " x ".join(map(str, source.shape))
    text = f"One item of shape {shape}, {C_TYPES[source.dtype]}, the last axis fastest."
    if len(source.scales):
        text += f" A stored number q stands for {source.scale!r} * (q - {source.zero_point})."
    if contract is None:
        return text
    if contract.input.is_image and contract.adapter in (None, Adapter(shape=contract.input.shape, sigmoid=True)):
        return f"{text} These are pixels 0 to 255, {contract.input.color}."
    if contract.adapter is not None:
        about = contract.adapter
        mean, std = list(about.mean), list(about.std)
        order = "blue first" if about.bgr else str(contract.input.color or "values")
        return f"{text} They are ({order} - {np.array(mean).tolist()}) / {std}, of pixels 0 to 255 for images."
    return text


def _output_text(program: Program, contract: Contract | None) -> str:
    result = program.output
    text = f"{result.size} numbers, {C_TYPES[result.dtype]}."
    if len(result.scales):
        text += f" A stored number q stands for {result.scale!r} * (q - {result.zero_point})."
    if contract is None or not contract.labels:
        return text
    names = "\n".join(f"{number}. {markdown(label)}" for number, label in enumerate(contract.labels))
    ends = "sigmoid" if contract.adapter is not None and contract.adapter.sigmoid else ""
    ends = ends or ("softmax" if contract.task == "logits" else "")
    meaning = f"logits; a {ends} makes probabilities of them" if ends else contract.task
    return f"{text} Their meaning: {meaning}. Labels, also in `model_labels`:\n\n{names}"
