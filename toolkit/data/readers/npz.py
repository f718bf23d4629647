"""Read an `.npz` of `x`, `y`; or of `x_train`, `y_train`, `x_test`, `y_test`, `x_val`, `y_val`; optionally `labels`.

    np.savez("data.npz", x=x, y=y, labels=["cat", "dog"])

For a model of several inputs, an array of the name of each input takes the place of `x`, with the same ends.
`x` of uint8 with shape (N, height, width) or (N, height, width, 1 or 3) are images; any other `x` are tensors, read as
float32. `y` has whole numbers or strings, shape (N,), or rows of 0 and 1, shape (N, labels). With `labels`, numbers are
indices into it and columns are in its order; without, the distinct values are the labels, or the numbers of the
columns. Rows that all have a single 1 are classes, unless the data are opened for a model whose labels do not exclude
each other; others are multi-label data. For calibration, `y` may be missing.
Arrays are held in memory. Nothing is unpickled. Arrays of other names are read where `--group column:NAME` names them,
and one of the name `group` or `groups` for training (`groups`); otherwise they are ignored.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.converters.files import ArchivePart, refuse_bomb, require_memory
from edgepress.runtime.errors import parsing
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.input_record import inputs_of
from edgepress.toolkit.data.input_arrays import stored_inputs
from edgepress.toolkit.data.items import UNLABELLED, Items, ReadOptions, array_items
from edgepress.toolkit.data.npz_labels import as_text, checked_y, classes_of, has_rows, names_in, rows_of_labels
from edgepress.toolkit.errors import DataError

Array = npt.NDArray[Any]

FREE_BYTES = 1 << 30
"""What the arrays may claim in any case: arrays of few different values are packed to a thousandth."""
HEADER_BYTES = 1 << 16
"""What is read of an array for its header, which NumPy reads whole, however long it says it is."""
TEXT_BYTES = 100
"""Memory of a text as an object of Python, without its characters: an array claims any number of empty ones."""
SAVED = "Save it with numpy.savez."
_ACCEPTED = "x and y, or x_train, y_train, x_test, y_test and optionally x_val, y_val; and optionally labels"


def is_npz(path: Path) -> bool:
    """Whether a path is an existing `.npz` file."""
    return path.suffix == ".npz" and path.is_file()


def read_npz(path: Path, options: ReadOptions) -> Items:
    """Read an `.npz`.

    Raises:
        DataError: The file is damaged or takes more memory than is free; or an array is missing, has a wrong shape or
            type, or contains NaN or infinity.
    """
    members = headers(path)
    inputs = stored_inputs(path, members, inputs_of(options.input)) or ("x",)
    whole = any(x in members for x in inputs)
    ends = {"train": ""} if whole else {part: f"_{part}" for part in ("train", "val", "test")}
    stems = (*inputs, "y")
    parts = {part: end for part, end in ends.items() if any(f"{stem}{end}" in members for stem in stems)}
    if options.lacks_training(parts):
        parts["train"] = ends["train"]
    bare = options.unlabelled and not any(f"y{end}" in members for end in ends.values())
    names = [f"{stem}{end}" for end in parts.values() for stem in (inputs if bare else stems)]
    for key in names:
        if key not in members:
            hint = f"Accepted: {_ACCEPTED}. {UNLABELLED if key.startswith('y') else ''}".strip()
            raise DataError(f"{path} has no array {key!r}; found: {', '.join(members)}.", hint)
    names += ["labels"] if "labels" in members and not bare else []
    for key in names:
        if members[key].dtype.hasobject:
            numbers = f"items of one shape, {key}.astype(np.float32) or np.stack(list({key}))"
            hint = f"Save {f'{key}.astype(str)' if key.startswith(('y', 'labels')) else numbers}."
            raise DataError(f"{path}: {key} has Python objects; accepted: numbers and strings.", hint)
    require_memory(path, sum(_memory(members[key]) for key in names), "Give fewer items.", error=DataError)
    arrays = read_arrays(path, names)
    columns = ArrayColumns(path, members, parts, inputs)
    xs = {part: _items_of(path, arrays, [f"{x}{end}" for x in inputs], options) for part, end in parts.items()}
    if bare:
        return array_items(
            {part: (x, np.zeros(len(x), np.int64)) for part, x in xs.items()}, labels=(), options=options
        )
    ys = {part: checked_y(arrays[f"y{end}"], f"{path}: y{end}") for part, end in parts.items()}
    for part, end in parts.items():
        if len(xs[part]) != len(ys[part]):
            counts = f"{inputs[0]}{end} has {len(xs[part])} items and y{end} {len(ys[part])} labels"
            raise DataError(f"{path}: {counts}.", "Both need the same number.")
    kinds = {f"{inputs[0]}{parts[part]}": f"{x.dtype} {x.shape[1:]}" for part, x in xs.items()}
    if len(set(kinds.values())) > 1:
        raise DataError(f"{path} contains items of different shapes or types: {kinds}.", "Use the same for all.")
    named = None if "labels" not in arrays else names_in(arrays["labels"], path)
    numbered = rows_of_labels if has_rows(ys, options) else classes_of
    labels, ys = numbered(ys, named, path)
    parts_of_items = {part: (xs[part], ys[part]) for part in parts}
    return array_items(parts_of_items, labels=labels, options=options, columns=columns)


@dataclass(frozen=True)
class ArrayColumns:
    """Arrays with a number or a text for each item: `NAME` beside `x`, or `NAME_train` and so on beside `x_train`.

    Attributes:
        path: The file.
        members: The headers of its arrays.
        ends: What stands behind the name of each split's array.
        inputs: The names of the arrays that hold the items, without these ends.
    """

    path: Path
    members: Mapping[str, Header]
    ends: Mapping[str, str]
    inputs: tuple[str, ...] = ("x",)

    def names(self) -> list[str]:
        """The names of the arrays that have a value for each item."""
        end = next(iter(self.ends.values()))
        names = [key.removesuffix(end) for key in self.members if key.endswith(end)]
        return [name for name in names if name not in (*self.inputs, "y", "labels") and self._has(name)]

    def _has(self, name: str) -> bool:
        return all(
            header is not None
            and header.dtype.kind in "biuUS"
            and header.shape == self.members[f"{self.inputs[0]}{end}"].shape[:1]
            for end in self.ends.values()
            for header in [self.members.get(f"{name}{end}")]
        )

    def read(self, name: str) -> tuple[list[str], list[str]]:
        """The values of an array as texts, and no notes.

        Raises:
            DataError: The file is damaged, or takes more memory than is free.
        """
        keys = [f"{name}{end}" for end in self.ends.values()]
        needed = sum(_memory(self.members[key]) for key in keys)
        require_memory(self.path, needed, "Give fewer items.", error=DataError)
        arrays = read_arrays(self.path, keys)
        values = (as_text(arrays[key]) if arrays[key].dtype.kind in "US" else arrays[key] for key in keys)
        return [str(value) for array in values for value in array.tolist()], []


class Header(NamedTuple):
    """What the header of an array says."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def headers(path: Path) -> dict[str, Header]:
    """The headers of the arrays in an `.npz`, none of which is read.

    Raises:
        DataError: It is damaged, an array claims more than is stored, or all of them much more than the file holds.
    """
    with parsing(path, SAVED, failed="can't be read", error=DataError):
        open_regular(path).close()  # a pipe would be waited for
        if not zipfile.is_zipfile(path):
            raise ValueError("it is truncated or not a NumPy archive")
        with zipfile.ZipFile(path) as archive:
            size = path.stat().st_size
            members = archive.infolist()
            claims = (ArchivePart(m.filename, m.file_size, min(m.compress_size, size)) for m in members)
            refuse_bomb(path, claims, f"{SAVED[:-1]}, which packs nothing.", free_bytes=FREE_BYTES, error=DataError)
            arrays = [member for member in members if member.filename.endswith(".npy")]
            return {member.filename.removesuffix(".npy"): _checked_header(archive, member) for member in arrays}


