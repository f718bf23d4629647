"""Write files so that they are complete or absent.

Every output of edgepress is written under a temporary name in the same folder and renamed when complete. A kill, Ctrl-C
or a full disk never leaves half a file under the final name and never destroys the file that was there before.

    with whole_file(out / "model.keras") as temporary:
        model.save(temporary)
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgepress.converters.system import replace
from edgepress.runtime.errors import InputError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary path of the same suffix to write to; it becomes `path` when the block ends without an error.

    Missing parent folders are created. On any error, including Ctrl-C, the temporary file is removed and `path` is not
    changed.

    Raises:
        InputError: The folder can't be made or written, or the disk is full.
    """
    path = Path(path)
    temporary = temporary_path(path, os.getpid())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        replace(temporary, path)
    except OSError as e:
        hint = "Free some disk space, or check that the folder exists and is writable."
        raise InputError(f"{path} can't be written: {e.strerror or e}.", hint) from e
    finally:
        with suppress(OSError):  # renamed already, or its folder could not be made
            temporary.unlink()


def temporary_path(path: Path, pid: int) -> Path:
    """Where the process `pid` writes what is to become `path`."""
    return path.with_name(f".{path.stem}.{pid}{path.suffix}")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all; see `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all; see `whole_file`."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all. NaN and infinity, which JSON lacks, are a ValueError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write these columns of `rows` as CSV, whole or not at all."""
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, table.getvalue())
