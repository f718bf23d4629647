"""Choose the CPUs to time on, and keep this process off them.

A process that moves between CPUs finds cold caches, and CPUs of one machine may differ in speed. So all files of a run
are timed on the same CPUs, as many as they have threads, while the coordinating process waits on other ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from edgepress.runtime.board import usable_cpus
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.host.system import turns
from edgepress.toolkit.workers.system import pin


def parse_cpus(text: str) -> tuple[int, ...]:
    """CPU numbers from "1" or "0,2".

    Raises:
        InputError: A word is not the number of a CPU that this process may use, or occurs twice.
    """
    usable = usable_cpus()
    words = text.split(",")
    try:
        cpus = tuple(int(word) for word in words)
    except ValueError:
        cpus = ()
    if not cpus or len(set(cpus)) < len(cpus) or not set(cpus) <= set(usable):
        accepted = ", ".join(map(str, usable)) or "none, because this system cannot pin processes"
        raise InputError(f"--cpus is {text!r}.", f"Accepted: distinct numbers of {accepted}, separated by commas.")
    return cpus


def choose_cpus(threads: int) -> tuple[int, ...]:
    """The last usable CPUs, one per thread: systems tend to put their own work on the first ones.

    None where turns are spawned: such systems cannot pin processes.
    """
    return usable_cpus()[-threads:] if turns() == "fork" else ()


@contextlib.contextmanager
def out_of_the_way(cpus: tuple[int, ...]) -> Iterator[None]:
    """Keep this process off some CPUs while the block runs, unless no CPU would be left for it."""
    mine = usable_cpus()
    rest = set(mine) - set(cpus)
    if not rest or not cpus:
        yield
        return
    pin(tuple(rest))
    try:
        yield
    finally:
        pin(mine)
