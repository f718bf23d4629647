"""Labels, colour and normalization that other tools wrote into a model file.

* `.tflite`: the standard metadata block and the label file that it names (`tflite_metadata`); without a block, a label
  file or Ultralytics' `metadata.json` in the zip behind the model.
* `.onnx`: `metadata_props`: the image properties of the ONNX standard (onnx/onnx, docs/MetadataProps.md), label lists
  under the names that exporters use, and what is known of Ultralytics' models.

    >>> onnx_metadata({"names": "{0: 'cat', 1: 'dog'}", "author": "Ultralytics"}).labels
    ('cat', 'dog')

What can't be used is left out and listed in `Metadata.notes`; options can still give it. No text is executed.
"""

from __future__ import annotations

import ast
import io
import json
import math
import mmap
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgepress.converters.to_tflite.metadata import MetadataBlock, read_block
from edgepress.runtime.errors import InputError, parsing
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.protobuf import fields

MAX_BYTES = 1 << 20
"""Larger label files and metadata are not read."""

ChannelOrder = Literal["grey", "rgb", "bgr"]


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What other tools wrote into a file.

    Attributes:
        labels: Class names in the order of the outputs; empty if unknown.
        characters: Whether the labels are the characters of a text recognizer, which may have a blank in front of them
            and a space behind.
        color: Colour and order of the input's channels; None if unknown.
        mean: The model takes (pixel - mean) / std, pixels being 0-255: one number or one a channel; empty if unknown.
        std: See `mean`.
        notes: What was there and could not be used.
    """

    labels: tuple[str, ...] = ()
    characters: bool = False
    color: ChannelOrder | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()


def tflite_metadata(model: bytes) -> Metadata:
    """The metadata in the bytes of a whole `.tflite` file.

    Raises:
        ModelFileError: Its metadata block is damaged.
    """
    block = read_block(model)
    files = _Files(model)
    props = _object(files.text("metadata.json")) if "metadata.json" in files.names and block is None else {}
    if props:
        return onnx_metadata(props)
    block = block or MetadataBlock()
    name = block.labels_file or next((n for n in files.names if "label" in n.lower() and n.endswith(".txt")), "")
    labels = label_lines(files.text(name)) if name else ()
    mean = block.mean
    std = block.std
    if (mean or std) and not usable_scaling(mean, std):
        files.notes.append(f"the metadata's normalization can't be used: mean {list(mean)[:4]}, std {list(std)[:4]}")
        mean = ()
        std = ()
    return Metadata(labels=labels, color=block.color, mean=mean, std=std, notes=tuple(files.notes))


def onnx_metadata(props: Mapping[str, str]) -> Metadata:
    """The metadata in the `metadata_props` of an `.onnx` file."""
    lower = {key.lower(): value for key, value in props.items()}
    labels = next(filter(None, (parse_labels(lower.get(key, "")) for key in _LABEL_KEYS)), ())
    characters = tuple(lower.get("character", "").rstrip("\r\n").splitlines()) if not labels else ()
    pixels = lower.get("image.bitmappixelformat", "").lower()
    color = _PIXEL_FORMATS.get(pixels)
    range_name = lower.get("image.nominalpixelrange", "").lower()
    low_high = _PIXEL_RANGES.get(range_name)
    unknown = [v for v, known in ((pixels, color), (range_name, low_high)) if v and not known]
    if lower.get("author") == "Ultralytics":
        color = color or "rgb"
        low_high = low_high or (0.0, 1.0)
    mean, std = scaling_of(*low_high) if low_high else ((), ())
    notes = tuple(f"the metadata's {value} is not supported" for value in unknown)
    return Metadata(
        labels=labels or characters, characters=bool(characters), color=color, mean=mean, std=std, notes=notes
    )


def onnx_props(path: Path) -> dict[str, str]:
    """The `metadata_props` of an `.onnx` file. The graph is skipped, not parsed, whatever its size.

    Raises:
        ModelFileError: The file is damaged, or no ONNX model.
    """
    with parsing(path), path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        props = {}
        for number, start, end in fields(data, 0, len(data)):
            if number == _METADATA_PROPS:
                entry = {n: data[s:e].decode() for n, s, e in fields(data, start, end)}
                props[entry.get(1, "")] = entry.get(2, "")
        return props


_METADATA_PROPS = 14
"""Number of the field in ONNX's ModelProto; in an entry, 1 is the key and 2 the value."""


def read_labels(path: str | Path) -> tuple[str, ...]:
    """The labels in a file: one a line, perhaps numbered from 0, or a list or numbered object in JSON.

    A file whose first label is "[unknown]" has one a line. One that begins with a string in a list or an object is
    JSON, and an error if it is cut off.

    Raises:
        InputError: It can't be read, or holds no labels.
    """
    path = Path(path)
    hint = 'Give a text file with one label a line, or JSON such as ["cat", "dog"] or {"0": "cat", "1": "dog"}.'
    with parsing(path, hint, failed="is not a text of labels in UTF-8", error=InputError), open_regular(path) as f:
        content = f.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    if len(content) > MAX_BYTES:
        raise InputError(f"{path} has more than {MAX_BYTES} bytes; accepted: labels in fewer.", hint)
    in_json = _labels_in_json(text)
    labels = label_lines(text) if in_json is None else in_json
    if not labels or not are_text(labels):
        why = "no labels" if in_json is None else "JSON that is cut off, or that holds no labels"
        raise InputError(f"{path} is {why}." if in_json is not None else f"{path} holds {why}.", hint)
    return labels


