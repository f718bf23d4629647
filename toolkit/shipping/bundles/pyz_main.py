"""Run a bundle that is a single runnable file: `python app.pyz classify IMAGE`, `python app.pyz selftest`.

This becomes `__main__.py` in a `.pyz`. The sources run from inside the zip; the model and the samples are unpacked into
a temporary folder while the command runs, because engines need the model as a file.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import zipfile
from pathlib import Path
from types import FrameType


def main(arguments: list[str]) -> int:
    """Run a command of `python -m edgepress.runtime` with the model in this file, and return its exit code."""
    from edgepress.runtime.__main__ import main as command
    from edgepress.runtime.limit import LIMIT

    for name in ("SIGTERM", "SIGHUP"):  # so that a stopped service and a closed terminal remove the folder
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) != signal.SIG_IGN:
            signal.signal(getattr(signal, name), _end)
    with zipfile.ZipFile(sys.argv[0]) as archive, tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        LIMIT.before_end.append(lambda: shutil.rmtree(folder, ignore_errors=True))
        model = json.loads(archive.read("MANIFEST.json"))["model"]
        for name in archive.namelist():
            if name == model or name.startswith("samples/"):
                archive.extract(name, folder)
        if not arguments or arguments[0].startswith("-") or arguments[0] == "doctor":
            return command(arguments)
        subject = folder if arguments[0] == "selftest" else str(Path(folder) / model)
        return command([arguments[0], subject, *arguments[1:]])


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
