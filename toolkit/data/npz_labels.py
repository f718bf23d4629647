"""The labels of an `.npz`: numbers or names of classes, one-hot rows, or rows of 0 and 1 for each label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.data.items import ReadOptions, in_order
from edgepress.toolkit.errors import DataError

Array = npt.NDArray[Any]

MOST_EXACT = 2.0**53
"""The largest floating-point number up to which all whole numbers differ."""
ACCEPTED_Y = "whole numbers or strings (N,), one-hot rows (N, classes), or rows of 0 and 1 for each label (N, labels)"
"""What messages say of `y`."""


def checked_y(y: Array, where: str) -> Array:
    """Check labels, and convert them to whole numbers or strings, shape (N,), or rows of 0 and 1, (N, labels)."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y.ravel()
    if y.dtype.kind not in "biufUS" or y.ndim not in (1, 2) or (y.ndim == 2 and y.dtype.kind in "US"):
        raise DataError(f"{where} has the type {y.dtype} and shape {y.shape}; accepted: {ACCEPTED_Y}.")
    if y.ndim == 2:
        others = ~((y == 0) | (y == 1))
        if others.any() or not y.shape[1]:
            found = f"the value {y[others][0]:g}" if y.shape[1] else "no column"
            raise DataError(f"{where} of shape {y.shape} has {found}; accepted: {ACCEPTED_Y}.")
        return y.astype(np.int64)
    if y.dtype.kind == "f" and not np.all(np.isfinite(y) & (y == np.trunc(y))):
        raise DataError(f"{where} has numbers that are not whole; accepted: {ACCEPTED_Y}.")
    if y.dtype.kind in "US":
        return as_text(y)
    far = np.abs(y) > MOST_EXACT if y.dtype.kind == "f" else y > np.iinfo(np.int64).max
    if far.any():
        raise DataError(
            f"{where} has the class {y[far][0]}; numbers so large are not exact.",
            "Number the classes from 0, or name them.",
        )
    return y.astype(np.int64)


def has_rows(ys: Mapping[str, Array], options: ReadOptions) -> bool:
    """Whether rows of 0 and 1 say of each label whether an item has it, instead of naming one class."""
    rows = [y for y in ys.values() if y.ndim == 2]
    return (options.multilabel and bool(rows)) or any((y.sum(axis=1) != 1).any() for y in rows)


def rows_of_labels(
    ys: Mapping[str, Array], names: list[str] | None, path: Path
) -> tuple[tuple[str, ...], dict[str, Array]]:
    """The names of the columns of multi-label data, and the rows."""
    shapes = {part: y.shape[1:] for part, y in ys.items()}
    if len({*shapes.values()}) > 1:
        found = ", ".join(
            f"{part} has {f'rows of {shape[0]}' if shape else 'single labels'}" for part, shape in shapes.items()
        )
        raise DataError(
            f"{path}: the labels of its splits differ: {found}.", "Give all of them rows of 0 and 1 of one length."
        )
    (count,) = next(iter(shapes.values()))
    if names is not None and len(names) != count:
        raise DataError(f"{path}: y has {count} columns, and labels has {len(names)} names.", "Name each column once.")
    return tuple(names or map(str, range(count))), dict(ys)


def classes_of(
    ys: Mapping[str, Array], names: list[str] | None, path: Path
) -> tuple[tuple[str, ...], dict[str, Array]]:
    """The names of the classes, and the number of each item's class."""
    values = {part: y.argmax(axis=1) if y.ndim == 2 else y for part, y in ys.items()}
    labels = _labels(names, values, path)
    index = {label: i for i, label in enumerate(labels)}
    return labels, {part: np.array([index[str(v)] for v in y], np.int64) for part, y in values.items()}


def as_text(names: Array) -> Array:
    """Names as text; bytes that are not UTF-8 stay different, so that `open_data` refuses them."""
    return np.char.decode(names, "utf-8", "surrogateescape") if names.dtype.kind == "S" else names.astype(np.str_)


def names_in(labels: Array, path: Path) -> list[str]:
    """The names in `labels`, each once."""
    names = [str(v) for v in as_text(np.ravel(labels))]
    if len(set(names)) < len(names):
        raise DataError(f"{path}: labels has a name twice: {', '.join(names)}.")
    return names


def _labels(names: list[str] | None, ys: dict[str, Array], path: Path) -> tuple[str, ...]:
    """Class names; numbers in `ys` are replaced in place by the `names` they index."""
    if names is None:
        return tuple(in_order([str(v) for y in ys.values() for v in np.unique(y)]))
    for part, y in ys.items():
        beyond = np.setdiff1d(y, names) if y.dtype.kind == "U" else y[(y < 0) | (y >= len(names))]
        if beyond.size:
            raise DataError(f"{path}: y has {beyond[0]!s}, which is none of the {len(names)} labels.")
        ys[part] = y if y.dtype.kind == "U" else np.array(names)[y]
    return tuple(names)
