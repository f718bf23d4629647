"""Open files, serve the page, and compare the files on the test images meanwhile, until Ctrl-C.

The main thread compares and waits, because only it can be interrupted; the server has a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from edgepress.converters.contract.hints import Hints
from edgepress.converters.system import map_large_blocks
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.playing.choice import Choice, choose
from edgepress.toolkit.playing.differences import Differences, find_differences
from edgepress.toolkit.playing.panel import Panel
from edgepress.toolkit.playing.site import Site
from edgepress.toolkit.playing.web import Server, start_server
from edgepress.toolkit.text import plural


class Playing(NamedTuple):
    """The page that is served: its address, which is secret, and what is to be known of the files."""

    url: str
    files: tuple[dict[str, str], ...]
    notes: tuple[str, ...]


def play(
    files: str | Path | Sequence[str | Path],
    *,
    data: str | None = None,
    engines: str | None = None,
    baseline: str | None = None,
    threads: int = 1,
    port: int = 0,
    hints: Hints | None = None,
    skip_unreadable: bool = False,
    cache: Path | None = None,
    on_ready: Callable[[Playing], None],
) -> None:
    """Serve the page on 127.0.0.1 until Ctrl-C.

    Args:
        files: `.tflite` and `.onnx` files, or one folder of them.
        data: The data set whose test images are compared; None: the one that the files name, if it is here.
        engines: Engines to show each file on, as for `benchmark`; None: the first that opens each file.
        baseline: File or scheme that the others are compared with; None: float32.
        threads: Number of threads that an engine may use.
        port: Port to listen on; 0 takes a free one.
        hints: What you know of files that edgepress did not make.
        skip_unreadable: Skip test images that can't be read.
        cache: Folder of kept answers to test images.
        on_ready: Called when the page can be opened.

    Raises:
        EdgepressError: No file can be used, none opens, or the data or the port can't be used.
    """
    choice = choose(files, engines=engines, baseline=baseline, threads=threads, hints=hints)
    opened = None
    if data is not None:  # the user's own: what is wrong with it is an error
        opened = choice.open_data(data, skip_unreadable=skip_unreadable)
        choice = choice.labelled(opened[0])
    panel = Panel(choice)
    site = Site(panel, Differences("running", "The test images are being opened."))
    server = Server(site.handle)
    map_large_blocks()  # photos are large requests
    try:
        panel.open()
        failed = [player.error for player in panel.players if player.error is not None]
        if len(failed) == len(panel.players):
            raise failed[0]
        on_ready(_ready(start_server(server, port), panel))
        if opened is None:
            try:
                opened = choice.open_data(None, skip_unreadable=skip_unreadable)
            except EdgepressError as e:
                site.differences = Differences("none", f"No test images: {e.message} Name a data set with --data.")
        if opened is not None:
            site.differences = _compare_files(site, choice, *opened, cache=cache)
        server.wait()
    except KeyboardInterrupt:  # the way to end it
        pass
    finally:
        server.stop()
        site.close()  # before the processes end: what waits would start new ones
        panel.close()


def _ready(url: str, panel: Panel) -> Playing:
    files = tuple(
        {
            "file": row["file"],
            "scheme": row["scheme"],
            "engine": row["engine"] or "",
            "error": str(row["error"]["message"]) if row["error"] else "",
        }
        for row in panel.state()
    )
    broken = [f"{name}: {message}" for name, message in panel.choice.broken]
    failures = [f"{row['file']} does not answer: {row['error']}" for row in files if row["error"]]
    return Playing(url, files, (*panel.choice.notes, *broken, *failures))


def _compare_files(site: Site, choice: Choice, data: DataSet, notes: list[str], *, cache: Path | None) -> Differences:
    what = f"The files answer {plural(len(data.test), 'test item')} of {data.source}."
    begun = Differences("running", f"{what} Until they have, latencies are too high.")
    site.differences = begun

    def on_progress(_: str, share: float) -> None:
        site.differences = replace(begun, share=share)

    try:
        return find_differences(choice, data, cache=cache, notes=tuple(notes), on_progress=on_progress)
    except EdgepressError as e:
        return Differences("none", f"No test images: {e}")
