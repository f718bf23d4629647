"""A stranger's texts on boards, real terminals and pages of servers."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import chromium
from hostile_files import Foreign
from hostile_text import LABELS, MARKS, NAMES, assert_no_controls, assert_plain, unfolded

POISON = """
import json, os, subprocess, sys

done = subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.PIPE)
text = done.stdout.decode()
if sys.argv[1:2] == ["-"]:  # the probe, which says what the board is
    told = json.loads(text)
    for part in (told, told.get("state", {})):
        for name in ("node", "model", "cpu", "os", "kernel", "governor"):
            if name in part:
                part[name] = os.environ["LABEL"] + str(part[name])
        if "cooling" in part:
            part["cooling"] = [os.environ["LABEL"]]
    text = json.dumps(told)
sys.stdout.write(text)
sys.exit(done.returncode)
"""


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], list[object]]]:
    """Options of a board whose description holds a label; it is the user's own, but others may have set it up."""
    import sshd

    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    with sshd.serve(tmp_path / "board") as server:

        def options(label: str) -> list[object]:
            python = server.folder / "bin" / "poisoned-python"
            python.with_name("poison.py").write_text(f"import os\nos.environ['LABEL'] = {label!r}\n{POISON}")
            python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{python.with_name("poison.py")}" "$@"\n')
            python.chmod(0o755)
            return ["board", "--python", python.name, "--ssh-config", server.config]

        yield options


@pytest.mark.slow
def test_what_a_board_says_is_text(board: Any, screens: Any) -> None:
    for number, label in enumerate(LABELS):
        for form in ([], ["--json"]):
            code, out, err = screens("board", "info", *board(label), *form)
            assert code in (0, 1), err
            if form:
                assert label in json.loads(out)["os"]
            elif number == 2:
                assert "[dog]" in unfolded(out)


@pytest.mark.slow
def test_a_hostile_model_on_a_hostile_board_is_text(foreign: Foreign, board: Any, screens: Any, tmp_path: Path) -> None:
    from edgepress.toolkit.shipping.bundles.build import bundle

    made = bundle(foreign.model, tmp_path / f"{NAMES[1]}.zip", name="app", samples=1, data=str(foreign.data))
    quick = ["--items", 20, "--rounds", 1, "--seconds", 0.1, "--threads", 1, "--out", tmp_path / NAMES[2]]
    code, out, err = screens("board", "bench", *board(LABELS[3] + LABELS[8]), made.path, "--data", foreign.data, *quick)
    assert code in (0, 1), err
    assert "litert" in out, out + err
    assert MARKS[2] in unfolded(out + err).replace("\\\\", "\\"), out


def _on_pty(*words: object, **variables: str) -> tuple[int, str]:
    """Run a command on a real terminal; its exit code and all that the terminal got."""
    main_end, child_end = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"} | variables
    environment.pop("NO_COLOR", None) if "NO_COLOR" not in variables else None
    command = [sys.executable, "-m", *map(str, words)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=child_end, stderr=child_end, env=environment)
    os.close(child_end)
    got = b""
    while True:
        try:
            part = os.read(main_end, 1 << 16)
        except OSError:  # the other end is closed
            break
        got += part
    os.close(main_end)
    return process.wait(timeout=120), got.decode().replace("\r\n", "\n")


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1", "CI": "true"}])
def test_a_real_terminal_gets_no_codes_but_of_styles(foreign: Foreign, variables: dict[str, str]) -> None:
    for words in (("predict", foreign.model, foreign.classes), ("inspect", foreign.model), ("inspect", NAMES[3])):
        code, got = _on_pty("edgepress.toolkit.cli.main", *words, **variables)
        assert code in (0, 1)
        assert_plain(got, styled=True)
        if "NO_COLOR" in variables:
            assert not re.search(r"\x1b\[[\d;]*3[0-7][;m]", got), "no color"
    code, got = _on_pty("edgepress.runtime", "classify", foreign.model, *foreign.pictures, **variables)
    assert code == 0
    assert_plain(got)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["edgepress.toolkit.cli.main play --no-open", "edgepress.runtime serve --port 0"])
def test_servers_and_their_pages_show_strangers_texts_as_texts(words: str, foreign: Foreign) -> None:
    data = ["--data", str(foreign.data)] if "play" in words else []
    command = [sys.executable, "-m", *words.split(), str(foreign.model), *data]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line)
            if url := re.search(r"(?:page |^)(http://[\d.:]+/\S*)", line):
                _look_at(url[1], foreign)
                break
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert any("http://" in line for line in lines), lines
    assert_plain("".join(lines) + rest)


def _look_at(url: str, foreign: Foreign) -> None:
    """Give a server's page a picture and read what it shows."""
    with chromium() as start:
        tab = start().new_page()
        tab.goto(url)
        tab.wait_for_selector("html[data-ready=yes], #choose:visible")
        tab.set_input_files("#pick, #file", foreign.pictures[1])
        tab.wait_for_selector("html[data-answers], #answer:visible")
        shown = tab.evaluate("document.body.textContent") + tab.title()
        assert_no_controls(tab.evaluate("document.body.innerText").replace("\t", " "))  # a log's commands are text here
        assert tab.evaluate("window.hacked") is None
        assert sum(mark.replace("\\x1b", "\\u{1b}") in shown for mark in MARKS) >= 1, shown
