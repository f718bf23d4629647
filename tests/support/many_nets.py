"""Answers of many exported nets on emulated Cortex-M: each compiled alone, as users do, and linked together."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from building_c import EMULATION, NoRoomError, compile_for, link_for, run_on

from edgepress.converters.to_c.emission import emit
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_c.passes import without_constant_channels
from edgepress.converters.to_c.placement import place

READER = Path(__file__).parents[2] / "benchmarks" / "microcontrollers" / "c99_items.c"
"""A program that answers the items of its standard input."""
TOGETHER = 48
"""Nets of a program at most; fewer where they do not fit the board."""
TRIES = 50
"""Orders of placement that are tried."""


@dataclass(frozen=True, eq=False)
class ExportedNet:
    """A net's C in a folder, with items and the answers to them, one row each, as they are stored."""

    name: str
    folder: Path
    program: Program
    items: npt.NDArray[Any]
    answers: npt.NDArray[Any]


def items_for(program: Program, count: int, seed: int) -> npt.NDArray[Any]:
    """Items as a file stores them: random ones, every fourth of equal numbers, and every fourth a ramp."""
    chance = np.random.default_rng(seed)
    size = program.input.size
    items = chance.integers(0, 256, (count, size), np.uint8)
    items[1::4] = chance.integers(0, 256, (len(items[1::4]), 1), np.uint8)
    items[2::4] = np.arange(size) * chance.integers(1, 9, (len(items[2::4]), 1)) // 4
    return items.view(program.input.dtype)


def write_net(
    file: Path,
    folder: Path,
    items: npt.NDArray[Any],
    answers: npt.NDArray[Any],
    *,
    smaller: bool = False,
    specialize: bool = False,
) -> ExportedNet:
    """Write the C of a file into a folder; `smaller`: by the kernels that take less memory."""
    program = without_constant_channels(lower(file))
    if smaller:
        program = replace(program, steps=tuple(step.smaller or step for step in program.steps))
    sources = emit(program, place(program, TRIES), specialize=specialize)
    folder.mkdir(parents=True)
    (folder / "model.h").write_text(sources.header)
    (folder / "model.c").write_text(sources.source)
    return ExportedNet(folder.name, folder, program, items, answers)


def wrong_nets(
    nets: Sequence[ExportedNet], core: str, *flags: str, folder: Path, compiler: str = "gcc"
) -> dict[str, int]:
    """Items that got another answer than expected on an emulated core, by the names of nets that have any."""
    folder.mkdir(parents=True)
    command = [*(_clang(core) if compiler == "clang" else compile_for(core)), *flags]
    with ThreadPoolExecutor() as pool:
        objects = list(pool.map(lambda at: _compile(nets[at], at, command, folder), range(len(nets))))
    wrong: dict[str, int] = {}
    at = 0
    together = TOGETHER
    while at < len(nets):
        numbers = range(at, min(at + together, len(nets)))
        try:
            answers = _run([nets[n] for n in numbers], numbers, objects, core, flags, folder)
        except NoRoomError:
            if together == 1:
                raise
            together //= 2
            continue
        for n, rows in zip(numbers, answers, strict=True):
            if count := int((rows != nets[n].answers).any(axis=1).sum()):
                wrong[nets[n].name] = count
        at += together
    return wrong


def wrong_hosted_nets(
    nets: Sequence[ExportedNet], compiler: Sequence[str], emulator: Sequence[str], *, folder: Path
) -> dict[str, int]:
    """The same for programs of an operating system, one a net; what a sanitizer finds is an error."""
    folder.mkdir(parents=True)

    def answer(number: int) -> int:
        net, program = nets[number], folder / str(number)
        sources = [f"-I{net.folder}", str(net.folder / "model.c"), str(READER), "-o", str(program)]
        done = subprocess.run([*compiler, *sources], capture_output=True, text=True)
        assert done.returncode == 0, f"{net.name}: {done.stderr[:3000]}"
        ran = subprocess.run([*emulator, str(program)], input=net.items.tobytes(), capture_output=True)
        assert ran.returncode == 0, f"{net.name}: {ran.stderr[:3000]!r}"
        rows = np.frombuffer(ran.stdout, net.answers.dtype).reshape(net.answers.shape)
        return int((rows != net.answers).any(axis=1).sum())

    with ThreadPoolExecutor() as pool:
        counts = list(pool.map(answer, range(len(nets))))
    return {net.name: count for net, count in zip(nets, counts, strict=True) if count}


def _compile(net: ExportedNet, number: int, command: Sequence[str], folder: Path) -> Path:
    target = folder / f"{number}.o"
    parts = [f"{part}{where}" for part in ("input", "run", "output", "reset") for where in ("", "_in")]
    renamed = [f"-Dmodel_{part}=net_{number}_{part}" for part in parts]
    source = [f"-I{net.folder}", "-c", str(net.folder / "model.c"), "-o", str(target)]
    done = subprocess.run([*command, *renamed, *source], capture_output=True, text=True)
    assert done.returncode == 0, f"{net.name}: {done.stderr[:3000]}"
    return target


def _run(
    nets: Sequence[ExportedNet],
    numbers: Sequence[int],
    objects: Sequence[Path],
    core: str,
    flags: Sequence[str],
    folder: Path,
) -> list[npt.NDArray[Any]]:
    """The answers of some nets, which are linked into one program."""
    count = len(nets[0].items)
    sizes = [(each.program.input.size, each.program.output.size) for each in nets]
    resets = [
        f"net_{n}_reset" if each.program.graph.states else "nothing" for n, each in zip(numbers, nets, strict=True)
    ]
    rows = " ".join(
        f"X({n}, {inputs}, {outputs}, {reset})"
        for n, (inputs, outputs), reset in zip(numbers, sizes, resets, strict=True)
    )
    (folder / "nets.h").write_text(f"#define COUNT {count}\n#define NETS(X) {rows}\n")
    (folder / "model.h").write_text("#define MODEL_ARENA_BYTES 0\n")
    linked = [str(objects[n]) for n in numbers]
    chosen = [flag for flag in flags if flag.startswith("-mcpu")]
    link_for(core, folder / "many.elf", "-Os", *chosen, "-DREPEAT=1", f"-I{folder}", str(EMULATION / "many.c"), *linked)
    (folder / "items").write_bytes(b"".join(each.items.tobytes() for each in nets))
    ran = run_on(core, folder / "many.elf", folder=folder)
    assert ran.wrong == 0, f"{ran.wrong} reads and writes failed"
    content = np.fromfile(folder / "answers", np.uint8)
    ends = np.cumsum([count * outputs for _, outputs in sizes])
    parts = np.split(content, ends[:-1])
    return [part.reshape(count, -1).view(each.program.output.dtype) for part, each in zip(parts, nets, strict=True)]


@functools.cache
def _headers() -> str:
    """The folder of the C library's headers, which gcc knows and clang does not."""
    command = ["arm-none-eabi-gcc", "-E", "-x", "c", "-"]
    printed = subprocess.run(command, input="#include <string.h>", capture_output=True, text=True, check=True).stdout
    found = re.search(r'"([^"]+)/string\.h"', printed)
    assert found, printed[:1000]
    return found[1]


def _clang(core: str) -> list[str]:
    """As `compile_for`, by clang."""
    return ["clang", "--target=arm-none-eabi", "-isystem", _headers(), *compile_for(core)[1:]]
