"""The data that a model was trained on, found from any working directory: its file remembers the path as given.

A relative path stays relative, as others may read it in the file. It is looked for from the folder of the model
upwards, which finds it where the run lies below the folder that `edgepress train` ran in, and then in the working
directory. It also remembers the rule of the groups that were not divided.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgepress.runtime.data_record import DataRecord, TableRecord
from edgepress.runtime.sound.features import FrameFeatures
from edgepress.toolkit.data import open_data, paths_of
from edgepress.toolkit.data.groups import NONE
from edgepress.toolkit.data.readers.csv_windows import is_csv
from edgepress.toolkit.data.readers.idx import is_builtin
from edgepress.toolkit.data.readers.sound import is_sound
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import DataError, NoGroupsError

SEPARATOR = "::"
"""Stands between tar shards of one source."""


def to_remember(source: str, folder: Path) -> str:
    """What a model in a folder shall remember of its data: the path as given, or whole if it is not found from there.

    Args:
        source: A name or a path, from the working directory.
        folder: The folder of the model.
    """
    whole = _below(Path.cwd(), source)
    if not _is_relative(source) or _find_data(source, _upwards(folder)) == whole or not _exists(whole):
        return source
    return whole


def find_remembered(source: str, model: Path) -> str:
    """The data that a model remembers, as a path from the working directory.

    Args:
        source: What it remembers.
        model: The model's file.

    Raises:
        DataError: They are not there.
    """
    if is_builtin(source):
        return source
    path = _find_data(source, [*_upwards(model.parent), Path.cwd()])
    if path is None:
        places = f"in {model.parent}, above it, or in {Path.cwd()}" if _is_relative(source) else "any more"
        raise DataError(
            f"{model} remembers {source!r}, the data that it was trained on or made with, and that is not {places}.",
            "Give the data with --data.",
        )
    return source if path == _below(Path.cwd(), source) else path


def open_in_groups(
    source: str, trained_on: DataRecord | None, *, sound: FrameFeatures | None = None, **options: Any
) -> tuple[DataSet, list[str]]:
    """Open data in the groups that a model was trained in, with a note if they do not have these.

    Args:
        source: The data, as for `open_data`.
        trained_on: What the model's contract says of its data.
        sound: The front end of the model.
        options: Other arguments of `open_data`.
    """
    table = trained_on.table if trained_on is not None else None
    options |= reading_options(source, table, sound)
    place = Path(os.path.expanduser(source))
    of_rows = is_csv(place) or is_sound(place)  # whose windows overlap, and are split by groups always
    group = (trained_on.group if trained_on is not None else "") or (None if of_rows else NONE)
    try:
        return open_data(source, group=group, **options), []
    except NoGroupsError as e:
        note = f"The model was trained on data split by groups ({group}), and {source} is split by content: {e.message}"
        return open_data(source, group=NONE, **options), [note]


def reading_options(source: str, table: TableRecord | None, sound: FrameFeatures | None = None) -> dict[str, Any]:
    """The arguments of `open_data` by which a source is read as the data of a record were; none if it has no windows.

    Args:
        source: The data, as for `open_data`.
        table: What a contract says of the rows of its data.
        sound: The front end that it names.
    """
    place = Path(os.path.expanduser(source))
    if is_builtin(source):
        return {}
    if is_sound(place):
        windows = {"window": table.window, "step": table.step} if table is not None and sound is not None else {}
        return {**windows, "sound": sound}
    if table is None or sound is not None or not is_csv(place):
        return {}
    windows = {"window": table.window} | ({"step": table.step} if table.window else {})
    return {**windows, "label_column": table.label or None, "columns": table.columns}


def _upwards(folder: Path) -> list[Path]:
    whole = folder.absolute()
    return [whole, *whole.parents]


def _find_data(source: str, folders: Iterable[Path]) -> str | None:
    """The whole path of data in the first folder that holds them; None if none does."""
    return next(filter(_exists, (_below(folder, source) for folder in folders)), None)


def _below(base: Path, source: str) -> str:
    """A source, each of whose relative paths begins at a folder."""
    parts = (os.path.normpath(base / os.path.expanduser(part)) for part in source.split(SEPARATOR))
    return SEPARATOR.join(parts)


def _exists(source: str) -> bool:
    return any(os.path.exists(path) for path in paths_of(source))


def _is_relative(source: str) -> bool:
    return not is_builtin(source) and not all(
        os.path.isabs(os.path.expanduser(part)) for part in source.split(SEPARATOR)
    )
