"""Write a file as sources for a microcontroller, with a self-test and a report of what it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Unpack, get_args

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.data.objects import Data, source_of
from edgepress.toolkit.data.reading import Reading, ReadingArguments
from edgepress.toolkit.errors import InputError, unknown
from edgepress.toolkit.results.run_files import check_integers
from edgepress.toolkit.shipping.exporting.c99 import export_c99, library_name
from edgepress.toolkit.shipping.exporting.esphome import export_esphome
from edgepress.toolkit.shipping.exporting.ethos_u import export_ethos_u
from edgepress.toolkit.shipping.exporting.folder import NAME, TAKEN, require_plain_folder
from edgepress.toolkit.shipping.exporting.job import (
    ACCELERATORS,
    MICROCONTROLLERS,
    USUAL_ACCELERATOR,
    Exported,
    ExportJob,
    Language,
    Layout,
    require_operations,
)
from edgepress.toolkit.shipping.exporting.sound import require_integer_sound
from edgepress.toolkit.shipping.exporting.tflm import export_tflm
from edgepress.toolkit.shipping.exporting.wasm import export_wasm

SAMPLES = 8
"""Items in the self-test unless the user says another number."""
MOST_ROWS = 4096
"""Rows that a call of a stream takes at most."""
EXPORTERS = {
    "c99": export_c99,
    "tflm": export_tflm,
    "esphome": export_esphome,
    "ethos-u": export_ethos_u,
    "wasm": export_wasm,
}


def export(
    file: str | Path,
    to: Language = "c99",
    out: str | Path | None = None,
    *,
    board: str | None = None,
    data: Data | None = None,
    samples: int = SAMPLES,
    specialize: bool = False,
    layout: Layout = "cmake",
    overwrite: bool = False,
    name: str = "model",
    stream: int | None = None,
    label: str | None = None,
    accelerator: str = USUAL_ACCELERATOR,
    hints: Hints | None = None,
    on_step: Callable[[str], None] | None = None,
    **reading: Unpack[ReadingArguments],
) -> Exported:
    """Write a `.tflite` file as sources for a microcontroller.

    Args:
        file: A file of `convert --to tflite-int8 --target integer-only`, or another that computes in integers.
        to: "c99", self-contained C99 that answers what TensorFlow Lite for Microcontrollers (TFLM) answers, bit for
            bit; or "tflm", the file with what firmware with TFLM needs to run it, for which the extra `micro` has to be
            installed, and which takes every file that TFLM runs; or "esphome", a model of sound as ESPHome's component
            micro_wake_word loads it, for which the extra `micro` has to be installed, too; or "ethos-u", the file as
            Vela compiles it for Arm's NPUs, with what firmware with TFLM needs, for which the extras `micro` and `npu`
            have to be installed; or "wasm", WebAssembly with a page that classifies without a server and a package for
            npm, for which the extra `browser` has to be installed.
        out: Folder to write; None: next to the file, with its name and "-c99", "-arduino", "-tflm", "-esphome",
            "-ethos-u" or "-wasm".
        board: A name in `MICROCONTROLLERS`; a file that takes more memory or flash is refused.
        data: Data whose test items the self-test holds; None: it holds random items.
        samples: Number of items in the self-test, 1 to 1000.
        specialize: Whether each layer gets C of its own, which is faster and several times the code; "c99" alone.
        layout: "cmake", or "arduino", a library of the Arduino IDE with the self-test as its example; "c99" alone.
        overwrite: Whether files in the folder are replaced that no export wrote, or that were changed since.
        name: What the names of functions, macros and files begin with, so that one firmware can have several models:
            a lower-case letter, then such letters, digits and `_`, at most 31 in all; "c99" alone.
        stream: Write a model of windows, shape (time, ...), as one of a stream, which takes so many new rows a call and
            answers for the window that ends with them; for "c99" and "esphome". None: a call takes a whole item, or 3
            frames of ESPHome.
        label: The label that ESPHome hears; None: the only one that is not background.
        accelerator: The NPU that "ethos-u" compiles for, one of `ACCELERATORS`.
        hints: What you know of a file that edgepress did not make.
        on_step: Called with a sentence when a step begins.

    Raises:
        ModelFileError: The file is damaged, or holds something that is not exactly supported.
        EngineError: TFLM does not run it.
        MissingExtraError: The extra `micro`, `npu` or `browser` is not installed.
        ConversionError: An operation of it does not move along the time as a stream does, or Vela or ziglang can't
            compile it.
        InputError: It does not fit the board, an argument or `out` can't be used, or `out` holds files of the user's.
        DataError: The data can't be used.

    Example:
        >>> from edgepress.toolkit import convert, export
        >>> made = convert("edgepress-demo/model.keras", "tflite-int8", target="integer-only", out="micro")
        >>> export("micro/model-int8-integer-only.tflite", out="model-c99").report["selftest"]["items"]
        8
    """
    data = source_of(data)
    path = Path(file)
    if to not in get_args(Language):
        raise unknown("kind of export", to, get_args(Language))
    if board is not None and board not in MICROCONTROLLERS:
        raise unknown("board", board, MICROCONTROLLERS)
    if not 1 <= samples <= 1000:
        raise InputError(f"samples is {samples}; accepted: 1 to 1000.")
    if specialize and to != "c99":
        raise InputError(f"specialize is for kernels of C99; {to} has its own.", "Leave --specialize out.")
    if layout not in get_args(Layout):
        raise unknown("layout", layout, get_args(Layout))
    if layout != "cmake" and to != "c99":
        raise InputError(f"The layout {layout} is for C99, not for {to}.", "Leave --layout out.")
    if not NAME.fullmatch(name) or name in TAKEN:
        problem = f"The name {name!r} can't begin names in C."
        if name in TAKEN:
            problem = f"The name {name!r} is already that of a header of C, or of a target or file of the folder."
        raise InputError(problem, "Accepted: a lower-case letter, then such letters, digits and _, at most 31 in all.")
    if name != "model" and to in ("tflm", "ethos-u"):
        raise InputError(f"Functions of {to} have the names of its class; --name is for c99.", "Leave --name out.")
    if stream is not None and to in ("tflm", "ethos-u", "wasm"):
        raise InputError(f"A stream is written as C99 or for ESPHome, not for {to}.", "Leave --stream out.")
    if board is not None and to == "ethos-u":
        raise InputError(f"{board} has no Ethos-U, and neither have the other boards.", "Leave --board out.")
    if board is not None and to == "wasm":
        raise InputError(f"A page runs in a browser, not on {board}.", "Leave --board out.")
    if accelerator not in ACCELERATORS:
        raise unknown("accelerator", accelerator, ACCELERATORS)
    if accelerator != USUAL_ACCELERATOR and to != "ethos-u":
        raise InputError(f"--accelerator is for ethos-u, not for {to}.", "Add --to ethos-u, or leave it out.")
    if label is not None and to != "esphome":
        raise InputError(f"ESPHome hears one label; {to} has all of them.", "Leave --label out.")
    if stream is not None and not 1 <= stream <= MOST_ROWS:
        raise InputError(f"stream is {stream}; accepted: 1 to {MOST_ROWS} rows a call.")
    check_integers(path)
    require_operations(path)
    require_integer_sound(path)
    kind = layout if layout != "cmake" else to
    stem = library_name(path.stem) if layout == "arduino" else path.stem  # the IDE refuses other names of folders
    job = ExportJob(
        path=path,
        to=to,
        layout=layout,
        folder=path.with_name(f"{stem}-{kind}") if out is None else Path(out),
        board=board,
        data=data,
        samples=samples,
        reading=Reading(**reading),
        specialize=specialize,
        overwrite=overwrite,
        name=name,
        stream=stream,
        label=label,
        accelerator=accelerator,
        hints=hints,
        step=on_step or (lambda text: None),
    )
    require_plain_folder(job.folder)
    return EXPORTERS[to](job)
