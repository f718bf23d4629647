"""Files made to crash or exhaust what reads them: refused with one message, in bounded time and memory."""

from __future__ import annotations

import io
import json
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from int8_graphs import Net
from other_files import out_of_range_axis, tensor, tflite, zipped

from edgepress.runtime import load
from edgepress.runtime.errors import ModelFileError
from edgepress.runtime.flatbuffer import check_model
from edgepress.toolkit import evaluate, predict
from edgepress.toolkit.conversion.convert import convert
from edgepress.toolkit.conversion.inspection import inspect
from edgepress.toolkit.errors import EdgepressError

MEBI = 1 << 20
LIMIT_S = 60.0
"""Most time that a command may take here, on a busy machine, seconds."""
LIMIT_BYTES = {".keras": 1500 * MEBI, ".h5": 1500 * MEBI, ".tflite": 800 * MEBI, ".onnx": 800 * MEBI}
"""Most memory: TensorFlow itself takes half a gigabyte."""


def eight_bytes() -> bytes:
    """Its root lies behind its end (tensorflow#115308)."""
    return struct.pack("<I", 0x18) + b"TFL3"


def long_constant() -> bytes:
    """A RESHAPE whose constant is longer than its shape writes beyond the heap (tensorflow#124982)."""
    tensors = [tensor([1, 4]), tensor([1], 1), tensor([1, 1]), tensor([2], 2, "INT32")]
    return tflite("RESHAPE", tensors, [1, 3], data=(b"A" * 4096, struct.pack("<2i", 1, 1)), output=2)


def missing_input() -> bytes:
    """A SPLIT without the input that its kernel reads: LiteRT 2.3 ends with SIGSEGV."""
    return tflite("SPLIT", [tensor([1, 3]), tensor([1, 3])], [0])


def many_nodes() -> bytes:
    """A protobuf of 6 MB: three million empty nodes of an ONNX graph, each some hundred bytes when parsed."""
    graph = b"\x0a\x00" * 3_000_000
    return b"\x08\x08\x3a" + varint(len(graph)) + graph


def deep_protobuf() -> bytes:
    """Attributes that hold graphs that hold nodes, 2,000 deep."""
    inner = b""
    for _ in range(2000):
        inner = b"\x0a" + varint(len(inner)) + inner  # GraphProto.node
        inner = b"\x32" + varint(len(inner)) + inner  # AttributeProto.g
        inner = b"\x2a" + varint(len(inner)) + inner  # NodeProto.attribute
    return b"\x08\x08\x3a" + varint(len(inner) + 1 + len(varint(len(inner)))) + b"\x0a" + varint(len(inner)) + inner


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def huge_tensor() -> bytes:
    """An ONNX graph that fills a tensor of 256 GB when it is opened."""
    from onnx import TensorProto, helper, numpy_helper

    size = numpy_helper.from_array(np.array([1, 1 << 36], np.int64), "size")
    graph = helper.make_graph(
        [helper.make_node("ConstantOfShape", ["size"], ["big"]), helper.make_node("Add", ["x", "big"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1 << 36])],
        [size],
    )
    model: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return model


CONFIG = {
    "class_name": "Sequential",
    "config": {"name": "s", "layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 4], "dtype": "float32"}},
        {"class_name": "Dense", "config": {"name": "dense", "units": 3}},
    ]},
}  # fmt: skip


def hdf5(write: Callable[[Any], None]) -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["model_config"] = json.dumps(CONFIG)
        file.attrs["keras_version"] = "2.15.0"
        write(file)
    return buffer.getvalue()


def unwritten(file: Any) -> None:
    """A data set of 4 TB of which nothing is stored."""
    file.create_dataset("model_weights/dense/kernel", (1 << 20, 1 << 20), "float32", chunks=(1024, 1024))


def deflated(file: Any) -> None:
    """A data set of 1 GiB of zeros, in 1 MB: one packed chunk that is written 64 times."""
    made = file.create_dataset(
        "model_weights/dense/kernel", (64, 4 * MEBI), "float32", chunks=(1, 4 * MEBI), compression=9
    )
    chunk = zlib.compress(bytes(16 * MEBI), 9)
    for row in range(64):
        made.id.write_direct_chunk((row, 0), chunk)


def keras_of(weights: bytes, config: bytes = b"") -> bytes:
    members = {"metadata.json": b'{"keras_version": "3.15.1"}', "config.json": config or json.dumps(CONFIG).encode()}
    return zipped(members | {"model.weights.h5": weights})


def zip_of_zeros() -> bytes:
    """A configuration of 256 MiB of blanks in a few hundred kilobytes."""
    return keras_of(hdf5(lambda file: None), b" " * (256 * MEBI))


