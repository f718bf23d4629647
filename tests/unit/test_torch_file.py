"""Weights in PyTorch's old format: read as they are laid out, and nothing of a file runs that is not the known one."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest
from scripts import script

from edgepress.toolkit.errors import ModelFileError
from edgepress.toolkit.training.nets import packaged
from edgepress.toolkit.training.nets.packaged import read_torch_file

FILES = script("benchmarks/faults/weight_files.py")


def read(path: Path, content: bytes) -> dict[str, np.ndarray]:
    path.write_bytes(content)
    return read_torch_file(path, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("seed", range(12))
def test_tensors_are_read_as_their_strides_say(tmp_path: Path, seed: int) -> None:
    storages, views, tensors = FILES.draw_whole(random.Random(seed))
    found = read(tmp_path / "a.pth", FILES.torch_file(storages, views))
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].flags.c_contiguous
        assert np.array_equal(found[name], tensor), "strides must be obeyed"


@pytest.mark.parametrize("kind", FILES.KINDS)
def test_damaged_and_hostile_files_are_one_error_and_nothing_runs(tmp_path: Path, kind: str) -> None:
    results = [FILES.try_case(kind, seed, tmp_path) for seed in range(10)]
    assert not FILES.RAN
    if kind != "changed":  # changed numbers are numbers
        assert set(results) == {"refused"}


def test_another_file_is_refused_before_it_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = FILES.torch_file(*FILES.draw_whole(random.Random(0))[:2])
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    monkeypatch.setattr(packaged, "_parse", lambda content: pytest.fail("it was unpickled"))
    with pytest.raises(ModelFileError, match=r"SHA-256 is .* not 00.* Install the package again"):
        read_torch_file(path, "00" * 32)


def test_the_last_number_of_a_storage_may_be_used_and_none_behind_it(tmp_path: Path) -> None:
    numbers = np.arange(12, dtype="f4")
    whole = read(tmp_path / "a.pth", FILES.torch_file({"s": numbers}, {"t": ("s", 2, (2, 5), (5, 1))}))
    assert np.array_equal(whole["t"].ravel(), numbers[2:])
    for view in (("s", 3, (2, 5), (5, 1)), ("s", 2, (2, 5), (6, 1)), ("s", 2, (2, 6), (5, 1)), ("s", 12, (1,), (1,))):
        with pytest.raises(ModelFileError, match="beyond its storage of 12 numbers"):
            read(tmp_path / "a.pth", FILES.torch_file({"s": numbers}, {"t": view}))


def test_a_file_that_is_missing_or_no_file_is_one_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.pth", tmp_path):
        with pytest.raises(ModelFileError, match=r"can't be read: .* Install the package again"):
            read_torch_file(path, "00" * 32)
