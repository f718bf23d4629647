"""What child processes need of the system and only some systems have: CPUs to run on, and forks.

`PINS` and `FORKS` say what this system has. macOS can fork, but a process that has loaded an engine may crash after it
(the reason why `multiprocessing` spawns there), so turns of timing fork on Linux alone. The counterpart for the parent
process is `edgepress.toolkit.machine.host`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from edgepress.runtime.errors import EngineError, ModelFileError

if sys.platform == "linux" and hasattr(os, "sched_setaffinity"):
    PINS = True

    def pin(cpus: tuple[int, ...]) -> None:
        """Let this process run on these CPUs alone."""
        os.sched_setaffinity(0, cpus)

else:
    PINS = False

    def pin(cpus: tuple[int, ...]) -> None:
        """Nothing: this system has no function for it, and results say that processes were not pinned."""


if sys.platform == "linux" and hasattr(os, "fork"):
    FORKS = True

    def in_fork(work: Callable[[], None], limit_s: int) -> None:
        """Fork, let the fork do the work and end, and wait for it.

        Args:
            work: Must not raise.
            limit_s: Seconds after which the kernel ends the fork, even if native code hangs; at least 1.

        Raises:
            EdgepressError: The fork crashed or took too long.
        """
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(limit_s)
                work()
            finally:
                os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == -signal.SIGALRM:
            raise turn_too_long(limit_s)
        if code:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise ModelFileError(f"It crashed the process that timed it ({how}).", "Convert it again.")

else:
    FORKS = False

    def in_fork(work: Callable[[], None], limit_s: int) -> None:
        """Refuse: turns are processes of their own where there are no forks."""
        raise EngineError("This system has no forks to take turns of timing in.")


def turn_too_long(limit_s: int) -> EngineError:
    """The error of a turn of timing that reached its limit."""
    return EngineError(f"A timing turn took over {limit_s} s.", "Raise the limit with --time-cap.")
