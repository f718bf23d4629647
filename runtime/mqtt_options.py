"""How to reach an MQTT broker, as the command line says it."""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.runtime.errors import InputError, reason_of
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.text import one_line

if TYPE_CHECKING:
    import argparse

PLAIN_PORT = 1883
"""Port of a broker."""
TLS_PORT = 8883
"""Port of a broker with TLS."""
MAX_LOGIN_BYTES = 4096
"""Most bytes of a file with a login."""
MOST_STRING_BYTES = (1 << 16) - 1
"""Most bytes of a string in a packet of MQTT."""
USER = "EDGEPRESS_MQTT_USER"
"""Environment variable with the name at the broker."""
PASSWORD = "EDGEPRESS_MQTT_PASSWORD"
"""Environment variable with the password."""


@dataclass(frozen=True, kw_only=True)
class BrokerOptions:
    """How to reach a broker.

    Attributes:
        address: HOST or HOST:PORT; an IPv6 address in brackets.
        prefix: What topics begin with; empty: `edgepress/` and this machine's name.
        login: A file with the name and the password, one a line, that only its owner can read; None: see `USER`.
        tls: Whether to use TLS, with the certificates that OpenSSL trusts (its variable SSL_CERT_FILE names others).
    """

    address: str
    prefix: str = ""
    login: Path | None = None
    tls: bool = False


def add_mqtt_options(option: Callable[..., Any], what: str) -> None:
    """Add the options that say how to reach an MQTT broker; `what` it is for."""
    option("--mqtt", metavar="HOST[:PORT]", help=what)
    option("--mqtt-topic", metavar="PREFIX", help="with --mqtt: what topics begin with; default: edgepress/HOSTNAME")
    what = "with --mqtt: a file with name and password, one a line, that only you can read; or set EDGEPRESS_MQTT_USER "
    option("--mqtt-login", type=Path, metavar="FILE", help=f"{what}and EDGEPRESS_MQTT_PASSWORD")
    what = "with --mqtt: TLS; SSL_CERT_FILE names certificates of your own"
    option("--mqtt-tls", action="store_true", help=what)


def misused_mqtt_option(args: argparse.Namespace) -> str:
    """What is wrong with options that need `--mqtt`; empty if nothing is."""
    options = [name for name in ("mqtt_topic", "mqtt_login", "mqtt_tls") if getattr(args, name, None)]
    if options and args.mqtt is None:
        return f"--{options[0].replace('_', '-')} is for --mqtt"
    return ""


def broker_options(args: argparse.Namespace) -> BrokerOptions:
    """The options of a command line (`add_mqtt_options`)."""
    return BrokerOptions(address=args.mqtt, prefix=args.mqtt_topic or "", login=args.mqtt_login, tls=args.mqtt_tls)


def read_address(text: str, *, tls: bool) -> tuple[str, int]:
    """Host and port of `HOST[:PORT]`.

    Raises:
        InputError: It is something else.
    """
    match = re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?", text)
    port = int(match[2] or (TLS_PORT if tls else PLAIN_PORT)) if match else 0
    try:
        known = match is not None and bool(match[1].encode("idna"))  # as a connection does it, later and in a thread
    except UnicodeError:
        known = False
    if match is None or not known or not 0 < port < 1 << 16:
        problem = "What --mqtt names is not the address of an MQTT broker."  # not shown: it may hold a password
        hint = "Accepted: HOST or HOST:PORT, such as 192.168.1.5:1883 or [fd00::5]; no login, no zone (%eth0)."
        raise InputError(problem, hint)
    return match[1].strip("[]"), port


def read_prefix(text: str) -> str:
    """The beginning of topics: `text`, or one with this machine's name if it is empty.

    Raises:
        InputError: A part of it is empty or has other characters than letters, digits, _ and -.
    """
    if not text:
        import socket  # takes long to load on a board, and only MQTT needs it

        text = f"edgepress/{re.sub('[^A-Za-z0-9_-]', '-', socket.gethostname().partition('.')[0]) or 'board'}"
    if not re.fullmatch(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*", text) or len(text) > 100:
        problem = f"{one_line(text, 100)!r} can't begin a topic."
        raise InputError(
            problem, "Accepted: letters, digits, _ and -, in parts joined by /, such as edgepress/kitchen."
        )
    return text


def read_login(path: Path | None) -> tuple[str | None, str | None]:
    """Name and password at the broker, from a file or else the environment; None where there is none.

    Raises:
        InputError: MQTT can't send the login, or the file can't be read, or others than its owner may read it. Those of
            systemd's LoadCredential= are accepted: root's, mode 0440, where the group's bits stand for the one user of
            the service (acl(5)).
    """
    if path is None:
        user, password = os.environ.get(USER), os.environ.get(PASSWORD)
        if password and not user:
            raise InputError(f"{PASSWORD} is set, but {USER} is not.", "MQTT has no password without a name: set both.")
        name = _sendable(os.fsencode(user), f"the name in {USER}") if user else None
        return name, None if password is None else _sendable(os.fsencode(password), f"the password in {PASSWORD}")
    try:
        with open_regular(path) as file:
            about = os.fstat(file.fileno())
            lines = file.read(MAX_LOGIN_BYTES + 1).removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").split(b"\n")
    except OSError as e:
        raise InputError(f"{path} can't be read: {e.strerror or reason_of(e)}.") from e
    given_by_systemd = about.st_uid == 0 and stat.S_IMODE(about.st_mode) == 0o440
    if os.name == "posix" and about.st_mode & 0o077 and not given_by_systemd:
        raise InputError(f"{path} can be read by others.", f"Keep it to yourself: chmod 600 {path}")
    if about.st_size > MAX_LOGIN_BYTES:
        raise InputError(f"{path} is not a login: it has {about.st_size} bytes; accepted: {MAX_LOGIN_BYTES} at most.")
    first, *others = [line.removesuffix(b"\r") for line in lines]
    if not first or len(others) > 1:
        raise InputError(f"{path} is not a login.", "Accepted: the name in the first line, the password in the second.")
    return _sendable(first, f"the name in {path}"), _sendable(others[0], f"the password in {path}") if others else None


def _sendable(encoded: bytes, what: str) -> str:
    """The text.

    Raises:
        InputError: It is not a string of MQTT (3.1.1, 1.5.3): UTF-8 of at most 65,535 bytes without U+0000.
    """
    try:
        text = encoded.decode()
    except UnicodeDecodeError as e:
        raise InputError(f"MQTT can't send {what}: it is not UTF-8.") from e
    if len(encoded) > MOST_STRING_BYTES or b"\0" in encoded:
        reason = f"it has {len(encoded)} bytes" if len(encoded) > MOST_STRING_BYTES else "it has a character U+0000"
        raise InputError(f"MQTT can't send {what}: {reason}.")
    return text
