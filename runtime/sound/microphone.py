"""Samples of a microphone by ALSA's program arecord, which is started again when the device was away.

`arecord` is in Debian's package alsa-utils. What it says of samples that it lost ("overrun") is told and counted.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING

from edgepress.runtime.errors import InputError
from edgepress.runtime.text import one_line

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.int16]

PREFIX = "alsa:"
"""What the name of a microphone begins with, such as alsa:default or alsa:hw:1."""
PROGRAM = "arecord"
LEAST_RETRY_S = 1.0
"""Seconds before the device is tried again; each further time twice as long."""
MOST_RETRY_S = 30.0
END_S = 2.0
"""Seconds that the program has to end."""


class Microphone:
    """A device that is listened to until the process ends.

    Args:
        device: Its name for arecord, such as `default` or `hw:1`.
        rate: Samples a second.
        tell: Called with a sentence when samples or the device are lost, and when it is back.

    Attributes:
        overruns: How often samples were lost, because they were not taken in time.
        losses: How often the device was lost.

    Raises:
        InputError: arecord is not installed.
    """

    def __init__(self, device: str, rate: int, tell: Callable[[str], None]) -> None:
        program = shutil.which(PROGRAM)
        if program is None:
            raise InputError(f"{PROGRAM} is not installed.", "Install it: sudo apt install alsa-utils")
        form = ["-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", str(rate)]
        self._command = [program, *form, "-D", device or "default"]
        self._name = f"The microphone {one_line(device, 60)}"
        self._tell = tell
        self._said = ""
        self.overruns = 0
        self.losses = 0

    def samples(self, read: Callable[[IO[bytes]], Iterator[Samples]]) -> Iterator[Samples | None]:
        """Samples as they arrive, without an end; None where some are missing, so that what follows is new sound.

        Args:
            read: Samples of a pipe of raw ones, until it is closed.

        Raises:
            InputError: The device gives no samples the first time.
        """
        wait = LEAST_RETRY_S
        worked = False
        while True:
            self._said = ""
            with self._recording() as process:
                assert process.stdout is not None
                for part in read(process.stdout):
                    if worked and wait > LEAST_RETRY_S:
                        self._tell(f"{self._name} is back.")
                    wait = LEAST_RETRY_S
                    worked = True
                    yield part
            reason = self._said or f"{PROGRAM} ended"
            if not worked:
                raise InputError(f"{self._name} gives no sound: {reason}.", f"Accepted: what {PROGRAM} -L lists.")
            if wait == LEAST_RETRY_S:
                self.losses += 1
                self._tell(f"{self._name} is lost ({reason}); it is tried again.")
                yield None
            time.sleep(wait)
            wait = min(2 * wait, MOST_RETRY_S)

    def _recording(self) -> _Recording:
        return _Recording(self._command, self._heed)

    def _heed(self, line: str) -> None:
        """Look at a line that the program writes."""
        self._said = one_line(line, 200).rstrip(".")
        if "overrun" in line:
            self.overruns += 1
            self._tell(f"{self._name}: samples were lost ({self._said}), {self.overruns} times so far.")


class _Recording:
    """The program while it runs; ended in the end."""

    def __init__(self, command: list[str], heed: Callable[[str], None]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._thread = threading.Thread(target=self._read_errors, args=(heed,), daemon=True)

    def __enter__(self) -> subprocess.Popen[bytes]:
        self._thread.start()
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(END_S)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _read_errors(self, heed: Callable[[str], None]) -> None:
        assert self._process.stderr is not None
        for line in iter(lambda: self._process.stderr.readline(4096), b""):  # type: ignore[union-attr]
            if text := line.decode(errors="replace").strip():
                heed(text)
