"""The standard TFLite metadata block, written and read, and checked reads of any flatbuffer's tables.

A `.tflite` may hold a second flatbuffer that describes its tensors, in a buffer named "TFLITE_METADATA". Files that
this block names, such as the labels, are in a zip behind the model. Its schema is metadata_schema.fbs 1.5.0
(google-ai-edge/mediapipe, mediapipe/tasks/metadata); the enumerations below are its field numbers, and those of the
model's own schema (google-ai-edge/LiteRT, schema.fbs).

Converted files take raw pixels, so the mean written is 0 and the standard deviation 1; those of a published file are
its adapter's. Reading takes time and memory in
proportion to the file's size, whatever its content. Not read: tensors other than the first input and the first output,
score calibration, labels in other languages.

Checked reads of any flatbuffer's tables: whatever the bytes are, a read is in bounds or an error.

Errors are `struct.error`, ValueError and IndexError, which the caller turns into an error with the file's name.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from edgepress.runtime.adapter import Adapter
from edgepress.runtime.contract import LABELS_MEMBER, Contract
from edgepress.runtime.errors import ModelFileError
from edgepress.runtime.input_record import inputs_of
from edgepress.runtime.input_spec import Color


class FlatTable:
    """A table in a flatbuffer, with checked reads; a field that is not there is zero, empty, or a table without fields.

    The format: https://flatbuffers.dev/internals.
    """

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position

    def number(self, field: int, format: str) -> int:
        """A scalar, by its `struct` format."""
        at = self._at(field)
        return self._read(format, at) if at else 0

    def table(self, field: int) -> FlatTable:
        """A table."""
        at = self._at(field)
        return FlatTable(self._data, self._target(at)) if at else NOTHING

    def tables(self, field: int) -> list[FlatTable]:
        """A vector of tables."""
        start, count = self.vector(field, 4, most=1 << 16)
        return [FlatTable(self._data, self._target(start + 4 * i)) for i in range(count)]

    def floats(self, field: int) -> tuple[float, ...]:
        """A vector of float32."""
        start, count = self.vector(field, 4, most=1 << 12)
        return struct.unpack_from(f"<{count}f", self._data, start)

    def string(self, field: int) -> str:
        """A string."""
        start, size = self.vector(field, 1, most=1 << 10)
        return self._data[start : start + size].decode(errors="replace")

    def vector(self, field: int, width: int, *, most: int) -> tuple[int, int]:
        """Where a vector's data begin, and how many items of `width` bytes it has; more than `most` are an error."""
        at = self._at(field)
        if not at:
            return 0, 0
        start = self._target(at)
        count = self._read("<I", start)
        if count > most or start + 4 + width * count > len(self._data):
            raise ValueError(f"a vector of {count} items is too long")
        return start + 4, count

    def _at(self, field: int) -> int:
        vtable = self._position - self._read("<i", self._position)
        slot = 4 + 2 * field
        offset = self._read("<H", vtable + slot) if slot < self._read("<H", vtable) else 0
        return self._position + offset if offset else 0

    def _target(self, at: int) -> int:
        return at + self._read("<I", at)

    def _read(self, format: str, at: int) -> int:
        if at < 0:
            raise ValueError("an offset leads before the file")
        value: int = struct.unpack_from(format, self._data, at)[0]
        return value


NOTHING = FlatTable(struct.pack("<HHi", 4, 4, 4), 4)
"""A table without fields: an empty vtable, and the offset back to it."""


def root(data: bytes) -> FlatTable:
    """The table that a flatbuffer begins with."""
    return FlatTable(data, int.from_bytes(data[:4], "little"))


def first(tables: list[FlatTable]) -> FlatTable:
    """The first of several tables, or one without fields."""
    return tables[0] if tables else NOTHING


NAME = "TFLITE_METADATA"
IDENTIFIER = b"M001"


