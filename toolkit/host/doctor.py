"""Check this workstation: what the board's `doctor` checks, and the packages that the toolkit needs."""

from __future__ import annotations

import shutil
import sys
import tempfile
from typing import Any

from edgepress.runtime.board import doctor as board_doctor
from edgepress.runtime.board import version
from edgepress.toolkit.errors import TOOLKIT_MODULES


def doctor() -> dict[str, Any]:
    """The document of `edgepress.runtime.board.doctor`, with two more fields and a stricter "ok".

    Returns:
        The fields of the board's document; "toolkit", a list of {"package", "version", "install"} for every package of
        the extra "toolkit" (version None and a command if it is missing); and "temporary_bytes", the free space where
        conversions keep their files. "ok": an engine works and no package is missing.
    """
    import psutil

    facts = board_doctor()
    memory = psutil.virtual_memory()
    facts["memory_bytes"] = facts["memory_bytes"] or memory.total  # the board's are 0 where there is no /proc
    facts["available_bytes"] = facts["available_bytes"] or memory.available
    install = f"{sys.executable} -m pip install 'edgepress[toolkit]'"
    versions = {package: version(package) for package in sorted(set(TOOLKIT_MODULES.values()))}
    packages = [{"package": p, "version": v, "install": "" if v else install} for p, v in versions.items()]
    free = shutil.disk_usage(tempfile.gettempdir()).free
    ok = facts["ok"] and all(versions.values())
    return facts | {"ok": ok, "toolkit": packages, "temporary_bytes": free}
