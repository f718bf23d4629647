"""`edgepress inspect` of what is damaged, hostile, slow or no model."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inspecting import LENET_PARAMETERS, tflite_model

from edgepress.converters.inspection import Inspection, read
from edgepress.toolkit.conversion.inspection import inspect
from edgepress.toolkit.errors import ModelFileError


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.tflite")
    with pytest.raises(ModelFileError, match="neither a file nor a folder"):
        inspect(tmp_path / "model.tflite")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("missing.tflite", None, "can't be read"),
        ("empty.tflite", b"", "an empty file"),
        ("text.tflite", b"hello, world", "a text file"),
        ("text.onnx", b"hello, world", "a text file"),
        ("damaged.onnx", b"hello, \0world", "is damaged|holds no ONNX graph"),
        ("head.tflite", b"\x1c\x00\x00\x00TFL3", "damaged"),
        ("head.h5", b"\x89HDF\r\n\x1a\n", "damaged"),
        ("head.keras", b"PK\x03\x04 and no more", "damaged"),
        ("any.zip", b"PK\x03\x04 and no more", "a zip archive"),
    ],
)
def test_what_is_no_model_gets_one_error(tmp_path: Path, name: str, content: bytes | None, match: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match=match):
        inspect(path)


def test_a_folder_without_a_model_gets_one_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no SavedModel"):
        inspect(tmp_path)


@pytest.mark.usefixtures("plain_workers")
def test_a_file_that_takes_too_long_is_given_up(run: Any) -> None:
    try:  # Keras alone takes longer than this to import; on a slow machine, reading does too
        f = inspect(run.model, time_limit_s=0.5)
    except ModelFileError as e:
        said = e.message
    else:
        assert f.engine is not None
        assert not f.engine.opens
        assert f.parameters == LENET_PARAMETERS
        said = f.engine.error
    assert "no answer in 0.5 s" in said


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as fb

    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_model(fb.BuiltinOperator.NEG, 1, name=b"caf\xe9"))
    f = inspect(path)
    assert f.inputs[0].name == "caf\N{REPLACEMENT CHARACTER}"
    assert f.engine is not None
    assert f.engine.opens
    assert any("UTF-8" in note for note in f.notes)


def test_a_crash_of_the_engine_is_part_of_the_result(tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as fb

    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_model(fb.BuiltinOperator.SPLIT, 1))  # LiteRT 2.3 reads the input that it lacks
    f = inspect(path)
    assert [n.operation for n in f.nodes] == ["SPLIT"]
    assert f.engine is not None
    assert not f.engine.opens
    if "ended with" not in f.engine.error:
        pytest.skip("this LiteRT does not crash any more")
    assert "SIGSEGV" in f.engine.error


def damaged(data: bytes, seed: int) -> bytes:
    """A copy with bits flipped, a piece cut off, moved or blanked."""
    r, copy = random.Random(seed), bytearray(data)
    kind, start = seed % 4, r.randrange(len(data))
    if kind == 0:
        for _ in range(r.choice((1, 20, 300))):
            copy[r.randrange(len(copy))] ^= 1 << r.randrange(8)
    elif kind == 1:
        del copy[start:]
    elif kind == 2:
        copy[start:start] = data[: r.randrange(1, 5000)]
    else:
        copy[start : start + 2000] = bytes(len(copy[start : start + 2000]))
    return bytes(copy)


def reads_or_refuses(reader: Callable[[Path], Inspection], path: Path) -> None:
    """Either there is a result, whole, or one error that names the file."""
    try:
        json.dumps(reader(path).as_dict(), allow_nan=False)
    except ModelFileError as e:
        error = e
    else:
        return
    assert str(path) in error.message


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32), scheme=st.sampled_from(["tflite-int8", "tflite-float16"]))
def test_a_damaged_tflite_is_read_or_refused(run: Any, tmp_path_factory: Any, seed: int, scheme: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged-{os.getpid()}.tflite"
    path.write_bytes(damaged(run.variants[scheme].read_bytes(), seed))
    reads_or_refuses(read, path)  # the reader of flatbuffers is Python alone: it may run here


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scheme", ["tflite-int8", "tflite-float32", "onnx-int8", "onnx-float32"])
def test_a_damaged_file_never_harms_us(run: Any, tmp_path: Path, scheme: str, seed: int) -> None:
    path = tmp_path / run.variants[scheme].name
    path.write_bytes(damaged(run.variants[scheme].read_bytes(), seed))
    reads_or_refuses(inspect, path)


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_keras_file_never_harms_us(run: Any, tmp_path: Path, seed: int) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(damaged(run.model.read_bytes(), seed))
    reads_or_refuses(inspect, path)