def are_text(labels: Sequence[str]) -> bool:
    """Whether labels can be written in UTF-8, which has no lone halves of surrogate pairs."""
    return not any("\ud800" <= c <= "\udfff" for label in labels for c in label)


def label_lines(text: str) -> tuple[str, ...]:
    """One label a line, without the numbers in front if every line is numbered by its place, from 0."""
    lines = [line.strip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    numbered = [re.match(rf"{i}[\s:,]+(.+)", line) for i, line in enumerate(lines)]
    return tuple(m[1] if m else "" for m in numbered) if all(numbered) else tuple(lines)


def parse_labels(text: str) -> tuple[str, ...]:
    """Labels in a text: JSON, the same written by Python, one per line, or separated by commas; else none.

    Of a list the strings, of an object the values of the keys "0", "1" and so on, or the keys of the values 0, 1, ...
    """
    if len(text) > MAX_BYTES:
        return ()
    labels = _labels_in_json(text)
    if labels is None:
        lines = label_lines(text)
        labels = lines if len(lines) != 1 else tuple(part.strip() for part in text.split(","))
        if len(lines) == 1 < len(labels) and lines[0][0] + lines[0][-1] in ("[]", "{}"):
            labels = ()  # a list in a writing that is not known
    return labels if are_text(labels) else ()


def _labels_in_json(text: str) -> tuple[str, ...] | None:
    """The labels of JSON, or of the same written by Python; none if it is cut off, None if a text is not meant so."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = _python_literal(text)
        if value is None:
            return () if _BEGINS_WITH_STRING.match(text) else None
    if isinstance(value, dict):
        numbers = list(value.values())
        if all(type(n) is int for n in numbers) and sorted(numbers) == list(range(len(numbers))):
            value = {number: label for label, number in value.items()}  # Keras' class_indices
        named = {str(key): label for key, label in value.items()}
        value = [named.get(str(i)) for i in range(len(named))]
    if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
        return ()
    return tuple(value)


def scaling_of(low: float, high: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and std that bring pixels 0-255 to low-high."""
    std = 255 / (high - low)
    return (0.0 - low * std,), (std,)


def usable_scaling(mean: Sequence[float], std: Sequence[float]) -> bool:
    """Whether (pixel - mean) / std can be computed."""
    return len(mean) == len(std) > 0 and all(map(math.isfinite, (*mean, *std))) and all(std)


_LABEL_KEYS = ("names", "labels", "labels.txt", "classes", "class_names", "id2label")
_PIXEL_FORMATS: dict[str, ChannelOrder] = {"gray8": "grey", "rgb8": "rgb", "bgr8": "bgr"}
_PIXEL_RANGES = {
    "nominalrange_0_255": (0.0, 255.0),
    "normalized_0_1": (0.0, 1.0),
    "normalized_1_1": (-1.0, 1.0),
    "nominalrange_16_235": (16.0, 235.0),
}
_STRINGS = (rf"{q}(?>(?:[^{q}\\\n]|\\.)*)(?:\Z|{q}\s*(?:[,:\]}}]|\Z))" for q in "\"'")
_BEGINS_WITH_STRING = re.compile(rf"\s*(?:[\[{{]\s*)+(?:-?\d+\s*:\s*)?(?:{'|'.join(_STRINGS)})")
"""How a list or an object of labels begins: with a string that is closed and followed by a comma, colon or bracket."""
_ITEM = re.compile(r"""\s*(?:["']?(\d{1,9})["']?\s*:\s*)?("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*[,\]}]""")


def _python_literal(text: str) -> dict[int, str] | list[str] | None:
    """A flat dict of numbers to strings or list of strings as `str` writes it, None if it is anything else.

    `ast.literal_eval` on the whole could take all memory or the whole stack; on one string it can't.
    """
    at = text.index(text.strip()[0]) + 1
    numbers = []
    labels = []
    while match := _ITEM.match(text, at):
        try:
            with warnings.catch_warnings(action="ignore"):
                labels.append(str(ast.literal_eval(match[2])))
        except (ValueError, SyntaxError):
            return None
        numbers.append(match[1])
        at = match.end()
    if text[at:].strip() or not labels or text[at - 1] not in "]}":
        return None
    if None in numbers:
        return labels if not any(numbers) else None
    return dict(zip(map(int, numbers), labels, strict=True))


def _object(text: str) -> dict[str, str]:
    """The fields of a JSON object, those that are not strings as JSON; empty if the text is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in value.items()} if isinstance(value, dict) else {}


class _Files:
    """The files in the zip behind a model, and notes of what can't be read in it."""

    def __init__(self, model: bytes) -> None:
        self.notes: list[str] = []
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(model))
            self.names = self._archive.namelist()
        except Exception:  # zipfile raises what it likes on bytes that only look like a zip
            self.names = []

    def text(self, name: str) -> str:
        """A file's text, empty with a note if there is none."""
        if name not in self.names:
            self.notes.append(f"{name}, which the metadata names, is not in the file")
            return ""
        member = self._archive.getinfo(name)
        if member.file_size > MAX_BYTES or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            self.notes.append(f"{name} in the file is too large, or compressed in an unusual way")
            return ""
        try:
            content = self._archive.read(member)
        except Exception as e:  # as above, and from the decompressor
            self.notes.append(f"{name} in the file is damaged: {e}")
            return ""
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            self.notes.append(f"{name} in the file is not text in UTF-8, so some of its characters are lost")
            return content.decode(errors="replace")
