"""Does the C answer what TFLM answers: `equal`, `sanitized` and `cores` of c99.py.

Items are random numbers, equal numbers and ramps; every fourth is an image: of the test split of the data that the
file's contract names, or a picture of a folder, resized, its bytes shifted to the file's type.

`equal` needs gcc and EDGEPRESS_TFLM_PYTHON (c99_answers.py), `sanitized` gcc, `cores` the compilers and emulators of
CONTRIBUTING.md; it leaves out those that are missing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.lowering import Program, lower
from edgepress.runtime import read_contract
from edgepress.toolkit.shipping.exporting.c99 import selftest_words
from edgepress.toolkit.shipping.exporting.export import export
from edgepress.toolkit.shipping.exporting.folder import fill
from edgepress.toolkit.shipping.exporting.vectors import ProgramSession, Vectors, make_vectors

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "support"))
SEED = 3
NUMPY_ITEMS = 200
"""Items that NumPy answers; it is the slowest of the three."""
MOST_IMAGES = 2500
"""Most images of a file; further ones are the same again."""


def random_items(size: int, dtype: str, count: int) -> npt.NDArray[Any]:
    """Random items; every fourth of equal numbers, and every fourth a ramp."""
    chance = np.random.default_rng(SEED)
    items = chance.integers(0, 256, (count, size), np.uint8)
    items[1::4] = chance.integers(0, 256, (len(items[1::4]), 1), np.uint8)
    items[2::4] = np.arange(size) * chance.integers(1, 9, (len(items[2::4]), 1)) // 4
    return items.view(dtype)


def items_of(file: Path, program: Program, count: int, images: Path | None) -> tuple[npt.NDArray[Any], int]:
    """Items for a file, and how many different images are among them.

    Args:
        file: The file.
        program: What it computes.
        count: Number of items.
        images: Folder of pictures for a file whose contract names no data; None: its items are random.

    Returns:
        The items as they are stored, shape (count, numbers), and the number of images.
    """
    items, shape = random_items(program.input.size, program.input.dtype, count), program.input.shape
    contract, places = read_contract(file), len(items[3::4])
    if contract is not None and contract.data is not None:
        real = _test_items(file, program, min(places, MOST_IMAGES))
    elif images is not None and len(shape) == 4 and shape[-1] == 3:
        real = _pictures(images, shape[1:3], min(places, MOST_IMAGES)).astype(np.uint8)
        real = real.reshape(len(real), -1) if items.dtype == np.uint8 else (real ^ 0x80).view(np.int8)
    else:
        return items, 0
    items[3::4] = np.resize(real.reshape(len(real), -1), (places, program.input.size))
    return items, len(real)


class _Stored(ProgramSession):
    """Keeps items as the file stores them, and answers nothing."""

    def stored_answers(self, batch: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Zeros."""
        answers = np.zeros((len(batch), self.classes), np.int8)
        self.items += list(batch)
        self.answers += list(answers)
        return answers


def _test_items(file: Path, program: Program, count: int) -> npt.NDArray[Any]:
    """Items of the data that a file's contract names, prepared as the runtime does."""
    from edgepress.toolkit.data.for_model import describe

    about = describe(file)
    assert about.contract.data is not None
    session = _Stored(file, program, about.contract)
    return make_vectors(session, about, data=about.contract.data.source, samples=count)[0].inputs


def _pictures(folder: Path, size: tuple[int, int], count: int) -> npt.NDArray[np.uint8]:
    """Pictures of a folder in the order of their paths, shape (N, height, width, 3)."""
    from PIL import Image

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[:count]
    return np.stack([np.asarray(Image.open(path).convert("RGB").resize(size[::-1])) for path in paths])