_ModelFile = IntEnum("_ModelFile", {"BUFFERS": 4, "METADATA": 6})
_Entry = IntEnum("_Entry", {"NAME": 0, "BUFFER": 1})
_Buffer = IntEnum("_Buffer", {"DATA": 0, "OFFSET": 1, "SIZE": 2})
_Model = IntEnum("_Model", {"NAME": 0, "DESCRIPTION": 1, "SUBGRAPHS": 3, "MIN_PARSER_VERSION": 7})
_Subgraph = IntEnum("_Subgraph", {"INPUTS": 2, "OUTPUTS": 3})
_Tensor = IntEnum("_Tensor", {"NAME": 0, "DESCRIPTION": 1, "CONTENT": 3, "PROCESS_UNITS": 4, "STATS": 5, "FILES": 6})
_Content = IntEnum("_Content", {"PROPERTIES_TYPE": 0, "PROPERTIES": 1})
_Properties = IntEnum("_Properties", {"FEATURE": 1, "IMAGE": 2})
_Image = IntEnum("_Image", {"COLOR_SPACE": 0, "DEFAULT_SIZE": 1})
_Size = IntEnum("_Size", {"WIDTH": 0, "HEIGHT": 1})
_Unit = IntEnum("_Unit", {"OPTIONS_TYPE": 0, "OPTIONS": 1})
_Options = IntEnum("_Options", {"NORMALIZATION": 1, "SCORE_THRESHOLDING": 3})
_Normalization = IntEnum("_Normalization", {"MEAN": 0, "STD": 1})
_Stats = IntEnum("_Stats", {"MAX": 0, "MIN": 1})
_File = IntEnum("_File", {"NAME": 0, "DESCRIPTION": 1, "TYPE": 2})

_COLOR_SPACES: dict[Color, int] = {"rgb": 1, "grey": 2}
_AXIS_LABELS = 2


@dataclass(frozen=True, kw_only=True)
class MetadataBlock:
    """The metadata of the first input and the first output.

    Attributes:
        color: Colour space of the input, None if it is not described as an image.
        mean: Normalization of pixels 0-255 is (pixel - mean) / std; one number or one a channel, empty if not given.
        std: See `mean`.
        labels_file: Name, in the zip behind the model, of the file with one label a line; empty if none is named.
    """

    color: Color | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    labels_file: str = ""


def write_block(contract: Contract) -> bytes:
    """The metadata block of a file with this contract; its labels are in `labels.txt`."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    root = {
        _Model.NAME: contract.arch or ("model" if contract.task == "none" else "classifier"),
        _Model.DESCRIPTION: f"{contract.scheme}, described by edgepress",
        _Model.SUBGRAPHS: [{_Subgraph.INPUTS: _inputs(contract), _Subgraph.OUTPUTS: [_output(contract)]}],
        _Model.MIN_PARSER_VERSION: "1.0.0",
    }
    builder.Finish(_pack(builder, root), IDENTIFIER)
    return bytes(builder.Output())


def read_block(model: bytes) -> MetadataBlock | None:
    """The metadata block of a TFLite model, None if it has none.

    Raises:
        ModelFileError: The block, or what leads to it, is damaged.
    """
    try:
        data = _block_bytes(model)
        return None if data is None else _parse(data)
    except (struct.error, ValueError, IndexError) as e:
        raise ModelFileError(f"The TFLite metadata is damaged: {e}.", "Copy the file again.") from e


def _inputs(contract: Contract) -> list[dict[int, Any]]:
    """The descriptions of the inputs; several are known by their names."""
    several = inputs_of(contract.input)
    parts = [_input(contract.replace(input=each)) | {_Tensor.NAME: each.name} for each in several]
    return parts or [_input(contract)]


def _input(contract: Contract) -> dict[int, Any]:
    spec = contract.input
    adapter = contract.adapter or Adapter(shape=contract.input.shape)
    # Readers of this block put neither blue nor channels first and scale by fixed numbers: other inputs are described
    # as numbers.
    usual = adapter.shape == spec.shape and not (adapter.bgr or adapter.channels_first or adapter.per_image)
    fields: dict[int, Any] = {_Tensor.NAME: "image" if spec.is_image and usual else "input"}
    if spec.color is not None and usual:
        size = {_Size.WIDTH: np.uint32(spec.shape[1]), _Size.HEIGHT: np.uint32(spec.shape[0])}
        color = np.uint8(_COLOR_SPACES[spec.color])
        fields[_Tensor.CONTENT] = _content(_Properties.IMAGE, {_Image.COLOR_SPACE: color, _Image.DEFAULT_SIZE: size})
        scaling: dict[int, Any] = dict(
            zip((_Normalization.MEAN, _Normalization.STD), map(list, _alike(adapter)), strict=True)
        )
        fields[_Tensor.PROCESS_UNITS] = [_unit(_Options.NORMALIZATION, scaling)]
    else:
        fields[_Tensor.CONTENT] = _content(_Properties.FEATURE, {})
    if spec.value_range is not None and usual:
        low, high = ([(v - m) / s for m, s in zip(*_alike(adapter), strict=True)] for v in spec.value_range)
        fields[_Tensor.STATS] = {_Stats.MAX: high, _Stats.MIN: low}
    return fields


def _alike(adapter: Adapter) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, of the same length."""
    mean = adapter.mean
    std = adapter.std
    return mean * (len(std) if len(mean) == 1 else 1), std * (len(mean) if len(std) == 1 else 1)


