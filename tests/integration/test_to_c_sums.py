"""Sums of products in the exported C, where their numbers are largest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from building_c import Library, missing
from c99_graphs import Maker

from edgepress.converters.to_c import placement
from edgepress.converters.to_c.lowering import lower


@pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_the_largest_sums_are_exact(kind: str, tmp_path: Path) -> None:
    """Two channels share a weight of 16 bits; the sum of the second one may take 24 bits (`kernels/dot.c`)."""
    m = Maker(kind, (1, 2, 520) if kind == "conv" else (1048,))
    (m.conv(2, (1, 1)) if kind == "conv" else m.dense(2)).extreme_weights(pairs=True)
    (tmp_path / "graph.tflite").write_bytes(m.model())
    program = lower(tmp_path / "graph.tflite")
    assert program.steps[0].kernel == kind
    rows = np.full((3, program.input.size), -128, np.int8)
    rows[1] = 127
    rows[2, ::3] = 0
    built = Library(program, placement.place(program), tmp_path / "c", "-O1")
    assert built.answers(rows).tolist() == program.answers(rows).tolist()
    assert len(np.unique(built.answers(rows))) > 1


@pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
@pytest.mark.parametrize("classes", [511, 512, 513, 1000, 4000])
def test_many_equal_classes_get_no_certainty(classes: int, tmp_path: Path) -> None:
    """From 512 equal classes on, each is below half a step, and TFLM's shift is one by more than 31 bits."""
    (tmp_path / "graph.tflite").write_bytes(Maker("softmax", (classes,)).end("SOFTMAX", beta=1.0).model())
    program = lower(tmp_path / "graph.tflite")
    rows = np.zeros((3, classes), np.int8)
    rows[1, 7] = 1
    rows[2, 7] = 127
    sanitized = ("-O1", "-fsanitize=undefined", "-fno-sanitize-recover=all", "-static-libubsan")
    built = Library(program, placement.place(program), tmp_path / "c", *sanitized)
    answers = built.answers(rows)
    assert answers.tolist() == program.answers(rows).tolist()
    assert answers[0].max() <= -127 < answers[2, 7]
