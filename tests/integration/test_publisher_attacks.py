"""Attacks on the publisher through the published folder: nothing of an attacker is signed, bundled or installed."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import scripts
from shared_folders import once_per_run

sys.path.insert(0, str(scripts.ROOT / "benchmarks" / "updates"))
attacks = scripts.script("benchmarks/updates/publisher_attacks.py")
hostile = scripts.script("benchmarks/faults/hostile_published.py")
folder_attacks = sys.modules["folder_attacks"]
QUICK = (
    "folder: the first root edited",
    "folder: roots removed",
    "former root keys: a further root",
    "keys of targets and online",
)
"""Attacks that are done each time, the board's part of the first only; the others take minutes together."""


@pytest.fixture(scope="session", params=attacks.THRESHOLDS)
def template(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A publisher with a history, and a board."""
    options = attacks.THRESHOLDS[request.param]
    name = f"attacked-{request.param.replace(' ', '-')}"
    return folder_attacks.Folder(
        once_per_run(tmp_path_factory, name, lambda folder: folder_attacks.Folder.begin(folder, options))
    )


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in attacks.ATTACKS]
)
def test_an_attack_through_the_folder_is_refused_by_every_call(name: str, template: Any, tmp_path: Path) -> None:
    row = attacks.ATTACKS[name]
    world = template.copy(tmp_path / "world")
    outcome = attacks.attack(world, row.steps, row.allowed, board=name not in QUICK[1:])
    assert outcome.through == []
    assert outcome.refused == len(attacks.calls(template)) - len(row.allowed)


@pytest.mark.parametrize("number", [pytest.param(n, marks=pytest.mark.slow) if n else n for n in range(4)])
def test_a_drawn_attack_is_refused_by_every_call(number: int, template: Any, tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    name, steps = attacks.drawn(random.Random(seed))
    outcome = attacks.attack(template.copy(tmp_path / "world"), steps, board=bool(number))
    assert (seed, name, outcome.through) == (seed, name, [])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("metadata/{next}.root.json", "a link to a private file"),
        ("metadata/{next}.root.json", "a link to a device"),
        ("metadata/timestamp.json", "a pipe"),
        ("metadata/1.root.json", "a link to the same file elsewhere"),
        ("metadata", "a link to the same file elsewhere"),
        ("targets/demo", "a link to the same file elsewhere"),
        ("publish.json", "a huge file"),
    ],
)
def test_what_is_no_regular_file_below_the_folder_is_not_read(
    name: str, kind: str, template: Any, tmp_path: Path
) -> None:
    world = template.copy(tmp_path / "world")
    name = name.format(next=1 + int(world.newest("root").name.split(".")[0]))
    outcome = attacks.attack(world, [hostile.put(name, kind)], board=False)
    assert outcome.through == []
    assert (world.folder / "private").read_bytes() == hostile.SECRET


def test_links_are_replaced_and_not_followed_where_the_publisher_writes(template: Any, tmp_path: Path) -> None:
    world = template.copy(tmp_path / "world")
    private = tmp_path / "private"
    private.write_bytes(b"PRIVATE")
    version = 1 + int(world.newest("targets").name.split(".")[0])
    (world.metadata / f"{version}.targets.json").symlink_to(private)
    attacks.calls(world)["publish"]()
    assert private.read_bytes() == b"PRIVATE"
    assert not world.newest("targets").is_symlink()
    attacks.calls(world)["check"]()
    shutil.rmtree(world.folder)