def _output(contract: Contract) -> dict[int, Any]:
    if contract.task == "none":
        return {_Tensor.NAME: "output", _Tensor.CONTENT: _content(_Properties.FEATURE, {})}
    labels = {_File.NAME: LABELS_MEMBER, _File.DESCRIPTION: "One label a line", _File.TYPE: np.uint8(_AXIS_LABELS)}
    fields: dict[int, Any] = {
        _Tensor.NAME: "logits" if contract.task == "logits" else "probability",
        _Tensor.CONTENT: _content(_Properties.FEATURE, {}),
        _Tensor.FILES: [labels],
    }
    if contract.task != "logits":
        fields[_Tensor.STATS] = {_Stats.MAX: [1.0], _Stats.MIN: [0.0]}
    if contract.threshold is not None:
        fields[_Tensor.PROCESS_UNITS] = [_unit(_Options.SCORE_THRESHOLDING, {0: np.float32(contract.threshold)})]
    return fields


def _content(kind: _Properties, properties: dict[int, Any]) -> dict[int, Any]:
    return {_Content.PROPERTIES_TYPE: np.uint8(kind), _Content.PROPERTIES: properties}


def _unit(kind: _Options, options: dict[int, Any]) -> dict[int, Any]:
    return {_Unit.OPTIONS_TYPE: np.uint8(kind), _Unit.OPTIONS: options}


def _pack(builder: Any, value: Any) -> int:
    """Write a table (field number: value), a vector of tables, a vector of floats or a string; returns its offset."""
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, list) and isinstance(value[0], float):
        return int(builder.CreateNumpyVector(np.array(value, np.float32)))
    if isinstance(value, list):
        offsets = [_pack(builder, item) for item in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())
    parts = {field: v if isinstance(v, np.generic) else _pack(builder, v) for field, v in value.items()}
    builder.StartObject(max(value, default=-1) + 1)
    scalars = {
        np.uint8: builder.PrependUint8Slot,
        np.uint32: builder.PrependUint32Slot,
        np.float32: builder.PrependFloat32Slot,
    }
    for field, part in parts.items():
        if isinstance(part, np.generic):
            scalars[type(part)](field, part.item(), 0)
        else:
            builder.PrependUOffsetTRelativeSlot(field, part, 0)
    return int(builder.EndObject())


def _block_bytes(model: bytes) -> bytes | None:
    model_file = root(model)
    for entry in model_file.tables(_ModelFile.METADATA):
        if entry.string(_Entry.NAME) == NAME:
            buffer = model_file.tables(_ModelFile.BUFFERS)[entry.number(_Entry.BUFFER, "<I")]
            start, size = buffer.vector(_Buffer.DATA, 1, most=len(model))
            if not size:  # litert-quantizer and files above 2 GB store buffers after the flatbuffer
                start = buffer.number(_Buffer.OFFSET, "<Q")
                size = buffer.number(_Buffer.SIZE, "<Q")
            block = model[start : start + size]
            return block if block[4:8] == IDENTIFIER else None
    return None


def _parse(block: bytes) -> MetadataBlock:
    subgraph = first(root(block).tables(_Model.SUBGRAPHS))
    source, sink = (first(subgraph.tables(field)) for field in (_Subgraph.INPUTS, _Subgraph.OUTPUTS))
    content = source.table(_Tensor.CONTENT)
    color: Color | None = None
    if content.number(_Content.PROPERTIES_TYPE, "<B") == _Properties.IMAGE:
        space = content.table(_Content.PROPERTIES).number(_Image.COLOR_SPACE, "<B")
        color = next((name for name, number in _COLOR_SPACES.items() if number == space), None)
    units = source.tables(_Tensor.PROCESS_UNITS)
    scaling = first(
        [u.table(_Unit.OPTIONS) for u in units if u.number(_Unit.OPTIONS_TYPE, "<B") == _Options.NORMALIZATION]
    )
    files = sink.tables(_Tensor.FILES)
    labels = first([f for f in files if f.number(_File.TYPE, "<B") == _AXIS_LABELS])
    return MetadataBlock(
        color=color,
        mean=scaling.floats(_Normalization.MEAN),
        std=scaling.floats(_Normalization.STD),
        labels_file=labels.string(_File.NAME),
    )
