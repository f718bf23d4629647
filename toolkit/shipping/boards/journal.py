"""Store the measurements of a run on the workstation's disk, so that an interrupted run can be resumed.

Each piece is one file, written atomically: a state of the board, the scores of a model, or one round of timing. The
folder's name is a hash of host, files, data and options, so only the same run is resumed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgepress.converters.files import write_bytes


class Journal:
    """The stored measurements of one run.

    Args:
        folder: The folder of all journals.
        same: Everything that identifies the run, as a JSON-serializable value.
        resume: Whether to keep existing measurements instead of starting again.
    """

    def __init__(self, folder: Path, same: Any, *, resume: bool) -> None:
        self.key = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]
        self._folder = folder / self.key
        if not resume:
            self.remove()
        self.taken_up = 0

    def piece(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The stored piece; if there is none, make it and store it."""
        path = self._folder / name
        if path.exists():
            self.taken_up += 1
            return path.read_bytes()
        content = make()
        write_bytes(path, content)
        return content

    def remove(self) -> None:
        """Remove all stored measurements."""
        shutil.rmtree(self._folder, ignore_errors=True)
