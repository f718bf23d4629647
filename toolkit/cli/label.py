"""The command `label`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.frame import open_in_browser
from edgepress.toolkit.cli.options import Json
from edgepress.toolkit.text import plural

if TYPE_CHECKING:
    from edgepress.toolkit.improvement.labelling.label import Labelling


def label(
    folder: Annotated[Path, Argument(help="Folder of pictures or recordings, such as that of edgepress board collect")],
    labels: Annotated[
        str | None,
        Option(metavar="NAME,NAME", help="The classes", show_default="those of the model that has kept them"),
    ] = None,
    port: Annotated[int, Option(min=0, max=65535, help="Port of the page on 127.0.0.1; 0 takes a free one")] = 0,
    open_page: Annotated[bool, Option("--open/--no-open", help="Open the page in the browser")] = True,
    json_output: Json = False,
) -> int:
    """Open a page on this machine to label pictures or sounds with the keyboard, until Ctrl-C; then run improve."""
    from edgepress.toolkit.improvement.labelling.label import label as work
    from edgepress.toolkit.improvement.labelling.label import next_command

    def on_ready(labelling: Labelling) -> None:
        screen.note(*labelling.notes)
        if json_output:
            screen.document({"url": labelling.url, "pictures": labelling.pictures, "done": labelling.done})
            sys.stdout.flush()
        else:
            left = labelling.pictures - labelling.done
            screen.say(f"{labelling.url} shows {plural(left, labelling.what)} to label. Ctrl-C ends it.")
        if open_page:
            open_in_browser(labelling.url)

    screen.step("Reading the folder")
    words = None if labels is None else [word.strip() for word in labels.split(",")]
    desk = work(folder, labels=words, port=port, on_ready=on_ready)
    if not json_output:
        screen.say(f"{desk.done} of {plural(len(desk.pictures), desk.what)} done, in {desk.folder}.")
        screen.next_command(next_command(desk))
    return 0
