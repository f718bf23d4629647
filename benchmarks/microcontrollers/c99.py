"""`edgepress export --to c99`: equality with TFLM, memory, flash and instructions on emulated Cortex-M.

    python benchmarks/microcontrollers/c99.py sizes FILE.tflite ...  # memory, flash, instructions
    python benchmarks/microcontrollers/c99.py mve FILE.tflite ...  # instructions on Cortex-M55 by vectors and without
    python benchmarks/microcontrollers/c99.py equal 10000 FILE.tflite ...  # answers of the C, NumPy, the wheel
    python benchmarks/microcontrollers/c99.py sanitized 10000 FILE.tflite ...  # by gcc's sanitizers
    python benchmarks/microcontrollers/c99.py cores 100 FILE.tflite ...  # answers of the C on every emulated core
    python benchmarks/microcontrollers/c99.py native FILE.tflite ...  # latency of the engine native and of LiteRT here

`equal`, `sanitized` and `cores` are in c99_equality.py, which says what items they take; `--images FOLDER` gives them
photos for files whose contract names no data. `sizes` and `mve` need arm-none-eabi-gcc, qemu-system-arm and gcc,
`native` a C compiler. Instructions are counted, not timed: they say nothing of milliseconds.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "support"))
from c99_equality import cores, equal, random_items, sanitized  # noqa: E402

ROUNDS = 40
"""Turns of each engine."""
CALLS = 5
"""Calls in a turn."""


class Tflm(NamedTuple):
    """TFLM on the same emulated core, from a prototype of 2026-11-28: it can't be built here.

    Attributes:
        ram: Bytes of its arena.
        flash: Bytes of code and constants.
        reference: Instructions with its reference kernels.
        cmsis: Instructions with CMSIS-NN.
    """

    ram: int
    flash: int
    reference: float
    cmsis: float


TFLM = {
    "kws_ref_model": Tflm(22_772, 43_000 + 54_000, 41.9e6, 7.62e6),
    "vww_96_int8": Tflm(100_660, 43_000 + 333_000, 98.6e6, 24.0e6),
    "pretrainedResnet_quant": Tflm(54_340, 47_000 + 98_000, 105.8e6, 29.6e6),
    "ad01_int8": Tflm(2_260, 0, 1.95e6, 0.584e6),
}
"""By the stem of the file: those of MLPerf Tiny. The flash of ad01 was not measured."""


def counting_plugin(folder: Path) -> Path:
    """QEMU's plugin that counts instructions, built in a folder."""
    source, plugin = Path(__file__).with_name("c99_count.c"), folder / "count.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", source, "-o", plugin], check=True)
    return plugin


def instructions(folder: Path, plugin: Path, items: int, core: str = "m4", *flags: str) -> tuple[float, int]:
    """Instructions for an item, and the stack, on an emulated core."""
    from building_c import emulate

    once, twice = (emulate(folder, core, *flags, repeat=repeat, plugin=plugin) for repeat in (1, 2))
    assert once.wrong == twice.wrong == 0
    assert once.instructions is not None
    assert twice.instructions is not None
    return (twice.instructions - once.instructions) / items, once.stack


def flash(folder: Path) -> int:
    """Code and constants, as the compiler makes them for Cortex-M4."""
    target, source = str(folder / "model.o"), str(folder / "model.c")
    command = ["arm-none-eabi-gcc", "-std=c99", "-O2", "-mcpu=cortex-m4", "-mthumb", "-c", source]
    subprocess.run([*command, "-o", target], check=True)
    printed = subprocess.run(["arm-none-eabi-size", target], check=True, capture_output=True, text=True).stdout
    return int(printed.splitlines()[1].split()[0])


