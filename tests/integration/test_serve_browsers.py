"""What `serve` refuses to browsers, and what every answer says to them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from email.message import Message
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import Running

from edgepress.runtime import web
from edgepress.runtime.__main__ import main
from edgepress.runtime.web import is_loopback, name_in, reachable, refusal

EVIL = "http://evil.example"
POST = ("POST", "/classify")


@pytest.fixture(scope="module")
def server(run: Any) -> Iterator[Running]:
    running = Running(run.variants["tflite-int8"], "--allow-host", "Board.example.org")
    yield running
    assert "Traceback" not in running.end()


def head(**headers: str) -> Message:
    message = Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/page.js", 200),
        ("GET", "/ready", 200),
        ("GET", "/no", 404),
        ("PUT", "/classify", 405),
    ],
)
def test_every_answer_tells_browsers_to_keep_it_apart(method: str, path: str, status: int, server: Running) -> None:
    found, _, headers = server.ask(method, path)
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert found == status
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost"},
        {"Origin": "ftp://HERE"},
        {"Origin": "HERE"},
        {"Origin": "http://HERE.evil.example"},
        {"Origin": "http://HERE@evil.example"},
        {"Origin": EVIL, "Host": "evil.example"},
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "evil.example@127.0.0.1"},
        {"Host": "localhost.evil.example"},
        {"Host": "evillocalhost"},
        {"Host": "kitchen.local"},
        {"Host": ""},
        {"Host": "[::1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": ""},
    ],
)
def test_posts_of_other_pages_and_by_other_names_are_refused(headers: dict[str, str], server: Running) -> None:
    here = f"127.0.0.1:{server.port}"
    sent = {name: value.replace("HERE", here) for name, value in headers.items()}
    status, answer, _ = server.ask("POST", "/classify", b"x", sent)
    assert status == 403, answer
    assert answer["error"]["message"]
    if "Host" in headers:
        assert server.ask("GET", "/", None, sent)[0] == 403


def test_a_header_that_is_there_twice_is_refused(server: Running) -> None:
    lines = b"Host: localhost\r\nHost: evil.example\r\n"
    assert server.raw(b"GET / HTTP/1.1\r\n" + lines + b"\r\n").startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://HERE"},
        {"Origin": "https://HERE", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://LOCALHOST:9000", "Host": "localhost:9000"},
        {"Host": "[::1]:8000"},
        {"Host": "board.example.org"},
        {"Origin": "https://board.example.org", "Host": "board.example.org"},
        {"Origin": "https://board.example.org"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_its_own_page_and_other_programs_are_answered(headers: dict[str, str], server: Running) -> None:
    sent = {name: value.replace("HERE", f"127.0.0.1:{server.port}") for name, value in headers.items()}
    status, answer, _ = server.ask("POST", "/classify", b"no image", sent)
    assert (status, answer["error"]["kind"]) == (400, "input")


def test_other_pages_may_load_nothing(server: Running) -> None:
    for path in ("/", "/page.js", "/ready"):
        for site in ("cross-site", "same-site"):
            for mode in ("no-cors", "cors", "websocket", ""):
                assert server.ask("GET", path, None, {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode})[0] == 403


def test_a_link_on_another_page_leads_to_the_page(server: Running) -> None:
    assert server.ask("GET", "/", None, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})[0] == 200


ESCAPES = """/../page.html /%2e%2e/page.html /page.html /page.js/ //page.js /./page.js /page.js%00 /web.py *
    http://evil.example/ http://127.0.0.1/page.js /..\\page.js"""


@pytest.mark.parametrize("path", ESCAPES.split())
def test_only_the_three_paths_lead_to_files(path: str, server: Running) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    assert server.raw(request).startswith(b"HTTP/1.1 404 ")


@given(st.from_regex(r"[a-z0-9-]{1,20}(\.[a-z0-9-]{1,20}){1,3}\.(com|org|test|example)", fullmatch=True), st.booleans())
def test_no_name_of_the_public_dns_is_this_servers(name: str, loopback: bool) -> None:
    port = head(Host=f"{name}:8000", Origin=f"http://{name}:8000")
    assert name in refusal("POST", port, loopback=loopback, allowed=())
    assert refusal("POST", port, loopback=loopback, allowed={name}) == ""


@given(st.text(max_size=60))
def test_a_name_is_never_taken_from_a_text_that_is_none(text: str) -> None:
    assert name_in(text) in ("", *text.lower().strip("[]").split("]")[0:1], text.rpartition(":")[0].strip("[]"))
    assert refusal("POST", head(Origin=repr(text)), loopback=True, allowed=())


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_on_a_network_it_is_called_by_addresses_and_names_that_nobody_else_can_point_to_it(method: str) -> None:
    def asked(**headers: str) -> str:
        return refusal(method, head(**headers), loopback=False, allowed=())

    safe = "192.168.1.5:8000 kitchen.local:8000 kitchen:8000 kitchen.internal kitchen.home.arpa:1 [fe80::1]:8000"
    for name in safe.split():
        assert asked(Host=name) == asked(Host=name, Origin=f"http://{name}") == ""
    for name in ("board.lan", "evil.example", "local.example", "192.168.1.5.example", "notinternal.example"):
        assert f"--allow-host {name}" in asked(Host=f"{name}:8000"), "a page of that name reads a GET without Origin"
        assert f"--allow-host {name}" in asked(Host=f"{name}:8000", Origin=f"http://{name}:8000")
    assert "another site" in asked(Host="192.168.1.5:8000", Origin="http://192.168.1.6:8000")


@pytest.mark.parametrize(
    ("address", "alone"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("fe80::1%eth0", False)]
)
def test_which_addresses_only_this_machine_reaches(address: str, alone: bool) -> None:
    assert is_loopback(address) is alone


def test_a_server_that_listens_on_the_network_knows_it(run: Any) -> None:
    running = Running(run.variants["tflite-int8"], "--host", "0.0.0.0")
    assert running.ready["page"] == f"http://{reachable('0.0.0.0')}:{running.port}/"
    for method, path in (
        *(("GET", path) for path in ("/", "/page.js", "/page.css", "/ready", "/healthz", "/no")),
        POST,
    ):
        for host, refused in (("kitchen.local", False), ("192.168.1.9", False), ("board.lan", True), (EVIL[7:], True)):
            assert (running.ask(method, path, b"no image", {"Host": host})[0] == 403) is refused, (method, path, host)
    running.end()


@pytest.mark.parametrize("name", ["http://board", "board/", ""])
def test_a_name_that_is_none_is_refused(name: str, run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(run.variants["tflite-int8"]), "--port", "0", "--allow-host", name]) == 1
    assert "is not the name of a server. Give --allow-host a name such as" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "192.168.7.9", "fe80::1%eth0", "board.local", "localhost"])
def test_a_server_is_found_where_it_listens(host: str) -> None:
    assert reachable(host) == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_server_on_all_addresses_is_found_at_one_of_them(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = reachable(host)
    if not found.endswith(".local"):  # it has a route
        with socket.create_server((found, 0), family=socket.AF_INET6 if ":" in found else socket.AF_INET):
            pass  # only an own address can be listened on
    monkeypatch.setattr(web, "socket", Mock(side_effect=OSError("no route")))
    monkeypatch.setattr(web, "gethostname", lambda: "kitchen.fritz.box")
    assert reachable(host) == "kitchen.local"
    assert not refusal(
        "POST", head(Host="kitchen.local:8000", Origin="http://kitchen.local:8000"), loopback=False, allowed=()
    )
