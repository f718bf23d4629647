"""Every block of shell in the documentation runs, or says in a comment before it why a test can't run it.

A block runs in a folder that holds what pages speak of: a run in `runs/a`, its files, photos by class. The line before
it may be `<!-- not run: REASON -->`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(p for p in ROOT.glob("docs/*.md") if p.name != "commands.md")]
FENCE = re.compile(r"(?:^ *<!-- (not run: [^\n]+?) -->\n)?^( *)```(\w*)\n(.*?)^\2```$", re.MULTILINE | re.DOTALL)
SHELL = {"sh", "bash", "shell", "console", "zsh"}
COMMAND = re.compile(r"^ {4,}(?:\$ |edgepress |python3? -m |pip install |docker |sudo |ssh )", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of shell, with the mark before it; "" for none."""

    place: str
    mark: str
    code: str


def blocks() -> list[Block]:
    """Those of all pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            mark, indent, language, code = match.groups(default="")
            if language in SHELL:
                place = f"{page.relative_to(ROOT).as_posix()}:{text.count(chr(10), 0, match.start(2)) + 1}"
                found.append(Block(place, mark, re.sub(f"^{indent}", "", code, flags=re.MULTILINE)))
    return found


BLOCKS = blocks()
WIDTH = 88
"""Columns that a code host shows of a block without scrolling it, in a window of 1280 pixels."""
GATES = """edgepress() {
  command edgepress "$@" || { code=$?; case "$code $1" in "3 compare" | "5 compare") ;; *) return "$code" ;; esac; }
}
"""
"""A gate that does not hold, or is not proven, is an answer: it depends on items, and on what else the machine does."""
RUN = [pytest.param(block, id=block.place) for block in BLOCKS if not block.mark]


@pytest.fixture
def shelf(run: Any, digits: Any, tmp_path: Path) -> Path:
    """The folder that a block runs in; its files are this block's own."""
    folder = tmp_path / "shelf"
    variants = folder / "runs" / "a" / "variants"
    shutil.copytree(run.folder, folder / "runs" / "a")
    shutil.copy(ROOT / "tests" / "support" / "benchmark_v1.json", variants / "benchmark.json")
    shutil.copytree(variants, folder / "runs" / "b" / "variants")
    shutil.copytree(variants, folder / "variants", ignore=shutil.ignore_patterns("*.json"))
    (folder / "main").mkdir()
    shutil.copy(variants / "benchmark.json", folder / "main")
    for source, names in {
        "tflite-int8": ["model-int8.tflite", "new.tflite"],
        "tflite-float32": ["old.tflite", "a.tflite"],
        "onnx-int8": ["model-int8.onnx", "b.onnx"],
    }.items():
        for name in names:
            shutil.copy(run.variants[source], folder / name)
    shutil.copy(run.model, folder / "model.keras")
    items, labels = digits.train.read(slice(0, 400)), digits.train.y[:400]
    for number, (item, label) in enumerate(zip(items, labels, strict=True)):
        place = folder / "photos" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(item[..., 0]).save(place / f"{number}.png")
    for name in ("photo.jpg", "cat.jpg"):
        Image.fromarray(items[0, ..., 0]).save(folder / name)
    return folder


@pytest.mark.parametrize("block", RUN)
def test_block_runs(block: Block, shelf: Path) -> None:
    environment = os.environ | {
        "HOME": str(shelf.parent),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = ["bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", GATES + block.code]
    done = subprocess.run(command, cwd=shelf, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{block.code}\n{done.stdout}\n{done.stderr}"


def test_blocks_are_found_and_most_commands_stand_in_one_that_runs() -> None:
    """What pages show of the commands that need neither a board nor files of others is tried."""
    tried = {word for row in RUN for word in re.findall(r"^edgepress (\w+)", row.values[0].code, re.MULTILINE)}  # type: ignore[union-attr]
    assert tried >= {"benchmark", "bundle", "compare", "convert", "diagnose", "evaluate", "inspect", "report", "train"}
    assert all(len(block.mark) > len("not run: ") for block in BLOCKS if block.mark)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_stand_in_marked_blocks(page: Path) -> None:
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert COMMAND.findall(prose) == []


def test_no_command_and_no_help_scrolls_sideways_on_a_code_host() -> None:
    wide = [f"{block.place}: {line}" for block in BLOCKS for line in block.code.splitlines() if len(line) > WIDTH]
    commands = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    wide += [line for match in FENCE.finditer(commands) for line in match[4].splitlines() if len(line) > WIDTH]
    assert not wide
