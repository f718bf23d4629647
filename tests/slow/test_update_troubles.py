"""`run update` when something else than the release is to blame, when it is killed, and what it remembers of it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import scripts
from releasing import accept_changes
from tuf.api.exceptions import DownloadError, SlowRetrievalError
from updating import Service, fake

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.updates import confirm, installer, transfer, trust, update, watch, web
from edgepress.runtime.updates.confirm import alone
from edgepress.runtime.updates.place import read_place
from edgepress.runtime.updates.state import State, read_state, write_state

sys.path.insert(0, str(scripts.ROOT / "benchmarks" / "updates"))
attacks = scripts.script("benchmarks/updates/attacks.py")
simulated = sys.modules["simulated"]


def publish_with(publisher: Any, release: int, stub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish a release with another runtime."""
    with monkeypatch.context() as patch:
        patch.setattr(simulated, "STUB", stub)
        publisher.publish(release)


LOOPS = {
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n",
    "header": b"HTTP/1.1 200 OK\r\n|X",
    "trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n|a: b\r\n",
    "redirect": b"HTTP/1.1 302 x\r\nLocation: /x\r\n\r\n|" + b" " * 10_000,
    "silence": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n|",
}
"""What a server sends, and behind the bar what it sends again and again."""


@contextlib.contextmanager
def raw_server(text: bytes) -> Iterator[str]:
    """A server that answers with bytes, whatever they mean."""
    first, _, again = text.rpartition(b"|")

    def answer(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(65536)
            connection.sendall(first)
            while True:
                connection.sendall(again)
                if len(again) < 2:
                    time.sleep(0.05)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("loop", LOOPS)
def test_no_server_keeps_a_board_waiting(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PATIENCE_S", 0.5)
    threads = threading.active_count()
    began = time.monotonic()
    with raw_server(LOOPS[loop]) as address, pytest.raises(DownloadError) as caught:
        transfer.UpdateSource(address).download_bytes(f"{address}/metadata/timestamp.json", 1000)
    assert time.monotonic() - began < 10
    if loop != "redirect":
        assert isinstance(caught.value, SlowRetrievalError)
    assert threading.active_count() <= threads + 12  # the server's own


def test_a_server_that_gives_a_byte_a_connection_is_too_slow(
    publisher: Any, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PATIENCE_S", 0.5)
    monkeypatch.setattr(transfer, "PAUSE_S", 0.001)
    publisher.publish(2)
    bundle = next(publisher.site.glob("targets/demo/*-2-*.zip"))
    content = bundle.read_bytes()

    def one(handler: Any) -> None:
        offset = int((handler.headers["Range"] or "bytes=0-")[6:-1])
        handler.send_response(206 if offset else 200)
        handler.send_header("Content-Length", str(len(content) - offset))
        handler.end_headers()
        handler.wfile.write(content[offset : offset + 1])
        handler.close_connection = True

    with attacks.serve(publisher.site, bundle.name, one) as address:
        assert "Refused (slow retrieval)" in board.attempt(address)
    assert board.attempt(publisher.site) == "installed 2"


def test_what_is_no_file_in_a_folder_is_missing(publisher: Any, board: Any) -> None:
    stamp = publisher.site / "metadata" / "timestamp.json"
    stamp.unlink()
    os.mkfifo(stamp)
    assert "is not a file" in board.attempt(publisher.site)


@pytest.mark.parametrize("target", ["ftp://127.0.0.1:9/x", "file:///etc/hostname", "data:,x", "//127.0.0.1:9/x"])
def test_redirects_lead_to_web_servers_only(target: str) -> None:
    text = f"HTTP/1.1 302 x\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n|".encode()
    with raw_server(text) as address, pytest.raises(DownloadError) as caught:
        transfer.UpdateSource(address).download_bytes(f"{address}/x", 1000)
    said = str(caught.value)
    wanted = {"ftp": "leads to ftp", "//1": "refused"}.get(target[:3], "answers 302")  # urllib follows no others
    assert wanted in said


def test_a_redirect_from_https_to_http_is_refused() -> None:
    request = urllib.request.Request("https://a.example/x")
    with pytest.raises(OSError, match="not an address that updates may come from"):
        web._Redirects().redirect_request(request, io.BytesIO(), 302, "", {}, "http://a.example/x")
    followed = web._Redirects().redirect_request(request, io.BytesIO(), 302, "", {}, "https://b.example/x")
    assert followed is not None
    assert followed.full_url == "https://b.example/x"


@pytest.mark.parametrize(
    ("error", "where"),
    [(OSError(28, "No space left on device"), "copyfileobj"), (OSError(5, "I/O error"), "ZipFile"),
     (MemoryError(), "loads")],
)  # fmt: skip
def test_what_the_system_refuses_while_unpacking_is_no_verdict(
    publisher: Any, board: Any, error: Exception, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    publisher.publish(2)
    module = {"copyfileobj": installer.shutil, "ZipFile": installer.zipfile, "loads": None}[where]
    with monkeypatch.context() as patch:
        if module is None:
            patch.setattr(installer, "json", type("Json", (), {"loads": fail}))
        else:
            patch.setattr(module, where, fail)
        assert "can't be unpacked" in board.attempt(publisher.site)
    assert board.status()["refused"] == {}
    assert "can't be unpacked" in board.status()["last"]["message"]
    assert board.attempt(publisher.site) == "installed 2"


def test_a_full_disk_during_a_failing_self_test_is_no_verdict(
    publisher: Any, board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish(2, broken=True)
    with monkeypatch.context() as patch:
        fake(tmp_path / "bin", "dd", "exit 1", patch)
        assert "is full" in board.attempt(publisher.site)
    assert board.status()["refused"] == {}
    assert "fails its self-test" in board.attempt(publisher.site)
    assert len(board.status()["refused"]) == 1


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "os._exit(1)", 'print(\'{"error": {"message": "x"}}\')'])
def test_a_self_test_that_ends_without_a_result_is_tried_again(
    publisher: Any, board: Any, tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = str(tmp_path / "once")
    stub = f"import os, sys\nif not os.path.exists({once!r}):\n    open({once!r}, 'w').close()\n    {end}\n"
    stub += "    sys.exit(1)\n"
    publish_with(publisher, 2, stub + simulated.STUB, monkeypatch)
    assert "fails its self-test" in board.attempt(publisher.site)
    assert board.status()["refused"] == {}
    assert board.attempt(publisher.site) == "installed 2"


def test_a_self_test_that_never_has_a_result_is_not_tried_for_ever(
    publisher: Any, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_with(publisher, 3, "import os\nos._exit(1)\n", monkeypatch)
    for _ in range(confirm.MAX_ATTEMPTS):
        assert board.status()["refused"] == {}
        assert "fails its self-test" in board.attempt(publisher.site)
    assert ["happened 3 times" in reason for reason in board.status()["refused"].values()] == [True]
    assert board.attempt(publisher.site) == "nothing new"


@pytest.fixture
def service(board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(watch, "WATCH_S", 0.0)  # test_update_watch.py watches
    found = Service(board, tmp_path)
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_a_service_that_does_not_answer_is_a_verdict(
    publisher: Any, board: Any, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path / "bin", "systemctl", "exit 0", monkeypatch)
    service.good = {1}
    publisher.publish(2)
    assert "was restored and runs" in board.attempt(publisher.site)
    assert board.running() == 1
    assert len(board.status()["refused"]) == 1
    service.good = {1, 3}
    publisher.publish(3)
    assert board.attempt(publisher.site) == "installed 3"


@pytest.mark.parametrize("trouble", ["may not restart", "former one is silent, too"])
def test_a_service_that_can_not_be_tested_is_no_verdict(
    publisher: Any, board: Any, service: Service, tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish(2)
    with monkeypatch.context() as patch:
        fake(tmp_path / "bin", "systemctl", f"exit {int(trouble == 'may not restart')}", patch)
        if trouble != "may not restart":
            service.good = set()
        assert "can't be restarted" in board.attempt(publisher.site)
    assert board.running() == 1
    assert board.status()["refused"] == {}
    service.good = {1, 2}
    fake(tmp_path / "bin", "systemctl", "exit 0", monkeypatch)
    assert board.attempt(publisher.site) == "installed 2"


def test_the_service_of_another_installation_is_left_alone(
    publisher: Any, board: Any, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    fake(tmp_path / "bin", "systemctl", f"echo $@ >>{log}; exit 1", monkeypatch)
    service.belong_to(tmp_path)
    publisher.publish(2)
    assert board.attempt(publisher.site) == "installed 2"
    assert not log.exists()
    link = tmp_path / "link"
    link.symlink_to(board.prefix)
    service.belong_to(link)  # the same installation by another name
    publisher.publish(3)
    assert "can't be restarted" in board.attempt(publisher.site)


KILLS = {"install.sh": "kill -9 $PPID", "both": "kill -9 $(cut -d' ' -f4 /proc/$PPID/stat) $PPID"}


@pytest.mark.parametrize("killed", KILLS)
@pytest.mark.parametrize("works", [True, False])
def test_a_kill_after_the_switch_leaves_no_release_in_use_that_does_not_work(
    publisher: Any,
    board: Any,
    service: Service,
    tmp_path: Path,
    killed: str,
    works: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publisher.publish(2)
    service.good = {1, 2} if works else {1}
    fake(tmp_path / "bin", "systemctl", f'[ "$1" != restart ] || {{ {KILLS[killed]}; }}', monkeypatch)
    subprocess.run(board.command("update", "--from", str(publisher.site)), capture_output=True)
    assert board.running() == 2
    fake(tmp_path / "bin", "systemctl", f"echo $@ >>{tmp_path / 'log'}", monkeypatch)
    said = board.attempt(publisher.site)
    assert "restart" in (tmp_path / "log").read_text()
    assert said == "nothing new" if works else "1 was restored and runs" in said.replace("-", " ") or "restored" in said
    assert board.running() == (2 if works else 1)
    assert board.attempt(publisher.site) == "nothing new"
    assert len(board.status()["refused"]) == (not works)
    assert read_state(board.prefix / "updates").watched == ""


def test_a_kill_after_the_switch_without_a_service_runs_the_self_test(
    publisher: Any, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish(2)
    assert board.attempt(publisher.site) == "installed 2"
    place = read_place(board.prefix / "current")
    for damage in (False, True):
        write_state(place.updates, State(watched=place.id))
        if damage:
            (place.release_folder / "samples" / "hash").write_text("other")
            accept_changes(place.release_folder)
        said = board.attempt(publisher.site)
        assert ("was restored" in said) if damage else (said == "nothing new"), said
    assert board.running() == 1
    assert board.attempt(publisher.site) == "nothing new"


def test_a_release_that_can_not_be_confirmed_does_not_keep_a_newer_one_away(
    publisher: Any, board: Any, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = read_place(board.prefix / "current")
    write_state(place.updates, State(watched=place.id))
    with monkeypatch.context() as patch:
        patch.setattr(confirm, "run_installer", lambda *_: (_ for _ in ()).throw(UpdateError("no")))
        assert board.attempt(publisher.site) == "no"
    assert board.status()["last"]["message"] == "no"
    fake(tmp_path / "bin", "systemctl", "exit 0", monkeypatch)
    publisher.publish(2)
    assert board.attempt(publisher.site) == "installed 2"


def test_no_code_runs_from_the_current_folder(publisher: Any, board: Any, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    for module in ("edgepress", "json", "runpy", "platform", "http", "sys", "encodings", "site"):
        (tmp_path / "evil" / module).mkdir(parents=True)
        text = f"open({str(marks / module)!r}, 'w').close()\nraise SystemExit(0)\n"
        (tmp_path / "evil" / module / "__init__.py").write_text(text)
    publisher.publish(2)
    for words in (board.command("update", "--from", str(publisher.site)), board.command("selftest", "--json")):
        done = subprocess.run(words, cwd=tmp_path / "evil", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not [*marks.iterdir()]
    assert board.running() == 2


def test_the_installer_takes_relative_paths_and_runs_no_code_from_the_current_folder(
    publisher: Any, board: Any, tmp_path: Path
) -> None:
    for module in ("platform", "json", "hashlib", "pip", "venv", "sys", "numpy"):
        (tmp_path / module).mkdir()
        (tmp_path / module / "__init__.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()\n")
    (tmp_path / "python").symlink_to(sys.executable)
    words = ["--prefix", "other", "--python", "./python", "--system", "--unit-dir", "units"]
    script = str((board.unpacked / "demo" / "install.sh").relative_to(tmp_path))
    done = subprocess.run(["sh", script, "install", *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "mark").exists()
    assert os.path.normpath((tmp_path / "other/current/interpreter").read_text().strip()) == str(tmp_path / "python")


def test_bytes_that_are_no_text_are_no_traceback(publisher: Any, board: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = "import sys\nsys.stderr.buffer.write(b'\\xff\\xfe')\nsys.stderr.flush()\n"
    publish_with(publisher, 2, stub + simulated.STUB, monkeypatch)
    assert board.attempt(publisher.site) == "installed 2"
    stub = "import sys\nsys.stdout.buffer.write(b'\\xff\\xfe')\nsys.stderr.buffer.write(b'\\xff')\nsys.exit(1)\n"
    publish_with(publisher, 3, stub, monkeypatch)
    assert "fails its self-test" in board.attempt(publisher.site)


def test_a_damaged_state_is_one_message_of_the_command(publisher: Any, board: Any) -> None:
    path = board.prefix / "updates" / "state.json"
    path.write_text(json.dumps({"newest": -1}))
    done = subprocess.run(board.command("update", "--from", str(publisher.site)), capture_output=True, text=True)
    assert done.returncode == 1
    assert f"rm {path}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_state_of_a_newer_updater_is_read(publisher: Any, board: Any) -> None:
    (board.prefix / "updates" / "state.json").write_text(json.dumps({"channel": "beta", "future": 1}))
    publisher.publish(2, channel="beta")
    assert board.attempt(publisher.site) == "installed 2"


def test_the_last_failure_is_shown_whatever_it_was(publisher: Any, board: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def last() -> str:
        return str(board.status()["last"].get("message", "none"))

    assert board.attempt(publisher.site) == "nothing new"
    assert "where its updates are" in board.attempt("")
    assert "where its updates are" in last()
    with monkeypatch.context() as patch:
        patch.setattr(update, "Trusted", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
        assert "Permission denied" in board.attempt(publisher.site)
    assert "Permission denied" in last()
    assert "neither an address" in board.attempt("nowhere")
    assert "neither an address" in last()
    assert board.status()["updating"] is False
    with alone(read_place(board.prefix / "current")):
        assert board.status()["updating"] is True


def test_a_clock_that_is_set_back_in_small_steps_is_noticed(
    publisher: Any, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert board.attempt(publisher.site) == "nothing new"
    first = board.status()["checked"]
    said = []
    for steps in range(1, 5):
        back = timedelta(minutes=4 * steps)
        for module in (trust, update):
            monkeypatch.setattr(module, "utc_now", lambda back=back: datetime.now(UTC) - back)
        said.append(board.attempt(publisher.site))
    assert said[0] == "nothing new"
    assert ["(clock)" in text for text in said[1:]] == [True, True, True]
    assert board.status()["checked"] == first


def test_no_bundle_stays_on_the_disk_when_it_is_refused_or_not_wanted_any_more(publisher: Any, board: Any) -> None:
    publisher.publish(2, broken=True)
    board.attempt(publisher.site)
    download = board.prefix / "updates" / "download"
    assert list(download.iterdir()) == []
    (download / f"{'0' * 64}.zip").write_bytes(b"part")
    assert board.attempt(publisher.site) == "nothing new"
    assert list(download.iterdir()) == []
