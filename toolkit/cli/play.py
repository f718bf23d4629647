"""The command `play`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.runtime.engines import PACKAGED
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.cli.frame import open_in_browser
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.text import plural

if TYPE_CHECKING:
    from edgepress.toolkit.improvement.playing.play import Playing


@options.with_model_hints
def play(
    files: Annotated[list[Path], Argument(help="Files, or one folder of them")],
    hints: Hints,
    data: options.Data = None,
    engine: Annotated[
        str | None,
        options.Several(
            help=f"Engines to show each file on, separated by commas: all, {', '.join(PACKAGED)}",
            autocompletion=options.list_of(("all", *PACKAGED)),
            show_default="the first installed one that opens the file",
        ),
    ] = None,
    baseline: options.Baseline = None,
    threads: options.Threads = 1,
    port: Annotated[int, Option(min=0, max=65535, help="Port of the page on 127.0.0.1; 0 takes a free one")] = 0,
    open_page: Annotated[bool, Option("--open/--no-open", help="Open the page in the browser")] = True,
    reading: Reading = STRICT,
    json_output: options.Json = False,
) -> int:
    """Open a page on this machine that shows what files answer to your photos or sounds, until Ctrl-C."""
    from edgepress.toolkit.documents import default_cache
    from edgepress.toolkit.improvement.playing.play import play as work

    def on_ready(playing: Playing) -> None:
        screen.note(*playing.notes)
        if json_output:
            screen.document({"url": playing.url, "files": list(playing.files)})
            sys.stdout.flush()
        else:
            answer = "answers" if len(playing.files) == 1 else "answer"
            screen.say(f"{playing.url} shows what {plural(len(playing.files), 'file')} {answer}. Ctrl-C ends it.")
        if open_page:
            open_in_browser(playing.url)

    screen.step("Opening the files")
    call_with(work, locals(), engines=engine, cache=default_cache())
    return 0
