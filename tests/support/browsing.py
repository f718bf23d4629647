"""What the tests of pages share that run in a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")
BREAK_OUT = """async () => {
    const blocked = [];
    addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
    const script = document.createElement("script");
    script.textContent = "window.hacked = 3";
    document.body.append(script);
    document.body.append(Object.assign(new Image(), { src: "https://example.invalid/x.png" }));
    await fetch("https://example.invalid/").catch(() => 0);
    await new Promise((done) => setTimeout(done, 50));
    return [window.hacked ?? null, ...blocked];
}"""
"""Adds a script, loads a picture and asks another server, and returns what ran and what was blocked."""


def assert_nothing_gets_out(tab: Any) -> None:
    """A script that got into the page would not run, and could ask no other server."""
    ran, *blocked = tab.evaluate(BREAK_OUT)
    assert ran is None
    assert {"script-src-elem", "img-src", "connect-src"} <= set(blocked)


@contextmanager
def chromium() -> Iterator[Callable[..., Any]]:
    """A function that starts chromium with some options; all that it started ends with the block."""
    playwright = pytest.importorskip("playwright.sync_api")
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as p:
        yield lambda *options: p.chromium.launch(executable_path=CHROMIUM, args=[*sandbox, *options])


def axe_findings(tab: Any) -> list[tuple[str, ...]]:
    """What axe finds on a page: the impact, the rule and the first element."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(tab).response["violations"]
    return [(each["impact"], each["id"], each["nodes"][0]["html"][:200]) for each in found]
