"""`edgepress export --to c99` beside other generators of C on PyPI: instructions, memory and flash on a Cortex-M4.

    python -m venv rivals && rivals/bin/pip install 'bakenn[tflite]==1.0.0' emx-onnx-cgen==1.4.0 emlearn==0.23.2
    EDGEPRESS_RIVALS_PYTHON=rivals/bin/python EDGEPRESS_TFLM_PYTHON=... \
        python benchmarks/microcontrollers/c99_rivals.py FILE.tflite ...

Prints a row for each file and generator: what it takes, ours divided by that, and on how many items
its answer is TFLM's (c99_answers.py). onnx2c is missing: it is neither on PyPI nor in Debian.

BakeNN refuses the files of MLPerf Tiny as they are, so that it also gets a copy with fixed batches, options of RESHAPE
and without the last SOFTMAX; ours is then measured on that copy. Its kernels are those that it has for Cortex-M4.
emx-onnx-cgen gets the file as ONNX by tf2onnx, and keeps all temporary tensors on the stack, because the board has no
heap. emlearn takes dense layers alone, and computes in float, as emx-onnx-cgen does between its quantizations; for
both, the compiler may use the core's floating-point unit. RAM is what the linker reserves, input and output included,
and the deepest stack; flash is the program without what runs the items. Instructions are counted, not timed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "support"))

from building_c import emulate  # noqa: E402
from c99 import counting_plugin  # noqa: E402
from c99_answers import standard_answers  # noqa: E402
from c99_equality import random_items  # noqa: E402
from c99_rival_code import HEADER, RIVALS, SOURCE, RefusedError, Rival  # noqa: E402

from edgepress.converters.to_c.lowering import lower  # noqa: E402
from edgepress.toolkit.shipping.exporting.c99 import selftest_words  # noqa: E402
from edgepress.toolkit.shipping.exporting.export import export  # noqa: E402
from edgepress.toolkit.shipping.exporting.folder import fill  # noqa: E402
from edgepress.toolkit.shipping.exporting.vectors import Vectors  # noqa: E402

ITEMS = 4
"""Random ones, one of equal numbers and a ramp."""
CORE = "m4"
HEAD = ("file", "generator", "instructions", "ours", "RAM", "ours", "flash", "ours", "equal to TFLM's")


class Taken(NamedTuple):
    """What a program takes.

    Attributes:
        instructions: For an item.
        ram: Bytes that the linker reserves, and the deepest stack.
        flash: Bytes of code and constants.
        equal: Items whose answer is TFLM's.
    """

    instructions: float
    ram: int
    flash: int
    equal: int


def measure(folder: Path, plugin: Path, vectors: Vectors, flags: list[str]) -> Taken:
    """What the program in a folder takes on the emulated core."""
    (folder / "selftest.c").write_text(fill("c99/selftest.c", **selftest_words(vectors)))
    once, twice = (emulate(folder, CORE, "-fdata-sections", *flags, repeat=repeat, plugin=plugin) for repeat in (1, 2))
    assert once.instructions is not None
    assert twice.instructions is not None
    text, reserved = sections(folder / f"{CORE}-1.elf")
    count = (twice.instructions - once.instructions) / len(vectors.inputs)
    return Taken(count, reserved + once.stack, text, len(vectors.inputs) - once.wrong)


def sections(program: Path) -> tuple[int, int]:
    """Bytes of code and constants, and of memory, of a program."""
    printed = subprocess.run(["arm-none-eabi-size", program], check=True, capture_output=True, text=True).stdout
    text, data, bss = map(int, printed.splitlines()[1].split()[:3])
    return text + data, data + bss


def around(folder: Path, plugin: Path, vectors: Vectors) -> Taken:
    """What runs the items takes: a program whose model does nothing."""
    folder.mkdir()
    sizes = {"inputs": vectors.inputs.shape[1], "outputs": vectors.outputs.shape[1]}
    (folder / "model.h").write_text(HEADER.format(**sizes))
    (folder / "model.c").write_text(SOURCE.format(includes="", memory="", run=""))
    return measure(folder, plugin, vectors, [])


def row(file: Path, rival: Rival, plugin: Path, folder: Path) -> list[str]:
    """A row of the table."""
    given = rival.file(file, folder)
    program = lower(given)
    items = random_items(program.input.size, program.input.dtype, ITEMS)
    vectors = Vectors("random", items, standard_answers(given, items), None)
    (folder / "rival").mkdir()
    try:
        flags = rival.write(given, folder / "rival")
    except RefusedError as e:
        return [file.stem, rival.name, f"refused: {e}", *[""] * (len(HEAD) - 3)]
    theirs = measure(folder / "rival", plugin, vectors, flags)
    ours = measure(export(given, out=folder / "ours", samples=1).folder, plugin, vectors, [])
    rest = around(folder / "around", plugin, vectors).flash
    assert ours.equal == ITEMS
    return [
        file.stem,
        rival.name,
        f"{theirs.instructions / 1e6:.2f} M",
        f"{ours.instructions / theirs.instructions:.2f}",
        str(theirs.ram),
        f"{ours.ram / theirs.ram:.2f}",
        str(theirs.flash - rest),
        f"{(ours.flash - rest) / (theirs.flash - rest):.2f}",
        f"{theirs.equal} of {ITEMS}",
    ]


def main() -> None:
    """Print the table."""
    files = [Path(word).resolve() for word in sys.argv[1:]]
    print(f"| {' | '.join(HEAD)} |\n|---|---|{'--:|' * (len(HEAD) - 2)}")
    with tempfile.TemporaryDirectory() as name:
        plugin = counting_plugin(Path(name))
        for number, (file, rival) in enumerate((file, rival) for file in files for rival in RIVALS):
            folder = Path(name, str(number))
            folder.mkdir()
            print(f"| {' | '.join(row(file, rival, plugin, folder))} |", flush=True)


if __name__ == "__main__":
    main()
