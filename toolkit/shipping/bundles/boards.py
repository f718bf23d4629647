"""The boards that bundles support, and the pinned packages to install on each.

`pins/ENGINE-BOARD.txt` lists every package with its version and the SHA-256 of its wheel for that board, so a board
installs exactly what was tested. To update the pins from the package index:

    python -m edgepress.toolkit.shipping.bundles.boards

A slow test checks with pip that each set still resolves. PyPI has no NumPy or Pillow for 32-bit ARM, so that set omits
them and uses Debian's packages (python3-numpy, python3-pil).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from edgepress.converters.process.scratch import ScratchFolder
from edgepress.toolkit.errors import BundleError, unknown

PINS = Path(__file__).parent / "pins"
UPDATES_PINS = PINS / "updates.txt"
"""The packages of a bundle with updates, which are pure Python and so the same for all boards."""
MQTT_PINS = PINS / "mqtt.txt"
"""The package of a bundle for `--mqtt`, pure Python, too."""
GLIBC = range(17, 37)
"""Minor versions of glibc 2 whose wheels run on the oldest supported system: 2.36 is Debian bookworm's."""


class Board(NamedTuple):
    """A board.

    Attributes:
        python: Python version of its system.
        machine: CPU architecture, as in pip's platform tags.
        engines: Engine by model format.
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
"""64-bit and 32-bit Raspberry Pi OS (or other Debian) with the Python of bookworm or trixie, and x86-64 PCs."""
PACKAGES = {
    "litert": ("ai-edge-litert", "numpy", "pillow"),
    "onnxruntime": ("onnxruntime", "numpy", "pillow"),
    "tflite-runtime": ("tflite-runtime",),
}


def boards_for(format: str, wanted: Sequence[str] = (), *, lacking: Collection[str] = ()) -> tuple[str, ...]:
    """The wanted boards, or by default all that run a file.

    Args:
        format: Its format, "tflite" or "onnx".
        wanted: Names of boards.
        lacking: Engines that do not open the file, although they open others of its format.

    Raises:
        InputError: A name is unknown.
        BundleError: A board has no engine for this file.
    """
    for name in wanted:
        if name not in BOARDS:
            raise unknown("board", name, BOARDS)
        if format not in BOARDS[name].engines:
            others = " or ".join(BOARDS[name].engines)
            raise BundleError(f"{name} has no engine for .{format} files.", f"Convert the model to {others} for it.")
        if (engine := BOARDS[name].engines[format]) in lacking:
            raise BundleError(f"{engine}, the engine of {name}, can't open files of this scheme.", "Use an int8 file.")
    able = [name for name, board in BOARDS.items() if format in board.engines and board.engines[format] not in lacking]
    return tuple(name for name in able if not wanted or name in wanted)


def board_lines(boards: Sequence[str]) -> str:
    """Where a bundle with the packages of these boards installs, as indented lines of its README."""
    lines = [f"    {name:<12} Python {BOARDS[name].python}, {BOARDS[name].machine}" for name in boards]
    return (
        "\n".join(lines) or "    any machine with Python 3.11 or later, NumPy, Pillow and a C compiler (cc, gcc, clang)"
    )


def pinned(board: str, format: str) -> Path:
    """The requirements file of a board for a format."""
    return PINS / f"{BOARDS[board].engines[format]}-{board}.txt"


def add_pins(folder: Path, pins: Path) -> None:
    """Add pinned packages to what a bundle, laid out in a folder, installs on each board."""
    for requirements in folder.glob("requirements-*.txt"):
        text = requirements.read_text(encoding="utf-8") + pins.read_text(encoding="utf-8")
        requirements.write_text(text, encoding="utf-8", newline="\n")


def download_wheels(board: str, requirements: Path, folder: Path) -> None:
    """Download the wheels of a board's pinned packages into a folder.

    Raises:
        BundleError: pip could not download them.
    """
    pinned_set = ("--require-hashes", "-r", str(requirements))
    _pip("download", board, "--dest", str(folder), "--no-deps", *pinned_set)


def resolve(board: str, requirements: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Resolve requirements for a board: {package: (version, sha256)}.

    Args:
        board: Name in `BOARDS`.
        requirements: Packages, or `pip install` options such as ("-r", "FILE").

    Raises:
        BundleError: pip finds no matching wheels.
    """
    with ScratchFolder() as folder:
        options = ("--dry-run", "--ignore-installed", "--target", folder, "--report", "-", "--quiet")
        report = json.loads(_pip("install", board, *options, *requirements))
    packages = [(item["metadata"], item["download_info"]["archive_info"]["hashes"]) for item in report["install"]]
    return {about["name"]: (about["version"], hashes["sha256"]) for about, hashes in packages}


def _pip(action: str, board: str, *arguments: str) -> str:
    """Run pip for another platform and return its output."""
    row = BOARDS[board]
    tags = [f"manylinux_2_{minor}_{row.machine}" for minor in reversed(GLIBC)] + [f"manylinux2014_{row.machine}"]
    platform = [word for tag in tags for word in ("--platform", tag)]
    target = ["--only-binary=:all:", "--implementation", "cp", "--python-version", row.python, *platform]
    command = [sys.executable, "-P", "-m", "pip", action, "--disable-pip-version-check", *target, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if process.returncode:
        lines = [
            line for line in process.stderr.splitlines() if line.startswith("ERROR")
        ] or process.stderr.splitlines()
        raise BundleError(
            f"pip can't download the packages for {board}: {lines[-1] if lines else 'no reason given'}",
            "Check the network, or leave out --offline.",
        )
    return process.stdout


def _renew() -> None:
    for name, board in BOARDS.items():
        for format, engine in board.engines.items():
            options = ("--no-deps",) if engine == "tflite-runtime" else ()  # NumPy comes from Debian
            packages = resolve(name, (*options, *PACKAGES[engine]))
            lines = [f"# {engine} for {name}: Python {board.python}, {board.machine}. Renewed by boards.py."]
            lines += [
                f"{package}=={version} --hash=sha256:{digest}"
                for package, (version, digest) in sorted(packages.items())
            ]
            pinned(name, format).write_text("\n".join(lines) + "\n", encoding="utf-8")
            sys.stdout.write(f"{pinned(name, format).name}: {len(packages)} packages\n")
    for package, what, pins in (("tuf", "with updates", UPDATES_PINS), ("paho-mqtt", "for MQTT", MQTT_PINS)):
        packages = resolve("pi32-py311", (package,))  # the board for which there are the fewest wheels
        lines = [f"# {package} for bundles {what}, all boards. Renewed by boards.py."]
        lines += [f"{name}=={version} --hash=sha256:{digest}" for name, (version, digest) in sorted(packages.items())]
        pins.write_text("\n".join(lines) + "\n", encoding="utf-8")
        sys.stdout.write(f"{pins.name}: {len(packages)} packages\n")


if __name__ == "__main__":
    _renew()
