"""NumPy archives: `x` and `y`, or `x_train`, `y_train`, `x_test`, `y_test` and perhaps `x_val`, `y_val`, and `labels`.

    np.savez("data.npz", x=x, y=y, labels=["cat", "dog"])

x of uint8 with shape (N, height, width) or (N, height, width, 1 or 3) are images; any other x are tensors, brought to
float32. y holds whole numbers or strings, shape (N,), or one-hot rows, shape (N, classes). With `labels`, numbers count
in it from 0; without, the distinct values are the labels. The arrays are held in memory. Nothing is ever unpickled.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.data.items import Items, Wish, array_items, in_order
from edgepress.toolkit.errors import DataError

Array = npt.NDArray[Any]

_ACCEPTED = "x and y, or x_train, y_train, x_test, y_test and perhaps x_val, y_val; and perhaps labels"


def read_npz(path: Path, wish: Wish) -> Items:
    """The data set in an `.npz`.

    Raises:
        DataError: The file is damaged, an array is missing, of a wrong shape or type, or holds NaN or infinity.
    """
    arrays = _load(path)
    parts = {"train": ("x", "y")} if "x" in arrays else {p: (f"x_{p}", f"y_{p}") for p in ("train", "val", "test")}
    given = {part: keys for part, keys in parts.items() if part == "train" or any(key in arrays for key in keys)}
    for key in (key for keys in given.values() for key in keys):
        if key not in arrays:
            raise DataError(f"{path} has no array {key!r}; found: {', '.join(arrays)}.", f"Accepted: {_ACCEPTED}.")
    xs = {part: _items(arrays[x], f"{path}: {x}") for part, (x, _) in given.items()}
    ys = {part: _classes(arrays[y], f"{path}: {y}") for part, (_, y) in given.items()}
    for part, (x_key, y_key) in given.items():
        if len(xs[part]) != len(ys[part]):
            raise DataError(
                f"{path}: {x_key} holds {len(xs[part])} items and {y_key} {len(ys[part])} labels.",
                "They must be as many.",
            )
    kinds = {given[part][0]: f"{x.dtype} {x.shape[1:]}" for part, x in xs.items()}
    if len(set(kinds.values())) > 1:
        raise DataError(f"{path} holds items of different shapes or types: {kinds}.", "They must be alike.")
    labels = _labels(arrays.get("labels"), ys, path)
    index = {label: i for i, label in enumerate(labels)}
    classes = {part: np.array([index[str(v)] for v in y], np.int64) for part, y in ys.items()}
    return array_items({part: (xs[part], classes[part]) for part in given}, labels=labels, wish=wish)


def stored_item(path: Path) -> tuple[np.dtype[Any], tuple[int, ...]] | None:
    """Type and shape of an item in an `.npz`, from the header of its array alone; None if it can't be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in ("x.npy", "x_train.npy") if n in archive.namelist())
            with archive.open(name) as file:
                version = np.lib.format.read_magic(file)
                header = (
                    np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = header(file)
    except (OSError, ValueError, EOFError, StopIteration, zipfile.BadZipFile, zlib.error):
        return None
    return dtype, shape[1:]


def _load(path: Path) -> dict[str, Array]:
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is truncated or no NumPy archive")
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, EOFError, ValueError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as e:
        objects = "it holds an array of Python objects, and only numbers and strings are accepted"
        reason = objects if "allow_pickle" in str(e) else e
        raise DataError(f"{path} can't be read: {reason}.", "Save it with numpy.savez.") from e


def _items(x: Array, where: str) -> Array:
    """uint8 images or finite float32 tensors."""
    if x.dtype.kind not in "biuf":
        raise DataError(f"{where} is of type {x.dtype}; accepted: integers and floating-point numbers.")
    if x.ndim < 2 or not x.size:
        raise DataError(
            f"{where} has the shape {x.shape}; accepted: (N, ...), at least two dimensions, none of them 0."
        )
    if x.dtype == np.uint8 and (x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3))):
        return x
    with np.errstate(over="ignore"):
        tensors = x.astype(np.float32)
    wrong = ~np.isfinite(tensors)
    if wrong.any():
        items = np.flatnonzero(wrong.reshape(len(x), -1).any(axis=1))
        raise DataError(
            f"{where} holds NaN, infinity or values beyond float32 in {len(items)} of {len(x)} items, first in item "
            f"{items[0]}.",
            "Remove or replace them.",
        )
    return tensors


def _classes(y: Array, where: str) -> Array:
    """Whole numbers or strings, shape (N,)."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dtype.kind not in "biufUS" or y.ndim not in (1, 2) or (y.ndim == 2 and y.dtype.kind in "US"):
        raise DataError(
            f"{where} is of type {y.dtype} and shape {y.shape}; accepted: whole numbers or strings (N,), or one-hot "
            "rows (N, classes)."
        )
    if y.ndim == 2:
        if not np.all((y == 0) | (y == 1)) or not np.all(np.count_nonzero(y, axis=1) == 1):
            raise DataError(f"{where} of shape {y.shape} is not one-hot: every row must hold a single 1, the rest 0.")
        return np.asarray(y.argmax(axis=1))
    if y.dtype.kind == "f" and not np.all(np.isfinite(y) & (y == np.trunc(y))):
        raise DataError(f"{where} holds numbers that are not whole; accepted: whole numbers, strings, one-hot rows.")
    return _text(y) if y.dtype.kind in "US" else y.astype(np.int64)


def _text(names: Array) -> Array:
    return np.char.decode(names, "utf-8", "replace") if names.dtype.kind == "S" else names.astype(np.str_)


def _labels(labels: Array | None, ys: dict[str, Array], path: Path) -> tuple[str, ...]:
    """Class names; numbers in `ys` that count in `labels` are replaced by them, in place."""
    if labels is None:
        return tuple(in_order([str(v) for y in ys.values() for v in np.unique(y)]))
    names = [str(v) for v in _text(np.ravel(labels))]
    if len(set(names)) < len(names):
        raise DataError(f"{path}: labels holds a name twice: {', '.join(names)}.")
    for part, y in ys.items():
        beyond = np.setdiff1d(y, names) if y.dtype.kind == "U" else y[(y < 0) | (y >= len(names))]
        if beyond.size:
            raise DataError(f"{path}: y holds {beyond[0]!s}, which is none of the {len(names)} labels.")
        ys[part] = y if y.dtype.kind == "U" else np.array(names)[y]
    return tuple(names)
