"""No signed number overflows in the exported C, by clang's sanitizer; other tests use gcc's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from building_c import missing, selftest_output
from c99_cases import compiled_graphs
from c99_graphs import graph, items

from edgepress.converters.to_c.emission import emit
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_c.placement import place
from edgepress.toolkit.shipping.exporting.c99 import selftest_words
from edgepress.toolkit.shipping.exporting.folder import fill
from edgepress.toolkit.shipping.exporting.vectors import Vectors

TRAPS = ("-fsanitize=signed-integer-overflow", "-fsanitize-trap=signed-integer-overflow")
"""A program ends at the first overflow; traps need no library of clang's."""
pytestmark = pytest.mark.skipif(missing("clang") != "", reason="clang is not installed")


def written(program: Program, name: str, folder: Path) -> Path:
    """A program and a self-test in a folder: items of the graph, and the least and largest numbers."""
    rows = items(name, program.input.size, program.input.dtype)
    ends = np.iinfo(rows.dtype)
    extremes = np.stack([np.full(program.input.size, ends.min), np.full(program.input.size, ends.max)])
    rows = np.concatenate([rows, extremes.astype(rows.dtype)])
    vectors = Vectors("items", rows, program.answers(rows), None)
    sources = emit(program, place(program, tries=0))
    folder.mkdir()
    (folder / "model.h").write_text(sources.header)
    (folder / "model.c").write_text(sources.source)
    (folder / "selftest.c").write_text(fill("c99/selftest.c", **selftest_words(vectors, keeps=sources.keeps)))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", compiled_graphs())
def test_no_sum_or_shift_overflows(name: str, tmp_path: Path) -> None:
    (tmp_path / "graph.tflite").write_bytes(graph(name))
    program = lower(tmp_path / "graph.tflite")
    smallest = replace(program, steps=tuple(step.smaller or step for step in program.steps))
    for number, each in enumerate([program] if smallest.steps == program.steps else [program, smallest]):
        assert "26 of 26" in selftest_output(written(each, name, tmp_path / str(number)), "clang", *TRAPS)


@pytest.mark.parametrize("kernel", ["conv-1", "dense-one-channel"])
def test_an_overflow_ends_the_program(kernel: str, tmp_path: Path) -> None:
    """The largest bias there is overflows where the generator would have refused it."""
    (tmp_path / "graph.tflite").write_bytes(graph(kernel))
    program = lower(tmp_path / "graph.tflite")
    (step,) = program.steps
    biases = np.full_like(step.layer["bias"], 2**31 - 1)
    folder = written(program, kernel, tmp_path / "c")
    given = ", ".join(map(str, step.layer["bias"].tolist()))
    source = folder / "model.c"
    assert given in source.read_text()
    source.write_text(source.read_text().replace(given, ", ".join(map(str, biases.tolist()))))
    with pytest.raises(AssertionError):
        selftest_output(folder, "clang", *TRAPS)
