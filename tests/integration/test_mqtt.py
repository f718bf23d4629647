"""`--mqtt` against mosquitto on loopback: nothing promised is lost, and what is wrong is said."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from brokers import mosquitto, needs_mosquitto, options
from PIL import Image
from serving import Running

from edgepress.runtime import frames, mqtt, mqtt_client
from edgepress.runtime.__main__ import main as command
from edgepress.runtime.crop import read_crop
from edgepress.runtime.errors import MissingExtraError
from edgepress.runtime.image import load_image
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.items import ItemReader
from edgepress.runtime.mqtt import NO_STATE, Broker, describe_to_home_assistant, publish_once

PREFIX = mosquitto.PREFIX


@needs_mosquitto
def test_what_is_promised_while_the_broker_is_away_arrives(
    broker: Any, subscriber: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "LEAST_RETRY_S", 0)
    said: list[str] = []
    client = Broker(options(broker.port), said.append)
    client.start()
    mosquitto.wait_until(lambda: subscriber.statuses == ["online"], "online")
    assert client.publish({"id": "1"})
    mosquitto.wait_until(lambda: not client.waiting, "acknowledged")
    broker.kill()
    assert all(client.publish({"id": str(number)}) for number in range(2, 30))
    assert client.waiting >= 28
    broker.start()
    mosquitto.wait_until(lambda: len(subscriber.events) == 29, "all arrive")
    mosquitto.wait_until(lambda: subscriber.documents.get(f"{PREFIX}/state") == {"id": "29"}, "the state is the last")
    client.close()
    mosquitto.wait_until(lambda: subscriber.statuses[-1] == "offline", "the end is said")
    assert any("events wait" in sentence for sentence in said)
    assert not any("not acknowledged" in sentence for sentence in said)


def test_what_does_not_fit_is_dropped_counted_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a broker; publishing blocks nothing."""
    monkeypatch.setattr(mqtt, "QUEUE", 3)
    said: list[str] = []
    client = Broker(options(unused_port()), said.append)
    client.start()
    assert [client.publish({"id": str(number)}) for number in range(5)] == [True] * 3 + [False] * 2
    assert (client.queued, client.dropped, client.waiting) == (3, 2, 3)
    client.close()
    assert any("3 events wait, so further ones are dropped" in sentence for sentence in said)
    assert said[-1] == "MQTT: 3 events were not acknowledged by the broker, 2 were dropped, of 5."


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


WAIT = """
import sys, time
from edgepress.runtime.mqtt import Broker
from edgepress.runtime.mqtt_options import BrokerOptions
Broker(BrokerOptions(address=sys.argv[1], prefix=sys.argv[2]), print).start()
time.sleep(60)
"""


@needs_mosquitto
def test_the_last_will_of_a_killed_process_is_offline(broker: Any, subscriber: Any) -> None:
    process = subprocess.Popen([sys.executable, "-c", WAIT, f"127.0.0.1:{broker.port}", PREFIX])
    mosquitto.wait_until(lambda: subscriber.statuses == ["online"], "online")
    process.send_signal(signal.SIGKILL)
    process.wait()
    mosquitto.wait_until(lambda: subscriber.statuses == ["online", "offline"], "the will")


def show(monkeypatch: Any, *shown: Any) -> None:
    """Let the camera deliver these frames, none of which is dropped, and end."""
    monkeypatch.setattr(frames, "camera_frames", lambda device: iter(shown))
    monkeypatch.setattr(frames, "newest", lambda given: given)


class FakeBroker:
    """Does what mosquitto never does; a connection of a client is a list of its packets, as (first byte, rest).

    Args:
        connack: What the answer to CONNECT says; 0: welcome; None: the connection ends without one.
        acknowledges: Whether it acknowledges what has QoS 1.
        first: What it sends to its first client after that.
        reads: Set while it reads; None: always.
        ends: Whether it ends each connection after its first answer.
    """

    def __init__(
        self,
        *,
        connack: int | None = 0,
        acknowledges: bool = True,
        first: bytes = b"",
        reads: threading.Event | None = None,
        ends: bool = False,
    ) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.connections: list[list[tuple[int, bytes]]] = []
        self.ended: list[bool] = []
        self._connack, self._acknowledges, self._first = connack, acknowledges, first
        self._reads, self._ends = reads, ends
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            self.connections.append([])
            self.ended.append(False)
            with connection, connection.makefile("rb") as file, suppress(OSError, IndexError):
                self._answer(connection, file)
            self.ended[-1] = True

    def _answer(self, connection: socket.socket, file: Any) -> None:
        while head := file.read(1):
            length = shift = 0
            while (byte := file.read(1)[0]) & 128:
                length |= (byte & 127) << shift
                shift += 7
            body = file.read(length | byte << shift)
            self.connections[-1].append((head[0], body))
            if head[0] == 0x10:
                if self._connack is None:
                    return
                connection.sendall(bytes((0x20, 2, 0, self._connack)) + self._first)
                self._first = b""
                if self._connack or self._ends:
                    return
                if self._reads is not None:
                    self._reads.wait()
            elif head[0] >> 4 == 3 and head[0] & 6 and self._acknowledges:
                begin = 2 + int.from_bytes(body[:2], "big")
                connection.sendall(b"\x40\x02" + body[begin : begin + 2])

    def published(self, number: int = -1) -> list[tuple[str, bytes]]:
        """Topics, and what follows them, of a connection, the last one by default."""
        found = []
        for head, body in self.connections[number]:
            if head >> 4 == 3:
                end = 2 + int.from_bytes(body[:2], "big")
                found.append((body[2:end].decode(), body[end + 2 * bool(head & 6) :]))
        return found


