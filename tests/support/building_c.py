"""Build C that was exported, on this machine or for an emulated one, and run it."""

from __future__ import annotations

import ctypes
import functools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.emission import emit
from edgepress.converters.to_c.lowering import Program
from edgepress.converters.to_c.placement import Placement

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
EMULATION = Path(__file__).parent / "c99"
SECONDS = 600
"""Time limit of a program, emulated ones included."""


class Core(NamedTuple):
    """An emulated board: QEMU's machine, the compiler's name for its core, begin and size of flash and memory.

    `flags` are more of the compiler's: vectors of Cortex-M55 need registers that a soft ABI does not use.
    """

    machine: str
    cpu: str
    flash: tuple[str, str]
    ram: tuple[str, str]
    flags: tuple[str, ...] = ()


_MPS2 = ("0x0", "4M"), ("0x20000000", "4M")
CORES = {
    "m0": Core("microbit", "cortex-m0", ("0x0", "256K"), ("0x20000000", "16K")),
    "m3": Core("mps2-an385", "cortex-m3", *_MPS2),
    "m4": Core("mps2-an386", "cortex-m4", *_MPS2),
    "m7": Core("mps2-an500", "cortex-m7", *_MPS2),
    "m33": Core("mps2-an505", "cortex-m33", ("0x10000000", "4M"), ("0x38000000", "4M")),
    "m55": Core("mps3-an547", "cortex-m55", ("0x0", "512K"), ("0x20000000", "512K"), ("-mfloat-abi=hard",)),
}
LINUX = {
    "riscv64": (["riscv64-linux-gnu-gcc", "-static"], ["qemu-riscv64"]),
    "armv5": (["arm-linux-gnueabi-gcc", "-static", "-march=armv5te", "-marm"], ["qemu-arm"]),
    "armv6": (["arm-linux-gnueabi-gcc", "-static", "-march=armv6", "-marm"], ["qemu-arm", "-cpu", "arm1176"]),
    "armv7": (["arm-linux-gnueabi-gcc", "-static", "-march=armv7-a", "-mthumb"], ["qemu-arm"]),
}
"""Compilers and emulators of programs for Linux."""


def compiled(source: Path, out: Path, *flags: str, compiler: str = "gcc") -> Path:
    """Compile to a shared library."""
    command = [compiler, *STRICT, "-O1", "-shared", "-fPIC", *flags, str(source), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]
    return out


class Library:
    """A program as a shared library in a folder, which is its own each time: a library is loaded once by its path."""

    def __init__(
        self, program: Program, placement: Placement, folder: Path, *flags: str, specialize: bool = False
    ) -> None:
        sources = emit(program, placement, specialize=specialize)
        folder.mkdir(parents=True)
        (folder / "model.h").write_text(sources.header)
        (folder / "model.c").write_text(sources.source)
        self._library = ctypes.CDLL(str(compiled(folder / "model.c", folder / "model.so", *flags)))
        self._library.model_input.restype = self._library.model_output.restype = ctypes.c_void_p
        self._program = program

    def answers(self, items: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The outputs, one row an item."""
        rows = []
        if self._program.graph.states:
            self._library.model_reset()
        for item in items:
            ctypes.memmove(self._library.model_input(), item.tobytes(), item.nbytes)
            self._library.model_run()
            rows.append(ctypes.string_at(self._library.model_output(), self._program.output.size))
        return np.frombuffer(b"".join(rows), self._program.output.dtype).reshape(len(items), -1)


def selftest_output(folder: Path, *command: str, run: tuple[str, ...] = ()) -> str:
    """Compile an exported folder with its self-test by a compiler and run it; what it prints."""
    out = folder / "selftest"
    built = [*command, *STRICT, "-O1", str(folder / "model.c"), str(folder / "selftest.c"), "-o", str(out)]
    done = subprocess.run(built, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]
    done = subprocess.run([*run, str(out)], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr[:3000]
    return done.stdout


class NoRoomError(Exception):
    """A program does not fit the flash or the memory of an emulated board."""


class Emulated(NamedTuple):
    """What an exported self-test printed on an emulated board."""

    wrong: int
    stack: int
    arena: int
    instructions: int | None


def emulate(folder: Path, core: str, *flags: str, repeat: int = 1, plugin: Path | None = None) -> Emulated:
    """Run an exported folder's self-test on an emulated Cortex-M; with `plugin`, its instructions are counted.

    Raises:
        NoRoomError: It does not fit the board.
    """
    program = folder / f"{core}-{repeat}.elf"
    defined = (f"-DREPEAT={repeat}", "-DMODEL_NO_MAIN", f"-I{folder}")
    link_for(core, program, "-O2", *flags, *defined, str(folder / "model.c"), str(folder / "selftest.c"))
    return run_on(core, program, plugin=plugin)


def compile_for(core: str) -> list[str]:
    """The beginning of a command that compiles for an emulated Cortex-M by gcc."""
    board = CORES[core]
    return [
        "arm-none-eabi-gcc",
        "-std=gnu99",
        "-mthumb",
        f"-mcpu={board.cpu}",
        *board.flags,
        "-ffunction-sections",
    ]


def link_for(core: str, program: Path, *arguments: str) -> None:
    """Link a program for an emulated Cortex-M, from sources or objects that define `model_selftest`.

    Raises:
        NoRoomError: It does not fit the board.
    """
    board = CORES[core]
    text = (EMULATION / "link.ld").read_text()
    places = {
        "FLASH_AT": board.flash[0],
        "FLASH_SIZE": board.flash[1],
        "RAM_AT": board.ram[0],
        "RAM_SIZE": board.ram[1],
    }
    for name, value in places.items():
        text = text.replace(name, value)
    script = program.with_suffix(".ld")
    script.write_text(text)
    linking = ["-T", str(script), "-nostartfiles", "--specs=nosys.specs", "-Wl,--gc-sections", "-lm"]
    command = [*compile_for(core), *arguments, str(EMULATION / "start.c"), *linking, "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True)
    if "overflowed" in built.stderr:
        raise NoRoomError(built.stderr[:3000])
    assert built.returncode == 0, built.stderr[:3000]


def run_on(core: str, program: Path, *, plugin: Path | None = None, folder: Path | None = None) -> Emulated:
    """Run a program on an emulated Cortex-M, in a folder whose files it may read and write."""
    machine = ["qemu-system-arm", "-M", CORES[core].machine, "-kernel", str(program), "-nographic", "-monitor", "none"]
    counting = ["-plugin", f"{plugin},top=0", "-d", "plugin"] if plugin else []
    semihosting = ["-serial", "none", "-semihosting-config", "enable=on,target=native"]
    done = subprocess.run(
        [*machine, *semihosting, *counting],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        stdin=subprocess.DEVNULL,
        cwd=folder,
    )
    printed = done.stdout + done.stderr
    line = re.search(r"wrong (\d+) stack (\d+) arena (\d+)", printed)
    assert line, printed[:2000]
    counted = re.search(r"INSNS (\d+)", printed)
    return Emulated(int(line[1]), int(line[2]), int(line[3]), int(counted[1]) if counted else None)


@functools.cache
def missing(*programs: str) -> str:
    """The first program that is not installed, "" if all are."""
    return next((program for program in programs if shutil.which(program) is None), "")
