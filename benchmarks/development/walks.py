"""Walk through the README's commands as new users do, on data and in terminals drawn by a seed.

    python benchmarks/development/walks.py --out FOLDER [--walks 10] [--seed 1]

Each walk draws a data set of one of ten kinds (`walks_data.py`: pictures, sensors, vectors, several labels or inputs,
sounds, rare and many classes) and a width of the terminal (60, 80 or 200 columns). It runs train, convert, benchmark,
report, predict, evaluate, diagnose (both halves), compare, compress, calibrate, inspect and bundle in a pseudo-
terminal, in a new folder. Then it runs each command that these printed after "Next:", once, except for trainings and
what needs more data. A fault is

* an exit code other than 0, or than 4 where a scheme was refused,
* a traceback, a warning of a library, or a line that is wider than the terminal and is not a command,
* a word of a table's status column that is cut,
* a page that scrolls sideways, in light or dark, at 1280 or at 390 pixels.

Transcripts and pictures stay in FOLDER, to be looked at. Prints each fault, and one JSON document at the end; exits
with 1 if there was one. Needs chromium. A walk takes about three minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "pages"))
from walks_data import KINDS

WIDTHS = (60, 80, 200)
"""Columns of the terminals."""
TIMEOUT_S = 900
"""A command that takes longer is a fault."""
NEXT = re.compile(r"^\s*(?:Next|Then|Fix): (edgepress .+)$")
"""A line that names the next command."""
SKIPPED = ("play", "serve", "bundle", "board", "sweep")
"""Next commands that do not end, or need a board; `bundle` is in each walk."""
STATUSES = ("ok", "proven", "near", "unproven", "drop", "failed", "refused", "baseline")
"""Words of status columns."""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
"""What moves the cursor and colours text."""


@dataclass
class Walk:
    """One walk.

    Attributes:
        number: Its number, which is also the seed of its draws.
        folder: Where it takes place.
        columns: Width of its terminal.
        faults: What went wrong, one line each.
        suggested: Commands that were printed as next ones.
    """

    number: int
    folder: Path
    columns: int
    faults: list[str] = field(default_factory=list)
    suggested: list[str] = field(default_factory=list)

    def run(self, words: Sequence[str], accepted: Sequence[int] = (0,)) -> str:
        """Run a command, keep what it prints, and note its faults."""
        code, text = in_terminal([str(Path(sys.executable).with_name("edgepress")), *words], self.folder, self.columns)
        command = shlex.join(["edgepress", *words])
        with (self.folder / "transcript.txt").open("a") as transcript:
            transcript.write(f"$ {command}\n{text}[{code}]\n\n")
        where = f"walk {self.number}, {self.columns} columns: {command}"
        self.faults += [f"{where}: {fault}" for fault in faults_of(code, text, accepted, self.columns)]
        self.suggested += [found[1] for line in text.splitlines() if (found := NEXT.match(line))]
        return text


def main() -> int:
    """Walk, and print the faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for transcripts and pictures")
    parser.add_argument("--walks", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1, help="number of the first walk")
    args = parser.parse_args()
    faults: list[str] = []
    for number in range(args.seed, args.seed + args.walks):
        folder = args.out / f"walk-{number}"
        folder.mkdir(parents=True)
        walk = Walk(number, folder, WIDTHS[number % len(WIDTHS)])
        take(walk)
        print(f"walk {number}: {len(walk.faults)} faults", *walk.faults, sep="\n  ", flush=True)
        faults += walk.faults
    print(json.dumps({"walks": args.walks, "seed": args.seed, "faults": len(faults)}))
    return int(bool(faults))


