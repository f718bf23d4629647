"""Children that decode the images of shards: the same pixels, the same errors, and nothing lost with them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_data_shards import pairs, shard

from edgepress.toolkit.data import decoders as module_of_decoders
from edgepress.toolkit.data import open_data, shard_source
from edgepress.toolkit.data.decoders import Decoders
from edgepress.toolkit.errors import DataError


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoders]:
    """Children that decode from the first image on, and have started."""
    found = Decoders()
    monkeypatch.setattr(module_of_decoders, "MANY", 0)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    monkeypatch.setattr(shard_source, "DECODERS", found)
    assert found.call(os.getpid, count=1) is None  # starts them
    found._ready.result()
    yield found
    if found._pool is not None:
        found._pool.shutdown(kill_workers=True)


def test_children_decode_the_same_pixels(tmp_path: Path, decoders: Decoders) -> None:
    for number in range(3):
        shard(tmp_path / f"{number}.tar", pairs(first=100 * number))
    data = open_data(tmp_path)
    rows = np.random.default_rng(0).permutation(len(data.train))
    pids: set[int | None] = {decoders.call(os.getpid, count=1) for _ in range(9)}
    assert pids.isdisjoint({None, os.getpid()})
    found = data.train.read(rows)
    for place, row in enumerate(rows):
        assert np.array_equal(found[place], data.train.read(slice(row, row + 1))[0])  # a single one is decoded here


def test_errors_of_children_name_the_image(tmp_path: Path, decoders: Decoders) -> None:
    shard(tmp_path / "0.tar", pairs())
    data = open_data(tmp_path)
    os.utime(tmp_path / "0.tar", (1, 1))
    with pytest.raises(DataError, match=r"0\.tar has changed"):
        data.train.read(slice(None))


def test_lost_children_cost_no_image(tmp_path: Path, decoders: Decoders) -> None:
    shard(tmp_path / "0.tar", pairs())
    data = open_data(tmp_path)
    expected = data.train.read(slice(None))
    for pid in [*decoders._pool._processes]:
        os.kill(pid, signal.SIGKILL)
    assert np.array_equal(data.train.read(slice(None)), expected)


def test_few_images_start_no_children() -> None:
    found = Decoders()
    assert found.call(os.getpid, count=100) is None
    assert found._pool is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_does_not_use_the_children_of_its_parent(decoders: Decoders) -> None:
    assert decoders.call(os.getpid, count=1) is not None
    child = os.fork()
    if not child:
        os._exit(decoders.call(os.getpid, count=0) is not None)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
