"""Measure the report's page: its size, the time until it is drawn, and what axe-core finds; and take its pictures.

    python benchmarks/pages/report_page.py                                  made-up results of 9 variants on 3 engines
    python benchmarks/pages/report_page.py runs/a/variants --shots docs  of a run, with the pictures of docs/report.md

It needs chromium, and the packages playwright and axe-playwright-python (the extra "dev"). Opening is timed from the
navigation's start to the first frame painted after all plots were drawn, in a fresh tab each time, the file in the page
cache. One JSON document goes to stdout; the exit code is 1 if a limit is not kept: under 1 MB, under 1 s (median), no
serious finding in light or dark.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from report_document import made_up_benchmark

from edgepress.toolkit.machine.host import describe_host
from edgepress.toolkit.reports.page import page
from edgepress.toolkit.results.file import load_benchmark
from edgepress.toolkit.results.records import Benchmark

MAX_BYTES, MAX_SECONDS = 1_000_000, 1.0
SERIOUS = ("serious", "critical")
PAINTED = (
    "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"
)


def main() -> int:
    """Measure, print, and say whether the limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path, help="folder with benchmark.json")
    parser.add_argument("--shots", type=Path, help="folder for the pictures")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    result = load_benchmark(options.results) if options.results else made_up_benchmark()
    with tempfile.TemporaryDirectory() as folder, open_chromium() as (browser, version):
        path = Path(folder) / "report.html"
        path.write_text(page(result))
        seconds = [opening_s(browser, path) for _ in range(options.rounds)]
        findings = {scheme: axe_findings(browser, path, scheme) for scheme in ("light", "dark")}
        if options.shots:
            take_pictures(browser, path, options.shots)
        size = path.stat().st_size
    document = {
        "host": describe_host(),
        "chromium": version,
        "results": str(options.results or "made up"),
        **counts(result),
        "size_bytes": size,
        "open_s": {"median": statistics.median(seconds), "max": max(seconds), "rounds": len(seconds)},
        "axe": findings,
    }
    serious = [f for found in findings.values() for f in found if f["impact"] in SERIOUS]
    kept = size < MAX_BYTES and statistics.median(seconds) < MAX_SECONDS and not serious
    print(
        f"{document['variants']} variants x {document['engines']} engines: {size / 1000:.0f} kB, opens in "
        f"{statistics.median(seconds):.2f} s (median of {len(seconds)}, at most {max(seconds):.2f} s), "
        f"{len(serious)} serious axe findings of {sum(map(len, findings.values()))}; "
        f"limits {'kept' if kept else 'NOT KEPT'}",
        file=sys.stderr,
    )
    print(json.dumps(document, indent=2))
    return int(not kept)


class open_chromium:  # noqa: N801 - used like a function
    """Debian's chromium without a screen: `with open_chromium() as (browser, version)`."""

    def __enter__(self) -> tuple[Any, str]:
        from playwright.sync_api import sync_playwright

        path = shutil.which("chromium") or sys.exit("chromium is not installed: apt-get install chromium")
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        return self._browser, self._browser.version

    def __exit__(self, *_: object) -> None:
        self._browser.close()
        self._playwright.stop()


def counts(result: Benchmark) -> dict[str, int]:
    """How much the page shows."""
    return {
        "variants": len({r.file for r in result.results}),
        "engines": len({r.engine for r in result.results if r.engine}),
        "rows": len(result.results),
        "test_items": int(result.data["count"]),
    }


def opening_s(browser: Any, path: Path) -> float:
    """Seconds from the navigation's start until everything is drawn and painted."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-ready=yes]")
    milliseconds: float = tab.evaluate(PAINTED)
    tab.close()
    return milliseconds / 1000


def axe_findings(browser: Any, path: Path, scheme: str) -> list[dict[str, Any]]:
    """What axe-core finds with every part of the page open: rule, impact, number of places."""
    from axe_playwright_python.sync_playwright import Axe

    tab = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    tab.goto(path.as_uri())
    tab.locator("details").evaluate_all("parts => parts.forEach((part) => (part.open = true))")
    found = Axe().run(tab).response["violations"]
    tab.close()
    return [{"rule": v["id"], "impact": v["impact"], "places": len(v["nodes"])} for v in found]


def take_pictures(browser: Any, path: Path, folder: Path) -> None:
    """The pictures of docs/report.md: the head of the page, the closer look, a phone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, scheme, anchor, width, height in (
        ("report-light", "light", "", 1280, 1330),
        ("report-dark", "dark", "closer", 1280, 1000),
        ("report-phone", "light", "", 390, 1500),
    ):
        # Without motion, or the picture is of a page that still scrolls to its anchor.
        tab = browser.new_page(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        tab.goto(f"{path.as_uri()}#{anchor}")
        tab.wait_for_selector("html[data-ready=yes]")
        tab.wait_for_timeout(300)
        tab.screenshot(path=folder / f"{name}.png")
        tab.close()


if __name__ == "__main__":
    sys.exit(main())
