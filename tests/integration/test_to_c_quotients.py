"""DIV in exported C, for every pair of numbers: also where TFLM does not define the answer."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from building_c import Library, missing
from c99_graphs import Maker

from edgepress.converters.to_c import placement
from edgepress.converters.to_c.lowering import lower

EVERY = np.arange(-128, 128, dtype=np.int8)


@pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
def test_every_quotient_is_the_rounded_one_within_a_step(tmp_path: Path) -> None:
    """A divisor of 0 leaves the largest or the least output, by the sign of what it divides."""
    items = np.repeat(EVERY[:, None], 256, axis=1)
    for number in range(12):
        draw = random.Random(number)
        step, divisor_step = (float(np.exp(draw.uniform(-7, 0))) for _ in range(2))
        zero, divisor_zero, output_zero = (draw.choice([-128, 0, 127, draw.randrange(-128, 128)]) for _ in range(3))
        factor = float(np.exp(draw.uniform(-8, 8)))
        made = Maker("every", (256,))
        made._add("QUANTIZE", [made.at], (256,), step, zero)
        divisors = made.net.constant(EVERY, [divisor_step], divisor_zero)
        made._add("DIV", [made.at, divisors], (256,), step / divisor_step / factor, output_zero)
        made.net.graph.operators[0].inputs = [made.net.input]
        source = made.net.graph.tensors[made.net.input].quantization
        source.scale[0], source.zeroPoint[0] = step, zero
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(made.model())
        program = lower(path)
        answers = program.answers(items).astype(int)
        sanitized = ("-O0", "-fsanitize=undefined", "-fno-sanitize-recover=all", "-static-libubsan")
        library = Library(program, placement.place(program, tries=50), tmp_path / f"c{number}", *sanitized)
        assert np.array_equal(library.answers(items), answers), number
        over, under = np.broadcast_arrays(EVERY[:, None].astype(int) - zero, EVERY.astype(int) - divisor_zero)
        with np.errstate(divide="ignore", invalid="ignore"):
            exact = np.nan_to_num(factor * over / under, nan=0.0, posinf=1e9, neginf=-1e9)
        exact = np.where(under == 0, 1e9 * np.sign(over), exact)
        expected = np.clip(np.rint(exact) + output_zero, -128, 127)
        assert np.abs(answers - expected).max() <= 1, number
        assert np.array_equal(answers[under == 0], expected[under == 0]), number
        assert (answers != expected).mean() < 0.01, number