def _checked_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Header:
    """The header of an array; ValueError if it claims more than is stored."""
    with archive.open(member) as file:
        header = _header(file)
    if not header.dtype.hasobject and math.prod(header.shape) * header.dtype.itemsize > member.file_size:
        raise ValueError(f"{member.filename} claims the shape {header.shape} in {member.file_size} bytes")
    return header


def read_arrays(path: Path, wanted: Collection[str]) -> dict[str, Array]:
    """Arrays of an `.npz`, by their names.

    Raises:
        DataError: It is damaged.
    """
    failed = parsing(path, SAVED, failed="can't be read", error=DataError)
    with failed, np.load(path, allow_pickle=False) as archive:
        return {name: archive[f"{name}.npy"] for name in wanted}


def stored_item(path: Path) -> Header | None:
    """Read only the header of an `.npz` for the shape and type of an item; None if it can't be read."""
    try:
        arrays = headers(path)
    except DataError:
        return None
    x = arrays.get("x") or arrays.get("x_train")
    return Header(x.dtype, x.shape[1:]) if x and not x.dtype.hasobject else None


def _items_of(path: Path, arrays: Mapping[str, Array], keys: Sequence[str], options: ReadOptions) -> Array:
    """Items of one array, or records of several, one an input of the model, in the order of the inputs."""
    inputs = inputs_of(options.input)
    if not inputs:
        return _items(arrays[keys[0]], f"{path}: {keys[0]}")
    counts = {key: arrays[key].shape[0] if arrays[key].ndim else 0 for key in keys}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{key} has {count}" for key, count in counts.items())
        raise DataError(f"{path} has different numbers of items: {listed}.", "All inputs need the same number.")
    values = [arrays[key] for key in keys]
    values = [
        x[:, np.newaxis] if x.ndim == 1 and each.shape == (1,) else x for x, each in zip(values, inputs, strict=True)
    ]
    parts = [_items(x, f"{path}: {key}") for x, key in zip(values, keys, strict=True)]
    records = np.empty(
        counts[keys[0]], [(each.name, x.dtype, x.shape[1:]) for each, x in zip(inputs, parts, strict=True)]
    )
    for each, x in zip(inputs, parts, strict=True):
        records[each.name] = x
    return records


