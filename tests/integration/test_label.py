"""`edgepress label` over HTTP: each label is a move on the disk, and nobody else may make one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playing_page import Client

from edgepress.runtime.keeping import ABOUT
from edgepress.toolkit.labelling.desk import OUT, TO_DO, Desk
from edgepress.toolkit.labelling.site import LabelSite
from edgepress.toolkit.playing.web import Server, start_server

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
    port = int(line.split("/")[2].split(":")[1])
    session = Client(port).ask("GET", "/state").json["session"]
    Client(port).ask("POST", f"/label?session={session}&row=0&label=0", b"")
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