def lying_zip(claim: int) -> bytes:
    """A zip whose directory and headers claim another size of the configuration than it has."""
    data = bytearray(keras_of(hdf5(lambda file: None)))
    real = len(json.dumps(CONFIG))
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = 0
        while (start := data.find(signature, start)) >= 0:
            if struct.unpack_from("<I", data, start + at)[0] == real:
                struct.pack_into("<I", data, start + at, claim)
            start += 4
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.getinfo("config.json").file_size == claim
    return bytes(data)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "eight-bytes.tflite": eight_bytes,
    "long-constant.tflite": long_constant,
    "missing-input.tflite": missing_input,
    "axis.tflite": out_of_range_axis,
    "many-nodes.onnx": many_nodes,
    "deep.onnx": deep_protobuf,
    "huge-tensor.onnx": huge_tensor,
    "unwritten.h5": lambda: hdf5(unwritten),
    "deflated.h5": lambda: hdf5(deflated),
    "deflated.keras": lambda: keras_of(hdf5(deflated)),
    "unwritten.keras": lambda: keras_of(hdf5(unwritten)),
    "zeros.keras": zip_of_zeros,
    "too-long.keras": lambda: lying_zip(0xFFFF_FFF0),
    "too-short.keras": lambda: lying_zip(7),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    for name, make in HOSTILE.items():
        (folder / name).write_bytes(make())
    np.save(folder / "item.npy", np.zeros((1, 4), np.float32))
    return folder


COMMANDS: dict[str, Callable[[Path], Any]] = {
    "inspect": lambda path: inspect(path, time_limit_s=LIMIT_S, memory_limit_bytes=LIMIT_BYTES[path.suffix]),
    "convert": lambda path: convert(path, "tflite" if path.suffix != ".onnx" else "onnx", out=path.parent / "out"),
    "predict": lambda path: predict(path, path.parent / "item.npy"),
    "evaluate": lambda path: evaluate(path, data="digits"),
}


@pytest.mark.parametrize(
    ("name", "command"),
    [
        pytest.param(name, command, marks=[pytest.mark.slow] * ((m + n) % 2))  # they share most of what opens a file
        for m, name in enumerate(HOSTILE)
        for n, command in enumerate(COMMANDS)
    ],
)
def test_it_is_refused_with_one_message(name: str, command: str, hostile: Path, monkeypatch: Any) -> None:
    path, start = hostile / name, time.monotonic()
    monkeypatch.setattr("edgepress.converters.process.worker.MEMORY_SHARE", LIMIT_BYTES[path.suffix] / total_memory())
    try:
        found = COMMANDS[command](path)
    except EdgepressError as e:
        said = e.message
    else:
        said = f"{path} was inspected"
        assert command == "inspect", "only inspect may answer: what it read, and that no engine opens it"
        assert found.engine is not None
        assert found.engine.opens is (name == "huge-tensor.onnx"), "ONNX Runtime makes that tensor when it runs"
        if found.engine.opens:
            return
        assert found.runtime is None or not any(found.runtime.releases.values())
    assert time.monotonic() - start < LIMIT_S
    assert str(path) in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [(np.uint8, (0, 255), (-1, 256, 32768, 1 << 40)), (np.int8, (-128, 127), (-129, 128)), (np.int32, (300,), ())],
)
def test_a_zero_point_that_its_type_lacks_is_refused(dtype: Any, good: Any, bad: Any, tmp_path: Path) -> None:
    """LiteRT 2.3.0 ends with SIGSEGV at a QUANTIZE of such a tensor."""

    def file(zero: int) -> bytes:
        net = Net((1, 4), 0.05, 0, dtype)
        net.graph.tensors[net.input].quantization.zeroPoint = np.array([zero], np.int64)
        net.op("QUANTIZE", [net.input], (1, 4), 0.1, 3)
        return net.model()

    for zero in good:
        check_model(tmp_path, file(zero))
    for zero in bad:
        with pytest.raises(ModelFileError, match="zero point outside of"):
            check_model(tmp_path, file(zero))


def test_a_file_without_graphs_is_refused(tmp_path: Path) -> None:
    """LiteRT 2.3.0 ends with SIGSEGV."""
    net = Net((1, 4))
    net.op("QUANTIZE", [net.input], (1, 4), 0.1)
    data = bytearray(net.model())
    fields = (root := struct.unpack_from("<I", data)[0]) - struct.unpack_from("<i", data, root)[0]
    data[fields + 8 : fields + 10] = bytes(2)  # the third field
    with pytest.raises(ModelFileError, match="it has no graphs"):
        check_model(tmp_path, bytes(data))


@pytest.mark.parametrize("end", ["input", "output"])
def test_names_that_are_no_utf_8_are_one_error(end: str, tmp_path: Path) -> None:
    net = Net((1, 4))
    made = net.op("QUANTIZE", [net.input], (1, 4), 0.1)
    net.graph.tensors[net.input if end == "input" else made].name = b"t\xf2("
    (tmp_path / "net.tflite").write_bytes(net.model())
    with pytest.raises(ModelFileError, match=r"net\.tflite"):
        load(tmp_path / "net.tflite")


def total_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def test_a_refused_file_is_not_promised_to_run(hostile: Path) -> None:
    """The table of operations says LiteRT 1.0 and newer; the LiteRT that is here refuses the file."""
    found = inspect(hostile / "axis.tflite")
    assert found.engine is not None
    assert "quantized_dimension" in found.engine.error
    assert found.runtime is not None
    assert set(found.runtime.releases.values()) == {None}
    assert any("does not" in text for text in found.runtime.unknown)


@pytest.mark.slow
def test_the_command_line_prints_one_message_and_no_traceback(hostile: Path) -> None:
    import subprocess

    for name in ("eight-bytes.tflite", "unwritten.h5"):
        command = [sys.executable, "-m", "edgepress.toolkit.cli.main", "inspect", str(hostile / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert done.stderr.count("Error: ") == 1
