"""Serve the page on which a folder of pictures is labelled, and what stands at its addresses, until Ctrl-C: `label`."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgepress import __version__
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.image_header import read_header
from edgepress.runtime.sound.doubt import wav_bytes
from edgepress.runtime.web import Refused
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.improvement.labelling.desk import OUT, TO_DO, Desk
from edgepress.toolkit.improvement.labelling.recordings import RATE, read_recording, spectrogram
from edgepress.toolkit.improvement.playing.drawing import draw_item
from edgepress.toolkit.improvement.playing.web import Reply, Request, Server, json_reply, start_server
from edgepress.toolkit.reports.page import style_sheet

HERE = Path(__file__).parent
ITEM = re.compile(r"/(picture|sound)/(\d{1,6})", re.ASCII)
MOST_SHOWN = 64 << 20
"""Bytes of a picture at most; a larger one can be labelled, and is not shown."""


class LabelSite:
    """The page and the pictures of a folder.

    Args:
        desk: The folder.
        next_command: What to do when all is labelled.

    Attributes:
        desk: The folder.
        session: A random text. A page sends it with each step, because the number of a picture is another one after a
            new start.
    """

    def __init__(self, desk: Desk, next_command: str) -> None:
        self.desk = desk
        self._next = next_command
        self.session = secrets.token_hex(8)
        self._files = {
            "/": Reply(200, "text/html; charset=utf-8", (HERE / "label.html").read_bytes()),
            "/label.css": Reply(
                200, "text/css; charset=utf-8", style_sheet().encode() + (HERE / "label.css").read_bytes()
            ),
            "/label.js": Reply(200, "text/javascript; charset=utf-8", (HERE / "label.js").read_bytes()),
        }

    async def handle(self, request: Request) -> Reply:
        """Answer a request.

        Raises:
            Refused: There is nothing at its address, a number is out of range, or the page is of another session.
            EdgepressError: A picture can't be moved.
        """
        path = request.path
        desk = self.desk
        if request.method == "POST":
            if request.body or path not in ("/label", "/undo"):
                what = "POST /label?session=SESSION&row=ROW&label=NUMBER and POST /undo?session=SESSION, without a body"
                raise Refused(404, f"Accepted: {what}.")
            if request.query.get("session") != self.session:
                raise Refused(409, "This page is of an earlier start of edgepress label. Reload the page.")
            row: int | None
            if path == "/undo":
                row = desk.undo()
            else:
                row = _number(request, "row", 0, len(desk.pictures) - 1)
                desk.label(row, _number(request, "label", TO_DO, len(desk.labels) - 1))
            return json_reply(
                {"row": row, "label": None if row is None else desk.label_numbers[row], "done": desk.done}
            )
        if match := ITEM.fullmatch(path):
            if int(match[2]) >= len(desk.pictures) or (match[1] == "sound" and desk.what != "recording"):
                raise Refused(404, "There is no such picture or recording.")
            place = desk.path(int(match[2]))
            return _picture(place) if desk.what == "picture" else _recording(place, as_sound=match[1] == "sound")
        if path == "/state":
            return json_reply(self.state())
        if path in self._files:
            return self._files[path]
        raise Refused(404, "Nothing is here. The page is at /.")

    def state(self) -> dict[str, Any]:
        """What the page shows."""
        desk = self.desk
        rows = zip(desk.pictures, desk.label_numbers, strict=True)
        return {
            "version": __version__,
            "session": self.session,
            "folder": str(desk.folder),
            "what": desk.what,
            "labels": desk.labels,
            "pictures": [picture.__dict__ | {"label": number} for picture, number in rows],
            "done": desk.done,
            "out": OUT,
            "to_do": TO_DO,
            "next": self._next,
            "notes": [f"Not shown: {name} ({reason})" for name, reason in desk.unreadable.items()],
        }


def _number(request: Request, name: str, low: int, high: int) -> int:
    text = request.query.get(name, "")
    if not re.fullmatch(r"-?[0-9]{1,6}", text) or not low <= int(text) <= high:
        raise Refused(400, f"{name} is {text[:20]!r}; accepted: a whole number from {low} to {high}.")
    return int(text)


def _picture(path: Path) -> Reply:
    """The file of a picture, as an image and nothing else."""
    try:
        with open_regular(path) as file:
            header = read_header(file)
            file.seek(0)
            content = file.read(MOST_SHOWN + 1)
    except (OSError, ValueError) as e:
        raise Refused(404, f"The picture can't be read: {e}") from e
    if header is None or len(content) > MOST_SHOWN:
        raise Refused(404, "The file is not a picture, or too large to be shown.")
    return Reply(200, f"image/{header.format.lower()}", content)


def _recording(path: Path, *, as_sound: bool) -> Reply:
    """A recording as a WAV file of its samples, or as its spectrogram."""
    try:
        samples = read_recording(path)
    except EdgepressError as e:
        raise Refused(404, e.message) from e
    if as_sound:
        return Reply(200, "audio/wav", wav_bytes(samples, RATE))
    return Reply(200, "image/png", draw_item(spectrogram(samples)))


class Labelling(NamedTuple):
    """The page that is served: its address, a secret; how many items it has; unreadable files; the kind of items."""

    url: str
    pictures: int
    done: int
    notes: tuple[str, ...]
    what: str


def label(
    folder: str | Path, *, labels: Sequence[str] | None = None, port: int = 0, on_ready: Callable[[Labelling], None]
) -> Desk:
    """Serve a page on 127.0.0.1 to label the pictures or recordings of a folder, until Ctrl-C.

    Each label moves a picture at once into a folder of its class, inside of `folder`, which is then a data set for
    every command. Pictures that are not labelled yet lie beside these folders and are ignored.

    Args:
        folder: A folder of pictures or recordings, such as that of `board collect`.
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
        on_ready(Labelling(url, len(desk.pictures), desk.done, tuple(site.state()["notes"]), desk.what))
        server.wait()
    except KeyboardInterrupt:  # the way to end it
        pass
    finally:
        server.stop()
    return desk


def next_command(desk: Desk) -> str:
    """What is done with labelled pictures; of recordings, a model is measured on them, or trained with them."""
    if desk.what == "recording":
        return f"edgepress evaluate MODEL {shell_line('--data', desk.folder)}"
    return f"edgepress improve RUN {shell_line('--new', desk.folder)}"
