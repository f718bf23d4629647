"""What `export` is asked for, for which board with a microcontroller, and what it wrote."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import edgepress
from edgepress.converters.contract.hints import Hints
from edgepress.converters.process.worker import ChildDied, Emit, run_in_child
from edgepress.runtime.errors import MissingExtraError
from edgepress.runtime.flatbuffer import unsupported_operations
from edgepress.toolkit.data.for_model import Described, describe
from edgepress.toolkit.data.reading import Reading
from edgepress.toolkit.errors import InputError, ModelFileError
from edgepress.toolkit.shipping.exporting.vectors import Vectors

KIB = 1 << 10
MIB = 1 << 20


def require_package(package: str, purpose: str, extra: str) -> str:
    """The version of a package that an export needs.

    Args:
        package: Its name on PyPI.
        purpose: What it is needed for, such as "Compiling to WebAssembly".
        extra: The extra of edgepress that brings it.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as e:
        raise MissingExtraError(purpose, package, extra) from e


class Microcontroller(NamedTuple):
    """A board.

    Attributes:
        name: Its maker's name for it.
        core: Its processor.
        ram: Bytes of memory that are on the chip.
        flash: Bytes of flash.
        source: Where that is written.
    """

    name: str
    core: str
    ram: int
    flash: int
    source: str


# fmt: off
MICROCONTROLLERS = {
    "pico": Microcontroller("Raspberry Pi Pico (RP2040)", "2 x Cortex-M0+", 264 * KIB, 2 * MIB,
        "https://datasheets.raspberrypi.com/pico/pico-datasheet.pdf"),
    "pico2": Microcontroller("Raspberry Pi Pico 2 (RP2350)", "2 x Cortex-M33", 520 * KIB, 4 * MIB,
        "https://datasheets.raspberrypi.com/pico/pico-2-datasheet.pdf"),
    "esp32-s3": Microcontroller("ESP32-S3-DevKitC-1-N8", "2 x Xtensa LX7", 512 * KIB, 8 * MIB,
        "https://www.espressif.com/documentation/esp32-s3_datasheet_en.pdf"),
    "esp32-c3": Microcontroller("ESP32-C3-DevKitM-1", "RISC-V (RV32IMC)", 400 * KIB, 4 * MIB,
        "https://www.espressif.com/documentation/esp32-c3_datasheet_en.pdf"),
    "nano-33-ble": Microcontroller("Arduino Nano 33 BLE (nRF52840)", "Cortex-M4", 256 * KIB, 1 * MIB,
        "https://docs.arduino.cc/resources/datasheets/ABX00030-datasheet.pdf"),
    "uno-r4": Microcontroller("Arduino UNO R4 (RA4M1)", "Cortex-M4", 32 * KIB, 256 * KIB,
        "https://docs.arduino.cc/resources/datasheets/ABX00080-datasheet.pdf"),
    "microbit-v2": Microcontroller("BBC micro:bit V2 (nRF52833)", "Cortex-M4", 128 * KIB, 512 * KIB,
        "https://tech.microbit.org/hardware/"),
    "nucleo-f103rb": Microcontroller("NUCLEO-F103RB (STM32F103RB)", "Cortex-M3", 20 * KIB, 128 * KIB,
        "https://www.st.com/resource/en/datasheet/stm32f103rb.pdf"),
    "nucleo-f446re": Microcontroller("NUCLEO-F446RE (STM32F446RE)", "Cortex-M4", 128 * KIB, 512 * KIB,
        "https://www.st.com/resource/en/datasheet/stm32f446re.pdf"),
    "nucleo-l4r5": Microcontroller("NUCLEO-L4R5ZI (STM32L4R5ZI)", "Cortex-M4", 640 * KIB, 2 * MIB,
        "https://www.st.com/resource/en/datasheet/stm32l4r5zi.pdf"),
}
# fmt: on
"""By the names that `--board` takes. The firmware's own code, stack and data come on top of a model's."""


Language = Literal["c99", "tflm", "esphome", "ethos-u", "wasm"]
Layout = Literal["cmake", "arduino"]
"""How a folder of C99 is arranged: for CMake, or as a library of the Arduino IDE."""
Accelerator = Literal[
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
    "ethos-u85-128",
    "ethos-u85-256",
    "ethos-u85-512",
    "ethos-u85-1024",
    "ethos-u85-2048",
]
"""NPUs by the names that Vela gives them; the last number is that of multiply-accumulates a cycle."""
ACCELERATORS = get_args(Accelerator)
USUAL_ACCELERATOR: Accelerator = "ethos-u55-128"
SCHEMA_VERSION = 1
"""Version of `report.json`."""
STEP_S = 120.0
"""Time limit of the child process for reading a file, writing its C and the like, seconds."""
ITEM_S = 10.0
"""More of it for each item of the self-test."""
MEMORY_LIMIT_BYTES = 4 << 30
"""Largest memory of that process."""
MAX_FILE_BYTES = 32 << 20
"""Largest file: more than the flash of any board in `MICROCONTROLLERS`."""
_A = TypeVar("_A")
_T = TypeVar("_T")


