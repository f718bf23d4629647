"""`edgepress play` over HTTP: the answers of `predict`, the test images that differ, and nothing for anybody else."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accepting import ACCEPT
from PIL import Image
from playing_page import Client, fuzz, some_files

from edgepress.runtime import Contract, InputSpec, read_contract
from edgepress.toolkit import convert, predict
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.data.reading import STRICT
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.improvement.playing.choice import choose, find_differences
from edgepress.toolkit.improvement.playing.drawing import draw_item
from edgepress.toolkit.improvement.playing.panel import CRASHES, Panel, decision
from edgepress.toolkit.improvement.playing.play import Site
from edgepress.toolkit.improvement.playing.web import Reply, Request, Server, json_reply, start_server
from edgepress.toolkit.workers.answer import Seen


@pytest.fixture(scope="module")
def files(run: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return some_files(run, tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def running(files: list[Path]) -> Iterator[Any]:
    with fuzz().playing(files) as running:
        yield running


@pytest.fixture(scope="module")
def client(running: Any) -> Client:
    return Client(running.url)


@pytest.fixture(scope="module")
def found(running: Any) -> Any:
    """What it found on the test images."""
    return fuzz().compared(running.url)


@pytest.fixture
def images(pictures: Path) -> list[Path]:
    """A PNG, an array, and a large JPEG in colour."""
    image = Image.open(pictures / "a.png").convert("RGB").resize((700, 500))
    image.save(pictures / "large.jpg", quality=95)
    return [pictures / name for name in ("a.png", "b.npy", "large.jpg")]


@pytest.mark.slow
def test_it_answers_what_predict_answers(client: Client, files: list[Path], images: list[Path]) -> None:
    expected = [predict(file, images, top=3) for file in files]
    shown = [row["file"] for row in client.ask("GET", "/state").json["files"]]
    assert shown == list(map(str, files)), "float32 first, then in the order of the schemes"
    for n, image in enumerate(images):
        answers = client.ask("POST", "/classify?top=3", image.read_bytes()).json["answers"]
        for answer, results in zip(answers, expected, strict=True):
            assert answer["classes"] == [{"label": p.label, "score": p.score} for p in results[n].classes]
            assert answer["answer"] == [results[n].classes[0].label]
            assert answer["runs"] >= 2
            assert answer["latency_us"] > 0
        first = answers[0]["answer"]
        assert [a["differs"] for a in answers] == [a["answer"] != first for a in answers]


def test_the_sentence_says_who_agrees(client: Client, found: Any) -> None:
    item = found["items"][0]
    done = client.ask("POST", f"/test/{item['row']}", b"").json
    said = {str(a["file"]): a["answer"][0] for a in done["answers"]}
    assert said["0"] == item["reference"]
    assert {n: label for n, label in said.items() if label != item["reference"]} == item["others"]
    assert f"answers {item['reference']}; " in done["summary"]
    assert all(f"({label})" in done["summary"] for label in item["others"].values())


def test_test_images_that_differ_are_listed_and_shown(client: Client, found: Any, digits: Any) -> None:
    assert found["state"] == "done"
    assert found["counts"]["2"] > found["counts"]["1"], "the damaged file differs more often than the sound one"
    counted = {n: sum(n in item["others"] for item in found["items"]) for n in found["counts"]}
    assert counted == found["counts"]
    differing = [item for item in found["items"] if item["others"]]
    agreed = [item["row"] for item in found["items"] if not item["others"]]
    assert f"On {len(differing)} of the {len(digits.test)} test images" in found["text"]
    many = [len(item["others"]) for item in found["items"]]
    assert many == sorted(many, reverse=True)
    assert len(agreed) == 24, "some on which none differs are offered, too"
    assert agreed == sorted(agreed)
    assert agreed[-1] - agreed[0] > len(digits.test) / 2, "from the whole split"
    row = differing[-1]["row"]
    assert differing[-1]["label"] == digits.labels[digits.test.y[row]]
    picture = client.ask("GET", f"/test/{row}.png")
    assert picture.headers["Content-Type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(picture.body))), digits.test.read([row])[0, ..., 0])
    unlisted = next(n for n in range(len(digits.test)) if n not in {item["row"] for item in found["items"]})
    assert client.ask("GET", f"/test/{unlisted}.png").status == 404


@pytest.mark.parametrize("shape", [(40, 3), (6, 5, 2)])
def test_windows_of_sensors_are_drawn_and_test_items_offered(shape: tuple[int, ...], tmp_path: Path) -> None:
    import keras

    rng = np.random.default_rng(len(shape))
    x = rng.normal(size=(120, *shape)).astype(np.float32)
    y = rng.integers(0, 3, 120)
    np.savez(tmp_path / "windows.npz", x_train=x[:80], y_train=y[:80], x_test=x[80:], y_test=y[80:])
    layers = [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    variants = convert(
        keras.Sequential(layers), "tflite-float32", data=tmp_path / "windows.npz", out=tmp_path / "files"
    )
    choice = choose([variant.path for variant in variants if variant.path is not None])
    data, _ = choice.open_data(str(tmp_path / "windows.npz"), reading=STRICT)
    panel = Panel(choice)
    try:
        site = Site(panel, find_differences(choice, data))
        listed = asyncio.run(site.handle(Request("GET", "/differences", {}, b"")))
        items = json.loads(listed.body)["items"]
        assert len(items) == 24, "one file can't differ from itself, and there is something to try"
        row = items[7]["row"]
        picture = asyncio.run(site.handle(Request("GET", f"/test/{row}.png", {}, b"")))
        assert picture.body == draw_item(data.test.read([row])[0])
        array = io.BytesIO()
        np.save(array, data.test.read([row])[0])
        asked = [Request("POST", f"/test/{row}", {}, b""), Request("POST", "/classify", {}, array.getvalue())]
        by_row, sent = (json.loads(asyncio.run(site.handle(request)).body) for request in asked)
        assert by_row["answers"][0]["answer"] == sent["answers"][0]["answer"] == [items[7]["reference"]]
        assert base64.b64decode(sent["seen"].partition(",")[2]) == picture.body
    finally:
        panel.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", "/classify", b"no image", {}, 400),
        ("POST", "/classify", b"", {}, 400),
        ("POST", "/classify", b"\x93NUMPY\x01\x00", {}, 400),
        ("POST", "/classify?top=0", b"PNG", {}, 400),
        ("POST", "/classify?top=1e9", b"PNG", {}, 400),
        ("POST", "/test/123456789", b"", {}, 404),
        ("POST", "/state", b"", {}, 404),
        ("GET", "/classify", None, {}, 404),
        ("GET", "/test/0", None, {}, 405),
        ("GET", "/../pyproject.toml", None, {}, 404),
        ("OPTIONS", "/classify", None, {"Origin": "https://evil.example"}, 405),
        ("POST", "/classify", b"PNG", {"Origin": "https://evil.example"}, 403),
        ("POST", "/classify", b"PNG", {"Origin": "null"}, 403),
        ("POST", "/classify", b"PNG", {"Origin": "http://localhost:1"}, 403),
        ("POST", "/classify", b"PNG", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("GET", "/state", None, {"Sec_Fetch_Site": "same-site"}, 403),
        ("GET", "/", None, {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}, 403),
        ("GET", "/", None, {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, 200),
        ("GET", "/", None, {"Host": "evil.example"}, 403),
        ("GET", "/", None, {"Host": "localhost.evil.example"}, 403),
        ("GET", "/", None, {"Host": "localhost:9"}, 200),
        ("POST", "/classify", b"PNG", {"Origin": "http://localhost:9", "Host": "localhost:9"}, 200),
    ],
)
def test_who_and_what_is_refused(
    method: str, path: str, body: bytes | None, headers: dict[str, str], status: int, client: Client, pictures: Path
) -> None:
    body = (pictures / "a.png").read_bytes() if body == b"PNG" else body
    answer = client.ask(method, path, body, **headers)
    assert answer.status == status
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    if status != 200:
        assert answer.json["error"]["message"]


WITHOUT = ("{path}", "/{path}", "/?token={token}", "/{short}{path}", "/{other}{path}", "/{token}", "//{token}{path}")
"""Addresses that do not begin with the token of the page."""


@pytest.mark.parametrize("form", WITHOUT)
def test_nothing_is_answered_without_the_token(form: str, running: Any, pictures: Path) -> None:
    """Every user of this machine can connect, with any headers."""
    token = running.base.strip("/")
    assert len({*token}) > 8
    assert len(token) * 6 >= 128
    other = token[:-1] + ("A" if token[-1] != "A" else "B")
    anyone = Client(f"http://127.0.0.1:{running.port}")
    for method, path in (
        *(
            ("GET", path)
            for path in ("/", "/play.css", "/play.js", "/state", "/differences", "/test/0.png", "/nothing")
        ),
        *(("POST", path) for path in ("/classify", "/classify?quick=1", "/test/0", "/nothing")),
    ):
        address = form.format(path=path, token=token, short=token[:-1], other=other)
        for cookie in ("", f"token={token}"):
            answer = anyone.ask(method, address, (pictures / "a.png").read_bytes(), Cookie=cookie)
            assert answer.status == 403, address
            assert "the address that edgepress play printed" in answer.json["error"]["message"]
            assert token not in f"{answer.body!r}{answer.headers}"
            assert answer.headers["Set-Cookie"] is None


def test_each_start_has_another_token() -> None:
    servers = [Server(lambda request: asyncio.sleep(0, Reply(200, "text/plain", b""))) for _ in range(3)]
    try:
        assert len({server.start(0).split("/")[3] for server in servers}) == 3
    finally:
        for server in servers:
            server.stop()


def test_a_file_that_is_deleted_meanwhile_is_still_listed(run: Any, tmp_path: Path) -> None:
    file = Path(shutil.copy(run.variants["tflite-int8"], tmp_path))
    panel = Panel(choose(file))
    file.unlink()
    (row,) = panel.state()
    assert row["size"]


@pytest.mark.parametrize("problem", [OSError("gone"), ValueError("a bug"), TimeoutError()])
def test_what_goes_wrong_inside_is_answered_and_not_taken_for_a_bad_request(
    problem: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    async def fails(_: Request) -> Reply:
        raise problem

    server = Server(fails)
    try:
        answer = Client(server.start(0)).ask("GET", "/")
    finally:
        server.stop()
    assert answer.status == 500
    assert answer.json["error"]["message"].startswith("Internal error")
    assert type(problem).__name__ in capfd.readouterr().err


def test_a_number_that_is_no_port_is_one_error() -> None:
    server = Server(lambda request: asyncio.sleep(0, Reply(200, "text/plain", b"")))
    with pytest.raises(InputError, match="70000 is not a port number"):
        start_server(server, 70_000)


def test_names_that_are_no_text_can_be_answered() -> None:
    name = os.fsdecode(b"m\xff.tflite") if os.name != "nt" else "m\udcff.tflite"
    assert json.loads(json_reply({"name": name}).body) == {"name": name}


def test_an_image_of_too_many_pixels_is_refused(client: Client) -> None:
    bomb = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(bomb, "PNG")
    answer = client.ask("POST", "/classify", bomb.getvalue())
    assert answer.status == 400
    assert "too large" in answer.json["error"]["message"]


def test_nobody_from_elsewhere_is_let_in(running: Any) -> None:
    import asyncio
    import random

    counts = asyncio.run(fuzz().intrude(running.url, 500, random.Random(1)))
    assert sum(counts.values()) == 500
    assert {kind.split()[1][0] for kind in counts} == {"4"}
    assert {kind.split()[0] for kind in counts} == {
        "host",
        "origin",
        "site",
        "path",
        "method",
        "twice",
        "chunked",
        "token",
    }
    assert running.process.poll() is None


@pytest.mark.slow  # slow clients take their time
def test_five_hundred_hostile_requests_leave_it_as_it_was(running: Any) -> None:
    report = fuzz().assault(running, 500, 0)
    assert not report["violations"], report


def test_a_file_that_crashes_fails_alone_and_is_opened_again_twice(files: list[Path], pictures: Path) -> None:
    panel, image = Panel(choose(files[:2])), (pictures / "a.png").read_bytes()
    try:
        panel.open()
        for crash in range(1, CRASHES + 1):
            worker = panel.players[1]._worker
            assert worker is not None
            os.kill(worker.pid, signal.SIGKILL)
            fine, failed = panel.classify(image, top=1)["answers"]
            assert fine["classes"]
            assert "crashed the process" in failed["error"]["message"]
            assert ("next item" in failed["error"]["hint"]) == (crash < CRASHES)
            again = panel.classify(image, top=1)
            assert ("classes" in again["answers"][1]) == (crash < CRASHES)
        assert "1 file failed." in again["summary"]
    finally:
        panel.close()


@pytest.mark.slow
def test_a_broken_file_is_one_line_beside_the_others(run: Any, tmp_path: Path) -> None:
    shutil.copy(run.variants["tflite-int8"], tmp_path / "fine.tflite")
    (tmp_path / "broken.tflite").write_bytes(run.variants["tflite-float32"].read_bytes()[:20_000])
    with fuzz().playing([tmp_path], "--data", "digits") as running:
        state = Client(running.url).ask("GET", "/state").json
    assert [row["file"] for row in state["files"]] == [str(tmp_path / "fine.tflite")]
    assert [row["name"] for row in state["broken"]] == ["broken.tflite"]
    assert state["broken"][0]["message"]
    assert not state["is_float"]


@pytest.mark.slow
def test_without_test_images_it_plays_and_says_why(run: Any, tmp_path: Path) -> None:
    content = run.variants["onnx-int8"].read_bytes()
    assert content.count(b'"source":"digits"') == 1
    lost = tmp_path / "lost.onnx"
    lost.write_bytes(content.replace(b'"source":"digits"', b'"source":"d/gits"'))
    with fuzz().playing([lost]) as running:
        found = fuzz().compared(running.url)
        state = Client(running.url).ask("GET", "/state")
    assert state.status == 200
    assert found["state"] == "none"
    assert "d/gits" in found["text"]
    assert "--data" in found["text"]


@pytest.mark.slow
def test_ctrl_c_ends_it_and_its_processes(files: list[Path]) -> None:
    import psutil

    with fuzz().playing(files[:2]) as running:
        fuzz().compared(running.url)
        children = psutil.Process(running.process.pid).children(recursive=True)
        assert len(children) >= 2
    assert running.process.returncode == 0
    assert psutil.wait_procs(children, timeout=10)[1] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--port", "PORT"], "is in use"),
        (["--data", "nowhere"], "nowhere"),
        (["--baseline", "tflite-int16x8"], "baseline"),
        (["--engine", "nope"], "nope"),
    ],
)
def test_what_is_wrong_is_one_message(
    options: list[str], said: str, running: Any, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    options = [option.replace("PORT", str(running.port)) for option in options]
    with pytest.raises(SystemExit) as ended:
        main(["play", str(files[0]), "--no-open", *options])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("Error: ") == 1
    assert "Traceback" not in error


def test_more_files_than_can_be_shown_are_refused(run: Any, tmp_path: Path) -> None:
    for n in range(25):
        shutil.copy(run.variants["tflite-int8"], tmp_path / f"{n}.tflite")
    with pytest.raises(InputError, match="25 files"):
        choose(tmp_path)
    assert [shown.name for shown in choose(sorted(tmp_path.iterdir())[:2]).shown] == ["0.tflite", "1.tflite"]


@pytest.mark.parametrize(
    ("task", "threshold", "scores", "answer"),
    [
        ("softmax", None, [0.2, 0.5, 0.3], ["b"]),
        ("multilabel", 0.3, [0.2, 0.5, 0.3], ["b", "c"]),
        ("multilabel", None, [0.2, 0.4, 0.3], []),
    ],
)
def test_what_a_file_decides_for(task: Any, threshold: Any, scores: Any, answer: list[str], files: list[Path]) -> None:
    contract = read_contract(files[0])
    assert isinstance(contract, Contract)
    changed = contract.replace(task=task, threshold=threshold, labels=("a", "b", "c"))
    assert decision(np.array(scores, np.float32), changed) == answer


@pytest.mark.parametrize(
    ("task", "threshold", "first", "second", "summary"),
    [
        ("multilabel", 0.3, [0.9, 0.8, 0.1], [0.8, 0.9, 0.1], "Both files answer a and b."),
        ("multilabel", 0.3, [0.9, 0.8, 0.1], None, "F answers a and b."),
        ("multilabel", 0.3, [0.1, 0.2, 0.1], None, "F answers no label."),
        ("sigmoid", 0.3, [0.65, 0.35], None, "F answers b."),
        ("sigmoid", 0.3, [0.75, 0.25], None, "F answers a (75.0 %)."),
    ],
)
def test_the_sentence_holds_where_a_threshold_decides(
    task: Any, threshold: float, first: list[float], second: Any, summary: str, files: list[Path]
) -> None:
    found = choose(files[0])
    labels = ("a", "b", "c")[: len(first)]
    about = found.reference.about
    about = replace(about, contract=about.contract.replace(task=task, threshold=threshold, labels=labels))
    given = [scores for scores in (first, second) if scores]
    panel = Panel(replace(found, shown=tuple(replace(found.reference, name="F", about=about) for _ in given)))
    for player, scores in zip(panel.players, given, strict=True):
        seen = Seen(np.zeros(1, np.float32), np.array(scores, np.float32), (1000, 2000))
        player.ask = lambda function, job, seen=seen: seen  # type: ignore[method-assign, misc]
    done = panel.answers([b""] * len(given), top=3)
    assert done["summary"] == summary
    assert not any(answer["differs"] for answer in done["answers"])


@pytest.mark.slow
def test_files_without_labels_are_refused(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepress.toolkit.improvement.playing import choice

    describe = choice.describe_files

    def without(*arguments: Any) -> Any:
        found, broken = describe(*arguments)
        none = {"task": "none", "labels": (), "output_shape": (10,)}
        return {p: replace(about, contract=about.contract.replace(**none)) for p, about in found.items()}, broken

    monkeypatch.setattr(choice, "describe_files", without)
    with pytest.raises(EdgepressError, match="has no labels"):
        choose(files[0])


def test_a_calibrated_file_decides_for_unknown_where_it_is_not_sure() -> None:
    contract = Contract(
        task="softmax",
        labels=("a", "b"),
        input=InputSpec(shape=(4,), dtype="float32"),
        scheme="tflite-int8",
        accept=ACCEPT,
    )
    assert decision(np.array([0.99, 0.01], np.float32), contract) == ["a"]
    assert decision(np.array([0.55, 0.45], np.float32), contract) == ["unknown"]
    assert decision(np.array([0.55, 0.45], np.float32), contract.without_limits()) == ["a"]
