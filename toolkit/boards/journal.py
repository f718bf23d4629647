"""What was measured of a run so far, on the workstation's disk, so that a cut run can be taken up again.

A piece is one file: a state of the board, the answers of a model, one round of timing. It is written whole or not at
all. The folder is named for everything that makes two runs the same: host, files, data, options.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgepress.converters.files import write_bytes


def default_journals() -> Path:
    """Where journals are kept: under `EDGEPRESS_CACHE`, or the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("EDGEPRESS_CACHE") or platformdirs.user_cache_path("edgepress")) / "boards"


class Journal:
    """The pieces of one run.

    Args:
        folder: Where all journals are.
        same: What makes two runs the same: a value that JSON can hold.
        resume: Whether to keep the pieces that are there; else the run begins anew.
    """

    def __init__(self, folder: Path, same: Any, *, resume: bool) -> None:
        self.key = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]
        self._folder = folder / self.key
        if not resume:
            self.remove()
        self.taken_up = 0

    def piece(self, name: str, make: Callable[[], bytes]) -> bytes:
        """A piece as it was kept, or as it is made now and then kept."""
        path = self._folder / name
        if path.exists():
            self.taken_up += 1
            return path.read_bytes()
        content = make()
        write_bytes(path, content)
        return content

    def remove(self) -> None:
        """Forget the run."""
        shutil.rmtree(self._folder, ignore_errors=True)
