"""A child process that answers frames with one release, for the shadow run, and who is to blame when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

from edgepress.runtime.errors import UpdateError, parsing
from edgepress.runtime.updates.installer import UnsureError
from edgepress.runtime.updates.shadow_child import NO_MEMORY, OTHER

CHILD = Path(__file__).with_name("shadow_child.py")
"""The script that answers."""
OPEN_S = 120.0
"""Limit on the time to open a model, in seconds."""
ANSWER_S = 60.0
"""Limit on the time of an answer, in seconds."""


class OldError(UpdateError):
    """The release in use does not answer."""


class OtherError(UpdateError):
    """A release can't be compared, such as one whose runtime has other functions."""


def model_in(release_folder: Path) -> tuple[Path, str]:
    """The model of a release and its SHA-256, from the manifest."""
    path = release_folder / "MANIFEST.json"
    with parsing(path, "Install the bundle again.", failed="is damaged", error=UpdateError):
        manifest = json.loads(path.read_bytes())
        (sha256,) = [str(each["sha256"]) for each in manifest["files"] if each["path"] == manifest["model"]]
        return release_folder / str(manifest["model"]), sha256


class Child:
    """A child process that answers with one release: a context manager."""

    def __init__(self, folder: Path, what: str, blame: type[UpdateError]) -> None:
        """Start it; if it does not answer, `what` is to blame, by an error of the class `blame`."""
        self._what = what
        self._blame = blame
        model = model_in(folder)[0]
        interpreter = (folder / "interpreter").read_text(encoding="utf-8").strip()
        environment = {**os.environ, "PYTHONSAFEPATH": "1"}
        inherited = environment.pop("PYTHONPATH", "")
        if (folder / "venv").exists():  # as `run` does
            inherited = ""
            environment.pop("PYTHONHOME", None)
        environment["PYTHONPATH"] = f"{folder}{os.pathsep}{inherited}" if inherited else str(folder)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._process = subprocess.Popen(
            [interpreter, "-B", str(CHILD), str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd="/",
            env=environment,
        )

    def __enter__(self) -> Child:
        try:
            self._exchange(b"", OPEN_S)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def ask(self, seed: int, frame: bytes | None) -> dict[str, Any]:
        """The answer to a frame, or to an item of the self-test if there is none."""
        asked = {"seed": seed} if frame is None else {"bytes": len(frame)}
        return self._exchange(json.dumps(asked).encode() + b"\n" + (frame or b""), ANSWER_S)

    def _exchange(self, message: bytes, limit_s: float) -> dict[str, Any]:
        """Send a message and read a line; a child that is late is killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(limit_s, end)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # its exit code says why
                self._process.stdin.write(message)
                self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        raise self._explain_end(f"gave no answer in {limit_s:g} s" if late.is_set() else "")

    def _explain_end(self, late: str) -> UpdateError:
        """The error for a child that did not answer."""
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
        what = f"{self._what} {late or f'ended with exit code {code}: {lines[-1]}'}."
        if code == OTHER:
            return OtherError(what)
        if self._blame is not OldError and not late and (code < 0 or code == NO_MEMORY):
            return UnsureError(what)  # such as for want of memory
        return self._blame(what)
