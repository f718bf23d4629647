"""The boards that a bundle knows, and for each a set of packages, pinned and hashed, that installs there.

`pins/ENGINE-BOARD.txt` holds a set: every package with its version and the SHA-256 of its wheel for that board, so that
a board installs what was tried and nothing else. They are renewed by

    python -m edgepress.toolkit.bundles.boards           resolves each set anew on the package index, rewrites pins/

A test asks pip whether each set still resolves for its board. PyPI has no NumPy and no Pillow for 32-bit ARM: there,
Debian's own (python3-numpy, python3-pil) are used, which is why that set brings neither.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edgepress.toolkit.errors import BundleError, unknown

PINS = Path(__file__).parent / "pins"
GLIBC = range(17, 37)
"""Minor versions of glibc 2 whose wheels run on the oldest system with that Python: 2.36 is Debian bookworm's."""


class Board(NamedTuple):
    """One row of the table.

    Attributes:
        python: Version of Python that its system has.
        machine: As pip's platform tags name it.
        engines: By format of the model, which engine runs it there.
    """

    python: str
    machine: str
    engines: dict[str, str]


_BOTH = {"tflite": "litert", "onnx": "onnxruntime"}
BOARDS = {
    "pi64-py311": Board("3.11", "aarch64", _BOTH),
    "pi64-py313": Board("3.13", "aarch64", _BOTH),
    "pi32-py311": Board("3.11", "armv7l", {"tflite": "tflite-runtime"}),
    "pc64-py311": Board("3.11", "x86_64", _BOTH),
    "pc64-py313": Board("3.13", "x86_64", _BOTH),
}
"""Raspberry Pi OS (or any Debian) of 64 and 32 bits, with bookworm's Python and trixie's; and PCs."""
PACKAGES = {
    "litert": ("ai-edge-litert", "numpy", "pillow"),
    "onnxruntime": ("onnxruntime", "numpy", "pillow"),
    "tflite-runtime": ("tflite-runtime",),
}


def boards_for(format: str, wanted: Sequence[str] = ()) -> list[str]:
    """Boards that run a format ("tflite" or "onnx"): those wanted, or all.

    Raises:
        InputError: A name is unknown.
        BundleError: A board runs no such file.
    """
    for name in wanted:
        if name not in BOARDS:
            raise unknown("board", name, BOARDS)
        if format not in BOARDS[name].engines:
            others = " or ".join(BOARDS[name].engines)
            raise BundleError(f"{name} has no engine for .{format} files.", f"Convert the model to {others} for it.")
    return [name for name, board in BOARDS.items() if format in board.engines and (not wanted or name in wanted)]


def pinned(board: str, format: str) -> Path:
    """The file with a board's set of packages for a format."""
    return PINS / f"{BOARDS[board].engines[format]}-{board}.txt"


def download_wheels(board: str, format: str, folder: Path) -> None:
    """Put the wheels of a board's set into a folder.

    Raises:
        BundleError: pip could not get them.
    """
    pinned_set = ("--require-hashes", "-r", str(pinned(board, format)))
    _pip("download", board, "--dest", str(folder), "--no-deps", *pinned_set)


def resolve(board: str, requirements: Sequence[str]) -> dict[str, tuple[str, str]]:
    """What pip would install on a board: {package: (version, sha256)}.

    Args:
        board: Name in `BOARDS`.
        requirements: Packages, or options of `pip install` such as ("-r", "FILE").

    Raises:
        BundleError: pip finds no such set of wheels.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ("--dry-run", "--ignore-installed", "--target", folder, "--report", "-", "--quiet")
        report = json.loads(_pip("install", board, *options, *requirements))
    return {
        item["metadata"]["name"]: (
            item["metadata"]["version"],
            item["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for item in report["install"]
    }


def _pip(action: str, board: str, *arguments: str) -> str:
    """Run pip for another machine and return its output."""
    row = BOARDS[board]
    tags = [f"manylinux_2_{minor}_{row.machine}" for minor in reversed(GLIBC)] + [f"manylinux2014_{row.machine}"]
    platform = [word for tag in tags for word in ("--platform", tag)]
    target = ["--only-binary=:all:", "--implementation", "cp", "--python-version", row.python, *platform]
    command = [sys.executable, "-m", "pip", action, "--disable-pip-version-check", *target, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise BundleError(
            f"pip can't get the packages for {board}: {lines[-1] if lines else 'it gave no reason'}",
            "Check the network; --offline alone needs it.",
        )
    return done.stdout


def _renew() -> None:
    for name, board in BOARDS.items():
        for format, engine in board.engines.items():
            options = ("--no-deps",) if engine == "tflite-runtime" else ()  # its numpy is Debian's
            found = resolve(name, (*options, *PACKAGES[engine]))
            lines = [f"# {engine} for {name}: Python {board.python}, {board.machine}. Renewed by boards.py."]
            lines += [
                f"{package}=={version} --hash=sha256:{digest}" for package, (version, digest) in sorted(found.items())
            ]
            pinned(name, format).write_text("\n".join(lines) + "\n", encoding="utf-8")
            sys.stdout.write(f"{pinned(name, format).name}: {len(found)} packages\n")


if __name__ == "__main__":
    _renew()
