"""What `export` is asked for, and what it wrote; the checks and the report that every kind of folder shares."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import edgepress
from edgepress.converters.contract.hints import Hints
from edgepress.converters.files import write_json, write_text
from edgepress.toolkit.data.for_model import Described, describe
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.exporting.microcontrollers import KIB, MICROCONTROLLERS
from edgepress.toolkit.exporting.vectors import Vectors

Language = Literal["c99", "tflm"]
Layout = Literal["cmake", "arduino"]
"""How a folder of C99 is arranged: for CMake, or as a library of the Arduino IDE."""
SCHEMA_VERSION = 1
"""Version of `report.json`."""
_CODE = ("model.h", "model.c", "model_frame.h", "model_frame.c")
WRITTEN = (
    *_CODE,
    *(f"src/{name}" for name in _CODE),
    *("README.md", "CMakeLists.txt", "model.cc", "selftest.c", "selftest.cc", "library.properties"),
    *("examples/selftest/selftest.ino", "examples/selftest/vectors.h"),
)
"""The files of all kinds of folders, apart from the report; no other file is ever removed."""


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
    skip_unreadable: bool
    specialize: bool
    hints: Hints | None
    step: Callable[[str], None]

    @property
    def items(self) -> dict[str, Any]:
        """The arguments of `make_vectors` that say which items the self-test holds."""
        return {"data": self.data, "samples": self.samples, "skip_unreadable": self.skip_unreadable}

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
        if self.to == "tflm":  # the limits of compress are those of the C99, which takes other amounts
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

    def write(self, texts: dict[str, str], report: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Write the folder, without files of an earlier export that the new one lacks: build tools would compile them.

        Args:
            texts: Texts by their paths in the folder, all of `WRITTEN`.
            report: The report; the files and their hashes are added to it.

        Returns:
            The report as it was written, and a note on each older file that stays because it was changed since.
        """
        notes = []
        for name, digest in _earlier(self.folder).items():
            path = self.folder / name
            if name in texts or not path.is_file():
                continue
            if _digest(path.read_bytes()) == digest:
                path.unlink()
            else:
                notes.append(f"{path} is of an earlier export and was changed since, so it stays; do not build it.")
        for name, text in texts.items():
            write_text(self.folder / name, text)
        report = report | {"files": {name: _digest(text.encode()) for name, text in texts.items()}}
        write_json(self.folder / "report.json", report)
        return report, notes


def _earlier(folder: Path) -> dict[str, str]:
    """Hashes of the files that an earlier export wrote into a folder, by their paths; the report is not trusted."""
    try:
        files = json.loads((folder / "report.json").read_bytes())["files"]
        return {name: files[name] for name in WRITTEN if name in files}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # none, or somebody else's file
        return {}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _as_option(count: int) -> str:
    """A number of bytes as options take it."""
    return f"{count // KIB}KiB" if count % KIB == 0 else f"{count}B"