def test_a_broker_that_acknowledges_nothing_tells_the_will(monkeypatch: pytest.MonkeyPatch) -> None:
    """More wait than are in flight at a time, so `offline` would, too, and DISCONNECT would discard the will."""
    monkeypatch.setattr(mqtt, "END_S", 0.2)
    broker = FakeBroker(acknowledges=False)
    client = Broker(options(broker.port), str)
    client.start()
    mosquitto.wait_until(lambda: bool(broker.connections and broker.published()), "online")
    for number in range(60):
        client.publish({"id": str(number)})
    client.close()
    mosquitto.wait_until(lambda: broker.ended[0], "the connection ends")
    assert 0xE0 not in {head for head, _ in broker.connections[0]}
    assert len(broker.connections) == 1


@pytest.mark.slow
def test_a_run_that_ends_before_it_is_connected_delivers_its_events() -> None:
    for _ in range(10):
        broker = FakeBroker()
        client = Broker(options(broker.port), str)
        client.start()
        client.publish({"id": "1"})
        client.close()
        assert client.waiting == 0
        assert broker.published()[-1] == (f"{PREFIX}/status", b"offline")
        mosquitto.wait_until(lambda broker=broker: broker.ended[0], "the connection ends")  # type: ignore[misc]
        assert len(broker.connections) == 1


def test_a_run_without_a_broker_does_not_wait_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "END_S", 3600.0)
    said: list[str] = []
    client = Broker(options(unused_port()), said.append)
    client.start()
    client.publish({"id": "1"})
    client.close()
    assert "can't be reached" in said[0]
    assert "1 events were not acknowledged" in said[1]


def test_the_state_is_unknown_before_the_board_is_online() -> None:
    """What was retained is of a former run."""
    broker = FakeBroker()
    client = Broker(options(broker.port), str)
    client.start()
    mosquitto.wait_until(lambda: bool(broker.connections and len(broker.published()) > 1), "online")
    (state, document), status = broker.published()[:2]
    assert (state, json.loads(document)) == (f"{PREFIX}/state", NO_STATE)
    assert status == (f"{PREFIX}/status", b"online")
    client.close()
    mosquitto.wait_until(lambda: broker.ended[0], "the connection ends")
    assert broker.published()[-1] == (f"{PREFIX}/status", b"offline")
    assert broker.connections[0][-1][0] == 0xE0


def test_an_acknowledgement_while_the_end_is_said_blocks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """paho calls back under the lock of its messages, which `publish` takes for what is acknowledged, too."""
    monkeypatch.setattr(mqtt, "END_S", 0.2)
    broker = FakeBroker(acknowledges=False)
    client = Broker(options(broker.port), str)
    paho = client._client
    client.start()
    mosquitto.wait_until(lambda: bool(broker.connections and broker.published()), "online")
    publish = paho.publish
    called_back: list[bool] = []

    def publish_at_an_acknowledgement(topic: str, payload: str, qos: int = 0, retain: bool = False) -> Any:
        if payload == "offline" and not called_back:
            callback = threading.Thread(target=paho.on_publish, args=(paho, None, 0, None, None), daemon=True)
            callback.start()
            callback.join(5)
            called_back.append(not callback.is_alive())
        return publish(topic, payload, qos, retain)

    monkeypatch.setattr(paho, "publish", publish_at_an_acknowledgement)
    client.close()
    assert called_back == [True]


def test_a_refusal_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "LEAST_RETRY_S", 0)
    broker = FakeBroker(connack=5)
    said: list[str] = []
    client = Broker(options(broker.port), said.append)
    client.start()
    mosquitto.wait_until(lambda: len(broker.connections) > 3, "three retries")
    client.close()
    assert said == [f"MQTT broker 127.0.0.1:{broker.port} refuses the connection: Not authorized."]


