"""What the tests of pages share that run in a browser."""

from __future__ import annotations

from typing import Any

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
