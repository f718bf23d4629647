"""What Vela leaves of integer-only files to the processor, and what it estimates, on NPUs of three generations.

    python benchmarks/microcontrollers/ethos_u.py FILE.tflite [FILE.tflite ...] [--accelerators ethos-u55-128,...]

Files: those of `c99_nets.py`, or of `convert --to tflite-int8 --target integer-only`. Times are Vela's estimates.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.shipping.exporting.ethos_u import compile_file

USUAL = "ethos-u55-128,ethos-u65-256,ethos-u85-512"


def main() -> None:
    """Print a row for each file and NPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--accelerators", default=USUAL)
    args = parser.parse_args()
    whole = rows = 0
    print(
        "| file | NPU | operations on it | on the processor | ms, estimated | SRAM, bytes |\n|---|---|--:|---|--:|--:|"
    )
    for file in args.files:
        for accelerator in args.accelerators.split(","):
            rows += 1
            try:
                compiled = compile_file(file, accelerator)
            except EdgepressError as e:
                print(f"| {file.stem} | {accelerator} | - | {e.message} | | |", flush=True)
                continue
            whole += not compiled.cpu
            left = ", ".join(f"{count} {kind}" for kind, count in sorted(compiled.cpu.items())) or "none"
            about = compiled.estimate
            figures = f"{1000 * about['inference_s']:.3f} | {about['sram_bytes']}"
            print(f"| {file.stem} | {accelerator} | {compiled.npu} | {left} | {figures} |", flush=True)
    print(f"{whole} of {rows} compiled files leave nothing to the processor.")


if __name__ == "__main__":
    main()
