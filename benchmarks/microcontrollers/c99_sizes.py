"""Code and stack of each kernel of `edgepress export --to c99`, as the compiler for Cortex-M4 makes them.

Prints `converters/to_c/sizes.toml`. Needs arm-none-eabi-gcc (Debian: gcc-arm-none-eabi, libnewlib-arm-none-eabi).

    python benchmarks/microcontrollers/c99_sizes.py > converters/to_c/sizes.toml
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from edgepress.converters.to_c.emission import KERNELS, NEEDS, files_of, kernel_text

COMPILER = "arm-none-eabi-gcc"
FLAGS = ("-std=c99", "-O2", "-mcpu=cortex-m4", "-mthumb", "-ffunction-sections", "-fstack-usage")
TAPS = 9
"""Pixels of the window of the depthwise kernel, which keeps two offsets of each on its stack."""


def measure(kernel: str, folder: Path) -> tuple[int, int]:
    """Bytes of code, and of stack, of a kernel that is compiled alone: of its functions, as if each called the next."""
    source = folder / f"{kernel}.c"
    parts = [
        "#include <stdint.h>\n#include <string.h>\n#define EP_SPECIALIZE 0",
        f"#define EP_TAPS {TAPS}\n#define EP_MANY_CLASSES 0\n#define EP_ALL_SMALL 1\n#define EP_ALL_FULL 0",
        *(kernel_text(name) for name in files_of([kernel])),
        f"extern const void *const use_{kernel};\nconst void *const use_{kernel} = (const void *)ep_{kernel};",
    ]
    source.write_text("\n".join(parts))
    subprocess.run([COMPILER, *FLAGS, "-c", source.name, "-o", f"{kernel}.o"], cwd=folder, check=True)
    sections = subprocess.run(
        [COMPILER.replace("gcc", "size"), "-A", f"{kernel}.o"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout
    code = sum(int(size) for size in re.findall(r"^\.text\S*\s+(\d+)", sections, flags=re.MULTILINE))
    stack = sum(int(line.split("\t")[1]) for line in (folder / f"{kernel}.su").read_text().splitlines())
    return code, stack


def main() -> None:
    """Print the table."""
    version = subprocess.run([COMPILER, "--version"], check=True, capture_output=True, text=True).stdout
    print(f"# Printed by benchmarks/microcontrollers/c99_sizes.py: {version.splitlines()[0]}, {' '.join(FLAGS[1:4])}.")
    helpers = {name for names in NEEDS.values() for name in names} | {"base"}
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(KERNELS.glob("*.c")):
            if path.stem not in helpers:
                code, stack = measure(path.stem, Path(folder))
                print(f"{path.stem} = {{ code = {code}, stack = {stack} }}")


if __name__ == "__main__":
    main()
