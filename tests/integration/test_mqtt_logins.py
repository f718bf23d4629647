"""Addresses, logins and TLS of an MQTT broker."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from brokers import mosquitto, needs_mosquitto, options

from edgepress.runtime import mqtt
from edgepress.runtime.errors import InputError
from edgepress.runtime.mqtt import Broker, publish_once
from edgepress.runtime.mqtt_options import PASSWORD, USER, read_address, read_login, read_prefix


def test_addresses() -> None:
    assert read_address("broker.local", tls=False) == ("broker.local", 1883)
    assert read_address("broker.local", tls=True) == ("broker.local", 8883)
    assert read_address("[::1]:99", tls=False) == ("::1", 99)
    with pytest.raises(InputError, match=r"no zone \(%eth0\)"):
        read_address("[fe80::1%eth0]", tls=False)
    for text in ("", "a b", "host:0", "host:70000", "::1", "a..b", "x" * 64, "user@host", "h\n"):
        with pytest.raises(InputError, match="is not the address of an MQTT broker"):
            read_address(text, tls=False)


def test_topics_are_of_safe_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "küche#1.home")
    assert read_prefix("") == "edgepress/k-che-1"
    assert read_prefix("a/b-c_1") == "a/b-c_1"
    for text in ("/a", "a/", "a//b", "a/+", "a/#", "ä", "a\n", "$SYS/a", "x" * 101):
        with pytest.raises(InputError, match="can't begin a topic"):
            read_prefix(text)


def test_a_login_is_read_from_a_file_of_ones_own_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "login"
    file.write_text("anna\nsecret\n")
    file.chmod(0o600)
    assert read_login(file) == ("anna", "secret")
    for mode in (0o640, 0o444, 0o604):
        file.chmod(mode)
        with pytest.raises(InputError, match="can be read by others"):
            read_login(file)
    file.chmod(0o440)
    about = os.stat_result((stat.S_IFREG | 0o440, 0, 0, 1, 0, 0, 12, 0, 0, 0))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", lambda number: about)
        assert read_login(file) == ("anna", "secret"), "a credential of systemd"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="it is a pipe, a socket or a device"):
        read_login(tmp_path / "pipe")
    file.chmod(0o600)
    file.write_text("anna\nsecret\nmore\n")
    with pytest.raises(InputError, match="is not a login"):
        read_login(file)
    assert read_login(None) == (None, None)
    monkeypatch.setenv(USER, "anna")
    monkeypatch.setenv(PASSWORD, "secret")
    assert read_login(None) == ("anna", "secret")


@pytest.mark.parametrize(
    ("content", "login"),
    [
        ("\ufeffanna\r\nsecret\r\n", ("anna", "secret")),
        ("anna", ("anna", None)),
        ("anna\nse\u2028cr\x0cet", ("anna", "se\u2028cr\x0cet")),
        ("anna\n" + "x" * 4096, "it has 4101 bytes; accepted: 4096 at most"),
        ("an\0na\nsecret", "MQTT can't send the name in .*: it has a character U\\+0000"),
        ("\nsecret\n", "is not a login"),
    ],
    ids=["of Windows", "a name alone", "other separators", "long", "zero", "no name"],
)
def test_a_login_is_as_it_is_written_or_refused(content: str, login: Any, tmp_path: Path) -> None:
    file = tmp_path / "login"
    file.write_bytes(content.encode())
    file.chmod(0o600)
    if isinstance(login, tuple):
        assert read_login(file) == login
        return
    with pytest.raises(InputError, match=login):
        read_login(file)


@pytest.mark.parametrize(
    ("user", "password", "message"),
    [
        (b"an\xffna", b"secret", f"MQTT can't send the name in {USER}: it is not UTF-8"),
        (b"anna", b"\xff", f"MQTT can't send the password in {PASSWORD}: it is not UTF-8"),
        (b"x" * 65536, b"", "it has 65536 bytes"),
        (b"", b"secret", f"{PASSWORD} is set, but {USER} is not"),
    ],
)
def test_a_login_of_the_environment_that_mqtt_can_not_send_is_refused(
    user: bytes, password: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else paho's thread would end, or the broker would be told half of it."""
    monkeypatch.setenv(USER, os.fsdecode(user))
    monkeypatch.setenv(PASSWORD, os.fsdecode(password))
    with pytest.raises(InputError, match=message):
        read_login(None)


@needs_mosquitto
def test_a_refused_login_is_said(broker: Any, tmp_path: Path) -> None:
    """A broker that lets nobody in."""
    folder = tmp_path / "closed"
    folder.mkdir()
    closed = mosquitto.Mosquitto(folder, anonymous=False)
    closed.start()
    said: list[str] = []
    client = Broker(options(closed.port), said.append)
    client.start()
    mosquitto.wait_until(lambda: bool(said), "it is said")
    client.close()
    closed.kill()
    assert said[0] == f"MQTT broker 127.0.0.1:{closed.port} refuses the connection: Not authorized."


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    pem = serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, pem, serialization.NoEncryption()))
    return certificate, private


@needs_mosquitto
def test_tls_checks_the_certificate_and_a_login_lets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, private = self_signed(tmp_path)
    passwords = tmp_path / "passwords"
    program = str(Path(mosquitto.PROGRAM).parents[1] / "bin" / "mosquitto_passwd")
    subprocess.run([program, "-b", "-c", str(passwords), "anna", "secret"], check=True, capture_output=True)
    login = tmp_path / "login"
    login.write_text("anna\nsecret\n")
    login.chmod(0o600)
    folder = tmp_path / "broker"
    folder.mkdir()
    more = f"certfile {certificate}\nkeyfile {private}\npassword_file {passwords}\n"
    secure = mosquitto.Mosquitto(folder, anonymous=False, more=more)
    secure.start()
    address = options(secure.port, login=login, tls=True)
    said: list[str] = []
    client = Broker(address, said.append)
    client.start()
    mosquitto.wait_until(lambda: bool(said), "it is said")
    client.close()
    assert said[0].endswith("can't be reached or its certificate is not trusted; it is tried again.")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    publish_once(address, "update", {})
    monkeypatch.setattr(mqtt, "END_S", 0.5)
    login.write_text("anna\nwrong\n")
    with pytest.raises(OSError, match=r"did not acknowledge it\. Is the login right"):
        publish_once(address, "update", {})
    secure.kill()
