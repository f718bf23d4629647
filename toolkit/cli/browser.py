"""Opens the page of a command in the user's browser, and tells its address to no other user.

All users of a machine can read the arguments of its processes, and the address of a page holds its token. So the
browser gets the name of a file that only this user can read, which leads to the page.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import webbrowser
from html import escape
from pathlib import Path

from edgepress.converters.scratch import ScratchFolder

LEAD = """\
<!doctype html><meta charset="utf-8"><title>edgepress</title>
<meta http-equiv="refresh" content="0; url={url}"><a href="{url}">Open the page</a>
"""


def open_in_browser(url: str) -> None:
    """Open a page if a browser can open a window here; the file that leads to it is removed when the command ends."""
    if not has_screen():
        return
    folder = ScratchFolder("page-")  # readable by this user alone
    atexit.register(folder.cleanup)
    lead = Path(folder.name) / "page.html"
    lead.write_text(LEAD.format(url=escape(url)), encoding="utf-8")
    threading.Thread(target=webbrowser.open, args=(lead.as_uri(),), daemon=True).start()


def has_screen() -> bool:
    """Whether a browser can open a window: without one, Python would start a text browser in the terminal."""
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
