"""Data and models that a Python program holds in memory, kept as files by their content.

Every command works on files: they have a hash, a contract names them, and a child process opens them again. So arrays
become an `.npz` in the user's cache folder, and a Keras model the file of a run. Equal content is written once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np
import numpy.typing as npt

from edgepress.converters.arrays import save_arrays
from edgepress.converters.files import whole_file
from edgepress.runtime.filetypes import MODEL
from edgepress.toolkit.data.input_arrays import LABEL_ARRAYS, ORDERED
from edgepress.toolkit.data.types import SPLITS, DataSet
from edgepress.toolkit.documents import default_cache
from edgepress.toolkit.errors import DataError

Data = str | Path | DataSet | tuple[Any, ...] | Mapping[str, Any]
"""What public functions take as data: a name or path as for `open_data`, an opened data set, a pair (x, y) of arrays,
two or three such pairs (training and test items, or training, validation and test items), or the arrays of an `.npz` by
their names. For a model of several inputs, x is a tuple of arrays in their order, or a dictionary by their names."""
NAME = 40
"""Characters of a model's name in that of its folder."""
DIGITS = 16
"""Hexadecimal digits of a content hash in a file's name."""
ACCEPTED = "Accepted: (x, y), ((x_train, y_train), (x_test, y_test)), or a dictionary of the arrays of an .npz."
MODELS = Path("runs")
"""Folder, in the current one, of models that were given as objects, as of trainings."""


@runtime_checkable
class KerasModel(Protocol):
    """A model of Keras 3 or tf_keras as an object."""

    name: str

    def to_json(self) -> str:
        """Its layers."""

    def get_weights(self) -> list[npt.NDArray[Any]]:
        """Its weights."""

    def save(self, filepath: str) -> Any:
        """Write it to a file."""


Model = str | Path | KerasModel
"""What public functions take as a model: a path, or a Keras model."""


@overload
def source_of(data: Data) -> str: ...
@overload
def source_of(data: None) -> None: ...
@overload
def source_of(data: Data | None) -> str | None: ...
def source_of(data: Data | None) -> str | None:
    """The name or path of data, None for None; arrays are written to `default_cache("arrays")` before.

    Raises:
        DataError: A tuple is not of pairs of arrays, or what it holds are no numbers or texts.
    """
    if data is None or isinstance(data, (str, Path)):
        return None if data is None else str(data)
    if isinstance(data, DataSet):
        arrays = _arrays_of_set(data)
    else:
        named = _of_inputs(data if isinstance(data, Mapping) else _named(data))
        arrays = {name: _array(name, value) for name, value in named.items()}
    path = default_cache("arrays") / f"{_hash_of(arrays)}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            save_arrays(file, arrays)
    return str(path)


@overload
def opened_or_named(data: Data) -> str | DataSet: ...
@overload
def opened_or_named(data: Data | None) -> str | DataSet | None: ...
def opened_or_named(data: Data | None) -> str | DataSet | None:
    """An opened data set as it is, and other data as `source_of` names them."""
    return data if isinstance(data, DataSet) else source_of(data)


def model_path(model: Model) -> Path:
    """The path of a model; a Keras model is written to `runs/NAME-HASH/model.keras` before."""
    if not isinstance(model, KerasModel):
        return Path(model)
    weights = {str(i): np.asarray(value) for i, value in enumerate(model.get_weights())}
    content = _hash_of({"layers": np.array(model.to_json()), **weights})
    name = re.sub(r"[^A-Za-z0-9_]+", "-", model.name)[:NAME]  # which a model of somebody else has chosen
    path = MODELS / f"{name}-{content}" / MODEL
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            model.save(str(temporary))
    return path


def _named(data: tuple[Any, ...]) -> dict[str, Any]:
    """The arrays of a pair, or of pairs, by the names that they have in an `.npz`."""
    parts = {2: ("train", "test"), 3: SPLITS}.get(len(data), ())
    if parts and all(isinstance(pair, (tuple, list)) and len(pair) == 2 and not _is_row(pair) for pair in data):
        return {
            f"{name}_{part}": array
            for part, pair in zip(parts, data, strict=True)
            for name, array in zip("xy", pair, strict=True)
        }
    if len(data) != 2:
        raise DataError(f"The data are a tuple of {len(data)}, which does not say what is what.", ACCEPTED)
    return {"x": data[0], "y": data[1]}


def _of_inputs(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The same where each x that is several inputs, by their names or as a tuple in their order, is as many arrays."""
    named: dict[str, Any] = {}
    for key, value in arrays.items():
        if not key.startswith("x") or not isinstance(value, (tuple, Mapping)):
            named[key] = value
        elif isinstance(value, Mapping):
            if taken := LABEL_ARRAYS & value.keys():
                name = min(taken)
                hint = "Give the inputs as a tuple, in the order of the model."
                raise DataError(f"An input is called {name!r}, which is the name of labels in an .npz.", hint)
            named |= {f"{name}{key[1:]}": array for name, array in value.items()}
        else:
            named |= {f"{ORDERED}{place}{key[1:]}": array for place, array in enumerate(value, 1)}
    return named


def _is_row(pair: Any) -> bool:
    """Whether two values are numbers or texts, as labels are, and not arrays."""
    return all(not isinstance(value, (tuple, Mapping)) and np.ndim(value) == 0 for value in pair)


def _array(name: str, value: Any) -> npt.NDArray[Any]:
    try:
        array = np.asarray(value)
    except Exception as e:  # of any package whose object it is
        raise DataError(f"{name} can't be read as an array: {e}.", ACCEPTED) from e
    if array.dtype.kind not in "buifU":
        raise DataError(f"{name} holds {type(value).__name__} objects ({array.dtype}), not numbers or texts.", ACCEPTED)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _arrays_of_set(data: DataSet) -> dict[str, npt.NDArray[Any]]:
    """All items of an opened data set, by split."""
    arrays = {"labels": np.array(data.labels)}
    for part in SPLITS:
        split = getattr(data, part)
        if len(split):
            x = split.read(slice(None))
            fields = (
                {f"x_{part}": x} if x.dtype.names is None else {f"{name}_{part}": x[name] for name in x.dtype.names}
            )
            arrays |= fields | {f"y_{part}": split.y}
    return arrays


def _hash_of(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """A hash of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data if array.dtype.kind != "U" else array.tobytes())
    return digest.hexdigest()[:DIGITS]
