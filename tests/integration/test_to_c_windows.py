"""Windows that take less memory, and layers of one channel: the same answers, smaller arenas, smaller constants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from building_c import Library, missing
from c99_cases import compiled_graphs
from c99_graphs import GRAPHS, Maker, graph, items
from c99_overlap import least_distance, with_overlap

from edgepress.converters.to_c.convolution import FEW
from edgepress.converters.to_c.emission import emit
from edgepress.converters.to_c.footprint import kernel_sizes
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_c.placement import SLACK, place, with_smaller_windows

needs_gcc = pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")


def lowered(content: bytes, folder: Path) -> Program:
    path = folder / "graph.tflite"
    path.write_bytes(content)
    return lower(path)


def smallest(program: Program) -> Program:
    """The program with the kernels that take the least memory."""
    return replace(program, steps=tuple(step.smaller or step for step in program.steps))


@needs_gcc
@pytest.mark.parametrize("specialize", [False, True])
@pytest.mark.parametrize("name", compiled_graphs("conv", "dense-one-channel"))
def test_kernels_of_less_memory_answer_the_same_at_their_distance(name: str, specialize: bool, tmp_path: Path) -> None:
    program = smallest(lowered(graph(name), tmp_path))
    (step,) = program.steps
    rows = items(name, program.input.size, program.input.dtype)
    expected = program.answers(rows).tolist()
    sanitized = ("-O0", "-fsanitize=undefined", "-fno-sanitize-recover=all", "-static-libubsan")
    built = Library(program, with_overlap(step, step.distances[0]), tmp_path / "c", *sanitized, specialize=specialize)
    assert built.answers(rows).tolist() == expected
    assert 0 <= step.distances[0] - max(least_distance(step), -step.inputs[0].size) <= 2


def test_a_window_that_decides_the_arena_stays_in_bytes(tmp_path: Path) -> None:
    """The window of 12 x 12 x 16 takes 9216 bytes as two of 16 bits, the input 2704."""
    program = lowered(Maker("large", (13, 13, 16)).conv(8, (12, 12), same=False).conv(4, (1, 1)).model(), tmp_path)
    smaller = with_smaller_windows(program)
    assert [step.kernel for step in program.steps] == ["conv", "conv"]
    assert [step.kernel for step in smaller.steps] == ["conv_bytes", "conv"]
    assert place(program).arena >= 2704 + 4 * 2304
    assert place(smaller).arena <= 2704 + 2304 + 32 + 3


def test_windows_within_the_slack_keep_the_faster_kernel(tmp_path: Path) -> None:
    """Two pictures of 3072 bytes decide the arena, to which windows add up to 5 x 32 bytes."""
    program = lowered(Maker("small", (32, 32, 3)).conv(3, (1, 1)).conv(3, (3, 3)).conv(3, (3, 3)).model(), tmp_path)
    assert with_smaller_windows(program) is program
    assert place(program).arena <= (1 + SLACK) * place(smallest(program)).arena


@pytest.mark.slow
def test_the_arena_is_at_most_the_slack_above_the_least(tmp_path: Path) -> None:
    for name in (name for name in GRAPHS if name.startswith(("conv", "chain"))):
        program = lowered(graph(name), tmp_path)
        chosen, least = (place(each).arena for each in (with_smaller_windows(program), smallest(program)))
        assert chosen <= (1 + SLACK) * least + 8, name


@pytest.mark.parametrize("name", ["conv-one-channel", "conv-one-pixel", "dense-one-channel"])
def test_a_layer_of_one_channel_takes_a_byte_a_weight(name: str, tmp_path: Path) -> None:
    program = lowered(graph(name), tmp_path)
    (step,) = program.steps
    assert step.kernel == "conv_one"
    assert emit(program, place(program)).constant_bytes["weights"] == step.macs // step.output.size


def test_a_layer_of_one_channel_and_few_weights_needs_no_kernel_of_its_own(tmp_path: Path) -> None:
    """Three channels of zeros take less flash than the kernel's code."""
    assert pytest.approx(kernel_sizes()["conv_one"]["code"] / 3, abs=4) == FEW
    maker = Maker("few", (9, 8, 10)).conv(1, (4, 4)).flat().dense(1)
    assert [step.kernel for step in lowered(maker.model(), tmp_path).steps] == ["conv", "dense"]
