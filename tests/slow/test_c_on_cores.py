"""Small graphs of every operation give equal answers on an emulated Cortex-M4 and M55, whose kernels differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from building_c import emulate, missing
from c99_graphs import GRAPHS, graph

from edgepress.converters.to_c.emission import emit
from edgepress.converters.to_c.lowering import lower
from edgepress.converters.to_c.placement import place
from edgepress.toolkit.exporting.export import export

SAMPLES = 6
"""Items of each graph's self-test, whose answers are those of NumPy."""
pytestmark = pytest.mark.skipif(
    missing("arm-none-eabi-gcc", "qemu-system-arm") != "", reason="no compiler or emulator for Cortex-M"
)


def wrong_answers(folder: Path) -> dict[str, int]:
    """Items of an exported self-test that got another answer, by the core."""
    return {core: emulate(folder, core).wrong for core in ("m4", "m55")}


@pytest.mark.parametrize("specialize", [False, True])
@pytest.mark.parametrize("name", GRAPHS)
def test_every_small_graph_gives_equal_answers_with_products_of_two_and_with_vectors(
    name: str, specialize: bool, tmp_path: Path
) -> None:
    file = tmp_path / "graph.tflite"
    file.write_bytes(graph(name))
    folder = export(file, out=tmp_path / "c", samples=SAMPLES, specialize=specialize).folder
    assert wrong_answers(folder) == {"m4": 0, "m55": 0}


@pytest.mark.parametrize("specialize", [False, True])
@pytest.mark.parametrize("name", [name for name in GRAPHS if name.startswith("conv")])
def test_kernels_of_less_memory_give_equal_answers(name: str, specialize: bool, tmp_path: Path) -> None:
    file = tmp_path / "graph.tflite"
    file.write_bytes(graph(name))
    folder = export(file, out=tmp_path / "c", samples=SAMPLES).folder
    program = lower(file)
    smallest = replace(program, steps=tuple(step.smaller or step for step in program.steps))
    sources = emit(smallest, place(smallest), specialize=specialize)
    (folder / "model.h").write_text(sources.header)
    (folder / "model.c").write_text(sources.source)
    assert wrong_answers(folder) == {"m4": 0, "m55": 0}