@pytest.mark.parametrize(
    "packet",
    [
        b"\x30\xff\xff\xff\x7f\x00\x01a" + bytes(1 << 20),
        b"\x30\x04\x00\x01ab",
        b"\x30\x01\x00",
        b"\x90\x00",
        b"\xc0\x00",
        b"\x62\x02\x00\x01",
        b"\x20\x02\x00\x00",
        b"\x4f\x02\x00\x01",
    ],
    ids=["endless", "message", "cut off", "no subscription", "ping", "released", "connected again", "wrong flags"],
)
def test_a_broker_that_sends_what_was_not_asked_for_is_left(packet: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its packet, here of 256 MB, is in memory; then it is another try."""
    monkeypatch.setattr(mqtt, "LEAST_RETRY_S", 0)
    broker = FakeBroker(first=packet)
    said: list[str] = []
    client = Broker(options(broker.port), said.append)
    client.start()
    mosquitto.wait_until(lambda: len(broker.connections) == 2, "another try")
    client.publish({"id": "1"})
    mosquitto.wait_until(lambda: not client.waiting, "acknowledged")
    client.close()
    assert len(client._client._in_packet["packet"]) < 1000
    assert len(said) == 2, "it is connected, and away"


def test_a_broker_that_ends_without_an_answer_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one for TLS alone."""
    monkeypatch.setattr(mqtt, "LEAST_RETRY_S", 0)
    broker = FakeBroker(connack=None)
    said: list[str] = []
    client = Broker(options(broker.port), said.append)
    client.start()
    mosquitto.wait_until(lambda: len(broker.connections) > 3, "three retries")
    client.close()
    where = f"MQTT broker 127.0.0.1:{broker.port}"
    assert said == [f"{where} ends the connection without an answer; it is tried again. Does it need --mqtt-tls?"]


def test_of_a_state_only_the_newest_waits_for_a_broker_that_does_not_read() -> None:
    reads = threading.Event()
    broker = FakeBroker(reads=reads)
    client = Broker(options(broker.port), str)
    client.start()
    mosquitto.wait_until(client._client.is_connected, "connected")
    for number in range(100):
        client.retain(f"{PREFIX}/state", f"{number}:" + "x" * 100_000)
    assert len(client._client._out_packet) < 60, "the buffers of the system take some"
    reads.set()
    last = (f"{PREFIX}/state", b"99:" + b"x" * 100_000)
    mosquitto.wait_until(lambda: last in broker.published(), "the newest state")
    client.close()
    states = [body for topic, body in broker.published() if topic == last[0]]
    assert states[-1] == last[1]


def test_availability_waits_once_for_a_broker_that_leaves_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "LEAST_RETRY_S", 0)
    monkeypatch.setattr(mqtt, "END_S", 0.1)
    broker = FakeBroker(ends=True)
    client = Broker(options(broker.port), str)
    client.start()
    mosquitto.wait_until(lambda: len(broker.connections) > 5, "five retries")
    waiting = len(client._client._out_messages)
    client.close()
    assert waiting <= 1


def test_two_prefixes_are_two_devices_in_home_assistant() -> None:
    names = [describe_to_home_assistant(prefix, "m", drift=False)[0] for prefix in ("edgepress/a_b", "edgepress/a/b")]
    assert len({*names}) == 2
    assert describe_to_home_assistant("kitchen", "m", drift=False)[0] == "homeassistant/device/kitchen/config"


def test_home_assistant_keeps_the_score_at_an_event_of_drift() -> None:
    """Its templates are those of jinja2; None is unknown there, and what is empty changes nothing."""
    jinja2 = pytest.importorskip("jinja2")
    document = json.loads(describe_to_home_assistant("kitchen", "m", drift=True)[1])
    template = jinja2.Template(document["components"]["score"]["value_template"])
    states = ({"score": 0.1234}, {"what": "drift"}, NO_STATE)
    assert [template.render(value_json=state) for state in states] == ["12.3", "", "None"]


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
    """As a picture of that size does; it is no array that was prepared already."""
    spec = InputSpec.image(24, 24, "rgb", "crop:0.5")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    contract = SimpleNamespace(input=spec, item_by_item=True)
    session = SimpleNamespace(contract=contract, shape=spec.shape, dtype=np.uint8, scale=1)
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
        found = command(["camera", str(run.variants["tflite-int8"]), *given])
    except SystemExit as ended:
        found = int(ended.code or 0)
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert found == code


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
def test_a_status_is_retained(broker: Any, subscriber: Any) -> None:
    publish_once(options(broker.port), "update", {"release": 2})
    mosquitto.wait_until(lambda: subscriber.documents.get(f"{PREFIX}/update") == {"release": 2}, "the status")
    assert subscriber.statuses == []


def test_a_status_without_a_broker_is_an_error() -> None:
    with pytest.raises(OSError, match="can't be reached"):
        publish_once(options(unused_port()), "update", {})


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
