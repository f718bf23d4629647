"""Whatever a parser raises on a foreign file is an error about that file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from edgepress.converters.contract.metadata import onnx_props
from edgepress.converters.errors import ConversionError
from edgepress.converters.inspection import read
from edgepress.converters.sources.tflite import TFLiteSource
from edgepress.runtime.errors import MissingExtraError, ModelFileError, parsing

RAISED = [OverflowError, SystemError, RecursionError, MemoryError, NotImplementedError, AssertionError, UnicodeError]


@pytest.mark.parametrize("kind", RAISED)
def test_any_exception_names_the_file_and_its_kind(kind: type[Exception]) -> None:
    with pytest.raises(ModelFileError, match=rf"net\.h5 .*{kind.__name__}") as caught, parsing(Path("net.h5")):
        raise kind("first\nsecond")
    assert "second" not in caught.value.message
    assert isinstance(caught.value.__cause__, kind)


@pytest.mark.parametrize("name", ["flatbuffers", "h5py", "tf_keras.layers"])
def test_a_parser_that_is_not_installed_is_no_damage(name: str) -> None:
    with (
        pytest.raises(MissingExtraError, match=r"Reading net\.h5 needs the package [\w-]+, which") as caught,
        parsing(Path("net.h5")),
    ):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    assert "edgepress[toolkit]" in caught.value.hint
    with pytest.raises(ModelFileError, match="damaged"), parsing(Path("net.h5")):
        raise ModuleNotFoundError("No module named 'named_by_the_file'", name="named_by_the_file")


def test_an_offset_out_of_the_file_is_said_in_words() -> None:
    with (
        pytest.raises(ModelFileError, match=r"cut\.tflite .*an offset leads out of it") as caught,
        parsing(Path("cut.tflite")),
    ):
        struct.unpack_from("<I", b"", 4)
    assert "unpack" not in caught.value.message


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


def test_an_error_about_a_model_that_does_not_name_it_gets_its_path() -> None:
    with pytest.raises(ConversionError) as caught, parsing(Path("folder/net.tflite")):
        raise ConversionError("It has control flow.", "Unroll it.")
    assert caught.value.message == "folder/net.tflite: It has control flow."
    assert caught.value.hint == "Unroll it."
    assert str(caught.value).endswith("Unroll it.")


def test_a_lack_of_memory_is_no_damage() -> None:
    with pytest.raises(ModelFileError, match="needs more memory") as caught, parsing(Path("net.h5")):
        raise MemoryError
    assert "damaged" not in caught.value.message


def test_the_metadata_of_an_onnx_file_are_found_without_its_graph(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    weights = numpy_helper.from_array(np.zeros(300, np.float32), "w")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [value], [weights])
    model = helper.make_model(graph, producer_name="tests", model_version=1 << 40)
    helper.set_model_props(model, {"labels": "caf\u00e9\nth\u00e9", "empty": ""})
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    assert onnx_props(path) == {p.key: p.value for p in model.metadata_props}

    content = path.read_bytes()
    for damaged in (content[:-3], content + b"\x72\x7f", b"\x08" + b"\xff" * 11, b"\x0f"):
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError, match=r"net\.onnx is damaged"):
            onnx_props(path)
