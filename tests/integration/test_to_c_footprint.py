"""Memory that a program takes: it is what the C takes, and no more than needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from building_c import Library, emulate, missing
from c99_graphs import Maker, items

from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_c.placement import place
from edgepress.toolkit.shipping.exporting.export import export


def saved(maker: Maker, folder: Path) -> Path:
    path = folder / "graph.tflite"
    path.write_bytes(maker.model())
    return path


@pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
@pytest.mark.parametrize(("image", "kernel"), [((8, 8, 128), (8, 8)), ((1, 1, 64), (1, 1)), ((3, 5, 7), (3, 5))])
def test_a_window_of_the_whole_image_needs_no_copy(
    image: tuple[int, int, int], kernel: tuple[int, int], tmp_path: Path
) -> None:
    program = lower(saved(Maker("whole", image).conv(16, kernel, same=False), tmp_path))
    placed = place(program)
    (step,) = program.steps
    assert step.scratch is None
    assert placed.arena <= step.inputs[0].size + step.output.size + 7, "both, and what aligns them"
    rows = items("whole", program.input.size, program.input.dtype)
    assert Library(program, placed, tmp_path / "c").answers(rows).tolist() == program.answers(rows).tolist()


@pytest.mark.parametrize("kernel", [(3, 3), (4, 4), (16, 16)])
def test_the_stack_of_large_windows_is_reported(kernel: tuple[int, int], tmp_path: Path) -> None:
    if absent := missing("arm-none-eabi-gcc", "qemu-system-arm"):
        pytest.skip(f"{absent} is not installed")
    path = saved(Maker("window", (18, 18, 4)).depthwise(1, kernel), tmp_path)
    made = export(path, out=tmp_path / "c", samples=2)
    result, reported = emulate(made.folder, "m4"), made.report["ram"]["stack"]
    assert result.wrong == 0
    assert reported - 160 <= result.stack <= reported + 160, "the test's own frames and memcpy's"


def fillers(program: Program) -> list[int]:
    """Biases of channels that fill up to a multiple of 4."""
    return [int(bias) for step in program.steps for bias in step.layer["bias"][step.output.shape[-1] :]]


def test_channels_that_fill_up_have_no_biases_that_may_overflow(tmp_path: Path) -> None:
    assert fillers(lower(saved(Maker("odd", (6, 5, 4)).conv(5, (3, 3)).conv(6, (1, 1)), tmp_path))) == [0] * 5


@pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
def test_a_compiler_that_knows_all_numbers_sees_no_write_behind_the_arena(tmp_path: Path) -> None:
    """Windows that never leave the image have no copy, which a buffer at the end of the arena has no room for."""
    program = lower(saved(Maker("inside", (48, 48, 8)).conv(16, (1, 1)).depthwise(1, (3, 3), (2, 2)), tmp_path))
    Library(program, place(program), tmp_path / "c", "-O2", specialize=True)
