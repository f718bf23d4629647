"""The page of `serve` in a browser: time to the first answer, size, axe-core's findings, pixels of large photos.

    python benchmarks/pages/board_page.py [--rounds 10] [--shots docs]

It needs chromium, and the packages playwright and axe-playwright-python (the extra "dev"). The model is LeNet int8,
trained for a moment on digits. Each round starts a server and a browser's tab of its own, chooses a photo of a digit
and takes the time from the choice to the answer on the screen. Then it chooses photos that the server does not accept,
made from one of scikit-learn's, and compares the pixels that the browser made with those of the runtime. `--shots`
also saves the pictures of docs/runtime.md there. Prints one JSON document; exit 1 if a limit is not kept: 1 s, 12 kB,
no finding.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

sys.path.append(str(Path(__file__).parents[1] / "speed"))

from report_page import open_chromium
from runtime_overhead import make_files
from serve_load import start

from edgepress.runtime import load
from edgepress.runtime.image import load_image
from edgepress.runtime.web import page_files
from edgepress.toolkit.machine.host import describe_host

MAX_MS, MAX_BYTES = 1000.0, 12_000
PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
WATCH = """
  window.bodies = [];
  const real = fetch;
  window.fetch = (url, options) => {
    if (options?.body) new Blob([options.body]).arrayBuffer().then((b) => bodies.push(Array.from(new Uint8Array(b))));
    return real(url, options);
  };
  addEventListener("DOMContentLoaded", () => {
    const answer = document.querySelector("#answer");
    document.querySelector("#pick").addEventListener("change", () => {
      const begin = performance.now();
      const painted = () => { window.ms = performance.now() - begin; };
      const drawn = () => answer.hidden || requestAnimationFrame(() => requestAnimationFrame(painted));
      new MutationObserver(drawn).observe(answer, {attributes: true});
    }, {capture: true});
  });
"""
"""Keeps what the page posts, and the time from the choice of a file to the frame after its answer."""


def main() -> int:
    """Measure, print, and say whether the limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--shots", type=Path, help="folder for the pictures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, open_chromium() as (browser, version):
        folder = Path(name)
        make_files(folder)
        model = next(folder.glob("*int8.tflite"))
        digit = folder / "seven.png"
        Image.fromarray((load_digits().images[7] * 15.9).astype(np.uint8)).resize((560, 560)).save(digit)
        first = [first_answer_ms(browser, model, digit) for _ in range(options.rounds)]
        server, port = start(model)
        try:
            findings = {scheme: axe_findings(browser, port, digit, scheme) for scheme in ("light", "dark")}
            large = [large_photo(browser, port, model, folder, megapixels) for megapixels in (12, 48)]
            if options.shots:
                take_pictures(browser, port, digit, options.shots)
        finally:
            server.terminate()
            server.wait(30)
    size = sum(len(content) for _, content in page_files().values())
    kept = max(first) < MAX_MS and size < MAX_BYTES and not any(findings.values())
    document = {
        "host": describe_host(),
        "chromium": version,
        "page_bytes": size,
        "first_answer_ms": {"median": statistics.median(first), "max": max(first), "rounds": len(first)},
        "axe": findings,
        "large_photos": large,
        "kept": kept,
    }
    print(json.dumps(document, indent=2))
    return int(not kept)


def opened(browser: Any, port: int, **options: Any) -> Any:
    """The page in a new tab, ready for a picture."""
    tab = browser.new_page(**options)
    tab.add_init_script(WATCH)
    tab.goto(f"http://127.0.0.1:{port}/")
    tab.wait_for_selector("#choose:visible")
    return tab


def choose(tab: Any, picture: Path) -> None:
    """Choose a picture and wait for its answer."""
    tab.set_input_files("#pick", picture)
    tab.wait_for_function("() => window.ms > 0")


def first_answer_ms(browser: Any, model: Path, picture: Path) -> float:
    """From the choice of the first picture to its answer on the screen, with a server that has answered nothing yet."""
    server, port = start(model)
    try:
        tab = opened(browser, port)
        choose(tab, picture)
        found: float = tab.evaluate("window.ms")
        tab.close()
        return found
    finally:
        server.terminate()
        server.wait(30)


def axe_findings(browser: Any, port: int, picture: Path, scheme: str) -> list[dict[str, Any]]:
    """What axe-core finds on a phone, with an answer: rule, impact, number of places."""
    from axe_playwright_python.sync_playwright import Axe

    tab = opened(browser, port, color_scheme=scheme, **PHONE)
    choose(tab, picture)
    found = Axe().run(tab).response["violations"]
    tab.close()
    return [{"rule": v["id"], "impact": v["impact"], "places": len(v["nodes"])} for v in found]


def large_photo(browser: Any, port: int, model: Path, folder: Path, megapixels: int) -> dict[str, Any]:
    """Choose a JPEG of so many pixels: what was sent, how long it took, how far the pixels are from the runtime's."""
    path = folder / f"photo{megapixels}.jpg"
    size = tuple(round((megapixels * 1e6) ** 0.5 * side) for side in (2 / 3**0.5, 3**0.5 / 2))
    Image.fromarray(load_sample_image("china.jpg")).resize(size, Image.Resampling.LANCZOS).save(path, quality=92)
    tab = opened(browser, port)
    choose(tab, path)
    sent, ms = bytes(tab.evaluate("window.bodies.at(-1)")), tab.evaluate("window.ms")
    found = {"megapixels": megapixels, "file_bytes": path.stat().st_size, "sent_bytes": len(sent), "answer_ms": ms}
    found["said"] = tab.inner_text("#sent")
    tab.close()
    if sent.startswith(b"\x93NUMPY"):
        contract = load(model).contract
        assert contract is not None
        Image.MAX_IMAGE_PIXELS = None
        expected = load_image(path, contract.input)
        found["largest_difference"] = int(np.abs(np.load(io.BytesIO(sent)).astype(int) - expected).max())
    return found


def take_pictures(browser: Any, port: int, picture: Path, folder: Path) -> None:
    """The pictures of docs/runtime.md: a phone, and a dark window."""
    for name, options in (
        ("board-page-phone", PHONE),
        ("board-page-dark", {"viewport": {"width": 860, "height": 540}, "color_scheme": "dark"}),
    ):
        tab = opened(browser, port, **options)
        choose(tab, picture)
        tab.screenshot(path=folder / f"{name}.png")
        tab.close()


if __name__ == "__main__":
    sys.exit(main())
