"""C that is written of integer-only files: bit-equal to TensorFlow Lite for Microcontrollers, wherever tensors lie."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from building_c import Library, missing
from c99_cases import compiled_graphs, is_fast
from c99_graphs import GRAPHS, graph, items
from c99_overlap import least_distance, with_overlap

from edgepress.converters.to_c import placement
from edgepress.converters.to_c.arithmetic import divide, multiplier_of, multiply_high, scale
from edgepress.converters.to_c.emission import KERNELS, c_string, emit
from edgepress.converters.to_c.footprint import footprint, kernel_sizes
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_c.passes import without_constant_channels
from edgepress.converters.to_c.step import SEPARATE

ANSWERS = json.loads((Path(__file__).parents[1] / "support" / "c99" / "answers.json").read_text())["sha256"]
"""Digests of TFLM's answers, which benchmarks/microcontrollers/c99_answers.py prints."""
needs_gcc = pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")


def lowered(name: str, folder: Path) -> Program:
    path = folder / "graph.tflite"
    path.write_bytes(graph(name))
    return lower(path)


def given(name: str, program: Program) -> Any:
    return items(name, program.input.size, program.input.dtype)


def digest(answers: Any) -> str:
    return hashlib.sha256(answers.tobytes()).hexdigest()


@pytest.mark.parametrize("name", GRAPHS)
def test_numpy_answers_what_tflm_answers(name: str, tmp_path: Path) -> None:
    program = lowered(name, tmp_path)
    assert digest(program.answers(given(name, program))) == ANSWERS[name]


@needs_gcc
@pytest.mark.parametrize("name", compiled_graphs())
def test_c_answers_what_tflm_answers(name: str, tmp_path: Path) -> None:
    program = lowered(name, tmp_path)
    place = placement.place(program, tries=50)
    sanitized = ("-O0", "-fsanitize=undefined", "-fno-sanitize-recover=all", "-static-libubsan")
    made = Library(program, place, tmp_path / "c", *sanitized)
    assert digest(made.answers(given(name, program))) == ANSWERS[name]


@pytest.mark.skipif("EDGEPRESS_TFLM_PYTHON" not in os.environ, reason="EDGEPRESS_TFLM_PYTHON names no Python with TFLM")
@pytest.mark.parametrize("name", GRAPHS)
def test_the_stored_answers_are_those_of_the_wheel_or_litert(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "microcontrollers"))
    from c99_answers import standard_answers

    program = lowered(name, tmp_path)
    assert digest(standard_answers(tmp_path / "graph.tflite", given(name, program))) == ANSWERS[name]


def test_the_graphs_use_every_kernel_and_both_roundings(tmp_path: Path) -> None:
    steps = [step for name in GRAPHS if is_fast(name) for step in lowered(name, tmp_path).steps]
    steps += [step.smaller for step in steps if step.smaller is not None]
    helpers = {"base", "dot", "inverse", "window"}
    assert {step.kernel for step in steps} == {path.stem for path in KERNELS.glob("*.c")} - helpers == {*kernel_sizes()}
    assert {step.layer["scaling"]["small"] for step in steps if "scaling" in step.layer} == {0, 1}
    assert any(step.constant_channels for step in steps)
    assert any(0 < step.distances[0] < SEPARATE for step in steps)


@pytest.mark.parametrize("name", compiled_graphs("removal", "wide", "chain"))
def test_channels_that_never_change_are_left_out_and_the_answers_stay(name: str, tmp_path: Path) -> None:
    program = lowered(name, tmp_path)
    smaller, rows = without_constant_channels(program), given(name, program)
    assert digest(smaller.answers(rows)) == ANSWERS[name]
    assert smaller.macs <= program.macs
    if not missing("gcc"):
        made = Library(smaller, placement.place(smaller, tries=50), tmp_path / "c", "-O0")
        assert digest(made.answers(rows)) == ANSWERS[name]


def tflm_high(a: int, b: int) -> int:
    """gemmlowp's SaturatingRoundingDoublingHighMul as its source says it, with a division that truncates."""
    product = a * b
    nudged = product + (1 << 30 if product >= 0 else 1 - (1 << 30))
    return abs(nudged) // (1 << 31) * (1 if nudged >= 0 else -1)


def tflm_divide(x: int, exponent: int) -> int:
    """gemmlowp's RoundingDivideByPOT as its source says it."""
    mask = (1 << exponent) - 1
    remainder = x & mask
    return (x >> exponent) + (1 if remainder > (mask >> 1) + (1 if x < 0 else 0) else 0)


def test_rounding_is_that_of_gemmlowp() -> None:
    chance = random.Random(0)
    edges = [0, 1, -1, 2**30, -(2**30), 2**31 - 1, -(2**31)]
    for _ in range(5000):
        a = chance.choice([*edges, chance.randrange(-(2**31), 2**31), chance.randrange(-300, 300)])
        m = chance.choice([1 << 30, 2**31 - 1, chance.randrange(1 << 30, 1 << 31)])
        bits = chance.randrange(32)
        assert multiply_high(a, m) == tflm_high(a, m)
        assert divide(a, bits) == tflm_divide(a, bits)
        assert scale(np.int64(a), m, bits) == tflm_divide(tflm_high(a, m), bits)


