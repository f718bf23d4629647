"""Chains of operations on single numbers become look-up tables, and the answers and the arena stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from building_c import Library, missing
from c99_graphs import Maker, items

from edgepress.converters.to_c import passes, placement
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_c.passes import merged_operations, place_smallest, with_tables


def lowered(maker: Maker, folder: Path) -> Program:
    path = folder / "graph.tflite"
    path.write_bytes(maker.model())
    return lower(path)


def kernels(program: Program) -> list[str]:
    return [step.kernel for step in program.steps]


def answers(program: Program, name: str) -> Any:
    return program.answers(items(name, program.input.size, program.input.dtype)).tolist()


@pytest.mark.parametrize("shape", [(4, 5, 3), (9, 10, 4)])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_a_chain_is_one_table(shape: tuple[int, ...], dtype: Any, tmp_path: Path) -> None:
    maker = Maker("chain", shape, dtype)
    if dtype == np.uint8:
        maker.quantize(0.05)
    program = lowered(maker.hard_swish(), tmp_path)
    merged = with_tables(program)
    assert kernels(merged) == ["table"]
    assert answers(merged, "chain") == answers(program, "chain")
    assert merged_operations(program, merged) == len(program.steps), "all of the chain"


def test_every_value_of_a_byte_is_looked_up(tmp_path: Path) -> None:
    program = lowered(Maker("values", (16, 16)).hard_swish(), tmp_path)
    item = np.arange(256, dtype=np.uint8).view(np.int8)[np.newaxis]
    assert with_tables(program).answers(item).tolist() == program.answers(item).tolist()


def test_a_tensor_that_others_read_is_kept_and_read(tmp_path: Path) -> None:
    maker = Maker("kept", (6, 5, 4)).conv(4, (3, 3))
    kept = maker.hard_swish().at
    maker.conv(4, (1, 1)).join("ADD", kept).join("MUL", maker.values((1,)))
    program = lowered(maker, tmp_path)
    merged = with_tables(program)
    assert kernels(merged) == ["conv", "table", "conv", "add", "table"]
    assert merged_operations(program, merged) == 3 + 1
    assert answers(merged, "kept") == answers(program, "kept")


def test_a_function_of_a_function_of_two_tensors_keeps_what_it_reads(tmp_path: Path) -> None:
    """The square of a MUL of two tables is a function of the MUL alone."""
    maker = Maker("two", (5, 4, 4))
    source = maker.at
    left = maker.conv(4, (1, 1)).join("ADD", maker.values((1,))).at
    maker.at, maker.scale = source, 0.05
    maker.conv(4, (1, 1)).join("MUL", left).join("MUL", maker.at)
    program = lowered(maker, tmp_path)
    merged = with_tables(program)
    assert kernels(merged) == ["conv", "table", "conv", "mul", "table"]
    assert answers(merged, "two") == answers(program, "two")


def test_constants_of_several_numbers_are_no_table(tmp_path: Path) -> None:
    maker = Maker("several", (4, 5, 3))
    program = lowered(maker.join("ADD", maker.values((3,))), tmp_path)
    assert with_tables(program) is program
    assert merged_operations(program, program) == 0


def test_a_table_that_was_one_operation_before_is_no_merged_one(tmp_path: Path) -> None:
    maker = Maker("single", (6, 5, 4)).quantize(0.07).conv(4, (1, 1))
    program = lowered(maker.join("ADD", maker.values((1,))).quantize(0.2).conv(4, (1, 1)), tmp_path)
    merged = with_tables(program)
    assert kernels(merged) == ["table", "conv", "table", "conv"]
    assert merged_operations(program, merged) == 2


@pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
def test_the_c_of_tables_answers_the_same(tmp_path: Path) -> None:
    program = lowered(Maker("c", (6, 5, 4)).conv(8, (3, 3)).hard_swish().conv(4, (1, 1)), tmp_path)
    merged, placed = place_smallest(program, 50)
    assert kernels(merged) == ["conv", "table", "conv"]
    rows = items("c", program.input.size, program.input.dtype)
    built = Library(merged, placed, tmp_path / "c", "-O1", "-fsanitize=undefined", "-fno-sanitize-recover=all",
                    "-static-libubsan")  # fmt: skip
    assert built.answers(rows).tolist() == program.answers(rows).tolist()


def test_the_smaller_arena_is_chosen_and_of_equal_ones_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = lowered(Maker("arena", (6, 5, 4)).hard_swish(), tmp_path)
    arenas = {3: 100, 1: 100}
    monkeypatch.setattr(passes, "place", lambda p, _: placement.Placement(arenas[len(p.steps)], {}, {}))
    assert kernels(place_smallest(program)[0]) == ["table"]
    arenas[1] = 101
    chosen, placed = place_smallest(program)
    assert (chosen, placed.arena) == (program, 100)
