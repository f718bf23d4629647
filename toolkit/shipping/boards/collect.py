"""Fetch the pictures or recordings that a board has kept (`--keep`), over ssh, to label them.

    edgepress board collect pi@kitchen --folder kept

The board is not trusted: other names than those of kept files are left out, and so are files that are large or neither
pictures nor recordings. A file that is here already, labelled or not, is not fetched again, so that an interrupted run
goes on. It is known by its name, so a scene that the board keeps again after its picture left the folder there is
fetched again.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgepress.converters.files import write_bytes, write_json
from edgepress.runtime.image_header import read_header
from edgepress.runtime.keeping import ABOUT, MOST_BYTES, MOST_QUOTA, NAME, RECORDING_NAME
from edgepress.runtime.sound.wav import SUFFIX, read_wav
from edgepress.toolkit.data.collected import KeptAbout, parse_about, read_about
from edgepress.toolkit.errors import BoardError, EdgepressError, InputError, LostError
from edgepress.toolkit.shipping.boards.ssh import Connection, TooSlowError

FOLDER = "kept"
"""Folder on the board unless another is named, relative to the user's home."""
MOST_LISTING = 1 << 20
"""Most bytes of the names in that folder."""
LEAST_FREE = 256 << 20
"""Bytes that must stay free on this machine's disk."""
MOST_SLOW = 3
"""Slow pictures in a row after which the fetch ends: a board may have thousands."""


@dataclass(frozen=True)
class Collected:
    """What was fetched from a board.

    Attributes:
        folder: Where it is.
        fetched: Number of pictures and recordings that are new.
        known: Number of those that were here already.
        skipped: Files that were left out, with the reason.
    """

    folder: Path
    fetched: int
    known: int
    skipped: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """The document that `board collect --json` prints."""
        return asdict(self) | {"folder": str(self.folder), "skipped": [list(pair) for pair in self.skipped]}


def board_collect(
    host: str,
    *,
    folder: str = FOLDER,
    out: str | Path | None = None,
    ssh_config: Path | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Collected:
    """Fetch the pictures or recordings that a board has kept; they stay on the board, too.

    Args:
        host: The board, as for ssh.
        folder: The folder of `--keep` on the board, relative to the user's home.
        out: Folder to write to; None: `collected/HOST`.
        ssh_config: Configuration file, as for `ssh -F`.
        on_progress: Called with the share of the pictures that is done, 0-1.

    Returns:
        What was fetched.

    Raises:
        BoardError: The board can't be reached, holds no kept pictures there, or does not answer any more.
        InputError: `out` holds pictures of another model, or can't be written, or the disk is full.
    """
    target = default_folder(host) if out is None else Path(out)
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is not a folder.", "Name a folder with --out.")
    here = {path.name for path in target.rglob("*")} if target.exists() else set()
    with Connection(host, config=ssh_config) as board:
        about, names = _list_pictures(board, folder)
        if (target / ABOUT).exists() and read_about(target).labels != about.labels:
            problem = f"{target} holds pictures of a model with other labels than that of {host}."
            raise InputError(problem, "Name another folder with --out.")
        write_json(target / ABOUT, asdict(about))
        new = [name for name in names if name not in here]
        skipped = _fetch_pictures(board, folder, target, new, on_progress=on_progress or (lambda share: None))
    return Collected(target, len(new) - len(skipped), len(names) - len(new), tuple(skipped))


def _fetch_pictures(
    board: Connection, folder: str, target: Path, names: list[str], *, on_progress: Callable[[float], None]
) -> list[tuple[str, str]]:
    """Fetch pictures; those that were left out, with the reason."""
    skipped = []
    slow = 0
    for number, name in enumerate(names, 1):
        try:
            problem = _fetch_picture(board, folder, target / name)
            slow = 0
        except TooSlowError as e:
            problem = e.message
            slow = slow + 1
            if slow == MOST_SLOW:
                reason = f"{slow} files in a row took too long: {e.message}"
                raise BoardError(reason, "Run the same command again: it goes on.") from e
        if problem:
            skipped.append((name, problem))
        on_progress(number / len(names))
    return skipped


def default_folder(host: str) -> Path:
    """Where the pictures of a board go unless a folder is named."""
    return Path("collected") / re.sub(r"\W+", "-", host.rpartition("@")[2].removeprefix("ssh://")).strip("-")


def _list_pictures(board: Connection, folder: str) -> tuple[KeptAbout, list[str]]:
    """The board's record of its pictures, and their names, oldest first."""
    hint = "Name the folder of --keep on the board with --folder; it is relative to the home of the user of ssh."
    try:
        about = parse_about(
            board.fetch(["cat", "--", ABOUT], folder=folder, most=MOST_LISTING), f"{board.host}: {ABOUT}"
        )
        listing = board.fetch(["ls", "-1"], folder=folder, most=MOST_LISTING)
    except LostError:
        raise
    except BoardError as e:
        raise BoardError(f"{board.host} has no kept pictures or recordings in {folder}: {e.message}", hint) from e
    listed = {*listing.decode(errors="replace").split("\n")}
    names = sorted(name for name in listed if NAME.fullmatch(name) or RECORDING_NAME.fullmatch(name))
    if len(names) > MOST_QUOTA:
        raise BoardError(f"{board.host} lists {len(names)} files; accepted: up to {MOST_QUOTA}.", hint)
    return about, names


def _fetch_picture(board: Connection, folder: str, path: Path) -> str:
    """Fetch a picture; why it was left out, "" if it was not. TooSlowError: it took too long."""
    if shutil.disk_usage(path.parent).free < LEAST_FREE:
        problem = f"The disk of {path.parent} has less than {LEAST_FREE >> 20} MiB free."
        raise InputError(problem, "Free some space, and run the same command again: it goes on.")
    try:
        content = board.fetch(["cat", "--", path.name], folder=folder, most=MOST_BYTES)
        header = None
        if path.suffix == SUFFIX:
            read_wav(content)
        else:
            header = read_header(io.BytesIO(content))
    except LostError as e:
        raise LostError(e.message, "Run the same command again: it goes on.") from e
    except TooSlowError:
        raise
    except (EdgepressError, ValueError) as e:
        return e.message if isinstance(e, EdgepressError) else str(e)
    expected = {".jpg": "JPEG", ".png": "PNG", SUFFIX: "WAV"}[path.suffix]
    if path.suffix != SUFFIX and (header is None or header.format != expected):
        return f"it is no {expected} file"
    write_bytes(path, content)
    return ""