def sizes(files: list[Path]) -> None:
    """Print a table with a row for each file and kind of kernels."""
    from edgepress.toolkit.shipping.exporting.export import export

    head = (
        "file",
        "kernels",
        "RAM",
        "of TFLM's",
        "flash",
        "of TFLM's",
        "instructions",
        "fewer than TFLM's",
        "of CMSIS-NN's",
    )
    print(f"| {' | '.join(head)} |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as name:
        plugin = counting_plugin(Path(name))
        for file in files:
            for specialize in (False, True):
                folder = Path(name, f"{file.stem}-{specialize}")
                made = export(file, out=folder, samples=2, specialize=specialize)
                count, stack = instructions(folder, plugin, 2)
                arena, bytes_of_flash = made.report["ram"]["arena"], flash(folder)
                cells = [
                    file.stem,
                    "specialized" if specialize else "shared",
                    f"{arena} + {stack}",
                    str(bytes_of_flash),
                ]
                ratios = ["", "", "", ""]
                if peer := TFLM.get(file.stem):
                    ratios = [f"{arena / peer.ram:.2f}", f"{bytes_of_flash / peer.flash:.2f}" if peer.flash else ""]
                    ratios += [f"{peer.reference / count:.1f}", f"{count / peer.cmsis:.2f}"]
                row = [*cells[:3], ratios[0], cells[3], ratios[1], f"{count / 1e6:.2f} M", *ratios[2:]]
                print(f"| {' | '.join(row)} |", flush=True)


def mve(files: list[Path]) -> None:
    """Print the instructions on an emulated Cortex-M55 with and without its vectors; wrong answers are an error."""
    from edgepress.toolkit.shipping.exporting.export import export

    print("| file | instructions | without vectors | times fewer |\n|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as name:
        plugin = counting_plugin(Path(name))
        for file in files:
            folder = Path(name, file.stem)
            export(file, out=folder, samples=2)
            vectors, _ = instructions(folder, plugin, 2, "m55")
            plain, _ = instructions(folder, plugin, 2, "m55", "-DEP_NO_MVE")
            cells = f"{vectors / 1e6:.2f} M | {plain / 1e6:.2f} M | {plain / vectors:.1f}"
            print(f"| {file.stem} | {cells} |", flush=True)


def native(files: list[Path]) -> None:
    """Print the least latency of the engine native and of LiteRT with one thread, timed in turns."""
    from edgepress.runtime import load
    from edgepress.toolkit.shipping.bundles.native import build_library, write_native

    with tempfile.TemporaryDirectory() as name:
        for number, file in enumerate(files):
            folder = Path(name, str(number))
            folder.mkdir()
            path = Path(shutil.copy(file, folder / "model.tflite"))
            write_native(path)
            build_library(folder)
            models = {engine: load(path, engine) for engine in ("litert", "native")}
            shape, dtype = models["litert"].ready
            item = random_items(int(np.prod(shape)), str(dtype), 1).reshape(shape)
            times: dict[str, list[float]] = {engine: [] for engine in models}
            for _ in range(ROUNDS):
                for engine, model in models.items():
                    model.outputs(item)  # the caches hold the weights of the other one
                    for _ in range(CALLS):
                        begin = time.perf_counter()
                        model.outputs(item)
                        times[engine].append((time.perf_counter() - begin) * 1e6)
            us = {engine: min(each) for engine, each in times.items()}
            ratio = us["native"] / us["litert"]
            print(
                f"{file.stem}: native {us['native']:.0f} us, litert {us['litert']:.0f} us, {ratio:.1f} times",
                flush=True,
            )


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    compared, measured = (equal, sanitized, cores), (sizes, mve, native)
    for command in (*compared, *measured):
        options = commands.add_parser(command.__name__, help=command.__doc__)
        if command in compared:
            options.add_argument("count", type=int, help="number of items")
            options.add_argument("--images", type=Path, help="folder of pictures")
        options.add_argument("files", type=Path, nargs="+")
        options.set_defaults(run=command)
    given = vars(parser.parse_args())
    given.pop("command")
    given.pop("run")(**given)


if __name__ == "__main__":
    main()