def take(walk: Walk) -> None:
    """The commands of a walk, then those that they named, then the pages."""
    drawn = KINDS[walk.number % len(KINDS)](walk.folder, random.Random(walk.number))
    model, variants = "runs/a/model.keras", "runs/a/variants"
    int8, base = f"{variants}/model-int8.tflite", f"{variants}/model-float32.tflite"
    if drawn.train is not None:
        walk.run(["train", "--data", drawn.data, *drawn.train, "--out", "runs/a"])
    walk.run(["convert", model, "--to", "all", *drawn.convert], accepted=(0, 4))
    walk.run(["benchmark", variants])
    walk.run(["report", variants])
    if drawn.item:
        walk.run(["predict", int8, drawn.item])
    walk.run(["evaluate", int8, "--data", drawn.data])
    walk.run(["diagnose", int8], accepted=(0,) if drawn.one_input else (1,))
    walk.run(["diagnose", model, int8, "--data", drawn.data], accepted=(0,) if drawn.one_input else (1,))
    walk.run(["compare", base, int8, "--fail-if", "drop>20"], accepted=(0, 5))
    walk.run(
        ["compress", model, "--data", drawn.data, "--max-drop", "10", "--max-size", "10MB"],
        accepted=(0, 4),
    )
    walk.run(["calibrate", int8, "--max-error", "20%"], accepted=(0, 4) if drawn.one_label else (1,))
    walk.run(["inspect", int8])
    walk.run(["bundle", int8, "--out", "app.zip"])
    done: set[str] = set()
    for command in list(walk.suggested):
        words = shlex.split(command)[1:]
        if command not in done and words[0] not in SKIPPED and not {"--epochs", "MORE_ITEMS"} & set(words):
            done.add(command)
            walk.run([*words], accepted=(0, 4))
    for page in sorted(walk.folder.glob("runs/a/**/*.html")):
        walk.faults += [f"walk {walk.number}: {page.name}: {fault}" for fault in faults_of_page(page, walk.folder)]


def in_terminal(words: Sequence[str], folder: Path, columns: int) -> tuple[int, str]:
    """Exit code and text of a command whose output is a terminal; progress bars leave their last state."""
    primary, secondary = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "LINES": "50", "TERM": "xterm-256color"}
    environment["EDGEPRESS_CACHE"] = str(folder / "cache")
    process = subprocess.Popen(
        words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=secondary, stderr=secondary
    )
    os.close(secondary)
    parts = []
    try:
        while part := os.read(primary, 65536):
            parts.append(part)
    except OSError:  # the other end is closed
        pass
    os.close(primary)
    text = ESCAPES.sub("", b"".join(parts).decode(errors="replace").replace("\r\n", "\n"))
    lines = [line.rpartition("\r")[2] for line in text.split("\n")]
    return process.wait(TIMEOUT_S), "\n".join(line for line in lines if "━━" not in line or "100 %" in line)


def faults_of(code: int, text: str, accepted: Sequence[int], columns: int) -> Iterator[str]:
    """What is wrong with a command's exit code and text."""
    if code not in accepted:
        yield f"exit code {code}: {text.strip().splitlines()[-1:]}"
    for word in ("Traceback", "Warning:", "oneDNN", "cuda"):
        if word in text:
            yield f"its text holds {word!r}"
    for line in text.splitlines():
        if len(line.rstrip()) > columns and not re.search(r"edgepress |python3 -m | /", line):
            yield f"a line of {len(line.rstrip())} columns: {line.strip()[:50]!r}"
        last = line.split()[-1:] or [""]
        if last[0].endswith("…") and any(status.startswith(last[0][:-1]) for status in STATUSES):
            yield f"a status is cut: {line.strip()!r}"


def faults_of_page(page: Path, folder: Path) -> Iterator[str]:
    """What is wrong with a page in light and dark, on a screen and on a phone; leaves pictures of it."""
    from report_page import open_chromium

    with open_chromium() as (browser, _):
        for scheme in ("light", "dark"):
            for width in (1280, 390):
                tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                errors: list[str] = []
                tab.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
                tab.goto(page.resolve().as_uri())
                tab.wait_for_timeout(500)
                if (wide := tab.evaluate("document.documentElement.scrollWidth")) > width:
                    yield f"{wide} px wide on a screen of {width} in {scheme}"
                yield from errors
                tab.screenshot(path=folder / f"{page.stem}-{scheme}-{width}.png", full_page=True)
                tab.close()


if __name__ == "__main__":
    sys.exit(main())
