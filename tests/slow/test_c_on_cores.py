"""Small graphs of every operation give equal answers on an emulated Cortex-M4 and M55, whose kernels differ."""

from __future__ import annotations

from pathlib import Path

import pytest
from building_c import emulate, missing
from c99_graphs import GRAPHS, graph

from edgepress.toolkit.exporting.export import export

SAMPLES = 6
"""Items of each graph's self-test, whose answers are those of NumPy."""


@pytest.mark.skipif(
    missing("arm-none-eabi-gcc", "qemu-system-arm") != "", reason="no compiler or emulator for Cortex-M"
)
@pytest.mark.parametrize("name", GRAPHS)
def test_every_small_graph_gives_equal_answers_with_products_of_two_and_with_vectors(name: str, tmp_path: Path) -> None:
    file = tmp_path / "graph.tflite"
    file.write_bytes(graph(name))
    folder = export(file, out=tmp_path / "c", samples=SAMPLES).folder
    results = {core: emulate(folder, core).wrong for core in ("m4", "m55")}
    assert results == {"m4": 0, "m55": 0}
