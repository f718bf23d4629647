"""Local programs that carry what a board writes, which is not trusted: they may write so much, and take so long."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Sequence
from typing import IO


class Limited:
    """A program that has ended, and what it has written, unless that was too much or took too long."""

    def __init__(self, words: Sequence[str], stdin: IO[bytes], timeout_s: float, most: int) -> None:
        self.late = self.too_long = False
        kept = (bytearray(), bytearray())
        with subprocess.Popen(words, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:

            def keep(stream: IO[bytes], to: bytearray) -> None:
                while piece := os.read(stream.fileno(), 1 << 16):
                    to += piece
                    if len(to) > most:
                        self.too_long = True
                        child.kill()
                        return

            assert child.stdout is not None
            assert child.stderr is not None
            readers = [
                threading.Thread(target=keep, args=pair, daemon=True)
                for pair in zip((child.stdout, child.stderr), kept, strict=True)
            ]
            try:
                for reader in readers:
                    reader.start()
                child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.late = True
            finally:
                child.kill()
                for reader in readers:
                    reader.join(10)
        self.code = child.returncode
        self.stdout = bytes(kept[0])
        self.stderr = bytes(kept[1])
