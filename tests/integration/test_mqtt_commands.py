"""Commands with `--mqtt`, `--crop`, `--hold` and `--average`: watch, camera, serve and the updater."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from brokers import mosquitto, needs_mosquitto, options
from fake_broker import FakeBroker, unused_port
from PIL import Image
from serving import Running

from edgepress.runtime import frames, mqtt_client
from edgepress.runtime.__main__ import main as command
from edgepress.runtime.crop import read_crop
from edgepress.runtime.errors import MissingExtraError
from edgepress.runtime.image import load_image
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.items import ItemReader
from edgepress.runtime.mqtt import Broker, describe_to_home_assistant

PREFIX = mosquitto.PREFIX


def show(monkeypatch: Any, *shown: Any) -> None:
    """Let the camera deliver these frames, none of which is dropped, and end."""
    monkeypatch.setattr(frames, "camera_frames", lambda device: iter(shown))
    monkeypatch.setattr(frames, "newest", lambda stream: stream)


def test_a_stopped_service_ends_as_by_ctrl_c(run: Any, tmp_path: Path) -> None:
    """`systemctl stop` sends SIGTERM."""
    broker = FakeBroker()
    where = ["--mqtt", f"127.0.0.1:{broker.port}", "--mqtt-topic", PREFIX]
    command = [sys.executable, "-m", "edgepress.runtime", "watch", str(run.variants["tflite-int8"]), str(tmp_path)]
    process = subprocess.Popen([*command, *where])
    mosquitto.wait_until(lambda: bool(broker.connections and len(broker.published()) > 2), "online")
    process.terminate()
    assert process.wait(timeout=20) == 0
    mosquitto.wait_until(lambda: broker.ended[0], "the connection ends")
    assert broker.published()[-1] == (f"{PREFIX}/status", b"offline")


@needs_mosquitto
def test_a_camera_publishes_what_its_lines_say(
    run: Any, digits: Any, broker: Any, subscriber: Any, monkeypatch: Any, capsys: Any
) -> None:
    items = digits.test.read(slice(0, 12))
    show(monkeypatch, *items.repeat(2, axis=0))
    where = ["--mqtt", f"127.0.0.1:{broker.port}", "--mqtt-topic", PREFIX]
    assert command(["camera", str(run.variants["tflite-int8"]), *where, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    events = [line["event"] for line in lines if "event" in line]
    assert 0 < len(events) <= 12, "an event is a change"
    assert all(event["queued"] for event in events)
    mosquitto.wait_until(lambda: subscriber.statuses[-1:] == ["offline"], "the end is said")
    mosquitto.wait_until(lambda: set(subscriber.events) == {event["id"] for event in events}, "all arrive")
    assert subscriber.documents[f"{PREFIX}/state"] == {k: v for k, v in events[-1].items() if k != "queued"}
    topic, discovery = describe_to_home_assistant(PREFIX, run.variants["tflite-int8"].name, drift=False)
    assert subscriber.documents[topic] == json.loads(discovery)


def test_a_held_mean_shapes_lines_without_a_broker(run: Any, digits: Any, monkeypatch: Any, capsys: Any) -> None:
    one, other = digits.test.read(slice(0, 2))
    show(monkeypatch, *[one] * 6, other, *[one] * 3)
    assert command(["camera", str(run.variants["tflite-int8"]), "--average", "5", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [("event" in line) for line in lines] == [True] + [False] * 9, "a single frame changes no mean of five"
    assert {line["state"] for line in lines} == {lines[0]["classes"][0]["label"]}
    show(monkeypatch, one)
    assert command(["camera", str(run.variants["tflite-int8"]), "--hold", "1h", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] is None


def test_a_crop_is_what_is_classified_and_kept(
    run: Any, digits: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    item = digits.test.read(slice(0, 1))[0]
    frame = np.zeros((100, 100, 1), np.uint8)
    frame[30:58, 60:88] = item
    kept = tmp_path / "kept"
    answers = []
    for shown, more in ((item, []), (frame, ["--crop", "60,30%,28,28%", "--keep", str(kept)])):
        show(monkeypatch, shown)
        assert command(["camera", str(run.variants["tflite-int8"]), *more, "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out)["classes"])
    assert answers[0] == answers[1]
    (picture,) = kept.glob("*.png")
    assert Image.open(picture).size == (28, 28)


@pytest.mark.parametrize("kind", ["array", "file"])
def test_a_part_of_the_models_size_goes_through_its_rule(kind: str, tmp_path: Path) -> None:
    """As a picture of that size does; it is not an array that was prepared already."""
    spec = InputSpec.image(24, 24, "rgb", "crop:0.5")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    contract = SimpleNamespace(input=spec, item_by_item=False)
    session = SimpleNamespace(contract=contract, shape=spec.shape, dtype=np.uint8, scale=1, batch=1)
    reader = ItemReader(tmp_path, session)  # type: ignore[arg-type]
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    item, _ = reader.prepare_part(pixels if kind == "array" else written.getvalue(), read_crop("8,8,24,24"))
    np.testing.assert_array_equal(item, load_image(Image.fromarray(pixels[8:32, 8:32]), spec))
    assert (item != pixels[8:32, 8:32]).any()


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (
            ["--crop", "90,90,20,20"],
            1,
            "The crop 90,90,20,20 is not a part of an image of 28x28 pixels",
        ),
        (["--crop", "1,2"], 2, "is not a crop; accepted: x,y,width,height in pixels or percent"),
        (["--mqtt-topic", "a"], 2, "--mqtt-topic is for --mqtt"),
        (["--no-discovery"], 2, "--no-discovery is for --mqtt"),
        (["--crop", "60%,0,60%,100%"], 2, "is within no frame"),
        (["--mqtt", "mqtt://user:secret@host"], 1, "is not the address of an MQTT broker"),
        (["--mqtt", "host", "--mqtt-topic", "a/#"], 1, "can't begin a topic"),
        (["--mqtt", "host", "--mqtt-login", "missing"], 1, "missing can't be read: No such file"),
        (["--hold", "soon"], 2, "'soon' is not a duration"),
        (["--average", "0"], 1, "The mean is over 0 frames"),
    ],
)
def test_what_can_not_be_used_is_an_error(
    given: list[str], code: int, message: str, run: Any, digits: Any, monkeypatch: Any, capsys: Any
) -> None:
    show(monkeypatch, digits.test.read(slice(0, 1))[0])
    try:
        exit_code = command(["camera", str(run.variants["tflite-int8"]), *given])
    except SystemExit as ended:
        exit_code = int(ended.code or 0)
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert exit_code == code


def test_holding_is_for_mqtt_where_many_ask(run: Any, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        command(["serve", str(run.variants["tflite-int8"]), "--port", "0", "--hold", "2s"])
    assert "--hold and --average of serve are for --mqtt" in capsys.readouterr().err


def test_without_the_package_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(MissingExtraError, match=r"--mqtt needs the package paho-mqtt.*pip install 'edgepress\[mqtt\]'"):
        Broker(options(1), str)


def test_in_a_bundle_the_message_says_how_to_make_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    monkeypatch.setattr(mqtt_client, "__file__", str(tmp_path / "edgepress" / "runtime" / "mqtt.py"))
    (tmp_path / "MANIFEST.json").write_text("{}")
    with pytest.raises(MissingExtraError, match="Make the bundle with: edgepress bundle --mqtt"):
        Broker(options(1), str)


def test_the_package_is_loaded_with_the_option_only() -> None:
    code = (
        "import sys; import edgepress.runtime.__main__, edgepress.runtime.streams, edgepress.runtime.events;"
        "sys.exit('paho' in sys.modules or 'edgepress.runtime.mqtt' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@needs_mosquitto
def test_a_server_publishes_and_says_when_it_ends(run: Any, pictures: Path, broker: Any, subscriber: Any) -> None:
    where = ["--mqtt", f"127.0.0.1:{broker.port}", "--mqtt-topic", PREFIX]
    server = Running(run.variants["tflite-int8"], *where)
    for _ in range(3):
        _, answer, _ = server.ask("POST", "/classify", (pictures / "a.png").read_bytes())
    assert "event" not in answer
    assert answer["state"] == answer["classes"][0]["label"]
    server.end()
    mosquitto.wait_until(lambda: subscriber.statuses == ["online", "offline"], "the end is said")
    assert len(subscriber.events) == 1, "three pictures of one label are one event"
    assert subscriber.documents[f"{PREFIX}/state"]["label"] == answer["state"]


@needs_mosquitto
def test_the_updater_publishes_its_status(board: Any, publisher: Any, broker: Any, subscriber: Any) -> None:
    """After an update that finds nothing, and again with `status`; a broker that is away fails only `status`."""
    where = ["--mqtt", f"127.0.0.1:{broker.port}", "--mqtt-topic", PREFIX]
    arguments = ["update", "--from", str(publisher.site)]
    done = subprocess.run(board.command(*arguments, *where), capture_output=True, text=True)
    assert done.returncode == 0
    assert "not published" not in done.stderr
    mosquitto.wait_until(lambda: f"{PREFIX}/update" in subscriber.documents, "the status")
    assert subscriber.documents[f"{PREFIX}/update"]["last"]["result"] == "nothing new"
    done = subprocess.run(board.command("status", "--json", *where), capture_output=True, text=True)
    assert json.loads(done.stdout) == subscriber.documents[f"{PREFIX}/update"]
    nowhere = ["--mqtt", f"127.0.0.1:{unused_port()}"]
    done = subprocess.run(board.command("status", *nowhere), capture_output=True, text=True)
    assert done.returncode == 1
    assert "the status was not published: the MQTT broker 127.0.0.1:" in done.stderr
    done = subprocess.run(board.command(*arguments, *nowhere), capture_output=True, text=True)
    assert done.returncode == 0
    assert "the status was not published" in done.stderr
