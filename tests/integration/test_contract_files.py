"""Contracts of real files: read from each format, and missed when the file is cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgepress.runtime import ModelFileError, read_contract


def test_read_contract_from_files(run: Any, tmp_path: Path) -> None:
    assert read_contract(run.model).scheme == "keras"
    assert read_contract(run.variants["tflite-int8"]).scheme == "tflite-int8"
    plain = tmp_path / "plain.tflite"
    plain.write_bytes(b"no zip here")
    assert read_contract(plain) is None
    with pytest.raises(ModelFileError, match="can't be read"):
        read_contract(tmp_path / "missing.tflite")


def test_a_file_cut_off_in_its_contract_is_not_taken_for_one_without(run: Any, tmp_path: Path) -> None:
    whole = run.variants["tflite-int8"].read_bytes()
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(whole[:-40])
    with pytest.raises(ModelFileError, match="cut off"):
        read_contract(cut)
