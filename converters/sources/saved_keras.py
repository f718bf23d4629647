"""What a Keras file says of its model, and copies of the file in float32.

The kind of a file, and the version that wrote it, are recognized by its content, not by its suffix.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.converters.scratch import ScratchFolder
from edgepress.converters.sources import keras_2
from edgepress.converters.sources.bombs import refuse_many_layers
from edgepress.converters.unpacking import require_disk
from edgepress.runtime.errors import ModelFileError

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