def test_halved_shifts_round_like_whole_ones() -> None:
    """What `ep_scaled` does where intervals allow it."""
    chance = random.Random(1)
    for _ in range(5000):
        v = chance.choice([chance.randrange(-(2**30) + 1, 2**30), chance.randrange(-70, 70)])
        right, zero_point = chance.randrange(1, 32), chance.randrange(-128, 128)
        halved = (((v + (v >> 31)) >> (right - 1)) + 2 * zero_point + 1) >> 1
        assert halved == divide(v, right) + zero_point


@pytest.mark.parametrize("real", [1.0, 0.5, 1 - 2**-40, 3e-9, 2**-31, 2**-40, 123.456])
def test_a_factor_becomes_a_multiplier_of_31_bits(real: float) -> None:
    multiplier, right = multiplier_of(real)
    assert multiplier == 0 or 2**30 <= multiplier < 2**31
    assert multiplier / 2**31 * 2.0**-right == pytest.approx(real, rel=1e-9, abs=2**-31)


@needs_gcc
@pytest.mark.parametrize(
    "name", compiled_graphs("conv", "depthwise", "max-", "average", "mean", "resized", "transposed")
)
def test_outputs_may_overlap_inputs_at_the_distance_and_not_nearer(name: str, tmp_path: Path) -> None:
    """The distance is enough, by the C itself, and hardly more than needed, by the kernel's reads and writes."""
    program = lowered(name, tmp_path)
    (step,) = program.steps
    rows, distance = given(name, program), step.distances[0]
    made = Library(program, with_overlap(step, distance), tmp_path / "c", "-O0")
    assert digest(made.answers(rows)) == ANSWERS[name]
    if "geometry" in step.layer:
        assert 0 <= distance - max(least_distance(step), -step.inputs[0].size) <= 2


def random_blocks(seed: int) -> list[placement.Block]:
    chance = random.Random(seed)
    blocks = [placement.Block(chance.randrange(1, 200), -1, 0, {})]
    for step in range(chance.randrange(2, 9)):
        size, previous = chance.randrange(1, 200), len(blocks) - 1
        ends = blocks[previous].last == step
        distances = {previous: chance.randrange(-50, 60)} if ends and chance.random() < 0.7 else {}
        blocks.append(placement.Block(size, step, step + 1 + (chance.random() < 0.3), distances))
        if chance.random() < 0.3:
            blocks.append(placement.Block(chance.randrange(1, 60), step, step, {}))
    return blocks


@pytest.mark.parametrize("seed", range(60))
def test_no_block_harms_another_one(seed: int) -> None:
    """Byte by byte: a byte of a block that is needed is never one of another, but for outputs at their distance."""
    blocks = random_blocks(seed)
    arena, offsets = placement.search(blocks, tries=100)
    assert (
        arena
        == max(at + block.size for at, block in zip(offsets, blocks, strict=True))
        >= placement.least_arena(blocks)
    )
    for i, a in enumerate(blocks):
        assert offsets[i] % placement.ALIGNMENT == 0
        for j, b in enumerate(blocks):
            apart_in_time = a.last < b.first or b.last < a.first
            shared = {*range(offsets[i], offsets[i] + a.size)} & {*range(offsets[j], offsets[j] + b.size)}
            if i < j and shared and not apart_in_time:
                output, other = (i, j) if j in a.distances else (j, i)
                assert other in blocks[output].distances
                assert offsets[other] - offsets[output] >= blocks[output].distances[other]
                assert blocks[other].last == blocks[output].first


def test_the_search_is_the_same_each_time_and_not_worse_than_its_first_orders() -> None:
    for seed in range(20):
        blocks = random_blocks(seed)
        assert placement.search(blocks, tries=200) == placement.search(blocks, tries=200)
        assert placement.search(blocks, tries=200)[0] <= placement.search(blocks, tries=0)[0]


@pytest.mark.slow
@needs_gcc
@pytest.mark.parametrize("name", ["chain-0", "wide-1"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_specialized_c_answers_the_same_and_compiles_without_warnings(name: str, compiler: str, tmp_path: Path) -> None:
    from building_c import compiled

    if absent := missing(compiler):
        pytest.skip(f"{absent} is not installed")
    program = lowered(name, tmp_path)
    place, rows = placement.place(program, tries=50), given(name, program)
    made = Library(program, place, tmp_path / "c", "-O2", specialize=True)
    assert digest(made.answers(rows)) == ANSWERS[name]
    for level in ("-O0", "-O3", "-Os"):
        compiled(tmp_path / "c" / "model.c", tmp_path / "model.so", level, compiler=compiler)


def test_constants_are_counted_as_they_are_written(tmp_path: Path) -> None:
    program = lowered("chain-0", tmp_path)
    place = placement.place(program, tries=50)
    sources = emit(program, place, labels=["a"] * 6)
    takes = footprint(program, place, sources)
    widths = {"int8_t": 1, "int16_t": 2, "int32_t": 4}
    import re

    arrays = re.findall(r"EP_ALIGNED static const (\w+) \w+\[(\d+)\]", sources.source)
    assert sum(widths[kind] * int(count) for kind, count in arrays) == sum(takes.constants.values())
    assert takes.arena == place.arena
    assert takes.flash > sum(takes.constants.values())


@pytest.mark.parametrize("text", ['"', "\\", "a\nb", "??/", "*/", "%s", "\N{SNOWMAN}", "\0", "\udcff", "x" * 2000])
def test_a_label_is_one_c_string(text: str, tmp_path: Path) -> None:
    written = c_string(text)
    assert written.startswith('"')
    assert written.endswith('"')
    assert set(written[1:-1]) <= {chr(c) for c in range(32, 127)} - {'"', "?"}
