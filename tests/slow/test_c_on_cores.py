"""Small graphs of every operation give equal answers on an emulated Cortex-M4 and M55, whose kernels differ."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest
from building_c import missing
from c99_graphs import GRAPHS, graph
from many_nets import ExportedNet, items_for, write_net, wrong_nets

from edgepress.converters.to_c.lowering import lower

ITEMS = 24
"""Items of each graph, drawn, whose answers are those of NumPy."""
pytestmark = pytest.mark.skipif(
    missing("arm-none-eabi-gcc", "qemu-system-arm") != "", reason="no compiler or emulator for Cortex-M"
)


@pytest.fixture(scope="module", params=[False, True], ids=["shared", "specialized"])
def nets(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[ExportedNet]:
    """The C of all graphs, those with convolutions also by the kernels that take less memory."""
    folder = tmp_path_factory.mktemp("nets")
    exported = []
    seed = random.randrange(1 << 30)
    print("seed of the items:", seed)
    for name in GRAPHS:
        file = folder / f"{name}.tflite"
        file.write_bytes(graph(name))
        program = lower(file)
        items = items_for(program, ITEMS, seed)
        answers = program.answers(items).reshape(ITEMS, -1)
        for smaller in (False, True) if name.startswith("conv") else (False,):
            target = folder / (f"{name}-smaller" if smaller else name)
            exported.append(write_net(file, target, items, answers, smaller=smaller, specialize=request.param))
    return exported


@pytest.mark.parametrize("core", ["m4", "m55"])
def test_every_small_graph_gives_equal_answers_with_products_of_two_and_with_vectors(
    nets: list[ExportedNet], core: str, tmp_path: Path
) -> None:
    assert wrong_nets(nets, core, "-O2", folder=tmp_path / core) == {}
    assert len({net.name for net in nets}) == len(nets) > len(GRAPHS)


def test_a_wrong_answer_is_noticed(nets: list[ExportedNet], tmp_path: Path) -> None:
    answers = nets[0].answers.copy()
    answers[3, 0] ^= 1
    changed = [dataclasses.replace(nets[0], answers=answers), nets[1]]
    assert wrong_nets(changed, "m4", "-O2", folder=tmp_path / "m4") == {nets[0].name: 1}
