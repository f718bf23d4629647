"""What signals do to a command that runs."""

from __future__ import annotations

import signal
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
    inherited = signal.signal(number, signal.SIG_DFL)  # nohup leaves one ignored
    try:
        with pytest.raises(KeyboardInterrupt), frame.not_swallowed():
            signal.raise_signal(number)
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, inherited)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs terminals")
def test_after_nohup_a_closed_terminal_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with frame.not_swallowed():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
