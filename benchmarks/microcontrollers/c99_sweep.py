"""Does the C answer what TFLM answers on emulated cores, for every kernel and number of values behind whole vectors?

    python benchmarks/microcontrollers/c99_sweep.py [--seed 0] [--count 1000] [--cores m55,m55-plain,m4,m0,riscv64,host]
        [--levels=-O1,-O2,-O3,-Os] [--compilers gcc,clang] [--kinds dense-inputs,...] [--specialize]

Nets of tests/support/c99_tails.py: each kind with lengths whose tail is 1 to 16, everything else drawn by the seed;
those with convolutions also by the kernels that take less memory. Each is compiled by itself and answers as many items
as --count says. `m55-plain` is a Cortex-M55 without vectors, `host` this machine with sanitizers for addresses and for
what C does not define. Exits with 1 if an answer differs. Needs arm-none-eabi-gcc, qemu-system-arm, clang,
riscv64-linux-gnu-gcc, qemu-riscv64, and EDGEPRESS_TFLM_PYTHON (c99_answers.py).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "support"))

from building_c import LINUX  # noqa: E402
from c99_answers import many_standard_answers  # noqa: E402
from c99_tails import KINDS, TAILS, tail_net  # noqa: E402
from many_nets import ExportedNet, items_for, write_net, wrong_hosted_nets, wrong_nets  # noqa: E402

from edgepress.converters.to_c.lowering import lower  # noqa: E402

CORES = {"m55": ("m55", ()), "m55-plain": ("m55", ("-mcpu=cortex-m55+nomve",)), "m4": ("m4", ()), "m0": ("m0", ())}
"""Emulated boards and flags of compilers, by the names of --cores."""
HOSTED: dict[str, dict[str, tuple[list[str], list[str]]]] = {
    "riscv64": {"gcc": LINUX["riscv64"]},
    "host": {
        each: ([each, "-fsanitize=address,undefined", "-fno-sanitize-recover=all"], []) for each in ("gcc", "clang")
    },
}
"""Cores with an operating system, by the names of --cores: command and emulator of each compiler."""


class Options(NamedTuple):
    """The command line."""

    seed: int
    count: int
    cores: list[str]
    levels: list[str]
    compilers: list[str]
    kinds: list[str]
    specialize: bool


def make_nets(options: Options, folder: Path) -> list[ExportedNet]:
    """The C of all nets, with TFLM's answers."""
    files = [(f"{kind}-{tail}", folder / f"{kind}-{tail}.tflite") for kind in options.kinds for tail in TAILS]
    for name, path in files:
        kind, _, tail = name.rpartition("-")
        path.write_bytes(tail_net(kind, int(tail), options.seed))
    pairs = [(path, items_for(lower(path), options.count, options.seed)) for _, path in files]
    nets = []
    for (name, path), (_, items), answers in zip(files, pairs, many_standard_answers(pairs), strict=True):
        for smaller in (False, True) if name.startswith(("conv", "chain")) else (False,):
            target = folder / (f"{name}-smaller" if smaller else name)
            nets.append(write_net(path, target, items, answers, smaller=smaller, specialize=options.specialize))
    return nets


def sweep(options: Options, folder: Path) -> bool:
    """Print a row for each core, compiler and level; whether all answers are equal."""
    nets = make_nets(options, folder)
    print(
        "| core | compiler | level | nets | items | nets with another answer |\n|---|---|---|--:|--:|---|", flush=True
    )
    equal = True
    for core in options.cores:
        for compiler in options.compilers:
            if core in HOSTED and compiler not in HOSTED[core]:
                continue
            for level in options.levels:
                built = folder / f"{core}{compiler}{level}"
                if core in HOSTED:
                    command, emulator = HOSTED[core][compiler]
                    wrong = wrong_hosted_nets(nets, [*command, level], emulator, folder=built)
                else:
                    board, flags = CORES[core]
                    wrong = wrong_nets(nets, board, *flags, level, folder=built, compiler=compiler)
                names = ", ".join(f"{name} ({count})" for name, count in wrong.items()) or "none"
                print(f"| {core} | {compiler} | {level} | {len(nets)} | {options.count} | {names} |", flush=True)
                equal = equal and not wrong
    return equal


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000, help="items of each net")
    lists = {
        "cores": (*CORES, *HOSTED),
        "levels": ("-O1", "-O2", "-O3", "-Os"),
        "compilers": ("gcc", "clang"),
        "kinds": KINDS,
    }
    for name, values in lists.items():
        parser.add_argument(f"--{name}", type=lambda text: text.split(","), default=[*values])
    parser.add_argument("--specialize", action="store_true", help="give each layer C of its own")
    options = Options(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory() as name:
        sys.exit(not sweep(options, Path(name)))


if __name__ == "__main__":
    main()
