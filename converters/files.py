"""Files of any size handled whole: written complete or not at all; archives that unpack to too much are refused.

Every output of edgepress is written under a temporary name in the same folder and renamed when complete. A kill, Ctrl-C
or a full disk never leaves half a file under the final name and never destroys the file that was there before. What a
killed process left under such a name is removed by the next one that writes the same file.

    with whole_file(out / "model.keras") as temporary:
        model.save(temporary)

Refuse archives that unpack to far more than their size, in one part or in the sum of all, or than there is room for.

What is compared is what an archive claims: zipfile, h5py and NumPy stop reading where a part's claim ends.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import shutil
import stat
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from edgepress.converters.process.system import replace
from edgepress.runtime.errors import EdgepressError, InputError, ModelFileError
from edgepress.runtime.text import json_text, one_line

_BEGAN = time.time()


def weight_files(model: Any) -> list[str]:
    """Names of the files beside an ONNX model that hold its weights, sorted."""
    locations = (entry for tensor in model.graph.initializer for entry in tensor.external_data)
    return sorted({entry.value for entry in locations if entry.key == "location"})


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary path of the same suffix to write to; it becomes `path` when the block ends without an error.

    Missing parent folders are created. On any error, including Ctrl-C, the temporary file is removed and `path` is not
    changed.

    Raises:
        InputError: The folder can't be made or written, the disk is full, or `path` is not a regular file, which the
            renaming would remove: a device, a pipe, or a link in /dev.
    """
    path = Path(path)
    temporary = temporary_path(path, os.getpid())
    _refuse_devices(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(path)
        with suppress(FileNotFoundError):  # a link that others have put there would lead elsewhere
            temporary.unlink()
        yield temporary
        replace(temporary, path)
    except OSError as e:
        hint = "Free some disk space, or check that the folder exists and is writable."
        raise InputError(f"{path} can't be written: {e.strerror or e}.", hint) from e
    finally:
        with suppress(OSError):  # renamed already, or its folder could not be made
            temporary.unlink()


def require_folder(folder: Path) -> None:
    """Raise `InputError` unless files can be written into a folder, or it can be made: before work of minutes is lost.

    Nothing is written.
    """
    place = next(place for place in (folder, *folder.absolute().parents) if os.path.exists(place))
    if not os.path.isdir(place):
        raise InputError(f"{place} is not a folder.", "Name a folder with --out.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"The folder {place} can't be written.", "Name another folder with --out.")


def _refuse_devices(path: Path) -> None:
    """Raise `InputError` for what a renamed file must not replace."""
    try:
        mode = path.stat().st_mode
    except OSError:  # nothing is there, or a link to nothing
        mode = stat.S_IFREG
    what = "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "is a pipe, a socket or a device, not a regular file"
    if not what and os.path.realpath(path.parent) == "/dev":  # /dev/stdout may lead to a regular file
        what = "lies in /dev, whose files other programs need"
    if what:
        raise InputError(f"{path} can't be written: it {what}.", "Name a file in a folder of yours.")


def temporary_path(path: Path, pid: int) -> Path:
    """Where the process `pid` writes what is to become `path`."""
    return path.with_name(f".{path.stem}.edgepress-{pid}{path.suffix}")


def _remove_left(path: Path) -> None:
    """Remove what killed processes left of a file.

    Only plain files that are older than this process, and whose process does not run any more: so one on another
    machine that writes the same file at this moment is left alone.
    """
    try:
        import psutil
    except ImportError:  # in the environment of an engine
        return
    name = re.compile(re.escape(f".{path.stem}.edgepress-") + r"(\d{1,9})" + re.escape(path.suffix))
    for entry in os.scandir(path.parent):
        if (matched := name.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
            old = entry.stat(follow_symlinks=False).st_mtime < _BEGAN
            if old and not psutil.pid_exists(int(matched[1])):
                with suppress(OSError):
                    os.unlink(entry)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all; see `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all; see `whole_file`."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all. NaN and infinity, which JSON lacks, are a ValueError."""
    write_text(path, json_text(value, indent=2) + "\n")


def write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write these columns of `rows` as CSV, whole or not at all; texts in them are not formulas for a spreadsheet."""
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    write_text(path, table.getvalue())


def _cell(value: Any) -> Any:
    """A text as one line, behind a quote if a spreadsheet would compute it (OWASP, "CSV Injection")."""
    if not isinstance(value, str):
        return value
    line = one_line(value)
    return f"'{line}" if unicodedata.normalize("NFKC", line).lstrip()[:1] in tuple("=+-@") else line


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files in the order of their names, in hexadecimal."""
    if not path.is_dir():
        return sha256_of_file(path)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    parts = [f"{p.relative_to(path).as_posix()} {sha256_of_file(p)}" for p in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


FREE_BYTES = 64 << 20
"""What a part, and all parts together, may claim in any case."""
RATIO = 100
"""How many times as large as what is stored of it a part may be, and all parts together as the file."""
MEMORY_SHARE = 0.8
"""Share of the free memory that the parts may take."""


class ArchivePart(NamedTuple):
    """A part of an archive: its name, the bytes that it claims, and those that are stored of it."""

    name: str
    claimed: int
    stored: int


def refuse_bomb(
    path: Path,
    parts: Iterable[ArchivePart],
    hint: str,
    *,
    free_bytes: int = FREE_BYTES,
    error: type[EdgepressError] = ModelFileError,
) -> int:
    """Refuse an archive with a part, or a sum of parts, that claims much more than what is stored; return the sum.

    Raises:
        EdgepressError: Of the class `error`; it is such an archive.
    """
    size = path.stat().st_size
    total = 0
    bomb = f"{path} is a decompression bomb, or damaged:"
    for name, claimed, stored in parts:
        total += claimed
        if claimed > max(free_bytes, RATIO * stored):
            raise error(f"{bomb} {name} claims {claimed} bytes, of which {stored} are stored.", hint)
        if total > max(free_bytes, RATIO * size):
            raise error(f"{bomb} its parts claim {total} bytes or more together, and it has {size}.", hint)
    return total


def require_memory(path: Path, needed: int, hint: str, *, error: type[EdgepressError] = ModelFileError) -> None:
    """Refuse a file whose content takes more memory than is free.

    Raises:
        EdgepressError: Of the class `error`; it does.
    """
    import psutil

    available = psutil.virtual_memory().available
    if needed > MEMORY_SHARE * available:
        problem = (
            f"{path} takes {needed / 1e9:.1f} GB of memory when it is read, and {available / 1e9:.1f} GB are free."
        )
        raise error(f"{problem} Accepted: up to {MEMORY_SHARE:.0%} of these.", hint)


def require_disk(path: Path, needed: int, folder: str | Path) -> None:
    """Refuse an archive that does not fit on the disk of the folder where it is unpacked.

    Raises:
        ModelFileError: It does not.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ModelFileError(
            f"{path} unpacks to {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {folder}.",
            "Free some disk space, or name a folder on another disk with the variable TMPDIR.",
        )
