"""`edgepress label` over HTTP: each label is a move on the disk, and nobody else may make one."""

from __future__ import annotations

import ast
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playing_page import Client

from edgepress.runtime.keeping import ABOUT
from edgepress.runtime.sound.doubt import wav_bytes
from edgepress.toolkit.improvement.labelling.desk import OUT, TO_DO, Desk
from edgepress.toolkit.improvement.labelling.label import LabelSite
from edgepress.toolkit.improvement.playing.web import Server, start_server

COMMAND = [sys.executable, "-m", "edgepress.toolkit.cli.main", "label"]
HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n in range(6):
        pixels = np.random.default_rng(n).integers(0, 256, (16, 16)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"20261128T12000000{n}Z-00{n % 2}-0900-{n:08x}.png")
    (tmp_path / ABOUT).write_text(json.dumps({"labels": ["cat", HOSTILE.replace("/", "")], "model": "m"}))
    return tmp_path


@pytest.fixture
def site(folder: Path) -> LabelSite:
    return LabelSite(Desk(folder), "edgepress improve")


@pytest.fixture
def client(site: LabelSite) -> Iterator[Client]:
    server = Server(site.handle, command="label")
    yield Client(start_server(server, 0))
    server.stop()


def step(site: LabelSite, path: str) -> str:
    """The address of a step as the page sends it."""
    return f"{path}{'&' if '?' in path else '?'}session={site.session}"


def test_the_page_and_its_files_are_there(client: Client) -> None:
    for path, kind in {"/": "html", "/label.js": "javascript", "/label.css": "css"}.items():
        answer = client.ask("GET", path)
        assert answer.status == 200
        assert kind in answer.headers["Content-Type"]
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    state = client.ask("GET", "/state").json
    assert state["labels"] == ["cat", HOSTILE]
    assert [picture["label"] for picture in state["pictures"]] == [TO_DO] * 6
    assert state["next"] == "edgepress improve"


def test_a_label_is_on_the_disk_when_the_answer_comes(client: Client, site: LabelSite, folder: Path) -> None:
    name = site.desk.pictures[2].name
    assert client.ask("POST", step(site, "/label?row=2&label=1"), b"").json == {"row": 2, "label": 1, "done": 1}
    assert (folder / HOSTILE / name).exists()
    picture = client.ask("GET", "/picture/2")
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.body == (folder / HOSTILE / name).read_bytes()
    assert client.ask("POST", step(site, f"/label?row=2&label={OUT}"), b"").json["label"] == OUT
    assert client.ask("POST", step(site, "/undo"), b"").json == {"row": 2, "label": 1, "done": 1}
    assert client.ask("POST", step(site, "/undo"), b"").json == {"row": 2, "label": TO_DO, "done": 0}
    assert client.ask("POST", step(site, "/undo"), b"").json == {"row": None, "label": None, "done": 0}
    assert (folder / name).exists()


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", "/label?row=0&label=0", b"x", {}, 404),
        ("POST", "/label?row=6&label=0", b"", {}, 400),
        ("POST", "/label?row=0&label=2", b"", {}, 400),
        ("POST", "/label?row=0&label=-3", b"", {}, 400),
        ("POST", "/label?row=0", b"", {}, 400),
        ("POST", "/label?row=-1&label=0", b"", {}, 400),
        ("POST", "/label?row=٣&label=0", b"", {}, 400),
        ("POST", "/state", b"", {}, 404),
        ("GET", "/label?row=0&label=0", None, {}, 404),
        ("GET", "/undo", None, {}, 404),
        ("GET", "/picture/6", None, {}, 404),
        ("GET", "/picture/..", None, {}, 404),
        ("GET", "/kept.json", None, {}, 404),
        ("GET", "/../pyproject.toml", None, {}, 404),
        ("PUT", "/label?row=0&label=0", b"", {}, 405),
        ("POST", "/label?row=0&label=0", b"", {"Origin": "https://evil.example"}, 403),
        ("POST", "/label?row=0&label=0", b"", {"Origin": "null"}, 403),
        ("POST", "/label?row=0&label=0", b"", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("POST", "/label?row=0&label=0", b"", {"Host": "evil.example"}, 403),
        ("GET", "/picture/0", None, {"Sec_Fetch_Site": "cross-site"}, 403),
        ("GET", "/state", None, {"Host": "evil.example"}, 403),
    ],
)
def test_who_and_what_is_refused(
    method: str, path: str, body: bytes | None, headers: dict[str, str], status: int, client: Client, site: LabelSite
) -> None:
    answer = client.ask(method, step(site, path.replace("٣", "%D9%A3")), body, **headers)
    assert answer.status == status
    assert answer.json["error"]["message"]
    assert site.desk.done == 0


def test_other_users_of_the_machine_see_and_move_nothing(client: Client, site: LabelSite) -> None:
    anyone = Client(f"http://127.0.0.1:{client.port}")
    for path in ("/", "/label.js", "/label.css", "/state", "/picture/0"):
        assert anyone.ask("GET", path).status == 403
    for path in ("/label?row=0&label=0", "/undo"):
        answer = anyone.ask("POST", step(site, path), b"")
        assert answer.status == 403
        assert "the address that edgepress label printed" in answer.json["error"]["message"]
    assert site.desk.done == 0


