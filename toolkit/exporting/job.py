"""What `export` is asked for, and what it wrote; the checks and the report that every kind of folder shares."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import edgepress
from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.data.for_model import Described, describe
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.exporting.microcontrollers import KIB, MICROCONTROLLERS
from edgepress.toolkit.exporting.vectors import Vectors

Language = Literal["c99", "tflm"]
Layout = Literal["cmake", "arduino"]
"""How a folder of C99 is arranged: for CMake, or as a library of the Arduino IDE."""
SCHEMA_VERSION = 1
"""Version of `report.json`."""


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
class Job:
    """The arguments of `edgepress.toolkit.exporting.export.export`, checked.

    Attributes:
        path: The file.
        to: The kind of folder.
        folder: Where it is written.
        layout: How it is arranged.
    """

    path: Path
    to: Language
    folder: Path
    layout: Layout
    board: str | None
    data: str | None
    samples: int
    specialize: bool
    hints: Hints | None
    step: Callable[[str], None]

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
        hint, beside = f"Compress its model: edgepress compress MODEL {limits}", ""
        if self.to == "tflm":  # the limits of compress are those of the C99, which takes other amounts
            hint, beside = "Use a smaller model, or a larger board.", ", without TFLM's own code and stack"
        if ram > chip.ram:
            raise InputError(f"{self.path} needs {memory}{beside}; {self.board} has {chip.ram} bytes of memory.", hint)
        if flash > chip.flash:
            what = f"{self.path} needs about {flash} bytes of flash{beside}; {self.board} has {chip.flash}."
            raise InputError(what, hint)

    def report(self, vectors: Vectors) -> dict[str, Any]:
        """The part of `report.json` that does not depend on the kind of folder."""
        chip = MICROCONTROLLERS[self.board] if self.board else None
        return {
            "schema_version": SCHEMA_VERSION,
            "edgepress": edgepress.__version__,
            "file": self.path.name,
            "sha256": hashlib.sha256(self.path.read_bytes()).hexdigest(),
            "language": self.to,
            "board": chip and {"name": self.board, "ram": chip.ram, "flash": chip.flash, "source": chip.source},
            "selftest": {"source": vectors.source, "items": len(vectors.inputs), "right": vectors.right},
        }


def _as_option(count: int) -> str:
    """A number of bytes as options take it."""
    return f"{count // KIB}KiB" if count % KIB == 0 else f"{count}B"
