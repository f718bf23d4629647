"""`edgepress compress --max-ram --max-flash`: does what comes out fit, as the linker and an emulated board measure it?

    python benchmarks/microcontrollers/compress_limits.py OUT RAM FLASH MODEL.keras ...

`OUT` is a folder for the results; RAM and FLASH are sizes such as 8kB. It needs arm-none-eabi-gcc, qemu-system-arm and
gcc. RAM is the arena and the deepest stack on an emulated Cortex-M4 (mps2-an386), flash what the compiler makes.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "support"))
MAX_DROP = 2.0
"""Percentage points that may be lost."""
HEAD = ("model", "as", "arena", "stack", "RAM limit", "computed", "flash", "flash limit", "computed", "answers", "drop")


def measure(model: Path, out: Path, max_ram: str, max_flash: str) -> list[str]:
    """A row of the table: what is measured beside the limit and what was computed."""
    from building_c import emulate
    from c99 import flash

    from edgepress.toolkit.search.compression.compress import compress
    from edgepress.toolkit.shipping.exporting.export import export

    result = compress(model, max_drop=MAX_DROP, max_ram=max_ram, max_flash=max_flash, out=out)
    document = result.document
    if result.model is None:
        return [model.parent.name, document["why"], *[""] * (len(HEAD) - 2)]
    best = document["trials"][document["best"]]
    made = export(result.model, out=out / "c99", data=document["data"]["source"], samples=20)
    on_board = emulate(made.folder, "m4")
    figures = [on_board.arena, on_board.stack, document["limits"]["ram"], best["ram_bytes"]]
    figures += [flash(made.folder), document["limits"]["flash"], best["flash_bytes"]]
    answers = f"{20 - on_board.wrong} of 20"
    return [model.parent.name, best["how"], *(f"{each:.0f}" for each in figures), answers, f"{best['drop_pp']:.2f}"]


def main() -> None:
    """Print a table with a row for each model."""
    out, max_ram, max_flash, *models = sys.argv[1:]
    print(f"| {' | '.join(HEAD)} |")
    print(f"|---|---|{'--:|' * (len(HEAD) - 2)}")
    for model in map(Path, models):
        print(f"| {' | '.join(measure(model, Path(out, model.parent.name), max_ram, max_flash))} |", flush=True)


if __name__ == "__main__":
    main()
