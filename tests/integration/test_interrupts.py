"""What signals do to a command that runs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from edgepress.toolkit.cli import frame


def test_an_interrupt_inside_a_destructor_still_stops_the_command() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background

    class Slow:
        def __del__(self) -> None:
            raise KeyboardInterrupt

    def work() -> None:
        with frame.not_swallowed():
            Slow()
            for _ in range(500):
                time.sleep(0.01)

    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", frame.ENDING)
def test_a_scheduler_or_a_closed_terminal_that_ends_a_command_interrupts_it(number: int) -> None:
    """In a process of its own: one that is not interrupted ends, and would take the other tests with it."""
    code = f"""
import signal
from edgepress.toolkit.cli import frame
signal.signal({int(number)}, signal.SIG_DFL)  # nohup leaves one ignored
try:
    with frame.not_swallowed():
        signal.raise_signal({int(number)})
except KeyboardInterrupt:
    print("interrupted", signal.getsignal({int(number)}) == signal.SIG_DFL)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout.strip()) == (0, "interrupted True"), ended.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs terminals")
def test_after_nohup_a_closed_terminal_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with frame.not_swallowed():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
