"""Find the first TensorFlow Lite (now LiteRT) release that runs the operations of a TFLite file.

An operation has a version, and an interpreter refuses versions that it does not know (`RELEASES`). The version in the
file is not enough, because quantizers leave it lower than the types of the tensors need: an int8 operation at version 1
does not run if int8 came with version 2, and interpreters before 2.17 compute a dynamic per-channel FULLY_CONNECTED
wrong, without an error. So `oldest_release` also uses the version that types and granularity imply.

Limits: options that raise a version (narrow ranges, more than four dimensions, broadcasting) are ignored, because
writers of files set the version for these.

Sources: google-ai-edge/LiteRT, tflite/converter/tools/versioning: runtime_version.cc @ 2fd97f8 (releases) and
op_version.cc @ 119ae63 (types). Every entry was compared with interpreters: TensorFlow 2.12.0 and 2.13.1,
tflite-runtime 2.14.0, and ai-edge-litert 1.0.0 to 2.3.0; where the source was wrong or incomplete, the measured version
is used. docs/inspect.md describes how.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgepress.converters.inspection.tflite_releases import RELEASES

PYPI = {
    "tflite_runtime": "2.7 2.8 2.9 2.10 2.11 2.12 2.13 2.14",
    "ai_edge_litert": "2.18=1.0.0 2.19=1.1.0 2.20=2.0.2 2.22=2.1.3 2.23=2.2.0",
}
"""Releases of the interpreters on PyPI. LiteRT counts anew: its are paired with the TensorFlow Lite release whose
operations they all hold."""

BY_DATA = {
    "ABS": "int8=2 uint8=2 int16=3 int32=5",
    "ADD": "int8=2 int16=3 int64=4 float16=6",
    "ARG_MAX": "int8=2 bool=3",
    "ARG_MIN": "int8=2 bool=3",
    "AVERAGE_POOL_2D": "int8=2 int16=3",
    "BATCH_MATMUL": "int8=2 int16=3",
    "BATCH_TO_SPACE_ND": "int8=2 int16=4",
    "BROADCAST_TO": "int8=3 int16=3",
    "CONCATENATION": "int8=2 int16=3 uint32=4 int4=5 float16=6",
    "COS": "float16=2",
    "DEPTH_TO_SPACE": "int8=2",
    "DEQUANTIZE": "int8=2 int16=3 float16=3 int4=6 int2=7 uint4=8",
    "DYNAMIC_UPDATE_SLICE": "float16=3 int16=4 int4=5 bfloat16=6",
    "EQUAL": "int8=2 string=3 int16=5",
    "EXP": "int8=2 int16=2",
    "FLOOR_DIV": "float32=2 int8=3 int16=3",
    "FLOOR_MOD": "int8=2 int16=2",
    "GATHER": "int8=2 bool=3 int16=4 int4=7",
    "GATHER_ND": "string=2 int16=3 bool=5",
    "GELU": "int8=2 uint8=2",
    "GREATER": "int8=2",
    "GREATER_EQUAL": "int8=2 int16=3",
    "L2_NORMALIZATION": "int8=2",
    "LEAKY_RELU": "int16=2",
    "LESS": "int8=2 int16=3",
    "LESS_EQUAL": "int8=2",
    "LOG": "int8=2 int16=2",
    "LOGISTIC": "int8=2 int16=3",
    "LOG_SOFTMAX": "int8=2",
    "MAXIMUM": "int8=2 int16=4",
    "MAX_POOL_2D": "int8=2 int16=3",
    "MEAN": "int8=2 int16=3",
    "MINIMUM": "int8=2 int16=4",
    "MIRROR_PAD": "int8=2 int16=3",
    "MUL": "int8=2 int16=4 int64=5 complex64=6 uint32=7 float16=8",
    "NOT_EQUAL": "int8=2 string=3 int16=4",
    "PACK": "int8=2 int16=3 uint32=4",
    "PAD": "int8=2 int16=3 bool=5",
    "PADV2": "int8=2 int16=3 bool=5",
    "RANGE": "int64=2",
    "REDUCE_MAX": "int8=2 int16=3",
    "REDUCE_MIN": "int8=2 int16=3",
    "REDUCE_PROD": "int8=2 int16=2",
    "RELU": "int8=2 uint8=2 int16=3",
    "RELU6": "int8=2 int16=3",
    "RESIZE_BILINEAR": "int8=2 int16=4",
    "RESIZE_NEAREST_NEIGHBOR": "int8=2 int16=4",
    "REVERSE_V2": "bool=2 int8=3",
    "RSQRT": "int8=2 int16=3",
    "SELECT": "int8=2 uint32=4",
    "SIGN": "int32=2",
    "SIN": "float16=2",
    "SLICE": "int8=2 string=3 int16=4 uint32=6 int4=7 float16=8",
    "SOFTMAX": "int8=2 int16=3 float16=4",
    "SPACE_TO_BATCH_ND": "int8=2 int16=4",
    "SPACE_TO_DEPTH": "int8=2",
    "SPLIT": "int8=2 int32=3 int16=4",
    "SPLIT_V": "int8=2",
    "SQRT": "int8=2 int16=2",
    "SQUARED_DIFFERENCE": "int8=2",
    "SQUEEZE": "string=2",
    "STRIDED_SLICE": "int8=2 bool=3 string=5 uint32=7",
    "SUB": "int8=2 int64=4 int16=5",
    "SUM": "int8=2",
    "SVDF": "int8=3",
    "TANH": "int8=2 int16=3",
    "TILE": "string=2 int8=3",
    "TOPK_V2": "int8=2 int16=3",
    "TRANSPOSE": "int8=2 bool=3 int16=5 int4=7 bfloat16=8 float16=9",
    "UNPACK": "int8=2 uint8=2 bool=3 int16=4 float16=5 bfloat16=5",
}
"""The version that an operation needs for a type of its data."""

BY_WEIGHTS = {
    "BATCH_MATMUL": "float32/int8=4",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "float32/int8=2",
    "BIDIRECTIONAL_SEQUENCE_RNN": "float32/int8=2",
    "CONV_2D": "float32/int8=2 float32/int8/channel=5 int8/int8=3 int8/int4=7 int16/int8=4",
    "DEPTHWISE_CONV_2D": "float32/int8=4 float32/int8/channel=6 int8/int8=3 int8/int4=7 int16/int8=5",
    "EMBEDDING_LOOKUP": "int32/int4=4 int32/int2=5",
    "FULLY_CONNECTED": "float32/int8=3 float32/int8/channel=12 int8/int8=4 int8/int4=10 int16/int8=7 int16/int4=13 "
    "float32/int2=14 int8/int2=14 int16/int2=14",
    "LSTM": "float32/int8=3",
    "RNN": "float32/int8=2",
    "SVDF": "float32/int8=2",
    "TRANSPOSE_CONV": "int8/int8=2 int16/int8=3",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "float32/int8=2",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "float32/int8=2",
}
"""The version that an operation needs for types of data and weights, and for weights quantized per channel."""

CAST = "uint32=2 int8=3 uint16=4 float16=5 float64=5 int4=6 bfloat16=7 int2=8 uint4=8"
"""The version of CAST that a type at either end needs."""

CHANNELS_OF_INTEGER_DENSE = (2, 12)
"""FULLY_CONNECTED with integer data reads each channel's scale in 2.12 and newer (measured); older kernels take the
first scale for all, without an error (TensorFlow, lite/kernels/fully_connected.cc @ f3a451c)."""

Release = tuple[int, ...]


@dataclass(frozen=True)
class Use:
    """How a file uses an operation.

    Attributes:
        operation: Its name in the TFLite schema.
        version: Its version in the file.
        data: Type of its data, "" if it has none.
        weights: Type of its constant weights, "" if it has none.
        output: Type of its first output, "" if it has none.
        per_channel: Whether its weights - or for DEQUANTIZE and QUANTIZE, any end - have a scale for each channel.

    As text it is what an interpreter must be able to do.
    """

    operation: str
    version: int
    data: str = ""
    weights: str = ""
    output: str = ""
    per_channel: bool = False

    def __str__(self) -> str:
        if self.version > 1 and self.version == required_version(self):
            return f"{self.operation} version {self.version}"
        types = " x ".join(filter(None, (self.data, self.weights)))
        return f"{self.operation} {types}{' per channel' if self.per_channel and self.weights else ''}".strip()


def required_version(use: Use) -> int:
    """The version that an interpreter must support: the one in the file, or a higher one that the types need."""
    implied = [use.version, _lookup(BY_DATA, use.operation, use.data)]
    pair = f"{use.data}/{use.weights}"
    implied.append(_lookup(BY_WEIGHTS, use.operation, pair))
    if use.per_channel:
        implied.append(_lookup(BY_WEIGHTS, use.operation, f"{pair}/channel"))
    if use.operation == "CAST":
        implied += [_find(CAST, use.data), _find(CAST, use.output)]
    if use.operation == "DEQUANTIZE" and use.data == "int8" and use.per_channel:
        implied.append(5)
    if use.operation == "QUANTIZE":
        implied += [_find("int16=2 int4=4 uint4=5", use.output), 3 if use.per_channel else 0]
    return max(implied)


def oldest_release(use: Use) -> Release | None:
    """The first TensorFlow Lite release that runs an operation correctly, such as (2, 14); None if unknown."""
    releases = RELEASES.get(use.operation, "").split()
    version = required_version(use)
    if not 1 <= version <= len(releases) or releases[version - 1] == "-":
        return None
    release = _parsed(releases[version - 1])
    if use.operation == "FULLY_CONNECTED" and use.per_channel and use.data in ("int8", "int16"):
        return max(release, CHANNELS_OF_INTEGER_DENSE)
    return release


def on_pypi(release: Release) -> dict[str, str | None]:
    """The oldest release of each interpreter on PyPI that contains a TensorFlow Lite release; None if none does."""
    found: dict[str, str | None] = {}
    for package, text in PYPI.items():
        rows = [row.partition("=") for row in text.split()]
        found[package] = next((own or of for of, _, own in rows if _parsed(of) >= release), None)
    return found


def _lookup(table: dict[str, str], operation: str, key: str) -> int:
    return _find(table.get(operation, ""), key)


def _find(row: str, key: str) -> int:
    return next((int(version) for k, _, version in (cell.partition("=") for cell in row.split()) if k == key), 0)


def _parsed(text: str) -> Release:
    return tuple(int(part) for part in text.split("."))
