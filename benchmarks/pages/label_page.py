"""Label 200 pictures on the page of `edgepress label` at human speed, and let axe-core and hostile requests at it.

    python benchmarks/pages/label_page.py [--pace 1.2] [--shots docs]

It needs chromium, and the packages playwright and axe-playwright-python (the extra "dev"). The pictures are digits, and
the model's answers are right for 85 % of them. A script looks at each picture for `--pace` seconds and then presses one
key: Enter if the answer is right, else the digit; one of 25 times it presses a wrong key and takes it back. Halfway the
server is killed and started again. It prints the minutes, what axe-core finds in light and dark at the width of a desk
and of a phone, and how many of 500 requests from elsewhere were let in. Exits with 1 if it took 5 minutes or more, a
picture is not in the folder of its class, axe-core finds anything, or a request from elsewhere moved a picture.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("faults", "speed")]

from PIL import Image
from play_fuzz import foreign
from play_page import Chromium

from edgepress.runtime.keeping import ABOUT
from edgepress.toolkit.data import open_data

PICTURES = 200
RIGHT = 0.85
MOST_MINUTES = 5.0
REQUESTS = 500
VIEWS = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 360, "height": 740}}


def main() -> int:
    """Label, look and attack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pace", type=float, default=1.2, help="seconds for each picture")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--shots", type=Path, help="folder for the pictures of docs/collect.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, Chromium() as browser:
        folder = Path(temporary)
        truth = keep(folder, args.pictures)
        with serving(folder) as url:
            findings = {f"{view} {scheme}": look(browser, url, scheme, size) for view, size in VIEWS.items()
                        for scheme in ("light", "dark")}  # fmt: skip
            let_in = in_thread(intrude(url))
            moved = sum(path.is_dir() for path in folder.iterdir())
            if args.shots:
                take_pictures(browser, url, args.shots)
        begin = time.monotonic()
        for part in (0.5, 1.0):
            with serving(folder) as url:
                label(browser, url, truth, int(part * args.pictures), args.pace)
        minutes = (time.monotonic() - begin) / 60
        wrong = sum(not (folder / label / name).exists() for name, label in truth.items())
    count = sum(map(len, findings.values()))
    said = f"{args.pictures} pictures in {minutes:.1f} minutes at {args.pace:g} s each, {wrong} in a wrong place; "
    print(f"{said}{count} findings of axe-core, {let_in} of {REQUESTS} requests let in, {moved} folders made by them")
    print(json.dumps(findings))
    return int(minutes >= MOST_MINUTES or wrong + count + let_in + moved > 0)


def in_thread(work: Any) -> Any:
    """Run a coroutine beside playwright's loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def keep(folder: Path, count: int) -> dict[str, str]:
    """Pictures as a board keeps them; their names and classes."""
    data, rng, truth = open_data("digits"), random.Random(0), {}
    for row in range(count):
        label = int(data.train.y[row])
        said = label if rng.random() < RIGHT else rng.randrange(10)
        moment = f"{row // 3600:02d}{row // 60 % 60:02d}{row % 60:02d}000"
        name = f"20261128T{moment}Z-{said:03d}-0{rng.randrange(400, 999)}-{row:08x}.png"
        Image.fromarray(data.train.read([row])[0, ..., 0]).save(folder / name)
        truth[name] = data.labels[label]
    (folder / ABOUT).write_text(json.dumps({"labels": data.labels, "model": "digits"}))
    return truth


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """`edgepress label`, killed in the end; its address."""
    command = [sys.executable, "-m", "edgepress.toolkit.cli.main", "label", str(folder), "--no-open", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = ""
        while not text.rstrip().endswith("\n}"):  # the whole document
            text += process.stdout.readline()
        try:
            yield str(json.loads(text)["url"])
        finally:
            process.send_signal(signal.SIGKILL)


def opened(browser: Any, url: str, **options: Any) -> Any:
    """The page in a new tab."""
    tab = browser.new_page(**{"viewport": VIEWS["desk"]} | options)
    tab.goto(url)
    tab.wait_for_selector("html[data-ready=yes]")
    return tab


def label(browser: Any, url: str, truth: dict[str, str], until: int, pace: float) -> None:
    """Press keys until so many pictures are done."""
    tab, rng = opened(browser, url), random.Random(until)
    while (done := tab.evaluate("state.done")) < until:
        picture = tab.evaluate("state.pictures[at]")
        right = int(truth[picture["name"]])
        tab.wait_for_timeout(1000 * pace)
        if rng.random() < 1 / 25:
            tab.keyboard.press(str((right + 1) % 10))
            wait(tab, f"state.done > {done}")
            tab.keyboard.press("u")
            wait(tab, f"state.done === {done}")
        tab.keyboard.press("Enter" if picture["answer"] == right else str(right))
        wait(tab, f"state.done > {done}")
    tab.close()


def wait(tab: Any, condition: str) -> None:
    """Wait for a condition, which the page's policy does not let playwright watch by itself."""
    while not tab.evaluate(condition):
        tab.wait_for_timeout(5)


def look(browser: Any, url: str, scheme: str, size: dict[str, int]) -> list[dict[str, Any]]:
    """What axe-core finds, and whether the page is wider than the window."""
    from axe_playwright_python.sync_playwright import Axe

    tab = opened(browser, url, color_scheme=scheme, viewport=size)
    found = [{"rule": v["id"], "impact": v["impact"], "places": len(v["nodes"])}
             for v in Axe().run(tab).response["violations"]]  # fmt: skip
    if tab.evaluate("document.documentElement.scrollWidth > innerWidth"):
        found.append({"rule": "wider than the window", "impact": "serious", "places": 1})
    tab.close()
    return found


async def intrude(url: str) -> int:
    """Send requests from elsewhere that would label; how many were answered with 200."""
    rng, let_in = random.Random(0), 0
    with urllib.request.urlopen(f"{url}state") as state:
        session = json.load(state)["session"].encode()  # which a page elsewhere can't read
    label, undo = b"label?session=%b&row=0&label=0" % session, b"undo?session=%b" % session
    for _ in range(REQUESTS):
        _, request = foreign(url, b"", rng)
        request = request.replace(b"classify?top=3", label).replace(b"classify", undo)
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        let_in += answer.startswith(b"HTTP/1.1 200")
    return let_in


def take_pictures(browser: Any, url: str, folder: Path) -> None:
    """The pictures of docs/collect.md."""
    for name, scheme, view in (("label-light", "light", "desk"), ("label-phone", "dark", "phone")):
        tab = opened(browser, url, color_scheme=scheme, viewport=VIEWS[view])
        tab.wait_for_timeout(300)
        tab.screenshot(path=folder / f"{name}.png")
        tab.close()


if __name__ == "__main__":
    sys.exit(main())
