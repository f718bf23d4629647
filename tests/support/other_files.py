"""Files that are given as a model and are none, and hostile ones, made by small generators."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def tflite(
    kind: str,
    tensors: list[Any],
    inputs: list[int],
    *,
    custom: bytes = b"",
    data: tuple[bytes, ...] = (),
    output: int = 1,
) -> bytes:
    """A `.tflite` of one operation; `data` are the buffers from 1 on, and the first tensor is the graph's input."""
    from ai_edge_litert import schema_py_generated as fb
    from ai_edge_litert.tools import flatbuffer_utils

    code = getattr(fb.BuiltinOperator, kind)
    opcode = fb.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=min(code, 127), version=1)
    if custom:
        opcode.customCode = custom
    step = fb.OperatorT(opcodeIndex=0, inputs=inputs, outputs=[output])
    graph = fb.SubGraphT(tensors=tensors, inputs=[0], outputs=[output], operators=[step])
    buffers = [fb.BufferT(), *(fb.BufferT(data=np.frombuffer(d, np.uint8)) for d in data)]
    model = fb.ModelT(version=3, operatorCodes=[opcode], subgraphs=[graph], buffers=buffers)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def tensor(shape: list[int], buffer: int = 0, type: str = "FLOAT32", **more: Any) -> Any:
    from ai_edge_litert import schema_py_generated as fb

    return fb.TensorT(shape=shape, buffer=buffer, type=getattr(fb.TensorType, type), name=f"t{buffer}", **more)


def custom_tflite(name: bytes) -> bytes:
    return tflite("CUSTOM", [tensor([1, 3]), tensor([1, 3])], [0], custom=name)


def out_of_range_axis() -> bytes:
    """A tensor whose `quantized_dimension` is none of its dimensions: LiteRT refuses it since it checks that."""
    from ai_edge_litert import schema_py_generated as fb

    scales = fb.QuantizationParametersT(scale=[0.5, 0.5], zeroPoint=[0, 0], quantizedDimension=7)
    return tflite("RESHAPE", [tensor([1, 2], type="INT8", quantization=scales), tensor([1, 2], type="INT8")], [0])


def graph_def() -> bytes:
    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    return b"".join(
        field(1, field(1, name) + field(2, op)) for name, op in [(b"input", b"Placeholder"), (b"y", b"Relu")]
    )


SAFETENSORS = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
KINDS: dict[str, tuple[str, Any]] = {
    "an empty file": (".tflite", b""),
    "a Git LFS pointer": (".onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"),
    "an HTML page": (".tflite", b"\n<!DOCTYPE html>\n<html><head><title>model.tflite</title></head></html>"),
    "an XML file": (".onnx", b'<?xml version="1.0"?><net name="x" version="11"></net>'),
    "a text file": (".onnx", b"404: Not Found"),
    "a zip archive (in it: a/net.tflite)": (".tflite", zipped({"a/net.tflite": b"x", "README": b""})),
    "a compressed archive": (".tflite", gzip.compress(b"model")),
    "a tar archive": (".onnx", tarred("net.onnx", b"model")),
    "a PyTorch file": (".onnx", zipped({"net/data.pkl": b"x", "net/data/0": b"x"})),
    "a Python pickle": (".onnx", b"\x80\x02ctorch._utils\n_rebuild_tensor\n"),
    "a safetensors file": (".onnx", struct.pack("<Q", len(SAFETENSORS)) + SAFETENSORS + bytes(4)),
    "a TensorFlow graph": (".tflite", graph_def()),
    "an Edge TPU": (".tflite", lambda: custom_tflite(b"edgetpu-custom-op")),
    "an Ethos-U": (".tflite", lambda: custom_tflite(b"ethos-u")),
    "operations of TensorFlow itself: FlexErf": (".tflite", lambda: custom_tflite(b"FlexErf")),
    "custom operations, which interpreters lack: MyOp": (".tflite", lambda: custom_tflite(b"MyOp")),
}
"""What a message must call a file, by its suffix and its bytes, or a function that makes them."""


def write(folder: Path, kind: str) -> Path:
    """A file of this kind of `KINDS`."""
    suffix, data = KINDS[kind]
    path = folder / f"given{suffix}"
    path.write_bytes(data() if callable(data) else data)
    return path
