"""C on an emulated Cortex-M55, M4 and M0 for every kernel and number of values behind whole vectors.

The fast test draws some nets; `benchmarks/microcontrollers/c99_sweep.py` compares all of them with TFLM.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from building_c import missing
from c99_tails import KINDS, TAILS, tail_net
from many_nets import ExportedNet, items_for, write_net, wrong_nets

from edgepress.converters.to_c.emission import KERNELS
from edgepress.converters.to_c.lowering import lower

ITEMS = 12
LEVELS = ("-O1", "-O2", "-O3", "-Os")
needs_board = pytest.mark.skipif(
    missing("arm-none-eabi-gcc", "qemu-system-arm") != "", reason="no compiler or emulator for Cortex-M"
)


def made(kind: str, tail: int, seed: int, folder: Path, *, smaller: bool, specialize: bool = False) -> ExportedNet:
    """A net with NumPy's answers, which other tests compare with TFLM's."""
    name = f"{kind}-{tail}-{seed}-{smaller}"
    file = folder / f"{name}.tflite"
    file.write_bytes(tail_net(kind, tail, seed))
    program = lower(file)
    items = items_for(program, ITEMS, seed)
    return write_net(file, folder / name, items, program.answers(items), smaller=smaller, specialize=specialize)


@needs_board
def test_every_tail_of_dense_nets_and_drawn_ones_of_other_kernels_answer_equally(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    draw = random.Random(seed)
    nets = [made("dense-inputs", tail, seed, tmp_path, smaller=False) for tail in TAILS]
    for kind in draw.sample([kind for kind in KINDS if kind != "dense-inputs"], 8):
        nets.append(made(kind, draw.choice(TAILS), seed, tmp_path, smaller=draw.random() < 0.5))
    for level in ("-O2", draw.choice(("-O1", "-O3", "-Os"))):
        assert wrong_nets(nets, "m55", level, folder=tmp_path / level) == {}, (seed, level)


@needs_board
@pytest.mark.slow
@pytest.mark.parametrize("core", ["m55", "m4", "m0"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_drawn_kernels_answer_equally_with_every_tail(core: str, compiler: str, tmp_path: Path) -> None:
    """A tenth of the kinds; `benchmarks/microcontrollers/c99_sweep.py` compares all, at all levels."""
    if absent := missing(compiler):
        pytest.skip(f"{absent} is not installed")
    seed = random.randrange(1 << 30)
    draw = random.Random(seed)
    nets = [
        made(kind, tail, seed, tmp_path, smaller=smaller, specialize=draw.random() < 0.5)
        for kind in draw.sample([*KINDS], len(KINDS) // 10)
        for tail in TAILS
        for smaller in ((False, True) if kind.startswith("conv") else (False,))
    ]
    level = draw.choice(LEVELS)
    assert wrong_nets(nets, core, level, folder=tmp_path / level, compiler=compiler) == {}, (seed, level)


@pytest.mark.parametrize("kernel", sorted(path.stem for path in KERNELS.glob("*.c")))
def test_kernels_use_no_intrinsic_whose_memory_gcc_describes_as_one_byte(kernel: str) -> None:
    """See `base.c`: loads that widen bytes or gather them, and stores that narrow to bytes."""
    text = (KERNELS / f"{kernel}.c").read_text()
    assert not re.findall(r"\bv(?:ld|st)rbq_\w*[su](?:16|32)\b|\bvldr\w*_gather_\w+", text)
