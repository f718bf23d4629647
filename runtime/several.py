"""Bring what a caller gives to the records that a file of several inputs takes (`input_record`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgepress.runtime.arrays import load_arrays
from edgepress.runtime.errors import InputError
from edgepress.runtime.input_record import inputs_of, match_names, misfit
from edgepress.runtime.items import ItemReader

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgepress.runtime.arrays import ImageLike
    from edgepress.runtime.crop import Crop
    from edgepress.runtime.sessions import Session


class RecordReader(ItemReader):
    """The items of a file of several inputs: the first is given as that of a file of one, others by their names."""

    def __init__(self, path: Path, session: Session) -> None:
        super().__init__(path, session)
        contract = session.contract
        specs = {each.name: each for each in inputs_of(contract.input)} if contract else {}
        self._parts: dict[str, ItemReader] = {}
        self._real = {name for name, spec in specs.items() if spec.dtype == "float32"}
        for name in session.dtype.names or ():
            part = SimpleNamespace(
                contract=contract.replace(input=specs[name]) if contract else None,
                shape=session.dtype[name].shape,
                dtype=session.dtype[name].base,
                scale=session.scales[name],
                batch=session.batch,
            )
            self._parts[name] = ItemReader(path, cast("Session", part))

    def prepare(self, image: Any, /, **others: Any) -> npt.NDArray[Any]:
        """One record from the first input, and the others by their names; or from a mapping of all, or an `.npz`."""
        if isinstance(image, (str, os.PathLike)) and os.fspath(image).lower().endswith(".npz"):
            image = load_arrays(image, os.fspath(image))
        if isinstance(image, np.ndarray) and image.dtype.names:
            image = {name: image[name] for name in image.dtype.names}
        inputs = image if isinstance(image, Mapping) else {next(iter(self._parts)): image}
        if twice := inputs.keys() & others.keys():
            raise InputError(f"The input {min(twice)} was given twice.", self._wanted())
        values = self._named({**inputs, **others})
        return _joined(self._each(lambda name, reader: self._read(name, reader.prepare(_array(values[name])))), ())

    def prepare_part(self, image: ImageLike, crop: Crop) -> Any:
        """Refuse: which of the images would be cropped is not known."""
        raise InputError(f"{self._path} has several inputs, so no part of an image can be chosen.", "Leave out --crop.")

    def batched(self, array: Any) -> npt.NDArray[Any]:
        """Records, shape (N,): of a structured array, or of an array an input, by their names or in their order."""
        if isinstance(array, np.ndarray) and array.dtype.names:
            if array.ndim == 1 and array.dtype == self._dtype:
                return array
            array = {name: array[name] for name in array.dtype.names}
        elif isinstance(array, (tuple, list)) and len(array) == len(self._parts):
            array = dict(zip(self._parts, array, strict=True))
        values = self._named(array)
        parts = self._each(lambda name, reader: self._read(name, reader.batched(np.asarray(values[name]))))
        counts = {name: len(part) for name, part in parts.items()}
        if len(set(counts.values())) > 1:
            raise InputError(f"The inputs hold different numbers of items: {counts}.", "Give as many of each.")
        return _joined(parts, (next(iter(counts.values())),))

    def stored(self, items: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Records in the types that the file takes, each input quantized by its own parameters."""
        if items.dtype == self._dtype:
            return items
        return _joined(self._each(lambda name, reader: reader.stored(items[name])), (len(items),)).astype(self._dtype)

    def _read(self, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Numbers of an input that takes real ones as such: bytes of a table are not those that a file stores."""
        return array.astype(np.float32) if name in self._real and array.dtype.kind in "uib" else array

    def _each(self, make: Callable[[str, ItemReader], npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """What is made for each input by its reader; an error says which it is about."""
        made = {}
        for name, reader in self._parts.items():
            try:
                made[name] = make(name, reader)
            except InputError as e:
                raise InputError(f"Input {name}: {e.message}", e.hint) from e
        return made

    def _named(self, inputs: Any) -> dict[str, Any]:
        """Inputs by the names that the file has, from any mapping of all of them."""
        if not isinstance(inputs, Mapping):
            raise InputError(f"A single {type(inputs).__name__} is no item of {self._path.name}.", self._wanted())
        names = match_names(list(map(str, inputs)), list(self._parts))
        if problem := misfit(names, list(map(str, inputs)), list(self._parts)):
            raise InputError(f"The inputs do not fit {self._path.name}: {problem}.", self._wanted())
        return {names[str(name)]: value for name, value in inputs.items()}

    def _wanted(self) -> str:
        shapes = (f"{name} of shape {list(self._dtype[name].shape)}" for name in self._parts)
        return f"It takes {', '.join(shapes)}: the first in its place, the others by name; or all by name."


def _array(value: Any) -> Any:
    """Numbers and lists of them as an array; anything else as it is."""
    return np.asarray(value) if isinstance(value, (int, float, list, tuple)) else value


def _joined(parts: Mapping[str, npt.NDArray[Any]], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Records of this shape, of arrays that begin with it."""
    fields = [(name, part.dtype, part.shape[len(shape) :]) for name, part in parts.items()]
    records = np.empty(shape, np.dtype(fields))
    for name, part in parts.items():
        records[name] = part
    return records


def parsed_inputs(options: Sequence[str]) -> dict[str, Any]:
    """Inputs from the command line: NAME=1.5,2,3 or NAME=FILE, the last a `.npy` or an image.

    Raises:
        InputError: One has no name, or comes twice.
    """
    inputs: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not name or not value or name in inputs:
            raise InputError(f"--input is {option!r}.", "Accepted: NAME=1.5,2,3 or NAME=FILE, once for each input.")
        try:
            inputs[name] = [float(number) for number in value.split(",")]
        except ValueError:
            inputs[name] = value
    return inputs
