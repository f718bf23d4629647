"""The options of `listen` on the command line, apart from `ListenOptions`, which contracts hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgepress.runtime.sound.listen_options import IGNORED, ListenOptions
from edgepress.runtime.streams import add_broker_options, read_seconds


def add_listen_options(option: Callable[..., Any]) -> None:
    """Add the options to a parser, by its `add_argument`."""
    usual = ListenOptions()
    what = "a microphone (alsa:default, alsa:hw:1), a WAV file, a file or pipe of raw samples (16 bits, mono), or -"
    option("source", help=what)

    def add(name: str, what: str, usually: str, **how: Any) -> None:
        option(name, help=f"{what}; default: as the model's contract says, else {usually}", **how)

    add("--threshold", "mean probability from which on a label is heard", str(usual.threshold), type=float, metavar="P")
    add("--step", "frames from one answer to the next", "a quarter of a window", type=int, metavar="FRAMES")
    add("--average", "number of answers in the mean", str(usual.average), type=int, metavar="N")
    what = "time from one event of a label to its next one at least"
    add("--pause", what, f"{usual.pause_s:g}s", type=read_seconds, metavar="TIME")
    what = "a label that is no event; repeatable"
    add("--ignore", what, ", ".join(IGNORED), action="append", metavar="LABEL")
    add_broker_options(option, "publish each event to this MQTT broker")
