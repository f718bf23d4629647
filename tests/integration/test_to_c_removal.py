"""Channels that never change are left out where nothing else reads them; `test_to_c.py` compares answers with TFLM."""

from __future__ import annotations

from pathlib import Path

from c99_graphs import GRAPHS, Maker, items

from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_c.passes import without_constant_channels


def lowered(content: bytes, folder: Path) -> Program:
    path = folder / "graph.tflite"
    path.write_bytes(content)
    return lower(path)


def test_most_graphs_with_constant_channels_lose_some(tmp_path: Path) -> None:
    programs = [lowered(GRAPHS[name](name), tmp_path) for name in GRAPHS if name.startswith("removal")]
    fewer = [program for program in programs if without_constant_channels(program).macs < program.macs]
    assert len(fewer) >= len(programs) / 2
    for program in fewer:
        for step, smaller in zip(program.steps, without_constant_channels(program).steps, strict=True):
            left = smaller.output.shape[-1]
            assert left == step.output.shape[-1] or left % 4 == 0, "kernels read whole words"


def test_a_tensor_that_others_read_too_keeps_the_channels_that_never_change_after_it(tmp_path: Path) -> None:
    """The depthwise convolution makes them constant; the convolution beside it reads what they were before."""
    maker = Maker("beside", (6, 5, 4)).conv(12, (3, 3))
    both = maker.at
    maker.depthwise(1, (3, 3), activation=1)
    maker.constant_biases(8)
    first = maker.conv(4, (1, 1)).at
    maker.at, maker.shape = both, (6, 5, 12)
    maker.conv(4, (1, 1)).join("ADD", first)
    program = lowered(maker.model(), tmp_path)
    assert sum(step.constant_channels for step in program.steps) >= 8
    rows = items("beside", program.input.size, program.input.dtype)
    assert without_constant_channels(program).answers(rows).tolist() == program.answers(rows).tolist()