def require_operations(path: Path) -> None:
    """Refuse a file that is too large, or compiled for an accelerator.

    Raises:
        ModelFileError: It is larger than `MAX_FILE_BYTES`, or has operations that are not built in.
    """
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        problem = f"{path} has {size} bytes; export takes files of up to {MAX_FILE_BYTES}."
        raise ModelFileError(problem, "No microcontroller has room for it: use a smaller model.")
    if error := unsupported_operations(path, path.read_bytes()):
        raise error


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


@dataclass(frozen=True, kw_only=True)
class ExportJob:
    """The arguments of `edgepress.toolkit.shipping.exporting.export.export`, checked.

    Attributes:
        path: The file.
        to: The kind of folder.
        folder: Where it is written.
        layout: How it is arranged.
        overwrite: Whether files of the user in the folder may be replaced.
        name: What the names of functions, macros and files of C99 begin with.
        label: The label that ESPHome hears.
        accelerator: The NPU that the file is compiled for.
        stream: Rows that each call of a stream takes; None: a call takes a whole item.
    """

    path: Path
    to: Language
    folder: Path
    layout: Layout
    board: str | None
    data: str | None
    samples: int
    reading: Reading
    specialize: bool
    overwrite: bool
    name: str
    stream: int | None
    label: str | None
    accelerator: str
    hints: Hints | None
    step: Callable[[str], None]

    @property
    def items(self) -> dict[str, Any]:
        """The arguments of `make_vectors` that say which items the self-test holds."""
        return {"data": self.data, "samples": self.samples, "reading": self.reading}

    def in_child(self, function: Callable[[ExportJob, _A], _T], argument: _A) -> _T:
        """What a function makes of this job in a process with limits on time and memory: it may read the file.

        Args:
            function: Importable by name; gets the job, whose `step` reports to this process, and the argument.
            argument: Picklable.

        Raises:
            ModelFileError: The process exceeded a limit or crashed.
            EdgepressError: As raised by the function.
        """
        request = function, replace(self, step=_no_step), argument
        silence_s = STEP_S + ITEM_S * self.samples
        memory_bytes = None if self.data else MEMORY_LIMIT_BYTES  # the user's own data may take the machine's share
        result: list[_T] = []
        try:
            for report in run_in_child(_call, request, silence_s=silence_s, memory_bytes=memory_bytes):
                if isinstance(report, _Step):
                    self.step(report.text)
                else:
                    result.append(report)
        except ChildDied as e:
            problem = f"{self.path} can't be exported: the process that read it ended with {e}."
            hint = "It is damaged, or too large a model for a microcontroller."
            if self.data:
                hint = f"It is damaged or too large, or to read {self.data} takes too long or too much memory."
            raise ModelFileError(problem, hint) from e
        return result[0]

    def describe(self) -> Described | None:
        """The file with its contract, if data or hints need it."""
        needed = self.data is not None or (self.hints and self.hints.describes)
        return describe(self.path, self.hints) if needed else None

    def check_board(self, ram: int, flash: int, memory: str) -> None:
        """Refuse a file that the board has no room for.

        Args:
            ram: Bytes of memory that it takes.
            flash: Bytes of flash.
            memory: The first of these in words.

        Raises:
            InputError: It takes more than the board has.
        """
        if self.board is None:
            return
        chip = MICROCONTROLLERS[self.board]
        limits = f"--max-ram {_as_option(chip.ram)} --max-flash {_as_option(chip.flash)}"
        hint = f"Compress its model: edgepress compress MODEL {limits}"
        beside = ""
        if self.to != "c99":  # the limits of compress are those of the C99, which takes other amounts
            hint = "Use a smaller model, or a larger board."
            beside = ", without TFLM's own code and stack"
        if ram > chip.ram:
            raise InputError(f"{self.path} needs {memory}{beside}; {self.board} has {chip.ram} bytes of memory.", hint)
        if flash > chip.flash:
            problem = f"{self.path} needs about {flash} bytes of flash{beside}; {self.board} has {chip.flash}."
            raise InputError(problem, hint)

    def report(self, vectors: Vectors) -> dict[str, Any]:
        """The part of `report.json` that does not depend on the kind of folder."""
        chip = MICROCONTROLLERS[self.board] if self.board else None
        return {
            "schema_version": SCHEMA_VERSION,
            "edgepress": edgepress.__version__,
            "file": self.path.name,
            "sha256": _digest(self.path.read_bytes()),
            "language": self.to,
            "board": chip and {"name": self.board, "ram": chip.ram, "flash": chip.flash, "source": chip.source},
            "selftest": {"source": vectors.source, "items": len(vectors.inputs), "right": vectors.right},
        }


@dataclass(frozen=True)
class _Step:
    """A step that begins in the child process."""

    text: str


def _no_step(text: str) -> None:
    """Tell nobody that a step begins."""


def _call(request: tuple[Callable[[ExportJob, Any], Any], ExportJob, Any], emit: Emit) -> None:
    function, job, argument = request
    emit(function(replace(job, step=lambda text: emit(_Step(text))), argument))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _as_option(count: int) -> str:
    """A number of bytes as options take it."""
    return f"{count // KIB}KiB" if count % KIB == 0 else f"{count}B"
