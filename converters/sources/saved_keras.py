"""Keras files before Keras opens them: refused if they take far more than their size, read, and copied in float32.

The kind of a file, and the version that wrote it, are recognized by its content, not by its suffix.

Refuse Keras files that take far more memory or disk than their size, or that read other files of this machine.

Keras reads every weight into memory, and unpacks the whole file to disk if it holds assets. What it saves is not
compressed; other programs compress weights by a few times.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.converters.files import FREE_BYTES, RATIO, ArchivePart, refuse_bomb, require_disk
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.sources import keras_2
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


_CONFIG = "config.json"
_METADATA = "metadata.json"
_FLOATS = re.compile(r"(mixed_)?b?float16|float64")
"""Other float types and policies of training: every scheme is derived from a float32 model."""


@dataclass(frozen=True)
class Saved:
    """What a Keras file says of its model.

    Attributes:
        config: The configuration.
        version: The version of Keras that wrote it.
        archived: Whether it is a `.keras`, by its content; else it is HDF5.
    """

    config: Any
    version: str
    archived: bool

    @property
    def keras_2(self) -> bool:
        """Whether Keras 2 or 1 wrote it."""
        return self.version.startswith(("1.", "2."))


def read_saved(path: Path) -> Saved:
    """What a `.keras` or `.h5` file says of its model.

    Raises:
        ModelFileError: It holds only weights. Other exceptions of zipfile, h5py and json pass.
    """
    import h5py

    with path.open("rb") as file:
        archived = file.read(4) != b"\x89HDF"
    if archived:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read(_METADATA)) if _METADATA in archive.namelist() else {}
            text = archive.read(_CONFIG)
            version = about.get("keras_version", "")
    else:
        with h5py.File(path, "r") as opened:
            text = opened.attrs.get("model_config")
            version = opened.attrs.get("keras_version", "2.0")
    if text is None:
        raise ModelFileError(
            f"{path} holds weights alone, without the model.",
            "Build the model, load the weights and save the whole model with model.save('model.keras').",
        )
    config = json.loads(text)
    refuse_many_layers(path, config)
    return Saved(config, version.decode() if isinstance(version, bytes) else str(version), archived)


@contextlib.contextmanager
def repair_file(path: Path, saved: Saved, own: Collection[str] = ()) -> Iterator[Path]:
    """The file under the suffix of its content, or a copy with the configuration of `saved`, changed to float32.

    Args:
        path: The file.
        saved: What `read_saved` returns for it; its configuration is changed, too.
        own: Names of the user's classes and functions.
    """
    suffix = ".keras" if saved.archived else ".h5"
    changed = _in_float32(saved.config) | (saved.keras_2 and keras_2.forget_training(saved.config))
    if saved.keras_2 and not saved.archived:
        changed |= keras_2.name_functions(saved.config, own)
    if not changed and path.suffix == suffix:
        yield path
        return
    with ScratchFolder() as folder:
        copy = Path(folder) / f"repaired{suffix}"
        if not changed:
            try:
                copy.symlink_to(path.resolve())
            except OSError:  # Windows allows links to few users
                shutil.copyfile(path, copy)
        elif saved.archived:
            _copy_archive(path, copy, saved.config)
        else:
            _copy_h5(path, copy, saved.config)
        yield copy


def _copy_archive(path: Path, copy: Path, config: Any) -> None:
    """Copy a `.keras` file with another configuration."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
        require_disk(path, sum(member.file_size for member in old.infolist()), copy.parent)
        for member in old.infolist():
            is_config = member.filename == _CONFIG
            with old.open(member) as content, new.open(member.filename, "w", force_zip64=True) as target:
                shutil.copyfileobj(io.BytesIO(json.dumps(config).encode()) if is_config else content, target)


def _copy_h5(path: Path, copy: Path, config: Any) -> None:
    """Copy an HDF5 file with another configuration."""
    import h5py

    require_disk(path, path.stat().st_size, copy.parent)
    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)


def _in_float32(node: Any) -> bool:
    """Replace other types than float32 in a configuration, in place; whether there were any."""
    if isinstance(node, list):
        return sum(map(_in_float32, node)) > 0  # not any(), which would stop at the first
    if not isinstance(node, dict):
        return False
    changed = False
    for key, value in node.items():
        policy = isinstance(value, dict) and str(value.get("class_name")).endswith("Policy")
        name = value["config"].get("name") if policy and isinstance(value.get("config"), dict) else value
        if (policy or key == "dtype") and isinstance(name, str) and _FLOATS.fullmatch(name):
            node[key] = "float32"
            changed = True
    return sum(map(_in_float32, node.values())) > 0 or changed
