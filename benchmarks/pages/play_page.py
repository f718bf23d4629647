"""Measure the page of `edgepress play`: the first answer to a webcam, what axe-core finds, and hostile requests.

    python benchmarks/pages/play_page.py                                          files of LeNet, trained for one epoch
    python benchmarks/pages/play_page.py --shots docs                             also take the pictures of docs/play.md
    python benchmarks/pages/play_page.py runs/a/variants                          of a run

It needs chromium, and the packages playwright and axe-playwright-python (the extra "dev"). The camera is Chromium's
fake one; the first answer is timed from the click on the page's button to the answer on the page, in a fresh tab each
time, all files opened. One JSON document goes to stdout; the exit code is 1 if a limit is not kept: the first answer
under 1 s (median), no finding of axe-core, all promises of `play_fuzz`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("faults", "speed")]

from play_fuzz import FIRST_ANSWER_MS, assault, compared, playing
from serve_load import picture

from edgepress.toolkit import convert, train
from edgepress.toolkit.data import open_data
from edgepress.toolkit.machine.host import describe_host

MAX_SECONDS = 1.0
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


def main() -> int:
    """Measure, print, and say whether the limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="a folder, or files")
    parser.add_argument("--shots", type=Path, help="folder for the pictures")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=500, help="hostile requests")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        files = options.files or [_train(Path(name) / "run")]
        photo = Path(name) / "photo.png"
        photo.write_bytes(picture())
        with playing(files) as running:
            url = running.url
            found = compared(url)
            with Chromium() as browser:
                seconds = [_first_answer_s(browser, url) for _ in range(options.rounds)]
                findings = {scheme: _findings(browser, url, scheme, photo, found) for scheme in ("light", "dark")}
                if options.shots:
                    _take_pictures(browser, url, options.shots, found)
                version = browser.version
            attacked = assault(running, options.requests, 0)
    report = {
        "host": describe_host(),
        "chromium": version,
        "files": len(found["counts"]) + 1,
        "test_images": found["text"],
        "first_answer_s": {"median": statistics.median(seconds), "max": max(seconds), "rounds": len(seconds)},
        "axe": findings,
        "hostile": attacked,
    }
    count = sum(map(len, findings.values()))
    kept = statistics.median(seconds) < MAX_SECONDS and not count and not attacked["violations"]
    print(
        f"{report['files']} files: first answer to the webcam in {statistics.median(seconds):.2f} s (median of "
        f"{len(seconds)}, at most {max(seconds):.2f} s), {count} findings of axe-core, {options.requests} hostile "
        f"requests {'NOT REFUSED' if attacked['violations'] else 'refused'}; limits {'kept' if kept else 'NOT KEPT'}",
        file=sys.stderr,
    )
    print(json.dumps(report, indent=2))
    return int(not kept)


class Chromium:
    """Debian's chromium without a screen and with a fake camera: `with Chromium() as browser`."""

    def __enter__(self) -> Any:
        from playwright.sync_api import sync_playwright

        path = shutil.which("chromium") or sys.exit("chromium is not installed: apt-get install chromium")
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *CAMERA])
        return self._browser

    def __exit__(self, *_: object) -> None:
        self._browser.close()
        self._playwright.stop()


def _train(folder: Path) -> Path:
    """Files of a network that has not learned enough, so that some differ."""
    model = train(open_data("digits"), "lenet", out=folder, epochs=1, seed=0).model
    convert(model, "all,tflite-int4,onnx-int4")
    return folder / "variants"


def _open(browser: Any, url: str, **options: Any) -> Any:
    tab = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | options)
    tab.goto(url)
    tab.wait_for_selector("html[data-ready=yes]")
    return tab


def _first_answer_s(browser: Any, url: str) -> float:
    tab = _open(browser, url)
    milliseconds: float = tab.evaluate(FIRST_ANSWER_MS)
    tab.close()
    return milliseconds / 1000


def _after(tab: Any, act: Callable[[], Any], more: int = 1) -> None:
    """Do something, and wait until the page shows so many more answers."""
    count = "Number(document.documentElement.dataset.answers ?? 0)"
    until = tab.evaluate(count) + more
    act()
    while tab.evaluate(count) < until:
        tab.wait_for_timeout(50)


def _findings(browser: Any, url: str, scheme: str, photo: Path, found: dict[str, Any]) -> list[dict[str, Any]]:
    """What axe-core finds with a photo, a test image and the webcam: rule, impact, number of places."""
    from axe_playwright_python.sync_playwright import Axe

    tab, all_found = _open(browser, url, color_scheme=scheme), []
    states = [lambda: tab.set_input_files("#file", [photo, photo]), lambda: tab.locator("#webcam").click()]
    if found["items"]:
        states.append(lambda: tab.locator("#cards button").first.click())
    for act in states:
        _after(tab, act)
        all_found += Axe().run(tab).response["violations"]
    tab.close()
    return [{"rule": v["id"], "impact": v["impact"], "places": len(v["nodes"])} for v in all_found]


def _take_pictures(browser: Any, url: str, folder: Path, found: dict[str, Any]) -> None:
    """The pictures of docs/play.md: a test image on which the files differ, and the webcam, dark."""
    folder.mkdir(parents=True, exist_ok=True)
    tab = _open(browser, url, color_scheme="light")
    if found["items"]:
        tab.wait_for_selector("#cards button")
        _after(tab, lambda: tab.locator("#cards button").first.click())
        tab.evaluate("document.activeElement.blur()")
    tab.wait_for_timeout(500)
    tab.screenshot(path=folder / "play-light.png", full_page=True)
    tab.close()
    tab = _open(browser, url, color_scheme="dark", viewport={"width": 1280, "height": 1020})
    _after(tab, lambda: tab.locator("#webcam").click(), more=8)
    tab.screenshot(path=folder / "play-dark.png")
    tab.close()


if __name__ == "__main__":
    sys.exit(main())