def _header(file: IO[bytes]) -> Header:
    head = io.BytesIO(file.read(HEADER_BYTES))
    version = np.lib.format.read_magic(head)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(head)
    if min(shape, default=0) < 0:
        raise ValueError(f"an array claims the shape {shape}")
    return Header(dtype, shape)


def _memory(header: Header) -> int:
    """Bytes that an array takes at most until its items are those of a data set, with the copies that are made."""
    count = math.prod(header.shape)
    size = header.dtype.itemsize
    if header.dtype == np.uint8 and len(header.shape) in (3, 4):
        return 2 * count
    if header.dtype.kind == "S":
        return count * (10 * size + TEXT_BYTES)  # and twice as text, of four bytes a character
    if header.dtype.kind == "U":
        return count * (3 * size + TEXT_BYTES)
    return count * (size + 9)  # as float32 twice, and which are finite


def _items(x: Array, where: str) -> Array:
    """Check items, and convert them to float32 unless they are uint8 images."""
    if x.dtype.kind not in "biuf":
        raise DataError(f"{where} has the type {x.dtype}; accepted: integers and floating-point numbers.")
    if x.ndim < 2 or not x.size:
        raise DataError(
            f"{where} has the shape {x.shape}; accepted: (N, ...), at least two dimensions, none of size 0."
        )
    if x.dtype == np.uint8 and (x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3))):
        return x
    with np.errstate(over="ignore"):
        tensors = x.astype(np.float32)
    wrong = ~np.isfinite(tensors)
    if wrong.any():
        items = np.flatnonzero(wrong.reshape(len(x), -1).any(axis=1))
        raise DataError(
            f"{where} contains NaN, infinity or values beyond float32 in {len(items)} of {len(x)} items, first in item "
            f"{items[0]}.",
            "Remove or replace them.",
        )
    return tensors