def equal(count: int, files: list[Path], images: Path | None) -> None:
    """Print on how many items the C, and NumPy, answer what the wheel does."""
    from building_c import Library
    from c99_answers import standard_answers

    from edgepress.converters.to_c.passes import place_smallest, without_constant_channels

    with tempfile.TemporaryDirectory() as name:
        for number, file in enumerate(files):
            whole = lower(file)
            items, real = items_of(file, whole, count, images)
            expected = standard_answers(file, items)
            library = Library(*place_smallest(without_constant_channels(whole)), Path(name, str(number)), "-O2")
            by_c = library.answers(items)
            by_numpy = whole.answers(items[:NUMPY_ITEMS])
            same_c = int((by_c == expected).all(axis=1).sum())
            same_numpy = int((by_numpy == expected[:NUMPY_ITEMS]).all(axis=1).sum())
            answers = len(np.unique(expected, axis=0))
            print(
                f"{file}: C {same_c} of {count}, NumPy {same_numpy} of {len(by_numpy)}; {real} images, "
                f"{answers} different answers",
                flush=True,
            )


def sanitized(count: int, files: list[Path], images: Path | None) -> None:
    """Print on how many items the exported C answers alike with sanitizers and without; what they find is an error."""
    checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    with tempfile.TemporaryDirectory() as name:
        for file in files:
            folder, program = Path(name, file.stem), lower(file)
            export(file, out=folder, samples=1)
            items = items_of(file, program, count, images)[0].tobytes()
            answers = []
            for number, flags in enumerate(([], checks)):
                built = folder / f"items-{number}"
                sources = [str(folder / "model.c"), str(Path(__file__).with_name("c99_items.c"))]
                subprocess.run(["gcc", "-O2", *flags, f"-I{folder}", *sources, "-o", built], check=True)
                answers.append(subprocess.run([built], input=items, check=True, capture_output=True).stdout)
            plain, checked = (np.frombuffer(each, np.uint8).reshape(count, -1) for each in answers)
            print(
                f"{file}: {int((plain == checked).all(axis=1).sum())} of {count} answered alike, no finding", flush=True
            )


def cores(count: int, files: list[Path], images: Path | None) -> None:
    """Print on how many items the exported C answers what NumPy does, on each emulated core.

    A wrong answer on a core with Linux is an error.
    """
    from building_c import CORES, LINUX

    names = [*CORES, *(name for name in LINUX if name != "armv5")]
    print(f"| file | {' | '.join(names)} |\n|---|{'--:|' * len(names)}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for file in files:
            folder, program = Path(name, file.stem), lower(file)
            export(file, out=folder, samples=1)
            items = items_of(file, program, count, images)[0]
            answers = ProgramSession(file, program, None).stored_answers(items)
            vectors = Vectors("items of `items_of`", items, answers, None)
            kept = {"keeps": bool(program.graph.states), "anew": not program.is_stream}
            print(f"| {file.stem} | {' | '.join(_right(folder, core, vectors, kept) for core in names)} |", flush=True)


def _right(folder: Path, core: str, vectors: Vectors, kept: Mapping[str, bool]) -> str:
    """On how many items an exported folder's self-test is right on a core, or why it did not run there.

    Items lie in flash, so that those that do not fit beside the model are run by further programs.
    """
    from building_c import CORES, LINUX, NoRoomError, missing

    needed = ("arm-none-eabi-gcc", "qemu-system-arm") if core in CORES else (LINUX[core][0][0], LINUX[core][1][0])
    if absent := missing(*needed):
        return f"no {absent}"
    right, at, portion = 0, 0, len(vectors.inputs)
    while at < len(vectors.inputs):
        part = Vectors(vectors.source, vectors.inputs[at : at + portion], vectors.outputs[at : at + portion], None)
        (folder / "selftest.c").write_text(fill("c99/selftest.c", **selftest_words(part, **kept)))
        try:
            right += _run_selftest(folder, core, len(part.inputs))
        except NoRoomError:
            if portion == 1:
                return "no room"
            portion //= 2
        else:
            at += portion
    return f"{right} of {len(vectors.inputs)}"


def _run_selftest(folder: Path, core: str, count: int) -> int:
    """Number of items that a self-test of so many answers right."""
    from building_c import CORES, LINUX, emulate, selftest_output

    if core in CORES:
        return count - emulate(folder, core).wrong
    compiler, emulator = LINUX[core]
    return int(selftest_output(folder, *compiler, "-O2", run=tuple(emulator)).partition(" of")[0])
