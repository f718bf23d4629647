"""Run commands on a board over ssh, with the OpenSSH client and the user's keys, configuration and known hosts.

All commands share one connection per board (a private ControlMaster), so each costs a round trip, no login; the ssh of
Windows cannot share one, so each command logs in there. There are no prompts, and host keys are always checked: if ssh
would need input, the error says what to do once by hand. If the connection is lost, the running command fails with
`LostError`; there is no automatic reconnection.

    >>> with Connection("pi@kitchen") as board:                     # doctest: +SKIP
    ...     board.run(["uname", "-m"]).decode().strip()
    'aarch64'
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from edgepress.converters.process.scratch import ScratchFolder
from edgepress.toolkit.errors import BoardError, InputError, LostError
from edgepress.toolkit.shipping.boards.limited import Limited

CONNECT_S = 15
"""Time limit for a connection, seconds."""
MOST_BYTES = 1 << 20
"""Limit on what a program on a board may write; boards are not trusted."""
LOST_FAILURE = 255
"""Exit code of ssh if it failed itself. A remote command with this code is also treated as a lost connection."""
OPTIONS = (
    *("BatchMode=yes", f"ConnectTimeout={CONNECT_S}", "ServerAliveInterval=5", "ServerAliveCountMax=3"),
    # Override settings for interactive use that would end the connection or its commands.
    *("ControlPersist=no", "RemoteCommand=none", "PermitLocalCommand=no", "ClearAllForwardings=yes"),
)

SHARED = sys.platform != "win32" and hasattr(socket, "AF_UNIX")
"""Whether commands share a connection, which needs a socket in the file system."""

HINTS = (
    (
        r"Permission denied|Too many authentication failures",
        "Set up login without a password: ssh-copy-id {host}, and ssh-add for a key with a passphrase.",
    ),
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED", "If the board was reinstalled or replaced: ssh-keygen -R {name}"),
    (r"Host key verification failed", "Connect once by hand and check the fingerprint of the key: ssh {host}"),
    (r"Could not resolve hostname", "Check the name; in most networks a Raspberry Pi is called NAME.local."),
    (r"refused|timed out|No route", "Check that the board is on, in this network, and has ssh enabled (raspi-config)."),
)
"""Messages of ssh, and what to do about them."""


class TooSlowError(BoardError):
    """A command took longer than its time limit."""


class Connection:
    """An open connection to a board; use it in a `with` block.

    Args:
        host: NAME, USER@NAME, ssh://USER@NAME:PORT, or a host of the user's ssh configuration.
        config: Configuration file instead of the user's, as for `ssh -F`.

    Raises:
        InputError: `host` is not a valid host.
        BoardError: The connection failed; the hint says what to do.
    """

    def __init__(self, host: str, *, config: str | Path | None = None) -> None:
        self.host = checked_host(host)
        # A socket's path has at most 107 bytes, and ssh appends a suffix while creating it.
        short = None if len(tempfile.gettempdir()) < 50 else "/tmp"
        self._folder = ScratchFolder("ssh-", short)
        control = Path(self._folder.name) / "s"
        path = f"ControlPath={control}" if SHARED else "ControlPath=none"
        options = [word for option in (*OPTIONS, path) for word in ("-o", option)]
        self._ssh = ["ssh", *(["-F", str(config)] if config else []), *options]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._master: subprocess.Popen[bytes] | None = None
        try:
            self._share(control) if SHARED else self._try()
        except FileNotFoundError as e:
            self.close()
            hint = "Install OpenSSH: apt install openssh-client"
            raise BoardError("ssh is not installed on this machine.", hint) from e
        except BaseException:
            self.close()
            raise

    def _share(self, control: Path) -> None:
        """Open the connection that all commands share."""
        self._master = subprocess.Popen(
            [*self._ssh, "-M", "-N", "-T", "--", self.host],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # so that it survives Ctrl-C for cleaning up
        )
        until = time.monotonic() + CONNECT_S + 15
        while not control.exists():
            if self._master.poll() is not None or time.monotonic() > until:
                raise self._failure("can't be reached")
            time.sleep(0.02)

    def _try(self) -> None:
        """Log in once, so that a board that can't be reached is told now and by its reason."""
        command = [*self._ssh, "-T", "--", self.host, "exit 0"]
        try:
            process = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, timeout=CONNECT_S + 15
            )
        except subprocess.TimeoutExpired as e:
            raise self._failure("can't be reached") from e
        if process.returncode:
            raise self._failure("can't be reached")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._master is not None:
            self._master.terminate()
            self._master.wait()
        self._log.close()
        self._folder.cleanup()

    @property
    def alive(self) -> bool:
        """Whether the connection is still open, as far as is known; without a shared one, until it is closed."""
        return self._master.poll() is None if self._master is not None else not SHARED and not self._log.closed

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: str | None = None,
        stdin: bytes | IO[bytes] = b"",
        timeout_s: float = 60.0,
        most: int = MOST_BYTES,
    ) -> bytes:
        """Run a program on the board and return its stdout.

        Args:
            command: The program and its arguments, unquoted; each is quoted for the board's shell.
            environment: Environment variables to set.
            folder: Working directory, relative to the user's home.
            stdin: Its standard input: bytes, or an open file.
            timeout_s: Time limit in seconds.
            most: Bytes that it may write to each of stdout and stderr.

        Raises:
            BoardError: It failed, wrote more, or took too long; the message contains the end of its output.
            LostError: The connection was lost.
        """
        ssh = self._words(command, environment, folder)
        with contextlib.ExitStack() as stack:
            if isinstance(stdin, bytes):
                content = stdin
                stdin = stack.enter_context(tempfile.TemporaryFile())
                stdin.write(content)
                stdin.seek(0)
            done = Limited(ssh, stdin, timeout_s, most)
        name = Path(command[0]).name
        if done.late:
            raise BoardError(f"{name} took more than {timeout_s:g} s on {self.host}.")
        if done.too_long:
            raise BoardError(f"{name} wrote more than {most} bytes on {self.host}.")
        if done.code == 0:
            return done.stdout
        if done.code == LOST_FAILURE or done.code < 0:  # Ctrl-C also ends the ssh client
            raise LostError(f"The connection to {self.host} was lost. {_last_words(done.stderr)}".strip())
        output = _last_words(done.stderr) or _last_words(done.stdout) or "no output"
        raise BoardError(f"{name} ended with exit code {done.code} on {self.host}: {output}")

    def fetch(self, command: Sequence[str], *, folder: str, most: int, timeout_s: float = 60.0) -> bytes:
        """Run a program on a board that is not trusted, and return its stdout.

        Args:
            command: The program and its arguments.
            folder: Working directory, relative to the user's home.
            most: Bytes that it may write; no more are read.
            timeout_s: Time limit in seconds.

        Raises:
            BoardError: It failed, or wrote more.
            TooSlowError: It took too long.
            LostError: The connection was lost.
        """
        ssh = self._words(command, {}, folder)
        late = threading.Event()
        name = Path(command[0]).name
        null = subprocess.DEVNULL
        with subprocess.Popen(ssh, stdin=null, stdout=subprocess.PIPE, stderr=null) as child:

            def end() -> None:
                late.set()
                child.kill()

            timer = threading.Timer(timeout_s, end)
            timer.start()
            try:
                assert child.stdout is not None
                content = child.stdout.read(most + 1)
                if len(content) > most:
                    child.kill()
                code = child.wait()
            finally:
                child.kill()
                timer.cancel()
        if late.is_set():
            raise TooSlowError(f"{name} took more than {timeout_s:g} s on {self.host}.")
        if len(content) > most:
            raise BoardError(f"{name} wrote more than {most} bytes on {self.host}.")
        if code == LOST_FAILURE or code < 0:
            raise LostError(f"The connection to {self.host} was lost.")
        if code:
            raise BoardError(f"{name} ended with exit code {code} on {self.host}.")
        return content

    def _words(self, command: Sequence[str], environment: Mapping[str, str] | None, folder: str | None) -> list[str]:
        """The local command that runs a program on the board."""
        words = shlex.join(["env", *(f"{k}={v}" for k, v in (environment or {}).items()), *command])
        line = f"cd {shlex.quote(folder)} && exec {words}" if folder is not None else f"exec {words}"
        if not self.alive:  # else ssh would reconnect in the middle of a measurement
            raise self._failure("was lost", LostError)
        # Use sh, because the user's login shell may be any.
        return [*self._ssh, "-T", "--", self.host, shlex.join(["sh", "-c", line])]

    def push(self, members: Mapping[str, bytes | Path], folder: str) -> None:
        """Write files to a folder on the board, which is created if missing.

        Args:
            members: The content by path in that folder: bytes, or a local file.
            folder: The folder, relative to the user's home.

        Raises:
            BoardError: As for `run`.
        """
        with tempfile.TemporaryFile() as spool:
            with tarfile.open(fileobj=spool, mode="w") as tar:
                for name, content in members.items():
                    with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as file:
                        info = tarfile.TarInfo(name)
                        info.mode = 0o755 if name.endswith(".sh") else 0o644
                        info.size = content.stat().st_size if isinstance(content, Path) else len(content)
                        tar.addfile(info, file)
            spool.seek(0)
            self.run(["mkdir", "-p", "--", folder])
            self.run(["tar", "-x", "-f", "-"], folder=folder, stdin=spool, timeout_s=3600)

    def send(self, file: Path, folder: str, name: str) -> None:
        """Write a file, which may be large, to a folder on the board, which is created if missing.

        Args:
            file: The local file.
            folder: The folder, relative to the user's home.
            name: Its name there.

        Raises:
            BoardError: As for `run`.
        """
        self.run(["mkdir", "-p", "--", folder])
        with file.open("rb") as content:
            self.run(["sh", "-c", 'cat >"$1"', "sh", name], folder=folder, stdin=content, timeout_s=3600)

    def _failure(self, what: str, kind: type[BoardError] = BoardError) -> BoardError:
        self._log.seek(0)
        output = self._log.read().decode(errors="replace")
        name = self.host.rpartition("@")[2]
        hint = next((h.format(host=self.host, name=name) for pattern, h in HINTS if re.search(pattern, output)), "")
        return kind(f"{self.host} {what}: {_last_words(output.encode()) or 'no message from ssh.'}", hint)


def checked_host(host: str) -> str:
    """Check that a board's name can't be mistaken for an option or a shell command.

    Raises:
        InputError: It is empty, begins with "-", or contains spaces, control or shell characters.
    """
    if not re.fullmatch(r"[\w.:@%+/\[\]][\w.:@%+/\[\]-]*", host) or "@-" in host or "//-" in host:
        raise InputError(f"{host!r} is not a host.", "Accepted: NAME, USER@NAME, ssh://USER@NAME:PORT.")
    return host


def _last_words(text: bytes) -> str:
    """The last line of a program's output, or everything from the last line that begins with "Error:"."""
    lines = [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
    begin = max((i for i, line in enumerate(lines) if line.startswith("Error:")), default=len(lines) - 1)
    return " ".join(lines[max(0, begin) :]).removeprefix("Error: ")