BROWSER = """\
#!{python}
import pathlib, stat, sys, urllib.parse
page = pathlib.Path(urllib.parse.unquote(urllib.parse.urlsplit(sys.argv[1]).path))
modes = [stat.S_IMODE(path.stat().st_mode) for path in (page, page.parent)]
pathlib.Path({log!r}).write_text(repr((sys.argv[1:], modes, page.read_text())))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the browser is a script with a shebang")
def test_the_address_is_in_no_argument_of_the_browser(folder: Path, tmp_path: Path) -> None:
    """All users can read the arguments of a process."""
    browser, log = tmp_path / "browser", tmp_path / "log.txt"
    browser.write_text(BROWSER.format(python=sys.executable, log=str(log)))
    browser.chmod(0o755)
    environment = {**os.environ, "BROWSER": str(browser)}
    process = subprocess.Popen([*COMMAND, str(folder)], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    url = process.stdout.readline().split()[0]
    for _ in range(200):
        if log.exists() and log.read_text():
            break
        time.sleep(0.1)
    arguments, (_, mode), page = ast.literal_eval(log.read_text())
    assert len(arguments) == 1
    assert arguments[0].startswith("file://")
    assert url.split("/")[3] not in arguments[0]
    assert mode & 0o077 == 0, "others may not enter its folder"
    assert f"url={url}" in page
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert not Path(arguments[0].removeprefix("file://")).parent.exists()


@pytest.mark.parametrize("path", ["/label?row=0&label=0", "/label?row=0&label=0&session=0123456789abcdef", "/undo"])
def test_a_page_of_an_earlier_start_labels_nothing(path: str, client: Client, site: LabelSite) -> None:
    """The numbers of the pictures are others since."""
    assert client.ask("GET", "/state").json["session"] == site.session
    answer = client.ask("POST", path, b"")
    assert answer.status == 409
    assert "Reload the page" in answer.json["error"]["message"]
    assert site.desk.done == 0


def test_what_is_no_picture_any_more_is_not_shown(client: Client, site: LabelSite) -> None:
    site.desk.path(0).write_text("<script>alert(1)</script>")
    assert client.ask("GET", "/picture/0").status == 404
    site.desk.path(1).unlink()
    assert client.ask("GET", "/picture/1").status == 404
    answer = client.ask("POST", step(site, "/label?row=1&label=0"), b"")
    assert answer.status == 400
    assert "can't be moved" in answer.json["error"]["message"]


def test_the_command_says_where_the_page_is_and_what_comes_next(folder: Path) -> None:
    process = subprocess.Popen([*COMMAND, str(folder), "--no-open"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("http://127.0.0.1:")
    client = Client(line.split()[0])
    session = client.ask("GET", "/state").json["session"]
    client.ask("POST", f"/label?session={session}&row=0&label=0", b"")
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert "1 of 6 pictures done" in " ".join(rest.split())
    assert "edgepress improve RUN" in rest
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("words", [["nowhere"], [".", "--labels", "a"], [".", "--labels", "a/b,c"]])
def test_wrong_input_is_one_message(words: list[str], folder: Path) -> None:
    done = subprocess.run([*COMMAND, *words, "--no-open", "--json"], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["kind"] == "input"


def test_each_picture_is_a_row_of_the_state(client: Client, site: LabelSite) -> None:
    state: Any = client.ask("GET", "/state").json
    assert [row["name"] for row in state["pictures"]] == [picture.name for picture in site.desk.pictures]
    assert {row["answer"] for row in state["pictures"]} == {0, 1}


def test_the_page_plays_and_draws_recordings_and_never_sends_their_bytes(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-999, 999, 32000).astype(np.int16)
    content = wav_bytes(samples, 16000) + b"<script>alert(1)</script>"
    (tmp_path / f"{HOSTILE.replace('/', '')}.wav").write_bytes(content)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    site = LabelSite(Desk(tmp_path, ["go", "stop"]), "evaluate")
    server = Server(site.handle, command="label")
    client = Client(start_server(server, 0))
    try:
        state = client.ask("GET", "/state").json
        assert (state["what"], len(state["pictures"])) == ("recording", 1)
        assert "broken.wav" in state["notes"][0]
        heard = client.ask("GET", "/sound/0")
        assert heard.headers["Content-Type"] == "audio/wav"
        assert "media-src 'self'" in heard.headers["Content-Security-Policy"]
        assert heard.body == wav_bytes(samples, 16000)
        drawn = client.ask("GET", "/picture/0")
        assert drawn.headers["Content-Type"] == "image/png"
        assert Image.open(io.BytesIO(drawn.body)).size == (256, 128)
        assert client.ask("GET", "/sound/1").status == 404
        site.desk.path(0).write_bytes(b"RIFF")
        for path in ("/sound/0", "/picture/0"):
            assert client.ask("GET", path).status == 404
    finally:
        server.stop()


def test_pictures_have_no_sound(client: Client) -> None:
    assert client.ask("GET", "/sound/0").status == 404
