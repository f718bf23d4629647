"""Serve the page on which a folder of pictures is labelled, until Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.labelling.desk import Desk
from edgepress.toolkit.labelling.site import LabelSite
from edgepress.toolkit.playing.web import Server, start_server


class Labelling(NamedTuple):
    """The page that is served: its address, a secret; the numbers of pictures; files that can't be decoded."""

    url: str
    pictures: int
    done: int
    notes: tuple[str, ...]


def label(
    folder: str | Path, *, labels: Sequence[str] | None = None, port: int = 0, on_ready: Callable[[Labelling], None]
) -> Desk:
    """Serve a page on 127.0.0.1 to label the pictures of a folder, until Ctrl-C.

    Each label moves a picture at once into a folder of its class, inside of `folder`, which is then a data set for
    every command. Pictures that are not labelled yet lie beside these folders and are ignored.

    Args:
        folder: A folder of pictures, such as that of `board collect`.
        labels: The classes; None takes those of the model that has kept the pictures.
        port: Port to listen on; 0 takes a free one.
        on_ready: Called when the page can be opened.

    Returns:
        The folder as it is in the end.

    Raises:
        EdgepressError: The folder, the classes or the port can't be used.
    """
    desk = Desk(Path(folder), labels)
    site = LabelSite(desk, next_command(desk))
    server = Server(site.handle, command="label")
    try:
        url = start_server(server, port)
        on_ready(Labelling(url, len(desk.pictures), desk.done, tuple(site.state()["notes"])))
        server.wait()
    except KeyboardInterrupt:  # the way to end it
        pass
    finally:
        server.stop()
    return desk


def next_command(desk: Desk) -> str:
    """What is done with labelled pictures."""
    return f"edgepress improve RUN {shell_line('--new', desk.folder)}"
