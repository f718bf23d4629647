"""What lies in a folder that edgepress could use: data, models, runs.

Names, sizes, the headers of `.npz` files and the data that a run names are read, nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.filetypes import VARIANTS
from edgepress.runtime.image import IMAGE_SUFFIXES
from edgepress.toolkit import text
from edgepress.toolkit.data.readers.folder_layout import PARTS
from edgepress.toolkit.data.readers.idx import is_idx_folder
from edgepress.toolkit.data.readers.npz import headers
from edgepress.toolkit.data.readers.shards import is_shards
from edgepress.toolkit.documents import read_json
from edgepress.toolkit.results.run_files import RUN_MODELS

MODEL_SUFFIXES = frozenset({".keras", ".h5", ".tflite", ".onnx"})
WEIGHTS_ALONE = ".weights.h5"
"""How the names of files end that Keras saves weights to, without the network."""
MOST = 100_000
"""Files and folders that are looked at."""
DEEPEST = 6
"""Levels of folders that are looked at."""
NOT_OURS = frozenset({"__MACOSX", "__pycache__", "node_modules", "site-packages", "build", "dist"})


@dataclass(frozen=True)
class Found:
    """Something that was found.

    Attributes:
        path: Where, relative to the folder that was looked at, with / between its parts.
        what: What it is, with its counts.
        items: Number of items, if known.
        size_bytes: Size of its files, if known.
        modified: When its newest file was written; seconds.
        data: What a run was trained on, as it was given; "" if unknown.
        model: Name of a run's model in its folder.
    """

    path: str
    what: str
    items: int = 0
    size_bytes: int = 0
    modified: float = 0.0
    data: str = ""
    model: str = ""


@dataclass
class Surroundings:
    """The data, models, runs and results below a folder.

    Attributes:
        data: Data sets, that with the most items first.
        models: Models that commands could convert, the newest first.
        runs: Folders of `edgepress train`, the newest first.
        results: Folders of converted files or of results, the newest first.
        tables: CSV files, which are no data that edgepress reads.
        complete: Whether all of it was looked at.
    """

    data: list[Found] = field(default_factory=list)
    models: list[Found] = field(default_factory=list)
    runs: list[Found] = field(default_factory=list)
    results: list[Found] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    complete: bool = True


@dataclass
class _Images:
    count: int = 0
    size: int = 0


def look(folder: Path) -> Surroundings:
    """Look at a folder and those in it.

    Hidden folders and virtual environments are left out, and so are the pictures in runs and results.

    Args:
        folder: The folder; one that can't be read has nothing.
    """
    surroundings = Surroundings()
    images = dict[str, _Images]()
    entries = 0
    for place, folders, files in os.walk(folder):
        name = os.path.relpath(place, folder).replace(os.sep, "/")
        entries += len(folders) + len(files)
        depth = 0 if name == "." else name.count("/") + 1
        hidden = [each for each in folders if each.startswith(".") or each in NOT_OURS]
        folders[:] = sorted(each for each in folders if each not in hidden)
        if entries > MOST or depth >= DEEPEST:
            surroundings.complete = surroundings.complete and not folders and entries <= MOST
            folders.clear()
        if entries > MOST or "pyvenv.cfg" in files:
            folders.clear()
            continue
        if _of_edgepress(surroundings, Path(place), name, folders, files):
            continue
        for file in sorted(each for each in files if not each.startswith(".")):
            _file(surroundings, images, Path(place, file), name)
        if any("ubyte" in each for each in files) and is_idx_folder(Path(place)):
            surroundings.data.append(Found(name, "IDX files", size_bytes=_size(place, files)))
        elif any(each.endswith(".tar") for each in files) and is_shards(Path(place)):
            shards = sum(each.endswith(".tar") for each in files)
            surroundings.data.append(
                Found(name, f"tar shards: {text.plural(shards, 'file')}", size_bytes=_size(place, files))
            )
    surroundings.data += _class_folders(images)
    surroundings.data.sort(key=lambda each: (-each.items, each.path))
    for kind in (surroundings.models, surroundings.runs, surroundings.results):
        kind.sort(key=lambda each: (-each.modified, each.path))
    return surroundings


def _of_edgepress(surroundings: Surroundings, place: Path, name: str, folders: list[str], files: list[str]) -> bool:
    """Whether a folder is a model, a run, or one of results; then its pictures are no data."""
    if "saved_model.pb" in files:
        surroundings.models.append(Found(name, "SavedModel", modified=_modification_time(place)))
        folders.clear()
    elif "metrics.json" in files and (model := next((name for name in RUN_MODELS if name in files), "")):
        trained_on = _trained_on(place / "metrics.json")
        surroundings.runs.append(
            Found(name, "run of edgepress train", modified=_modification_time(place), data=trained_on, model=model)
        )
        folders[:] = [each for each in folders if each not in ("images", "partial")]
    elif {"benchmark.json", "sweep.json", "compress.json", "tuning.json", "pruning.json"} & set(files):
        surroundings.results.append(Found(name, "results", modified=_modification_time(place)))
        folders.clear()
    elif place.name == VARIANTS and any(each.endswith((".tflite", ".onnx")) for each in files):
        surroundings.results.append(Found(name, "converted files", modified=_modification_time(place)))
        folders.clear()
    else:
        return False
    return True


def _trained_on(metrics: Path) -> str:
    """The data that a run names; "" if it names none, or is not whole."""
    try:
        return str(read_json(metrics)["data"]["source"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _file(surroundings: Surroundings, images: dict[str, _Images], file: Path, folder: str) -> None:
    """Note a file if it is of use."""
    path = file.name if folder == "." else f"{folder}/{file.name}"
    suffix = file.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        seen = images.setdefault(folder, _Images())
        seen.count = seen.count + 1
        seen.size = seen.size + _size(file.parent, [file.name])
    elif suffix in MODEL_SUFFIXES and not file.name.lower().endswith(WEIGHTS_ALONE):
        size = _size(file.parent, [file.name])
        surroundings.models.append(Found(path, f"{suffix} file", size_bytes=size, modified=_modification_time(file)))
    elif suffix == ".npz" and file.is_file():  # opening a pipe would wait for its other end
        surroundings.data += _npz(file, path)
    elif suffix == ".csv":
        surroundings.tables.append(path)


def _npz(file: Path, path: str) -> Iterator[Found]:
    """An .npz that holds items: "x", or "x_train" and others."""
    try:
        arrays = headers(file)
    except EdgepressError:
        return
    shapes = {name: arrays[name].shape for name in ("x", "x_train", "x_val", "x_test") if name in arrays}
    if any(shapes.values()):
        items = sum(shape[0] for shape in shapes.values() if shape)
        of = "x".join(map(str, next(iter(shapes.values()))[1:])) or "numbers"
        yield Found(path, f"{items:,} items of {of}", items, _size(file.parent, [file.name]))


def _class_folders(images: dict[str, _Images]) -> Iterator[Found]:
    """Folders of class folders, perhaps below train/, val/ and test/."""
    roots: dict[str, dict[str, _Images]] = {}
    for folder, seen in images.items():
        parent, _, label = f"./{folder}".rpartition("/") if folder != "." else ("", "", "")
        above, _, part = parent.rpartition("/")
        root = above if part in PARTS and above else parent
        if root:
            total = roots.setdefault(root, {}).setdefault(label, _Images())
            total.count = total.count + seen.count
            total.size = total.size + seen.size
    for root, classes in roots.items():
        above, _, label = root.rpartition("/")
        beside = roots.get(above, {})
        if len(classes) > 1 and (label not in beside or len(beside) == 1):  # else: subfolders of a class folder
            count, size = (sum(getattr(c, name) for c in classes.values()) for name in ("count", "size"))
            yield Found(root.removeprefix("./"), f"{count:,} images in {len(classes)} class folders", count, size)


def _size(folder: str | Path, files: list[str]) -> int:
    total = 0
    for file in files:
        try:
            total += os.stat(os.path.join(folder, file)).st_size
        except OSError:  # a broken link
            continue
    return total


def _modification_time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
