"""Whatever a parser raises on a foreign file is an error about that file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import pytest

from edgepress.converters.errors import ConversionError, parsing
from edgepress.converters.inspection import read
from edgepress.converters.sources.tflite import TFLiteSource
from edgepress.runtime.errors import ModelFileError

RAISED = [OverflowError, SystemError, RecursionError, MemoryError, NotImplementedError, AssertionError, UnicodeError]


@pytest.mark.parametrize("kind", RAISED)
def test_any_exception_names_the_file_and_its_kind(kind: type[Exception]) -> None:
    with pytest.raises(ModelFileError, match=rf"net\.h5 .*{kind.__name__}") as caught, parsing(Path("net.h5")):
        raise kind("first\nsecond")
    assert "second" not in caught.value.message
    assert isinstance(caught.value.__cause__, kind)


def test_errors_of_edgepress_pass_unchanged() -> None:
    error = ConversionError("as it was")
    with pytest.raises(ConversionError) as caught, parsing(Path("net.h5")):
        raise error
    assert caught.value is error


def test_an_interrupt_is_no_damage() -> None:
    with pytest.raises(KeyboardInterrupt), parsing(Path("net.h5")):
        raise KeyboardInterrupt


def test_inspecting_an_h5_whose_sizes_overflow_is_one_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # h5py raised OverflowError for the size of a damaged data set, which ended in a traceback.
    path = tmp_path / "net.h5"
    with h5py.File(path, "w") as file:
        file["weights"] = [1.0, 2.0]

    def too_large(self: Any) -> int:
        raise OverflowError("Python int too large to convert to C ssize_t")

    monkeypatch.setattr(h5py.Dataset, "shape", property(too_large))
    with pytest.raises(ModelFileError, match=r"net\.h5 .*OverflowError"):
        read(path)


def test_a_truncated_tflite_is_named_where_it_is_converted(tmp_path: Path) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(range(60)))
    with pytest.raises(ModelFileError, match=r"cut\.tflite"):
        TFLiteSource(path)
