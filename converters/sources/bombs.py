"""Refuse Keras files that take far more memory or disk than their size, or that read other files of this machine.

Keras reads every weight into memory, and unpacks the whole file to disk if it holds assets. What it saves is not
compressed; other programs compress weights by a few times.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgepress.converters.unpacking import FREE_BYTES, RATIO, ArchivePart, refuse_bomb, require_disk
from edgepress.runtime.errors import ModelFileError

MAX_LAYERS = 5000
"""Most layers of a model, those of models inside it included; the largest in keras.applications have a thousand."""
MAX_REBUILT = 500**2
"""Most layers that are built while Keras opens the Sequential models in a file: it builds all again for each layer."""
PIECE = 1 << 26
"""Most bytes of texts that are read at once."""
_HINT = "Save the model again with Keras."
_ENTRY = 4096
"""Fewest bytes that a member takes on disk."""


def refuse_unsafe(path: Path) -> None:
    """Refuse a `.keras` or `.h5` file that claims to be much larger than what is stored, or that points to other files.

    Raises:
        ModelFileError: It is such a file. Other exceptions of zipfile and h5py pass.
    """
    with path.open("rb") as file:
        archived = file.read(2) == b"PK"
    if not archived:
        refuse_bomb(path, _datasets(path, path), _HINT)
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        total = refuse_bomb(path, _members(archive, path.stat().st_size), _HINT)
        if any(m.filename.startswith("assets/") for m in members):
            require_disk(path, total + _ENTRY * len(members), tempfile.gettempdir())
        for name in dict.fromkeys(archive.namelist()):  # after all are known to be small enough to unpack
            if name.endswith(".h5"):
                refuse_bomb(path, _datasets(path, io.BytesIO(archive.read(name))), _HINT)
            if name.endswith(".npz"):
                with zipfile.ZipFile(io.BytesIO(archive.read(name))) as inner:
                    refuse_bomb(path, _members(inner, archive.getinfo(name).file_size), _HINT)


def refuse_many_layers(path: Path, config: Any) -> None:
    """Refuse a configuration of so many layers that Keras does not come to an end.

    Raises:
        ModelFileError: It is one.
    """
    layers, rebuilt = _count(config)
    if layers > MAX_LAYERS or rebuilt > MAX_REBUILT:
        single = int(MAX_REBUILT**0.5)
        raise ModelFileError(
            f"{path} has {layers} layers; accepted: up to {MAX_LAYERS}, and up to {single} in a Sequential.",
            "Save a smaller model, or a Sequential of many layers as a functional one.",
        )


def _count(node: Any) -> tuple[int, int]:
    """The layers in a configuration, and how many are built while Keras opens it."""
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    inner = [_count(value) for value in values if isinstance(value, (dict, list))]
    layers = sum(n for n, _ in inner)
    rebuilt = sum(n for _, n in inner)
    config = node.get("config") if isinstance(node, dict) else None
    direct = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(direct, list):
        return layers, rebuilt
    layers += len(direct)
    return layers, rebuilt + (len(direct) * layers if node.get("class_name") == "Sequential" else 0)


def _members(archive: zipfile.ZipFile, size: int) -> Iterator[ArchivePart]:
    return (ArchivePart(m.filename, m.file_size, min(m.compress_size, size)) for m in archive.infolist())


def _datasets(path: Path, file: Path | io.BytesIO) -> Iterator[ArchivePart]:
    """The data sets of an HDF5 file.

    Raises:
        ModelFileError: One of them, or a link, leads to another file.
    """
    import h5py

    datasets: list[Any] = []
    links: list[str] = []

    def visit(name: str | bytes, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            datasets.append((str(name), item))
        else:
            links.extend(_links_out(item))

    with h5py.File(file) as opened:
        visit("", opened)
        opened.visititems(visit)
        outside = [*links, *(name for name, data in datasets if data.external or data.is_virtual)]
        if outside:
            raise ModelFileError(f"{path} leads to other files, which are not read: {outside[0]} in it does.", _HINT)
        size = file.stat().st_size if isinstance(file, Path) else len(file.getvalue())
        for name, data in datasets:
            if data.dtype.hasobject and h5py.check_ref_dtype(data.dtype) is None:
                yield ArchivePart(name, _bytes_of_texts(data, size), size)
            else:
                yield ArchivePart(name, int(data.nbytes), int(data.id.get_storage_size()))


def _bytes_of_texts(data: Any, size: int) -> int:
    """Bytes of the texts or lists of a data set, which lie elsewhere in the file: any number may be the same ones.

    Args:
        data: The data set.
        size: Bytes of the file, which is the most that one of them can have.

    Returns:
        Their sum, counted until it is a bomb's; the most that it can be unless the data set has one axis.
    """
    if data.ndim != 1 or data.dtype.names:
        return (data.size or 0) * size
    total = 0
    step = max(1, PIECE // max(1, size))
    for start in range(0, len(data), step):
        total += sum(map(_bytes_of, data[start : start + step]))
        if total > max(FREE_BYTES, RATIO * size):
            break
    return total


def _bytes_of(value: Any) -> int:
    return int(value.nbytes) if hasattr(value, "nbytes") else len(value)


def _links_out(group: Any) -> Iterator[str]:
    """Names of the links of an HDF5 group that are neither hard nor soft.

    By the low-level interface: the other one fails on names that are not UTF-8.
    """
    from h5py import h5l

    for number in range(group.id.get_num_objs()):
        name = group.id.get_objname_by_idx(number)
        if group.id.links.get_info(name).type not in (h5l.TYPE_HARD, h5l.TYPE_SOFT):
            yield name.decode(errors="backslashreplace")
