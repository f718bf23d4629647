"""The tables of `benchmarks/development/mutation.py` name code and tests that exist."""

from __future__ import annotations

import tomllib

import pytest
from scripts import ROOT, script

NAMED = tomllib.loads((ROOT / "benchmarks" / "development" / "mutation_named.toml").read_text())
ROOMS = script("benchmarks/development/mutation_rooms.py")


@pytest.mark.parametrize("mistake", NAMED)
def test_the_code_of_a_deliberate_mistake_is_there(mistake: str) -> None:
    row = NAMED[mistake]
    paths = [path for pattern in row["file"].split() for path in ROOT.glob(pattern)]
    assert any(row["before"] in path.read_text() for path in paths)


def test_files_and_tests_of_rooms_exist() -> None:
    patterns = {pattern for room in ROOMS.ROOMS.values() for pattern in room.files.split()}
    assert not [pattern for pattern in patterns if not any(ROOT.glob(pattern))]
    listed = " ".join([*(room.tests for room in ROOMS.ROOMS.values()), *ROOMS.TESTS.values()])
    names = {*listed.split(), *(row_name for row in NAMED.values() for row_name in row["tests"].split())} - {"*"}
    assert not [name for name in names if not any(ROOT.glob(f"tests/*/test_{name}.py"))]
